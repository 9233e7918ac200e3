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
from .box_coding import Box2BoxTransform
from .build import META_ARCH_REGISTRY, build_anchor_generator, named_shapes
from .rcnn import MetaArch, RawOutputs

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
            logits.append(self.cls_score(_run(self.cls_subnet, feature, level)))
            deltas.append(self.bbox_pred(_run(self.bbox_subnet, feature, level)))
        return logits, deltas


def _run(tower: nn.Sequential, x: Tensor, level: int) -> Tensor:
    for layer in tower:
        x = layer(x, level) if isinstance(layer, _LevelBatchNorm) else layer(x)
    return x


@META_ARCH_REGISTRY.register()
class RetinaNet(MetaArch):
    """Pyramid, dense head, and the choice of what is reported.

    Args:
        head: features to logits and deltas.
        head_in_features: names of the levels.
        anchor_generator: features to anchors.
        box2box_transform: decodes deltas.
        num_classes: K.
        test_score_thresh: a score must exceed it.
        test_topk_candidates: candidates per level that enter NMS.
        test_nms_thresh: IoU above which the lower-scored of two boxes of a class goes.
        max_detections_per_image: detections kept.
        **kwargs: see `MetaArch`.

    Raises:
        ConfigError: when a number is not one, or is out of its range.
    """

    dense_parts = ("backbone", "head")

    @configurable
    def __init__(
        self,
        *,
        head: nn.Module,
        head_in_features: Sequence[str],
        anchor_generator: nn.Module,
        box2box_transform: Box2BoxTransform,
        num_classes: int,
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.5,
        max_detections_per_image: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.head = head
        self.head_in_features = list(head_in_features)
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

    def network(self, images: ImageList, proposals: list[Instances] | None = None) -> RawOutputs:
        """Find instances, with ``pred_boxes``, ``scores`` and ``pred_classes``; see `MetaArch.network`."""
        features = self.backbone(images.tensor)
        maps = [features[name] for name in self.head_in_features]
        return {"instances": self.forward_inference(images, maps, self.head(maps))}

    def forward_inference(
        self, images: ImageList, features: Sequence[Tensor], predictions: Sequence[Sequence[Tensor]]
    ) -> list[Instances]:
        """Decode what the head returned.

        Args:
            images: only their ``image_sizes`` are read.
            features: the levels, of which only the sizes are read.
            predictions: class logits and deltas of the levels, as `RetinaNetHead` returns them.

        Returns:
            Per image an `Instances` in pixels of the network's input.
        """
        anchors = self.anchor_generator(features)
        logits, deltas = predictions
        scores = [per_anchor(level, self.num_classes).sigmoid() for level in logits]  # (N, B, K) per level
        deltas = [per_anchor(level, 4) for level in deltas]  # (N, B, 4) per level
        return [
            self._detect_single_image(anchors, [s[i] for s in scores], [d[i] for d in deltas], size)
            for i, size in enumerate(images.image_sizes)
        ]

    def _detect_single_image(
        self, anchors: Sequence[Boxes], scores: Sequence[Tensor], deltas: Sequence[Tensor], image_size: tuple[int, int]
    ) -> Instances:
        """Choose the best of each level and suppress among all; as in Detectron2, boxes are not clipped before."""
        boxes, kept_scores, classes = [], [], []
        for level_anchors, level_scores, level_deltas in zip(anchors, scores, deltas):
            flat = level_scores.flatten()  # (B·K,)
            index = torch.nonzero((level_scores > self.test_score_thresh).flatten())[:, 0]
            top, order = flat[index].topk(min(len(index), self.test_topk_candidates))
            anchor, label = index[order] // self.num_classes, index[order] % self.num_classes
            boxes.append(self.box2box_transform.apply_deltas(level_deltas[anchor], level_anchors.tensor[anchor]))
            kept_scores.append(top)
            classes.append(label)
        all_boxes, all_scores, all_classes = torch.cat(boxes), torch.cat(kept_scores), torch.cat(classes)
        index = torch.nonzero(torch.isfinite(all_boxes).all(dim=1))[:, 0]  # scores are: they are sigmoids
        keep = batched_nms(
            all_boxes[index], all_scores[index], all_classes[index], self.test_nms_thresh, self.num_classes
        )
        keep = index[keep[: self.max_detections_per_image]]
        return Instances(
            image_size, pred_boxes=Boxes(all_boxes[keep]), scores=all_scores[keep], pred_classes=all_classes[keep]
        )


def per_anchor(x: Tensor, numbers: int) -> Tensor:
    """Rearrange a dense prediction (N, A·numbers, H, W) to (N, H·W·A, numbers)."""
    n, _, height, width = x.shape
    return x.view(n, -1, numbers, height, width).permute(0, 3, 4, 1, 2).reshape(n, -1, numbers)
