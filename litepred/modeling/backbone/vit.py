"""ViTDet (Li et al. 2022): a plain vision transformer, and the pyramid that is made of its last map alone.

N images, H × W patches, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from ...config import CfgNode
from ...config.sections import model_section
from ...errors import ConfigError, whole_number
from ...layers import Conv2d, InferenceModule, Norm, ShapeSpec, get_norm
from ..build import BACKBONE_REGISTRY, named_shapes
from .base import Backbone
from .fpn import LastLevelMaxPool
from .transformer import (
    LAID_OUT_FOR_ONE_SIZE,
    Layer,
    Mlp,
    PatchEmbed,
    RelativeAttention,
    absolute_positions,
    from_windows,
    position_table,
    to_windows,
)

__all__ = ["SimpleFeaturePyramid", "ViT", "build_vit_simple_fpn_backbone"]


class _Attention(RelativeAttention):
    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        of_head = channels // self.num_heads
        qkv = self.qkv(x).reshape(n, height, width, 3, self.num_heads, of_head).permute(3, 0, 4, 1, 2, 5)
        q, k, v = qkv.reshape(3, n * self.num_heads, height, width, of_head)  # of each
        x = self.attend(q, k, v).view(n, self.num_heads, height, width, of_head)
        return self.proj(x.permute(0, 2, 3, 1, 4).reshape(n, height, width, channels))


class _ResidualBottleneck(InferenceModule):
    """1×1, 3×3 and 1×1 convolutions around half the channels."""

    def __init__(self, channels: int, act_layer: Layer) -> None:
        super().__init__()
        hidden = channels // 2
        self.conv1 = Conv2d(channels, hidden, 1, bias=False)
        self.norm1 = get_norm("LN", hidden)
        self.act1 = act_layer()
        self.conv2 = Conv2d(hidden, hidden, 3, padding=1, bias=False)
        self.norm2 = get_norm("LN", hidden)
        self.act2 = act_layer()
        self.conv3 = Conv2d(hidden, channels, 1, bias=False)
        self.norm3 = get_norm("LN", channels)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for layer in self.children():
            out = layer(out)
        return x + out


class _Block(InferenceModule):
    """Attention, within windows or over the whole image, then two linear layers, and perhaps a bottleneck."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        norm_layer: Layer,
        act_layer: Layer,
        rel_pos_side: int,
        window_size: int,
        has_residual: bool,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = _Attention(dim, dim, num_heads, qkv_bias, rel_pos_side)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer)
        self.window_size = window_size
        self.residual = _ResidualBottleneck(dim, act_layer) if has_residual else None

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        if self.window_size:
            normed = from_windows(self.attn(to_windows(normed, self.window_size)), x.shape[1:3])
        else:
            normed = self.attn(normed)
        x = x + normed
        x = x + self.mlp(self.norm2(x))
        if self.residual is not None:
            x = self.residual(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x


class ViT(Backbone):
    """A vision transformer whose one map has the resolution of its patches.

    Args:
        img_size: side in pixels of the images that relative positions were learnt on.
        patch_size: side of a patch in pixels.
        in_chans: channels of the image.
        embed_dim: channels of a token.
        depth: number of blocks.
        num_heads: heads of each block.
        mlp_ratio: hidden channels of the linear layers, as a multiple of ``embed_dim``.
        qkv_bias: whether the product for queries, keys and values has a bias.
        drop_path_rate: for training, ignored.
        norm_layer: makes a norm for a number of channels.
        act_layer: makes an activation.
        use_abs_pos: whether tokens get absolute positions.
        use_rel_pos: whether attention gets relative positions.
        rel_pos_zero_init: for training, ignored.
        window_size: side of a window in patches; 0 for attention over the whole image everywhere.
        window_block_indexes: the blocks that attend within windows; the others do over the whole image.
        residual_block_indexes: the blocks that end in a bottleneck of convolutions.
        use_act_checkpoint: for training, ignored.
        pretrain_img_size: side in pixels of the images that absolute positions were learnt on.
        pretrain_use_cls_token: whether absolute positions begin with that of a class token.
        out_feature: the name of the map.

    Raises:
        ConfigError: when the heads cannot share the channels evenly, or a number is not a whole one above 0.
    """

    one_size_only = LAID_OUT_FOR_ONE_SIZE

    def __init__(
        self,
        img_size: int = 1024,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        norm_layer: Layer = nn.LayerNorm,
        act_layer: Layer = nn.GELU,
        use_abs_pos: bool = True,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        window_size: int = 0,
        window_block_indexes: Container[int] = (),
        residual_block_indexes: Container[int] = (),
        use_act_checkpoint: bool = False,
        pretrain_img_size: int = 224,
        pretrain_use_cls_token: bool = True,
        out_feature: str = "last_feat",
    ) -> None:
        super().__init__()
        whole_number("MODEL.VIT.PATCH_SIZE", patch_size)
        whole_number("MODEL.VIT.EMBED_DIM", embed_dim)
        self.pretrain_use_cls_token = pretrain_use_cls_token
        self.patch_embed = PatchEmbed((patch_size, patch_size), (patch_size, patch_size), (0, 0), in_chans, embed_dim)
        side = pretrain_img_size // patch_size
        self.pos_embed = position_table((side, side), embed_dim, pretrain_use_cls_token) if use_abs_pos else None
        self.blocks = nn.ModuleList()
        for i in range(whole_number("MODEL.VIT.DEPTH", depth)):
            window = whole_number("MODEL.VIT.WINDOW_SIZE", window_size, 0) if i in window_block_indexes else 0
            rel_pos_side = (window or img_size // patch_size) if use_rel_pos else 0
            has_residual = i in residual_block_indexes
            arguments = (embed_dim, num_heads, mlp_ratio, qkv_bias, norm_layer, act_layer)
            self.blocks.append(_Block(*arguments, rel_pos_side, window, has_residual))
        self._out_features = [out_feature]
        self._out_feature_channels = {out_feature: embed_dim}
        self._out_feature_strides = {out_feature: patch_size}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map normalised images (N, C, H, W) to the one map, (N, embed_dim, H // patch_size, W // patch_size)."""
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + absolute_positions(self.pos_embed, self.pretrain_use_cls_token, x.shape[1:3])
        for block in self.blocks:
            x = block(x)
        return {self._out_features[0]: x.permute(0, 3, 1, 2)}


class SimpleFeaturePyramid(Backbone):
    """Levels that are each made from one map of a backbone, by enlarging or halving it and by two convolutions.

    Args:
        net: the backbone.
        in_feature: its map.
        out_channels: channels of every level.
        scale_factors: how often each level is larger than the map, among 4, 2, 1 and 0.5, each half the one before.
        top_block: makes coarser levels from the map that it names in ``in_feature``.
        norm: as `get_norm` takes it; convolutions have a bias only without one.
        square_pad: pad the input to a square of this side; 0 for none.

    Raises:
        ConfigError: when there is no such map, or a factor is another or not half the one before.
    """

    def __init__(
        self,
        net: Backbone,
        in_feature: str,
        out_channels: int,
        scale_factors: Sequence[float],
        top_block: Any = None,
        norm: Norm = "LN",
        square_pad: int = 0,
    ) -> None:
        super().__init__()
        (shape,) = named_shapes(net.output_shape(), [in_feature], "the map of a SimpleFeaturePyramid")
        factors = [float(factor) for factor in scale_factors]
        if not factors or factors != [factors[0] / 2**i for i in range(len(factors))] or not {*factors} <= _FACTORS:
            raise ConfigError(f"MODEL.VIT.SCALE_FACTORS is {factors}: expected a run of 4.0, 2.0, 1.0, 0.5")
        whole_number("MODEL.FPN.OUT_CHANNELS", out_channels)
        strides = [int((shape.stride or 0) / factor) for factor in factors]
        levels = [int(math.log2(stride)) for stride in strides]
        self._stages = [f"simfp_{level}" for level in levels]
        for name, factor in zip(self._stages, factors):
            self.add_module(name, _scaled(shape.channels or 0, factor, out_channels, norm))
        self.net = net
        self.in_feature = in_feature
        self.top_block = top_block
        if top_block is not None:
            levels += [levels[-1] + i for i in range(1, top_block.num_levels + 1)]
        self._square_pad = square_pad
        self._out_features = [f"p{level}" for level in levels]
        self._out_feature_strides = {f"p{level}": 2**level for level in levels}
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map normalised images (N, C, H, W) to ``p2``, ``p3`` and so on."""
        maps = self.net(x)
        levels = dict(zip(self._out_features, (getattr(self, name)(maps[self.in_feature]) for name in self._stages)))
        if self.top_block is not None:
            extra = self.top_block((levels | maps)[self.top_block.in_feature])
            levels |= dict(zip(self._out_features[len(levels) :], extra))
        return levels


_FACTORS = {4.0, 2.0, 1.0, 0.5}


def _scaled(dim: int, factor: float, out_channels: int, norm: Norm) -> nn.Sequential:
    """Return what makes a level of a map of ``dim`` channels."""
    layers: list[nn.Module | None] = []
    if factor == 4.0:
        layers = [nn.ConvTranspose2d(dim, dim // 2, 2, stride=2), get_norm(norm, dim // 2), nn.GELU()]
        dim //= 2
    if factor >= 2.0:
        layers.append(nn.ConvTranspose2d(dim, dim // 2, 2, stride=2))
        dim //= 2
    if factor == 0.5:
        layers.append(nn.MaxPool2d(2, stride=2))
    for inputs, kernel in ((dim, 1), (out_channels, 3)):
        norm_layer = get_norm(norm, out_channels)
        layers.append(Conv2d(inputs, out_channels, kernel, padding=kernel // 2, bias=norm == "", norm=norm_layer))
    return nn.Sequential(*(layer for layer in layers if layer is not None))


def transformer_arguments(section: CfgNode, input_shape: ShapeSpec, *others: str) -> dict[str, Any]:
    """Translate a section of a config, all but its keys ``others``, into a transformer's arguments."""
    arguments = {key.lower(): value for key, value in section.items() if key not in others}
    return {"in_chans": input_shape.channels, "norm_layer": partial(nn.LayerNorm, eps=1e-6), **arguments}


@BACKBONE_REGISTRY.register()
def build_vit_simple_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SimpleFeaturePyramid:
    """Build ``MODEL.VIT`` and the levels of ``SCALE_FACTORS`` on it, with ``p6`` pooled from ``p5``."""
    vit, fpn = model_section(cfg, "VIT"), cfg.MODEL.FPN
    net = ViT(**transformer_arguments(vit, input_shape, "SCALE_FACTORS", "SQUARE_PAD"))
    pyramid = (vit.SCALE_FACTORS, LastLevelMaxPool(), fpn.NORM, vit.SQUARE_PAD)
    return SimpleFeaturePyramid(net, vit.OUT_FEATURE, fpn.OUT_CHANNELS, *pyramid)
