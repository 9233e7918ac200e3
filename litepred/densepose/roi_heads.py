"""The ROI heads of a DensePose model: those of Mask R-CNN, and a branch that maps each detected person to the body.

N images, D detections over all images, L feature maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..config import CfgNode
from ..errors import ConfigError
from ..layers import ShapeSpec
from ..modeling.build import ROI_HEADS_REGISTRY, named_shapes
from ..modeling.roi_heads import StandardROIHeads
from ..modeling.roi_heads.standard import build_pooler
from ..modeling.semantic import SemSegFPNHead
from ..structures import Boxes, Instances
from .heads import DENSEPOSE_PREDICTOR_REGISTRY, ROI_DENSEPOSE_HEAD_REGISTRY

__all__ = ["Decoder", "DensePoseROIHeads"]

Window = tuple[tuple[int, int], tuple[int, int]]


class Decoder(SemSegFPNHead):
    """All maps of a pyramid as one of the finest map's size (after Panoptic FPN; Kirillov et al. 2019).

    Args:
        input_shapes: channels and stride of the maps by name, from fine to coarse.
        conv_dim: channels of the convolutions.
        out_channels: channels of the result.
        norm: as `get_norm` takes it.
    """

    def __init__(
        self, input_shapes: Mapping[str, ShapeSpec], *, conv_dim: int, out_channels: int, norm: str = ""
    ) -> None:
        finest = min(shape.stride or 1 for shape in input_shapes.values())
        super().__init__(input_shapes, num_classes=out_channels, conv_dims=conv_dim, common_stride=finest, norm=norm)

    def forward(self, features: Sequence[Tensor], window: Window | None = None) -> Tensor:  # type: ignore[override]
        """Map L feature maps (N, C, H, W), of stride 4, 8 …, to one (N, C', H, W) of the first one's size.

        Args:
            features: the maps.
            window: compute this part of the result alone; see `window_around`.
        """
        if window is None:
            return self.layers(dict(zip(self.in_features, features)))
        total: Any = 0
        for level, (name, feature) in enumerate(zip(self.in_features, features)):
            cells, scale = self.strides[-1] // self.strides[level], self.strides[level] // self.strides[0]
            margin = scale.bit_length()  # a cell for the first convolution, and one less for all that follow it
            (top, left), (bottom, right) = (
                [max(0, edge * cells + sign * margin) for edge in edges] for edges, sign in zip(window, (-1, 1))
            )
            skip_y, skip_x = ((edge * cells - near) * scale for edge, near in zip(window[0], (top, left)))
            height, width = ((far - near) * cells * scale for near, far in zip(*window))
            part = getattr(self, name)(feature[:, :, top:bottom, left:right])
            part = part[:, :, skip_y : skip_y + height, skip_x : skip_x + width]
            total = part if level == 0 else total + part
        return self.predictor(total)

    def window_around(self, box_lists: Sequence[Boxes], coarsest: Tensor) -> Window:
        """Return the part of the result that pooling boxes reads: (top, left), (bottom, right) in coarsest cells.

        It is never empty, even where all boxes lie on the far edges of the image.
        """
        boxes, reach = torch.cat([boxes.tensor for boxes in box_lists]), 2 * self.strides[0]
        edges = torch.cat([boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)]).tolist()  # all at once: this waits
        last = [cells * self.strides[-1] - 1 for cells in coarsest.shape[:-3:-1]]  # pixel, x and y
        left, top = (int(min(max(edge, 0), far)) // self.strides[-1] for edge, far in zip(edges[:2], last))
        right, bottom = (int(edge + reach) // self.strides[-1] + 1 for edge in edges[2:])
        return (top, left), (bottom, right)


@ROI_HEADS_REGISTRY.register()
class DensePoseROIHeads(StandardROIHeads):
    """`StandardROIHeads` that also give each detection its ``pred_densepose``, unless ``MODEL.DENSEPOSE_ON`` is false.

    Attributes:
        decoder: turns the feature maps into the one that boxes are pooled from; with ``None``, boxes are pooled from
            the feature maps themselves.
        exact: whether the decoder computes its whole map, or just what lies around boxes, to rounding the same.

    Raises:
        ConfigError: the config lacks DensePose's keys, or describes a model that litepred does not run.
    """

    dense_parts = (*StandardROIHeads.dense_parts, "decoder", "densepose_head", "densepose_predictor")
    exact = True

    def __init__(self, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> None:
        super().__init__(cfg, input_shape)
        if "ROI_DENSEPOSE_HEAD" not in cfg.MODEL:
            raise ConfigError(
                "MODEL.ROI_HEADS.NAME is 'DensePoseROIHeads', but the config has no MODEL.ROI_DENSEPOSE_HEAD: call "
                "litepred.densepose.add_densepose_config(cfg) after get_cfg()"
            )
        self.densepose_on = bool(cfg.MODEL.DENSEPOSE_ON)
        if not self.densepose_on:
            return
        section, names = cfg.MODEL.ROI_DENSEPOSE_HEAD, cfg.MODEL.ROI_HEADS.IN_FEATURES
        if embedders := section.CSE.get("EMBEDDERS"):
            raise ConfigError(
                f"MODEL.ROI_DENSEPOSE_HEAD.CSE.EMBEDDERS has {', '.join(embedders)}: models of continuous "
                "surface embeddings (CSE) are not supported, only those of charts (IUV) are"
            )
        shapes = named_shapes(input_shape, names, "MODEL.ROI_HEADS.IN_FEATURES")
        self.decoder: Decoder | None = None
        channels = shapes[0].channels
        if section.DECODER_ON:
            if shapes[0].stride != section.DECODER_COMMON_STRIDE:
                raise ConfigError(
                    f"MODEL.ROI_DENSEPOSE_HEAD.DECODER_COMMON_STRIDE is {section.DECODER_COMMON_STRIDE}: expected the "
                    f"stride {shapes[0].stride} of {names[0]}, the first of MODEL.ROI_HEADS.IN_FEATURES"
                )
            dims, channels, norm = section.DECODER_CONV_DIMS, section.DECODER_NUM_CLASSES, section.DECODER_NORM
            self.decoder = Decoder(dict(zip(names, shapes)), conv_dim=dims, out_channels=channels, norm=norm)
        self.densepose_pooler = build_pooler(section, input_shape, names[:1] if section.DECODER_ON else names)
        self.densepose_head = ROI_DENSEPOSE_HEAD_REGISTRY.get(section.NAME)(cfg, channels)
        predictor = DENSEPOSE_PREDICTOR_REGISTRY.get(section.PREDICTOR_NAME)
        self.densepose_predictor = predictor(cfg, self.densepose_head.n_out_channels)

    def forward_with_given_boxes(self, features: dict[str, Tensor], instances: list[Instances]) -> list[Instances]:
        """Add masks, keypoints and ``pred_densepose`` to ``instances``, which have boxes and classes."""
        return self._forward_densepose(features, super().forward_with_given_boxes(features, instances))

    def _forward_densepose(self, features: Mapping[str, Tensor], instances: list[Instances]) -> list[Instances]:
        sizes = [len(one) for one in instances]
        compiling = torch.compiler.is_compiling()  # then values decide nothing: not the window, and not the next line
        if not self.densepose_on or not (compiling or any(sizes)):  # as in DensePose, without detections no field
            return instances
        maps, boxes = [features[name] for name in self.in_features], [one.pred_boxes for one in instances]
        if self.decoder is not None and (self.exact or compiling):
            maps = [self.decoder(maps)]
        elif self.decoder is not None:
            window = self.decoder.window_around(boxes, maps[-1])
            maps = [self.decoder(maps, window)]
            (top, left), _ = window
            x, y = left * self.decoder.strides[-1], top * self.decoder.strides[-1]
            boxes = [Boxes(torch.stack([one.tensor[:, i] - (x, y)[i % 2] for i in range(4)], dim=1)) for one in boxes]
        pooled = self.densepose_pooler(maps, boxes)
        output = self.densepose_predictor(self.densepose_head(pooled))
        start = 0
        for one, size in zip(instances, sizes):
            one.pred_densepose = output if len(instances) == 1 else output[start : start + size]
            start += size
        return instances
