"""deepdoctection's D2FrcnnDetector, which builds the model itself, resizes itself and suppresses across classes."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import nms

from .conftest import client

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def d2detect():
    return client("deepdoctection.extern.d2detect")


@pytest.fixture(autouse=True)
def pillow(monkeypatch):
    """Its resizing, by default OpenCV's where that is installed, as Detectron2's predictor does it."""
    from dd_core.utils.viz import viz_handler

    monkeypatch.setenv("USE_DD_OPENCV", "False")
    monkeypatch.setenv("USE_DD_PILLOW", "True")
    viz_handler.refresh()
    yield
    monkeypatch.undo()
    viz_handler.refresh()


@pytest.mark.parametrize(("threshold", "iou"), [(1.0, 0.1), (0.05, 0.1), (0.05, 1.0)])
def test_predict(d2detect, trained, threshold, iou):
    ours = trained.predictor("MODEL.ROI_HEADS.SCORE_THRESH_TEST", threshold, exact=True)(trained.image)["instances"]
    ours = ours[nms(ours.pred_boxes.tensor, ours.scores, iou)]
    names = {i + 1: name for i, name in enumerate(("text", "title", "list", "table", "figure"))}
    detector = d2detect.D2FrcnnDetector(
        trained.config,
        trained.checkpoint,
        names,
        [f"NMS_THRESH_CLASS_AGNOSTIC={iou}", f"MODEL.ROI_HEADS.SCORE_THRESH_TEST={threshold}"],
        device="cpu",
    )
    found = detector.predict(trained.image)
    assert bool(found) == bool(len(ours)) == (threshold < 1)
    assert [one.box for one in found] == ours.pred_boxes.tensor.tolist()
    assert [one.score for one in found] == ours.scores.tolist()
    assert [one.class_id for one in found] == (ours.pred_classes + 1).tolist()
    assert [one.class_name.value for one in found] == [names[i + 1] for i in ours.pred_classes.tolist()]


def test_clone(d2detect, trained):
    """A detector for another thread has the same weights."""
    detector = d2detect.D2FrcnnDetector(trained.config, trained.checkpoint, {1: "text"}, device="cpu")
    theirs = detector.clone().d2_predictor.state_dict()
    assert theirs.keys() == trained.weights.keys()
    assert all(torch.equal(theirs[key], value) for key, value in trained.weights.items())
