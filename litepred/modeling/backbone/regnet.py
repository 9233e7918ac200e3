"""RegNetX and RegNetY (Radosavovic et al. 2020; Dollár et al. 2021): grouped bottlenecks without a bottleneck."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import CfgNode
from ...errors import ConfigError
from ...layers import InferenceModule, Norm, ShapeSpec, get_norm
from ..build import BACKBONE_REGISTRY
from .base import Stage, StagedBackbone
from .fpn import FPN, LastLevelMaxPool, fpn_from_config

__all__ = [
    "RegNet",
    "ResBottleneckBlock",
    "SimpleStem",
    "build_regnetx_4gf_dds_fpn_backbone",
    "build_regnety_4gf_dds_fpn_backbone",
]


def _norm(norm: Norm, channels: int) -> nn.Module:
    return get_norm(norm, channels) or nn.Identity()


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)


def _check_activation(activation_class: Any) -> None:
    if activation_class not in (None, nn.ReLU):
        raise ConfigError(f"a RegNet came with activation_class={activation_class}: expected torch.nn.ReLU")


class SimpleStem(InferenceModule):
    """One 3×3 convolution of stride 2, from ``w_in`` to ``w_out`` channels; ``activation_class`` must be ReLU."""

    norm_pairs = (("conv", "bn"),)

    def __init__(self, w_in: int, w_out: int, norm: Norm, activation_class: Any = None) -> None:
        super().__init__()
        _check_activation(activation_class)
        self.conv = _conv(w_in, w_out, 3, stride=2)
        self.bn = _norm(norm, w_out)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve images (N, 3, H, W) to a map of half the height and width."""
        return F.relu_(self.bn(self.conv(x)))


class _SqueezeExcite(InferenceModule):
    """Weight each channel by what the whole map says."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.f_ex = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.f_ex(F.adaptive_avg_pool2d(x, 1))


class _Transform(InferenceModule):
    """1×1, grouped 3×3, perhaps squeeze and excite, 1×1."""

    norm_pairs = (("a", "a_bn"), ("b", "b_bn"), ("c", "c_bn"))

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, group_width: int, se_ratio: float, norm: Norm
    ) -> None:
        super().__init__()
        self.a = _conv(in_channels, out_channels, 1)
        self.a_bn = _norm(norm, out_channels)
        self.b = _conv(out_channels, out_channels, 3, stride, groups=out_channels // group_width)
        self.b_bn = _norm(norm, out_channels)
        self.se = _SqueezeExcite(out_channels, round(in_channels * se_ratio)) if se_ratio else None
        self.c = _conv(out_channels, out_channels, 1)
        self.c_bn = _norm(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.a_bn(self.a(x)))
        x = F.relu_(self.b_bn(self.b(x)))
        if self.se is not None:
            x = self.se(x)
        return self.c_bn(self.c(x))


class ResBottleneckBlock(InferenceModule):
    """A residual block; the shortcut is convolved where width or resolution change.

    Args:
        w_in: channels of the input.
        w_out: channels of the output.
        stride: of the 3×3 convolution.
        norm: as `get_norm` takes it.
        activation_class: must be ReLU.
        params: ``group_w``, channels per group of the 3×3 convolution, and ``se_r``, see `RegNet`; ``bot_mul`` is 1.
    """

    norm_pairs = (("proj", "bn"),)

    def __init__(
        self, w_in: int, w_out: int, stride: int, norm: Norm, activation_class: Any, params: Mapping[str, Any]
    ) -> None:
        super().__init__()
        _check_activation(activation_class)
        self.proj = None
        if w_in != w_out or stride != 1:
            self.proj = _conv(w_in, w_out, 1, stride)
            self.bn = _norm(norm, w_out)
        self.f = _Transform(w_in, w_out, stride, params["group_w"], params["se_r"], norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, w_in, H, W) to (N, w_out, H / stride, W / stride)."""
        shortcut = x if self.proj is None else self.bn(self.proj(x))
        return F.relu_(shortcut + self.f(x))


