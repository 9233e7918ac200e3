"""PointRend's masks: Detectron2's answers, no instances, old names and configs, values that do not go together."""

from __future__ import annotations

import pytest
import torch
from tiny_models import assert_stored_answers, tiny_cfg, tiny_image, tiny_model

from litepred import Boxes, DetectionCheckpointer, Instances, Predictor, draw
from litepred.checkpoint.writers import write_checkpoint
from litepred.errors import ConfigError
from litepred.modeling import build_model
from litepred.modeling.roi_heads.pointrend import PointRendMaskHead, PointRendROIHeads
from litepred.results import instances_to_coco_json

CASES = {
    "pointrend": {},
    "pointrend two maps, one mask for all classes": {
        "POINT_HEAD__CLS_AGNOSTIC_MASK": True,
        "POINT_HEAD__IN_FEATURES": ["p2", "p3"],
        "ROI_MASK_HEAD__IN_FEATURES": ["p3", "p2"],
        "POINT_HEAD__COARSE_PRED_EACH_LAYER": False,
    },
    "pointrend large": {
        "ROI_MASK_HEAD__POOLER_RESOLUTION": 6,
        "POINT_HEAD__SUBDIVISION_NUM_POINTS": 49,
        "POINT_HEAD__SUBDIVISION_STEPS": 4,
    },
    "implicit pointrend": {},
    "implicit pointrend positions": {
        "IMPLICIT_POINTREND__IMAGE_FEATURE_ENABLED": False,
        "POINT_HEAD__CLS_AGNOSTIC_MASK": True,
    },
    "implicit pointrend maps": {"IMPLICIT_POINTREND__POS_ENC_ENABLED": False},
}


def family(name):
    return "implicit pointrend" if name.startswith("implicit") else "pointrend"


@pytest.mark.parametrize("name", CASES)
def test_no_instances(name):
    model = tiny_model(family(name), **CASES[name])
    features = model.backbone(torch.zeros(2, 3, 64, 64))
    none = Instances((64, 64), pred_boxes=Boxes(torch.zeros(0, 4)), pred_classes=torch.zeros(0, dtype=torch.int64))
    found = model.roi_heads.forward_with_given_boxes(features, [none, none])
    assert [one.pred_masks.shape[:2] for one in found] == [(0, 1)] * 2


@pytest.mark.parametrize("name", CASES)
def test_detectron2s_answers(name):
    assert_stored_answers(tiny_model(family(name), **CASES[name]), "pointrend_answers.json", name)


@pytest.mark.parametrize("name", ["pointrend", "implicit pointrend"])
def test_a_predictor(name):
    cfg = tiny_cfg(name)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    state = tiny_model(name).state_dict()
    image = tiny_image(64, 96).permute(1, 2, 0).numpy()
    exact, fast = (Predictor(cfg, weights=state, exact=how)(image)["instances"] for how in (True, False))
    assert len(exact) == len(fast) > 0 and exact.pred_masks.shape[1:] == (64, 96)
    torch.testing.assert_close(fast.pred_boxes.tensor, exact.pred_boxes.tensor, rtol=0, atol=0.02)
    assert float((fast.pred_masks != exact.pred_masks).float().mean()) < 2e-4
    assert draw(image, {"instances": fast}).shape == image.shape
    rows = instances_to_coco_json(fast, 1)
    assert len(rows) == len(fast) and all(row["segmentation"]["size"] == [64, 96] for row in rows)


def test_coarse_masks_alone():
    model = tiny_model("pointrend", ROI_MASK_HEAD__POINT_HEAD_ON=False)
    assert not any("point_head" in key for key in model.state_dict())
    (found,) = model.inference([{"image": tiny_image(64, 96)}], do_postprocess=False)
    assert len(found) > 0 and found.pred_masks.shape[1:] == (1, 3, 3)


OLD = [
    ("roi_heads.mask_head.coarse_head.fc", "roi_heads.mask_coarse_head.coarse_mask_fc"),
    ("roi_heads.mask_head.coarse_head.", "roi_heads.mask_coarse_head."),
    ("roi_heads.mask_head.point_head.", "roi_heads.mask_point_head."),
]


