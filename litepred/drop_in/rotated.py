"""Rotated boxes, their overlap and their suppression.

N, M boxes; P pairs of boxes. A row is centre x, centre y, width, height in pixels and an angle in degrees,
counter-clockwise as seen on the screen, where y points down.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from ..structures import Boxes

_PAIRS_AT_ONCE = 2**15
_MARGIN = 1e-9  # of the longest side: edges closer than this lie on each other


class RotatedBoxes(Boxes):
    """N rotated boxes of one image, (N, 5), which are built, copied, joined and indexed as `Boxes` are."""

    layout = ("x", "y", "width", "height", "angle")

    def normalize_angles(self) -> None:
        """Bring the angles to [-180, 180); ``self.tensor`` becomes a new tensor."""
        self.tensor = torch.cat((self.tensor[:, :4], (self.tensor[:, 4:] + 180.0) % 360.0 - 180.0), dim=1)

    def clip(self, box_size: tuple[int, int], clip_angle_threshold: float = 1.0) -> None:
        """Clip the boxes that are turned by ``clip_angle_threshold`` degrees at most, as if they were not turned.

        All angles are normalised. ``box_size`` is (height, width) of the image in pixels.
        """
        self.normalize_angles()
        centers, sides, angles = self.tensor.split((2, 2, 1), dim=1)
        corners = clip_boxes_to_image(torch.cat((centers - sides / 2, centers + sides / 2), dim=1), box_size)
        start, end = corners.split(2, dim=1)
        sides = torch.minimum(sides, end - start)  # rounding is not to make a box larger
        clipped = torch.cat(((start + end) / 2, sides, angles), dim=1)
        self.tensor = torch.where(angles.abs() <= clip_angle_threshold, clipped, self.tensor)

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> Tensor:
        """Tell which boxes lie inside an image with the upright rectangle around them; see `Boxes.inside_box`."""
        reach = _corners(self.tensor).amax(1)
        around = Boxes(torch.cat((self.tensor[:, :2] - reach, self.tensor[:, :2] + reach), dim=1))
        return around.inside_box(box_size, boundary_threshold)

    def get_centers(self) -> Tensor:
        """Return the centres, (N, 2) float32, x y."""
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

    def _sides(self) -> tuple[Tensor, Tensor]:
        return self.tensor[:, 2], self.tensor[:, 3]


def pairwise_iou_rotated(boxes1: RotatedBoxes | Tensor, boxes2: RotatedBoxes | Tensor) -> Tensor:
    """Return intersection over union, (N, M) float32 in [0, 1], of N boxes with M; 0 without overlap or area.

    It is computed in float64 from the polygons themselves.
    """
    first, second = (torch.as_tensor(getattr(boxes, "tensor", boxes)).double() for boxes in (boxes1, boxes2))
    reach = _corners(first).amax(1)[:, None] + _corners(second).amax(1)  # (N, M, 2)
    near = ((first[:, None, :2] - second[:, :2]).abs() < reach).all(dim=2)
    iou = first.new_zeros(len(first), len(second))
    for pairs in near.nonzero().split(_PAIRS_AT_ONCE):
        rows, columns = pairs.unbind(1)
        a, b = first[rows], second[columns]
        areas = a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]
        overlap = torch.minimum(_intersection(a, b), torch.minimum(*areas)).clamp(min=0)
        union = areas[0] + areas[1] - overlap
        iou[rows, columns] = torch.where(overlap > 0, overlap / union, 0.0)
    return iou.float()


def _corners(boxes: Tensor) -> Tensor:
    """Return the corners of boxes (N, 5) around (0, 0), (N, 4, 2), in the order that makes cross products positive."""
    angle = boxes[:, 4] * (math.pi / 180.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    along = torch.stack((cos, -sin), dim=1) * boxes[:, 2:3] / 2
    across = torch.stack((sin, cos), dim=1) * boxes[:, 3:4] / 2
    return torch.stack((-along - across, along - across, along + across, across - along), dim=1)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """Return the area that boxes (P, 5) share pair by pair, by Green's theorem along the boundary of what they share.

    The boundary is made of the parts of either box's edges that lie in the other box; an edge on an edge counts once.
    """
    corners_a = _corners(a)
    corners_b = _corners(b) + (b[:, None, :2] - a[:, None, :2])
    margin = torch.maximum(a[:, 2:4].amax(1), b[:, 2:4].amax(1)) * _MARGIN
    return (_edges_inside(corners_a, corners_b, -margin) + _edges_inside(corners_b, corners_a, margin)) / 2


def _edges_inside(start: Tensor, other: Tensor, margin: Tensor) -> Tensor:
    """Sum the cross products of the parts of edges that lie at least ``margin`` pixels (P,) inside another polygon.

    The edges begin at the corners ``start`` (P, 4, 2); the corners ``other`` (P, 4, 2) are those of a convex polygon.
    """
    step = start.roll(-1, dims=1) - start
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


def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Suppress the rotated boxes (N, 5) whose IoU with one of a better score (N,) exceeds ``iou_threshold``.

    Returns:
        The indices of the boxes kept, best first, int64.
    """
    left = scores.argsort(descending=True, stable=True)
    kept = [left[:0]]
    while len(left):
        best, left = left[:1], left[1:]
        kept.append(best)
        left = left[pairwise_iou_rotated(boxes[best], boxes[left])[0] <= iou_threshold]
    return torch.cat(kept)


def batched_nms_rotated(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress rotated boxes as `nms_rotated` does, but those of each class ``idxs`` (N,) by themselves."""
    keep = [idxs.new_zeros(0, dtype=torch.int64)]
    for label in idxs.unique():
        members = (idxs == label).nonzero()[:, 0]
        keep.append(members[nms_rotated(boxes[members], scores[members], iou_threshold)])
    kept = torch.cat(keep).sort().values
    return kept[scores[kept].argsort(descending=True, stable=True)]
