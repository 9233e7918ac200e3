"""Matrix products of float32 on processors on which a convolution of 1×1 is the faster one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..choices import filled, is_faster

__all__ = ["PointwiseLinear", "pointwise_linear"]

_LEAST_ROWS = 256  # with fewer, laying the weights out anew for each call costs more than it gains


class PointwiseLinear(nn.Linear):
    """A linear layer, made from another, that multiplies by `pointwise_linear`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = linear.weight, linear.bias

    @staticmethod
    def suits(module: nn.Module) -> bool:
        """Whether ``module`` is a linear layer, on a machine on which the other way is faster."""
        return type(module) is nn.Linear and _convolutions_are_faster()

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., D)."""
        return _convolve(x, self.weight, self.bias)


def pointwise_linear(x: Tensor, weight: Tensor) -> Tensor:
    """Compute ``F.linear``, where that is faster as a convolution of 1×1, which is the same to rounding."""
    if torch.compiler.is_compiling() or not _convolutions_are_faster():
        return F.linear(x, weight)
    return _convolve(x, weight, None)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve where a convolution can be faster: for many rows of float32 on the CPU."""
    rows = x[..., 0].numel()
    if torch.compiler.is_compiling() or x.dtype != torch.float32 or x.device.type != "cpu" or rows < _LEAST_ROWS:
        return F.linear(x, weight, bias)
    pixels = x.reshape(1, 1, rows, -1).permute(0, 3, 1, 2)
    return F.conv2d(pixels, weight[:, :, None, None], bias).permute(0, 2, 3, 1).view(*x.shape[:-1], -1)


def _convolutions_are_faster() -> bool:
    """Whether they are on this machine.

    Convolutions come from oneDNN, which uses AVX-512 on every processor; products come from MKL, which does so on
    Intel's alone.
    """
    return is_faster("linear", "1024→1024", _both_ways)


def _both_ways() -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    linear = filled(nn.Linear(1024, 1024, device="meta"))
    x = torch.ones(512, 1024, dtype=torch.float32, device="cpu")
    return lambda: linear(x), lambda: _convolve(x, linear.weight, linear.bias)
