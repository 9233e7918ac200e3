"""MViTv2 (Li et al. 2022): a transformer whose maps get coarser and wider from stage to stage, by pooling in attention.

N images, H × W tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from ...config import CfgNode
from ...config.sections import model_section
from ...errors import ConfigError
from ...layers import InferenceModule, ShapeSpec
from ..build import BACKBONE_REGISTRY
from .base import Backbone
from .fpn import FPN, LastLevelMaxPool, fpn_from_config
from .transformer import (
    LAID_OUT_FOR_ONE_SIZE,
    Layer,
    Mlp,
    Pair,
    PatchEmbed,
    RelativeAttention,
    absolute_positions,
    from_windows,
    pair,
    position_table,
    to_windows,
)
from .vit import transformer_arguments

__all__ = ["MViT", "build_mvit_fpn_backbone"]


class _Pooling(NamedTuple):
    """How a block pools queries, keys and values: a kernel, strides, whether queries are added to what is found.

    ``window_size`` and ``rel_pos_side`` are in tokens before pooling; 0 stands for the whole image, and for no
    relative positions.
    """

    kernel: Pair
    stride_q: int
    stride_kv: int
    residual: bool
    window_size: int
    rel_pos_side: int


class _PooledAttention(RelativeAttention):
    """Attention whose queries, keys and values are pooled by convolutions, and cut into windows afterwards."""

    def __init__(
        self, dim: int, dim_out: int, num_heads: int, qkv_bias: bool, norm_layer: Layer, pooling: _Pooling
    ) -> None:
        strides = (pooling.stride_q, pooling.stride_kv)
        super().__init__(dim, dim_out, num_heads, qkv_bias, max(pooling.rel_pos_side // stride for stride in strides))
        channels = dim_out // num_heads
        for name, stride in zip("qkv", (*strides, pooling.stride_kv)):
            kernel, padding = pair(pooling.kernel), pair([side // 2 for side in pooling.kernel])
            pool = nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels, bias=False)
            self.add_module(f"pool_{name}", pool)
            self.add_module(f"norm_{name}", norm_layer(channels))
        self.windows = [pooling.window_size // stride for stride in strides]
        self.residual_pooling = pooling.residual

    def _pooled(self, name: str, x: Tensor) -> Tensor:
        return getattr(self, f"norm_{name}")(_pool(getattr(self, f"pool_{name}"), x))

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, _ = x.shape
        qkv = self.qkv(x).reshape(n, height, width, 3, self.num_heads, -1).permute(3, 0, 4, 1, 2, 5)
        q, k, v = qkv.reshape(3, n * self.num_heads, height, width, -1)  # (N·heads, H, W, C / heads) each
        q, k, v = self._pooled("q", q), self._pooled("k", k), self._pooled("v", v)
        of_q, of_kv = self.windows
        if of_q:
            x = self.attend(to_windows(q, of_q), to_windows(k, of_kv), to_windows(v, of_kv))
            x = from_windows(x, q.shape[1:3])
        else:
            x = self.attend(q, k, v)
        if self.residual_pooling:
            x += q
        height, width, channels = q.shape[1:]
        x = x.view(n, self.num_heads, height, width, channels).permute(0, 2, 3, 1, 4)
        return self.proj(x.reshape(n, height, width, -1))


def _pool(pool: nn.Module, x: Tensor) -> Tensor:
    return pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class _Block(InferenceModule):
    """Pooled attention, then two linear layers; the shortcut is widened and pooled where the block does so."""

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        norm_layer: Layer,
        pooling: _Pooling,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        stride_q = pooling.stride_q
        self.attn = _PooledAttention(dim, dim_out, num_heads, qkv_bias, norm_layer, pooling)
        self.norm2 = norm_layer(dim_out)
        self.mlp = Mlp(dim_out, int(dim_out * mlp_ratio))
        self.proj = nn.Linear(dim, dim_out) if dim != dim_out else None
        self.pool_skip = nn.MaxPool2d(stride_q + 1, stride_q, (stride_q + 1) // 2) if stride_q > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        if self.proj is not None:
            x = self.proj(normed)
        if self.pool_skip is not None:
            x = _pool(self.pool_skip, x)
        x = x + self.attn(normed)
        return x + self.mlp(self.norm2(x))


class MViT(Backbone):
    """A multiscale vision transformer: four stages, ``scale2`` to ``scale5``, of strides 4, 8, 16 and 32.

    Args:
        img_size: side in pixels of the images that relative positions were learnt on.
        patch_kernel: height and width of a patch.
        patch_stride: from patch to patch.
        patch_padding: of the image.
        in_chans: channels of the image.
        embed_dim: channels of a token in the first stage; each stage has twice as many as the one before.
        depth: number of blocks.
        num_heads: heads in the first stage; each stage has twice as many as the one before.
        last_block_indexes: the last block of each stage.
        qkv_pool_kernel: height and width of the kernels that pool queries, keys and values.
        adaptive_kv_stride: stride of keys and values in the first stage; half of it in each further one.
        adaptive_window_size: side of a window in tokens in the first stage; half of it in each further one.
        residual_pooling: whether the pooled queries are added to what attention finds.
        mlp_ratio: hidden channels of the linear layers, as a multiple of the block's.
        qkv_bias: whether the product for queries, keys and values has a bias.
        drop_path_rate: for training, ignored.
        norm_layer: makes a norm for a number of channels.
        act_layer: ignored, as Detectron2 does: the activation is always GELU.
        use_abs_pos: whether tokens get absolute positions.
        use_rel_pos: whether attention gets relative positions.
        rel_pos_zero_init: for training, ignored.
        use_act_checkpoint: for training, ignored.
        pretrain_img_size: side in pixels of the images that absolute positions were learnt on.
        pretrain_use_cls_token: whether absolute positions begin with that of a class token.
        out_features: which of ``scale2``, ``scale3``, … are returned.

    Raises:
        ConfigError: when the heads cannot share the channels evenly, or no feature is wanted, or one that does not
            exist.
    """

    one_size_only = LAID_OUT_FOR_ONE_SIZE

    def __init__(
        self,
        img_size: int = 224,
        patch_kernel: Pair = (7, 7),
        patch_stride: Pair = (4, 4),
        patch_padding: Pair = (3, 3),
        in_chans: int = 3,
        embed_dim: int = 96,
        depth: int = 16,
        num_heads: int = 1,
        last_block_indexes: Sequence[int] = (0, 2, 11, 15),
        qkv_pool_kernel: Pair = (3, 3),
        adaptive_kv_stride: int = 4,
        adaptive_window_size: int = 56,
        residual_pooling: bool = True,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        norm_layer: Layer = nn.LayerNorm,
        act_layer: Layer = nn.GELU,
        use_abs_pos: bool = False,
        use_rel_pos: bool = True,
        rel_pos_zero_init: bool = True,
        use_act_checkpoint: bool = False,
        pretrain_img_size: int = 224,
        pretrain_use_cls_token: bool = True,
        out_features: Sequence[str] = ("scale2", "scale3", "scale4", "scale5"),
    ) -> None:
        super().__init__()
        self.pretrain_use_cls_token = pretrain_use_cls_token
        self.patch_embed = PatchEmbed(patch_kernel, patch_stride, patch_padding, in_chans, embed_dim)
        sides = [pretrain_img_size // stride for stride in patch_stride]
        self.pos_embed = position_table(sides, embed_dim, pretrain_use_cls_token) if use_abs_pos else None
        self._ends = {last: f"scale{stage}" for stage, last in enumerate(last_block_indexes, start=2)}
        self._out_features = list(out_features)
        if not out_features or any(name not in self._ends.values() for name in out_features):
            raise ConfigError(
                f"MODEL.MVIT.OUT_FEATURES is {self._out_features}: expected one or more of {[*self._ends.values()]}"
            )
        self._out_feature_channels, self._out_feature_strides = {}, {}
        self.blocks = nn.ModuleList()
        dim, dim_out, stride, side = embed_dim, embed_dim, patch_stride[0], img_size // patch_stride[0]
        kv_stride, window = adaptive_kv_stride, adaptive_window_size
        for i in range(depth):
            is_first = i - 1 in last_block_indexes
            # The last blocks of the second stage and of the third pool keys and values once more.
            pools_more = i in last_block_indexes[1:3]
            is_global = i in last_block_indexes[1:]
            pooling = _Pooling(
                kernel=qkv_pool_kernel,
                stride_q=2 if is_first else 1,
                stride_kv=kv_stride * (2 if pools_more else 1),
                residual=residual_pooling,
                window_size=0 if is_global else window,
                rel_pos_side=side if use_rel_pos else 0,
            )
            self.blocks.append(_Block(dim, dim_out, num_heads, mlp_ratio, qkv_bias, norm_layer, pooling))
            dim = dim_out
            if i in self._ends:
                name = self._ends[i]
                self._out_feature_channels[name], self._out_feature_strides[name] = dim, stride
                if name in out_features:
                    self.add_module(f"{name}_norm", norm_layer(dim))
                dim_out, num_heads, stride, kv_stride = 2 * dim_out, 2 * num_heads, 2 * stride, max(kv_stride // 2, 1)
            if is_first:
                window, side = window // 2, side // 2

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map normalised images (N, C, H, W) to the wanted feature maps."""
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + absolute_positions(self.pos_embed, self.pretrain_use_cls_token, x.shape[1:3])
        features = {}
        for i, block in enumerate(self.blocks):
            x = block(x)
            if (name := self._ends.get(i)) in self._out_features:
                features[name] = getattr(self, f"{name}_norm")(x).permute(0, 3, 1, 2)
        return features


@BACKBONE_REGISTRY.register()
def build_mvit_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``MODEL.FPN`` on ``MODEL.MVIT``, with ``p6`` pooled from ``p5``."""
    mvit = model_section(cfg, "MVIT")
    bottom_up = MViT(**transformer_arguments(mvit, input_shape, "SQUARE_PAD"))
    return fpn_from_config(cfg, bottom_up, LastLevelMaxPool(), mvit.SQUARE_PAD)
