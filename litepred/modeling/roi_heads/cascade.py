"""Cascade R-CNN (Cai and Vasconcelos 2018): box heads in a row, each refining the boxes of the one before.

T stages, R proposals over all images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...config import CfgNode, configurable
from ...errors import ConfigError
from ...layers import ShapeSpec, clip_boxes_to_image
from ...structures import Boxes, Instances
from ..box_coding import Box2BoxTransform
from ..build import ROI_HEADS_REGISTRY, build_box_head
from .fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference
from .standard import Features, StandardROIHeads, proposal_list, task_head

__all__ = ["CascadeROIHeads"]


@ROI_HEADS_REGISTRY.register()
class CascadeROIHeads(StandardROIHeads):
    """`StandardROIHeads` whose box branch has T stages; scores are averaged over them, boxes are the last stage's.

    Args:
        box_heads: T heads.
        box_predictors: T predictors with class-agnostic boxes.
        **kwargs: see `StandardROIHeads`.

    Raises:
        ConfigError: when the two differ in number.
    """

    @configurable
    def __init__(self, *, box_heads: Sequence[nn.Module], box_predictors: Sequence[nn.Module], **kwargs: Any) -> None:
        if len(box_heads) != len(box_predictors) or not box_heads:
            raise ConfigError(
                f"a cascade got {len(box_heads)} heads and {len(box_predictors)} predictors: expected pairs"
            )
        super().__init__(box_head=nn.ModuleList(box_heads), box_predictor=nn.ModuleList(box_predictors), **kwargs)
        self.num_cascade_stages = len(box_heads)

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        cascade = cfg.MODEL.ROI_BOX_CASCADE_HEAD
        if not cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG:
            raise ConfigError(
                "CascadeROIHeads needs MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG True: stages pass on one box"
            )
        if len(cascade.BBOX_REG_WEIGHTS) != len(cascade.IOUS):
            raise ConfigError(
                f"MODEL.ROI_BOX_CASCADE_HEAD has {len(cascade.BBOX_REG_WEIGHTS)} BBOX_REG_WEIGHTS and "
                f"{len(cascade.IOUS)} IOUS: expected one of each per stage"
            )
        transforms = [Box2BoxTransform(weights=weights) for weights in cascade.BBOX_REG_WEIGHTS]

        def build_heads(cfg: CfgNode, shape: ShapeSpec) -> list[Any]:
            return [build_box_head(cfg, shape) for _ in transforms]

        arguments = task_head("box", cfg, cfg.MODEL.ROI_BOX_HEAD, build_heads, input_shape)
        heads = arguments.pop("box_head")
        predictors = [
            FastRCNNOutputLayers(cfg, head.output_shape, box2box_transform=transform)
            for head, transform in zip(heads, transforms)
        ]
        return arguments | {"box_heads": heads, "box_predictors": predictors}

    def _forward_box(self, features: Features, proposals: Any) -> list[Instances]:
        proposals = proposal_list(proposals)
        sizes = [p.image_size for p in proposals]
        maps = [features[name] for name in self.box_in_features]
        stage_scores: list[Sequence[Any]] = []  # per stage and image (Ri, K + 1)
        boxes: Sequence[Any] = ()
        predictors: Any = self.box_predictor
        for stage, predictor in enumerate(predictors):
            if stage_scores:
                proposals = self._create_proposals_from_boxes(boxes, sizes)
            predictions = self._run_stage(maps, proposals, stage)
            boxes = predictor.predict_boxes(predictions, proposals)
            stage_scores.append(predictor.predict_probs(predictions, proposals))
        # Multiplied by the reciprocal, as Detectron2 does: dividing by T gives other bits.
        scores = [sum(image_scores) * (1.0 / len(stage_scores)) for image_scores in zip(*stage_scores)]
        limits = (predictor.test_score_thresh, predictor.test_nms_thresh, predictor.test_topk_per_image)
        detections, _ = fast_rcnn_inference(boxes, scores, sizes, *limits)
        return detections

    def _run_stage(self, features: Sequence[Tensor], proposals: Sequence[Instances], stage: int) -> Any:
        """Return what the predictor of one stage says of the proposals."""
        pooled = self.box_pooler(features, [p.proposal_boxes for p in proposals])
        heads, predictors = self.box_head, self.box_predictor
        return predictors[stage](heads[stage](pooled))  # type: ignore[index]

    def _create_proposals_from_boxes(
        self, boxes: Sequence[Any], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        """Make one stage's boxes, (Ri, 4) for each image, the proposals of the next."""
        return [_as_proposals(of_image, size) for of_image, size in zip(boxes, image_sizes)]


def _as_proposals(boxes: Any, image_size: tuple[int, int]) -> Instances:
    """Clip one stage's boxes (Ri, 4) for the next; none is dropped, so that the rows of all stages correspond.

    A box that is not finite becomes NaN, which all later stages make of it too, so that it is not detected.
    """
    finite = torch.isfinite(boxes).all(dim=1, keepdim=True)
    clipped = clip_boxes_to_image(boxes, image_size).masked_fill(~finite, float("nan"))
    return Instances(image_size, proposal_boxes=Boxes(clipped))
