"""RetinaNet (Lin et al. 2017): classes and boxes straight from every cell of the pyramid.

N images, L levels of H × W cells, A anchors per cell, B = H·W·A anchors of one level, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..config import CfgNode, configurable
from ..errors import number, score, whole_number
from ..layers import InferenceModule, ShapeSpec, batched_nms, get_norm
from ..structures import Boxes, ImageList, Instances
from .anchors import anchors_per_cell
from .backbone import Backbone
from .box_coding import Box2BoxTransform, Box2BoxTransformLinear
from .build import META_ARCH_REGISTRY, build_anchor_generator, named_shapes
from .dense_detector import DenseDetector, Predictions

__all__ = ["RetinaNet", "RetinaNetHead"]


class _LevelBatchNorm(nn.ModuleList):
    """Batch normalisation with statistics of its own for each level, and one scale and shift for all."""

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__([nn.BatchNorm2d(channels, affine=False) for _ in range(levels)])
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eval()

    def forward(self, x: Tensor, level: int) -> Tensor:
        return self[level](x) * self.weight[:, None, None] + self.bias[:, None, None]


class RetinaNetHead(InferenceModule):
    """Two towers of 3×3 convolutions, shared by all levels.

    Args:
        input_shape: of the levels.
        num_classes: K.
        num_anchors: A.
        conv_dims: output channels of each tower's convolutions.
        norm: as `get_norm` takes it; the batch norms keep statistics per level.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Sequence[ShapeSpec],
        num_classes: int,
        num_anchors: int,
        conv_dims: Sequence[int],
        norm: str = "",
    ) -> None:
        super().__init__()
        channels = input_shape[0].channels or 0
        num_classes = whole_number("MODEL.RETINANET.NUM_CLASSES", num_classes)

        def tower() -> nn.Sequential:
            layers: list[nn.Module] = []
            inputs = channels
            for dim in conv_dims:
                layers.append(nn.Conv2d(inputs, dim, 3, padding=1))
                if norm in ("BN", "SyncBN"):
                    layers.append(_LevelBatchNorm(len(input_shape), dim))
                elif norm:
                    layers.append(get_norm(norm, dim) or nn.Identity())
                layers.append(nn.ReLU())
                inputs = dim
            return nn.Sequential(*layers)

        self.cls_subnet = tower()
        self.bbox_subnet = tower()
        outputs = conv_dims[-1] if conv_dims else channels
        self.cls_score = nn.Conv2d(outputs, num_anchors * num_classes, 3, padding=1)
        self.bbox_pred = nn.Conv2d(outputs, num_anchors * 4, 3, padding=1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        """Translate ``MODEL.RETINANET`` and the anchors' count into arguments."""
        retinanet = cfg.MODEL.RETINANET
        return {
            "input_shape": input_shape,
            "num_classes": retinanet.NUM_CLASSES,
            "num_anchors": anchors_per_cell(build_anchor_generator(cfg, input_shape)),
            "conv_dims": [input_shape[0].channels] * whole_number("MODEL.RETINANET.NUM_CONVS", retinanet.NUM_CONVS, 0),
            "norm": retinanet.NORM,
        }

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Map each level (N, C, H, W) to class logits (N, A·K, H, W) and deltas (N, A·4, H, W)."""
        logits, deltas = [], []
        for level, feature in enumerate(features):
            logits.append(self.cls_score(run_tower(self.cls_subnet, feature, level)))
            deltas.append(self.bbox_pred(run_tower(self.bbox_subnet, feature, level)))
        return logits, deltas


def run_tower(tower: nn.Sequential, x: Tensor, level: int) -> Tensor:
    """Run the layers of a tower on a map of a level, whose batch norms tell the levels apart."""
    for layer in tower:
        x = layer(x, level) if isinstance(layer, _LevelBatchNorm) else layer(x)
    return x


@META_ARCH_REGISTRY.register()
class RetinaNet(DenseDetector):
    """Pyramid, dense head, and the choice of what is reported.

    Args:
        backbone: images to feature maps.
        head: features to logits and deltas.
        head_in_features: names of the levels.
        anchor_generator: features to anchors.
        box2box_transform: decodes deltas.
        num_classes: K.
        test_score_thresh: a score must exceed it.
        test_topk_candidates: candidates per level that enter NMS.
        test_nms_thresh: IoU above which the lower-scored of two boxes of a class goes.
        max_detections_per_image: detections kept.
        **kwargs: see `DenseDetector`.

    Raises:
        ConfigError: when a number is not one, or is out of its range.
    """

    more_numbers: Sequence[int] = ()  # per anchor, of what the head predicts besides logits and deltas

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str],
        anchor_generator: nn.Module,
        box2box_transform: Box2BoxTransform | Box2BoxTransformLinear,
        num_classes: int,
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.5,
        max_detections_per_image: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, head, head_in_features, **kwargs)
        self.anchor_generator = anchor_generator
        self.box2box_transform = box2box_transform
        self.num_classes = whole_number("MODEL.RETINANET.NUM_CLASSES", num_classes)
        self.test_score_thresh = score("MODEL.RETINANET.SCORE_THRESH_TEST", test_score_thresh)
        self.test_topk_candidates = whole_number("MODEL.RETINANET.TOPK_CANDIDATES_TEST", test_topk_candidates, 0)
        self.test_nms_thresh = number("MODEL.RETINANET.NMS_THRESH_TEST", test_nms_thresh)
        self.max_detections_per_image = whole_number("TEST.DETECTIONS_PER_IMAGE", max_detections_per_image, least=None)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Translate ``MODEL.RETINANET`` and ``TEST`` into arguments."""
        arguments = super().from_config(cfg)
        retinanet = cfg.MODEL.RETINANET
        backbone_shapes = arguments["backbone"].output_shape()
        shapes = named_shapes(backbone_shapes, retinanet.IN_FEATURES, "MODEL.RETINANET.IN_FEATURES")
        return arguments | {
            "head": RetinaNetHead(cfg, shapes),
            "head_in_features": retinanet.IN_FEATURES,
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "box2box_transform": Box2BoxTransform(weights=retinanet.BBOX_REG_WEIGHTS),
            "num_classes": retinanet.NUM_CLASSES,
            "test_score_thresh": retinanet.SCORE_THRESH_TEST,
            "test_topk_candidates": retinanet.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": retinanet.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    def forward_inference(
        self, images: ImageList, features: Sequence[Tensor], predictions: Predictions
    ) -> list[Instances]:
        """Decode class logits and deltas of the levels; see `DenseDetector.forward_inference`."""
        anchors = self.anchor_generator(features)
        logits, deltas, *more = self._transpose_dense_predictions(
            predictions, [self.num_classes, 4, *self.more_numbers]
        )
        del predictions
        found = []
        for i, size in enumerate(images.image_sizes):
            scores = self._scores(i, logits, *more)
            if i == len(images.image_sizes) - 1:
                logits = []  # they take as much memory as the scores, and nobody reads them again
            found.append(self.inference_single_image(anchors, scores, [level[i] for level in deltas], size))
        return found

    def _scores(self, image: int, logits: Sequence[Tensor]) -> list[Tensor]:
        """Return the scores (B, K) of each level of an image, by its logits among (N, B, K)."""
        return [level[image].sigmoid() for level in logits]

    def inference_single_image(
        self,
        anchors: Sequence[Boxes],
        box_cls: Sequence[Tensor],
        box_delta: Sequence[Tensor],
        image_size: tuple[int, int],
    ) -> Instances:
        """Choose the best of each level and suppress among all; as in Detectron2, boxes are not clipped before.

        Args:
            anchors: B of each level.
            box_cls: scores (B, K) of each level.
            box_delta: deltas (B, 4) of each level.
            image_size: (height, width) of the image, without padding.
        """
        limits = (self.test_score_thresh, self.test_topk_candidates)
        found = self._decode_multi_level_predictions(anchors, box_cls, box_delta, *limits, image_size)
        boxes: Tensor = found.pred_boxes.tensor
        index = torch.nonzero(torch.isfinite(boxes).all(dim=1))[:, 0]  # scores are: they are sigmoids
        scores, classes = found.scores[index], found.pred_classes[index]
        keep = batched_nms(boxes[index], scores, classes, self.test_nms_thresh, self.num_classes)
        return found[index[keep[: self.max_detections_per_image]]]
