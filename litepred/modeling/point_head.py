"""PointRend's heads, which classify points: one with weights of its own, and one that is given them for each region.

R regions, P points, C channels, K classes, or 1 where all classes share a mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import CfgNode
from ..config.sections import add_pointrend_config, completed
from ..errors import ConfigError, switch, whole_number
from ..layers import InferenceModule, ShapeSpec
from .build import POINT_HEAD_REGISTRY, named_shapes

__all__ = ["ImplicitPointHead", "StandardPointHead"]

_FREQUENCIES = 128  # of the encoding of a point's place, which has a sine and a cosine of each


@POINT_HEAD_REGISTRY.register()
class StandardPointHead(InferenceModule):
    """Fully connected layers over what the maps and the coarse prediction have at a point (Kirillov et al. 2020).

    Args:
        cfg: has ``MODEL.POINT_HEAD``.
        input_shape: channels of the maps together.

    Raises:
        ConfigError: when a number is not a whole number above 0.
    """

    def __init__(self, cfg: CfgNode, input_shape: ShapeSpec) -> None:
        super().__init__()
        num_classes, fc_dim, num_fc, shared, section = _numbers(cfg)
        self.coarse_pred_each_layer = switch("MODEL.POINT_HEAD.COARSE_PRED_EACH_LAYER", section.COARSE_PRED_EACH_LAYER)
        channels = (input_shape.channels or 0) + num_classes
        self.fc_names = [f"fc{i}" for i in range(1, num_fc + 1)]
        for name in self.fc_names:
            self.add_module(name, nn.Conv1d(channels, fc_dim, 1))
            channels = fc_dim + (num_classes if self.coarse_pred_each_layer else 0)
        self.predictor = nn.Conv1d(channels, 1 if shared else num_classes, 1)

    def forward(self, fine_grained_features: Tensor, coarse_features: Tensor) -> Tensor:
        """Map features (R, C, P) and coarse logits (R, num_classes, P) to logits (R, K, P)."""
        x = torch.cat([fine_grained_features, coarse_features], dim=1)
        for name in self.fc_names:
            x = F.relu_(getattr(self, name)(x))
            if self.coarse_pred_each_layer:
                x = torch.cat([x, coarse_features], dim=1)
        return self.predictor(x)


@POINT_HEAD_REGISTRY.register()
class ImplicitPointHead(InferenceModule):
    """Fully connected layers, whose weights come with each region (Implicit PointRend, Cheng et al. 2022).

    Args:
        cfg: has ``MODEL.POINT_HEAD`` and ``MODEL.IMPLICIT_POINTREND``.
        input_shape: channels of the maps together.

    Attributes:
        num_params: of all weights and biases of one region.

    Raises:
        ConfigError: when a number is not a whole number above 0, or the layers read nothing.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, cfg: CfgNode, input_shape: ShapeSpec) -> None:
        super().__init__()
        num_classes, fc_dim, num_fc, shared, _ = _numbers(cfg)
        implicit = completed(cfg, add_pointrend_config).MODEL.IMPLICIT_POINTREND
        key = "MODEL.IMPLICIT_POINTREND.IMAGE_FEATURE_ENABLED"
        self.image_features = switch(key, implicit.IMAGE_FEATURE_ENABLED)
        self.positions = switch("MODEL.IMPLICIT_POINTREND.POS_ENC_ENABLED", implicit.POS_ENC_ENABLED)
        channels = (input_shape.channels or 0) if self.image_features else 0
        if self.positions:
            channels += 2 * _FREQUENCIES
            self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, _FREQUENCIES))
        if not channels:
            raise ConfigError(
                f"{key} and POS_ENC_ENABLED are both False: a point then has nothing to be told by; set one of them to "
                "True"
            )
        sizes = [channels, *[fc_dim] * num_fc, 1 if shared else num_classes]
        self.weight_shapes = list(zip(sizes[1:], sizes))  # of each layer, (channels out, channels in)
        self.num_params = sum(rows * columns + rows for rows, columns in self.weight_shapes)

    def forward(self, fine_grained_features: Tensor, point_coords: Tensor, parameters: Tensor) -> Tensor:
        """Map features (R, C, P) at points (R, P, 2) to logits (R, K, P), by weights (R, num_params)."""
        regions, _, number = fine_grained_features.shape
        x = fine_grained_features
        if self.positions:
            places = (2 * point_coords.reshape(-1, 2) - 1) @ self.positional_encoding_gaussian_matrix
            places = 2 * math.pi * places
            places = torch.cat([places.sin(), places.cos()], dim=1)
            places = places.view(regions, number, 2 * _FREQUENCIES).transpose(1, 2)
            x = torch.cat([places, x], dim=1) if self.image_features else places
        sizes = [rows * columns for rows, columns in self.weight_shapes] + [rows for rows, _ in self.weight_shapes]
        values = parameters.split(sizes, dim=1)
        layers = len(self.weight_shapes)
        for i, (shape, weight, bias) in enumerate(zip(self.weight_shapes, values, values[layers:])):
            x = torch.einsum("nck,ndc->ndk", x, weight.reshape(regions, *shape)) + bias[..., None]
            x = F.relu_(x) if i < layers - 1 else x
        return x


def _numbers(cfg: CfgNode) -> tuple[int, int, int, bool, CfgNode]:
    """Return what both heads read of ``MODEL.POINT_HEAD``, and the section itself."""
    section = completed(cfg, add_pointrend_config).MODEL.POINT_HEAD
    num_classes, fc_dim, num_fc = (
        whole_number(f"MODEL.POINT_HEAD.{key}", section[key]) for key in ("NUM_CLASSES", "FC_DIM", "NUM_FC")
    )
    shared = switch("MODEL.POINT_HEAD.CLS_AGNOSTIC_MASK", section.CLS_AGNOSTIC_MASK)
    return num_classes, fc_dim, num_fc, shared, section


def together(shapes: Mapping[str, ShapeSpec], names: Sequence[str], config_key: str, side: int = 1) -> ShapeSpec:
    """Return the shape of what a head reads of several maps: their channels, at ``side`` squared points."""
    named = named_shapes(shapes, names, config_key)
    return ShapeSpec(channels=sum(shape.channels or 0 for shape in named), height=side, width=side)


def pointrend_config(cfg: CfgNode, owner: str) -> CfgNode:
    """Return a config with all keys of PointRend, whose point head has as many classes as ``owner`` in ``MODEL``.

    Raises:
        ConfigError: It has another number.
    """
    cfg = completed(cfg, add_pointrend_config)
    have, wanted = cfg.MODEL.POINT_HEAD.NUM_CLASSES, cfg.MODEL[owner].NUM_CLASSES
    if have != wanted:
        raise ConfigError(
            f"MODEL.POINT_HEAD.NUM_CLASSES is {have!r}: expected {wanted!r}, as MODEL.{owner}.NUM_CLASSES says"
        )
    return cfg
