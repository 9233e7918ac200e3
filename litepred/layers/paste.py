"""Paste masks that are relative to their boxes into the image.

N masks of M × M probabilities, an image of H × W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["paste_masks_in_image"]

Window = tuple[int, int, int, int]
MaskWindows = Callable[[Tensor, Tensor, tuple[int, int], float], Iterator[tuple[int, tuple[Window, Tensor]]]]

_CHUNK_BYTES = 2**30  # on an accelerator: memory that one chunk of full-size masks may take


class _Boxes(Protocol):
    """What has its rows x1 y1 x2 y2 in ``tensor``, as `litepred.structures.Boxes`."""

    tensor: Tensor


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


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return zeros, of which the system hands out memory on the CPU only where something is written."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros(shape, bool if dtype == torch.bool else np.uint8))


def _windows(boxes: Tensor, height: int, width: int) -> Iterator[tuple[int, Window]]:
    """Yield the index of each box that reaches into the image, and the window x0, y0, x1, y1 one pixel around it."""
    lows = (boxes[:, :2].floor() - 1).clamp(min=0)
    highs = boxes[:, 2:].ceil() + 1
    for i, (x0, y0, x1, y1) in enumerate(torch.cat([lows, highs], dim=1).to(torch.int64).tolist()):
        x1, y1 = min(x1, width), min(y1, height)
        if x1 > x0 and y1 > y0:
            yield i, (x0, y0, x1, y1)


def mask_windows(
    masks: Tensor, boxes_xyxy: Tensor, image_size_hw: tuple[int, int], threshold: float = 0.5
) -> Iterator[tuple[int, tuple[Window, Tensor]]]:
    """Sample masks one by one, each only around its box.

    Bilinear sampling on a grid is a product of three matrices: rows · mask · columns. It is faster than
    `paste_masks_in_image` on the CPU, and differs from it by rounding.

    Args:
        masks: (N, M, M) probabilities in [0, 1].
        boxes_xyxy: (N, 4) in pixels of the image.
        image_size_hw: height and width of the image in pixels.
        threshold: a pixel belongs to a mask when the probability at its centre is at least this.

    Yields:
        The index of a mask whose box reaches into the image; and its window, x0, y0, x1, y1 in whole pixels, with the
        part of the mask in it, (y1 - y0, x1 - x0) bool.
    """
    size = masks.shape[-1]
    cells = torch.arange(size, dtype=torch.float32, device=masks.device)

    def weights(low: int, high: int, start: Tensor, end: Tensor) -> Tensor:  # (pixels, M)
        centres = torch.arange(low, high, dtype=torch.float32, device=masks.device) + 0.5
        position = (centres - start) / (end - start) * size - 0.5
        return (1 - (position[:, None] - cells).abs()).clamp_(min=0)

    for i, (x0, y0, x1, y1) in _windows(boxes_xyxy, *image_size_hw):
        left, top, right, bottom = boxes_xyxy[i]
        rows = weights(y0, y1, top, bottom) @ masks[i].float()
        yield i, ((x0, y0, x1, y1), (rows @ weights(x0, x1, left, right).T) >= threshold)


def paste_masks_in_windows(
    masks: Tensor,
    boxes_xyxy: Tensor,
    image_size_hw: tuple[int, int],
    threshold: float = 0.5,
    windows: MaskWindows = mask_windows,
) -> Tensor:
    """Paste masks (N, M, M) into full images (N, H, W) bool, window by window; see `mask_windows` for the arguments."""
    pasted = _zeros((len(masks), *image_size_hw), torch.bool, masks.device)
    for i, ((x0, y0, x1, y1), inside) in windows(masks, boxes_xyxy, image_size_hw, threshold):
        pasted[i, y0:y1, x0:x1] = inside
    return pasted


def paste_masks_in_image(
    masks: Tensor, boxes: Tensor | _Boxes, image_shape: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """Paste masks that were predicted relative to their boxes into full images.

    A pixel belongs to a mask when the bilinearly sampled probability at its centre is at least ``threshold``
    (Mask R-CNN, with continuous coordinates).

    Args:
        masks: (N, M, M), probabilities in [0, 1], or bool.
        boxes: (N, 4) x1 y1 x2 y2 in pixels of the image, or `Boxes` of that tensor.
        image_shape: (height, width) in pixels.
        threshold: in [0, 1]; a negative one returns the soft masks as uint8, probability × 255.

    Returns:
        (N, H, W) bool (uint8 for soft masks), on the device of ``masks``.

    Raises:
        ValueError: when the masks are not square or their number differs from that of the boxes.
    """
    if masks.ndim != 3 or masks.shape[-1] != masks.shape[-2]:
        raise ValueError(f"masks of shape {tuple(masks.shape)} cannot be pasted: expected square ones, (N, M, M)")
    boxes_xyxy = boxes if isinstance(boxes, Tensor) else boxes.tensor
    if len(boxes_xyxy) != len(masks):
        raise ValueError(f"{len(masks)} masks came with {len(boxes_xyxy)} boxes: expected one box per mask")
    height, width = (int(v) for v in image_shape)
    soft = threshold < 0
    pasted = _zeros((len(masks), height, width), torch.uint8 if soft else torch.bool, masks.device)
    if not len(masks):
        return pasted
    masks = (masks if masks.is_floating_point() else masks.float())[:, None]  # (N, 1, M, M)

    def finish(probabilities: Tensor) -> Tensor:
        return (probabilities * 255).to(torch.uint8) if soft else probabilities >= threshold

    if masks.device.type == "cpu":  # one by one, only around each box: far less to compute than whole images
        for i, (x0, y0, x1, y1) in _windows(boxes_xyxy, height, width):
            pasted[i, y0:y1, x0:x1] = finish(_sample(masks[i : i + 1], boxes_xyxy[i : i + 1], y0, y1, x0, x1)[0])
        return pasted
    per_chunk = max(1, _CHUNK_BYTES // max(1, height * width * 12))  # a float32 grid (x, y) and its samples
    for i in range(0, len(masks), per_chunk):
        chunk = slice(i, i + per_chunk)
        pasted[chunk] = finish(_sample(masks[chunk], boxes_xyxy[chunk], 0, height, 0, width))
    return pasted
