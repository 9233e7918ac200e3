"""Functions whose parameters differ between Detectron2 and litepred, with Detectron2's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..checkpoint.naming import by_suffix
from ..modeling import ResNet
from ..modeling.rpn import find_top_rpn_proposals as _find_top_rpn_proposals
from ..structures import Instances
from .names import ABSENT
from .stand_ins import NotInLitepredError

__all__ = ["Matcher", "align_and_update_state_dicts", "find_top_rpn_proposals", "make_stage"]


def find_top_rpn_proposals(
    proposals: Sequence[Tensor],
    pred_objectness_logits: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool = False,
) -> list[Instances]:
    """Pick each level's best ``pre_nms_topk`` (N, B, 4) boxes; then see `litepred.modeling.rpn`'s function.

    ``training`` only says, in Detectron2, whether boxes that are not finite are an error: here they are left out.
    """
    boxes, logits = [], []
    for level_boxes, level_logits in zip(proposals, pred_objectness_logits):
        top, index = level_logits.topk(min(level_logits.shape[1], pre_nms_topk), dim=1)
        logits.append(top)
        boxes.append(torch.take_along_dim(level_boxes, index[..., None], dim=1))
    return _find_top_rpn_proposals(boxes, logits, image_sizes, nms_thresh, post_nms_topk, min_box_size)


def align_and_update_state_dicts(
    model_state_dict: Mapping[str, Tensor], ckpt_state_dict: Mapping[str, Tensor], c2_conversion: bool = True
) -> dict[str, Tensor]:
    """Give a checkpoint's weights the names of the model's that end with theirs; see `litepred.checkpoint.naming`.

    Raises:
        CheckpointError: a weight fits two of the model's.
    """
    return by_suffix(ckpt_state_dict, model_state_dict)


def make_stage(*args: Any, **kwargs: Any) -> Any:
    """Call ``ResNet.make_stage``."""
    return ResNet.make_stage(*args, **kwargs)


class Matcher:
    """A matcher of predictions with ground truth, which heads are built with and which only training calls."""

    def __init__(
        self, thresholds: Sequence[float], labels: Sequence[int], allow_low_quality_matches: bool = False
    ) -> None:
        self.thresholds, self.labels, self.allow_low_quality_matches = thresholds, labels, allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Raise `NotInLitepredError`."""
        raise NotInLitepredError(f"Matcher was called: {ABSENT['training']}")
