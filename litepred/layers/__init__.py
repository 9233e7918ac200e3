"""The layers that torch and torchvision do not already have."""

from .blocks import CNNBlockBase, DepthwiseSeparableConv2d, cat, move_device_like, nonzero_tuple, shapes_to_tensor
from .conv import Conv2d, DeformConv, ModulatedDeformConv, add_convs
from .module import InferenceModule
from .nms import batched_nms, batched_nms_rotated, nms, nms_rotated
from .norm import FrozenBatchNorm2d, LayerNorm2d, Norm, get_norm
from .paste import paste_masks_in_image
from .roi_modules import ROIAlign, ROIAlignRotated, roi_align_rotated
from .shape_spec import ShapeSpec
from .winograd import WinogradConv2d

__all__ = [
    "CNNBlockBase",
    "Conv2d",
    "DeformConv",
    "DepthwiseSeparableConv2d",
    "FrozenBatchNorm2d",
    "InferenceModule",
    "LayerNorm2d",
    "ModulatedDeformConv",
    "Norm",
    "ROIAlign",
    "ROIAlignRotated",
    "ShapeSpec",
    "WinogradConv2d",
    "add_convs",
    "batched_nms",
    "batched_nms_rotated",
    "cat",
    "get_norm",
    "move_device_like",
    "nms",
    "nms_rotated",
    "nonzero_tuple",
    "paste_masks_in_image",
    "roi_align_rotated",
    "shapes_to_tensor",
]
