"""Labels that find a free spot in the picture.

C candidate spots, K labels placed so far. All coordinates are in pixels of the picture, boxes x0 y0 x1 y1.
"""

from __future__ import annotations

import cv2
import numpy as np

from . import paint
from .colors import RGB
from .masks import Window

__all__ = ["Labels", "spots_around", "spots_inside"]

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
        self._edge_counts: np.ndarray | None = None  # of the picture, summed from its top left corner; made when needed
        self._taken = np.zeros((0, 4))  # (K, 4)
        self.plates: list[tuple[tuple[int, int], np.ndarray, RGB, RGB]] = []

    def add(
        self, text: str, color: RGB, size: float, box: np.ndarray, window: Window | None = None, always: bool = True
    ) -> None:
        """Paint a label at a box, or inside a mask that is wide enough; leave it out if the picture is too small.

        Args:
            text: one line.
            color: of the plate; the text is black or white.
            size: of the font, in pixels; it is made smaller where the text is wider than the picture.
            box: (4,), around what is labelled.
            window: the mask of what is labelled.
            always: whether a label goes beside a mask that has no room for it.
        """
        height, width = self._canvas.shape[:2]
        pixels = paint.text_pixels(text, max(round(size), SMALLEST_FONT), self._font)
        if pixels.shape[1] > width:
            smaller = int(size * width / pixels.shape[1])
            pixels = paint.text_pixels(text, max(smaller, _NARROWEST_FONT), self._font)
        if pixels.shape[1] > width or pixels.shape[0] > height:
            return
        box = np.clip(box, 0, (width, height, width, height))
        spots, costs = spots_around(box, pixels.shape[1], pixels.shape[0])
        if window is not None:
            inner, inner_costs, depth = spots_inside(window, pixels.shape[1], pixels.shape[0])
            if 2 * depth >= pixels.shape[0]:
                spots, costs = np.concatenate([inner, spots]), np.concatenate([inner_costs, costs + 1])
            elif not always:
                return
        corner = self.place(pixels.shape[1], pixels.shape[0], spots, costs, box if window is None else None)
        is_light = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140
        self.plates.append((corner, pixels, (0, 0, 0) if is_light else (255, 255, 255), color))
        paint.plate(self._canvas, *self.plates[-1])

    def repaint(self) -> None:
        """Bring all labels in front of what was drawn after them."""
        for plate in self.plates:
            paint.plate(self._canvas, *plate)

    def place(
        self, width: int, height: int, spots: np.ndarray, costs: np.ndarray, box: np.ndarray | None = None
    ) -> tuple[int, int]:
        """Choose a spot and keep it from later labels.

        Args:
            width: of the label.
            height: of the label.
            spots: (C, 2), x, y of top left corners; they are moved inside the picture.
            costs: (C,), how much worse than the best one each is, about 0 to 1.
            box: (4,), what the label should not hide.

        Returns:
            x, y of the label's top left pixel.
        """
        picture_height, picture_width = self._picture.shape[:2]
        limits = max(picture_width - width, 0), max(picture_height - height, 0)
        spots = np.clip(np.round(spots), 0, limits)
        plates = np.concatenate([spots, np.add(spots, (width, height))], axis=1)  # (C, 4)
        cost = costs + _OVERLAP_COST * _shared_areas(plates, self._taken).sum(1) / (width * height)
        cost += _BUSY_COST * self._content(plates)
        if box is not None:
            area = max(float(np.prod(box[2:] - box[:2])), 1.0)
            cost += _COVER_COST * _shared_areas(plates, box[None])[:, 0] / area
        best = int(cost.argmin())
        self._taken = np.concatenate([self._taken, plates[best : best + 1]])
        return int(spots[best, 0]), int(spots[best, 1])

    def _content(self, plates: np.ndarray) -> np.ndarray:
        """Return the share of each plate under which the picture is not plain, (C,)."""
        height, width = self._picture.shape[:2]
        shrink = max(1.0, max(height, width) / _CONTENT_SIDE)
        if self._edge_counts is None:
            size = max(round(width / shrink), 1), max(round(height / shrink), 1)
            gray = cv2.cvtColor(cv2.resize(self._picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
            edges = cv2.morphologyEx(gray, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > _EDGE
            self._edge_counts = cv2.integral(edges.astype(np.uint8))
        counts = self._edge_counts
        last = counts.shape[1] - 1, counts.shape[0] - 1
        x0, y0, x1, y1 = np.clip(np.round(plates / shrink).astype(int), 0, last * 2).T
        found = counts[y1, x1] - counts[y0, x1] - counts[y1, x0] + counts[y0, x0]
        return found / np.maximum((x1 - x0) * (y1 - y0), 1)


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
