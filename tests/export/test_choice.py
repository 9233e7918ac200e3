"""What a call chooses of an exported model, whose limits are part of its graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litepred import ConfigError, Predictor


@pytest.fixture(scope="module")
def exported(retinanet):
    return Predictor(retinanet[1])


def test_more_than_the_graph_finds(exported):
    image = np.zeros((64, 96, 3), np.uint8)
    own = exported.cfg.MODEL.RETINANET.SCORE_THRESH_TEST
    with pytest.raises(ConfigError, match=f"threshold 0 is below {own:g}, at which the exported file cuts off"):
        exported(image, threshold=0)
    with pytest.raises(ConfigError, match="max_detections is 11, but the exported file finds 10 at most"):
        exported.batch([image], max_detections=11)


def test_less(exported):
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    every = exported(image)["instances"]
    middle = float(every.scores.median())
    label = int(every.pred_classes.mode().values)
    for choice, kept in [
        ({"threshold": middle}, every.scores > middle),
        ({"classes": [label]}, every.pred_classes == label),
        ({"max_detections": 2}, torch.arange(len(every)) < 2),
    ]:
        chosen = exported(image, **choice)["instances"]
        assert 0 < len(chosen) < len(every)
        assert torch.equal(chosen.pred_boxes.tensor, every[kept].pred_boxes.tensor)
    assert len(exported(image, agnostic_nms=True)["instances"]) <= len(every)
