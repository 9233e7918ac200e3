"""3×3 convolution in a third of the multiplications (Winograd's F(4×4, 3×3); Lavin and Gray 2015).

The image is cut into 6 × 6 tiles that overlap by two pixels. In the transformed space a tile's convolution is a
product, so that all tiles together are 36 matrix products, and each tile comes back as 4 × 4 pixels of the result. A
layer transforms its kernels anew for each map: that costs little, and kept they would take four times the memory.

N images, C channels in, K channels out, h × w tiles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..choices import filled, is_faster
from .conv import Conv2d

__all__ = ["WinogradConv2d"]

# The points at which polynomials are evaluated are 0, ±A, ±B and infinity. With these the transforms enlarge the
# rounding errors of the products 4.8 times; with the customary ±1 and ±2 it would be 10.8 times. The products of A and
# B are exact in binary.
_A, _B = 5 / 8, 3 / 2
_KERNEL = torch.tensor(  # 3 taps of a kernel to their values at the six points, divided by the Lagrange denominators
    [
        [p**k / math.prod(p - q for q in (0, _A, -_A, _B, -_B) if q != p) for k in range(3)]
        for p in (0, _A, -_A, _B, -_B)
    ]
    + [[0, 0, 1]],
    dtype=torch.float64,
    device="cpu",
)
_KERNELS = torch.kron(_KERNEL, _KERNEL).float()  # (36, 9)
_KERNELS_AT_ONCE = 2**19  # that are transformed, of 9 numbers to 36: 75 MB
_TILE_VALUES = 2**16  # tiles × channels worked on at once: the transformed tiles stay in the processor's cache


class WinogradConv2d(nn.Module):
    """A convolution with 3×3 kernels, stride 1 and padding 1, made from another for float32 on the CPU.

    Results differ from direct convolution by rounding only: by about 5e-6 of the largest value.

    Args:
        conv: the convolution; its activation is taken along, its norm must be folded.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.activation = getattr(conv, "activation", None)
        weight = conv.weight.detach().float().permute(2, 3, 1, 0).flatten(0, 1).contiguous()  # (9, C, K)
        self.register_buffer("weight", weight)
        bias = weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
        self.register_buffer("bias", bias)

    def plain_module(self) -> Conv2d:
        """Return the plain convolution that this was made from."""
        channels_in, channels_out = self.weight.shape[1:]
        conv = Conv2d(channels_in, channels_out, 3, padding=1, activation=self.activation)
        kernels = self.weight.unflatten(0, (3, 3)).permute(3, 2, 0, 1).contiguous()
        conv.weight, conv.bias = (nn.Parameter(part, requires_grad=False) for part in (kernels, self.bias))
        return conv.eval()

    @staticmethod
    def suits(conv: nn.Module) -> bool:
        """Whether ``conv`` is such a convolution, and so wide that the transforms pay on this machine.

        They do where a multiplication costs more than moving its numbers, which `litepred.choices` finds out.
        """
        return (
            isinstance(conv, nn.Conv2d)
            and type(conv) in (nn.Conv2d, Conv2d)
            and getattr(conv, "norm", None) is None
            and getattr(conv, "activation", None) in (None, F.relu, F.relu_, torch.relu)  # on pieces of another shape
            and (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
            and (conv.dilation, conv.groups, conv.padding_mode) == ((1, 1), 1, "zeros")
            and min(conv.in_channels, conv.out_channels) >= 128
            and _pays(conv.in_channels, conv.out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` (N, C, H, W), best in channels-last order, in which the result (N, K, H, W) comes."""
        if not torch.compiler.is_compiling():
            return _convolve(x, self.weight, self.bias, self.activation)
        out = _winograd_conv2d(x, self.weight, self.bias)
        return out if self.activation is None else self.activation(out)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, activation: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    x = x.permute(0, 2, 3, 1)
    n, height, width, channels = x.shape
    outputs = weight.shape[2]
    rows, columns = -(-height // 4), -(-width // 4)
    out = x.new_empty(n, rows, 4, columns, 4, outputs)
    at_once = max(1, _TILE_VALUES // channels, min(outputs // 4, 256))  # with fewer tiles, they wait for the kernels
    images_at_once = max(1, at_once // max(1, rows * columns))
    rows_at_once = -(-rows // max(1, round(rows * columns / at_once))) or 1  # alike in all pieces of a map
    pieces = list(itertools.product(range(0, n, images_at_once), range(0, rows, rows_at_once)))
    parts = -(-weight[0].numel() // _KERNELS_AT_ONCE)
    # Either each part of the kernels is transformed once, or each piece of the map is.
    for kernels_alone in ([part] for part in _transformed_kernels(weight)) if len(pieces) > parts else [None]:
        for i, row in pieces:
            end = min(rows, row + rows_at_once)
            top, bottom = 4 * row - 1, 4 * end + 1
            part = x[i : i + images_at_once, max(0, top) : min(height, bottom)]
            edges = (1, 4 * columns + 1 - width, max(0, -top), max(0, bottom - height))
            tiles = _transformed_tiles(F.pad(part, (0, 0, *edges)))
            for kernels, of in kernels_alone or _transformed_kernels(weight):
                piece = out[i : i + images_at_once, row:end, ..., of]
                _multiply(tiles, kernels, piece)
                piece += bias[of]
                if activation is not None:
                    piece.copy_(activation(piece))
    return out.flatten(3, 4).flatten(1, 2)[:, :height, :width].permute(0, 3, 1, 2)


def _transformed_kernels(weight: Tensor) -> Iterator[tuple[Tensor, slice]]:
    """Yield kernels (9, C, K) at the 36 points, as (36, C, K'), and of which outputs they are."""
    channels, outputs = weight.shape[1:]
    at_once = max(1, _KERNELS_AT_ONCE // channels)
    for start in range(0, outputs, at_once):
        of = slice(start, min(outputs, start + at_once))
        taps = weight[..., of]
        yield torch.mm(_KERNELS, taps.flatten(1)).view(36, *taps.shape[1:]), of


def _transformed_tiles(x: Tensor) -> Tensor:
    """Return the tiles of padded ``x`` (N, 4·h + 2, 4·w + 2, C) at the 36 points, as (6, 6, N, h, w, C)."""
    n, height, width, channels = x.shape
    h, w = height // 4, width // 4
    by_column = x.new_empty(6, n, height, w, channels)
    _to_points([x[:, :, j : j + 4 * w - 3 : 4] for j in range(6)], by_column)
    tiles = x.new_empty(6, 6, n, h, w, channels)
    _to_points([by_column[:, :, j : j + 4 * h - 3 : 4] for j in range(6)], tiles)
    return tiles


def _multiply(tiles: Tensor, kernels: Tensor, out: Tensor) -> None:
    """Multiply tiles (6, 6, N, h, w, C) by kernels (36, C, K), and turn that into ``out`` (N, h, 4, w, 4, K)."""
    shape = *tiles.shape[:-1], kernels.shape[2]
    products = torch.bmm(tiles.view(36, -1, tiles.shape[-1]), kernels).view(shape)
    by_row = tiles.new_empty(4, *shape[1:])
    _from_points(products, by_row)
    _from_points(by_row.unbind(1), out.permute(4, 2, 0, 1, 3, 5).unbind(0))


# What a compiler sees in the place of the loops over pieces, which it would unroll for one size.
@torch.library.custom_op(
    "litepred::winograd_conv2d", mutates_args=(), schema="(Tensor x, Tensor weight, Tensor bias) -> Tensor"
)
def _winograd_conv2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _convolve(x, weight, bias).contiguous(memory_format=torch.channels_last)


@_winograd_conv2d.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    out = x.new_empty(x.shape[0], bias.shape[0], *x.shape[2:])
    return out.to(memory_format=torch.channels_last)


def _pays(channels: int, outputs: int) -> bool:
    return is_faster("winograd", f"{channels}→{outputs}", lambda: _both_ways(channels, outputs))


def _both_ways(channels: int, outputs: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Make a direct and a Winograd convolution of one map, as large as those of images, and to part of the outputs.

    On a small map the kernels would weigh too much. All outputs of the widest layers would take seconds.
    """
    outputs = min(outputs, max(1, _KERNELS_AT_ONCE // channels))
    conv = filled(Conv2d(channels, outputs, 3, padding=1, device="meta")).to(memory_format=torch.channels_last)
    winograd = WinogradConv2d(conv)
    x = torch.ones(1, channels, 64, 64, dtype=torch.float32, device="cpu").contiguous(memory_format=torch.channels_last)
    return lambda: conv(x), lambda: winograd(x)


def _to_points(x: Sequence[Tensor], out: Sequence[Tensor] | Tensor) -> None:
    """Evaluate at the six points the polynomials whose tiles have the pixels ``x``."""
    torch.add(x[4], x[2], alpha=-(_A**2 + _B**2), out=out[0]).add_(x[0], alpha=(_A * _B) ** 2)
    torch.add(x[5], x[3], alpha=-(_A**2 + _B**2), out=out[5]).add_(x[1], alpha=(_A * _B) ** 2)
    even, odd = torch.add(x[4], x[2], alpha=-(_B**2)), torch.add(x[3], x[1], alpha=-(_B**2))
    torch.add(even, odd, alpha=_A, out=out[1])
    torch.add(even, odd, alpha=-_A, out=out[2])
    torch.add(x[4], x[2], alpha=-(_A**2), out=even)
    torch.add(x[3], x[1], alpha=-(_A**2), out=odd)
    torch.add(even, odd, alpha=_B, out=out[3])
    torch.add(even, odd, alpha=-_B, out=out[4])


def _from_points(x: Sequence[Tensor] | Tensor, out: Sequence[Tensor] | Tensor) -> None:
    """Interpolate from the values at the six points: four pixels of each tile."""
    even1, odd1, even2, odd2 = x[1] + x[2], x[1] - x[2], x[3] + x[4], x[3] - x[4]
    torch.add(even1, even2, out=out[0]).add_(x[0])
    torch.mul(odd1, _A, out=out[1]).add_(odd2, alpha=_B)
    torch.mul(even1, _A**2, out=out[2]).add_(even2, alpha=_B**2)
    torch.mul(odd1, _A**3, out=out[3]).add_(odd2, alpha=_B**3).add_(x[5])
