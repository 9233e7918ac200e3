"""Another library may set the type or device of torch's new tensors: models and their answers stay as they are."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, tiny_cfg, tiny_model

from litepred import Predictor
from litepred.checkpoint import read_checkpoint
from litepred.layers import linear, winograd
from litepred.modeling import META_ARCH_REGISTRY, build_model
from litepred.optimize import _convolve_in_both
from litepred.results import filter, write_labels
from litepred.selection import Selection
from litepred.structures import Boxes, Instances, instance_mask

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.fixture
def float64_by_default():
    yield lambda: torch.set_default_dtype(torch.float64)
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def meta_by_default():
    yield lambda: torch.set_default_device("meta")
    torch.set_default_device(None)


def tensors_of(answer):
    """All tensors of an answer, by turns of its fields; what is no tensor is left out."""
    if isinstance(answer, torch.Tensor):
        return [answer]
    answer = getattr(answer, "get_fields", lambda: getattr(answer, "tensor", answer))()
    parts = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, (list, tuple)) else []
    return [answer] if isinstance(answer, torch.Tensor) else [one for part in parts for one in tensors_of(part)]


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"precomputed"}))  # which takes no image alone
def test_answers_are_the_same(family, float64_by_default):
    cfg, state = tiny_cfg(family), tiny_model(family).state_dict()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 48, 96
    expected = tensors_of(Predictor(cfg, weights=state)(IMAGE))
    built_before = Predictor(cfg, weights=state)
    float64_by_default()
    for predictor in (built_before, Predictor(cfg, weights=state)):
        found = tensors_of(predictor(IMAGE))
        assert torch.get_default_dtype() == torch.float64
        assert len(found) == len(expected) > 0
        for one, other in zip(found, expected):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_threshold_is_the_number_that_came(dtype):
    """In 8 bits of precision 0.6 is 0.6015625."""
    found = Instances((9, 9), scores=torch.tensor([0.601, 0.599]), pred_classes=torch.tensor([0, 0]))
    torch.set_default_dtype(dtype)
    try:
        for threshold in (0.6, {0: 0.6}):
            assert filter(found, threshold).scores.tolist() == found.scores[:1].tolist()
            selection = Selection.of(None, {0: 0.3, 1: 0.6}, num_classes=2)
            limited = selection.limited(tiny_model("fpn"))
            limits = next(part.test_score_thresh for part in limited.modules() if hasattr(part, "test_score_thresh"))
            assert limits[:2].tolist() == torch.tensor([0.3, 0.6], dtype=torch.float32).tolist()
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"precomputed"}))
def test_answers_are_the_same_on_another_device(family, exact, meta_by_default):
    cfg, state = tiny_cfg(family), tiny_model(family).state_dict()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 48, 96
    expected = tensors_of(Predictor(cfg, weights=state, exact=exact)(IMAGE))
    built_before = Predictor(cfg, weights=state, exact=exact)
    meta_by_default()
    for predictor in (built_before, Predictor(cfg, weights=state, exact=exact)):
        found = tensors_of(predictor(IMAGE))
        assert len(found) == len(expected) > 0
        assert all(map(torch.equal, found, expected))


def test_tiles_are_the_same_on_another_device(meta_by_default):
    cfg = tiny_cfg("fpn", MASK_ON=True)
    predictor = Predictor(cfg, weights=tiny_model("fpn", MASK_ON=True).state_dict())
    expected = tensors_of(predictor(IMAGE, tile=40))
    meta_by_default()
    assert len(expected[0]) and all(map(torch.equal, tensors_of(predictor(IMAGE, tile=40)), expected))


def test_layers_are_tried_on_the_cpu(meta_by_default):
    meta_by_default()
    for ways in (linear._both_ways(), winograd._both_ways(128, 128), _convolve_in_both()):
        assert [way().device.type for way in ways] == ["cpu", "cpu"]


def test_files_are_read_into_the_memory_of_the_cpu(meta_by_default, tmp_path):
    state = {"weight": torch.arange(6.0), "nothing": torch.zeros(0)}
    for name, as_zip in (("new.pth", True), ("old.pth", False)):
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=as_zip)
    meta_by_default()
    for name in ("new.pth", "old.pth"):
        found = read_checkpoint(tmp_path / name).model
        assert found["weight"].tolist() == [0, 1, 2, 3, 4, 5] and found["nothing"].device.type == "cpu"


def test_arrays_are_on_the_cpu(meta_by_default, tmp_path):
    instances = Instances((4, 4), pred_boxes=Boxes(torch.zeros(1, 4)), pred_masks=np.ones((1, 4, 4)))
    meta_by_default()
    assert instance_mask(instances, 0).all()
    write_labels(tmp_path / "a.png", np.zeros((4, 4), int))
    first = "import torch; torch.set_default_device('meta')"
    code = f"{first}; from litepred.layers import winograd; winograd._KERNELS.tolist()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_models_are_of_float32(family, float64_by_default):
    float64_by_default()
    model = build_model(tiny_cfg(family))
    assert {value.dtype for value in model.state_dict().values() if value.is_floating_point()} == {torch.float32}
    assert model.pixel_mean.dtype == torch.float32


def test_a_model_is_of_float32_when_another_is_finished_meanwhile(float64_by_default, monkeypatch):
    first_began, second_began, first_is_built = threading.Event(), threading.Event(), threading.Event()

    class Meeting(torch.nn.Linear):
        def __init__(self, cfg):
            began, awaited = (second_began, first_is_built) if first_began.is_set() else (first_began, second_began)
            began.set()
            assert awaited.wait(60)
            super().__init__(2, 3)

    def build():
        cfg = tiny_cfg("fpn")
        cfg.MODEL.META_ARCHITECTURE = "Meeting"
        return build_model(cfg).weight.dtype

    monkeypatch.setattr(META_ARCH_REGISTRY, "_components", {"Meeting": Meeting})
    float64_by_default()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(build)
        first.add_done_callback(lambda _: first_is_built.set())
        assert first_began.wait(60)
        second = pool.submit(build)
        assert first.result() == second.result() == torch.float32
    assert torch.get_default_dtype() == torch.float64
