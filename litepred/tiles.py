"""Large images, predicted tile by tile, with the objects that tiles cut made whole again.

M instances of all tiles. Boxes are corners (M, 4) in pixels of the whole image, and so are tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .data import bands_for_array, image_to_array
from .errors import ConfigError, ImageError, LitepredError, package, scalar
from .structures import (
    Boxes,
    Instances,
    Outputs,
    instance_mask,
    mask_to_polygons,
    mask_to_rle,
    origin_of,
    pairwise_intersection,
    set_origin,
)

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["open_windows", "predict_tiled", "tile_corners"]

Corners: TypeAlias = tuple[int, int, int, int]  # x0, y0, x1, y1
_SAME = 0.5  # intersection over union, within what two tiles both see, above which two instances are one
_PIECE = 0.7  # share of a cut instance inside another one, above which it is a piece of it
_EDGE = 0.01  # of a tile's side: an instance that ends so near to an inner edge counts as cut by it
_MOST_MASK_BYTES = 1 << 32
_FIELDS = {"pred_boxes", "scores", "pred_classes", "pred_masks", "pred_keypoints", "pred_keypoint_heatmaps"}


def predict_tiled(
    predictor: Predictor, image: Any, tile: int | tuple[int, int], overlap: float, choice: Any, batch_size: int = 1
) -> Outputs:
    """Predict on an image tile by tile; see `Predictor.__call__`.

    Instances of one class from two tiles are one object where they agree within the pixels that both tiles see, or
    where one that a tile's edge cuts lies inside the other. A whole instance stays as it is, and of two whole ones the
    better stays. Pieces that are all cut become one instance: its box and mask are the union of theirs, and its score
    is the best of theirs.

    Args:
        predictor: of a model that finds instances.
        image: see `open_windows`.
        tile: the side of a tile in pixels, or its (height, width).
        overlap: the share of a tile that its neighbour sees as well, from 0 to 0.9.
        choice: a `Choice`.
        batch_size: how many tiles the model runs on at once.

    Returns:
        ``instances`` alone, on the CPU, unless the image fits into one tile: then what the predictor returns for it.

    Raises:
        ConfigError: ``tile`` or ``overlap`` is no such number, or the model finds what is not joined.
        ImageError: ``image`` is no image.
        LitepredError: bitmaps of all instances would take more than 4 GB.
    """
    try:
        height, width = (index(side) for side in (tile if isinstance(tile, Sequence) else (tile, tile)))
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 32 or isinstance(tile, bool):
        raise ConfigError(f"tile is {tile!r}: expected a side in pixels, 32 or more, or (height, width)")
    sides, overlap = (height, width), scalar(overlap)
    if not isinstance(overlap, (int, float)) or not 0 <= overlap <= 0.9:
        raise ConfigError(f"overlap is {overlap!r}: expected a share of the tile from 0 to 0.9")
    size_hw, read = open_windows(image, len(predictor.cfg.MODEL.PIXEL_MEAN), predictor.input_format)
    tiles = list(tile_corners(size_hw, sides, overlap))
    if len(tiles) == 1:
        return predictor(read(tiles[0]), **choice)
    written = [part.mask_format for part in predictor.model.modules() if hasattr(part, "mask_format")]
    mask_format = written[0] if written else None
    if mask_format == "roi":
        raise ConfigError("tile came with mask_format='roi', whose masks cannot be joined: take 'rle' or 'polygon'")
    asked = {} if mask_format is None else {"mask_format": "bitmask"}
    pieces = _Pieces(size_hw)
    waiting = iter(tiles)
    while some := list(islice(waiting, batch_size)):
        inputs: Any = [{**predictor.prepare(read(one)), **asked} for one in some]
        for one, outputs in zip(some, predictor.run(inputs, **choice)):
            pieces.add(one, outputs)
    found = pieces.joined(bool(choice.get("agnostic_nms")), mask_format or "bitmask")
    return {"instances": found[: choice.get("max_detections")]}


def tile_corners(size_hw: tuple[int, int], tile_hw: tuple[int, int], overlap: float) -> Iterator[Corners]:
    """Yield the tiles of an image, row by row; the last of a row and column end where the image does."""

    def starts(length: int, side: int) -> list[int]:
        step = max(1, int(side * (1 - overlap)))
        return [*range(0, max(length - side, 0), step), max(length - side, 0)]

    for y in starts(size_hw[0], tile_hw[0]):
        for x in starts(size_hw[1], tile_hw[1]):
            yield x, y, min(x + tile_hw[1], size_hw[1]), min(y + tile_hw[0], size_hw[0])


def open_windows(
    image: Any, channels: int, input_format: str = "BGR"
) -> tuple[tuple[int, int], Callable[[Corners], np.ndarray]]:
    """Return an image's (height, width), and the function that reads a window of it as a `Predictor` takes it.

    Args:
        image: a handle of rasterio (bands in the order RGB, of which the first are taken); a handle, page or series of
            tifffile (RGB; needs zarr); an array or what is sliced like one, such as ``numpy.memmap``, zarr or h5py,
            (H, W, 3) in BGR order; of these only the windows are read. Or what `Predictor` takes else, such as a path,
            which is read whole.
        channels: how many the model has.
        input_format: their order, "BGR" or "RGB".

    Raises:
        ImageError: it is none of these.
    """
    from_file = partial(_from_file, channels=channels, input_format=input_format)
    if all(hasattr(image, name) for name in ("read", "height", "width", "count")):
        bands = list(range(1, min(image.count, channels) + 1))

        def read_bands(corners: Corners) -> np.ndarray:
            x0, y0, x1, y1 = corners
            return from_file(np.moveaxis(image.read(bands, window=((y0, y1), (x0, x1))), 0, 2))

        return (image.height, image.width), read_bands
    turned = False
    if hasattr(image, "aszarr"):
        opened: Any = package("zarr", "reading windows of a handle of tifffile", "zarr").open(image.aszarr(), mode="r")
        image, turned = opened if hasattr(opened, "shape") else opened["0"], True  # the first level of a pyramid
    elif not hasattr(image, "shape"):
        image = image_to_array(image, channels)
        image = bands_for_array(image, channels, input_format)
    shape = tuple(image.shape)
    if len(shape) not in (2, 3) or not all(shape):
        raise ImageError(f"an image of shape {shape} came: expected (height, width) or (height, width, bands)")

    def read(corners: Corners) -> np.ndarray:
        x0, y0, x1, y1 = corners
        pixels = np.asarray(image[y0:y1, x0:x1])
        return from_file(pixels) if turned else pixels

    return (shape[0], shape[1]), read


def _from_file(pixels: np.ndarray, channels: int, input_format: str) -> np.ndarray:
    """Order the bands of a file, RGB of three, as a predictor takes those of an array; see `Predictor.read`."""
    if pixels.ndim == 3 and channels == 3 and pixels.shape[2] in (3, 4):
        return np.concatenate([pixels[:, :, 2::-1], pixels[:, :, 3:]], axis=2)
    return bands_for_array(pixels, channels, input_format)


@dataclass
class _Mask:
    """A mask in the window that holds it: (h, w) bool, and x, y of its first pixel."""

    window: np.ndarray
    corner: tuple[int, int]

    def united(self, other: _Mask) -> _Mask:
        x, y = (min(pair) for pair in zip(self.corner, other.corner))
        ends = [(m.corner[0] + m.window.shape[1], m.corner[1] + m.window.shape[0]) for m in (self, other)]
        window = np.zeros((max(end[1] for end in ends) - y, max(end[0] for end in ends) - x), bool)
        for mask in (self, other):
            left, top = mask.corner[0] - x, mask.corner[1] - y
            window[top : top + mask.window.shape[0], left : left + mask.window.shape[1]] |= mask.window
        return _Mask(window, (x, y))


class _Pieces:
    """What was found in tiles of an image, to be joined.

    Args:
        size_hw: of the image.
    """

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.size_hw = size_hw
        self.tiles: list[Corners] = []
        self.parts: list[Instances] = []  # of each tile, without masks
        self.masks: list[_Mask] = []
        self.has_masks = False

    def add(self, tile: Corners, outputs: Outputs) -> None:
        """Take what was found in a tile into the image's pixels."""
        if "instances" not in outputs:
            raise ConfigError(f"tile came, but this model finds {', '.join(outputs)} and no instances: leave it out")
        found = outputs["instances"].to("cpu")
        other = found.get_fields().keys() - _FIELDS
        if other or found.pred_boxes.tensor.shape[1] != 4:
            raise ConfigError(f"tile came, but {', '.join(other) or 'rotated boxes'} are not joined: leave it out")
        x, y = tile[:2]
        fields = {name: value for name, value in found.get_fields().items() if name != "pred_masks"}
        fields["pred_boxes"] = Boxes(found.pred_boxes.tensor + found.pred_boxes.tensor.new_tensor([x, y, x, y]))
        if "pred_keypoints" in fields:
            fields["pred_keypoints"] = fields["pred_keypoints"] + fields["pred_keypoints"].new_tensor([x, y, 0])
        part = Instances(self.size_hw, **fields)
        set_origin(part, origin_of(found))
        self.tiles.append(tile)
        self.parts.append(part)
        self.has_masks = found.has("pred_masks")
        if self.has_masks:
            for i in range(len(found)):
                mask = instance_mask(found, i).numpy()
                rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
                y0, y1, x0, x1 = (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) if len(rows) else (0, 0, 0, 0)
                self.masks.append(_Mask(mask[y0:y1, x0:x1].copy(), (x + int(x0), y + int(y0))))

    def joined(self, agnostic: bool, mask_format: str) -> Instances:
        """Return the instances of the whole image, the best first; ``agnostic`` joins those of different classes."""
        found = Instances.cat(self.parts)
        masks = dict(enumerate(self.masks))
        boxes = found.pred_boxes.tensor.clone()
        cut = self._cut()
        same = self._same(cut, agnostic)
        gone: set[int] = set()
        scores = found.scores
        for i in sorted(range(len(found)), key=lambda n: (bool(cut[n]), -float(scores[n]))):  # whole ones first
            if i in gone:
                continue
            taken, coming = {i}, list(same.get(i, ()))
            while coming:
                j = coming.pop()
                if j in gone or j in taken:
                    continue
                taken.add(j)
                gone.add(j)
                if cut[i]:
                    boxes[i] = torch.cat([torch.minimum(boxes[i], boxes[j])[:2], torch.maximum(boxes[i], boxes[j])[2:]])
                    if masks:
                        masks[i] = masks[i].united(masks[j])
                    coming += same.get(j, ())
        kept = [i for i in torch.argsort(-scores, stable=True).tolist() if i not in gone]
        found.pred_boxes = Boxes(boxes)
        result = found[kept]
        if self.has_masks:
            result.pred_masks = self._written([masks[i] for i in kept], mask_format)
        return result

    def _cut(self) -> Tensor:
        """Tell for each instance whether an edge of its tile that is none of the image's cuts it: (M,) bool."""
        height, width = self.size_hw
        cut = []
        for (x0, y0, x1, y1), part in zip(self.tiles, self.parts):
            edges = part.pred_boxes.tensor.new_tensor([x0 or -width, y0 or -height, x1, y1])
            edges[2:] += edges.new_tensor([width * (x1 == width), height * (y1 == height)])  # out of reach
            near = max(2.0, _EDGE * max(x1 - x0, y1 - y0))
            cut.append(((part.pred_boxes.tensor - edges).abs() <= near).any(dim=1))
        return torch.cat(cut)

    def _same(self, cut: Tensor, agnostic: bool) -> dict[int, list[int]]:
        """Find for each instance those of other tiles that are the same object."""
        first = np.cumsum([0, *(len(part) for part in self.parts)])
        same: dict[int, list[int]] = {}
        for b, tile in enumerate(self.tiles):
            for a in reversed(range(b)):
                other = self.tiles[a]
                if other[3] <= tile[1]:  # this row of tiles and all above it end before
                    break
                shared = (*map(max, other[:2], tile[:2]), *map(min, other[2:], tile[2:]))
                if shared[0] >= shared[2] or not len(self.parts[a]) or not len(self.parts[b]):
                    continue
                cut_a, cut_b = cut[first[a] : first[a + 1]], cut[first[b] : first[b + 1]]
                agree = _agree(self.parts[a], self.parts[b], shared, cut_a, cut_b)
                if not agnostic:
                    agree &= self.parts[a].pred_classes[:, None] == self.parts[b].pred_classes
                for i, j in agree.nonzero().tolist():
                    i, j = i + int(first[a]), j + int(first[b])
                    same.setdefault(i, []).append(j)
                    same.setdefault(j, []).append(i)
        return same

    def _written(self, masks: Sequence[_Mask], mask_format: str) -> Any:
        if mask_format == "rle":
            return [mask_to_rle(mask.window, self.size_hw, mask.corner) for mask in masks]
        if mask_format == "polygon":
            return [mask_to_polygons(mask.window, mask.corner) for mask in masks]
        if len(masks) * self.size_hw[0] * self.size_hw[1] > _MOST_MASK_BYTES:
            raise LitepredError(
                f"bitmaps of {len(masks)} instances on {self.size_hw[0]} × {self.size_hw[1]} pixels take too much "
                "memory: build the predictor with mask_format='rle' or 'polygon'"
            )
        bitmaps = torch.zeros(len(masks), *self.size_hw, dtype=torch.bool, device="cpu")
        for bitmap, mask in zip(bitmaps.numpy(), masks):
            (x, y), (height, width) = mask.corner, mask.window.shape
            bitmap[y : y + height, x : x + width] = mask.window
        return bitmaps


def _agree(one: Instances, other: Instances, shared: Sequence[int], cut: Tensor, other_cut: Tensor) -> Tensor:
    """Tell which instances of two tiles are the same object, (N, K) bool, from the window that both tiles see."""
    whole, other_whole = one.pred_boxes, other.pred_boxes
    low, high = (whole.tensor.new_tensor(corner) for corner in (shared[:2], shared[2:]))

    def within(boxes: Boxes) -> Boxes:
        corners = torch.maximum(torch.minimum(boxes.tensor.view(-1, 2, 2), high), low)
        return Boxes(corners.flatten(1))

    seen, other_seen = within(whole), within(other_whole)
    common = pairwise_intersection(seen, other_seen)
    union = seen.area()[:, None] + other_seen.area() - common
    inside = pairwise_intersection(whole, other_whole)
    piece = cut[:, None] & (inside > _PIECE * whole.area()[:, None])
    piece |= other_cut & (inside > _PIECE * other_whole.area())
    return (common > _SAME * union) | piece
