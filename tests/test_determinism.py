"""The same input gives the same bits; another number of threads the same answers to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden_answers import differences
from tiny_models import FAMILIES, tiny_cfg, tiny_image, tiny_model
from torch import Tensor

from litepred import Predictor

EXTRAS: dict[str, dict[str, Any]] = {
    "fpn": {"MASK_ON": True, "KEYPOINT_ON": True},
    "c4": {"MASK_ON": True},
    "cascade": {"MASK_ON": True},
}


def tensors(outputs: dict[str, Any]) -> dict[str, Tensor]:
    """All that came back, by the goldens' names."""
    found = {}
    for key in ("instances", "proposals"):
        for name, value in (outputs[key].get_fields() if key in outputs else {}).items():
            parts = vars(value) if name == "pred_densepose" else {"": getattr(value, "tensor", value)}
            found |= {f"{key}.{name}{part}": tensor for part, tensor in parts.items() if isinstance(tensor, Tensor)}
    if "sem_seg" in outputs:
        found["sem_seg"] = outputs["sem_seg"]
    if "panoptic_seg" in outputs:
        found["panoptic_seg"] = outputs["panoptic_seg"][0]
    return found


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "optimized"])
@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "precomputed"])
def test_the_same_bits_twice(family, exact, threads):
    cfg = tiny_cfg(family, **EXTRAS.get(family, {}))
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    state = tiny_model(family, **EXTRAS.get(family, {})).state_dict()
    predictor = Predictor(cfg, weights=state, exact=exact)
    image = tiny_image(70, 90).permute(1, 2, 0).numpy()
    for number in (1, 2):
        threads(number)
        first = tensors(predictor(image))
        predictor(image[:50, :40])  # what lies between leaves no trace
        for again in (predictor(image), Predictor(cfg, weights=state, exact=exact)(image)):
            second = tensors(again)
            assert list(first) == list(second)
            assert all(torch.equal(first[name], second[name]) for name in first)


def test_one_and_two_threads(page_predictor, threads):
    """The default model on a page, within the tolerances of the goldens."""
    image = np.ascontiguousarray(tiny_image(300, 400).permute(1, 2, 0).numpy())
    image[40:200, 50:350] = 255
    image[60:180:12, 60:340] = 0  # lines of a text
    answers = []
    for number in (1, 2):
        threads(number)
        answers.append(page_predictor(image))
    one, other = answers
    assert len(one["instances"])
    golden = {name: tensor.numpy() for name, tensor in tensors(other).items()}
    golden["instances.pred_masks.shape"] = np.array(golden["instances.pred_masks"].shape)
    golden["instances.pred_masks"] = np.packbits(golden["instances.pred_masks"], axis=-1)
    golden["sem_seg.shape"] = np.array(golden["sem_seg"].shape)
    golden["sem_seg.argmax"], golden["sem_seg.sample"] = golden["sem_seg"].argmax(0), golden["sem_seg"][:, ::16, ::16]
    assert differences(one, golden) == []
