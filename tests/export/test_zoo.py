"""Every model of the zoo as an ONNX file (``python -m pytest -m exports``): with random weights, on one small image."""

from __future__ import annotations

import warnings

import pytest
from exported_families import IMAGES
from tiny_models import golden

from litepred import Predictor, model_zoo

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.mark.exports
@pytest.mark.parametrize("name", [name for name in model_zoo.list() if "_h_" not in name])  # more than a file holds
def test_it_is_exported(name, tmp_path):
    from litepred.export import export_onnx

    cfg = model_zoo.get_config(name)
    cfg.MODEL.DEVICE = "cpu"
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 256, 320
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictor = Predictor(cfg, weights=golden(cfg).state_dict())
    opset = 19 if any(cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE) else 18
    print(export_onnx(predictor, tmp_path / "model.onnx", opset=opset, check=IMAGES[:1]))
