"""Masks of every format, each kept as a window of the image.

N masks, H × W pixels. A window is x, y of its top left pixel in the image, and (h, w) uint8, 1 inside the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..layers.paste import mask_windows
from ..structures import BitMasks, ROIMasks, mask_to_polygons, polygons_to_bitmask, polygons_to_mask, rle_to_mask
from ..structures.boxes import as_numpy

__all__ = ["GenericMask", "Mask", "Masks", "Values", "Window", "as_masks", "as_numpy", "scaled", "without_small_parts"]


class _HasTensor(Protocol):
    tensor: Tensor


Window = tuple[int, int, np.ndarray]
Values = ArrayLike | Sequence[ArrayLike] | Tensor | _HasTensor
_Written = Values | dict[str, Any]


class GenericMask:
    """One mask of an image, whatever it was written as.

    Args:
        mask_or_polygons: an (H, W) array or tensor, set where it is 0.5 or more; COCO's run lengths, a dict; or a list
            of polygons, flat vectors x0 y0 x1 y1 … in pixels.
        height: height of the image, in pixels.
        width: width of the image, in pixels.
        even_odd: whether a polygon inside another is a hole, as in litepred's own polygon masks; otherwise the polygons
            are joined, as in COCO's annotations.

    Attributes:
        height: height of the image.
        width: width of the image.
        window: x, y and the (h, w) uint8 pixels around what is set; h = w = 0 where nothing is.

    Raises:
        ValueError: when the size is not that of the image.
    """

    def __init__(self, mask_or_polygons: _Written, height: int, width: int, *, even_odd: bool = False) -> None:
        self.height, self.width = height, width
        self._polygons: list[np.ndarray] | None = None
        if isinstance(mask_or_polygons, (list, tuple)):
            self._polygons = [as_numpy(one).reshape(-1) for one in mask_or_polygons]
            self.window = _polygon_window(self._polygons, height, width, even_odd)
            return
        mask = rle_to_mask(mask_or_polygons) if isinstance(mask_or_polygons, dict) else as_numpy(mask_or_polygons)
        if mask.shape != (height, width):
            raise ValueError(f"a mask came with shape {mask.shape}: expected the image's {(height, width)}")
        self.window = _crop(0, 0, mask)

    @property
    def mask(self) -> np.ndarray:
        """(H, W) uint8, 1 inside."""
        x, y, inside = self.window
        full = np.zeros((self.height, self.width), np.uint8)
        full[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        return full

    @property
    def polygons(self) -> list[np.ndarray]:
        """Outlines as flat vectors: the polygons that were given, else those that `mask_to_polygons` traces."""
        if self._polygons is None:
            x, y, inside = self.window
            self._polygons = [np.array(one) for one in mask_to_polygons(inside, (x, y))]
        return self._polygons

    @property
    def has_holes(self) -> bool:
        """Whether the mask has a hole."""
        if not self.window[2].size:
            return False
        _, hierarchy = cv2.findContours(self.window[2], cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        return bool((hierarchy[0, :, 3] >= 0).any())

    def mask_to_polygons(self, mask: np.ndarray) -> tuple[list[np.ndarray], bool]:
        """Return the outlines of any mask, (H, W), as flat vectors, and whether it has a hole."""
        other = GenericMask(mask, *mask.shape)
        return other.polygons, other.has_holes

    def polygons_to_mask(self, polygons: Sequence[ArrayLike]) -> np.ndarray:
        """Return (height, width) uint8, 1 inside one of the polygons, flat vectors x0 y0 x1 y1 …."""
        return GenericMask(list(polygons), self.height, self.width).mask

    def area(self) -> int:
        """Return the number of pixels."""
        return int(np.count_nonzero(self.window[2]))

    def bbox(self) -> np.ndarray:
        """Return x0, y0, x1, y1 around the pixels, the last two one past them; zeros for an empty mask."""
        x, y, inside = self.window
        return np.array([x, y, x + inside.shape[1], y + inside.shape[0]], np.float64)


Mask = _Written | GenericMask
Masks = Tensor | np.ndarray | BitMasks | ROIMasks | Sequence[Mask]


def as_masks(
    masks: Masks, size: tuple[int, ...], boxes: np.ndarray | None = None, *, even_odd: bool = False
) -> list[GenericMask]:
    """Read masks of any format, of an image whose height and width are ``size``.

    ``masks`` are an (N, H, W) tensor or array, `BitMasks`, `ROIMasks`, which need ``boxes`` (N, 4), a list of what
    `GenericMask` takes, or an object with such a list as its ``polygons``, as Detectron2's ``PolygonMasks``.

    Raises:
        ValueError: when a mask is not of the image's size, or `ROIMasks` come without boxes.
    """
    height, width = size
    if isinstance(masks, ROIMasks):
        if boxes is None or len(boxes) != len(masks):
            raise ValueError(f"{len(masks)} ROIMasks came without a box for each: they need pred_boxes")
        found = [GenericMask([], height, width) for _ in range(len(masks))]
        corners = torch.as_tensor(boxes, dtype=torch.float32, device="cpu")
        for i, ((x, y, _, _), inside) in mask_windows(masks.tensor.detach().float().cpu(), corners, (height, width)):
            found[i].window, found[i]._polygons = _crop(x, y, inside.numpy()), None
        return found
    if isinstance(masks, (BitMasks, Tensor)):
        masks = as_numpy(masks)
    masks = getattr(masks, "polygons", masks)
    return [m if isinstance(m, GenericMask) else GenericMask(m, height, width, even_odd=even_odd) for m in masks]


def scaled(window: Window, scale: float) -> Window:
    """Return the window that a mask has in a picture ``scale`` times as large."""
    x, y, inside = window
    if scale == 1 or not inside.size:
        return window
    x0, y0 = round(x * scale), round(y * scale)
    width = max(round((x + inside.shape[1]) * scale) - x0, 1)
    height = max(round((y + inside.shape[0]) * scale) - y0, 1)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return x0, y0, (cv2.resize(inside * 255, (width, height), interpolation=how) >= 128).view(np.uint8)


def without_small_parts(window: Window, least_area: int | None) -> Window:
    """Leave out the connected parts of a mask that have fewer than ``least_area`` pixels."""
    x, y, inside = window
    if least_area is None or least_area <= 1 or not inside.size:
        return window
    _, parts, stats, _ = cv2.connectedComponentsWithStats(inside)
    is_large = stats[:, cv2.CC_STAT_AREA] >= least_area
    is_large[0] = False  # what is outside
    return x, y, is_large[parts].view(np.uint8)


def _crop(x: int, y: int, mask: np.ndarray) -> Window:
    pixels = np.ascontiguousarray(mask if mask.dtype == bool else mask >= 0.5).view(np.uint8)
    left, top, width, height = cv2.boundingRect(pixels) if pixels.size else (0, 0, 0, 0)
    return x + left, y + top, pixels[top : top + height, left : left + width].copy()


def _polygon_window(polygons: Sequence[np.ndarray], height: int, width: int, even_odd: bool) -> Window:
    polygons = [one.astype(np.float64) for one in polygons if len(one) >= 6]
    if not polygons:
        return 0, 0, np.zeros((0, 0), np.uint8)
    points = np.concatenate(polygons).reshape(-1, 2)
    x0, y0 = np.clip(np.floor(points.min(0)), 0, (width, height)).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(points.max(0)) + 1, 0, (width, height)).astype(int).tolist()
    shifted = [one - np.tile((x0, y0), len(one) // 2) for one in polygons]
    size = (max(y1 - y0, 0), max(x1 - x0, 0))
    return _crop(x0, y0, polygons_to_mask(shifted, size) if even_odd else polygons_to_bitmask(shifted, *size))
