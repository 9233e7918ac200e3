"""PointRend's semantic head: a coarse map, made finer at the points where two classes are close to one another.

N images, P points, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..config import CfgNode, configurable
from ..config.sections import add_pointrend_config, completed
from ..errors import ConfigError, whole_number
from ..layers import InferenceModule, ShapeSpec
from .build import SEM_SEG_HEADS_REGISTRY, build_point_head, named_shapes
from .point_features import point_sample, subdivide

__all__ = ["PointRendSemSegHead"]


@SEM_SEG_HEADS_REGISTRY.register()
class PointRendSemSegHead(InferenceModule):
    """A semantic head with ``layers``, and a point head that makes what it predicts finer (Kirillov et al. 2020).

    Args:
        coarse_sem_seg_head: features to logits.
        point_head: features (N, C, P) and coarse logits (N, K, P) to logits.
        in_features: the names of the maps that the point head reads.
        subdivision_steps: how often the resolution of the coarse logits is doubled.
        subdivision_num_points: P, how many points are predicted anew in each step.
    """

    dense_parts = ("coarse_sem_seg_head", "point_head")

    @configurable
    def __init__(
        self,
        *,
        coarse_sem_seg_head: nn.Module,
        point_head: nn.Module,
        in_features: Sequence[str],
        subdivision_steps: int,
        subdivision_num_points: int,
    ) -> None:
        super().__init__()
        self.coarse_sem_seg_head = coarse_sem_seg_head
        self.point_head = point_head
        self.in_features = list(in_features)
        self.subdivision_steps, self.subdivision_num_points = subdivision_steps, subdivision_num_points

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Translate ``MODEL.POINT_HEAD`` into arguments."""
        cfg = completed(cfg, add_pointrend_config)
        point, num_classes = cfg.MODEL.POINT_HEAD, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        if num_classes != point.NUM_CLASSES:
            raise ConfigError(
                f"MODEL.POINT_HEAD.NUM_CLASSES is {point.NUM_CLASSES!r}: expected {num_classes!r}, as "
                "MODEL.SEM_SEG_HEAD.NUM_CLASSES says"
            )
        shapes = named_shapes(input_shape, point.IN_FEATURES, "MODEL.POINT_HEAD.IN_FEATURES")
        at_a_point = ShapeSpec(channels=sum(shape.channels or 0 for shape in shapes), height=1, width=1)
        return {
            "coarse_sem_seg_head": SEM_SEG_HEADS_REGISTRY.get(point.COARSE_SEM_SEG_HEAD_NAME)(cfg, input_shape),
            "point_head": build_point_head(cfg, at_a_point),
            "in_features": point.IN_FEATURES,
            "subdivision_steps": whole_number("MODEL.POINT_HEAD.SUBDIVISION_STEPS", point.SUBDIVISION_STEPS, 0),
            "subdivision_num_points": whole_number(
                "MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS", point.SUBDIVISION_NUM_POINTS
            ),
        }

    def forward(self, features: Mapping[str, Tensor], targets: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Map features to logits (N, K, h, w), finer than the coarse head's, and an empty dict in place of losses."""
        coarse = self.coarse_sem_seg_head.layers(features).float()  # type: ignore[operator]
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
