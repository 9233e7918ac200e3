"""R-CNN on rotated boxes (RRPN, Ma et al. 2018): the same proposals and heads, with five numbers per box."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..config import configurable
from ..errors import ConfigError
from .box_coding import Box2BoxTransformRotated
from .build import PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY
from .roi_heads import FastRCNNOutputLayers, StandardROIHeads, fast_rcnn_inference, fast_rcnn_inference_single_image
from .rpn import RPN

__all__ = [
    "RRPN",
    "RROIHeads",
    "RotatedFastRCNNOutputLayers",
    "fast_rcnn_inference_rotated",
    "fast_rcnn_inference_single_image_rotated",
]

fast_rcnn_inference_rotated = partial(fast_rcnn_inference, box_dim=5)
fast_rcnn_inference_single_image_rotated = partial(fast_rcnn_inference_single_image, box_dim=5)


@PROPOSAL_GENERATOR_REGISTRY.register()
class RRPN(RPN):
    """`RPN` whose anchors, those of `RotatedAnchorGenerator`, and proposals are `RotatedBoxes`."""

    box_coding = Box2BoxTransformRotated


class RotatedFastRCNNOutputLayers(FastRCNNOutputLayers):
    """`FastRCNNOutputLayers` of rotated boxes."""

    box_coding = Box2BoxTransformRotated


@ROI_HEADS_REGISTRY.register()
class RROIHeads(StandardROIHeads):
    """`StandardROIHeads` that find `RotatedBoxes`, without masks and keypoints.

    Raises:
        ConfigError: when they are to find masks or keypoints, or pool upright boxes.
    """

    output_layers = RotatedFastRCNNOutputLayers

    @configurable
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.mask_on or self.keypoint_on:
            raise ConfigError("RROIHeads find boxes alone: expected MODEL.MASK_ON and MODEL.KEYPOINT_ON False")
        if self.box_pooler.box_dim != 5:
            raise ConfigError("RROIHeads read rotated boxes: expected MODEL.ROI_BOX_HEAD.POOLER_TYPE ROIAlignRotated")
