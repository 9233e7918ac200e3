"""Find free spots for labels.

C candidate spots, K labels placed so far. All coordinates are in pixels of the picture, boxes x0 y0 x1 y1.
"""

from __future__ import annotations

import cv2
import numpy as np

from .masks import Window

__all__ = ["LabelPlacer", "spots_around", "spots_inside"]

_OVERLAP_COST, _COVER_COST, _BUSY_COST = 20.0, 0.5, 1.0
_EDGE = 40  # a step of brightness that counts as content
_SIDE = 1024  # pixels of the longer side of the map of content, at most
_GRID = 96  # and of a mask in which a label is put


class LabelPlacer:
    """Remembers where labels are and what the picture shows, and puts the next one where it covers the least.

    Args:
        picture: (H, W, 3) uint8, what the labels are not to cover.
    """

    def __init__(self, picture: np.ndarray) -> None:
        self._picture = picture
        self._busy: np.ndarray | None = None
        self._taken = np.zeros((0, 4))  # (K, 4)

    def place(
        self, width: int, height: int, spots: np.ndarray, costs: np.ndarray, box: np.ndarray | None = None
    ) -> tuple[int, int]:
        """Choose a spot and keep it from later labels.

        Args:
            width: of the label.
            height: of the label.
            spots: (C, 2), x, y of top left corners; they are moved inside the picture.
            costs: (C,), how far each is from the best one, about 0 to 1.
            box: (4,), what the label belongs to and is not to hide.

        Returns:
            x, y of the label's top left pixel.
        """
        picture_height, picture_width = self._picture.shape[:2]
        limits = max(picture_width - width, 0), max(picture_height - height, 0)
        spots = np.clip(np.round(spots), 0, limits)
        plates = np.concatenate([spots, np.add(spots, (width, height))], axis=1)  # (C, 4)
        cost = costs + _OVERLAP_COST * _shared(plates, self._taken).sum(1) / (width * height)
        cost += _BUSY_COST * self._content(plates)
        if box is not None:
            area = max(float(np.prod(box[2:] - box[:2])), 1.0)
            cost += _COVER_COST * _shared(plates, box[None])[:, 0] / area
        best = int(cost.argmin())
        self._taken = np.concatenate([self._taken, plates[best : best + 1]])
        return int(spots[best, 0]), int(spots[best, 1])

    def _content(self, plates: np.ndarray) -> np.ndarray:
        """Return the share of each plate under which the picture is not plain, (C,)."""
        height, width = self._picture.shape[:2]
        shrink = max(1.0, max(height, width) / _SIDE)
        if self._busy is None:
            size = max(round(width / shrink), 1), max(round(height / shrink), 1)
            gray = cv2.cvtColor(cv2.resize(self._picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
            edges = cv2.morphologyEx(gray, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > _EDGE
            self._busy = cv2.integral(edges.astype(np.uint8))
        rows, columns = self._busy.shape
        corners = np.round(plates / shrink).astype(int)
        x0, x1 = np.clip(corners[:, 0], 0, columns - 1), np.clip(corners[:, 2], 0, columns - 1)
        y0, y1 = np.clip(corners[:, 1], 0, rows - 1), np.clip(corners[:, 3], 0, rows - 1)
        found = self._busy[y1, x1] - self._busy[y0, x1] - self._busy[y1, x0] + self._busy[y0, x0]
        return found / np.maximum((x1 - x0) * (y1 - y0), 1)


def _shared(plates: np.ndarray, boxes: np.ndarray) -> np.ndarray:
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
    step = -(-max(inside.shape) // _GRID)
    depth = cv2.distanceTransform(np.pad(inside[::step, ::step], 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    order = np.argsort(-depth, axis=None, kind="stable")
    rows, columns = np.unravel_index(order[: -(-depth.size // 2) : -(-depth.size // 128)], depth.shape)
    costs = 1 - depth[rows, columns] / max(depth.max(), 1)
    spots = np.stack([x + columns * step - width / 2, y + rows * step - height / 2], axis=1)
    return spots, costs, float(depth.max()) * step
