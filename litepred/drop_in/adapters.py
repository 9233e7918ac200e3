"""Functions whose parameters differ between Detectron2 and litepred, with Detectron2's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..checkpoint.naming import by_suffix
from ..data import read_image as _read_image
from ..data.detection_utils import _apply_exif_orientation, convert_PIL_to_numpy
from ..modeling import ResNet
from ..modeling.rpn import find_top_rpn_proposals as _find_top_rpn_proposals
from ..structures import Instances
from .files import PathManager

__all__ = ["align_and_update_state_dicts", "find_top_rpn_proposals", "make_stage", "read_image"]


def read_image(file_name: str | os.PathLike[str], format: str | None = None) -> np.ndarray:
    """Read an image file, turned upright as its EXIF data say.

    Args:
        file_name: a path, or an address, which is downloaded.
        format: "BGR", "RGB", "YUV-BT.601" (float, 0 to 1) or a mode of Pillow; ``None`` for the file's own mode.

    Returns:
        (H, W, C) uint8; (H, W, 1) for "L".

    Raises:
        ImageError: when there is no such file or it is not an image that can be read whole.
    """
    path = PathManager.get_local_path(file_name)
    if format is None:
        with Image.open(path) as image:
            return np.asarray(_apply_exif_orientation(image))
    if format == "YUV-BT.601":
        return convert_PIL_to_numpy(Image.fromarray(_read_image(path, "RGB")), format)
    return _read_image(path, format)


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
