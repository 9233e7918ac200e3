"""What tests of programs on Detectron2 import."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from litepred.drop_in.testing import get_model_no_weights, random_boxes, reload_lazy_config


def test_boxes_are_boxes():
    assert random_boxes(0).shape == (0, 4)
    boxes = random_boxes(50, 20)
    assert (boxes[:, 2:] - boxes[:, :2] >= 0.999).all()
    assert boxes.max() <= 20


def test_a_model_of_the_zoo():
    model = get_model_no_weights("COCO-Detection/faster_rcnn_R_50_C4_1x.yaml")
    assert (str(model.device), model.training) in {("cpu", False), ("cuda:0", False)}


def test_a_model_of_the_zoo_that_is_a_lazy_config():
    pytest.importorskip("omegaconf")
    model = get_model_no_weights("COCO-Detection/fcos_R_50_FPN_1x.py")
    (found,) = model([{"image": torch.zeros(3, 32, 32)}])
    assert (type(model).__name__, found["instances"].image_size) == ("FCOS", (32, 32))


def test_a_config_through_a_file():
    pytest.importorskip("omegaconf")
    from litepred import LazyCall

    assert reload_lazy_config(LazyCall(SimpleNamespace)(a=1)).a == 1
