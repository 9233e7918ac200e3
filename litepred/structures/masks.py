"""Masks of the instances of one image: bitmaps, masks relative to boxes, and filled polygons.

There are N instances; the image is H × W pixels, and a mask inside its box has M × M values.
A polygon is a flat vector x0 y0 x1 y1 … in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..layers.operators import roi_align
from ..layers.paste import paste_masks_in_image
from .boxes import Boxes, Rows

__all__ = ["BitMasks", "ROIMasks", "as_polygon", "polygons_to_bitmask"]

_SUBPIXELS = 5  # a COCO polygon is traced on a grid this many times finer than the pixels


class BitMasks(Rows):
    """Full-image bitmaps of N instances.

    Args:
        tensor: (N, H, W) tensor, ndarray or list, converted to bool; a bool tensor is kept without a copy.

    Attributes:
        tensor: (N, H, W) bool.
        image_size: (height, width) in pixels.

    Raises:
        ValueError: for another number of dimensions.
    """

    image_size: tuple[int, int]
    _dtype = torch.bool

    def __init__(self, tensor: Tensor | np.ndarray | Sequence[Any]) -> None:
        super().__init__(tensor)
        if self.tensor.ndim != 3:
            raise ValueError(f"bitmasks came with shape {tuple(self.tensor.shape)}: expected (N, H, W)")
        self.image_size = (self.tensor.shape[1], self.tensor.shape[2])

    def nonempty(self) -> Tensor:
        """Return an (N,) bool tensor: whether a mask has any pixel."""
        return self.tensor.flatten(1).any(dim=1)

    def get_bounding_boxes(self) -> Boxes:
        """Return the tight boxes on the CPU; x2, y2 lie one past the last pixel, and an empty mask gives zeros."""
        (x1, x2), (y1, y2) = _span(self.tensor.any(dim=1)), _span(self.tensor.any(dim=2))
        return Boxes(torch.stack((x1, y1, x2, y2), dim=1).to("cpu", torch.float32))  # (N, 4)

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """Cut each mask out by its box (N, 4), x1 y1 x2 y2, and resize it: (N, mask_size, mask_size) bool."""
        index = torch.arange(len(self), device=self.device)[:, None]
        rois = torch.cat([index, boxes.to(self.device)], dim=1)  # (N, 5)
        return roi_align(self.tensor[:, None].float(), rois.float(), (mask_size, mask_size), 1.0, 0, True)[:, 0] >= 0.5

    @staticmethod
    def from_polygon_masks(polygon_masks: Any, height: int, width: int) -> BitMasks:
        """Draw polygons into an image of ``height`` × ``width`` pixels, as `polygons_to_bitmask` does.

        ``polygon_masks`` is a list of polygons for each instance, or Detectron2's ``PolygonMasks``, which holds it.
        """
        polygons = getattr(polygon_masks, "polygons", polygon_masks)
        masks = [torch.from_numpy(polygons_to_bitmask(one, height, width)) for one in polygons]
        return BitMasks(torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.bool, device="cpu"))


class ROIMasks(Rows):
    """Masks of N instances, each relative to a box that is kept elsewhere.

    Args:
        tensor: (N, M, M) float, probabilities in [0, 1].

    Raises:
        ValueError: for another number of dimensions.
    """

    _dtype = None

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(tensor)
        if tensor.ndim != 3:
            raise ValueError(f"ROI masks came with shape {tuple(tensor.shape)}: expected (N, M, M)")

    def to_bitmasks(self, boxes: Boxes, height: int, width: int, threshold: float = 0.5) -> BitMasks:
        """Paste the masks into full images of ``height`` × ``width`` pixels.

        They are on the device of this object, or on the CPU where the device's memory does not suffice.

        Args:
            boxes: the N boxes that the masks lie in.
            height: of the image.
            width: of the image.
            threshold: a pixel is set where the probability at its centre is at least this.
        """
        try:
            return BitMasks(paste_masks_in_image(self.tensor, boxes.tensor, (height, width), threshold))
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
        return BitMasks(paste_masks_in_image(self.tensor.cpu(), boxes.tensor.cpu(), (height, width), threshold))


def polygons_to_bitmask(polygons: Sequence[Any], height: int, width: int) -> np.ndarray:
    """Fill the union of polygons in an image of ``height`` × ``width`` pixels, with the pixels of the COCO mask API.

    Args:
        polygons: flat vectors of an even number of coordinates, at least 6, in pixels; or none.
        height: of the image.
        width: of the image.

    Returns:
        (H, W) bool ndarray.

    Raises:
        ValueError: for a vector of another length.
    """
    mask = np.zeros((height, width), dtype=bool)
    for polygon in polygons:
        mask |= _fill_polygon(as_polygon(polygon), height, width)
    return mask


def _fill_polygon(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fill one polygon: trace its outline in subpixels, and flip inside and outside where it crosses a column."""
    start = (_SUBPIXELS * polygon.reshape(-1, 2) + 0.5).astype(np.int64)  # (points, 2), truncated
    end = np.roll(start, -1, axis=0)
    reach = np.abs(end - start)
    steep = reach[:, 0] < reach[:, 1]
    axis = steep.astype(np.int64)  # the coordinate that advances by one per step
    edges = np.arange(len(start))
    steps = reach[edges, axis]
    backward = start[edges, axis] > end[edges, axis]
    low, high = np.where(backward[:, None], end, start), np.where(backward[:, None], start, end)
    rise = (high - low)[edges, 1 - axis] / np.maximum(steps, 1)

    edge = np.repeat(edges, steps + 1)  # one entry for each point of the outline, in the order of tracing
    step = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    step = np.where(backward[edge], steps[edge] - step, step)
    along = low[edge, axis[edge]] + step
    across = (low[edge, 1 - axis[edge]] + rise[edge] * step + 0.5).astype(np.int64)  # truncated
    x, y = np.where(steep[edge], (across, along), (along, across))

    # The outline crosses the middle of a column where x changes and the smaller x is the middle subpixel of a pixel.
    left, top = np.minimum(x[1:], x[:-1]), np.minimum(y[1:], y[:-1])
    column, offset = np.divmod(left - _SUBPIXELS // 2, _SUBPIXELS)
    crosses = (x[1:] != x[:-1]) & (offset == 0) & (column >= 0) & (column < width)
    row = np.ceil((top[crosses] + 0.5) / _SUBPIXELS - 0.5).clip(0, height).astype(np.int64)
    flips = np.bincount(column[crosses] * height + row, minlength=height * width + 1)[: height * width]
    return (np.cumsum(flips) % 2 == 1).reshape(width, height).T


def as_polygon(polygon: Any) -> np.ndarray:
    """Copy a flat vector of coordinates (an ndarray, tensor or list) as float64.

    Raises:
        ValueError: when it is not flat, or has fewer than three points.
    """
    vector = np.array(polygon.cpu().numpy() if isinstance(polygon, Tensor) else polygon, dtype=np.float64)
    if vector.ndim != 1 or len(vector) < 6 or len(vector) % 2:
        raise ValueError(f"a polygon of shape {vector.shape} came: expected a flat x0 y0 x1 y1 … of at least 3 points")
    return vector


def _span(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first set index of each row of (N, L) and one past the last, both 0 where none is set."""
    occupied = F.pad(occupied, (0, 1))  # (N, L + 1), so that there is always something to reduce
    position = torch.arange(occupied.shape[1], device=occupied.device)
    end = torch.where(occupied, position + 1, 0).amax(1)
    return torch.where(occupied, position, end[:, None]).amin(1), end
