"""Rename the weights of torchvision's detectors to Detectron2's names, and move background to the last class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..files import read_rows

__all__ = ["config_of_torchvision", "from_torchvision", "is_torchvision"]

# Patterns at the start of names and what replaces them; {+2} is the first group of the match plus two, {half} its half
# plus one. The first pattern that matches counts.
_RENAMED = dict(read_rows(Path(__file__).parent / "torchvision_names.txt"))


def is_torchvision(state: Mapping[str, Tensor]) -> bool:
    """Tell whether a state dict is that of a ResNet-FPN R-CNN of torchvision."""
    return "backbone.body.conv1.weight" in state and "roi_heads.box_predictor.cls_score.weight" in state


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a torchvision model with Detectron2's names and order of classes.

    Args:
        state: state dict of ``fasterrcnn_resnet50_fpn``, ``maskrcnn_resnet50_fpn``, ``keypointrcnn_resnet50_fpn`` or a
            ``_v2``, with any number of classes. Any other is returned as it is.
    """
    if not is_torchvision(state):
        return dict(state)
    single_conv = not any(key.startswith("rpn.head.conv.1.") for key in state)
    converted = {}
    for key, value in state.items():
        name = _rename(key)
        if single_conv:
            name = name.replace("rpn_head.conv.conv0.", "rpn_head.conv.")
        if "box_predictor.cls_score." in name:
            value = torch.cat([value[1:], value[:1]])
        elif "box_predictor.bbox_pred." in name:
            value = value[4:]
        elif "mask_head.predictor." in name:
            value = value[1:]
        converted[name] = value
    return converted


def _rename(key: str) -> str:
    for pattern, replacement in _RENAMED.items():
        match = re.match(pattern, key)
        if match is None:
            continue
        start = match.expand(replacement)
        if "{" in start:
            number = int(match[1])
            start = re.sub(r"\{([+-]\d)\}", lambda step, n=number: str(n + int(step[1])), start)  # type: ignore[misc]
            start = start.replace("{half}", str(number // 2 + 1))
        return start + key[match.end() :]
    return key


def config_of_torchvision(state: Mapping[str, Tensor]) -> tuple[str, list[object]]:
    """Tell which config of the zoo a state dict of torchvision belongs to, and what to set in it.

    Returns:
        The config's name, and keys and values for ``merge_from_list``. A file without batch counters is taken for one
        of the released detectors, whose frozen norms have no epsilon.

    Raises:
        CheckpointError: when the state dict belongs to none of the models that litepred has.
    """
    if not is_torchvision(state):
        some = ", ".join(list(state)[:3]) or "nothing"
        raise CheckpointError(
            "this is no state dict of torchvision's fasterrcnn_, maskrcnn_ or keypointrcnn_resnet50_fpn (or _v2): "
            f"it has {some} …; expected backbone.body.conv1.weight and so on"
        )
    keypoints = state.get("roi_heads.keypoint_predictor.kps_score_lowres.weight")
    masks = "roi_heads.mask_predictor.mask_fcn_logits.weight" in state
    family = "keypointrcnn" if keypoints is not None else "maskrcnn" if masks else "fasterrcnn"
    second = "_v2" if "roi_heads.box_head.5.weight" in state else ""
    classes = state["roi_heads.box_predictor.cls_score.weight"].shape[0] - 1
    options: list[object] = ["MODEL.ROI_HEADS.NUM_CLASSES", classes]
    if keypoints is not None:
        options += ["MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", keypoints.shape[1]]
    if not second and any(key.endswith("bn1.num_batches_tracked") for key in state):
        options += ["MODEL.RESNETS.NORM", "BN"]
    return f"torchvision/{family}_resnet50_fpn{second}", options
