"""Matrix products of float32 on processors on which a convolution of 1×1 is the faster one."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PointwiseLinear", "pointwise_linear", "processor"]

_INTELS = "GenuineIntel"  # as Intel's processors call themselves
_LEAST_ROWS = 256  # with fewer, laying the weights out anew for each call costs more than it gains


class PointwiseLinear(nn.Linear):
    """A linear layer, made from another, that multiplies by `pointwise_linear`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = linear.weight, linear.bias

    @staticmethod
    def suits(module: nn.Module) -> bool:
        """Whether ``module`` is a linear layer, on a processor on which the other way is faster."""
        return type(module) is nn.Linear and _convolutions_are_faster()

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., D)."""
        return pointwise_linear(x, self.weight, self.bias)


def pointwise_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``F.linear``, where that is faster as a convolution of 1×1, which is the same to rounding."""
    if torch.compiler.is_compiling() or x.dtype != torch.float32 or x.device.type != "cpu":
        return F.linear(x, weight, bias)
    if not _convolutions_are_faster():
        return F.linear(x, weight, bias)
    rows = x[..., 0].numel()
    if rows < _LEAST_ROWS:
        return F.linear(x, weight, bias)
    pixels = x.reshape(1, 1, rows, -1).permute(0, 3, 1, 2)
    return F.conv2d(pixels, weight[:, :, None, None], bias).permute(0, 2, 3, 1).view(*x.shape[:-1], -1)


def _convolutions_are_faster() -> bool:
    """Whether the processor has AVX-512 and is not Intel's.

    Convolutions come from oneDNN, which uses AVX-512 on every processor; products come from MKL, which does so on
    Intel's alone.
    """
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and _INTELS not in processor()


@functools.cache
def processor() -> str:
    """Return what the system says of the processor; that it is Intel's where the system says nothing."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")[:4096]  # noqa: S108  no such file
    except OSError:
        return os.environ.get("PROCESSOR_IDENTIFIER", _INTELS)
