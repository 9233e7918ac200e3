"""Operators on rotated boxes: their overlap, their suppression, and the pooling of what lies in them.

N, M boxes; P pairs of boxes; R regions; S × S cells of a pooled region, g samples per cell and axis. A row is centre x,
centre y, width, height in pixels and an angle in degrees, counter-clockwise as seen on the screen, where y points down.

All are computed with the roundings of Detectron2's operators for the CPU, since one bit may decide what is suppressed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["batched_nms_rotated", "nms_rotated", "pairwise_iou_rotated", "roi_align_rotated"]

_SLACK = 1e-5  # by which corners and crossings may miss a box
_PAIRS_AT_ONCE = 2**16
_BOXES_AT_ONCE = 128  # in suppression
_VALUES_AT_ONCE = 2**22  # in pooling, of the result
_SAMPLES_AT_ONCE = 64  # of each cell


def pairwise_iou_rotated(boxes1: Any, boxes2: Any) -> Tensor:
    """Return intersection over union, (N, M) float32, of N boxes with M; 0 without overlap or area.

    Both may be tensors (N, 5) or `RotatedBoxes`.
    """
    given = (getattr(boxes, "tensor", boxes) for boxes in (boxes1, boxes2))
    first, second = ((one if isinstance(one, Tensor) else torch.as_tensor(one, device="cpu")).float() for one in given)
    return _pairwise_iou(first, second, 0.0)


def _pairwise_iou(first: Tensor, second: Tensor, least: float) -> Tensor:
    """Return the IoU of boxes (N, 5) with boxes (M, 5) in their type; one that is below ``least`` may come as 0."""
    iou = first.new_zeros(len(first), len(second))
    if not iou.numel():
        return iou
    # Boxes that are thin for their distance in float32 may seem to overlap any other, and count as doing so.
    thin = max(0.1, 4e-6 * max(float(boxes[:, :2].abs().max()) for boxes in (first, second)))
    reach, areas, are_thin = zip(
        *(
            (_corners(b, torch.zeros_like(b[:, :2])).abs().amax(1), b[:, 2] * b[:, 3], b[:, 2:4].amin(1) < thin)
            for b in (first, second)
        )
    )
    near = (first[:, None, :2] - second[:, :2]).abs() <= (reach[0][:, None] + reach[1]) * 1.001 + 0.001
    small, large = torch.minimum(areas[0][:, None], areas[1]), torch.maximum(areas[0][:, None], areas[1])
    near = (near.all(dim=2) & (small >= large * (0.99 * least))) | are_thin[0][:, None] | are_thin[1]
    for pairs in near.nonzero().split(_PAIRS_AT_ONCE):
        rows, columns = pairs.unbind(1)
        area = areas[0][rows], areas[1][columns]
        overlap = _intersection(first[rows], second[columns])
        has_area = (area[0] >= 1e-14) & (area[1] >= 1e-14)
        iou[rows, columns] = torch.where(has_area, overlap / (area[0] + area[1] - overlap), 0.0)
    return iou


def _corners(boxes: Tensor, centers: Tensor) -> Tensor:
    """Return the corners of boxes (P, 5), moved to ``centers`` (P, 2): (P, 4, 2)."""
    angle = boxes[:, 4].double() * 0.01745329251
    cos, sin = (f(angle).to(boxes.dtype) * 0.5 for f in (torch.cos, torch.sin))
    (x, y), (width, height) = centers.unbind(1), boxes[:, 2:4].unbind(1)
    first = torch.stack((x + sin * height + cos * width, y + cos * height - sin * width), dim=1)
    second = torch.stack((x - sin * height + cos * width, y - cos * height - sin * width), dim=1)
    return torch.stack((first, second, 2 * centers - first, 2 * centers - second), dim=1)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """Return the area that boxes (P, 5) share pair by pair: of the convex hull of corners and crossings."""
    middle = (a[:, :2] + b[:, :2]).double() / 2.0
    corners = [_corners(box, (box[:, :2].double() - middle).to(box.dtype)) for box in (a, b)]
    edges = [c.roll(-1, dims=1) - c for c in corners]
    start, step = corners[0][:, :, None], edges[0][:, :, None]  # (P, 4, 1, 2)
    side, offset = edges[1][:, None], corners[1][:, None] - start  # (P, 1 or 4, 4, 2)
    det = _cross(side, step)
    along, across = _cross(side, offset) / det, _cross(step, offset) / det
    crosses = (det.double().abs() > 1e-14) & _within(along, 1.0) & _within(across, 1.0)
    points = torch.cat(((start + step * along[..., None]).flatten(1, 2), *corners), dim=1)  # (P, 24, 2)
    inside = [_inside(corners[i], corners[1 - i], edges[1 - i]) for i in (0, 1)]
    found = torch.cat((crosses.flatten(1), *inside), dim=1)  # (P, 24)
    number = found.sum(dim=1)
    area = a.new_zeros(len(a))
    some = (number > 2).nonzero()[:, 0]
    if len(some):
        order = found[some].logical_not().byte().argsort(dim=1, stable=True)[:, : int(number.max())]
        points = points[some].gather(1, order[..., None].expand(-1, -1, 2))
        area[some] = _hull_area(points[..., 0].T.contiguous(), points[..., 1].T.contiguous(), number[some])
    return area


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - b[..., 0] * a[..., 1]


def _within(value: Tensor, limit: Tensor | float) -> Tensor:
    value = value.double()
    return (value > -_SLACK) & (value < limit + _SLACK)


def _inside(points: Tensor, corners: Tensor, edges: Tensor) -> Tensor:
    """Tell which points (P, 4, 2) lie in the boxes of these corners and edges, as (P, 4) bool."""
    offset = points - corners[:, :1]
    sides = edges[:, :1], -edges[:, 3:]
    return torch.stack([_within(_dot(offset, side), _dot(side, side).double()) for side in sides]).all(0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1]


def _hull_area(x: Tensor, y: Tensor, number: Tensor) -> Tensor:
    """Return the area (P,) of the convex hulls of points (24, P), the first ``number`` (P,) of which count.

    This is Graham's scan, in all columns at once: the points are sorted by their angle around the lowest one, the
    nearer first, and put on a stack, from which those go that make it turn the wrong way.
    """
    columns = torch.arange(len(number), device=x.device)
    counts = torch.arange(len(x), device=x.device)[:, None] < number
    lowest = counts & (y == torch.where(counts, y, math.inf).amin(0))
    first = (lowest & (x == torch.where(lowest, x, math.inf).amin(0))).byte().argmax(0)
    x, y = x - x[first, columns], y - y[first, columns]
    for values in (x, y):
        values[first, columns], values[0] = values[0].clone(), 0.0
    points = [[*x], [*y], [*(x * x + y * y)]]
    for i in range(1, len(x) - 1):
        for j in range(i + 1, len(x)):
            turn = (points[0][i] * points[1][j] - points[0][j] * points[1][i]).double()
            swap = counts[j] & ((turn < -1e-6) | ((turn.abs() < 1e-6) & (points[2][i] > points[2][j])))
            for row in points:
                row[i], row[j] = row[j].where(swap, row[i]), row[i].where(swap, row[j])
    (x, y), apart = (torch.stack(values) for values in points[:2]), torch.stack(points[2]).double() > 1e-8
    pushed = counts & ((counts & apart).cumsum(0) > 0)
    stack_x, stack_y, height = torch.zeros_like(x), torch.zeros_like(y), torch.ones_like(number)
    for i in range(1, len(x)):
        popped = pushed[i] & (height > 1)
        while popped.any():
            (x1, x2), (y1, y2) = ([s[height - k, columns] for k in (1, 2)] for s in (stack_x, stack_y))
            popped &= (x[i] - x2) * (y1 - y2) >= (x1 - x2) * (y[i] - y2)
            height = height - popped.long()
            popped &= height > 1
        stack_x[height, columns], stack_y[height, columns] = x[i], y[i]
        height = height + pushed[i].long()
    area = torch.zeros_like(x[0])
    for i in range(1, len(x) - 1):
        turn = stack_x[i] * stack_y[i + 1] - stack_x[i + 1] * stack_y[i]
        area = area + torch.where(i < height - 1, turn.abs(), 0.0)
    return area / 2.0


def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Suppress the rotated boxes (N, 5) whose IoU with one of a better score (N,) is ``iou_threshold`` or more.

    Returns:
        The indices of the boxes kept, best first, int64.
    """
    order = scores.sort(0, descending=True).indices
    boxes = boxes[order]
    left = torch.arange(len(boxes), device=boxes.device)
    kept = [left[:0]]
    while len(left):
        best, left = left[:_BOXES_AT_ONCE], left[_BOXES_AT_ONCE:]
        overlaps = (_pairwise_iou(boxes[best], boxes[best], iou_threshold).double() >= iou_threshold).cpu().numpy()
        stays = np.ones(len(overlaps), bool)
        for i in range(len(overlaps)):
            if stays[i]:
                stays[i + 1 :] &= ~overlaps[i, i + 1 :]
        best = best[torch.from_numpy(stays).to(best.device)]
        kept.append(best)
        worse = _pairwise_iou(boxes[best], boxes[left], iou_threshold).double() >= iou_threshold
        left = left[~worse.any(dim=0)]
    return order[torch.cat(kept)]


