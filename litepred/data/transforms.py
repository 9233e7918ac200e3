"""Fixed changes of images and of the coordinates in them: flipping, one after the other, and the way back.

H × W pixels, C channels, N points or boxes, x y in pixels.
"""

from __future__ import annotations

import inspect
from abc import ABC
from collections import UserList
from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from itertools import chain
from typing import Any

import numpy as np

__all__ = ["HFlipTransform", "NoOpTransform", "Transform", "TransformList", "VFlipTransform"]


def with_attributes(one: Any) -> str:
    facts = ", ".join(f"{name}={value!r}" for name, value in vars(one).items() if not name.startswith("_"))
    return f"{type(one).__name__}({facts})"


def keep_parameters(one: Any, params: dict[str, Any] | None) -> None:
    vars(one).update({k: v for k, v in (params or {}).items() if k != "self" and not k.startswith("_")})


class Transform(ABC):  # noqa: B024  a subclass may do with some of the methods
    """A fixed change. Derive from it with `apply_image` and `apply_coords`; the other ``apply_…`` follow from them."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Change an image (H, W) or (H, W, C)."""
        raise NotImplementedError(f"{type(self).__name__} has no apply_image: define it")

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Change points (N, 2), perhaps in place, and return them."""
        raise NotImplementedError(f"{type(self).__name__} has no apply_coords: define it")

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Change a map of labels (H, W)."""
        return self.apply_image(segmentation)

    def apply_box(self, box: np.ndarray) -> np.ndarray:
        """Return the upright boxes around the changed corners of boxes (N, 4), x1 y1 x2 y2."""
        xs, ys = np.asarray(box).reshape(-1, 2, 2).transpose(2, 0, 1)  # (N, 2) each
        corners = np.stack((xs[:, [0, 0, 1, 1]], ys[:, [0, 1, 0, 1]]), axis=2)  # (N, 4, 2)
        changed = self.apply_coords(corners.reshape(-1, 2)).reshape(-1, 4, 2)
        return np.hstack((changed.min(axis=1), changed.max(axis=1)))

    def apply_polygons(self, polygons: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Change the points of polygons, (N, 2) each."""
        return [self.apply_coords(polygon) for polygon in polygons]

    def _set_attributes(self, params: dict[str, Any] | None = None) -> None:
        """Keep the parameters of a constructor, its ``locals()``, as attributes."""
        keep_parameters(self, params)

    @classmethod
    def register_type(cls, data_type: str, func: Callable[[Any, Any], Any] | None = None) -> Any:
        """Let transforms of this class change data of a further type, by ``apply_DATA_TYPE``.

        Args:
            data_type: the name of the type, such as "rotated_box".
            func: takes the transform and such data, and returns the changed data.

        Returns:
            ``func``; without it, a decorator for it.

        Raises:
            AssertionError: ``func`` does not take these two.
        """
        if func is None:
            return partial(cls.register_type, data_type)
        if not callable(func) or len(inspect.getfullargspec(func).args) != 2:
            raise AssertionError(f"{func!r} came for {data_type!r}: expected a function of a transform and its data")
        setattr(cls, f"apply_{data_type}", func)
        return func

    def inverse(self) -> Transform:
        """Return the transform that undoes this one."""
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    __repr__ = with_attributes


def _listed(given: Any) -> Iterable[Transform]:
    """Return a list as it is, and anything else as the one thing in a list."""
    return given if isinstance(given, (list, UserList)) else [given]


class TransformList(Transform, UserList):
    """Transforms one after the other; lists within the list are joined. Any ``apply_…`` goes through all of them."""

    def __init__(self, transforms: Iterable[Transform] = ()) -> None:
        parts = [one.data if type(one) is TransformList else [one] for one in transforms]
        self.data = list(chain.from_iterable(parts))

    def __add__(self, other: Any) -> TransformList:
        return TransformList([*self.data, *_listed(other)])

    def __radd__(self, other: Any) -> TransformList:
        return TransformList([*_listed(other), *self.data])

    def __iadd__(self, other: Any) -> TransformList:
        self.data += TransformList(_listed(other)).data
        return self

    @property
    def transforms(self) -> list[Transform]:
        """The transforms, as Detectron2's scripts ask for them."""
        return self.data

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("apply_"):
            return super().__getattribute__(name)
        return lambda data: reduce(lambda changed, one: getattr(one, name)(changed), self.data, data)

    def inverse(self) -> TransformList:
        """Return the inverses in reverse order."""
        return TransformList(one.inverse() for one in reversed(self.data))


class NoOpTransform(TransformList):
    """No change: an empty list of transforms."""


class _Flip(Transform):
    """Exchange the two ends of an axis of images: 0 for top and bottom, 1 for left and right."""

    _axis: int
    _length: int  # of images along the axis, in pixels

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Return a flipped view of an image (H, W) or (H, W, C), or of several, (…, H, W, C)."""
        return np.flip(img, self._axis - 3 if img.ndim > 3 else self._axis)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Flip points (N, 2) in place, and return them."""
        coords[:, 1 - self._axis] = self._length - coords[:, 1 - self._axis]
        return coords

    def inverse(self) -> Transform:
        """Return the flip itself, which undoes itself."""
        return self


class HFlipTransform(_Flip):
    """Exchange left and right of images ``width`` pixels wide."""

    _axis = 1

    def __init__(self, width: int) -> None:
        self.width = self._length = width


class VFlipTransform(_Flip):
    """Exchange top and bottom of images ``height`` pixels high."""

    _axis = 0

    def __init__(self, height: int) -> None:
        self.height = self._length = height
