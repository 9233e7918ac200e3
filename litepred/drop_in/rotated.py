"""Rotated boxes and the operators on them: overlap, suppression, pooling, box coding.

N, M boxes; P pairs of boxes; R regions; S × S cells of a pooled region, g samples per cell and axis. A row is centre x,
centre y, width, height in pixels and an angle in degrees, counter-clockwise as seen on the screen, where y points down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import RoIAlign

from ..structures import Boxes

__all__ = [
    "Box2BoxTransformRotated",
    "ROIAlignRotated",
    "RotatedBoxes",
    "batched_nms_rotated",
    "nms_rotated",
    "pairwise_iou_rotated",
    "roi_align_rotated",
    "rotated_iou",
]

_PAIRS_AT_ONCE = 2**15
_MARGIN = 1e-9  # of the longest side: edges closer than this lie on each other


class RotatedBoxes(Boxes):
    """N rotated boxes of one image, which are built, copied, joined and indexed as `Boxes` are.

    Args:
        tensor: (N, 5) x y width height angle. A float32 tensor is kept without a copy; another dtype, a list or an
            ndarray becomes float32. Anything without elements becomes (0, 5).

    Raises:
        AssertionError: for any other shape.
    """

    layout = ("x", "y", "width", "height", "angle")

    def normalize_angles(self) -> None:
        """Bring the angles to [-180, 180); ``self.tensor`` becomes a new tensor."""
        self.tensor = torch.cat((self.tensor[:, :4], _half_open(self.tensor[:, 4:])), dim=1)

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
        """Tell, as bool (N,), which boxes lie inside an image with the upright rectangle around them.

        Args:
            box_size: (height, width) of the image in pixels.
            boundary_threshold: how many pixels a box may stick out. The right and bottom limits are exclusive.
        """
        reach = _reach(self.tensor)
        around = Boxes(torch.cat((self.tensor[:, :2] - reach, self.tensor[:, :2] + reach), dim=1))
        return around.inside_box(box_size, boundary_threshold)

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

    def _sides(self) -> tuple[Tensor, Tensor]:
        return self.tensor[:, 2], self.tensor[:, 3]


def _half_open(degrees: Tensor) -> Tensor:
    return (degrees + 180.0) % 360.0 - 180.0


def _reach(boxes: Tensor) -> Tensor:
    """How far boxes (N, 5) extend from their centres: (N, 2), x y."""
    angle = boxes[:, 4] * (math.pi / 180.0)
    cos, sin = torch.cos(angle).abs(), torch.sin(angle).abs()
    width, height = boxes[:, 2], boxes[:, 3]
    return torch.stack((width * cos + height * sin, width * sin + height * cos), dim=1) / 2


def pairwise_iou_rotated(boxes1: RotatedBoxes, boxes2: RotatedBoxes) -> Tensor:
    """Return intersection over union, (N, M) float32 in [0, 1], of N rotated boxes with M."""
    return rotated_iou(boxes1.tensor, boxes2.tensor)


def rotated_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return intersection over union, (N, M) float32 in [0, 1], of boxes (N, 5) and (M, 5); 0 without overlap or area.

    It is computed in float64 from the polygons themselves.
    """
    first, second = boxes1.double(), boxes2.double()
    reach = _reach(first)[:, None] + _reach(second)  # (N, M, 2)
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


def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Suppress the rotated boxes that overlap better ones.

    Args:
        boxes: (N, 5), as in `RotatedBoxes`.
        scores: (N,).
        iou_threshold: a box goes when its IoU with a better one exceeds this.

    Returns:
        The indices of the boxes kept, best first, int64.
    """
    left = scores.argsort(descending=True, stable=True)
    kept = [left[:0]]
    while len(left):
        best, left = left[:1], left[1:]
        kept.append(best)
        left = left[rotated_iou(boxes[best], boxes[left])[0] <= iou_threshold]
    return torch.cat(kept)


def batched_nms_rotated(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress rotated boxes as `nms_rotated` does, but those of each class ``idxs`` (N,) by themselves."""
    keep = [idxs.new_zeros(0, dtype=torch.int64)]
    for label in idxs.unique():
        members = (idxs == label).nonzero()[:, 0]
        keep.append(members[nms_rotated(boxes[members], scores[members], iou_threshold)])
    kept = torch.cat(keep).sort().values
    return kept[scores[kept].argsort(descending=True, stable=True)]


