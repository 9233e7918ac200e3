"""Masks of the instances of one image: as bitmaps, as polygons, and relative to their boxes.

N instances, H, W height and width of the image, M × M the resolution of a mask inside its box.
A polygon is a flat vector x0 y0 x1 y1 … in pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

from ..layers.paste import paste_masks_in_image
from .boxes import Boxes

__all__ = ["BitMasks", "PolygonMasks", "ROIMasks", "polygons_to_bitmask"]

_SUBPIXELS = 5  # a COCO polygon is traced on a grid this many times finer than the pixels


class BitMasks:
    """Full-image bitmaps of N instances.

    Args:
        tensor: (N, H, W) tensor, ndarray or list, converted to bool; a bool tensor is kept without a copy.

    Attributes:
        tensor: (N, H, W) bool.
        image_size: (height, width) in pixels.

    Raises:
        ValueError: for another number of dimensions.
    """

    tensor: Tensor
    image_size: tuple[int, int]

    def __init__(self, tensor: Tensor | np.ndarray | Sequence[Any]) -> None:
        if isinstance(tensor, Tensor):
            tensor = tensor.to(torch.bool)
        else:
            tensor = torch.as_tensor(tensor, dtype=torch.bool, device="cpu")
        if tensor.ndim != 3:
            raise ValueError(f"bitmasks came with shape {tuple(tensor.shape)}: expected (N, H, W)")
        self.image_size = (tensor.shape[1], tensor.shape[2])
        self.tensor = tensor

    @property
    def device(self) -> torch.device:
        """The device of the tensor."""
        return self.tensor.device

    def to(self, *args: Any, **kwargs: Any) -> BitMasks:
        """Return the masks moved by ``Tensor.to``; they stay bool."""
        return BitMasks(self.tensor.to(*args, **kwargs))

    def nonempty(self) -> Tensor:
        """Return an (N,) bool tensor: whether a mask has any pixel."""
        return self.tensor.flatten(1).any(dim=1)

    def get_bounding_boxes(self) -> Boxes:
        """Return the tight boxes on the CPU: x2, y2 lie one past the last pixel, an empty mask gives zeros."""
        (x1, x2), (y1, y2) = _span(self.tensor.any(dim=1)), _span(self.tensor.any(dim=2))
        return Boxes(torch.stack((x1, y1, x2, y2), dim=1).to("cpu", torch.float32))  # (N, 4)

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """Cut each mask to its box and resample it by averaging (ROIAlign) and a threshold of 0.5.

        Args:
            boxes: (N, 4) float, x1 y1 x2 y2 in pixels, one per mask.
            mask_size: M in pixels.

        Returns:
            (N, M, M) bool.

        Raises:
            ValueError: when the numbers of boxes and masks differ.
        """
        if len(boxes) != len(self):
            raise ValueError(f"{len(self)} masks came with {len(boxes)} boxes: expected one box per mask")
        boxes = boxes.to(self.device, torch.float32)
        index = torch.arange(len(boxes), device=self.device, dtype=torch.float32)[:, None]
        maps = self.tensor.to(torch.float32)[:, None]  # (N, 1, H, W)
        crops = roi_align(maps, torch.cat((index, boxes), dim=1), (mask_size, mask_size), aligned=True)
        return crops[:, 0] >= 0.5

    @staticmethod
    def from_polygon_masks(polygon_masks: PolygonMasks | list[list[np.ndarray]], height: int, width: int) -> BitMasks:
        """Draw the polygons of each instance into an image of ``height`` × ``width`` pixels (COCO's rule)."""
        polygons = polygon_masks.polygons if isinstance(polygon_masks, PolygonMasks) else polygon_masks
        masks = [torch.from_numpy(polygons_to_bitmask(one, height, width)) for one in polygons]
        return BitMasks(torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.bool))

    @staticmethod
    def cat(bitmasks_list: Sequence[BitMasks]) -> BitMasks:
        """Join masks of one image size into a new object.

        Raises:
            AssertionError: when the argument is empty or holds another type.
        """
        _check_cat(bitmasks_list, BitMasks)
        return type(bitmasks_list[0])(torch.cat([masks.tensor for masks in bitmasks_list]))

    def __getitem__(self, item: Any) -> BitMasks:
        """Select masks by int (gives one), slice, list, ndarray, or bool or integer tensor."""
        return BitMasks(self.tensor[item][None] if isinstance(item, int) else self.tensor[item])

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.tensor

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self)})"


