"""The C4 head: the backbone's last stage runs on every region instead of on the image.

N images, R regions over all images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...config import CfgNode, configurable
from ...errors import ConfigError, whole_number
from ...layers import ShapeSpec
from ...structures import Boxes, Instances
from ..backbone.resnet import BottleneckBlock, ResNet, bottleneck_arguments
from ..build import ROI_HEADS_REGISTRY, build_mask_head
from ..poolers import ROIPooler
from .fast_rcnn import FastRCNNOutputLayers
from .mask_head import BaseMaskRCNNHead
from .standard import Features, ROIHeads, build_pooler

__all__ = ["Res5ROIHeads"]


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeads(ROIHeads):
    """One pooler and ``res5`` shared by the box and the mask branch (Mask R-CNN, figure 4 left).

    Args:
        in_features: name of the one map that regions are pooled from.
        pooler: boxes to (R, C, S, S).
        res5: pooled boxes to (R, C', S / 2, S / 2).
        box_predictor: features to detections.
        mask_head: ``None`` for no masks.
        **kwargs: see `ROIHeads`.
    """

    dense_parts = ("res5", "box_predictor", "mask_head")

    @configurable
    def __init__(
        self,
        *,
        in_features: Sequence[str],
        pooler: ROIPooler,
        res5: nn.Module,
        box_predictor: FastRCNNOutputLayers,
        mask_head: BaseMaskRCNNHead | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_features = list(in_features)
        self.pooler = pooler
        self.res5 = res5
        self.box_predictor = box_predictor
        self.mask_on = mask_head is not None
        if mask_head is not None:
            self.mask_head = mask_head

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec] | None = None) -> dict[str, Any]:
        """Translate ``MODEL.ROI_HEADS``, ``MODEL.ROI_BOX_HEAD`` and ``MODEL.RESNETS`` into arguments."""
        in_features = cfg.MODEL.ROI_HEADS.IN_FEATURES
        if not in_features or len(in_features) != 1 or cfg.MODEL.KEYPOINT_ON:
            raise ConfigError(
                f"Res5ROIHeads with MODEL.ROI_HEADS.IN_FEATURES {in_features} and MODEL.KEYPOINT_ON "
                f"{cfg.MODEL.KEYPOINT_ON}: it takes one feature and has no keypoints; StandardROIHeads has both"
            )
        shapes = input_shape or {}
        pooler = build_pooler(cfg.MODEL.ROI_BOX_HEAD, shapes, in_features)
        res5 = cls._build_res5_block(cfg)
        last: Any = res5[-1]
        channels = last.out_channels
        height, width = pooler.output_size
        arguments = super().from_config(cfg) | {
            "in_features": in_features,
            "pooler": pooler,
            "res5": res5,
            "box_predictor": FastRCNNOutputLayers(cfg, ShapeSpec(channels=channels, height=1, width=1)),
        }
        if cfg.MODEL.MASK_ON:
            shape = ShapeSpec(channels=channels, height=height // 2, width=width // 2)
            arguments["mask_head"] = build_mask_head(cfg, shape)
        return arguments

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> nn.Sequential:
        resnets = cfg.MODEL.RESNETS
        if resnets.DEFORM_ON_PER_STAGE and resnets.DEFORM_ON_PER_STAGE[-1]:
            raise ConfigError(
                f"Res5ROIHeads with MODEL.RESNETS.DEFORM_ON_PER_STAGE {list(resnets.DEFORM_ON_PER_STAGE)}: "
                "its res5 cannot be deformable, expected False as the last"
            )
        out_channels = 8 * whole_number("MODEL.RESNETS.RES2_OUT_CHANNELS", resnets.RES2_OUT_CHANNELS)
        blocks = ResNet.make_stage(  # of three bottlenecks at any depth, even on a backbone of basic blocks
            BottleneckBlock,
            3,
            in_channels=out_channels // 2,
            out_channels=out_channels,
            first_stride=2,
            norm=resnets.NORM,
            **bottleneck_arguments(resnets, stage=5),
        )
        return nn.Sequential(*blocks)

    def _shared_roi_transform(self, features: Sequence[Tensor], boxes: Sequence[Boxes]) -> Tensor:
        return self.res5(self.pooler(features, boxes))

    def forward_with_given_boxes(self, features: dict[str, Tensor], instances: list[Instances]) -> list[Instances]:
        """Add masks to ``instances``, which have ``pred_boxes`` and ``pred_classes``."""
        if not self.mask_on:
            return instances
        maps = [features[name] for name in self.in_features]
        return self.mask_head(self._shared_roi_transform(maps, [i.pred_boxes for i in instances]), instances)

    def _box_features(self, features: Features, boxes: Sequence[Boxes]) -> Tensor:
        maps = [features[name] for name in self.in_features]
        parts = self._some_at_a_time(boxes, maps[0], self.pooler)
        return torch.cat([self._shared_roi_transform(maps, some).mean(dim=(2, 3)) for some in parts])