class ROIAlignRotated(RoIAlign):
    """Pool rotated regions; see `roi_align_rotated`."""

    def __init__(self, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__(output_size, spatial_scale, sampling_ratio, aligned=True)

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool out of ``input`` (N, C, H, W) to (R, C, S, S)."""
        return roi_align_rotated(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)


def roi_align_rotated(
    input: Tensor, rois: Tensor, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int
) -> Tensor:
    """Pool regions that are turned about their centres, with bilinear samples.

    Args:
        input: (N, C, H, W) float.
        rois: (R, 6): index of the image, then a row as in `RotatedBoxes`.
        output_size: S, or (height, width).
        spatial_scale: cells of the map per pixel of the regions.
        sampling_ratio: g; 0 for as many as a cell covers pixels.

    Returns:
        (R, C, S, S).
    """
    rows, columns = (output_size, output_size) if isinstance(output_size, int) else output_size
    regions = rois.to(input.dtype)
    center = regions[:, 1:3] * spatial_scale - 0.5
    cell = regions[:, 3:5] * spatial_scale / regions.new_tensor([columns, rows])
    samples = torch.full_like(cell, sampling_ratio) if sampling_ratio > 0 else cell.ceil()
    angle = regions[:, 5] * (math.pi / 180.0)
    out = input.new_zeros(len(rois), input.shape[1], rows, columns)
    for g_x, g_y in samples.unique(dim=0).int().tolist():
        if g_x <= 0 or g_y <= 0:  # an empty region pools nothing
            continue
        index = torch.nonzero((samples == samples.new_tensor([g_x, g_y])).all(dim=1))[:, 0]
        x = _positions(cell[index, 0], columns, g_x)[:, None]  # (R', 1, S·g)
        y = _positions(cell[index, 1], rows, g_y)[:, :, None]
        cos, sin = (f(angle[index])[:, None, None] for f in (torch.cos, torch.sin))
        at_x = center[index, 0, None, None] + y * sin + x * cos
        at_y = center[index, 1, None, None] + y * cos - x * sin
        values = _sample(input, regions[index, 0].long(), at_x, at_y)  # (R', C, S·g, S·g)
        pooled = values.unflatten(3, (columns, g_x)).unflatten(2, (rows, g_y)).mean(dim=(3, 5))
        out = out.index_copy(0, index, pooled)
    return out


def _positions(cell: Tensor, cells: int, samples: int) -> Tensor:
    """Where the samples of one axis lie, from the middle of the region: (R, cells · samples)."""
    steps = (torch.arange(cells * samples, device=cell.device, dtype=cell.dtype) + 0.5) / samples - cells / 2
    return cell[:, None] * steps


def _sample(maps: Tensor, image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sample ``maps`` bilinearly at ``x`` and ``y`` (R, …), 0 further than a cell outside: (R, C, …)."""
    height, width = maps.shape[2:]
    inside = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.floor().long(), y.floor().long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    part_x, part_y = x - left, y - top
    image = image[:, None, None]
    total = torch.zeros((), dtype=maps.dtype, device=maps.device)
    for row, weight_y in ((top, 1 - part_y), (bottom, part_y)):
        for column, weight_x in ((left, 1 - part_x), (right, part_x)):
            weight = (weight_y * weight_x * inside)[..., None]
            total = total + maps.permute(0, 2, 3, 1)[image, row, column] * weight
    return total.movedim(-1, 1)


class Box2BoxTransformRotated:
    """Decode (dx, dy, dw, dh, da) for rotated boxes: as `Box2BoxTransform`, and da turns the box, in radians.

    Args:
        weights: the deltas are divided by these five numbers.
        scale_clamp: upper bound of dw and dh.
    """

    def __init__(self, weights: Sequence[float], scale_clamp: float = math.log(1000.0 / 16)) -> None:
        self.weights = tuple(weights)
        self.scale_clamp = scale_clamp

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Apply ``deltas`` (R, 5·k) to ``boxes`` (R, 5); returns (R, 5·k), angles in [-180, 180) degrees."""
        deltas = deltas.view(len(boxes), deltas.shape[1] // 5, 5) / deltas.new_tensor(self.weights)  # (R, k, 5)
        boxes = boxes.to(deltas.dtype)[:, None]
        center = deltas[..., :2] * boxes[..., 2:4] + boxes[..., :2]
        sides = torch.exp(deltas[..., 2:4].clamp(max=self.scale_clamp)) * boxes[..., 2:4]
        angle = _half_open(deltas[..., 4:] * (180.0 / math.pi) + boxes[..., 4:])
        return torch.cat((center, sides, angle), dim=2).flatten(1)  # (R, 5·k)
