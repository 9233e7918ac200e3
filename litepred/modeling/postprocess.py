"""From the network's pixels to the user's: boxes scaled and clipped, masks pasted, logits enlarged."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import LitepredError
from ..layers import paste_masks_in_image
from ..layers.paste import MaskWindows, mask_windows, paste_masks_in_windows
from ..structures import Boxes, Instances, ROIMasks, mask_to_polygons, mask_to_rle

__all__ = ["detector_postprocess", "sem_seg_postprocess"]

MASK_FORMATS = ("bitmask", "roi", "rle", "polygon")


def detector_postprocess(
    results: Instances,
    output_height: int,
    output_width: int,
    mask_threshold: float = 0.5,
    *,
    mask_format: str | None = None,
    windows: MaskWindows = mask_windows,
) -> Instances:
    """Rescale the detections of one image to the wanted size; ``results`` itself is left as it is.

    Args:
        results: what a model found, in pixels of its unpadded input, whose size is ``results.image_size``; it has
            ``pred_boxes`` or ``proposal_boxes``, and perhaps ``pred_masks``, (N, 1, M, M) or `ROIMasks`, and
            ``pred_keypoints``.
        output_height: in pixels.
        output_width: in pixels.
        mask_threshold: a pixel belongs to a mask when its probability is at least this.
        mask_format: what ``pred_masks`` become; see `write_masks`.
        windows: samples the masks in their boxes; see `mask_windows`.

    Returns:
        The instances whose box is finite, and not empty after clipping, with full-size bool masks (N, H, W) unless
        another format is asked for. All other fields, keypoint heatmaps among them, are carried along.

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
    size_hw = (output_height, output_width)
    fields[name] = boxes = boxes.clipped(size_hw)
    scaled = Instances(size_hw, **fields)[torch.nonzero(boxes.nonempty() & finite)[:, 0]]
    if scaled.has("pred_masks"):
        masks, boxes_xyxy = scaled.pred_masks, scaled.get(name).tensor
        masks = masks.tensor if isinstance(masks, ROIMasks) else masks[:, 0]
        scaled.pred_masks = write_masks(masks, boxes_xyxy, size_hw, mask_threshold, mask_format, windows)
    if scaled.has("pred_keypoints"):  # indexing has copied them
        scaled.pred_keypoints[:, :, 0] *= scale_x
        scaled.pred_keypoints[:, :, 1] *= scale_y
    return scaled


def write_masks(
    masks: Tensor,
    boxes_xyxy: Tensor,
    image_size_hw: tuple[int, int],
    threshold: float,
    mask_format: str | None,
    windows: MaskWindows = mask_windows,
) -> Any:
    """Turn masks that are relative to their boxes into the ``pred_masks`` of an image.

    Args:
        masks: (N, M, M) probabilities.
        boxes_xyxy: (N, 4) in pixels of the image.
        image_size_hw: height and width of the image in pixels.
        threshold: a pixel belongs to a mask when its probability is at least this.
        mask_format: ``None`` for (N, H, W) bool bitmaps with Detectron2's bits; "bitmask" for the same faster, to
            rounding; "roi" for `ROIMasks`, to be pasted when asked; "rle" for a list of COCO's run lengths (by
            pycocotools); "polygon" for a list of outlines per instance, each x0 y0 x1 y1 … (by OpenCV).
        windows: samples the masks in their boxes; see `mask_windows`.
    """
    if mask_format is None:
        return paste_masks_in_image(masks, boxes_xyxy, image_size_hw, threshold)
    if mask_format == "bitmask":
        return paste_masks_in_windows(masks, boxes_xyxy, image_size_hw, threshold, windows)
    if mask_format == "roi":
        return ROIMasks(masks)

    def write(window: Tensor | np.ndarray, corner_xy: tuple[int, int]) -> Any:
        as_rle = mask_format == "rle"
        return mask_to_rle(window, image_size_hw, corner_xy) if as_rle else mask_to_polygons(window, corner_xy)

    written = [write(np.zeros((0, 0), bool), (0, 0)) for _ in masks]
    for i, ((x0, y0, _, _), inside) in windows(masks.cpu(), boxes_xyxy.cpu(), image_size_hw, threshold):
        written[i] = write(inside, (x0, y0))
    return written


def sem_seg_postprocess(result: Tensor, img_size: tuple[int, int], output_height: int, output_width: int) -> Tensor:
    """Cut the padding off one image's logits (C, H, W) and enlarge them bilinearly to the wanted size.

    Args:
        result: the logits, at the resolution of the network's padded input.
        img_size: unpadded (height, width) of that input.
        output_height: in pixels.
        output_width: in pixels.
    """
    logits = result[None, :, : img_size[0], : img_size[1]]
    return F.interpolate(logits, size=(output_height, output_width), mode="bilinear", align_corners=False)[0]
