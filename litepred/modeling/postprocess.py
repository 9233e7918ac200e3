"""From the network's pixels to the user's: boxes scaled and clipped, masks pasted, logits enlarged."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from ..errors import LitepredError
from ..layers import paste_masks_in_image
from ..structures import Boxes, Instances

__all__ = ["detector_postprocess", "sem_seg_postprocess"]


def detector_postprocess(
    results: Instances,
    output_height: int,
    output_width: int,
    mask_threshold: float = 0.5,
    *,
    paste: Callable[[Tensor, Boxes, tuple[int, int], float], Tensor] = paste_masks_in_image,
) -> Instances:
    """Rescale the detections of one image to the wanted size; ``results`` itself is left as it is.

    Args:
        results: what a model found, in pixels of its unpadded input, whose size is ``results.image_size``; it has
            ``pred_boxes`` or ``proposal_boxes``, and perhaps ``pred_masks`` (N, 1, M, M) and ``pred_keypoints``.
        output_height: in pixels.
        output_width: in pixels.
        mask_threshold: a pixel belongs to a mask when its probability is at least this.
        paste: puts masks (N, M, M) into an image; see `paste_masks_in_image`.

    Returns:
        The instances whose box is not empty after clipping, with full-size bool masks (N, H, W). All other fields,
        keypoint heatmaps among them, are carried along.

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
    boxes.clip((output_height, output_width))
    fields[name] = boxes
    scaled = Instances((output_height, output_width), **fields)[boxes.nonempty()]
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
