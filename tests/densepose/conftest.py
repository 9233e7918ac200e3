"""Tiny models run on one thread, and a model in files as the tools take it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import golden, tiny_cfg, tiny_image

from litepred.checkpoint.writers import write_checkpoint

CONFIG = "configs/densepose_rcnn_R_50_FPN_s1x.yaml"
WEIGHTS = "ckpt/densepose/model_final_162be9.pkl"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def demo(tmp_path, monkeypatch) -> Path:
    """A folder laid out as IDM-VTON's repository, with a tiny model and photos; it is the working folder."""
    cfg = tiny_cfg("densepose", DEVICE="cpu")
    cfg.INPUT.MIN_SIZE_TEST = 96
    cfg.TEST.DETECTIONS_PER_IMAGE = 3
    for path in (CONFIG, WEIGHTS):
        (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / CONFIG).write_text(cfg.dump(), encoding="utf-8")
    write_checkpoint(tmp_path / WEIGHTS, golden(cfg).state_dict(), {})
    (tmp_path / "photos").mkdir()
    for number, name in enumerate(("b.png", "a.jpg")):
        Image.fromarray(tiny_image(64, 96, seed=number).permute(1, 2, 0).numpy()).save(tmp_path / "photos" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photo() -> np.ndarray:
    """(64, 96, 3) uint8, BGR."""
    return tiny_image(64, 96).permute(1, 2, 0).contiguous().numpy()
