"""Labels that find a free spot in the picture.

C candidate spots, K labels placed so far. All coordinates are in pixels of the picture, boxes x0 y0 x1 y1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np

from . import paint
from .colors import RGB
from .image import SMALL_SIDE
from .masks import Window

__all__ = ["Labels", "spots_around", "spots_inside", "text_labels"]

SMALLEST_FONT = 11  # pixels
_NARROWEST_FONT = 7  # pixels, for a text that is wider than the picture
_OVERLAP_COST, _COVER_COST, _BUSY_COST = 20.0, 0.5, 1.0
_EDGE = 40  # a step of brightness that counts as content
_CONTENT_SIDE = 1024  # the most pixels of the longer side of the map of content
_MASK_SIDE = 96  # the most pixels of the longer side of a mask in which a label is put


class Labels:
    """The labels of a picture, each put where it covers the least of the picture and of other labels.

    Args:
        canvas: (H, W, 3) uint8, RGB, the picture that labels are painted on. They avoid what it shows now.
        font: path of a TrueType font; Pillow's own by default.

    Attributes:
        plates: what `paint.plate` takes, for each label so far.
    """

    def __init__(self, canvas: np.ndarray, font: str | None = None) -> None:
        self._canvas, self._font = canvas, font
        self._picture = canvas.copy()
        self._taken = np.zeros((0, 4))  # (K, 4)
        self.plates: list[tuple[tuple[int, int], np.ndarray, RGB, RGB]] = []

    def add(
        self, text: str, color: RGB, size: float, box: np.ndarray, window: Window | None = None, beside: bool = True
    ) -> None:
        """Paint a label at ``box`` (4,), or inside the mask in ``window``; leave it out if the picture is too small.

        The plate has the colour, the text is black or white. ``size`` is that of the font, in pixels, and is made
        smaller where the text is wider than the picture. In a picture of less than 240 pixels on a side, a label that
        finds no free place is left out. A label that has no room in the mask goes beside it, or is
        left out when ``beside`` is false.
        """
        room = np.array(self._canvas.shape[1::-1])
        pixels = paint.text_pixels(text, max(round(size), SMALLEST_FONT), self._font)
        if pixels.shape[1] > room[0]:
            smaller = int(size * room[0] / pixels.shape[1])
            pixels = paint.text_pixels(text, max(smaller, _NARROWEST_FONT), self._font)
        height, width = pixels.shape
        if width > room[0] or height > room[1]:
            return
        box = np.clip(box, 0, np.tile(room, 2))
        spots, costs = spots_around(box, width, height)
        if window is not None:
            inner, inner_costs, depth = spots_inside(window, width, height)
            if 2 * depth >= height:
                spots, costs = np.concatenate([inner, spots]), np.concatenate([inner_costs, costs + 1])
            elif not beside:
                return
        before = self._taken
        corner = self.place(width, height, spots, costs, box if window is None else None)
        if min(room) < SMALL_SIDE and not self._is_free(before):
            self._taken = before
            return
        is_light = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140
        self.plates.append((corner, pixels, (0, 0, 0) if is_light else (255, 255, 255), color))
        paint.plate(self._canvas, *self.plates[-1])

    def _is_free(self, before: np.ndarray) -> bool:
        """Tell whether the last label hides no other, and labels leave two thirds of the picture free."""
        areas = (self._taken[:, 2:] - self._taken[:, :2]).prod(1)
        covered = areas.sum() > self._canvas.shape[0] * self._canvas.shape[1] / 3
        return not covered and not _shared_areas(self._taken[-1:], before).any()

    def repaint(self) -> None:
        """Bring all labels in front of what was drawn after them."""
        for plate in self.plates:
            paint.plate(self._canvas, *plate)

    def place(
        self, width: int, height: int, spots: np.ndarray, costs: np.ndarray, box: np.ndarray | None = None
    ) -> tuple[int, int]:
        """Choose a spot for a label, keep it from later ones, and return x, y of the label's top left pixel.

        ``spots`` (C, 2) are such corners, which are moved inside the picture, and ``costs`` (C,) say how much worse
        than the best one each is, about 0 to 1. The label should not hide ``box`` (4,).
        """
        size = np.array([width, height])
        spots = np.clip(np.round(spots), 0, np.maximum(np.array(self._picture.shape[1::-1]) - size, 0))
        plates = np.concatenate([spots, spots + size], axis=1)  # (C, 4)
        cost = costs + _OVERLAP_COST * _shared_areas(plates, self._taken).sum(1) / size.prod()
        cost += _BUSY_COST * self._content(plates)
        if box is not None:
            cost += _COVER_COST * _shared_areas(plates, box[None])[:, 0] / max((box[2:] - box[:2]).prod(), 1.0)
        best = int(cost.argmin())
        self._taken = np.concatenate([self._taken, plates[best : best + 1]])
        return int(spots[best, 0]), int(spots[best, 1])

    @cached_property
    def _edge_counts(self) -> tuple[np.ndarray, float]:
        """Where the picture is not plain, counted from its top left corner on; and how much smaller that map is."""
        height, width = self._picture.shape[:2]
        shrink = max(1.0, max(height, width) / _CONTENT_SIDE)
        size = max(round(width / shrink), 1), max(round(height / shrink), 1)
        gray = cv2.cvtColor(cv2.resize(self._picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        edges = cv2.morphologyEx(gray, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > _EDGE
        return cv2.integral(edges.view(np.uint8)), shrink

    def _content(self, plates: np.ndarray) -> np.ndarray:
        """Return the share of each plate under which the picture is not plain, (C,)."""
        counts, shrink = self._edge_counts
        last = counts.shape[1] - 1, counts.shape[0] - 1
        x0, y0, x1, y1 = np.clip(np.round(plates / shrink).astype(int), 0, last * 2).T
        found = counts[y1, x1] - counts[y0, x1] - counts[y1, x0] + counts[y0, x0]
        return found / np.maximum((x1 - x0) * (y1 - y0), 1)


def text_labels(
    names: Sequence[str] | None, scores: Sequence[float] | None, is_crowd: Sequence[bool] = ()
) -> list[str] | None:
    """Return a label such as "dog 98%" or "person|crowd" for each instance; ``None`` without names and scores."""
    percents = None if scores is None else [f"{score * 100:.0f}%" for score in scores]
    columns = [column for column in (names, percents) if column is not None]
    if not columns:
        return None
    endings = ["|crowd" if crowd else "" for crowd in is_crowd] or [""] * len(columns[0])
    return [" ".join(parts) + ending for *parts, ending in zip(*columns, endings)]


def _shared_areas(plates: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the areas that plates (C, 4) share with boxes (K, 4): (C, K)."""
    low = np.maximum(plates[:, None, :2], boxes[None, :, :2])
    high = np.minimum(plates[:, None, 2:], boxes[None, :, 2:])
    return np.clip(high - low, 0, None).prod(2)


