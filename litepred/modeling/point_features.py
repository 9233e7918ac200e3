"""Maps at points (PointRend, Kirillov et al. 2020).

N images or regions, R regions over all images, P points, C channels, H × W cells. A point is x, y in 0…1 of the whole
map or box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..structures import Boxes

__all__ = [
    "generate_regular_grid_point_coords",
    "get_point_coords_wrt_image",
    "get_uncertain_point_coords_on_grid",
    "point_sample",
    "point_sample_fine_grained_features",
    "subdivide",
]

# Why a module that calls `subdivide` is not exported, as its attribute ``torch_only`` tells.
POINTS_ARE_CHOSEN = "it chooses points by what it has predicted, and the exporter cannot translate that"


def point_sample(input: Tensor, point_coords: Tensor, **kwargs: Any) -> Tensor:
    """Sample maps at points, between the cells linearly.

    Args:
        input: (N, C, H, W).
        point_coords: (N, P, 2), or a grid of points (N, H', W', 2).
        **kwargs: of torch's ``grid_sample``.

    Returns:
        (N, C, P), or (N, C, H', W').
    """
    grid = point_coords[:, :, None] if point_coords.dim() == 3 else point_coords
    sampled = F.grid_sample(input, 2.0 * grid - 1.0, **kwargs)
    return sampled[..., 0] if point_coords.dim() == 3 else sampled


def generate_regular_grid_point_coords(R: int, side_size: int, device: Any) -> Tensor:
    """Return the centres of a grid of ``side_size`` squared cells for each of R regions, (R, side², 2)."""
    theta = torch.tensor([[[0.5, 0, 0.5], [0, 0.5, 0.5]]], dtype=torch.float32, device=device)
    grid = F.affine_grid(theta, [1, 1, side_size, side_size], align_corners=False)
    return grid.view(1, -1, 2).expand(R, -1, -1)


def get_uncertain_point_coords_on_grid(uncertainty_map: Tensor, num_points: int) -> tuple[Tensor, Tensor]:
    """Find the most uncertain cells of each map.

    Args:
        uncertainty_map: (N, 1, H, W).
        num_points: P; at most all cells.

    Returns:
        The indices of the cells, int64 (N, P), and their centres, float (N, P, 2).
    """
    height, width = uncertainty_map.shape[-2:]
    index = uncertainty_map.flatten(1).topk(min(height * width, num_points), dim=1).indices
    step_x, step_y = 1.0 / float(width), 1.0 / float(height)
    x = step_x / 2.0 + (index % width).float() * step_x
    y = step_y / 2.0 + (index // width).float() * step_y
    return index, torch.stack([x, y], dim=2)


def get_point_coords_wrt_image(boxes_coords: Tensor, point_coords: Tensor) -> Tensor:
    """Return points of boxes as points of the image, in its pixels.

    Args:
        boxes_coords: (R, 4), x1 y1 x2 y2 in pixels.
        point_coords: (R, P, 2), of each box.
    """
    corner, opposite = boxes_coords[:, None, :2], boxes_coords[:, None, 2:]
    return point_coords * (opposite - corner) + corner


def point_sample_fine_grained_features(
    features_list: Sequence[Tensor], feature_scales: Sequence[float], boxes: Sequence[Boxes], point_coords: Tensor
) -> tuple[Tensor, Tensor]:
    """Sample several maps of each image at points of boxes.

    Args:
        features_list: maps (N, C, H, W).
        feature_scales: cells per pixel of each map.
        boxes: the boxes of each image, R over all.
        point_coords: (R, P, 2), of each box.

    Returns:
        (R, ΣC, P), and the points in pixels of the image, (R, P, 2).
    """
    in_image = get_point_coords_wrt_image(torch.cat([of_image.tensor for of_image in boxes]), point_coords)
    sampled = []
    for i, points in enumerate(in_image.split([len(of_image) for of_image in boxes])):
        maps = []
        for feature, scale in zip(features_list, feature_scales):
            sides = [torch.as_tensor(side, device="cpu") for side in feature.shape[:-3:-1]]
            size_xy = torch.stack(sides).float() / scale  # pixels
            grid = points[None] / size_xy.to(feature.device)
            maps.append(point_sample(feature[i][None], grid, align_corners=False)[0].transpose(1, 0))
        sampled.append(torch.cat(maps, dim=1))
    return torch.cat(sampled), in_image


def subdivide(
    logits: Tensor,
    steps: int,
    num_points: int,
    uncertainty: Callable[[Tensor], Tensor],
    predict: Callable[[Tensor], Tensor],
) -> Tensor:
    """Double the resolution of a map a few times, and predict anew where the doubled map is uncertain.

    Args:
        logits: (N, C, H, W).
        steps: how often its resolution is doubled, k.
        num_points: P, how many cells are predicted in each step.
        uncertainty: from logits to how uncertain each cell is, (N, 1, H', W').
        predict: from points, (N, P, 2), to their logits, (N, C, P).

    Returns:
        (N, C, 2ᵏ · H, 2ᵏ · W).
    """
    for _ in range(steps):
        logits = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
        index, points = get_uncertain_point_coords_on_grid(uncertainty(logits), num_points)
        index = index[:, None].expand(-1, logits.shape[1], -1)
        logits = logits.flatten(2).scatter_(2, index, predict(points)).view_as(logits)
    return logits