class RegNet(StagedBackbone):
    """A stem and four stages, ``s1`` to ``s4``, of strides 4, 8, 16 and 32.

    The widths of the blocks grow along a line, and each stage has the blocks of one quantised width (Radosavovic et al.
    2020, equations 2 to 4).

    Args:
        stem_width: channels of the stem.
        depth: blocks over all stages.
        w_a: by how many channels the line grows from block to block.
        w_0: channels where it begins.
        w_m: the factor between the widths of two stages.
        group_width: channels per group of the 3×3 convolutions.
        se_ratio: hidden channels of squeeze and excite, as a share of a block's input; 0 for none.
        norm: as `get_norm` takes it.
        out_features: which of ``stem``, ``s1``, … are returned; by default the last stage.
        in_channels: of the image.
        stem_class: called as `SimpleStem` is.
        block_class: called as `ResBottleneckBlock` is.
        freeze_at: for training, and not looked at.
        stride: of the first block of each stage, must be 2.
        bottleneck_ratio: must be 1.
        activation_class: must be ReLU.

    Raises:
        ConfigError: when no feature is wanted, or one that does not exist; or for another stride, ratio or activation.
    """

    def __init__(
        self,
        *,
        stem_width: int = 32,
        depth: int,
        w_a: float,
        w_0: int,
        w_m: float,
        group_width: int,
        se_ratio: float = 0.0,
        norm: Norm = "BN",
        out_features: Sequence[str] | None = None,
        in_channels: int = 3,
        stem_class: Callable[..., nn.Module] = SimpleStem,
        block_class: Callable[..., nn.Module] = ResBottleneckBlock,
        freeze_at: int = 0,
        stride: int = 2,
        bottleneck_ratio: float = 1.0,
        activation_class: Any = nn.ReLU,
    ) -> None:
        if (stride, bottleneck_ratio) != (2, 1):
            raise ConfigError(f"a RegNet came with {stride=} and {bottleneck_ratio=}: expected 2 and 1")
        _check_activation(activation_class)
        steps = np.round(np.log(np.arange(depth) * w_a / w_0 + 1) / np.log(w_m))
        widths, depths = np.unique(np.round(w_0 * w_m**steps / 8).astype(int) * 8, return_counts=True)
        stages = {"stem": Stage(stem_class(in_channels, stem_width, norm, nn.ReLU), stem_width, stride=2)}
        channels = stem_width
        for i, (width, blocks) in enumerate(zip(widths.tolist(), depths.tolist()), 1):
            group = min(group_width, width)
            width = max(group, round(width / group) * group)
            params = {"bot_mul": 1.0, "group_w": group, "se_r": se_ratio}
            stage = nn.Sequential()
            for j in range(1, blocks + 1):
                stage.add_module(f"b{j}", block_class(channels, width, 2 if j == 1 else 1, norm, nn.ReLU, params))
                channels = width
            stages[f"s{i}"] = Stage(stage, width, stride=2 ** (i + 1))
        super().__init__(stages, list(stages)[-1:] if out_features is None else out_features, "MODEL.FPN.IN_FEATURES")


def _regnet_fpn(cfg: CfgNode, input_shape: ShapeSpec, **sizes: Any) -> FPN:
    features, channels = cfg.MODEL.FPN.IN_FEATURES or (), input_shape.channels or 3
    bottom_up = RegNet(norm=cfg.MODEL.RESNETS.NORM, out_features=features, in_channels=channels, **sizes)
    return fpn_from_config(cfg, bottom_up, LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_regnetx_4gf_dds_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``MODEL.FPN`` on RegNetX-4GF, with the norm of ``MODEL.RESNETS``."""
    return _regnet_fpn(cfg, input_shape, depth=23, w_a=38.65, w_0=96, w_m=2.43, group_width=40)


@BACKBONE_REGISTRY.register()
def build_regnety_4gf_dds_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``MODEL.FPN`` on RegNetY-4GF, with the norm of ``MODEL.RESNETS``."""
    return _regnet_fpn(cfg, input_shape, depth=22, w_a=31.41, w_0=96, w_m=2.24, group_width=64, se_ratio=0.25)