def batched_nms_rotated(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress rotated boxes as `nms_rotated` does, but those of each class ``idxs`` (N,) by themselves.

    The classes are laid out side by side, which moves the boxes of later ones by what float32 rounds.
    """
    if not len(boxes):
        return torch.empty(0, dtype=torch.int64, device=boxes.device)
    boxes = boxes.float()
    reach = boxes[:, 2:4].amax(1) / 2
    extent = (boxes[:, :2].amax(1) + reach).max() - (boxes[:, :2].amin(1) - reach).min()
    moved = boxes[:, :2] + (idxs.to(boxes) * (extent + 1))[:, None]
    return nms_rotated(torch.cat((moved, boxes[:, 2:]), dim=1), scores, iou_threshold)


def roi_align_rotated(
    x: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    exact: bool = True,
) -> Tensor:
    """Pool regions that are turned about their centres, with bilinear samples.

    Args:
        x: (N, C, H, W) float.
        rois: (R, 6) of the same type: index of the image, and a row as above.
        output_size: (height, width) of the result.
        spatial_scale: cells of the map per pixel of the regions.
        sampling_ratio: g; 0 for as many as a cell covers pixels.
        exact: whether to add up in Detectron2's order, or several times faster, to rounding the same.

    Returns:
        (R, C, height, width).
    """
    (rows, columns), (channels, height, width) = output_size, x.shape[1:]
    table = x.permute(0, 2, 3, 1).reshape(-1, channels)  # (N·H·W, C)
    center, sides = rois[:, 1:3] * spatial_scale - 0.5, rois[:, 3:5] * spatial_scale
    cells = sides / sides.new_tensor([columns, rows])
    samples = torch.full_like(cells, sampling_ratio) if sampling_ratio > 0 else cells.ceil().clamp(min=0)  # x y
    total = samples.prod(dim=1)  # g · g
    angle = (rois[:, 5].double() * math.pi / 180.0).to(x.dtype).double()
    turn = torch.stack((angle.cos().to(x.dtype), angle.sin().to(x.dtype), *center.unbind(1)))[:, :, None, None]
    out = x.new_zeros(len(rois), rows, columns, channels)
    group = total.log2().ceil()  # regions with about as many samples are pooled together
    for members in [(group == one).nonzero()[:, 0] for one in group[total > 0].unique()]:
        for index in members.split(max(1, _VALUES_AT_ONCE // (rows * columns * channels))):
            number, pooled = total[index], out[index]
            first_pixel = (rois[index, 0].long() * (height * width))[:, None, None]
            cos, sin, center_x, center_y = turn[:, index]
            for sample in torch.arange(int(number.max()), device=x.device).split(_SAMPLES_AT_ONCE):
                y_in, x_in = sample[:, None] // samples[index, 0], sample[:, None] % samples[index, 0]
                along = _positions(sides[index, 0], cells[index, 0], columns, samples[index, 0], x_in)[:, :, None, :]
                across = _positions(sides[index, 1], cells[index, 1], rows, samples[index, 1], y_in)[:, :, :, None]
                at_y = across * cos - along * sin + center_y  # (samples, R', S, S)
                at_x = across * sin + along * cos + center_x
                pixels, weights = _taps(at_x, at_y, width, height)  # (samples, 4, R', S, S)
                pixels, weights = pixels + first_pixel, weights * (sample[:, None] < number)[:, None, :, None, None]
                if exact:
                    for pixel, weight in zip(pixels, weights):
                        taps = [table[p] * w[..., None] for p, w in zip(pixel, weight)]
                        pooled += taps[0].add_(taps[1]).add_(taps[2]).add_(taps[3])
                else:
                    bags, factors = (v.flatten(2).flatten(0, 1).T.contiguous() for v in (pixels, weights))
                    pooled += F.embedding_bag(bags, table, per_sample_weights=factors, mode="sum").view_as(pooled)
            out[index] = pooled / number[:, None, None, None]
    out = out.permute(0, 3, 1, 2)
    return out.contiguous() if exact else out


def _positions(side: Tensor, cell: Tensor, cells: int, samples: Tensor, sample: Tensor) -> Tensor:
    """Return where samples (…, R) of one axis lie in each cell, from the middle of the region: (…, R, S)."""
    start = (-side / 2.0)[:, None] + torch.arange(cells, device=side.device) * cell[:, None]
    return start + ((sample + 0.5) * cell / samples)[..., None]


def _taps(x: Tensor, y: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Return the pixels that bilinear samples (n, …) read, (n, 4, …), and their weights, 0 beyond a cell outside."""
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.long(), y.long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    to_right, to_bottom = x - left, y - top
    to_left, to_top = 1 - to_right, 1 - to_bottom
    pixels = [row * width + column for row in (top, bottom) for column in (left, right)]
    weights = [row * column * inside for row in (to_top, to_bottom) for column in (to_left, to_right)]
    return torch.stack(pixels, dim=1), torch.stack(weights, dim=1)
