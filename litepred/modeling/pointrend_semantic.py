"""PointRend's semantic head: a coarse map, made finer at the points where two classes are close to one another.

N images, P points, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..config import CfgNode
from ..errors import whole_number
from ..layers import InferenceModule, ShapeSpec
from .build import SEM_SEG_HEADS_REGISTRY, build_point_head
from .point_features import POINTS_ARE_CHOSEN, point_sample, subdivide
from .point_head import pointrend_config, together

__all__ = ["PointRendSemSegHead"]


@SEM_SEG_HEADS_REGISTRY.register()
class PointRendSemSegHead(InferenceModule):
    """A semantic head with ``layers``, and a point head that makes what it predicts finer (Kirillov et al. 2020).

    Args:
        cfg: has ``MODEL.SEM_SEG_HEAD`` and ``MODEL.POINT_HEAD``.
        input_shape: channels and stride of the maps, by name.

    Raises:
        ConfigError: when both heads have other numbers of classes, or a number is out of its range.
    """

    torch_only = POINTS_ARE_CHOSEN
    dense_parts = ("coarse_sem_seg_head", "point_head")

    def __init__(self, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> None:
        super().__init__()
        cfg = pointrend_config(cfg, "SEM_SEG_HEAD")
        point, key = cfg.MODEL.POINT_HEAD, "MODEL.POINT_HEAD."
        self.coarse_sem_seg_head = SEM_SEG_HEADS_REGISTRY.get(point.COARSE_SEM_SEG_HEAD_NAME)(cfg, input_shape)
        self.point_head = build_point_head(cfg, together(input_shape, point.IN_FEATURES, f"{key}IN_FEATURES"))
        self.in_features = list(point.IN_FEATURES)
        self.subdivision_steps = whole_number(f"{key}SUBDIVISION_STEPS", point.SUBDIVISION_STEPS, 0)
        self.subdivision_num_points = whole_number(f"{key}SUBDIVISION_NUM_POINTS", point.SUBDIVISION_NUM_POINTS)

    def forward(self, features: Mapping[str, Tensor], targets: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Map features to logits (N, K, h, w), finer than the coarse head's, and an empty dict in place of losses."""
        coarse = self.coarse_sem_seg_head.layers(features).float()
        maps = [features[name].float() for name in self.in_features]

        def predict(points: Tensor) -> Tensor:
            fine = torch.cat([point_sample(one, points, align_corners=False) for one in maps], dim=1)
            return self.point_head(fine, point_sample(coarse, points, align_corners=False))

        return subdivide(
            coarse, self.subdivision_steps, self.subdivision_num_points, calculate_uncertainty, predict
        ), {}


def calculate_uncertainty(sem_seg_logits: Tensor) -> Tensor:
    """Tell how close the two best classes (N, K, H, W) are to one another: (N, 1, H, W), 0 where they are the same."""
    best = sem_seg_logits.topk(2, dim=1).values
    return (best[:, 1] - best[:, 0])[:, None]
