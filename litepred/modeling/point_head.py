"""PointRend's heads, which classify points: one with weights of its own, and one that is given them for each region.

R regions, P points, C channels, K classes, or 1 where all classes share a mask.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import CfgNode, configurable
from ..config.sections import add_pointrend_config, completed
from ..errors import ConfigError, switch, whole_number
from ..layers import InferenceModule, ShapeSpec
from .build import POINT_HEAD_REGISTRY

__all__ = ["ImplicitPointHead", "StandardPointHead"]

_FREQUENCIES = 128  # of the encoding of a point's place, which has a sine and a cosine of each


@POINT_HEAD_REGISTRY.register()
class StandardPointHead(InferenceModule):
    """Fully connected layers over what the maps and the coarse prediction have at a point (Kirillov et al. 2020).

    Args:
        input_shape: channels of the maps together.
        num_classes: of the coarse prediction.
        fc_dim: channels of each layer.
        num_fc: how many layers come before the predictor.
        cls_agnostic_mask: whether one mask is predicted for all classes.
        coarse_pred_each_layer: whether each layer reads the coarse prediction, and not the first alone.

    Raises:
        ConfigError: when a number is not a whole number above 0.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        fc_dim: int,
        num_fc: int,
        cls_agnostic_mask: bool = False,
        coarse_pred_each_layer: bool = True,
    ) -> None:
        super().__init__()
        self.coarse_pred_each_layer = coarse_pred_each_layer
        channels = (input_shape.channels or 0) + num_classes
        self.fc_names = [f"fc{i}" for i in range(1, num_fc + 1)]
        for name in self.fc_names:
            self.add_module(name, nn.Conv1d(channels, fc_dim, 1))
            channels = fc_dim + (num_classes if coarse_pred_each_layer else 0)
        self.predictor = nn.Conv1d(channels, 1 if cls_agnostic_mask else num_classes, 1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Translate ``MODEL.POINT_HEAD`` into arguments."""
        head = completed(cfg, add_pointrend_config).MODEL.POINT_HEAD
        each_layer = switch("MODEL.POINT_HEAD.COARSE_PRED_EACH_LAYER", head.COARSE_PRED_EACH_LAYER)
        return {"input_shape": input_shape, "coarse_pred_each_layer": each_layer, **_shared_arguments(head)}

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
        input_shape: channels of the maps together.
        num_classes: of the prediction.
        fc_dim: channels of each layer.
        num_fc: how many layers come before the predictor.
        cls_agnostic_mask: whether one mask is predicted for all classes.
        image_features: whether the layers read the maps.
        positions: whether they read where in its box the point is.

    Attributes:
        num_params: of all weights and biases of one region.

    Raises:
        ConfigError: when a number is not a whole number above 0, or the layers read nothing.
    """

    positional_encoding_gaussian_matrix: Tensor

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        fc_dim: int,
        num_fc: int,
        cls_agnostic_mask: bool = False,
        image_features: bool = True,
        positions: bool = True,
    ) -> None:
        super().__init__()
        self.image_features, self.positions = image_features, positions
        channels = (input_shape.channels or 0) if image_features else 0
        if positions:
            channels += 2 * _FREQUENCIES
            self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, _FREQUENCIES))
        if not channels:
            raise ConfigError(
                "MODEL.IMPLICIT_POINTREND.IMAGE_FEATURE_ENABLED and POS_ENC_ENABLED are both False: a point then has "
                "nothing to be told by; set one of them to True"
            )
        sizes = [channels, *[fc_dim] * num_fc, 1 if cls_agnostic_mask else num_classes]
        self.weight_shapes = list(zip(sizes[1:], sizes))  # of each layer, (channels out, channels in)
        self.num_params = sum(rows * columns + rows for rows, columns in self.weight_shapes)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Translate ``MODEL.POINT_HEAD`` and ``MODEL.IMPLICIT_POINTREND`` into arguments."""
        model = completed(cfg, add_pointrend_config).MODEL
        implicit = model.IMPLICIT_POINTREND
        return {
            "input_shape": input_shape,
            "image_features": switch("MODEL.IMPLICIT_POINTREND.IMAGE_FEATURE_ENABLED", implicit.IMAGE_FEATURE_ENABLED),
            "positions": switch("MODEL.IMPLICIT_POINTREND.POS_ENC_ENABLED", implicit.POS_ENC_ENABLED),
            **_shared_arguments(model.POINT_HEAD),
        }

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


def _shared_arguments(head: CfgNode) -> dict[str, Any]:
    """Translate what both heads take of ``MODEL.POINT_HEAD``."""
    names = ("NUM_CLASSES", "FC_DIM", "NUM_FC")
    numbers = {name.lower(): whole_number(f"MODEL.POINT_HEAD.{name}", head[name]) for name in names}
    shared = switch("MODEL.POINT_HEAD.CLS_AGNOSTIC_MASK", head.CLS_AGNOSTIC_MASK)
    return {**numbers, "cls_agnostic_mask": shared}
