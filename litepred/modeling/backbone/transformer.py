"""What vision transformers share: patches, windows, positions, and attention with relative positions.

Tokens are (N, H, W, C): N images, H × W patches, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ConfigError
from ...layers import InferenceModule, pointwise_linear

__all__ = ["PatchEmbed"]

Pair = Sequence[int]  # height and width
Layer = Callable[..., nn.Module]  # a class of modules, or a `partial` of one

# Why a graph of a backbone takes images of one size alone, as its attribute ``one_size_only`` tells the export.
LAID_OUT_FOR_ONE_SIZE = "its windows and positions are laid out for the size of a map"

# Attention's weights, queries × keys, that are computed at once: on the CPU they stay in its cache.
_WEIGHTS_AT_ONCE, _WEIGHTS_AT_ONCE_ELSEWHERE = 2**21, 2**28
_WEIGHTS_OF_LARGE = 2**18  # of one head; larger ones are multiplied one by one


def pair(value: Pair) -> tuple[int, int]:
    height, width = value
    return height, width


class PatchEmbed(InferenceModule):
    """One convolution that turns patches of an image into tokens; pixels that fill no patch are left out.

    Args:
        kernel_size: height and width of a patch.
        stride: from patch to patch.
        padding: of the image.
        in_chans: channels of the image.
        embed_dim: channels of a token.
    """

    def __init__(
        self,
        kernel_size: Pair = (16, 16),
        stride: Pair = (16, 16),
        padding: Pair = (0, 0),
        in_chans: int = 3,
        embed_dim: int = 768,
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, pair(kernel_size), pair(stride), pair(padding))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to tokens (N, H', W', D)."""
        return self.proj(x).permute(0, 2, 3, 1)


class Mlp(InferenceModule):
    """Two linear layers around an activation."""

    def __init__(self, dim: int, hidden: int, act_layer: Layer = nn.GELU) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


def position_table(size: Pair, dim: int, has_class_token: bool) -> nn.Parameter:
    """Return a table for absolute positions, (1, H·W or H·W + 1, C), to be loaded."""
    return nn.Parameter(torch.zeros(1, size[0] * size[1] + has_class_token, dim))


def absolute_positions(table: Tensor, has_class_token: bool, size: Pair) -> Tensor:
    """Interpolate a table of absolute positions, (1, S·S or S·S + 1, C), to (1, H, W, C).

    Raises:
        ConfigError: when the table is not that of a square.
    """
    table = table[:, 1:] if has_class_token else table
    side = math.isqrt(table.shape[1])
    if side * side != table.shape[1]:
        raise ConfigError(f"pos_embed has {table.shape[1]} positions of patches: expected those of a square")
    positions = table.view(1, side, side, -1)
    if (side, side) == tuple(size):
        return positions
    positions = F.interpolate(positions.permute(0, 3, 1, 2), tuple(size), mode="bicubic", align_corners=False)
    return positions.permute(0, 2, 3, 1)


def relative_positions(queries: int, keys: int, table: Tensor) -> Tensor:
    """Look up the vector of every query and key along one axis, in a table (2·S - 1, C) by their distance.

    Returns:
        (queries, keys, C).
    """
    distances = 2 * max(queries, keys) - 1
    if len(table) != distances:
        table = F.interpolate(table.T[None], distances, mode="linear")[0].T
    of_query = torch.arange(queries, device=table.device, dtype=torch.float32)[:, None] * max(keys / queries, 1.0)
    of_key = torch.arange(keys, device=table.device, dtype=torch.float32) * max(queries / keys, 1.0)
    distance = of_query - of_key + (keys - 1) * max(queries / keys, 1.0)
    return table[distance.long()]


