"""Building blocks that custom backbones derive from or are made of, and small functions on tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .conv import Conv2d
from .module import InferenceModule
from .norm import FrozenBatchNorm2d, get_norm

__all__ = ["CNNBlockBase", "DepthwiseSeparableConv2d", "cat", "move_device_like", "nonzero_tuple", "shapes_to_tensor"]


class CNNBlockBase(InferenceModule):
    """A block of a backbone: it knows its channels and its stride.

    Args:
        in_channels: of the block's input (N, C, H, W).
        out_channels: of its output.
        stride: of the block, in cells of its input.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride

    def freeze(self) -> CNNBlockBase:
        """Make batch norms constant and take the gradients away; returns itself."""
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self.requires_grad_(False)


class DepthwiseSeparableConv2d(nn.Module):
    """A k×k convolution of each channel alone, then a 1×1 one over the channels (Xception, Chollet 2017).

    Args:
        in_channels: C.
        out_channels: C'.
        kernel_size: k.
        padding: of the first.
        dilation: of the first.
        norm1: of the first, as `get_norm` takes it.
        activation1: of the first.
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
        activation1: Callable[[Tensor], Tensor] | None = None,
        norm2: Any = None,
        activation2: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.depthwise = Conv2d(
            in_channels,
            in_channels,
            kernel_size,
            padding=padding,
            dilation=dilation,
            groups=in_channels,
            bias=not norm1,
            norm=get_norm(norm1, in_channels),
            activation=activation1,
        )
        self.pointwise = Conv2d(
            in_channels, out_channels, 1, bias=not norm2, norm=get_norm(norm2, out_channels), activation=activation2
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        return self.pointwise(self.depthwise(x))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors; a single one is returned as it is."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), dim)


def nonzero_tuple(x: Tensor) -> tuple[Tensor, ...]:
    """Return the indices of what is not zero, one tensor per dimension."""
    return x.unsqueeze(0).nonzero().unbind(1) if x.dim() == 0 else x.nonzero().unbind(1)


def shapes_to_tensor(x: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Return a list of numbers as an int64 tensor."""
    return torch.as_tensor(x, device=device)


def move_device_like(src: Tensor, dst: Tensor) -> Tensor:
    """Return ``src`` on the device of ``dst``."""
    return src.to(dst.device)
