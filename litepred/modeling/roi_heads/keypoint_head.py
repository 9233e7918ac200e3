"""Mask R-CNN's keypoint branch: a heatmap per keypoint.

D detections over all images, K keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import CfgNode, configurable
from ...errors import whole_number
from ...layers import InferenceModule, ShapeSpec, add_convs
from ...structures import Instances
from ...structures.keypoints import heatmaps_to_keypoints
from ..build import ROI_KEYPOINT_HEAD_REGISTRY

__all__ = ["BaseKeypointRCNNHead", "KRCNNConvDeconvUpsampleHead", "keypoint_rcnn_inference"]


def keypoint_rcnn_inference(
    pred_keypoint_logits: Tensor, pred_instances: Sequence[Instances], score_column: int = 3
) -> None:
    """Give each instance its ``pred_keypoints`` (Di, K, 3), as x, y, score, and ``pred_keypoint_heatmaps``.

    Args:
        pred_keypoint_logits: (D, K, H, W) float.
        pred_instances: per image, with ``pred_boxes``, in whose pixels the keypoints are given.
        score_column: what of `heatmaps_to_keypoints` is a keypoint's score: 3, or 2 for its logit.
    """
    boxes = torch.cat([i.pred_boxes.tensor for i in pred_instances])
    logits = pred_keypoint_logits.float()
    keypoints = heatmaps_to_keypoints(logits, boxes)  # (D, K, 4): x, y, logit, probability
    keypoints = torch.cat((keypoints[:, :, :2], keypoints[:, :, score_column : score_column + 1]), dim=2)
    sizes = [len(i) for i in pred_instances]
    for points, maps, result in zip(keypoints.split(sizes), logits.split(sizes), pred_instances):
        result.pred_keypoints = points
        result.pred_keypoint_heatmaps = maps


class BaseKeypointRCNNHead(InferenceModule):
    """A keypoint head is its `layers`: pooled boxes to heatmaps. Subclass it for a head of your own.

    Args:
        num_keypoints: K.
    """

    score_column = 3  # see `keypoint_rcnn_inference`

    @configurable
    def __init__(self, *, num_keypoints: int, **ignored: Any) -> None:  # the rest of Detectron2's is for training
        super().__init__()
        self.num_keypoints = whole_number("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", num_keypoints)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Translate the number of keypoints; subclasses add their arguments."""
        return {"num_keypoints": cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS}

    def layers(self, x: Tensor) -> Tensor:
        """Map pooled boxes (D, C, S, S) to logits (D, K, H, W)."""
        raise NotImplementedError

    def forward(self, x: Tensor, instances: list[Instances]) -> list[Instances]:
        """Predict keypoints for pooled boxes (D, C, S, S) and set them on ``instances``."""
        keypoint_rcnn_inference(self.layers(x), instances, self.score_column)
        return instances


@ROI_KEYPOINT_HEAD_REGISTRY.register()
class KRCNNConvDeconvUpsampleHead(BaseKeypointRCNNHead):
    """3×3 convolutions with ReLU, a transposed one, and bilinear enlargement: four times the pooled resolution.

    Args:
        input_shape: channels of the pooled boxes.
        num_keypoints: K.
        conv_dims: output channels of each convolution.

    Attributes:
        conv_names: the names of the 3×3 convolutions, in order.
    """

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, num_keypoints: int, conv_dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(num_keypoints=num_keypoints, **kwargs)
        channels = input_shape.channels or 0
        self.conv_names = add_convs(self, "conv_fcn", channels, conv_dims)
        self.score_lowres = nn.ConvTranspose2d([channels, *conv_dims][-1], num_keypoints, 4, stride=2, padding=1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Translate ``MODEL.ROI_KEYPOINT_HEAD`` into arguments."""
        own = {"input_shape": input_shape, "conv_dims": cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS}
        return super().from_config(cfg, input_shape) | own

    def layers(self, x: Tensor) -> Tensor:
        """Map pooled boxes (D, C, S, S) to logits (D, K, 4·S, 4·S)."""
        for name in self.conv_names:
            x = getattr(self, name)(x)
        return F.interpolate(self.score_lowres(x), scale_factor=2, mode="bilinear", align_corners=False)
