"""Pieces of DeepLab (Chen et al. 2017): dilated convolutions side by side, and those of each channel alone."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError
from .conv import Conv2d
from .module import InferenceModule
from .norm import get_norm

__all__ = ["ASPP", "DepthwiseSeparableConv2d"]


class DepthwiseSeparableConv2d(InferenceModule):
    """A convolution of each channel alone, and then one of 1×1 over them; each with its norm and activation.

    Args:
        in_channels: C.
        out_channels: C'.
        kernel_size: of the first convolution.
        padding: of the first convolution.
        dilation: of the first convolution.
        norm1: of the first convolution, as `get_norm` takes it.
        activation1: of the first convolution.
        norm2: of the second.
        activation2: of the second.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        padding: int = 1,
        dilation: int = 1,
        *,
        norm1: Any = None,
        activation1: Any = None,
        norm2: Any = None,
        activation2: Any = None,
    ) -> None:
        super().__init__()
        shape: dict[str, Any] = {"padding": padding, "dilation": dilation, "groups": in_channels}
        first, second = {"norm": get_norm(norm1, in_channels)}, {"norm": get_norm(norm2, out_channels)}
        self.depthwise = Conv2d(
            in_channels, in_channels, kernel_size, bias=not norm1, activation=activation1, **shape, **first
        )
        self.pointwise = Conv2d(in_channels, out_channels, 1, bias=not norm2, activation=activation2, **second)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        return self.pointwise(self.depthwise(x))


class ASPP(InferenceModule):
    """Atrous spatial pyramid pooling (DeepLab v3): a map seen at several dilations and as a whole, side by side.

    Args:
        in_channels: C.
        out_channels: C'.
        dilations: of the three 3×3 convolutions.
        norm: as `get_norm` takes it.
        activation: called on each result; each convolution has a copy of it.
        pool_kernel_size: (height, width) of the pooling; ``None`` pools the whole map.
        dropout: for training, without effect.
        use_depthwise_separable_conv: whether the 3×3 convolutions are depthwise separable.

    Raises:
        ConfigError: when there are not three dilations.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dilations: Sequence[int],
        *,
        norm: Any,
        activation: Any,
        pool_kernel_size: tuple[int, int] | None = None,
        dropout: float = 0.0,
        use_depthwise_separable_conv: bool = False,
    ) -> None:
        super().__init__()
        if len(dilations) != 3:
            raise ConfigError(f"ASPP got {len(dilations)} dilations: expected 3")
        self.pool_kernel_size = pool_kernel_size

        def one_by_one(channels: int) -> Conv2d:
            norm_layer = get_norm(norm, out_channels)
            return Conv2d(channels, out_channels, 1, bias=not norm, norm=norm_layer, activation=deepcopy(activation))

        self.convs = nn.ModuleList([one_by_one(in_channels)])
        for dilation in dilations:
            if use_depthwise_separable_conv:
                both: dict[str, Any] = {
                    f"{kind}{i}": v
                    for i in (1, 2)
                    for kind, v in (("norm", norm), ("activation", deepcopy(activation)))
                }
                conv: nn.Module = DepthwiseSeparableConv2d(in_channels, out_channels, 3, dilation, dilation, **both)
            else:
                options: dict[str, Any] = {"padding": dilation, "dilation": dilation, "bias": not norm}
                norm_layer = get_norm(norm, out_channels)
                conv = Conv2d(in_channels, out_channels, 3, norm=norm_layer, activation=deepcopy(activation), **options)
            self.convs.append(conv)
        pool = nn.AdaptiveAvgPool2d(1) if pool_kernel_size is None else nn.AvgPool2d(pool_kernel_size, stride=1)
        self.convs.append(nn.Sequential(pool, Conv2d(in_channels, out_channels, 1, activation=deepcopy(activation))))
        self.project = one_by_one(5 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H, W).

        Raises:
            ConfigError: when the map's size is no multiple of ``pool_kernel_size``.
        """
        size, kernel = x.shape[-2:], self.pool_kernel_size
        if kernel is not None and any(side % step for side, step in zip(size, kernel)):
            raise ConfigError(
                f"ASPP got a map of {tuple(size)} cells: expected multiples of {tuple(kernel)}, the crops that it was "
                "trained on. Give it images whose sides are multiples of INPUT.CROP.SIZE, or set INPUT.CROP.ENABLED to "
                "False: then it pools whatever it gets as a whole, which comes close"
            )
        seen = [conv(x) for conv in self.convs]
        seen[-1] = F.interpolate(seen[-1], size=size, mode="bilinear", align_corners=False)
        return self.project(torch.cat(seen, dim=1))
