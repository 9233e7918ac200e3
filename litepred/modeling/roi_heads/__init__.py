"""Heads that work on regions of interest."""

from .box_head import FastRCNNConvFCHead
from .cascade import CascadeROIHeads
from .fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference, fast_rcnn_inference_single_image
from .keypoint_head import BaseKeypointRCNNHead, KRCNNConvDeconvUpsampleHead, keypoint_rcnn_inference
from .mask_head import BaseMaskRCNNHead, MaskRCNNConvUpsampleHead, mask_rcnn_inference
from .res5 import Res5ROIHeads
from .standard import ROIHeads, StandardROIHeads

__all__ = [
    "BaseKeypointRCNNHead",
    "BaseMaskRCNNHead",
    "CascadeROIHeads",
    "FastRCNNConvFCHead",
    "FastRCNNOutputLayers",
    "KRCNNConvDeconvUpsampleHead",
    "MaskRCNNConvUpsampleHead",
    "ROIHeads",
    "Res5ROIHeads",
    "StandardROIHeads",
    "fast_rcnn_inference",
    "fast_rcnn_inference_single_image",
    "keypoint_rcnn_inference",
    "mask_rcnn_inference",
]
