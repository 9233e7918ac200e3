"""What tests of programs on Detectron2 import of its own: models without weights, boxes drawn at random."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .adapters import get


def get_model_no_weights(config_path: str) -> nn.Module:
    """Build a model of the zoo by the name of its config, with random weights; on the CPU where there is no CUDA."""
    return get(config_path, trained=False)


def random_boxes(num_boxes: int, max_coord: float = 100, device: Any = "cpu") -> Tensor:
    """Draw boxes (N, 4), x1 y1 x2 y2, within ``max_coord`` pixels and at least one pixel wide and high."""
    boxes = (torch.rand(num_boxes, 4, device=device) * (max_coord * 0.5)).clamp(min=1.0)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def reload_lazy_config(cfg: Any) -> Any:
    """Return what ``LazyConfig.load`` reads of a config that ``LazyConfig.save`` has written."""
    from .lazy import LazyConfig  # which needs omegaconf

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        LazyConfig.save(cfg, path)
        return LazyConfig.load(path)
