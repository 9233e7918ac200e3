"""ROI heads that pool each region once per task: boxes first, then masks and keypoints on the boxes found.

N images, R regions over all images.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...config import CfgNode, configurable
from ...errors import whole_number
from ...layers import InferenceModule, ShapeSpec
from ...structures import Boxes, ImageList, Instances
from ..build import ROI_HEADS_REGISTRY, build_box_head, build_keypoint_head, build_mask_head, named_shapes
from ..poolers import ROIPooler
from ..rpn import Proposals
from .box_head import FastRCNNConvFCHead
from .fast_rcnn import FastRCNNOutputLayers
from .keypoint_head import BaseKeypointRCNNHead
from .mask_head import BaseMaskRCNNHead

__all__ = ["ROIHeads", "StandardROIHeads"]

_POOLED_AT_ONCE = 2**24  # numbers, 64 MB

Features = Mapping[str, Tensor]

AnyProposals = Sequence[Instances] | Proposals


def proposal_list(proposals: AnyProposals) -> Sequence[Instances]:
    """Return the per-image list out of what a proposal generator returned, or the list itself."""
    with_losses = isinstance(proposals, tuple) and isinstance(proposals[0], list)
    return cast("Sequence[Instances]", proposals[0] if with_losses else proposals)


def build_pooler(section: CfgNode, input_shape: Mapping[str, ShapeSpec], in_features: Sequence[str]) -> ROIPooler:
    """Build the pooler of a head's config section (``POOLER_RESOLUTION`` and so on) over the named maps."""
    return ROIPooler(
        output_size=section.POOLER_RESOLUTION,
        scales=[1.0 / (s.stride or 1) for s in named_shapes(input_shape, in_features, "MODEL.ROI_HEADS.IN_FEATURES")],
        sampling_ratio=section.POOLER_SAMPLING_RATIO,
        pooler_type=section.POOLER_TYPE,
    )


