"""Boxes turned about their centres, and the exact overlap of two of them.

N, M boxes; P pairs. A row is centre x, centre y, width, height in pixels and an angle in degrees, counter-clockwise as
seen on the screen, where y points down. Sizes are (height, width).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .boxes import Boxes

__all__ = ["RotatedBoxes", "pairwise_iou_rotated", "rotated_iou"]

_PAIRS_AT_ONCE = 2**15
_MARGIN = 1e-9  # of the longest side: edges closer than this lie on each other


class RotatedBoxes(Boxes):
    """N rotated boxes of one image.

    Iterating gives (5,) tensors; indexing gives ``RotatedBoxes`` that share storage wherever that of a tensor does.

    Args:
        tensor: (N, 5) x y width height angle. A float32 tensor is kept without a copy; another dtype, a list or an
            ndarray becomes float32. Anything without elements becomes (0, 5).

    Raises:
        AssertionError: for any other shape.
    """

    def __init__(self, tensor: Tensor | np.ndarray | Sequence[Any]) -> None:
        if isinstance(tensor, Tensor):
            tensor = tensor.to(torch.float32)
        else:
            tensor = torch.as_tensor(tensor, dtype=torch.float32, device="cpu")
        if tensor.numel() == 0:
            tensor = tensor.reshape(-1, 5)
        if tensor.ndim != 2 or tensor.shape[1] != 5:
            raise AssertionError(
                f"rotated boxes came with shape {tuple(tensor.shape)}: expected (N, 5), x y width height angle per row"
            )
        self.tensor = tensor

    def clone(self) -> RotatedBoxes:
        """Return a copy with its own storage."""
        return RotatedBoxes(self.tensor.clone())

    def to(self, device: torch.device | str | int) -> RotatedBoxes:
        """Return the boxes on ``device``; they stay float32."""
        return RotatedBoxes(self.tensor.to(device=device))

    def normalize_angles(self) -> None:
        """Bring the angles to [-180, 180); ``self.tensor`` becomes a new tensor."""
        angles = (self.tensor[:, 4:] + 180.0) % 360.0 - 180.0
        self.tensor = torch.cat((self.tensor[:, :4], angles), dim=1)

    def clip(self, box_size: tuple[int, int], clip_angle_threshold: float = 1.0) -> None:
        """Clip the boxes that are hardly turned as if they were not, and leave the others; angles are normalised.

        Args:
            box_size: (height, width) of the image in pixels.
            clip_angle_threshold: the largest angle in degrees, either way, of a box that is clipped.
        """
        self.normalize_angles()
        upright = self.tensor[:, 4].abs() <= clip_angle_threshold
        height, width = box_size
        centers, sides = self.tensor[upright, :2], self.tensor[upright, 2:4]
        limits = sides.new_tensor([width, height])
        start = torch.minimum((centers - sides / 2).clamp(min=0), limits)
        end = torch.minimum((centers + sides / 2).clamp(min=0), limits)
        clipped = self.tensor.clone()
        clipped[upright, :2] = (start + end) / 2
        clipped[upright, 2:4] = torch.minimum(sides, end - start)  # rounding is not to make a box larger
        self.tensor = clipped

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> Tensor:
        """Tell which boxes lie inside an image with their whole upright bounding box.

        Args:
            box_size: (height, width) of the image in pixels.
            boundary_threshold: how many pixels a box may stick out. The right and bottom limits are exclusive.

        Returns:
            (N,) bool.
        """
        height, width = box_size
        reach_x, reach_y = _reach(self.tensor).unbind(1)
        x, y = self.tensor[:, 0], self.tensor[:, 1]
        starts_inside = (x - reach_x >= -boundary_threshold) & (y - reach_y >= -boundary_threshold)
        return starts_inside & (x + reach_x < width + boundary_threshold) & (y + reach_y < height + boundary_threshold)

    def get_centers(self) -> Tensor:
        """Return the box centres, (N, 2) float32, x y."""
        return self.tensor[:, :2]

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Scale the boxes in place; under unequal factors each becomes the nearest rotated box, with a new angle."""
        angle = self.tensor[:, 4] * (math.pi / 180.0)
        cos, sin = torch.cos(angle), torch.sin(angle)
        self.tensor[:, 0] *= scale_x
        self.tensor[:, 1] *= scale_y
        self.tensor[:, 2] *= torch.hypot(scale_x * cos, scale_y * sin)
        self.tensor[:, 3] *= torch.hypot(scale_x * sin, scale_y * cos)
        self.tensor[:, 4] = torch.atan2(scale_x * sin, scale_y * cos) * (180.0 / math.pi)

    @classmethod
    def cat(cls, boxes_list: Sequence[Boxes]) -> RotatedBoxes:
        """Join boxes into a new object that never shares storage with its parts.

        Raises:
            AssertionError: when the argument is not a list or tuple, or holds anything but ``RotatedBoxes``.
        """
        if not isinstance(boxes_list, (list, tuple)) or not all(isinstance(boxes, cls) for boxes in boxes_list):
            raise AssertionError("RotatedBoxes.cat expects a list or tuple of RotatedBoxes only")
        return cls(torch.cat([boxes.tensor for boxes in boxes_list]) if boxes_list else torch.empty(0))

    def _sides(self) -> tuple[Tensor, Tensor]:
        return self.tensor[:, 2], self.tensor[:, 3]

    def __getitem__(self, item: Any) -> RotatedBoxes:
        """Select boxes by int (gives one box), slice, list, ndarray, or bool or integer tensor."""
        if isinstance(item, int):
            return RotatedBoxes(self.tensor[item].view(1, -1))
        selected = self.tensor[item]
        if selected.ndim != 2:
            raise AssertionError(
                f"index {item!r} selects a tensor of shape {tuple(selected.shape)} instead of rows: "
                "use a Python int, a slice, or a one-dimensional list, array or tensor"
            )
        return RotatedBoxes(selected)

    def __repr__(self) -> str:
        return f"RotatedBoxes({self.tensor})"


