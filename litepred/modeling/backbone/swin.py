"""Swin Transformer (Liu et al. 2021): attention within windows, which every second block shifts by half their side.

Maps are (B, H, W, C) from the patches on. A window has N = S·S tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import CfgNode
from ...config.sections import model_section
from ...errors import ConfigError
from ...layers import InferenceModule, ShapeSpec
from ..build import BACKBONE_REGISTRY
from .base import Backbone
from .fpn import FPN, LastLevelMaxPool, fpn_from_config
from .transformer import LAID_OUT_FOR_ONE_SIZE, Layer, Mlp, from_windows, to_windows

__all__ = ["SwinTransformer", "build_swin_fpn_backbone"]

_OUTSIDE = -100.0  # what the logits of tokens that a shift has brought together lose


def _padded(x: Tensor, multiple: int) -> Tensor:
    """Pad maps (B, H, W, C) with zeros at the right and at the bottom, to multiples of a side."""
    return F.pad(x, (0, 0, 0, -x.shape[2] % multiple, 0, -x.shape[1] % multiple))


class _WindowAttention(InferenceModule):
    """Attention among the tokens of each window, with a bias for each head and each offset of two tokens."""

    relative_position_index: Tensor  # (N, N)
    exact = True

    def __init__(self, dim: int, side: int, num_heads: int, qkv_bias: bool, qk_scale: float | None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = qk_scale or (dim // num_heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, num_heads))
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        place = (rows * (2 * side - 1) + columns).flatten()
        index = place[:, None] - place + (2 * side - 1) * (side - 1) + side - 1
        self.register_buffer("relative_position_index", index)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map windows (B · W, N, C) to such; the mask (W, N, N) is added to the logits of the windows of each map."""
        count, tokens, channels = x.shape
        qkv = self.qkv(x).view(count, tokens, 3, self.num_heads, channels // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B · W, heads, N, d)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)  # (heads, N, N)
        if self.exact:
            logits = (q * self.scale) @ k.transpose(-2, -1) + bias
            if mask is not None:
                logits = (logits.view(-1, mask.shape[0], *bias.shape) + mask[:, None]).view_as(logits)
            x = logits.softmax(-1) @ v
        else:
            bias = bias[None]
            if mask is not None:
                bias = (bias + mask[:, None]).expand(count // mask.shape[0], -1, -1, -1, -1).flatten(0, 1)
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)
        return self.proj(x.transpose(1, 2).reshape(count, tokens, channels))


class _Block(InferenceModule):
    """Attention and a perceptron, each after a norm and beside a shortcut."""

    def __init__(
        self, dim: int, heads: int, side: int, shift: int, mlp_ratio: float, norm_layer: Layer, **attention: Any
    ) -> None:
        super().__init__()
        self.side, self.shift = side, shift
        self.norm1 = norm_layer(dim)
        self.attn = _WindowAttention(dim, side, heads, **attention)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, H, W, C) to such; ``mask`` is for blocks that shift."""
        height, width = x.shape[1:3]
        moved = _padded(self.norm1(x), self.side)
        size = moved.shape[1:3]
        if self.shift:
            moved = moved.roll((-self.shift, -self.shift), (1, 2))
        windows = self.attn(to_windows(moved, self.side).flatten(1, 2), mask if self.shift else None)
        moved = from_windows(windows.unflatten(1, (self.side, self.side)), size)
        if self.shift:
            moved = moved.roll((self.shift, self.shift), (1, 2))
        x = x + moved[:, :height, :width]
        return x + self.mlp(self.norm2(x))


class _PatchMerging(InferenceModule):
    """Each 2 × 2 tokens become one, of twice the channels."""

    def __init__(self, dim: int, norm_layer: Layer) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H / 2, W / 2, 2 · C), rounded up."""
        x = _padded(x, 2)
        quarters = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(quarters, -1)))