class ROIHeads(InferenceModule):
    """What a model asks of its ROI heads; subclass it for heads of your own.

    Args:
        num_classes: foreground classes.

    Attributes:
        dense_parts: names of the submodules that convolve or multiply matrices, if there are any; see `optimize`.
        exact: whether the box branch computes all regions at once, as the reference does, or on the CPU some at a time:
            a thousand with many channels take gigabytes. Results are to rounding the same.
    """

    dense_parts: tuple[str, ...] = ("box_head", "box_predictor", "mask_head", "keypoint_head")
    exact = True
    box_predictor: FastRCNNOutputLayers

    @configurable
    def __init__(self, *, num_classes: int) -> None:
        super().__init__()
        self.num_classes = whole_number("MODEL.ROI_HEADS.NUM_CLASSES", num_classes)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec] | None = None) -> dict[str, Any]:
        """Translate ``MODEL.ROI_HEADS`` into arguments."""
        return {"num_classes": cfg.MODEL.ROI_HEADS.NUM_CLASSES}

    def forward(
        self, images: ImageList, features: dict[str, Tensor], proposals: AnyProposals, targets: object = None
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Detect in each image.

        Args:
            images: unused; part of the contract.
            features: maps (N, C, H, W) by name.
            proposals: per image an `Instances` with ``proposal_boxes``, or what the proposal generator returned.
            targets: accepted for Detectron2's signature and ignored.

        Returns:
            Per image an `Instances` with ``pred_boxes`` in pixels of the network's input, ``scores``,
            ``pred_classes`` and what the other heads add; and an empty dict where Detectron2 has losses.
        """
        return self.forward_with_given_boxes(features, self._forward_box(features, proposals)), {}

    def forward_with_given_boxes(self, features: dict[str, Tensor], instances: list[Instances]) -> list[Instances]:
        """Add what the heads predict for boxes and classes that are given."""
        raise NotImplementedError

    def _forward_box(self, features: Features, proposals: AnyProposals) -> list[Instances]:
        proposals = proposal_list(proposals)
        box_features = self._box_features(features, [one.proposal_boxes for one in proposals])
        detections, _ = self.box_predictor.inference(self.box_predictor(box_features), proposals)
        return detections

    def _box_features(self, features: Features, boxes: Sequence[Boxes]) -> Tensor:
        """Return what ``box_predictor`` reads of R boxes, which come image by image: (R, D)."""
        raise NotImplementedError

    def _some_at_a_time(self, boxes: Sequence[Boxes], features: Tensor, pooler: nn.Module) -> Iterator[Sequence[Boxes]]:
        """Yield the boxes in their order, as many as are pooled at once, each time as lists of all images."""
        total = at_once = sum(map(len, boxes))
        is_whole = self.exact or features.device.type != "cpu" or torch.compiler.is_compiling()
        if not is_whole and isinstance(pooler, ROIPooler):
            at_once = max(1, _POOLED_AT_ONCE // (features.shape[1] * math.prod(pooler.output_size)))
        if total <= at_once:
            yield boxes
            return
        for image, of_image in enumerate(boxes):
            for start in range(0, len(of_image), at_once):
                some = of_image[start : start + at_once]
                yield [some if i == image else one[:0] for i, one in enumerate(boxes)]


@ROI_HEADS_REGISTRY.register()
class StandardROIHeads(ROIHeads):
    """Separate poolers and heads for boxes, masks and keypoints (Mask R-CNN on a pyramid).

    Args:
        box_in_features: names of the maps that boxes are pooled from.
        box_pooler: boxes to (R, C, S, S).
        box_head: pooled boxes to features.
        box_predictor: features to detections.
        mask_in_features: names of the maps that masks are pooled from; ``None`` for no masks.
        mask_pooler: the boxes found to (R, C, S, S); ``None`` if the head reads the maps themselves, by name.
        mask_head: pooled boxes to masks.
        keypoint_in_features: names of the maps that keypoints are pooled from; ``None`` for no keypoints.
        keypoint_pooler: as ``mask_pooler``.
        keypoint_head: pooled boxes to keypoints.
        **kwargs: see `ROIHeads`.
    """

    box_head: nn.Module
    output_layers: type[FastRCNNOutputLayers] = FastRCNNOutputLayers  # what ``from_config`` makes ``box_predictor`` of

    @configurable
    def __init__(
        self,
        *,
        box_in_features: Sequence[str],
        box_pooler: ROIPooler,
        box_head: nn.Module,
        box_predictor: FastRCNNOutputLayers,
        mask_in_features: Sequence[str] | None = None,
        mask_pooler: ROIPooler | None = None,
        mask_head: BaseMaskRCNNHead | None = None,
        keypoint_in_features: Sequence[str] | None = None,
        keypoint_pooler: ROIPooler | None = None,
        keypoint_head: BaseKeypointRCNNHead | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_features = self.box_in_features = list(box_in_features)
        self.box_pooler = box_pooler
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.mask_on = self.keypoint_on = False
        if mask_in_features is not None and mask_head is not None:
            self.mask_on = True
            self.mask_in_features = list(mask_in_features)
            self.mask_pooler = mask_pooler
            self.mask_head = mask_head
        if keypoint_in_features is not None and keypoint_head is not None:
            self.keypoint_on = True
            self.keypoint_in_features = list(keypoint_in_features)
            self.keypoint_pooler = keypoint_pooler
            self.keypoint_head = keypoint_head

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec] | None = None) -> dict[str, Any]:
        """Translate the sections of the ROI heads into arguments, one ``_init_*_head`` for each task."""
        arguments = super().from_config(cfg)
        # A subclass may override these as ordinary methods and call them itself: then they are not for us.
        for init in (cls._init_box_head, cls._init_mask_head, cls._init_keypoint_head):
            if inspect.ismethod(init):
                arguments |= init(cfg, input_shape)
        return arguments

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        arguments = task_head("box", cfg, cfg.MODEL.ROI_BOX_HEAD, build_box_head, input_shape)
        return arguments | {"box_predictor": cls.output_layers(cfg, arguments["box_head"].output_shape)}

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        if not cfg.MODEL.MASK_ON:
            return {}
        return task_head("mask", cfg, cfg.MODEL.ROI_MASK_HEAD, build_mask_head, input_shape)

    @classmethod
    def _init_keypoint_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        if not cfg.MODEL.KEYPOINT_ON:
            return {}
        return task_head("keypoint", cfg, cfg.MODEL.ROI_KEYPOINT_HEAD, build_keypoint_head, input_shape)

    def forward_with_given_boxes(self, features: dict[str, Tensor], instances: list[Instances]) -> list[Instances]:
        """Add masks and keypoints to ``instances``, which have ``pred_boxes`` and ``pred_classes``."""
        return self._forward_keypoint(features, self._forward_mask(features, instances))

    def _box_features(self, features: Features, boxes: Sequence[Boxes]) -> Tensor:
        maps = [features[name] for name in self.box_in_features]
        if not isinstance(self.box_head, FastRCNNConvFCHead):  # what one of others returns is its own matter
            return self.box_head(self.box_pooler(maps, boxes))
        parts = self._some_at_a_time(boxes, maps[0], self.box_pooler)
        return torch.cat([self.box_head(self.box_pooler(maps, some)) for some in parts])

    def _forward_mask(self, features: Features, instances: list[Instances]) -> list[Instances]:
        if not self.mask_on:
            return instances
        return self.mask_head(_pooled(features, self.mask_in_features, self.mask_pooler, instances), instances)

    def _forward_keypoint(self, features: Features, instances: list[Instances]) -> list[Instances]:
        if not self.keypoint_on:
            return instances
        pooled = _pooled(features, self.keypoint_in_features, self.keypoint_pooler, instances)
        return self.keypoint_head(pooled, instances)


def _pooled(features: Features, names: Sequence[str], pooler: ROIPooler | None, instances: Sequence[Instances]) -> Any:
    """Return what a head reads of the boxes found: pooled, or without a pooler the maps by name."""
    maps = {name: features[name] for name in names}
    return maps if pooler is None else pooler(list(maps.values()), [one.pred_boxes for one in instances])


def task_head(
    task: str,
    cfg: CfgNode,
    section: CfgNode,
    build: Callable[[CfgNode, ShapeSpec], Any],
    input_shape: Mapping[str, ShapeSpec],
) -> dict[str, Any]:
    """Return the arguments of `StandardROIHeads` for the pooler and the head of "box", "mask" or "keypoint".

    A mask or keypoint head whose ``POOLER_TYPE`` is empty has no pooler, and is built with the shapes of the maps.
    """
    in_features = cfg.MODEL.ROI_HEADS.IN_FEATURES
    if task != "box" and not section.POOLER_TYPE:
        shapes: Any = {name: input_shape[name] for name in in_features}
        return {f"{task}_in_features": in_features, f"{task}_pooler": None, f"{task}_head": build(cfg, shapes)}
    pooler = build_pooler(section, input_shape, in_features)
    height, width = pooler.output_size
    shape = ShapeSpec(channels=input_shape[in_features[0]].channels, height=height, width=width)
    return {f"{task}_in_features": in_features, f"{task}_pooler": pooler, f"{task}_head": build(cfg, shape)}
