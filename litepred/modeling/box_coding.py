"""The arithmetic between a reference box and the box that a head predicts from it.

R reference boxes, k boxes predicted for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..errors import ConfigError, scalar

__all__ = ["Box2BoxTransform", "Box2BoxTransformLinear", "Box2BoxTransformRotated"]

_LARGEST_LOG_SCALE = math.log(1000.0 / 16)  # keeps exp() finite; as in Detectron2


class Box2BoxTransform:
    """Decode (dx, dy, dw, dh): a shift of the centre in box sizes, a log-scale of the size (R-CNN, Girshick 2014).

    Args:
        weights: the deltas are divided by these four numbers.
        scale_clamp: upper bound of dw and dh.
    """

    box_dim = 4  # numbers that describe a box

    def __init__(self, weights: Sequence[float], scale_clamp: float = _LARGEST_LOG_SCALE) -> None:
        listed = list(map(scalar, weights)) if isinstance(weights, Iterable) else []
        if len(listed) != self.box_dim or not all(isinstance(one, (int, float)) and one for one in listed):
            raise ConfigError(f"BBOX_REG_WEIGHTS are {weights}: expected {self.box_dim} numbers, none of them 0")
        self.weights = tuple(map(float, listed))
        self.scale_clamp = scale_clamp

    def __repr__(self) -> str:
        return f"{type(self).__name__}(weights={self.weights})"

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Apply ``deltas`` (R, 4·k) to ``boxes`` (R, 4), x1 y1 x2 y2; returns float32 (R, 4·k), unclipped."""
        deltas = deltas.float().unflatten(1, (-1, 4))  # (R, k, 4)
        boxes = boxes.to(deltas.dtype)
        x1, y1, x2, y2 = (side[:, None] for side in boxes.unbind(1))  # (R, 1) each
        dx, dy, dw, dh = (d / weight for d, weight in zip(deltas.unbind(2), self.weights))  # (R, k) each
        width, height = x2 - x1, y2 - y1
        x = dx * width + (x1 + 0.5 * width)
        y = dy * height + (y1 + 0.5 * height)
        half_width = 0.5 * (torch.exp(dw.clamp(max=self.scale_clamp)) * width)
        half_height = 0.5 * (torch.exp(dh.clamp(max=self.scale_clamp)) * height)
        corners = [x - half_width, y - half_height, x + half_width, y + half_height]
        return torch.stack(corners, dim=2).flatten(1)  # (R, 4·k)


class Box2BoxTransformRotated(Box2BoxTransform):
    """Decode (dx, dy, dw, dh, da) for rotated boxes: as `Box2BoxTransform`, and da turns the box, in radians."""

    box_dim = 5

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Apply ``deltas`` (R, 5·k) to ``boxes`` (R, 5); returns (R, 5·k), with angles in [-180, 180) degrees."""
        x, y, width, height, angle = (column[:, None] for column in boxes.to(deltas.dtype).unbind(1))  # (R, 1) each
        deltas = deltas.unflatten(1, (-1, 5))  # (R, k, 5)
        dx, dy, dw, dh, da = (d / weight for d, weight in zip(deltas.unbind(2), self.weights))  # (R, k) each
        sides = [torch.exp(d.clamp(max=self.scale_clamp)) * side for d, side in ((dw, width), (dh, height))]
        turned = (da * 180.0 / math.pi + angle + 180.0) % 360.0 - 180.0
        return torch.stack([dx * width + x, dy * height + y, *sides, turned], dim=2).flatten(1)


class Box2BoxTransformLinear:
    """Decode the distances from a reference box's centre to the left, top, right and bottom (FCOS, Tian et al. 2020).

    Args:
        normalize_by_size: whether they come in sides of the reference box, instead of pixels.
    """

    def __init__(self, normalize_by_size: bool = True) -> None:
        self.normalize_by_size = normalize_by_size

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Apply ``deltas`` (R, 4·k), of which those below 0 count as 0, to ``boxes`` (R, 4); returns (R, 4·k)."""
        distances = deltas.relu().unflatten(1, (-1, 2, 2))  # (R, k, 2, 2): before and after the centre, x and y
        boxes = boxes.to(deltas.dtype)
        if self.normalize_by_size:
            distances = distances * (boxes[:, 2:] - boxes[:, :2])[:, None, None]
        centre = (0.5 * (boxes[:, :2] + boxes[:, 2:]))[:, None]  # (R, 1, 2)
        return torch.cat([centre - distances[:, :, 0], centre + distances[:, :, 1]], dim=2).flatten(1)
