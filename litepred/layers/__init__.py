"""The layers that torch and torchvision do not already have."""

from .conv import Conv2d, DeformConv, ModulatedDeformConv
from .module import InferenceModule
from .norm import FrozenBatchNorm2d, LayerNorm2d, get_norm
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
    "ShapeSpec",
    "WinogradConv2d",
    "get_norm",
    "paste_masks_in_image",
]
