"""The arithmetic between a reference box and the box that a head predicts from it.

R reference boxes, k boxes predicted for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import ConfigError

__all__ = ["Box2BoxTransform", "Box2BoxTransformLinear", "Box2BoxTransformRotated"]

_LARGEST_LOG_SCALE = math.log(1000.0 / 16)  # keeps exp() finite; as in Detectron2


class Box2BoxTransform:
    """Decode (dx, dy, dw, dh): a shift of the centre in box sizes, a log-scale of the size (R-CNN, Girshick 2014).

    Args:
        weights: the deltas are divided by these four numbers.
        scale_clamp: upper bound of dw and dh.
    """

    def __init__(self, weights: Sequence[float], scale_clamp: float = _LARGEST_LOG_SCALE) -> None:
        self.weights = tuple(float(w) for w in weights or ())
        if len(self.weights) != 4 or not all(self.weights):
            raise ConfigError(f"BBOX_REG_WEIGHTS are {weights}: expected four numbers, none of them 0")
        self.scale_clamp = scale_clamp

    def __repr__(self) -> str:
        return f"Box2BoxTransform(weights={self.weights})"

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Return what `apply_deltas` would turn ``src_boxes`` (R, 4) into ``target_boxes`` (R, 4) with: (R, 4).

        Raises:
            ValueError: a source box has no width.
        """
        source, target = _centered(src_boxes), _centered(target_boxes)
        _check_width(source)
        shift = (target[:, :2] - source[:, :2]) / source[:, 2:]
        return torch.cat((shift, torch.log(target[:, 2:] / source[:, 2:])), dim=1) * shift.new_tensor(self.weights)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Apply ``deltas`` (R, 4·k) to ``boxes`` (R, 4), x1 y1 x2 y2; returns float32 (R, 4·k), unclipped."""
        deltas = deltas.float().view(len(boxes), deltas.shape[1] // 4, 4)  # (R, k, 4)
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


class Box2BoxTransformRotated:
    """Decode (dx, dy, dw, dh, da) for rotated boxes: as `Box2BoxTransform`, and da turns the box, in radians.

    Args:
        weights: the deltas are divided by these five numbers.
        scale_clamp: upper bound of dw and dh.
    """

    def __init__(self, weights: Sequence[float], scale_clamp: float = _LARGEST_LOG_SCALE) -> None:
        self.weights = tuple(float(w) for w in weights)
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Return what `apply_deltas` would turn ``src_boxes`` (R, 5) into ``target_boxes`` (R, 5) with: (R, 5).

        Raises:
            ValueError: a source box has no width.
        """
        _check_width(src_boxes)
        shift = (target_boxes[:, :2] - src_boxes[:, :2]) / src_boxes[:, 2:4]
        scale = torch.log(target_boxes[:, 2:4] / src_boxes[:, 2:4])
        turn = _half_open(target_boxes[:, 4:] - src_boxes[:, 4:]) * (math.pi / 180.0)
        return torch.cat((shift, scale, turn), dim=1) * shift.new_tensor(self.weights)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Apply ``deltas`` (R, 5·k) to ``boxes`` (R, 5); returns (R, 5·k), angles in [-180, 180) degrees."""
        deltas = deltas.view(len(boxes), deltas.shape[1] // 5, 5) / deltas.new_tensor(self.weights)  # (R, k, 5)
        boxes = boxes.to(deltas.dtype)[:, None]
        center = deltas[..., :2] * boxes[..., 2:4] + boxes[..., :2]
        sides = torch.exp(deltas[..., 2:4].clamp(max=self.scale_clamp)) * boxes[..., 2:4]
        angle = _half_open(deltas[..., 4:] * (180.0 / math.pi) + boxes[..., 4:])
        return torch.cat((center, sides, angle), dim=2).flatten(1)  # (R, 5·k)


class Box2BoxTransformLinear:
    """Decode (left, top, right, bottom): distances from the reference box's centre to the sides (FCOS, Tian 2019).

    Args:
        normalize_by_size: distances count in sides of the (square) reference box.
    """

    def __init__(self, normalize_by_size: bool = True) -> None:
        self.normalize_by_size = normalize_by_size

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Return what `apply_deltas` would turn ``src_boxes`` (R, 4) into ``target_boxes`` (R, 4) with: (R, 4)."""
        source = _centered(src_boxes)
        deltas = torch.cat((source[:, :2] - target_boxes[:, :2], target_boxes[:, 2:] - source[:, :2]), dim=1)
        return deltas / source[:, 2:3] if self.normalize_by_size else deltas

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Apply ``deltas`` (R, 4·k), negative ones as 0, to ``boxes`` (R, 4); returns (R, 4·k)."""
        boxes = _centered(boxes.to(deltas.dtype))[:, None]  # (R, 1, 4)
        deltas = deltas.view(len(boxes), deltas.shape[1] // 4, 4).relu()
        if self.normalize_by_size:
            deltas = deltas * boxes[..., 2:3]
        center = boxes[..., :2]
        return torch.cat((center - deltas[..., :2], center + deltas[..., 2:]), dim=2).flatten(1)


def _centered(boxes: Tensor) -> Tensor:
    """Boxes (R, 4) as centre x, centre y, width, height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return torch.cat((boxes[:, :2] + 0.5 * sides, sides), dim=1)


def _check_width(boxes: Tensor) -> None:
    if not (boxes[:, 2] > 0).all():
        raise ValueError("get_deltas got source boxes without width: expected every width above 0")


def _half_open(degrees: Tensor) -> Tensor:
    return (degrees + 180.0) % 360.0 - 180.0