def pairwise_iou_rotated(boxes1: RotatedBoxes, boxes2: RotatedBoxes) -> Tensor:
    """Return intersection over union, (N, M) float32 in [0, 1], of N rotated boxes with M."""
    return rotated_iou(boxes1.tensor, boxes2.tensor)


def rotated_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return intersection over union, (N, M) float32 in [0, 1], of boxes (N, 5) and (M, 5); 0 without overlap or area.

    Computed in float64, from the polygons themselves.
    """
    first, second = boxes1.double(), boxes2.double()
    reach = _reach(first)[:, None] + _reach(second)  # (N, M, 2)
    near = ((first[:, None, :2] - second[:, :2]).abs() < reach).all(dim=2)
    i, j = torch.nonzero(near, as_tuple=True)
    iou = first.new_zeros(len(first), len(second))
    for pairs in range(0, len(i), _PAIRS_AT_ONCE):
        rows, columns = i[pairs : pairs + _PAIRS_AT_ONCE], j[pairs : pairs + _PAIRS_AT_ONCE]
        a, b = first[rows], second[columns]
        areas = a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]
        overlap = torch.minimum(_intersection(a, b), torch.minimum(*areas)).clamp(min=0)
        union = areas[0] + areas[1] - overlap
        iou[rows, columns] = torch.where(overlap > 0, overlap / union, torch.zeros_like(overlap))
    return iou.float()


def _reach(boxes: Tensor) -> Tensor:
    """How far boxes (N, 5) extend from their centres: (N, 2), x y."""
    angle = boxes[:, 4] * (math.pi / 180.0)
    cos, sin = torch.cos(angle).abs(), torch.sin(angle).abs()
    width, height = boxes[:, 2], boxes[:, 3]
    return torch.stack((width * cos + height * sin, width * sin + height * cos), dim=1) / 2


def _corners(boxes: Tensor) -> Tensor:
    """The corners of boxes (P, 5) around (0, 0), in the order that makes cross products positive: (P, 4, 2)."""
    angle = boxes[:, 4] * (math.pi / 180.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    along = torch.stack((cos, -sin), dim=1) * boxes[:, 2:3] / 2
    across = torch.stack((sin, cos), dim=1) * boxes[:, 3:4] / 2
    return torch.stack((-along - across, along - across, along + across, across - along), dim=1)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """The area that boxes (P, 5) share pair by pair: the boundary of the intersection, by Green's theorem.

    The boundary is made of the parts of either box's edges that lie in the other box; an edge on an edge counts once.
    """
    corners_a = _corners(a)
    corners_b = _corners(b) + (b[:, None, :2] - a[:, None, :2])
    margin = torch.maximum(a[:, 2:4].amax(1), b[:, 2:4].amax(1)) * _MARGIN
    return (_edges_inside(corners_a, corners_b, -margin) + _edges_inside(corners_b, corners_a, margin)) / 2


def _edges_inside(polygon: Tensor, other: Tensor, margin: Tensor) -> Tensor:
    """Sum the cross products of the parts of ``polygon``'s edges that lie at least ``margin`` inside ``other``.

    Args:
        polygon: (P, 4, 2).
        other: (P, 4, 2), convex.
        margin: (P,) in pixels.
    """
    start, step = polygon, polygon.roll(-1, dims=1) - polygon
    side = other.roll(-1, dims=1) - other
    offset = start[:, :, None] - other[:, None]  # (P, 4 edges, 4 sides, 2)
    depth = _cross(side[:, None], offset) - (side.norm(dim=2) * margin[:, None])[:, None]
    gain = _cross(side[:, None], step[:, :, None])  # of depth, from an edge's start to its end
    crossing = -depth / gain
    low = torch.where(gain > 0, crossing, 0.0).amax(2).clamp(min=0)  # (P, 4): where the edge enters
    high = torch.where(gain < 0, crossing, 1.0).amin(2).clamp(max=1)  # and leaves
    outside = ((gain == 0) & (depth < 0)).any(dim=2)
    length = torch.where(outside, 0.0, (high - low).clamp(min=0))
    return (length * _cross(start, step)).sum(dim=1)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
