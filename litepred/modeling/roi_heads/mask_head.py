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
from ...layers import Conv2d, InferenceModule, ShapeSpec, get_norm
from ...structures import Instances
from ..build import ROI_MASK_HEAD_REGISTRY

__all__ = ["BaseMaskRCNNHead", "MaskRCNNConvUpsampleHead", "mask_rcnn_inference"]


def mask_rcnn_inference(logits: Tensor, instances: Sequence[Instances]) -> None:
    """Give each of ``instances`` its ``pred_masks``: probabilities (Di, 1, M, M) of the predicted class.

    Args:
        logits: (D, K, M, M), or (D, 1, M, M) when all classes share a mask.
        instances: per image, with ``pred_classes``.
    """
    if logits.shape[1] > 1:
        classes = torch.cat([i.pred_classes for i in instances])
        logits = logits[torch.arange(len(logits), device=logits.device), classes][:, None]  # (D, 1, M, M)
    for masks, result in zip(logits.float().sigmoid().split([len(i) for i in instances]), instances):
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
        input_shape: of the pooled boxes.
        num_classes: K, or 1 when all classes share a mask.
        conv_dims: output channels of each 3×3 convolution, then of the transposed one.
        conv_norm: as `get_norm` takes it.
    """

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, num_classes: int, conv_dims: Sequence[int], conv_norm: Any = "", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        channels = input_shape.channels or 0
        self._convs = [f"mask_fcn{i}" for i in range(1, len(conv_dims))]
        for name, dim in zip(self._convs, conv_dims):
            norm = get_norm(conv_norm, dim)
            conv = Conv2d(channels, dim, 3, padding=1, bias=not conv_norm, norm=norm, activation=F.relu_)
            self.add_module(name, conv)
            channels = dim
        self.deconv = nn.ConvTranspose2d(channels, conv_dims[-1], 2, stride=2)
        self.predictor = nn.Conv2d(conv_dims[-1], num_classes, 1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Translate ``MODEL.ROI_MASK_HEAD`` into arguments."""
        head = cfg.MODEL.ROI_MASK_HEAD
        return super().from_config(cfg, input_shape) | {
            "input_shape": input_shape,
            "num_classes": 1 if head.CLS_AGNOSTIC_MASK else cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "conv_dims": [head.CONV_DIM] * (head.NUM_CONV + 1),
            "conv_norm": head.NORM,
        }

    def layers(self, x: Tensor) -> Tensor:
        """Map pooled boxes (D, C, S, S) to mask logits (D, K or 1, 2·S, 2·S)."""
        for name in self._convs:
            x = getattr(self, name)(x)
        return self.predictor(F.relu_(self.deconv(x)))
