"""Mask R-CNN's mask branch (He et al. 2017).

D detections over all images, K classes, M × M mask cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import CfgNode, configurable
from ...errors import switch, whole_number
from ...layers import InferenceModule, Norm, ShapeSpec, add_convs
from ...structures import Instances
from ..build import ROI_MASK_HEAD_REGISTRY

__all__ = ["BaseMaskRCNNHead", "MaskRCNNConvUpsampleHead", "mask_rcnn_inference"]


def mask_rcnn_inference(pred_mask_logits: Tensor, pred_instances: Sequence[Instances]) -> None:
    """Give each of ``pred_instances`` its ``pred_masks``: probabilities (Di, 1, M, M) of the predicted class.

    Args:
        pred_mask_logits: (D, K, M, M), or (D, 1, M, M) when all classes share a mask.
        pred_instances: per image, with ``pred_classes``.
    """
    logits = pred_mask_logits
    if logits.shape[1] > 1:
        classes = torch.cat([i.pred_classes for i in pred_instances])
        logits = logits[torch.arange(len(logits), device=logits.device), classes][:, None]  # (D, 1, M, M)
    for masks, result in zip(logits.float().sigmoid().split([len(i) for i in pred_instances]), pred_instances):
        result.pred_masks = masks


class BaseMaskRCNNHead(InferenceModule):
    """A mask head is its `layers`: pooled boxes to mask logits. Subclass it for a head of your own."""

    @configurable
    def __init__(self, **ignored: Any) -> None:  # what Detectron2's takes is for training
        super().__init__()

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Contribute nothing; subclasses add their arguments."""
        return {}

    def layers(self, x: Tensor) -> Tensor:
        """Map pooled boxes (D, C, S, S) to mask logits (D, K or 1, M, M)."""
        raise NotImplementedError

    def forward(self, x: Tensor, instances: list[Instances]) -> list[Instances]:
        """Predict masks for pooled boxes (D, C, S, S) and set them as ``pred_masks`` of ``instances``."""
        mask_rcnn_inference(self.layers(x), instances)
        return instances


@ROI_MASK_HEAD_REGISTRY.register()
class MaskRCNNConvUpsampleHead(BaseMaskRCNNHead):
    """3×3 convolutions, a transposed one that doubles the resolution, a 1×1 predictor.

    Args:
        input_shape: channels of the pooled boxes.
        num_classes: K, or 1 when all classes share a mask.
        conv_dims: output channels of each 3×3 convolution, then of the transposed one.
        conv_norm: as `get_norm` takes it.

    Attributes:
        conv_names: the names of the 3×3 convolutions, in order.

    Raises:
        ConfigError: when a number is not a whole number above 0.
    """

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, num_classes: int, conv_dims: Sequence[int], conv_norm: Norm = "", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        *before, channels = [input_shape.channels or 0, *conv_dims]
        self.conv_names = add_convs(self, "mask_fcn", before[0], before[1:], conv_norm)
        channels = whole_number("MODEL.ROI_MASK_HEAD.CONV_DIM", channels)
        self.deconv = nn.ConvTranspose2d(before[-1], channels, 2, stride=2)
        self.predictor = nn.Conv2d(channels, whole_number("MODEL.ROI_HEADS.NUM_CLASSES", num_classes), 1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Translate ``MODEL.ROI_MASK_HEAD`` into arguments."""
        head = cfg.MODEL.ROI_MASK_HEAD
        shared = switch("MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", head.CLS_AGNOSTIC_MASK)
        return super().from_config(cfg, input_shape) | {
            "input_shape": input_shape,
            "num_classes": 1 if shared else cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "conv_dims": [head.CONV_DIM] * (whole_number("MODEL.ROI_MASK_HEAD.NUM_CONV", head.NUM_CONV, 0) + 1),
            "conv_norm": head.NORM,
        }

    @property
    def conv_norm_relus(self) -> list[nn.Module]:
        """The 3×3 convolutions, in order."""
        return [getattr(self, name) for name in self.conv_names]

    def layers(self, x: Tensor) -> Tensor:
        """Map pooled boxes (D, C, S, S) to mask logits (D, K or 1, 2·S, 2·S)."""
        for conv in self.conv_norm_relus:
            x = conv(x)
        return self.predictor(F.relu_(self.deconv(x)))
