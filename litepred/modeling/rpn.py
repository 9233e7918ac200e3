"""The region proposal network (Ren et al. 2015): anchors in, the most promising boxes of each image out.

N images, L feature maps of H × W cells, A anchors per cell, B = H·W·A anchors of one map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import CfgNode, configurable
from ..errors import ConfigError, number, whole_number
from ..layers import Conv2d, InferenceModule, ShapeSpec, batched_nms
from ..structures import Boxes, ImageList, Instances, boxes_of
from .anchors import DefaultAnchorGenerator, anchors_per_cell
from .box_coding import Box2BoxTransform
from .build import (
    PROPOSAL_GENERATOR_REGISTRY,
    RPN_HEAD_REGISTRY,
    build_anchor_generator,
    build_rpn_head,
    named_shapes,
)

__all__ = ["RPN", "StandardRPNHead", "find_top_rpn_proposals"]


class Proposals(NamedTuple):
    """What a proposal generator returns; it unpacks as ``proposals, _`` and passes whole to the ROI heads."""

    instances: list[Instances]
    losses: dict[str, Tensor]


@RPN_HEAD_REGISTRY.register()
class StandardRPNHead(InferenceModule):
    """3×3 convolutions shared by two 1×1 predictors: one objectness logit and four box deltas per anchor.

    Args:
        in_channels: channels of every feature map.
        num_anchors: A.
        box_dim: numbers per box.
        conv_dims: output channels of each 3×3 convolution; -1 keeps the number.

    Raises:
        ConfigError: when ``conv_dims`` is not a list of such numbers.
    """

    @configurable
    def __init__(
        self, *, in_channels: int, num_anchors: int, box_dim: int = 4, conv_dims: Sequence[int] = (-1,)
    ) -> None:
        super().__init__()
        if not isinstance(conv_dims, (list, tuple)):
            raise ConfigError(f"MODEL.RPN.CONV_DIMS is {conv_dims!r}: expected a list of numbers of channels")
        convs = nn.Sequential()
        channels = in_channels
        for i, dim in enumerate(conv_dims):
            out_channels = channels if dim == -1 else whole_number("a number of MODEL.RPN.CONV_DIMS", dim)
            convs.add_module(f"conv{i}", Conv2d(channels, out_channels, 3, padding=1, activation=F.relu))
            channels = out_channels
        # Checkpoints call a single convolution "conv", and several "conv.conv0", "conv.conv1" and so on.
        self.conv: nn.Module = convs[0] if len(convs) == 1 else convs
        self.objectness_logits = nn.Conv2d(channels, num_anchors, 1)
        self.anchor_deltas = nn.Conv2d(channels, num_anchors * box_dim, 1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Translate ``MODEL.RPN`` and the anchors' count into arguments."""
        anchor_generator = build_anchor_generator(cfg, input_shape)
        return {
            "in_channels": input_shape[0].channels,
            "num_anchors": anchors_per_cell(anchor_generator),
            "box_dim": anchor_generator.box_dim,
            "conv_dims": cfg.MODEL.RPN.CONV_DIMS,
        }

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Map each feature (N, C, H, W) to logits (N, A, H, W) and deltas (N, 4·A, H, W)."""
        hidden = [self.conv(feature) for feature in features]
        return [self.objectness_logits(x) for x in hidden], [self.anchor_deltas(x) for x in hidden]


def find_top_rpn_proposals(
    boxes: list[Tensor],
    logits: list[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    nms_thresh: float,
    post_nms_topk: int,
    min_box_size: float,
) -> list[Instances]:
    """Clip the candidates of all levels, suppress overlaps within each level, and keep the best over all.

    Args:
        boxes: candidates of each level, (N, B', 4), or (N, B', 5) where they are rotated.
        logits: their objectness, (N, B').
        image_sizes: unpadded (height, width) of the N images.
        nms_thresh: a box goes when its IoU with a better one of its level exceeds this.
        post_nms_topk: proposals kept per image.
        min_box_size: both sides must be longer than this, in pixels.

    Returns:
        N `Instances` with ``proposal_boxes`` and ``objectness_logits``, best first.
    """
    level = torch.cat([torch.full_like(s[0], i, dtype=torch.int64) for i, s in enumerate(logits)])
    all_boxes, all_logits = torch.cat(boxes, dim=1), torch.cat(logits, dim=1)  # (N, ΣB', 4), (N, ΣB')
    results = []
    for image_boxes, scores, image_size in zip(all_boxes, all_logits, image_sizes):
        candidates = boxes_of(image_boxes).clipped(image_size)
        valid = torch.isfinite(image_boxes).all(dim=1) & torch.isfinite(scores)
        index = torch.nonzero(valid & candidates.nonempty(threshold=min_box_size))[:, 0]
        candidates, scores = candidates[index], scores[index]
        keep = batched_nms(candidates.tensor, scores, level[index], nms_thresh, len(boxes))[:post_nms_topk]
        results.append(Instances(image_size, proposal_boxes=candidates[keep], objectness_logits=scores[keep]))
    return results


@PROPOSAL_GENERATOR_REGISTRY.register()
class RPN(InferenceModule):
    """Score every anchor of the chosen feature maps and return the best boxes.

    Args:
        in_features: names of the feature maps.
        head: maps features to logits and deltas.
        anchor_generator: maps features to anchors.
        box2box_transform: decodes deltas.
        pre_nms_topk: candidates per level that enter NMS; of a pair, which Detectron2 gives, the second one counts, as
            the first is for training.
        post_nms_topk: proposals per image, over all levels; a pair is read in the same way.
        nms_thresh: IoU above which the lower-scored of two boxes of a level goes.
        min_box_size: both sides of a proposal must be longer, in pixels.

    Raises:
        ConfigError: when a number is not one, or is out of its range.
    """

    dense_parts = ("rpn_head",)
    box_coding: type[Box2BoxTransform] = Box2BoxTransform

    @configurable
    def __init__(
        self,
        *,
        in_features: Sequence[str],
        head: nn.Module,
        anchor_generator: DefaultAnchorGenerator,
        box2box_transform: Box2BoxTransform,
        pre_nms_topk: int | Sequence[int],
        post_nms_topk: int | Sequence[int],
        nms_thresh: float = 0.7,
        min_box_size: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_features = list(in_features)
        self.rpn_head = head
        self.anchor_generator = anchor_generator
        self.box2box_transform = box2box_transform
        pre_nms_topk, post_nms_topk = (n[1] if isinstance(n, Sequence) else n for n in (pre_nms_topk, post_nms_topk))
        if post_nms_topk is not None:
            whole_number("MODEL.RPN.POST_NMS_TOPK_TEST", post_nms_topk, least=None)
        # By whether the model is in training, as subclasses that were written for Detectron2 look them up.
        self.pre_nms_topk = {False: whole_number("MODEL.RPN.PRE_NMS_TOPK_TEST", pre_nms_topk, 0)}
        self.post_nms_topk = {False: post_nms_topk}
        self.nms_thresh = number("MODEL.RPN.NMS_THRESH", nms_thresh)
        self.min_box_size = float(number("MODEL.PROPOSAL_GENERATOR.MIN_SIZE", min_box_size))

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Translate ``MODEL.RPN`` and ``MODEL.PROPOSAL_GENERATOR`` into arguments."""
        rpn = cfg.MODEL.RPN
        shapes = named_shapes(input_shape, rpn.IN_FEATURES, "MODEL.RPN.IN_FEATURES")
        anchor_generator, transform = build_anchor_generator(cfg, shapes), cls.box_coding(weights=rpn.BBOX_REG_WEIGHTS)
        if getattr(anchor_generator, "box_dim", transform.box_dim) != transform.box_dim:
            raise ConfigError(
                f"MODEL.ANCHOR_GENERATOR.NAME is {cfg.MODEL.ANCHOR_GENERATOR.NAME!r}, whose anchors have "
                f"{anchor_generator.box_dim} numbers: {cls.__name__} expects {transform.box_dim}. "
                "RotatedAnchorGenerator goes with RRPN, and DefaultAnchorGenerator with RPN"
            )
        return {
            "in_features": rpn.IN_FEATURES,
            "head": build_rpn_head(cfg, shapes),
            "anchor_generator": anchor_generator,
            "box2box_transform": transform,
            "pre_nms_topk": rpn.PRE_NMS_TOPK_TEST,
            "post_nms_topk": rpn.POST_NMS_TOPK_TEST,
            "nms_thresh": rpn.NMS_THRESH,
            "min_box_size": cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE,
        }

    def forward(self, images: ImageList, features: dict[str, Tensor], gt_instances: Any = None) -> Proposals:
        """Propose boxes for each image.

        Args:
            images: only their ``image_sizes`` are read.
            features: maps (N, C, H, W) by name.
            gt_instances: accepted for Detectron2's signature and ignored.

        Returns:
            A pair: per image an `Instances` with ``proposal_boxes`` (pixels of the network's input) and
            ``objectness_logits``, best first; and an empty dict where Detectron2 has losses.
        """
        maps = [features[name] for name in self.in_features]
        anchors = self._anchors(images, maps)
        logits, deltas = self.rpn_head(maps)
        deltas = [
            level.unflatten(1, (-1, boxes.tensor.shape[1])).permute(0, 3, 4, 1, 2).flatten(1, 3)
            for level, boxes in zip(deltas, anchors)
        ]
        logits = [level.permute(0, 2, 3, 1).flatten(1) for level in logits]
        return Proposals(self.predict_proposals(anchors, logits, deltas, images.image_sizes), {})

    def predict_proposals(
        self,
        anchors: Sequence[Boxes],
        pred_objectness_logits: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Instances]:
        """Decode what the head returned, and choose the best.

        Args:
            anchors: B of each level.
            pred_objectness_logits: (N, B) of each level.
            pred_anchor_deltas: (N, B, 4) of each level, or (N, B, 5) where boxes are rotated.
            image_sizes: unpadded (height, width) of the N images.

        Returns:
            N `Instances`, as `forward` returns them.
        """
        levels = zip(anchors, pred_objectness_logits, pred_anchor_deltas)
        candidates = [self._candidates(boxes.tensor, logits, deltas) for boxes, logits, deltas in levels]
        boxes, scores = (list(of_levels) for of_levels in zip(*candidates))
        limits = (self.nms_thresh, self.post_nms_topk[self.training], self.min_box_size)
        return find_top_rpn_proposals(boxes, scores, image_sizes, *limits)

    def _decode_proposals(self, anchors: Sequence[Boxes], pred_anchor_deltas: Sequence[Tensor]) -> list[Tensor]:
        """Decode all that the head returned, where a subclass does not choose before: (N, B, 4 or 5) of each level."""
        levels = zip(anchors, pred_anchor_deltas)
        return [self._decoded(boxes.tensor.expand(len(deltas), -1, -1), deltas) for boxes, deltas in levels]

    def _anchors(self, images: ImageList, maps: Sequence[Tensor]) -> list[Boxes]:
        """Return the anchors of each map, in pixels of the padded ``images``."""
        return self.anchor_generator(maps)

    def _candidates(self, anchors: Tensor, logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
        """Pick the best-scored anchors of one level and decode only those: (N, B', 4) and (N, B')."""
        top, index = logits.topk(min(logits.shape[1], self.pre_nms_topk[self.training]), dim=1)
        deltas = deltas.gather(1, index[..., None].expand(-1, -1, deltas.shape[2]))
        return self._decoded(anchors[index], deltas), top

    def _decoded(self, anchors: Tensor, deltas: Tensor) -> Tensor:
        """Apply deltas (N, B', 4 or 5) to anchors of the same shape."""
        boxes = self.box2box_transform.apply_deltas(deltas.flatten(0, 1), anchors.flatten(0, 1))
        return boxes.view_as(anchors)
