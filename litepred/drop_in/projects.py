"""What other projects import of Detectron2's projects for training, and of one CUDA extension.

N images, P points, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import CfgNode
from ..config.safe_yaml import read_yaml_with_base
from ..config.sections import add_deeplab_config, add_keys
from ..modeling.point_features import point_sample
from .names import ABSENT, NotInLitepredError


def add_panoptic_deeplab_config(cfg: CfgNode) -> None:
    """Add the keys of Panoptic-DeepLab, and those of DeepLab, with their defaults to a config."""
    add_deeplab_config(cfg)
    add_keys(cfg, read_yaml_with_base(Path(__file__).with_name("projects.yaml")))


def get_uncertain_point_coords_with_randomness(
    coarse_logits: Tensor,
    uncertainty_func: Callable[[Tensor], Tensor],
    num_points: int,
    oversample_ratio: float,
    importance_sample_ratio: float,
) -> Tensor:
    """Draw points at random, more where a map is uncertain, as losses of PointRend and Mask2Former do.

    Args:
        coarse_logits: (N, C, H, W).
        uncertainty_func: from logits at points, (N, C, P), to how uncertain they are, (N, 1, P).
        num_points: P.
        oversample_ratio: how many times as many are drawn as are returned, 1 or more.
        importance_sample_ratio: which share of those returned are the most uncertain ones, 0 to 1.

    Returns:
        (N, P, 2), x and y in 0…1 of the map.
    """
    number, device = len(coarse_logits), coarse_logits.device
    points = torch.rand(number, int(num_points * oversample_ratio), 2, device=device)
    uncertainty = uncertainty_func(point_sample(coarse_logits, points, align_corners=False))[:, 0]
    chosen = int(importance_sample_ratio * num_points)
    points = points.take_along_dim(uncertainty.topk(chosen, dim=1).indices[..., None], dim=1)
    return torch.cat([points, torch.rand(number, num_points - chosen, 2, device=device)], dim=1)


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
