"""Feature pyramid networks (Lin et al. 2017): strong semantics at every resolution.

Levels are named by the logarithm of their stride: p2 has stride 4, p5 stride 32.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import CfgNode
from ...errors import ConfigError, whole_number
from ...layers import Conv2d, InferenceModule, Norm, ShapeSpec, get_norm
from ..build import BACKBONE_REGISTRY, named_shapes
from .base import Backbone
from .resnet import build_resnet_backbone

__all__ = [
    "FPN",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "build_resnet_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone",
]


class LastLevelMaxPool(InferenceModule):
    """One coarser level for R-CNN: every second cell of ``p5``."""

    num_levels = 1
    in_feature = "p5"

    def forward(self, x: Tensor) -> list[Tensor]:
        """Halve (N, C, H, W)."""
        return [x[:, :, ::2, ::2].clone(memory_format=torch.preserve_format)]


class LastLevelP6P7(InferenceModule):
    """Two coarser levels for RetinaNet, convolved from the backbone's last map."""

    num_levels = 2

    def __init__(self, in_channels: int, out_channels: int, in_feature: str = "res5") -> None:
        super().__init__()
        whole_number("MODEL.FPN.OUT_CHANNELS", out_channels)
        self.in_feature = in_feature
        halving: dict[str, Any] = {"kernel_size": 3, "stride": 2, "padding": 1}
        self.p6 = Conv2d(in_channels, out_channels, **halving)
        self.p7 = Conv2d(out_channels, out_channels, **halving)

    def forward(self, c5: Tensor) -> list[Tensor]:
        """Halve (N, C, H, W) once and twice; the activation lies between the two, not before them."""
        p6 = self.p6(c5)
        return [p6, self.p7(F.relu(p6))]


class FPN(Backbone):
    """A top-down path over a backbone's maps.

    Args:
        bottom_up: the backbone.
        in_features: its maps to use, finest first; each has twice the stride of the one before.
        out_channels: channels of every level.
        norm: as `get_norm` takes it; convolutions have a bias only without one.
        top_block: makes coarser levels from the map it names in ``in_feature``.
        fuse_type: "sum", or "avg" to halve after each addition.
        square_pad: pad the input to a square of this side; 0 for none.

    Raises:
        ConfigError: when a map is missing, the strides do not double, ``out_channels`` is not a whole number above 0,
            or ``fuse_type`` is another word.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm: Norm = "",
        top_block: Any = None,
        fuse_type: str = "sum",
        square_pad: int = 0,
    ) -> None:
        super().__init__()
        shapes = named_shapes(bottom_up.output_shape(), in_features, "MODEL.FPN.IN_FEATURES")
        strides = [shape.stride or 0 for shape in shapes]
        if any(b != 2 * a for a, b in itertools.pairwise(strides)):
            raise ConfigError(f"the strides of MODEL.FPN.IN_FEATURES are {strides}: expected each twice the one before")
        if fuse_type not in ("sum", "avg"):
            raise ConfigError(f"MODEL.FPN.FUSE_TYPE is {fuse_type!r}: expected 'sum' or 'avg'")
        whole_number("MODEL.FPN.OUT_CHANNELS", out_channels)
        self.in_features = tuple(in_features)
        self._levels = [int(math.log2(stride)) for stride in strides]
        for shape, level in zip(shapes, self._levels):
            lateral = Conv2d(shape.channels, out_channels, 1, bias=not norm, norm=get_norm(norm, out_channels))
            output = Conv2d(out_channels, out_channels, 3, padding=1, bias=not norm, norm=get_norm(norm, out_channels))
            self.add_module(f"fpn_lateral{level}", lateral)
            self.add_module(f"fpn_output{level}", output)
        self.top_block = top_block
        self.bottom_up = bottom_up
        self._average = fuse_type == "avg"
        self._square_pad = square_pad
        self._size_divisibility = strides[-1]
        levels = self._levels.copy()
        if top_block is not None:
            levels += [levels[-1] + i for i in range(1, top_block.num_levels + 1)]
        self._out_features = [f"p{level}" for level in levels]
        sources = [*bottom_up.output_shape(), *self._out_features[: len(strides)]]
        if top_block is not None and top_block.in_feature not in sources:
            raise ConfigError(
                f"MODEL.FPN.IN_FEATURES is {list(in_features)}, but the coarser levels are made from "
                f"{top_block.in_feature}: expected it among {sources}"
            )
        self._out_feature_strides = {f"p{level}": 2**level for level in levels}
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)

    @property
    def lateral_convs(self) -> list[nn.Module]:
        """The convolutions of the backbone's maps, coarsest first."""
        return [getattr(self, f"fpn_lateral{level}") for level in reversed(self._levels)]

    @property
    def output_convs(self) -> list[nn.Module]:
        """The convolutions of the merged maps, coarsest first."""
        return [getattr(self, f"fpn_output{level}") for level in reversed(self._levels)]

    @property
    def size_divisibility(self) -> int:
        """The stride of the coarsest map used."""
        return self._size_divisibility

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map normalised images (N, C, H, W) to ``p2``, ``p3`` and so on."""
        maps = dict(self.bottom_up(x))
        del x
        kept = None if self.top_block is None else self.top_block.in_feature
        outputs: dict[str, Tensor] = {}
        merged: Tensor | None = None
        coarsest_first = zip(reversed(self.in_features), reversed(self._levels), self.lateral_convs, self.output_convs)
        for name, level, lateral_conv, output_conv in coarsest_first:
            lateral = lateral_conv(maps[name] if name == kept else maps.pop(name))
            if merged is not None:
                lateral += F.interpolate(merged, scale_factor=2.0, mode="nearest")
                if self._average:
                    lateral /= 2
            merged = lateral
            outputs[f"p{level}"] = output_conv(merged)
        outputs = dict(reversed(outputs.items()))
        if self.top_block is not None:
            extra = self.top_block((maps | outputs)[self.top_block.in_feature])
            outputs |= dict(zip(self._out_features[len(outputs) :], extra))
        return outputs


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``MODEL.FPN`` on a ResNet, with ``p6`` pooled from ``p5``."""
    return fpn_from_config(cfg, build_resnet_backbone(cfg, input_shape), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_retinanet_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``MODEL.FPN`` on a ResNet, with ``p6`` and ``p7`` convolved from ``res5``."""
    bottom_up = build_resnet_backbone(cfg, input_shape)
    (res5,) = named_shapes(bottom_up.output_shape(), ["res5"], "what p6 and p7 are made from")
    return fpn_from_config(cfg, bottom_up, LastLevelP6P7(res5.channels or 0, cfg.MODEL.FPN.OUT_CHANNELS))


def fpn_from_config(cfg: CfgNode, bottom_up: Backbone, top_block: nn.Module, square_pad: int = 0) -> FPN:
    """Build the pyramid of ``MODEL.FPN`` on any backbone."""
    fpn = cfg.MODEL.FPN
    return FPN(bottom_up, fpn.IN_FEATURES, fpn.OUT_CHANNELS, fpn.NORM, top_block, fpn.FUSE_TYPE, square_pad)