def to_windows(x: Tensor, side: int) -> Tensor:
    """Cut tokens (N, H, W, C), padded at the right and bottom, into windows (N·windows, side, side, C)."""
    n, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side)) if height % side or width % side else x
    x = x.view(n, x.shape[1] // side, side, x.shape[2] // side, side, channels)
    return x.transpose(2, 3).reshape(-1, side, side, channels)


def from_windows(windows: Tensor, size: Pair) -> Tensor:
    """Put the windows of `to_windows` together again, without their padding: tokens (N, *size, C)."""
    (height, width), (side, _, channels) = size, windows.shape[1:]
    rows, columns = -(-height // side), -(-width // side)
    x = windows.view(-1, rows, columns, side, side, channels).transpose(2, 3)
    return x.reshape(-1, rows * side, columns * side, channels)[:, :height, :width].contiguous()


class RelativeAttention(InferenceModule):
    """The weights of attention over an image, and what every kind of it computes.

    Args:
        dim: channels of the tokens that come.
        dim_out: channels of those that go.
        num_heads: heads, which share the channels.
        qkv_bias: whether the product for queries, keys and values has a bias.
        rel_pos_side: S, queries or keys along an axis at which relative positions were learnt; 0 for none.

    Attributes:
        exact: whether to compute all weights at once, as the reference does, or some at a time, so that they stay in
            the processor's cache. That is three times as fast on the CPU, where ``scaled_dot_product_attention`` gains
            half as much, since relative positions would have to be laid out for it; results are to rounding the same.

    Raises:
        ConfigError: when the heads cannot share the channels evenly.
    """

    exact = True
    rel_pos_h: Tensor
    rel_pos_w: Tensor

    def __init__(self, dim: int, dim_out: int, num_heads: int, qkv_bias: bool, rel_pos_side: int) -> None:
        super().__init__()
        if num_heads < 1 or dim_out % num_heads:
            raise ConfigError(f"NUM_HEADS is {num_heads} for {dim_out} channels: expected a divisor of them")
        self.num_heads = num_heads
        self.scale = (dim_out // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim_out, bias=qkv_bias)
        self.proj = nn.Linear(dim_out, dim_out)
        self.use_rel_pos = rel_pos_side > 0
        if self.use_rel_pos:
            for name in ("rel_pos_h", "rel_pos_w"):
                self.register_parameter(name, nn.Parameter(torch.zeros(2 * rel_pos_side - 1, dim_out // num_heads)))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Let queries (B, h, w, C) attend to keys (B, h', w', C): values (B, h', w', C) become (B, h, w, C)."""
        v = v.flatten(1, 2).transpose(1, 2)  # (B, C, h'·w')
        biases = self._biases(q, k)
        if self.exact or torch.compiler.is_compiling():
            return self._attend(q, k, v, biases, _multiply)
        (heads, height, width, _), keys = q.shape, k.shape[1] * k.shape[2]
        at_once = _WEIGHTS_AT_ONCE if q.device.type == "cpu" else _WEIGHTS_AT_ONCE_ELSEWHERE
        heads_at_once = max(1, at_once // (height * width * keys))
        rows_at_once = max(1, at_once // (width * keys))
        multiply = _multiply
        if height * width * keys >= _WEIGHTS_OF_LARGE:
            heads_at_once, multiply, v = 1, _multiply_first, v.contiguous()
        out = q.new_empty(heads, height, width, v.shape[1])
        for i in range(0, heads, heads_at_once):
            some = slice(i, i + heads_at_once)
            for row in range(0, height, rows_at_once):
                part = (some, slice(row, row + rows_at_once))
                out[part] = self._attend(q[part], k[some], v[some], [bias[part] for bias in biases], multiply)
        return out

    def _biases(self, q: Tensor, k: Tensor) -> list[Tensor]:
        """Return what relative positions add to the weights: (B, h, w, h', 1) and (B, h, w, 1, w')."""
        if not self.use_rel_pos:
            return []
        rows = relative_positions(q.shape[1], k.shape[1], self.rel_pos_h)
        columns = relative_positions(q.shape[2], k.shape[2], self.rel_pos_w)
        by_row = torch.einsum("bhwc,hkc->bhwk", q, rows)
        by_column = torch.einsum("bhwc,wkc->bhwk", q, columns)
        return [by_row[..., None], by_column[..., None, :]]

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, biases: list[Tensor], multiply: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        weights = multiply(q.flatten(1, 2) * self.scale, k.flatten(1, 2))  # (B, h·w, h'·w')
        for bias in biases:
            weights.view(*q.shape[:3], *k.shape[1:3]).add_(bias)
        return multiply(weights.softmax(dim=-1), v).view(*q.shape[:3], v.shape[1])


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.transpose(1, 2)


def _multiply_first(a: Tensor, b: Tensor) -> Tensor:
    return pointwise_linear(a[0], b[0])[None]
