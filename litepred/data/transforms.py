"""Geometry of images: flip, crop, pad, and the same done to coordinates, boxes, polygons and labels.

H × W pixels, C channels, N points or boxes. Coordinates are x y in pixels, where a pixel is one unit wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from ..errors import ImageError

__all__ = [
    "CropTransform",
    "HFlipTransform",
    "NoOpTransform",
    "PadTransform",
    "Transform",
    "TransformList",
    "VFlipTransform",
]

_T = TypeVar("_T")


class Transform:
    """A fixed change of images. Derive from it with `apply_image` and `apply_coords`; the other methods follow."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Change an image (H, W) or (H, W, C)."""
        raise NotImplementedError(f"{type(self).__name__} has no apply_image: define it")

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Change points (N, 2), perhaps in place; returns them."""
        raise NotImplementedError(f"{type(self).__name__} has no apply_coords: define it")

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Change a map of labels (H, W)."""
        return self.apply_image(segmentation)

    def apply_box(self, box: np.ndarray) -> np.ndarray:
        """Return the upright boxes around the changed corners of boxes (N, 4), x1 y1 x2 y2."""
        box = np.asarray(box).reshape(-1, 4)
        corners = self.apply_coords(box[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 2)).reshape(-1, 4, 2)
        return np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)

    def apply_polygons(self, polygons: list[np.ndarray]) -> list[np.ndarray]:
        """Change polygons, each an array of points (K, 2)."""
        return [self.apply_coords(polygon) for polygon in polygons]

    def inverse(self) -> Transform:
        """Return the way back."""
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    @classmethod
    def register_type(cls, data_type: str, func: Callable[..., Any] | None = None) -> Any:
        """Give the class a method ``apply_{data_type}``, which is ``func(transform, data)``; also a decorator."""
        if func is None:
            return lambda decorated: cls.register_type(data_type, decorated) or decorated
        setattr(cls, f"apply_{data_type}", func)
        return None

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({facts})"


class TransformList(Transform):
    """Transforms one after the other; nested lists are joined. Any ``apply_…`` is passed to each of them in turn."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms: list[Transform] = []
        for one in transforms:
            self.transforms += one.transforms if isinstance(one, TransformList) else [one]

    def _apply(self, x: _T, method: str) -> _T:
        for one in self.transforms:
            x = getattr(one, method)(x)
        return x

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("apply_"):
            return lambda x: self._apply(x, name)
        return super().__getattribute__(name)

    def __add__(self, other: Any) -> TransformList:
        return TransformList([self, *(other.transforms if isinstance(other, TransformList) else other)])

    def __radd__(self, other: Any) -> TransformList:
        return TransformList([*other, self])

    def __len__(self) -> int:
        return len(self.transforms)

    def __getitem__(self, index: Any) -> Any:
        return self.transforms[index]

    def inverse(self) -> TransformList:
        """Return the ways back in reverse order."""
        return TransformList([one.inverse() for one in reversed(self.transforms)])


class NoOpTransform(Transform):
    """No change, of any type of data."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("apply_"):
            return lambda x: x
        return super().__getattribute__(name)

    def inverse(self) -> Transform:
        """Return itself."""
        return self


class HFlipTransform(Transform):
    """Exchange left and right of images ``width`` pixels wide."""

    def __init__(self, width: int) -> None:
        self.width = width

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Return a flipped view of an image (H, W) or (H, W, C), or of several, (…, H, W, C)."""
        return np.flip(img, axis=1 if img.ndim <= 3 else -2)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Flip points (N, 2) in place."""
        coords[:, 0] = self.width - coords[:, 0]
        return coords

    def apply_rotated_box(self, boxes: np.ndarray) -> np.ndarray:
        """Flip rotated boxes (N, 5), x y width height angle, in place."""
        boxes[:, 0] = self.width - boxes[:, 0]
        boxes[:, 4] = -boxes[:, 4]
        return boxes

    def inverse(self) -> Transform:
        """Return itself."""
        return self


class VFlipTransform(Transform):
    """Exchange top and bottom of images ``height`` pixels high."""

    def __init__(self, height: int) -> None:
        self.height = height

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Return a flipped view of an image (H, W) or (H, W, C), or of several, (…, H, W, C)."""
        return np.flip(img, axis=0 if img.ndim <= 3 else -3)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Flip points (N, 2) in place."""
        coords[:, 1] = self.height - coords[:, 1]
        return coords

    def inverse(self) -> Transform:
        """Return itself."""
        return self


