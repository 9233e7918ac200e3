"""Convolutions that carry their norm and activation, plain and deformable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError, whole_number
from .norm import Norm, get_norm
from .operators import deform_conv2d

__all__ = ["Conv2d", "DeformConv", "ModulatedDeformConv", "add_convs"]


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` followed by an optional ``norm`` module and an optional ``activation`` callable."""

    def __init__(
        self,
        *args: Any,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def _finish(self, x: Tensor) -> Tensor:
        if self.norm is not None:
            x = self.norm(x)
        return x if self.activation is None else self.activation(x)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` (N, C, H, W), normalise it and activate it."""
        return self._finish(super().forward(x))


class DeformConv(Conv2d):
    """Deformable convolution (Dai et al. 2017): each kernel tap reads at its own offset.

    ``deformable_groups`` G says how many groups of input channels share offsets: the offset map has 2·G·k·k channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=bias, **kwargs)
        self.deformable_groups = deformable_groups

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Convolve ``x`` with ``offset`` (N, 2·G·k·k, H', W'), dy before dx, and ``mask`` (N, G·k·k, H', W')."""
        x = deform_conv2d(x, offset, self.weight, self.bias, self.stride, self.padding, self.dilation, mask)
        return self._finish(x)


class ModulatedDeformConv(DeformConv):
    """Deformable convolution v2 (Zhu et al. 2019): every tap is also weighted by a mask in [0, 1]."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"bias": True, **kwargs} if len(args) < 9 else kwargs)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Convolve ``x`` with ``offset`` and ``mask``, as `DeformConv` takes them.

        Without a mask, ``offset`` is (N, 3·G·k·k, H', W'): two thirds offsets, then the mask's logits.
        """
        if mask is None:
            split = offset.shape[1] // 3 * 2
            offset, mask = offset[:, :split], torch.sigmoid(offset[:, split:])
        return super().forward(x, offset, mask)


def add_convs(
    module: nn.Module, prefix: str, in_channels: int, out_channels: Sequence[int], norm: Norm = ""
) -> list[str]:
    """Give ``module`` a chain of 3×3 convolutions, each with its norm and ReLU.

    Args:
        module: gets them as submodules.
        prefix: of their names, which end in 1, 2 and so on.
        in_channels: channels of the first one's input.
        out_channels: channels of the output of each.
        norm: as `get_norm` takes it; convolutions have a bias only without one.

    Returns:
        Their names, in order.

    Raises:
        ConfigError: when a number of channels is not a whole number above 0.
    """
    owner = type(module).__name__
    if not isinstance(out_channels, (list, tuple)):
        raise ConfigError(f"the convolutions of {owner} have the channels {out_channels!r}: expected a list of numbers")
    names = [f"{prefix}{i}" for i in range(1, len(out_channels) + 1)]
    for name, channels in zip(names, out_channels):
        whole_number(f"a number of channels of {owner}", channels)
        norm_layer = get_norm(norm, channels)
        conv = Conv2d(in_channels, channels, 3, padding=1, bias=not norm, norm=norm_layer, activation=F.relu_)
        module.add_module(name, conv)
        in_channels = channels
    return names
