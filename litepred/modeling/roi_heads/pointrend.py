"""PointRend's masks (Kirillov et al. 2020): coarse ones, made finer at the points where they are uncertain.

R regions over all images, P points, K classes, S × S cells of a pooled box.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import CfgNode
from ...config.sections import add_pointrend_config, completed
from ...errors import ConfigError, switch, whole_number
from ...layers import Conv2d, InferenceModule, ShapeSpec
from ...structures import Boxes, Instances
from ..build import ROI_HEADS_REGISTRY, ROI_MASK_HEAD_REGISTRY, build_point_head
from ..point_features import (
    POINTS_ARE_CHOSEN,
    generate_regular_grid_point_coords,
    point_sample,
    point_sample_fine_grained_features,
    subdivide,
)
from ..point_head import pointrend_config, together
from .mask_head import mask_rcnn_inference
from .standard import StandardROIHeads

__all__ = ["ConvFCHead", "ImplicitPointRendMaskHead", "PointRendMaskHead", "PointRendROIHeads"]

_OLD_NAMES = {  # of the first release: what it called a part of the ROI heads, and what that is of the mask head
    "mask_coarse_head.coarse_mask_fc": "coarse_head.fc",
    "mask_coarse_head.": "coarse_head.",
    "mask_point_head.": "point_head.",
    "mask_head.coarse_head.coarse_mask_fc": "coarse_head.fc",
}


class ConvFCHead(InferenceModule):
    """Convolutions that make a pooled box smaller, and fully connected layers.

    Args:
        cfg: has ``MODEL.ROI_MASK_HEAD``.
        input_shape: channels, height and width of the pooled box.
        output_shape: of what is predicted for a region; by default coarse masks, (K, M, M).
    """

    def __init__(self, cfg: CfgNode, input_shape: ShapeSpec, output_shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        model = completed(cfg, add_pointrend_config).MODEL
        names = ("CONV_DIM", "FC_DIM", "NUM_FC", "OUTPUT_SIDE_RESOLUTION")
        conv_dim, fc_dim, num_fc, side = (
            whole_number(f"MODEL.ROI_MASK_HEAD.{name}", model.ROI_MASK_HEAD[name]) for name in names
        )
        channels, height, width = input_shape.channels or 0, input_shape.height or 0, input_shape.width or 0
        self.output_shape = output_shape or (model.ROI_HEADS.NUM_CLASSES, side, side)
        self.conv_names = ["reduce_channel_dim_conv"] if channels > conv_dim else []
        if self.conv_names:
            self.reduce_channel_dim_conv = Conv2d(channels, conv_dim, 1, activation=F.relu_)
        self.reduce_spatial_dim_conv = Conv2d(conv_dim, conv_dim, 2, stride=2, activation=F.relu_)
        self.conv_names.append("reduce_spatial_dim_conv")
        self.fc_names = [f"fc{i}" for i in range(1, num_fc + 1)]
        for name, before in zip(self.fc_names, [conv_dim * height * width // 4, *[fc_dim] * (num_fc - 1)]):
            self.add_module(name, nn.Linear(before, fc_dim))
        self.prediction = nn.Linear(fc_dim, math.prod(self.output_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Map pooled boxes (R, C, S, S) to (R, …) of ``output_shape``."""
        for name in self.conv_names:
            x = getattr(self, name)(x)
        x = x.flatten(1)
        for name in self.fc_names:
            x = F.relu_(getattr(self, name)(x))
        return self.prediction(x).view(len(x), *self.output_shape)