class CropTransform(Transform):
    """Cut out ``w`` × ``h`` pixels that start at (``x0``, ``y0``).

    Args:
        x0: in pixels.
        y0: in pixels.
        w: in pixels.
        h: in pixels.
        orig_w: width of the whole image, for `inverse`.
        orig_h: its height.
    """

    def __init__(self, x0: int, y0: int, w: int, h: int, orig_w: int | None = None, orig_h: int | None = None) -> None:
        self.x0, self.y0, self.w, self.h, self.orig_w, self.orig_h = x0, y0, w, h, orig_w, orig_h

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Return a view of an image (H, W) or (H, W, C), or of several, (…, H, W, C)."""
        rows, columns = slice(self.y0, self.y0 + self.h), slice(self.x0, self.x0 + self.w)
        return img[rows, columns] if img.ndim <= 3 else img[..., rows, columns, :]

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Shift points (N, 2) in place; they may leave the crop."""
        coords[:, 0] -= self.x0
        coords[:, 1] -= self.y0
        return coords

    def apply_polygons(self, polygons: list[np.ndarray]) -> list[np.ndarray]:
        """Return what of each polygon (K, 2) lies in the crop; one that lies outside is left out."""
        cut = [
            _clip_polygon(np.asarray(polygon, float).reshape(-1, 2) - (self.x0, self.y0), self.w, self.h)
            for polygon in polygons
        ]
        return [polygon for polygon in cut if len(polygon) >= 3]

    def inverse(self) -> Transform:
        """Return the padding that restores the size.

        Raises:
            ImageError: the size of the whole image was not given.
        """
        if self.orig_w is None or self.orig_h is None:
            raise ImageError("the inverse of a CropTransform needs orig_w and orig_h: pass them when it is made")
        right, bottom = self.orig_w - self.x0 - self.w, self.orig_h - self.y0 - self.h
        return PadTransform(self.x0, self.y0, right, bottom, self.w, self.h)


def _clip_polygon(points: np.ndarray, width: float, height: float) -> np.ndarray:
    """Cut a polygon (K, 2) to the rectangle from 0 to (width, height), side by side (Sutherland and Hodgman 1974)."""
    for axis, limit, sign in ((0, 0.0, 1.0), (0, width, -1.0), (1, 0.0, 1.0), (1, height, -1.0)):
        kept: list[np.ndarray] = []
        depth = sign * (points[:, axis] - limit)
        for i in range(len(points)):
            before, here = depth[i - 1], depth[i]
            if (before < 0) != (here < 0):
                share = before / (before - here)
                kept.append(points[i - 1] + share * (points[i] - points[i - 1]))
            if here >= 0:
                kept.append(points[i])
        points = np.array(kept).reshape(-1, 2)
    x, y = points.T
    return points[::-1] if x @ np.roll(y, -1) > y @ np.roll(x, -1) else points  # one sense of rotation for all


class PadTransform(Transform):
    """Add pixels around an image.

    Args:
        x0: columns to the left.
        y0: rows above.
        x1: columns to the right.
        y1: rows below.
        orig_w: width of the image, for `inverse`.
        orig_h: its height.
        pad_value: of the new pixels.
        seg_pad_value: label of the new pixels.
    """

    def __init__(
        self,
        x0: int,
        y0: int,
        x1: int,
        y1: int,
        orig_w: int | None = None,
        orig_h: int | None = None,
        pad_value: float = 0,
        seg_pad_value: int = 0,
    ) -> None:
        self.x0, self.y0, self.x1, self.y1, self.orig_w, self.orig_h = x0, y0, x1, y1, orig_w, orig_h
        self.pad_value, self.seg_pad_value = pad_value, seg_pad_value

    def _pad(self, img: np.ndarray, value: float) -> np.ndarray:
        widths = ((self.y0, self.y1), (self.x0, self.x1), *[(0, 0)] * (img.ndim - 2))
        return np.pad(img, widths, mode="constant", constant_values=value)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Pad an image (H, W) or (H, W, C)."""
        return self._pad(img, self.pad_value)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Pad a map of labels (H, W)."""
        return self._pad(segmentation, self.seg_pad_value)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Shift points (N, 2) in place."""
        coords[:, 0] += self.x0
        coords[:, 1] += self.y0
        return coords

    def inverse(self) -> Transform:
        """Return the crop that takes the new pixels away.

        Raises:
            ImageError: the size of the image was not given.
        """
        if self.orig_w is None or self.orig_h is None:
            raise ImageError("the inverse of a PadTransform needs orig_w and orig_h: pass them when it is made")
        whole = self.orig_w + self.x0 + self.x1, self.orig_h + self.y0 + self.y1
        return CropTransform(self.x0, self.y0, self.orig_w, self.orig_h, *whole)
