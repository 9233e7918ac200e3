"""Detectron2's functions and classes whose parameters differ from litepred's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..checkpoint.naming import by_suffix
from ..modeling.rpn import find_top_rpn_proposals as _find_top_rpn_proposals
from ..structures import Instances
from ..visualizer import Visualizer as _Visualizer
from .names import ABSENT
from .stand_ins import NotInLitepredError


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
    """Find the proposals among the ``pre_nms_topk`` best boxes of each level, (N, B, 4), as litepred's RPN does.

    With ``training``, Detectron2 refuses boxes that are not finite; here they are left out in any case.
    """
    best = [logits.topk(min(logits.shape[1], pre_nms_topk), dim=1) for logits in pred_objectness_logits]
    boxes = [torch.take_along_dim(level, top.indices[..., None], dim=1) for level, top in zip(proposals, best)]
    logits = [top.values for top in best]
    return _find_top_rpn_proposals(boxes, logits, image_sizes, nms_thresh, post_nms_topk, min_box_size)


def align_and_update_state_dicts(
    model_state_dict: Mapping[str, Tensor], ckpt_state_dict: Mapping[str, Tensor], c2_conversion: bool = True
) -> dict[str, Tensor]:
    """Return a checkpoint's weights under those names of the model that end with theirs.

    Raises:
        CheckpointError: a weight fits two names of the model.
    """
    return by_suffix(ckpt_state_dict, model_state_dict)


class Matcher:
    """A matcher of predictions with ground truth, which heads are built with and which only training calls."""

    def __init__(
        self, thresholds: Sequence[float], labels: Sequence[int], allow_low_quality_matches: bool = False
    ) -> None:
        self.thresholds, self.labels, self.allow_low_quality_matches = thresholds, labels, allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Raise `NotInLitepredError`."""
        raise NotInLitepredError(f"Matcher was called: {ABSENT['training']}")


class Visualizer(_Visualizer):
    """A `litepred.Visualizer` whose first argument is called ``img_rgb``."""

    def __init__(self, img_rgb: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(img_rgb, *args, **kwargs)
