"""What other projects import of Detectron2's projects DeepLab and PointRend, and of one CUDA extension.

N images or regions, P points, C channels, H × W cells. A point is x, y in 0…1 of the whole map or box.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import CfgNode
from ..config.safe_yaml import read_yaml_with_base
from ..config.sections import add_keys
from .names import ABSENT, NotInLitepredError


def _add(project: str, cfg: CfgNode) -> None:
    add_keys(cfg, read_yaml_with_base(Path(__file__).with_name("projects.yaml"))[project])


def add_deeplab_config(cfg: CfgNode) -> None:
    """Add the keys of DeepLab with their defaults to a config."""
    _add("deeplab", cfg)


def add_pointrend_config(cfg: CfgNode) -> None:
    """Add the keys of PointRend with their defaults to a config."""
    _add("point_rend", cfg)


def add_panoptic_deeplab_config(cfg: CfgNode) -> None:
    """Add the keys of Panoptic-DeepLab, and those of DeepLab, with their defaults to a config."""
    _add("deeplab", cfg)
    _add("panoptic_deeplab", cfg)


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
    theta = torch.tensor([[[0.5, 0, 0.5], [0, 0.5, 0.5]]], device=device)
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
    number, _, height, width = uncertainty_map.shape
    flat = uncertainty_map.view(number, height * width)
    index = flat.topk(min(height * width, num_points), dim=1).indices
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
    features_list: Sequence[Tensor], feature_scales: Sequence[float], boxes: Sequence[Any], point_coords: Tensor
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
            size_xy = torch.tensor(feature.shape[:-3:-1]) / scale  # pixels
            grid = points[None] / size_xy.to(feature.device)
            maps.append(point_sample(feature[i][None], grid, align_corners=False)[0].transpose(1, 0))
        sampled.append(torch.cat(maps, dim=1))
    return torch.cat(sampled), in_image


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int = 64,
) -> Tensor:
    """Attend to a few points of maps (Deformable DETR): what the extension MultiScaleDeformableAttention computes.

    L levels with S cells over all, M heads, Q queries, K points for each.

    Args:
        value: (N, S, M, C), level after level.
        value_spatial_shapes: (L, 2), height and width of each level in cells.
        value_level_start_index: (L,), the first cell of each level.
        sampling_locations: (N, Q, M, L, K, 2), x and y in 0…1 of the level.
        attention_weights: (N, Q, M, L, K).
        im2col_step: has no effect.

    Returns:
        (N, Q, M · C).
    """
    n, _, heads, channels = value.shape
    queries = sampling_locations.shape[1]
    grids = (2.0 * sampling_locations - 1.0).transpose(1, 2).flatten(0, 1)  # (N·M, Q, L, K, 2)
    weights = attention_weights.transpose(1, 2).reshape(n * heads, 1, queries, -1)  # (N·M, 1, Q, L·K)
    sampled = []
    for i, (height, width) in enumerate(value_spatial_shapes.tolist()):
        start = int(value_level_start_index[i])
        level = value[:, start : start + height * width].permute(0, 2, 3, 1).reshape(n * heads, channels, height, width)
        grid = grids[:, :, i]
        sampled.append(F.grid_sample(level, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    weighted = torch.stack(sampled, dim=-2).flatten(-2) * weights  # (N·M, C, Q, L·K)
    return weighted.sum(-1).view(n, heads * channels, queries).transpose(1, 2).contiguous()


def ms_deform_attn_backward(*args: Any, **kwargs: Any) -> None:
    """Raise `NotInLitepredError`: gradients are for training."""
    raise NotInLitepredError(f"MultiScaleDeformableAttention.ms_deform_attn_backward was called: {ABSENT['training']}")
