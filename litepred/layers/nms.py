"""Non-maximum suppression within groups, such as classes or levels of a pyramid."""

from __future__ import annotations

import torch
from torch import Tensor

from .operators import nms_within_groups
from .rotated import batched_nms_rotated

__all__ = ["batched_nms"]


def batched_nms(boxes_xyxy: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, num_groups: int) -> Tensor:
    """Suppress boxes that overlap a better one of their own group, as ``torchvision.ops.batched_nms`` does.

    In a graph that torch compiles or exports this is one operator, ``litepred::batched_nms``: torchvision chooses
    between two ways by the number of boxes, which a graph cannot.

    Args:
        boxes_xyxy: (N, 4) float32; or (N, 5) rotated boxes, as `batched_nms_rotated` takes them.
        scores: (N,).
        groups: (N,) int64, each from 0 to ``num_groups - 1``.
        iou_threshold: a box goes when its IoU with a better one of its group exceeds this.
        num_groups: how many groups there are, which only an exported graph reads.

    Returns:
        The indices of the boxes that stay, by falling score, int64.
    """
    if boxes_xyxy.shape[1] == 5:
        return batched_nms_rotated(boxes_xyxy, scores, groups, iou_threshold)
    if torch.compiler.is_compiling():
        return _batched_nms(boxes_xyxy, scores, groups, iou_threshold, num_groups)
    return nms_within_groups(boxes_xyxy, scores, groups, iou_threshold)


@torch.library.custom_op(
    "litepred::batched_nms",
    mutates_args=(),
    schema="(Tensor boxes, Tensor scores, Tensor groups, float iou_threshold, SymInt num_groups) -> Tensor",
)  # PyTorch 2.4 cannot tell it from annotations that are texts
def _batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, num_groups: int) -> Tensor:
    return nms_within_groups(boxes, scores, groups, iou_threshold)


@_batched_nms.register_fake
def _(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, num_groups: int) -> Tensor:
    return groups.new_empty(torch.library.get_ctx().new_dynamic_size())
