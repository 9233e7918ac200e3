"""Class scores and refined boxes of Fast R-CNN (Girshick 2015), and the choice of what is reported.

R proposals over all images, K classes; a proposal may yield a detection of several classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...config import CfgNode, configurable
from ...errors import number, score, switch, whole_number
from ...layers import InferenceModule, ShapeSpec, batched_nms
from ...structures import Instances, boxes_of
from ..box_coding import Box2BoxTransform

__all__ = ["FastRCNNOutputLayers", "fast_rcnn_inference", "fast_rcnn_inference_single_image"]


def fast_rcnn_inference(
    boxes: Sequence[Tensor],
    scores: Sequence[Tensor],
    image_shapes: Sequence[tuple[int, int]],
    score_thresh: float | Tensor,
    nms_thresh: float,
    topk_per_image: int,
    box_dim: int = 4,
) -> tuple[list[Instances], list[Tensor]]:
    """Call `fast_rcnn_inference_single_image` for each image; return all detections, and all proposals' indices."""
    results = [
        fast_rcnn_inference_single_image(b, s, shape, score_thresh, nms_thresh, topk_per_image, box_dim)
        for b, s, shape in zip(boxes, scores, image_shapes)
    ]
    return [detections for detections, _ in results], [indices for _, indices in results]


def fast_rcnn_inference_single_image(
    boxes: Tensor,
    scores: Tensor,
    image_shape: tuple[int, int],
    score_thresh: float | Tensor,
    nms_thresh: float,
    topk_per_image: int,
    box_dim: int = 4,
) -> tuple[Instances, Tensor]:
    """Choose the detections of an image by a threshold, by suppression within each class, and by their scores.

    Args:
        boxes: (R, 4·K) float, or (R, 4) when all classes share a box.
        scores: (R, K + 1) float, background last.
        image_shape: (height, width) to clip to.
        score_thresh: a detection's score must exceed it; (K,) float for one of each class.
        nms_thresh: a box goes when its IoU with a better one of its class exceeds this.
        topk_per_image: detections kept; negative for all.
        box_dim: numbers per box, 5 of rotated ones; then the widths of ``boxes`` are 5·K and 5.

    Returns:
        An `Instances` with ``pred_boxes``, ``scores`` and ``pred_classes`` int64, best first; and the index of the
        proposal that each came from, int64.
    """
    finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(scores).all(dim=1)
    scores, num_classes = scores[:, :-1], scores.shape[1] - 1
    columns = boxes.shape[1] // box_dim
    clipped = boxes_of(boxes.reshape(-1, box_dim)).clipped(image_shape).tensor
    boxes = clipped.view(len(boxes), columns, box_dim)  # (R, K or 1, 4)

    candidates = torch.nonzero((scores > score_thresh) & finite[:, None])  # (candidates, 2): proposal, class
    rows, classes = candidates.unbind(1)
    boxes = boxes[rows, 0] if boxes.shape[1] == 1 else boxes[rows, classes]
    scores = scores[rows, classes]
    keep = batched_nms(boxes.float(), scores, classes, nms_thresh, num_classes)
    if topk_per_image >= 0:
        keep = keep[:topk_per_image]
    result = Instances(image_shape, pred_boxes=boxes_of(boxes[keep]), scores=scores[keep], pred_classes=classes[keep])
    return result, rows[keep]


class FastRCNNOutputLayers(InferenceModule):
    """The two linear predictors of a box head, and the reading of their answers.

    Args:
        input_shape: channels, height and width of the head's output; a map is flattened.
        box2box_transform: decodes the deltas.
        num_classes: K, without background.
        test_score_thresh: ``score_thresh`` of `fast_rcnn_inference_single_image`.
        test_nms_thresh: ``nms_thresh`` of the same function.
        test_topk_per_image: ``topk_per_image`` of the same function.
        cls_agnostic_bbox_reg: one box for all classes instead of one each.
        use_sigmoid_ce: scores are sigmoids, class by class, instead of a softmax.

    Raises:
        ConfigError: when a number is not one, or is out of its range.
    """

    box_coding: type[Box2BoxTransform] = Box2BoxTransform

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        box2box_transform: Box2BoxTransform,
        num_classes: int,
        test_score_thresh: float = 0.0,
        test_nms_thresh: float = 0.5,
        test_topk_per_image: int = 100,
        cls_agnostic_bbox_reg: bool = False,
        use_sigmoid_ce: bool = False,
    ) -> None:
        super().__init__()
        inputs = (input_shape.channels or 0) * (input_shape.width or 1) * (input_shape.height or 1)
        self.num_classes = whole_number("MODEL.ROI_HEADS.NUM_CLASSES", num_classes)
        one_box = switch("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", cls_agnostic_bbox_reg)
        self.cls_score = nn.Linear(inputs, num_classes + 1)
        self.box_dim = len(box2box_transform.weights)
        self.bbox_pred = nn.Linear(inputs, self.box_dim if one_box else self.box_dim * num_classes)
        self.box2box_transform = box2box_transform
        self.test_score_thresh = score("MODEL.ROI_HEADS.SCORE_THRESH_TEST", test_score_thresh)
        self.test_nms_thresh = number("MODEL.ROI_HEADS.NMS_THRESH_TEST", test_nms_thresh)
        self.test_topk_per_image = whole_number("TEST.DETECTIONS_PER_IMAGE", test_topk_per_image, least=None)
        self.use_sigmoid_ce = switch("MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", use_sigmoid_ce)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Translate ``MODEL.ROI_HEADS``, ``MODEL.ROI_BOX_HEAD`` and ``TEST`` into arguments."""
        head = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "box2box_transform": cls.box_coding(weights=head.BBOX_REG_WEIGHTS),
            "num_classes": cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "cls_agnostic_bbox_reg": head.CLS_AGNOSTIC_BBOX_REG,
            "use_sigmoid_ce": head.USE_SIGMOID_CE,
            "test_score_thresh": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
            "test_nms_thresh": cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
            "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (R, D) to class logits (R, K + 1) and deltas (R, 4·K or 4)."""
        x = x.flatten(1)
        return self.cls_score(x), self.bbox_pred(x)

    def inference(
        self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]
    ) -> tuple[list[Instances], list[Tensor]]:
        """Turn what `forward` returned for ``proposals`` into detections; see `fast_rcnn_inference`."""
        boxes, scores = self.predict_boxes(predictions, proposals), self.predict_probs(predictions, proposals)
        limits = (self.test_score_thresh, self.test_nms_thresh, self.test_topk_per_image)
        return fast_rcnn_inference(boxes, scores, [p.image_size for p in proposals], *limits, self.box_dim)

    def predict_boxes(self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]) -> tuple[Tensor, ...]:
        """Decode the deltas to unclipped boxes, (Ri, 4·K or 4) per image."""
        boxes = torch.cat([p.proposal_boxes.tensor for p in proposals])
        return self.box2box_transform.apply_deltas(predictions[1], boxes).split([len(p) for p in proposals])

    def predict_probs(self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]) -> tuple[Tensor, ...]:
        """Return the class scores, (Ri, K + 1) per image, with the background last."""
        logits = predictions[0]
        scores = logits.sigmoid() if self.use_sigmoid_ce else logits.softmax(dim=-1)
        return scores.split([len(p) for p in proposals])
