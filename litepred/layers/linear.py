"""Matrix products of float32 on processors on which a convolution of 1×1 is the faster one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PointwiseLinear", "pointwise_linear"]

_LEAST_ROWS = 256  # with fewer, laying the weights out anew for each call costs more than it gains


class PointwiseLinear(nn.Linear):
    """A linear layer, made from another, that multiplies by `pointwise_linear`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = linear.weight, linear.bias

    @staticmethod
    def suits(module: nn.Module) -> bool:
        """Whether ``module`` is a linear layer, on a processor on which the other way is faster.

        With AVX-512, convolutions come from oneDNN, which uses all of it, but products from MKL, which does so on the
        processors of its maker alone: on others a convolution is twice as fast.
        """
        return type(module) is nn.Linear and torch.backends.cpu.get_cpu_capability() == "AVX512"

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., D)."""
        return pointwise_linear(x, self.weight, self.bias)


def pointwise_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``F.linear``, of many rows in float32 as a convolution of 1×1, which is the same to rounding."""
    if torch.compiler.is_compiling() or x.dtype != torch.float32 or x.device.type != "cpu":
        return F.linear(x, weight, bias)
    rows = x[..., 0].numel()
    if rows < _LEAST_ROWS:
        return F.linear(x, weight, bias)
    pixels = x.reshape(1, 1, rows, -1).permute(0, 3, 1, 2)
    return F.conv2d(pixels, weight[:, :, None, None], bias).permute(0, 2, 3, 1).view(*x.shape[:-1], -1)