@ROI_MASK_HEAD_REGISTRY.register()
class PointRendMaskHead(InferenceModule):
    """Coarse masks, and a point head that makes them finer. It reads the maps themselves, and needs no pooler.

    Args:
        cfg: has ``MODEL.ROI_MASK_HEAD`` and ``MODEL.POINT_HEAD``.
        input_shape: channels and stride of the maps, by name.

    Attributes:
        exact: whether to keep the reference's order of operations, or compute faster, to rounding the same.

    Raises:
        ConfigError: when values do not go together, or a number is out of its range.
    """

    exact = True
    torch_only = POINTS_ARE_CHOSEN
    point_head: Any  # a module; with None, the coarse masks stay as they are
    dense_parts: tuple[str, ...] = ("coarse_head", "point_head")

    def __init__(self, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> None:
        super().__init__()
        cfg = pointrend_config(cfg, "ROI_HEADS")
        mask, point = cfg.MODEL.ROI_MASK_HEAD, cfg.MODEL.POINT_HEAD
        if not isinstance(input_shape, Mapping):
            raise ConfigError(
                f"MODEL.ROI_MASK_HEAD.POOLER_TYPE is {mask.POOLER_TYPE!r}, but {type(self).__name__} reads the feature "
                "maps themselves: set it to ''"
            )
        self.feature_scales = {name: 1.0 / (shape.stride or 1) for name, shape in input_shape.items()}
        self.coarse_in_features, self.point_in_features = list(mask.IN_FEATURES), list(point.IN_FEATURES)
        self.pooler_size = whole_number("MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", mask.POOLER_RESOLUTION)
        self.steps = whole_number("MODEL.POINT_HEAD.SUBDIVISION_STEPS", point.SUBDIVISION_STEPS, 0)
        self.num_points = whole_number("MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS", point.SUBDIVISION_NUM_POINTS)
        pooled = together(input_shape, mask.IN_FEATURES, "MODEL.ROI_MASK_HEAD.IN_FEATURES", self.pooler_size)
        at_a_point = together(input_shape, point.IN_FEATURES, "MODEL.POINT_HEAD.IN_FEATURES")
        self.initial_side = self._add_heads(cfg, pooled, at_a_point)

    def _add_heads(self, cfg: CfgNode, pooled: ShapeSpec, at_a_point: ShapeSpec) -> int:
        """Build both heads, and return how many cells a side of the first mask has."""
        self.coarse_head = ConvFCHead(cfg, pooled)
        on = switch("MODEL.ROI_MASK_HEAD.POINT_HEAD_ON", cfg.MODEL.ROI_MASK_HEAD.POINT_HEAD_ON)
        self.point_head = build_point_head(cfg, at_a_point) if on else None
        return cfg.MODEL.ROI_MASK_HEAD.OUTPUT_SIDE_RESOLUTION

    def forward(self, features: Mapping[str, Tensor], instances: list[Instances]) -> list[Instances]:
        """Predict masks from maps (N, C, H, W) by name, and set them as ``pred_masks`` of ``instances``."""
        names = {*self.coarse_in_features, *self.point_in_features}
        features = {name: features[name].float() for name in names}  # points are too fine for 16 bits
        boxes = [one.pred_boxes for one in instances]
        grid = generate_regular_grid_point_coords(sum(map(len, boxes)), self.pooler_size, boxes[0].device)
        pooled = self._at_points(features, self.coarse_in_features, boxes, grid)
        coarse = getattr(self, self.dense_parts[0])(pooled.unflatten(2, (self.pooler_size, self.pooler_size)))
        mask_rcnn_inference(
            coarse if self.point_head is None else self._refined(features, coarse, instances), instances
        )
        return instances

    def _refined(self, features: Mapping[str, Tensor], coarse: Tensor, instances: list[Instances]) -> Tensor:
        """Predict the logits of each region's own class, (R, 1, M, M)."""
        boxes = [one.pred_boxes for one in instances]
        classes = torch.cat([one.pred_classes for one in instances])

        def own(logits: Tensor) -> Tensor:  # of the class found, (R, 1, …)
            rows = torch.arange(len(logits), device=logits.device)
            return logits if logits.shape[1] == 1 else logits[rows, classes][:, None]

        def predict(points: Tensor) -> Tensor:
            fine = self._at_points(features, self.point_in_features, boxes, points)
            logits = self._point_logits(fine, points, coarse)
            # Nothing reads the masks of other classes; but how torch rounds depends on the number of channels.
            return logits if self.exact else own(logits)

        side, steps, number = self.initial_side, self.steps, self.num_points
        while 4 * side**2 <= number:  # all cells of the doubled mask would be predicted anew
            side, steps = 2 * side, steps - 1
        grid = generate_regular_grid_point_coords(len(classes), side, boxes[0].device)
        logits = predict(grid).unflatten(2, (side, side))
        return own(subdivide(logits, steps if len(classes) else 0, number, lambda x: -own(x).abs(), predict))

    def _at_points(
        self, features: Mapping[str, Tensor], names: Sequence[str], boxes: Sequence[Boxes], points: Tensor
    ) -> Tensor:
        """Sample the named maps at points of boxes (R, P, 2): (R, C, P)."""
        maps, scales = [features[name] for name in names], [self.feature_scales[name] for name in names]
        return point_sample_fine_grained_features(maps, scales, boxes, points)[0]

    def _point_logits(self, fine: Tensor, points: Tensor, coarse: Tensor) -> Tensor:
        return self.point_head(fine, point_sample(coarse, points, align_corners=False))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        roi_heads = prefix.removesuffix("mask_head.")
        for key in list(state_dict):
            for old, new in _OLD_NAMES.items():
                if key.startswith(roi_heads + old):
                    state_dict[prefix + new + key.removeprefix(roi_heads + old)] = state_dict.pop(key)
                    break
        super()._load_from_state_dict(state_dict, prefix, *args)


@ROI_MASK_HEAD_REGISTRY.register()
class ImplicitPointRendMaskHead(PointRendMaskHead):
    """A head that predicts, for each region, the weights of the point head in place of a coarse mask."""

    dense_parts = ("parameter_head",)

    def _add_heads(self, cfg: CfgNode, pooled: ShapeSpec, at_a_point: ShapeSpec) -> int:
        if math.isqrt(self.num_points) ** 2 != self.num_points:
            raise ConfigError(
                f"MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS is {self.num_points}: expected a square, such as 784"
            )
        self.point_head = build_point_head(cfg, at_a_point)
        self.parameter_head = ConvFCHead(cfg, pooled, output_shape=(self.point_head.num_params,))
        return math.isqrt(self.num_points)

    def _point_logits(self, fine: Tensor, points: Tensor, coarse: Tensor) -> Tensor:
        return self.point_head(fine, points, coarse)


@ROI_HEADS_REGISTRY.register()
class PointRendROIHeads(StandardROIHeads):
    """`StandardROIHeads` that takes the configs of PointRend's first release as well."""

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        if cfg.MODEL.ROI_MASK_HEAD.NAME == "CoarseMaskHead":
            cfg = completed(cfg, add_pointrend_config)
            cfg.MODEL.ROI_MASK_HEAD.NAME, cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE = "PointRendMaskHead", ""
        return super()._init_mask_head(cfg, input_shape)
