"""supervision makes its own detections and keypoints of what a predictor returns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from .conftest import client

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def sv():
    return client("supervision")


def outputs(trained, threshold):
    from detectron2.config import get_cfg
    from detectron2.engine import DefaultPredictor

    cfg = get_cfg()
    cfg.merge_from_file(trained.config)
    cfg.MODEL.WEIGHTS = trained.checkpoint
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
    return DefaultPredictor(cfg)(trained.image)


@pytest.mark.parametrize(("threshold", "least", "most"), [(1.0, 0, 0), (0.05, 5, 100)])
def test_detections(sv, trained, threshold, least, most):
    ours = trained.predictor("MODEL.ROI_HEADS.SCORE_THRESH_TEST", threshold)(trained.image)["instances"]
    theirs = sv.Detections.from_detectron2(outputs(trained, threshold))
    assert least <= len(theirs) <= most
    assert np.array_equal(theirs.xyxy, ours.pred_boxes.tensor.numpy())
    assert np.array_equal(theirs.confidence, ours.scores.numpy())
    assert np.array_equal(theirs.class_id, ours.pred_classes.numpy())
    if ours.has("pred_masks"):
        assert theirs.mask.dtype == bool
        assert np.array_equal(theirs.mask, ours.pred_masks.numpy())
    else:
        assert theirs.mask is None


@pytest.mark.parametrize("threshold", [1.0, 0.05])
def test_keypoints(sv, trained, threshold):
    ours = trained.predictor("MODEL.ROI_HEADS.SCORE_THRESH_TEST", threshold)(trained.image)["instances"]
    theirs = sv.KeyPoints.from_detectron2(outputs(trained, threshold))
    if ours.has("pred_keypoints") and len(ours):
        xyc = np.dstack([theirs.xy, theirs.keypoint_confidence])
        assert torch.equal(torch.from_numpy(xyc), ours.pred_keypoints)
        assert np.array_equal(theirs.detection_confidence, ours.scores.numpy())
    else:
        assert theirs.is_empty()
