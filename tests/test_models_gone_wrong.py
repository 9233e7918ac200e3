"""Weights that are no numbers, heads that find nothing or far too much, images of a pixel: never a NaN box."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, tiny_cfg, tiny_image, tiny_model
from torch import Tensor

from litepred import Predictor

EXTRAS: dict[str, dict[str, Any]] = {
    "fpn": {"MASK_ON": True, "KEYPOINT_ON": True},
    "c4": {"MASK_ON": True},
    "cascade": {"MASK_ON": True},
}
WHOLE = [family for family in FAMILIES if family != "precomputed"]
NAN, INF = float("nan"), float("inf")
exactness = pytest.mark.parametrize("exact", [True, False], ids=["exact", "optimized"])


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    return {family: tiny_model(family, **EXTRAS.get(family, {})).state_dict() for family in WHOLE}


def predictor(family: str, state: Any, exact: bool, /, **changes: Any) -> Predictor:
    cfg = tiny_cfg(family, **{**EXTRAS.get(family, {}), **changes})
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    return Predictor(cfg, weights=state, exact=exact)


def image(height: int = 64, width: int = 96) -> np.ndarray:
    return tiny_image(height, width).permute(1, 2, 0).numpy()


def check(outputs: dict[str, Any], height: int = 64, width: int = 96) -> None:
    """What comes back is whole: boxes that are boxes of the image, as many of everything, no NaN among the scores."""
    for key in ("instances", "proposals"):
        if key not in outputs:
            continue
        found = outputs[key]
        assert found.image_size == (height, width)
        boxes = (found.pred_boxes if key == "instances" else found.proposal_boxes).tensor
        assert boxes.isfinite().all()
        if boxes.shape[1] == 5:  # rotated ones may leave the image
            assert (boxes[:, 2:4] > 0).all()
        else:
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            assert (boxes >= 0).all()
            assert (boxes <= torch.tensor([width, height] * 2)).all()
        assert (found.scores if key == "instances" else found.objectness_logits).isfinite().all()
        if found.has("pred_masks"):
            assert found.pred_masks.shape == (len(boxes), height, width)
        if found.has("pred_keypoints"):
            assert found.pred_keypoints.isfinite().all()
    if "sem_seg" in outputs:
        assert outputs["sem_seg"].shape[1:] == (height, width)
    if "panoptic_seg" in outputs:
        ids, segments = outputs["panoptic_seg"]
        assert ids.shape == (height, width)
        assert set(ids.unique().tolist()) - {0} <= {segment["id"] for segment in segments}


def spoiled(state: dict[str, Tensor], value: float, where: str) -> dict[str, Tensor]:
    """The weights with ``value`` everywhere, or as the first number of the tensors whose name contains ``where``."""
    state = {key: tensor.clone() for key, tensor in state.items()}
    for key, tensor in state.items():
        if tensor.is_floating_point() and where in key:
            (tensor if not where else tensor.view(-1)[:1]).fill_(value)
    return state


# The last layers, from which a value goes into boxes, scores, masks or keypoints directly, and the first of all.
PLACES = (
    "",
    "stem.conv1.weight",
    "bbox_pred",
    "cls_score",
    "anchor_deltas.bias",
    "objectness",
    "mask_head",
    "keypoint",
)


@exactness
@pytest.mark.parametrize("value", [NAN, INF], ids=str)
@pytest.mark.parametrize("family", WHOLE)
def test_weights_that_are_no_numbers(family, value, exact, states):
    for where in PLACES:
        if any(where in key for key in states[family]):
            check(predictor(family, spoiled(states[family], value, where), exact)(image()))


@pytest.mark.long
@exactness
@pytest.mark.parametrize("family", WHOLE)
def test_each_tensor_in_turn(family, exact, states):
    """The model as it computes: with ``exact=False`` its folded and transformed weights."""
    one = predictor(family, states[family], exact)
    for tensor in [*one.model.parameters(), *one.model.buffers()]:
        if tensor.is_floating_point():
            first = tensor.data.flatten()[:1] if tensor.is_contiguous() else tensor.data[(0,) * tensor.dim()].view(1)
            kept = first.clone()
            for value in (NAN, INF, -INF, 1e38, -1e38):
                first.fill_(value)
                check(one(image()))
            first.copy_(kept)


@exactness
@pytest.mark.parametrize("family", ["fpn", "c4", "cascade", "proposals", "panoptic"])
def test_no_proposal(family, exact, states):
    outputs = predictor(family, states[family], exact, PROPOSAL_GENERATOR__MIN_SIZE=10_000)(image())
    check(outputs)
    assert len(outputs.get("instances", outputs.get("proposals"))) == 0


@exactness
@pytest.mark.parametrize("mask_format", ["bitmask", "roi", "polygon"])
@pytest.mark.parametrize("family", ["fpn", "c4", "cascade", "panoptic"])
def test_no_detection(family, mask_format, exact, states):
    cfg = tiny_cfg(family, **EXTRAS.get(family, {}), ROI_HEADS__SCORE_THRESH_TEST=1.0)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    outputs = Predictor(cfg, weights=states[family], exact=exact, mask_format=mask_format)(image())
    assert len(outputs["instances"]) == len(outputs["instances"].pred_masks) == 0
    assert all(not segment["isthing"] for segment in outputs.get("panoptic_seg", ([], []))[1])


@exactness
def test_no_detection_of_retinanet(exact, states):
    outputs = predictor("retinanet", states["retinanet"], exact, RETINANET__SCORE_THRESH_TEST=1.0)(image())
    check(outputs)
    assert len(outputs["instances"]) == 0


@exactness
@pytest.mark.parametrize("family", ["fpn", "c4", "cascade"])
def test_ten_thousand_detections(family, exact):
    changes: dict[str, Any] = {
        "MASK_ON": True,
        "ROI_HEADS__NUM_CLASSES": 100,
        "ROI_HEADS__SCORE_THRESH_TEST": 0.0,
        "ROI_HEADS__NMS_THRESH_TEST": 1.0,
        "RPN__NMS_THRESH": 1.0,
        "RPN__PRE_NMS_TOPK_TEST": 1000,
        "RPN__POST_NMS_TOPK_TEST": 300,
    }
    cfg = tiny_cfg(family, **changes)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, cfg.TEST.DETECTIONS_PER_IMAGE = 64, 96, 10_000
    outputs = Predictor(cfg, weights=tiny_model(family, **changes).state_dict(), exact=exact)(image())
    check(outputs)
    assert len(outputs["instances"]) > 9000  # those whose box is empty are left out


@exactness
@pytest.mark.parametrize("classes", [1, 1203])
@pytest.mark.parametrize("family", ["fpn", "c4", "cascade", "retinanet"])
def test_number_of_classes(family, classes, exact):
    changes = {
        "ROI_HEADS__NUM_CLASSES": classes,
        "RETINANET__NUM_CLASSES": classes,
        "ROI_HEADS__SCORE_THRESH_TEST": 0.0005,
        "RETINANET__SCORE_THRESH_TEST": 0.0005,
        "MASK_ON": family != "retinanet",
        "KEYPOINT_ON": False,
    }
    state = tiny_model(family, **changes).state_dict()
    outputs = predictor(family, state, exact, **changes)(image())
    check(outputs)
    assert 0 < len(outputs["instances"]) <= 10
    assert 0 <= outputs["instances"].pred_classes.min() <= outputs["instances"].pred_classes.max() < classes


@exactness
@pytest.mark.parametrize("size", [(1, 1), (1, 31), (31, 1), (3, 5)])
@pytest.mark.parametrize("family", WHOLE)
def test_image_smaller_than_a_stride(family, size, exact, states):
    cfg = tiny_cfg(family, **EXTRAS.get(family, {}))
    cfg.INPUT.MIN_SIZE_TEST = 0  # as it is
    one = Predictor(cfg, weights=states[family], exact=exact)
    check(one(image(*size)), *size)
    for outputs, expected in zip(one.batch([image(*size), image(9, 7)], batch_size=2), (size, (9, 7))):
        check(outputs, *expected)
