"""From the network's pixels to the user's: boxes scaled and clipped, masks pasted, logits enlarged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import clip_boxes_to_image

from ..errors import ConfigError, LitepredError
from ..layers import paste_masks_in_image
from ..layers.paste import mask_windows
from ..structures import Boxes, Instances, ROIMasks, mask_to_polygons, mask_to_rle

__all__ = ["MASK_FORMATS", "detector_postprocess", "mask_writer", "sem_seg_postprocess"]

MASK_FORMATS = ("bitmask", "roi", "rle", "polygon")
Paste = Callable[[Tensor, Boxes, tuple[int, int], float], Any]


def mask_writer(mask_format: str, windows: Callable[..., Any] = mask_windows) -> Paste:
    """Return what turns masks (N, M, M) and their boxes into ``pred_masks`` that are smaller than (N, H, W) bitmaps.

    Args:
        mask_format: "roi" for `ROIMasks`, as they are, to be pasted when asked; "rle" for a list of COCO's run lengths
            (by pycocotools); "polygon" for a list of outlines per instance, each x0 y0 x1 y1 … (by OpenCV).
        windows: samples the masks in their boxes; see `mask_windows`.

    Raises:
        ConfigError: for another format.
    """
    if mask_format not in MASK_FORMATS[1:]:
        raise ConfigError(f"mask_format is {mask_format!r}: expected one of {', '.join(MASK_FORMATS)}")

    return partial(_write, mask_format=mask_format, windows=windows)  # which can be pickled


def _write(
    masks: Tensor,
    boxes: Boxes,
    image_size: tuple[int, int],
    threshold: float,
    *,
    mask_format: str,
    windows: Callable[..., Any],
) -> Any:
    if mask_format == "roi":
        return ROIMasks(masks)
    nothing = np.zeros((0, 0), bool)
    written: list[Any] = [
        mask_to_rle(nothing, image_size) if mask_format == "rle" else mask_to_polygons(nothing) for _ in masks
    ]
    for i, ((x0, y0, _, _), inside) in windows(masks.cpu(), boxes.tensor.cpu(), image_size, threshold):
        corner = (x0, y0)
        written[i] = (
            mask_to_rle(inside, image_size, corner) if mask_format == "rle" else mask_to_polygons(inside, corner)
        )
    return written


def detector_postprocess(
    results: Instances,
    output_height: int,
    output_width: int,
    mask_threshold: float = 0.5,
    *,
    paste: Paste = paste_masks_in_image,
) -> Instances:
    """Rescale the detections of one image to the wanted size; ``results`` itself is left as it is.

    Args:
        results: what a model found, in pixels of its unpadded input, whose size is ``results.image_size``; it has
            ``pred_boxes`` or ``proposal_boxes``, and perhaps ``pred_masks`` (N, 1, M, M) and ``pred_keypoints``.
        output_height: in pixels.
        output_width: in pixels.
        mask_threshold: a pixel belongs to a mask when its probability is at least this.
        paste: puts masks (N, M, M) into an image; see `paste_masks_in_image` and `mask_writer`.

    Returns:
        The instances whose box is finite, and not empty after clipping, with full-size bool masks (N, H, W). All other
        fields, keypoint heatmaps among them, are carried along.

    Raises:
        LitepredError: when ``results`` has no boxes.
    """
    height, width = results.image_size
    scale_x, scale_y = output_width / width, output_height / height
    fields = dict(results.get_fields())
    name = next((name for name in ("pred_boxes", "proposal_boxes") if name in fields), None)
    if name is None:
        raise LitepredError(f"the results have the fields {sorted(fields)}: expected pred_boxes or proposal_boxes")
    boxes: Boxes = fields[name].clone()
    boxes.scale(scale_x, scale_y)
    finite = torch.isfinite(boxes.tensor).all(dim=1)
    fields[name] = boxes = Boxes(clip_boxes_to_image(boxes.tensor, (output_height, output_width)))
    scaled = Instances((output_height, output_width), **fields)[boxes.nonempty() & finite]
    if scaled.has("pred_masks"):
        scaled.pred_masks = paste(scaled.pred_masks[:, 0], scaled.get(name), scaled.image_size, mask_threshold)
    if scaled.has("pred_keypoints"):  # indexing has copied them
        scaled.pred_keypoints[:, :, 0] *= scale_x
        scaled.pred_keypoints[:, :, 1] *= scale_y
    return scaled


def sem_seg_postprocess(logits: Tensor, image_size: tuple[int, int], output_height: int, output_width: int) -> Tensor:
    """Cut the padding off one image's ``logits`` (C, H, W) and enlarge them bilinearly to the wanted size.

    Args:
        logits: at the resolution of the network's padded input.
        image_size: unpadded (height, width) of that input.
        output_height: in pixels.
        output_width: in pixels.
    """
    logits = logits[None, :, : image_size[0], : image_size[1]]
    return F.interpolate(logits, size=(output_height, output_width), mode="bilinear", align_corners=False)[0]
