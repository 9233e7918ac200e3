"""Non-maximum suppression per class, of upright and of rotated boxes.

N boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms as _batched_nms
from torchvision.ops import nms

from ..structures.rotated_boxes import rotated_iou

__all__ = ["batched_nms", "batched_nms_rotated", "nms", "nms_rotated"]


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress, class by class, the boxes that overlap better ones; computed in float32.

    Args:
        boxes: (N, 4), x1 y1 x2 y2.
        scores: (N,).
        idxs: (N,) int64, the classes.
        iou_threshold: a box goes when its IoU with a better one of its class exceeds this.

    Returns:
        The indices of the boxes kept, best first, int64.
    """
    return _batched_nms(boxes.float(), scores, idxs, iou_threshold)


def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Suppress the rotated boxes (N, 5) that overlap better ones by more than ``iou_threshold``.

    Args:
        boxes: (N, 5), as in `RotatedBoxes`.
        scores: (N,).
        iou_threshold: in [0, 1].

    Returns:
        The indices of the boxes kept, best first, int64.
    """
    left = scores.argsort(descending=True, stable=True)
    keep = []
    while len(left):
        best, left = left[:1], left[1:]
        keep.append(best)
        left = left[rotated_iou(boxes[best], boxes[left])[0] <= iou_threshold]
    return torch.cat(keep) if keep else torch.empty(0, dtype=torch.int64, device=boxes.device)


def batched_nms_rotated(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress rotated boxes class by class.

    Args:
        boxes: (N, 5), as in `RotatedBoxes`.
        scores: (N,).
        idxs: (N,) int64, the classes.
        iou_threshold: as in `nms_rotated`.

    Returns:
        The indices of the boxes kept, best first, int64.
    """
    kept = [torch.empty(0, dtype=torch.int64, device=boxes.device)]
    for label in idxs.unique():
        members = torch.nonzero(idxs == label)[:, 0]
        kept.append(members[nms_rotated(boxes[members], scores[members], iou_threshold)])
    keep = torch.cat(kept)
    return keep[scores[keep].argsort(descending=True, stable=True)]