def spots_around(box: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return spots (C, 2) at a box, and their costs (C,): best above it, then inside, below, and at its sides."""
    x0, y0, x1, y1 = box
    left, middle, right = x0, (x0 + x1 - width) / 2, x1 - width
    above, top, centre, bottom, below = y0 - height, y0, (y0 + y1 - height) / 2, y1 - height, y1
    ranked = [
        (0.0, [(left, above)]),
        (0.04, [(left, top), (right, above)]),
        (0.08, [(middle, above), (right, top)]),
        (0.15, [(x1, top), (x0 - width, top), (left, below)]),
        (0.20, [(right, below), (left, bottom), (right, bottom), (x1, bottom), (x0 - width, bottom)]),
        (0.25, [(middle, y) for y in (top, below, bottom, centre)]),
        (0.50, [(x, y) for x in (left, middle, right) for y in (above - height, below + height, top + height)]),
    ]
    spots = [(*spot, cost) for cost, group in ranked for spot in group]
    return np.array(spots)[:, :2], np.array(spots)[:, 2]


def spots_inside(window: Window, width: int, height: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return spots (C, 2) in a mask that is not empty; their costs (C,), less where it is deep; and its depth."""
    x, y, inside = window
    step = -(-max(inside.shape) // _MASK_SIDE)
    depth = cv2.distanceTransform(np.pad(inside[::step, ::step], 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    order = np.argsort(-depth, axis=None, kind="stable")
    rows, columns = np.unravel_index(order[: -(-depth.size // 2) : -(-depth.size // 128)], depth.shape)
    costs = 1 - depth[rows, columns] / max(depth.max(), 1)
    spots = np.stack([x + columns * step - width / 2, y + rows * step - height / 2], axis=1)
    return spots, costs, float(depth.max()) * step
