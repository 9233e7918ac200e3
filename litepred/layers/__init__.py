"""The layers that torch and torchvision do not already have."""

from .conv import Conv2d, DeformConv, ModulatedDeformConv, add_convs
from .module import InferenceModule
from .nms import batched_nms
from .norm import FrozenBatchNorm2d, LayerNorm2d, Norm, get_norm
from .paste import paste_masks_in_image
from .shape_spec import ShapeSpec
from .winograd import WinogradConv2d

__all__ = [
    "Conv2d",
    "DeformConv",
    "FrozenBatchNorm2d",
    "InferenceModule",
    "LayerNorm2d",
    "ModulatedDeformConv",
    "Norm",
    "ShapeSpec",
    "WinogradConv2d",
    "add_convs",
    "batched_nms",
    "get_norm",
    "paste_masks_in_image",
]
