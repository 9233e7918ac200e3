"""Instances to be drawn, in every form."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from litepred.structures import Boxes, Instances, ROIMasks, mask_to_polygons

HEIGHT, WIDTH = 120, 160
BOXES = [[10.0, 20.0, 60.0, 70.0], [80.0, 30.0, 150.0, 110.0], [100.0, 50.0, 112.0, 60.0]]


def image(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.full((height, width, 3), 200, np.uint8)


def bitmasks(boxes: list[list[float]] = BOXES, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, np.array(boxes, int).reshape(-1, 4).tolist()):
        mask[y0:y1, x0:x1] = True
    return masks


def masks_as(form: str) -> Any:
    return {
        "bitmask": lambda: bitmasks(),
        "float": lambda: bitmasks().float(),
        "roi": lambda: ROIMasks(torch.ones(3, 28, 28)),
        "polygon": lambda: [mask_to_polygons(mask) for mask in bitmasks()],
    }[form]()


def instances(number: int = 3, size: tuple[int, int] = (HEIGHT, WIDTH), **fields: Any) -> Instances:
    found = Instances(size)
    found.pred_boxes = Boxes(torch.tensor(BOXES[:number]).reshape(-1, 4))
    found.scores = torch.tensor([0.9, 0.8, 0.3])[:number]
    found.pred_classes = torch.tensor([0, 1, 0])[:number]
    for name, value in fields.items():
        found.set(name, value)
    return found


def changed(picture: np.ndarray, before: np.ndarray) -> np.ndarray:
    """(H, W) bool: where a picture differs."""
    return (picture != before).any(axis=2)