class _Stage(InferenceModule):
    """Blocks of one resolution, every second one shifted, and the step to the next resolution."""

    def __init__(self, dim: int, depth: int, side: int, merges: bool, norm_layer: Layer, **block: Any) -> None:
        super().__init__()
        self.side = side
        self.blocks = nn.ModuleList(
            _Block(dim, side=side, shift=i % 2 * (side // 2), norm_layer=norm_layer, **block) for i in range(depth)
        )
        self.downsample = _PatchMerging(dim, norm_layer) if merges else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, H, W, C) to such, and to what the next stage reads."""
        mask = self._mask(x)
        for block in self.blocks:
            x = block(x, mask)
        return x, x if self.downsample is None else self.downsample(x)

    def _mask(self, x: Tensor) -> Tensor:
        """Return what is added to the logits (W, N, N) in the windows of a shifted map, which join distant tokens."""
        sides = (length + -length % self.side for length in x.shape[1:3])
        rows, columns = (torch.arange(side, device=x.device) >= side - self.side // 2 for side in sides)
        zone = to_windows((2 * rows[:, None] + columns)[None, :, :, None], self.side).flatten(1, 2)  # (W, N, 1)
        return (zone != zone.transpose(1, 2)).to(x.dtype) * _OUTSIDE


class _PatchEmbed(InferenceModule):
    """Image to tokens, one for each patch."""

    def __init__(self, patch_size: tuple[int, int], in_chans: int, embed_dim: int, norm: nn.Module | None) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W), padded to whole patches, to (B, H', W', C')."""
        height, width = self.proj.kernel_size
        x = F.pad(x, (0, -x.shape[3] % width, 0, -x.shape[2] % height))
        x = self.proj(x).permute(0, 2, 3, 1)
        return x if self.norm is None else self.norm(x)


class SwinTransformer(Backbone):
    """Stages of blocks on patches, each of half the resolution and twice the channels of the one before.

    The maps are ``p0``, ``p1``, …, of strides 4, 8, … . Windows at the edges are padded with zeros after the norm.

    Args:
        pretrain_img_size: side in pixels of the images that ``ape`` was trained on, or (height, width).
        patch_size: side of a patch in pixels, or (height, width); strides are told as if it were 4.
        in_chans: channels of the image.
        embed_dim: channels of the first stage.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        window_size: side of a window in tokens.
        mlp_ratio: hidden channels of the perceptrons, as a multiple of their input's.
        qkv_bias: whether queries, keys and values have a bias.
        qk_scale: factor of the queries; ``None`` for ``d ** -0.5`` of a head's d channels.
        drop_rate: ignored, as are ``attn_drop_rate``, ``drop_path_rate``, ``frozen_stages`` and ``use_checkpoint``:
            they change training alone.
        norm_layer: makes the norm of a number of channels.
        ape: whether an embedding of the absolute position, resized to the image, is added to the patches.
        patch_norm: whether the patches are normalised.
        out_indices: the stages whose maps are returned, counted from 0.

    Raises:
        ConfigError: when ``depths`` and ``num_heads`` have not the same length, heads do not divide a stage's channels,
            or a stage is wanted that does not exist.
    """

    one_size_only = LAID_OUT_FOR_ONE_SIZE

    def __init__(
        self,
        pretrain_img_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.2,
        norm_layer: Layer = nn.LayerNorm,
        ape: bool = False,
        patch_norm: bool = True,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        dims = [embed_dim * 2**i for i in range(len(depths))]
        if len(num_heads) != len(depths) or any(dim % heads for dim, heads in zip(dims, num_heads)):
            raise ConfigError(
                f"MODEL.SWIN.NUM_HEADS is {list(num_heads)}: expected one number for each of the {len(depths)} stages "
                f"of MODEL.SWIN.DEPTHS, that divides the stage's channels, which are {dims}"
            )
        if not out_indices or not {*out_indices} <= {*range(len(depths))}:
            raise ConfigError(
                f"MODEL.SWIN.OUT_INDICES is {list(out_indices)}: expected one or more of 0 to {len(depths) - 1}"
            )
        patch, image = (nn.modules.utils._pair(size) for size in (patch_size, pretrain_img_size))
        self.patch_embed = _PatchEmbed(patch, in_chans, embed_dim, norm_layer(embed_dim) if patch_norm else None)
        if ape:
            self.absolute_pos_embed = nn.Parameter(
                torch.zeros(1, embed_dim, image[0] // patch[0], image[1] // patch[1])
            )
        shared: dict[str, Any] = {"side": window_size, "mlp_ratio": mlp_ratio, "norm_layer": norm_layer}
        shared |= {"qkv_bias": qkv_bias, "qk_scale": qk_scale}
        self.layers = nn.ModuleList(
            _Stage(dim, depth, heads=heads, merges=dim != dims[-1], **shared)
            for dim, depth, heads in zip(dims, depths, num_heads)
        )
        for i in out_indices:
            self.add_module(f"norm{i}", norm_layer(dims[i]))
        self._out_features = [f"p{i}" for i in out_indices]
        self._out_feature_channels = {f"p{i}": dims[i] for i in out_indices}
        self._out_feature_strides = {f"p{i}": 2 ** (i + 2) for i in out_indices}

    @property
    def size_divisibility(self) -> int:
        """The stride of the last of four stages."""
        return 32

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map normalised images (B, C, H, W) to the wanted feature maps."""
        x = self.patch_embed(x)
        if hasattr(self, "absolute_pos_embed"):
            position = F.interpolate(self.absolute_pos_embed, size=x.shape[1:3], mode="bicubic")
            x = x + position.permute(0, 2, 3, 1)
        maps = {}
        for i, stage in enumerate(self.layers):
            found, x = stage(x)
            if f"p{i}" in self._out_features:
                maps[f"p{i}"] = getattr(self, f"norm{i}")(found).permute(0, 3, 1, 2).contiguous()
        return maps


@BACKBONE_REGISTRY.register()
def build_swin_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``MODEL.FPN`` on the Swin Transformer of ``MODEL.SWIN``, with ``p6`` pooled from ``p5``."""
    arguments = {key.lower(): value for key, value in model_section(cfg, "SWIN").items()}
    square_pad = arguments.pop("square_pad")
    bottom_up = SwinTransformer(in_chans=input_shape.channels or 3, **arguments)
    return fpn_from_config(cfg, bottom_up, LastLevelMaxPool(), square_pad)
