"""Detectors whose head predicts at every cell of a pyramid: RetinaNet, FCOS, and those that projects define.

N images, L levels of H × W cells, A anchors per cell, B = H·W·A anchors of one level, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..structures import Boxes, ImageList, Instances
from .backbone import Backbone
from .box_coding import Box2BoxTransform, Box2BoxTransformLinear
from .rcnn import MetaArch, RawOutputs

__all__ = ["DenseDetector"]

Predictions = Sequence[Sequence[Tensor]]  # of each kind, such as logits and deltas, (N, A·numbers, H, W) of each level


class DenseDetector(MetaArch):
    """A pyramid and a head on its levels; a subclass says in `forward_inference` what the answers of the head mean.

    Args:
        backbone: images to feature maps.
        head: the levels to predictions.
        head_in_features: names of the levels, by default all maps of the backbone, the finest first.
        **kwargs: see `MetaArch`.
    """

    dense_parts = ("backbone", "head")
    box2box_transform: Box2BoxTransform | Box2BoxTransformLinear

    def __init__(
        self, backbone: Backbone, head: nn.Module, head_in_features: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(backbone=backbone, **kwargs)
        self.head = head
        self.head_in_features = finest_first(backbone) if head_in_features is None else list(head_in_features)

    def network(self, images: ImageList, proposals: list[Instances] | None = None) -> RawOutputs:
        """Find instances, with ``pred_boxes``, ``scores`` and ``pred_classes``; see `MetaArch.network`."""
        features = self.backbone(images.tensor)
        maps = [features[name] for name in self.head_in_features]
        return {"instances": self.forward_inference(images, maps, self.head(maps))}

    def forward_inference(self, images: ImageList, features: Sequence[Tensor], predictions: Any) -> list[Instances]:
        """Decode what the head returned.

        Args:
            images: only their ``image_sizes`` are read.
            features: the levels, of which only the sizes are read.
            predictions: what the head returned for them.

        Returns:
            Per image an `Instances` in pixels of the network's input.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward_inference: define it")

    def _transpose_dense_predictions(
        self, predictions: Predictions, dims_per_anchor: Sequence[int]
    ) -> list[list[Tensor]]:
        """Rearrange each kind of predictions to (N, B, numbers) per level; ``dims_per_anchor`` has their numbers."""
        return [[per_anchor(level, n) for level in levels] for levels, n in zip(predictions, dims_per_anchor)]

    def _decode_multi_level_predictions(
        self,
        anchors: Sequence[Boxes],
        pred_scores: Sequence[Tensor],
        pred_deltas: Sequence[Tensor],
        score_thresh: float | Tensor,
        topk_candidates: int,
        image_size: tuple[int, int],
    ) -> Instances:
        """Choose the best of each level of one image, and decode them.

        Args:
            anchors: B of each level.
            pred_scores: (B, K) of each level.
            pred_deltas: (B, 4) of each level.
            score_thresh: a score must exceed it; (K,) float for one of each class.
            topk_candidates: how many are kept of a level.
            image_size: (height, width) of the image, without padding.

        Returns:
            The candidates of all levels, as ``pred_boxes``, ``scores`` and ``pred_classes``.
        """
        limits = (score_thresh, topk_candidates, image_size)
        levels = zip(anchors, pred_scores, pred_deltas)
        return Instances.cat([self._decode_per_level_predictions(*level, *limits) for level in levels])

    def _decode_per_level_predictions(
        self,
        anchors: Boxes,
        pred_scores: Tensor,
        pred_deltas: Tensor,
        score_thresh: float | Tensor,
        topk_candidates: int,
        image_size: tuple[int, int],
    ) -> Instances:
        """Choose and decode as `_decode_multi_level_predictions` does, on one level."""
        flat = pred_scores.flatten()  # (B·K,)
        index = torch.nonzero((pred_scores > score_thresh).flatten())[:, 0]
        scores, order = flat[index].topk(min(len(index), topk_candidates))
        anchor, classes = index[order] // pred_scores.shape[1], index[order] % pred_scores.shape[1]
        boxes = self.box2box_transform.apply_deltas(pred_deltas[anchor], anchors.tensor[anchor])
        return Instances(image_size, pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes)


def finest_first(backbone: Backbone) -> list[str]:
    """Return the names of a backbone's maps, those of small strides first."""
    shapes = backbone.output_shape()
    return sorted(shapes, key=lambda name: shapes[name].stride or 0)


def per_anchor(x: Tensor, numbers: int) -> Tensor:
    """Rearrange a dense prediction (N, A·numbers, H, W) to (N, H·W·A, numbers)."""
    n, _, height, width = x.shape
    return x.view(n, -1, numbers, height, width).permute(0, 3, 4, 1, 2).reshape(n, -1, numbers)
