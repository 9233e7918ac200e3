"""Masks as COCO writes them, run lengths and polygons, made from whole bitmaps or from windows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import package
from .boxes import as_numpy, as_tensor
from .instances import Instances
from .masks import ROIMasks, polygons_to_bitmask

__all__ = ["instance_mask", "mask_to_polygons", "mask_to_rle", "polygons_to_mask", "rle_to_mask"]


def _coco() -> Any:
    return package("pycocotools.mask", "writing and reading run-length masks", "'litepred[coco]'")


def _array(mask: Tensor | np.ndarray) -> np.ndarray:
    array = as_numpy(mask)
    if array.ndim != 2:
        raise ValueError(f"a mask came with shape {array.shape}: expected (height, width)")
    return array.astype(bool, copy=False)


def mask_to_rle(
    mask: Tensor | np.ndarray, image_size: tuple[int, int] | None = None, corner: tuple[int, int] = (0, 0)
) -> dict[str, Any]:
    """Encode a mask by the lengths of its runs, column by column (COCO).

    Args:
        mask: (h, w) bool.
        image_size: (height, width) of the image that ``mask`` is a window of. Nothing of that size takes memory.
        corner: x, y of the window's top left pixel.

    Returns:
        ``{"size": [height, width], "counts": str}``.

    Raises:
        LitepredError: when pycocotools is missing.
        ValueError: when ``mask`` is not two-dimensional.
    """
    window = _array(mask)
    height, width = image_size or window.shape
    x, y = corner
    padded = np.zeros((window.shape[1], window.shape[0] + 2), np.int8)  # each row is a column of the mask, between 0s
    padded[:, 1:-1] = window.T
    column, row = np.nonzero(np.diff(padded, axis=1))  # where runs begin and end, by turns
    at = (column + x) * height + (row + y)
    through = np.flatnonzero(at[1:-1:2] == at[2::2]) * 2 + 1  # a run that goes on at the top of the next column
    at = np.delete(at, np.concatenate([through, through + 1]))
    counts = np.diff(at, prepend=0, append=height * width)
    if counts[-1] == 0:  # a run reaches the end of the image, or the image has no pixels
        counts = counts[:-1]
    size = [int(height), int(width)]
    rle = _coco().frPyObjects({"size": size, "counts": counts.tolist()}, *size)
    return {"size": size, "counts": rle["counts"].decode("ascii")}


def rle_to_mask(rle: dict[str, Any]) -> np.ndarray:
    """Decode COCO's run lengths, compressed or not: (height, width) bool.

    Raises:
        LitepredError: when pycocotools is missing.
    """
    height, width = rle["size"]
    if not height * width:
        return np.zeros((height, width), bool)
    counts = rle["counts"]
    if not isinstance(counts, (str, bytes)):
        rle = _coco().frPyObjects(dict(rle), height, width)
    return _coco().decode(rle).astype(bool)


def mask_to_polygons(mask: Tensor | np.ndarray, corner: tuple[int, int] = (0, 0)) -> list[list[float]]:
    """Trace the outlines of a mask's parts.

    Args:
        mask: (h, w) bool.
        corner: x, y that is added to all points, where ``mask`` is a window.

    Returns:
        A polygon x0 y0 x1 y1 … for each outline, through the centres of pixels, whose coordinates end in .5. Holes
        have outlines of their own. Parts of one or two pixels, whose outlines have no area, are left out.

    Raises:
        ValueError: when ``mask`` is not two-dimensional.
    """
    import cv2

    array = np.ascontiguousarray(_array(mask).astype(np.uint8))
    if not array.size:
        return []
    outlines, _ = cv2.findContours(array, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    offset = np.array(corner) + 0.5
    return [(outline[:, 0] + offset).ravel().tolist() for outline in outlines if len(outline) >= 3]


def polygons_to_mask(polygons: Sequence[Sequence[float]], image_size: tuple[int, int]) -> np.ndarray:
    """Fill the outlines that `mask_to_polygons` traced, and return (height, width) bool; holes stay empty.

    The same mask comes back, less the parts that have no area.
    """
    import cv2

    canvas = np.zeros(image_size, np.uint8)
    points = [np.floor(np.asarray(p, np.float64)).reshape(-1, 2).astype(np.int32) for p in polygons]
    if points and canvas.size:
        cv2.fillPoly(canvas, points, 1)
        cv2.polylines(canvas, points, True, 1)
    return canvas.astype(bool)


def instance_mask(instances: Instances, index: int) -> Tensor:
    """Return the full-size mask of one instance, (H, W) bool, whichever format ``pred_masks`` has.

    That is a tensor or array (N, H, W), `BitMasks`, `ROIMasks` (which need ``pred_boxes``), a list of COCO's run
    lengths, a list of polygon lists, or Detectron2's ``PolygonMasks``, whose polygons are joined.
    """
    masks = instances.pred_masks
    if isinstance(masks, ROIMasks):
        one = slice(index, index + 1)
        return masks[one].to_bitmasks(instances.pred_boxes[one], *instances.image_size).tensor[0]
    if isinstance(masks, list):
        mask = masks[index]
        decoded = rle_to_mask(mask) if isinstance(mask, dict) else polygons_to_mask(mask, instances.image_size)
        return torch.from_numpy(decoded)
    if hasattr(masks, "polygons"):
        return torch.from_numpy(polygons_to_bitmask(masks.polygons[index], *instances.image_size))
    return as_tensor(getattr(masks, "tensor", masks)[index]).bool()
