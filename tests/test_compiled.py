"""``Predictor(compile=True)``: the same answers to rounding, from code that torch makes for this machine."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from process_worker import SIZES, tiny_predictor
from tiny_models import FAMILIES, tiny_cfg, tiny_image, tiny_model

from litepred import Predictor


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_warmed_up(family, monkeypatch):
    """With several boxes, which the heads compile for; here nothing is compiled, which takes some 20 seconds."""
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: None)
    cfg = tiny_cfg(family)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    predictor = Predictor(cfg, weights=tiny_model(family).state_dict(), compile=True)
    if family != "precomputed":  # which is given proposals with each image
        assert predictor(np.full((64, 96, 3), 90, np.uint8))


@pytest.mark.long
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch compiles with a C++ compiler")
def test_compiled_answers_are_the_same_to_rounding():
    torch.compiler.reset()
    plain, compiled = tiny_predictor(), tiny_predictor(compile=True)
    for i, size in enumerate(SIZES):
        image = tiny_image(*size, seed=i).permute(1, 2, 0).numpy()
        expected, found = (predictor(image)["instances"] for predictor in (plain, compiled))
        assert len(found) == len(expected) > 0
        torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor, atol=0.02, rtol=0)
        torch.testing.assert_close(found.scores, expected.scores, atol=5e-4, rtol=0)
        assert found.pred_classes.equal(expected.pred_classes)
        assert (found.pred_masks != expected.pred_masks).float().mean() < 1e-3
