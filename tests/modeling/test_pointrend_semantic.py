"""PointRend's semantic head: Detectron2's answers, values that do not go together."""

from __future__ import annotations

import pytest
import torch
from tiny_models import assert_stored_answers, tiny_cfg, tiny_image, tiny_model

from litepred import Predictor, draw
from litepred.errors import ConfigError
from litepred.modeling import build_model

CASES = {"semantic pointrend": {}, "semantic pointrend each layer": {"POINT_HEAD__COARSE_PRED_EACH_LAYER": True}}


@pytest.mark.parametrize("name", CASES)
def test_detectron2s_answers(name):
    assert_stored_answers(tiny_model("semantic pointrend", **CASES[name]), "pointrend_answers.json", name)


def test_a_predictor():
    cfg = tiny_cfg("semantic pointrend", SEM_SEG_HEAD__NUM_CLASSES=9)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    state = tiny_model("semantic pointrend").state_dict()
    image = tiny_image(60, 90).permute(1, 2, 0).numpy()
    options = {"weights": state, "infer_num_classes": True}
    exact, fast = (Predictor(cfg, exact=how, **options)(image)["sem_seg"] for how in (True, False))
    assert exact.shape == (4, 60, 90)
    torch.testing.assert_close(fast, exact, rtol=1e-4, atol=1e-4)
    assert draw(image, {"sem_seg": fast}).shape == image.shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"POINT_HEAD__NUM_CLASSES": 5}, "POINT_HEAD.NUM_CLASSES is 5: expected 4, as MODEL.SEM_SEG_HEAD.NUM_CLASSES"),
        ({"POINT_HEAD__IN_FEATURES": ["res2"]}, "MODEL.POINT_HEAD.IN_FEATURES is .'res2',.: expected one or more"),
        ({"POINT_HEAD__SUBDIVISION_STEPS": -1}, "MODEL.POINT_HEAD.SUBDIVISION_STEPS is -1: expected a whole number"),
        ({"POINT_HEAD__COARSE_SEM_SEG_HEAD_NAME": "No"}, "othing of that name is registered in SEM_SEG_HEADS_REGISTRY"),
    ],
)
def test_values_that_do_not_go_together(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_model(tiny_cfg("semantic pointrend", **changes))
