"""FCOS (Tian et al. 2019, in its form of 2020): boxes from the centre of every cell, without anchors of several shapes.

N images, L levels of H × W cells, B = H·W cells of one level, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..config import configurable
from ..layers import ShapeSpec
from .anchors import DefaultAnchorGenerator
from .backbone import Backbone
from .box_coding import Box2BoxTransform, Box2BoxTransformLinear
from .dense_detector import finest_first
from .retinanet import RetinaNet, RetinaNetHead, run_tower

__all__ = ["FCOS", "FCOSHead"]


class FCOSHead(RetinaNetHead):
    """`RetinaNetHead` of one anchor per cell, which also predicts how central a cell is in its box.

    Args:
        input_shape: of the levels.
        conv_dims: output channels of each tower's convolutions.
        **kwargs: see `RetinaNetHead`.
    """

    @configurable
    def __init__(self, *, input_shape: Sequence[ShapeSpec], conv_dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(input_shape=input_shape, conv_dims=conv_dims, num_anchors=1, **kwargs)
        self.ctrness = nn.Conv2d(self.bbox_pred.in_channels, 1, 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], ...]:  # type: ignore[override]
        """Map each level (N, C, H, W) to logits (N, K, H, W), distances (N, 4, H, W) and centrality (N, 1, H, W)."""
        predictions: tuple[list[Tensor], ...] = ([], [], [])
        for level, feature in enumerate(features):
            x = run_tower(self.bbox_subnet, feature, level)
            predictions[0].append(self.cls_score(run_tower(self.cls_subnet, feature, level)))
            predictions[1].append(self.bbox_pred(x))
            predictions[2].append(self.ctrness(x))
        return predictions


class FCOS(RetinaNet):
    """`RetinaNet` whose head predicts, per cell, the distances to the sides of a box.

    Args:
        backbone: images to feature maps.
        head: features to logits, distances and centrality.
        head_in_features: names of the levels, by default all maps of the backbone.
        box2box_transform: decodes distances; by default in strides of their level.
        test_score_thresh: a score, the root of a class's probability times centrality, must exceed it.
        test_nms_thresh: IoU above which the lower-scored of two boxes of a class goes.
        **kwargs: see `RetinaNet`.

    Raises:
        ConfigError: when a number is not one, or is out of its range.
    """

    more_numbers = (1,)

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str] | None = None,
        box2box_transform: Box2BoxTransform | Box2BoxTransformLinear | None = None,
        test_score_thresh: float = 0.2,
        test_nms_thresh: float = 0.6,
        **kwargs: Any,
    ) -> None:
        shapes, names = (
            backbone.output_shape(),
            finest_first(backbone) if head_in_features is None else head_in_features,
        )
        strides = [shapes[name].stride or 1 for name in names]
        super().__init__(
            backbone=backbone,
            head=head,
            head_in_features=names,
            # A cell's box has the side of its stride, so that distances come in strides.
            anchor_generator=DefaultAnchorGenerator(sizes=[[s] for s in strides], aspect_ratios=[1.0], strides=strides),
            box2box_transform=box2box_transform or Box2BoxTransformLinear(),
            test_score_thresh=test_score_thresh,
            test_nms_thresh=test_nms_thresh,
            **kwargs,
        )

    def _scores(self, image: int, logits: Sequence[Tensor], centrality: Sequence[Tensor]) -> list[Tensor]:  # type: ignore[override]
        return [torch.sqrt(x[image].sigmoid() * y[image].sigmoid()) for x, y in zip(logits, centrality)]
