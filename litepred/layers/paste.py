"""Box-relative mask probabilities onto the image.

N masks of M × M probabilities, an image of H × W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..structures import Boxes

__all__ = ["paste_masks_in_image"]

_CHUNK_BYTES = 2**30  # on an accelerator: memory that one chunk of full-size masks may take


def _sample(masks: Tensor, boxes: Tensor, y0: int, y1: int, x0: int, x1: int) -> Tensor:
    """Sample ``masks`` (N, 1, M, M), stretched over their boxes, at a window's pixel centres: (N, y1 - y0, x1 - x0)."""
    left, top, right, bottom = boxes.split(1, dim=1)  # (N, 1) each
    y = torch.arange(y0, y1, device=masks.device, dtype=torch.float32) + 0.5
    x = torch.arange(x0, x1, device=masks.device, dtype=torch.float32) + 0.5
    y = (y - top) / (bottom - top) * 2 - 1  # (N, window height)
    x = (x - left) / (right - left) * 2 - 1  # (N, window width)
    grid = torch.stack(
        [x[:, None, :].expand(-1, y.shape[1], -1), y[:, :, None].expand(-1, -1, x.shape[1])], dim=3
    )  # (N, window height, window width, 2)
    return F.grid_sample(masks, grid.to(masks.dtype), align_corners=False)[:, 0]


def paste_masks_in_image(
    masks: Tensor, boxes: Boxes | Tensor, image_shape: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """Paste masks that were predicted relative to their boxes into full images.

    A pixel belongs to a mask when the bilinearly sampled probability at its centre is at least ``threshold``
    (Mask R-CNN, with continuous coordinates).

    Args:
        masks: (N, M, M), probabilities in [0, 1], or bool.
        boxes: N boxes as x1 y1 x2 y2 in pixels of the image.
        image_shape: (height, width) in pixels.
        threshold: in [0, 1]; a negative one returns the soft masks as uint8, probability × 255.

    Returns:
        (N, H, W) bool (uint8 for soft masks), on the device of ``masks``.

    Raises:
        ValueError: when the masks are not square or their number differs from that of the boxes.
    """
    if masks.ndim != 3 or masks.shape[-1] != masks.shape[-2]:
        raise ValueError(f"masks of shape {tuple(masks.shape)} cannot be pasted: expected square ones, (N, M, M)")
    box_tensor = boxes.tensor if isinstance(boxes, Boxes) else boxes
    if len(box_tensor) != len(masks):
        raise ValueError(f"{len(masks)} masks came with {len(box_tensor)} boxes: expected one box per mask")
    height, width = (int(v) for v in image_shape)
    soft = threshold < 0
    pasted = torch.zeros(len(masks), height, width, dtype=torch.uint8 if soft else torch.bool, device=masks.device)
    if not len(masks):
        return pasted
    masks = (masks if masks.is_floating_point() else masks.float())[:, None]  # (N, 1, M, M)

    def finish(probabilities: Tensor) -> Tensor:
        return (probabilities * 255).to(torch.uint8) if soft else probabilities >= threshold

    if masks.device.type == "cpu":  # one by one, only around each box: far less to compute than whole images
        lows = (box_tensor[:, :2].floor() - 1).clamp(min=0).to(torch.int64).tolist()
        highs = (box_tensor[:, 2:].ceil() + 1).to(torch.int64).tolist()
        for i, ((x0, y0), (x1, y1)) in enumerate(zip(lows, highs)):
            x1, y1 = min(x1, width), min(y1, height)
            if x1 > x0 and y1 > y0:
                pasted[i, y0:y1, x0:x1] = finish(_sample(masks[i : i + 1], box_tensor[i : i + 1], y0, y1, x0, x1)[0])
        return pasted
    per_chunk = max(1, _CHUNK_BYTES // max(1, height * width * 12))  # a float32 grid (x, y) and its samples
    for i in range(0, len(masks), per_chunk):
        chunk = slice(i, i + per_chunk)
        pasted[chunk] = finish(_sample(masks[chunk], box_tensor[chunk], 0, height, 0, width))
    return pasted