class PolygonMasks:
    """Polygons of N instances, always on the CPU.

    Args:
        polygons: per instance a list of polygons, each a flat vector (ndarray, tensor or list) of an even number of
            at least 6 coordinates. Copied as float64.

    Attributes:
        polygons: list of lists of float64 ndarrays.

    Raises:
        ValueError: for another nesting or number of coordinates.
    """

    polygons: list[list[np.ndarray]]

    def __init__(self, polygons: list[list[Any]]) -> None:
        if not isinstance(polygons, list) or not all(isinstance(one, list) for one in polygons):
            raise ValueError("PolygonMasks expects a list (instances) of lists (polygons) of flat coordinate vectors")
        self.polygons = [[_as_polygon(polygon) for polygon in one] for one in polygons]

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def to(self, *args: Any, **kwargs: Any) -> PolygonMasks:
        """Return the same object: polygons stay on the CPU."""
        return self

    def nonempty(self) -> Tensor:
        """Return an (N,) bool tensor: whether an instance has any polygon."""
        return torch.tensor([len(one) > 0 for one in self.polygons], dtype=torch.bool)

    def area(self) -> Tensor:
        """Return each instance's summed polygon areas, (N,) float64, in square pixels (overlaps count twice)."""
        return torch.tensor([sum(map(_polygon_area, one)) for one in self.polygons], dtype=torch.float64)

    def get_bounding_boxes(self) -> Boxes:
        """Return the tight boxes; x2, y2 are at least 0, and without polygons the box is (inf, inf, 0, 0)."""
        boxes = torch.zeros(len(self), 4, dtype=torch.float32)
        for box, one in zip(boxes, self.polygons, strict=True):
            points = torch.from_numpy(np.concatenate([np.empty(0), *one])).to(torch.float32).view(-1, 2)
            box[:2] = torch.cat((points, torch.full((1, 2), torch.inf))).amin(0)
            box[2:] = torch.cat((points, torch.zeros(1, 2))).amax(0)
        return Boxes(boxes)

    @staticmethod
    def cat(polymasks_list: Sequence[PolygonMasks]) -> PolygonMasks:
        """Join the instances of several objects into a new one.

        Raises:
            AssertionError: when the argument is empty or holds another type.
        """
        _check_cat(polymasks_list, PolygonMasks)
        return type(polymasks_list[0])(list(itertools.chain.from_iterable(m.polygons for m in polymasks_list)))

    def __getitem__(self, item: Any) -> PolygonMasks:
        """Select instances by int (gives one), slice, or a list, ndarray or tensor of bools or integers."""
        index = item.cpu().numpy() if isinstance(item, Tensor) else item
        selected = np.atleast_1d(np.arange(len(self))[index])
        return PolygonMasks([self.polygons[i] for i in selected])

    def __len__(self) -> int:
        return len(self.polygons)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        return iter(self.polygons)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self)})"


