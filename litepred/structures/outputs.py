"""The dict that a model answers with for one image, as type checkers see it.

The image has H × W pixels, and there are C classes of stuff.
"""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor

from .instances import Instances

__all__ = ["Outputs", "SegmentInfo"]


class _EverySegment(TypedDict):
    id: int
    isthing: bool
    category_id: int


class SegmentInfo(_EverySegment, total=False):
    """A segment of a panoptic segmentation.

    Attributes:
        id: its number in the map of segments, from 1.
        isthing: whether it is a thing, or else stuff.
        category_id: its class; things and stuff are numbered apart.
        score: of a thing, 0 to 1.
        instance_id: of a thing, its index in the instances.
        area: of stuff, in pixels.
    """

    score: float
    instance_id: int
    area: int


class Outputs(TypedDict, total=False):
    """What a model finds in an image, in the image's own height and width; each key only if the model finds such.

    Attributes:
        instances: with ``pred_boxes``, ``scores`` and ``pred_classes``; of some models ``pred_masks``,
            ``pred_keypoints`` or ``pred_densepose``.
        sem_seg: logits (C, H, W).
        panoptic_seg: the segment's number for each pixel, (H, W) int32, 0 for none, and a description of each segment.
        proposals: with ``proposal_boxes`` and ``objectness_logits``.
    """

    instances: Instances
    sem_seg: Tensor
    panoptic_seg: tuple[Tensor, list[SegmentInfo]]
    proposals: Instances
