"""The ResNet of DeepLab: a stem of three small convolutions, and dilated stages."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ...config import CfgNode
from ...config.sections import add_deeplab_config, completed
from ...errors import ConfigError
from ...layers import CNNBlockBase, Norm, ShapeSpec
from ..build import BACKBONE_REGISTRY
from .resnet import BasicStem, ResNet, conv_norm, resnet_of_config

__all__ = ["DeepLabStem", "build_resnet_deeplab_backbone"]


class DeepLabStem(CNNBlockBase):
    """Three 3×3 convolutions, of which the first has stride 2, and max-pooling: stride 4."""

    def __init__(self, in_channels: int = 3, out_channels: int = 128, norm: Norm = "BN") -> None:
        super().__init__(in_channels, out_channels, stride=4)
        half = out_channels // 2
        self.conv1 = conv_norm(in_channels, half, 3, norm, stride=2, padding=1)
        self.conv2 = conv_norm(half, half, 3, norm, padding=1)
        self.conv3 = conv_norm(half, out_channels, 3, norm, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to (N, C', H / 4, W / 4)."""
        return F.max_pool2d(self.conv3(self.conv2(self.conv1(x))), kernel_size=3, stride=2, padding=1)


@BACKBONE_REGISTRY.register()
def build_resnet_deeplab_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build the ResNet of ``MODEL.RESNETS`` with DeepLab's stem, dilations, and grid of dilations in stage 5.

    Raises:
        ConfigError: for values that no such ResNet has.
    """
    resnets = completed(cfg, add_deeplab_config).MODEL.RESNETS
    stems = {"basic": BasicStem, "deeplab": DeepLabStem}
    of_res4, of_res5, grid = resnets.RES4_DILATION, resnets.RES5_DILATION, resnets.RES5_MULTI_GRID
    if resnets.STEM_TYPE not in stems:
        raise ConfigError(f"MODEL.RESNETS.STEM_TYPE is {resnets.STEM_TYPE!r}: expected 'basic' or 'deeplab'")
    if (of_res4, of_res5) not in ((1, 1), (1, 2), (1, 4), (2, 4)):
        raise ConfigError(
            f"MODEL.RESNETS.RES4_DILATION and RES5_DILATION are {of_res4!r} and {of_res5!r}: expected 1 and one of 1, "
            "2 and 4, or 2 and 4"
        )
    if resnets.DEPTH < 50 or not isinstance(grid, (list, tuple)) or len(grid) != 3:
        raise ConfigError(
            f"MODEL.RESNETS has DEPTH {resnets.DEPTH!r} and RES5_MULTI_GRID {grid!r}: expected 50 or more, and three "
            "factors of the dilation, one for each block of the last stage"
        )
    return resnet_of_config(resnets, input_shape, stems[resnets.STEM_TYPE], {4: of_res4, 5: of_res5}, grid)