@pytest.mark.parametrize("names", [OLD, [(OLD[0][0], "roi_heads.mask_head.coarse_head.coarse_mask_fc")], []])
def test_the_names_of_the_first_release(names, tmp_path):
    model = tiny_model("pointrend")
    state = {}
    for key, value in model.state_dict().items():
        new, old = next((pair for pair in names if key.startswith(pair[0])), ("", ""))
        state[old + key.removeprefix(new)] = value
    assert len([key for key in state if key not in model.state_dict()]) == {0: 0, 1: 4, 3: 16}[len(names)]
    write_checkpoint(tmp_path / "old.pth", state, {})
    loaded = build_model(tiny_cfg("pointrend"))
    DetectionCheckpointer(loaded).load(tmp_path / "old.pth")
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_the_config_of_the_first_release():
    old = {"ROI_HEADS__NAME": "PointRendROIHeads", "ROI_MASK_HEAD__NAME": "CoarseMaskHead"}
    cfg = tiny_cfg("pointrend", **old, ROI_MASK_HEAD__POOLER_TYPE="ROIAlignV2")
    model = build_model(cfg)
    assert isinstance(model.roi_heads, PointRendROIHeads)
    assert isinstance(model.roi_heads.mask_head, PointRendMaskHead) and model.roi_heads.mask_pooler is None
    assert cfg.MODEL.ROI_MASK_HEAD.NAME == "CoarseMaskHead"


def test_the_number_of_classes_comes_from_the_weights():
    cfg = tiny_cfg("pointrend", ROI_HEADS__NUM_CLASSES=7, POINT_HEAD__NUM_CLASSES=7)
    predictor = Predictor(cfg, weights=tiny_model("pointrend").state_dict(), infer_num_classes=True)
    assert (predictor.cfg.MODEL.ROI_HEADS.NUM_CLASSES, predictor.cfg.MODEL.POINT_HEAD.NUM_CLASSES) == (3, 3)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "pointrend",
            {"ROI_MASK_HEAD__POOLER_TYPE": "ROIAlignV2"},
            "POOLER_TYPE is 'ROIAlignV2', but PointRendMaskHead",
        ),
        (
            "pointrend",
            {"POINT_HEAD__NUM_CLASSES": 4},
            "POINT_HEAD.NUM_CLASSES is 4: expected 3, as MODEL.ROI_HEADS.NUM_",
        ),
        ("pointrend", {"POINT_HEAD__IN_FEATURES": ["p9"]}, "MODEL.POINT_HEAD.IN_FEATURES is .'p9',.: expected one or"),
        ("pointrend", {"ROI_MASK_HEAD__IN_FEATURES": []}, "MODEL.ROI_MASK_HEAD.IN_FEATURES is ..: expected one or"),
        ("pointrend", {"POINT_HEAD__NUM_FC": 0}, "MODEL.POINT_HEAD.NUM_FC is 0: expected a whole number, 1 or more"),
        ("pointrend", {"ROI_MASK_HEAD__FC_DIM": 0}, "MODEL.ROI_MASK_HEAD.FC_DIM is 0: expected a whole number"),
        ("pointrend", {"POINT_HEAD__NAME": "Standard"}, "MODEL.POINT_HEAD.NAME is 'Standard', but nothing"),
        (
            "implicit pointrend",
            {"POINT_HEAD__SUBDIVISION_NUM_POINTS": 15},
            "SUBDIVISION_NUM_POINTS is 15: expected a square",
        ),
        (
            "implicit pointrend",
            {"IMPLICIT_POINTREND__POS_ENC_ENABLED": False, "IMPLICIT_POINTREND__IMAGE_FEATURE_ENABLED": False},
            "both False: a point then has nothing to be told by",
        ),
    ],
)
def test_values_that_do_not_go_together(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        build_model(tiny_cfg(name, **changes))
