"""Keypoints from the heatmaps that a keypoint head predicts.

There are N instances with K keypoints each, and a predicted heatmap has S × S cells.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["heatmaps_to_keypoints"]


def heatmaps_to_keypoints(maps: Tensor, rois: Tensor) -> Tensor:
    """Locate the keypoints in predicted heatmaps, as Mask R-CNN does.

    Each heatmap is enlarged to its box in whole pixels (bicubic), and the keypoint is the centre of its largest cell.
    The score is 1 / Σ exp(logit - largest enlarged logit) over the S × S logits, which can exceed 1.

    Args:
        maps: (N, K, S, S) float, logits.
        rois: (N, 4) float, x1 y1 x2 y2 in pixels; a side below 1 counts as 1.

    In a graph that torch compiles or exports this is one operator, ``litepred::heatmaps_to_keypoints``, since the size
    of an enlarged heatmap depends on the values of ``rois``.

    Returns:
        (N, K, 4) in the dtype of ``maps``: x, y in pixels (not clipped to any image), logit, score. Logit and score
        are 0 where the heatmap is not finite.

    Raises:
        ValueError: when the numbers of heatmaps and boxes differ.
    """
    if torch.compiler.is_compiling():
        return _heatmaps_to_keypoints(maps, rois)
    if len(maps) != len(rois):
        raise ValueError(f"{len(maps)} sets of heatmaps came with {len(rois)} boxes: expected one box for each")
    keypoints = maps.new_zeros(len(rois), maps.shape[1], 4)
    sides = (rois[:, 2:] - rois[:, :2]).clamp(min=1)  # (N, 2), width height
    pixels = sides.ceil()
    cells = torch.zeros(
        maps.shape[0], maps.shape[1], 2, device=rois.device, dtype=torch.float32
    )  # (N, K, 2), column row

    # Box sizes differ, so each box has its own enlarging; nothing inside the loop waits for a GPU's values.
    for i, (width, height) in enumerate(pixels.int().tolist()):
        enlarged = F.interpolate(maps[i : i + 1], size=(height, width), mode="bicubic", align_corners=False)
        flat = enlarged.flatten(2)[0]  # (K, height * width)
        best = flat.argmax(1)
        peak = flat.gather(1, best[:, None])  # (K, 1)
        keypoints[i, :, 2] = peak[:, 0]
        # This is a softmax at its peak, where the numerator is exp(0) = 1.
        keypoints[i, :, 3] = 1 / (maps[i] - peak[:, :, None]).exp_().sum((1, 2))
        cells[i, :, 0], cells[i, :, 1] = best % width, best // width

    keypoints.masked_fill_(~torch.isfinite(keypoints).all(dim=2, keepdim=True), 0.0)
    keypoints[:, :, :2] = (cells + 0.5) * (sides / pixels)[:, None] + rois[:, None, :2]
    return keypoints


@torch.library.custom_op(
    "litepred::heatmaps_to_keypoints", mutates_args=(), schema="(Tensor maps, Tensor rois) -> Tensor"
)
def _heatmaps_to_keypoints(maps: Tensor, rois: Tensor) -> Tensor:
    return heatmaps_to_keypoints(maps, rois)


@_heatmaps_to_keypoints.register_fake
def _(maps: Tensor, rois: Tensor) -> Tensor:
    return maps.new_empty(*maps.shape[:2], 4)