class ROIMasks:
    """Masks of N instances, each relative to a box that is kept elsewhere.

    Args:
        tensor: (N, M, M) float, probabilities in [0, 1].

    Raises:
        ValueError: for another number of dimensions.
    """

    def __init__(self, tensor: Tensor) -> None:
        if tensor.ndim != 3:
            raise ValueError(f"ROI masks came with shape {tuple(tensor.shape)}: expected (N, M, M)")
        self.tensor = tensor

    @property
    def device(self) -> torch.device:
        """The device of the tensor."""
        return self.tensor.device

    def to(self, device: torch.device | str | int) -> ROIMasks:
        """Return the masks on ``device``."""
        return ROIMasks(self.tensor.to(device))

    def to_bitmasks(self, boxes: Boxes, height: int, width: int, threshold: float = 0.5) -> BitMasks:
        """Paste the masks into full images.

        Args:
            boxes: the N boxes that the masks lie in.
            height: of the image, in pixels.
            width: of the image, in pixels.
            threshold: a pixel is set where the probability at its centre is at least this.

        Returns:
            The (N, H, W) masks, on the device of this object unless its memory did not suffice: then on the CPU.
        """
        try:
            return BitMasks(paste_masks_in_image(self.tensor, boxes.tensor, (height, width), threshold))
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
        return BitMasks(paste_masks_in_image(self.tensor.cpu(), boxes.tensor.cpu(), (height, width), threshold))

    def __getitem__(self, item: Any) -> ROIMasks:
        """Select masks by slice, list, ndarray, or bool or integer tensor (an int is a ValueError)."""
        return ROIMasks(self.tensor[item])

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self)})"


def polygons_to_bitmask(polygons: Sequence[Any], height: int, width: int) -> np.ndarray:
    """Fill the union of polygons, with the same pixels as the COCO mask API.

    Args:
        polygons: flat vectors of an even number of at least 6 coordinates, in pixels. May be empty.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        (H, W) bool ndarray.

    Raises:
        ValueError: for a vector of another length.
    """
    mask = np.zeros((height, width), dtype=bool)
    for polygon in polygons:
        mask |= _fill_polygon(_as_polygon(polygon), height, width)
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

    edge = np.repeat(edges, steps + 1)  # one entry per outline point, in tracing order
    step = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    step = np.where(backward[edge], steps[edge] - step, step)
    along = low[edge, axis[edge]] + step
    across = (low[edge, 1 - axis[edge]] + rise[edge] * step + 0.5).astype(np.int64)  # truncated
    x, y = np.where(steep[edge], (across, along), (along, across))

    # crossings of column centres: x changes, and the smaller of both is the middle subpixel of a pixel
    left, top = np.minimum(x[1:], x[:-1]), np.minimum(y[1:], y[:-1])
    column, offset = np.divmod(left - _SUBPIXELS // 2, _SUBPIXELS)
    crosses = (x[1:] != x[:-1]) & (offset == 0) & (column >= 0) & (column < width)
    row = np.ceil((top[crosses] + 0.5) / _SUBPIXELS - 0.5).clip(0, height).astype(np.int64)
    flips = np.bincount(column[crosses] * height + row, minlength=height * width + 1)[: height * width]
    return (np.cumsum(flips) % 2 == 1).reshape(width, height).T


def _as_polygon(polygon: Any) -> np.ndarray:
    """Copy a flat coordinate vector as float64."""
    vector = np.array(polygon.cpu().numpy() if isinstance(polygon, Tensor) else polygon, dtype=np.float64)
    if vector.ndim != 1 or len(vector) < 6 or len(vector) % 2:
        raise ValueError(f"a polygon of shape {vector.shape} came: expected a flat x0 y0 x1 y1 … of at least 3 points")
    return vector


def _polygon_area(polygon: np.ndarray) -> float:
    """Add up the signed triangles between the origin and each edge; their sum is the area of the polygon."""
    corners = polygon.reshape(-1, 2)
    edges = np.diff(corners, axis=0, append=corners[:1])
    return abs(float((corners[:, 0] * edges[:, 1] - corners[:, 1] * edges[:, 0]).sum())) / 2


def _span(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first set index of each row of (N, L) and one past the last, both 0 where none is set."""
    occupied = F.pad(occupied, (0, 1))  # (N, L + 1), so that there is always something to reduce
    position = torch.arange(occupied.shape[1], device=occupied.device)
    end = torch.where(occupied, position + 1, 0).amax(1)
    return torch.where(occupied, position, end[:, None]).amin(1), end


def _check_cat(parts: Sequence[Any], kind: type) -> None:
    """Refuse what ``cat`` cannot join."""
    if not parts or not all(isinstance(part, kind) for part in parts):
        raise AssertionError(f"{kind.__name__}.cat expects at least one {kind.__name__} and no other type")
