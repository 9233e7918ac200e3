"""Changes of images as programs that predict make them: resizing and flipping, and the inputs that they change.

A transform is a fixed change; an augmentation looks at an input and decides on a transform. Changes that are drawn at
random, which training needs, have stand-ins instead. H × W pixels, C channels, N points or boxes, x y in pixels.
"""

from __future__ import annotations

import inspect
from abc import ABC
from collections import UserList
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import chain
from typing import Any

import numpy as np

from ..data import ResizeShortestEdge, ResizeTransform
from ..errors import ImageError

_CHANGED_BY = {"image": "apply_image", "boxes": "apply_box", "sem_seg": "apply_segmentation"}  # of an input


def _with_attributes(one: Any) -> str:
    facts = ", ".join(f"{name}={value!r}" for name, value in vars(one).items() if not name.startswith("_"))
    return f"{type(one).__name__}({facts})"


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

    def inverse(self) -> Transform:
        """Return the transform that undoes this one."""
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    __repr__ = _with_attributes


Transform.register(ResizeTransform)


class TransformList(Transform, UserList):
    """Transforms one after the other; lists within the list are joined. Any ``apply_…`` goes through all of them."""

    def __init__(self, transforms: Iterable[Transform] = ()) -> None:
        parts = [one.data if type(one) is TransformList else [one] for one in transforms]
        self.data = list(chain.from_iterable(parts))

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
    """No change, whatever the type of data: no transforms one after the other."""


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


class AugInput:
    """An image (H, W) or (H, W, C), uint8 or float, with its boxes (N, 4), x1 y1 x2 y2, and its labels (H, W).

    Raises:
        ImageError: the image is of another type or number of dimensions.
    """

    def __init__(
        self, image: np.ndarray, *, boxes: np.ndarray | None = None, sem_seg: np.ndarray | None = None
    ) -> None:
        if image.ndim not in (2, 3) or not (image.dtype == np.uint8 or np.issubdtype(image.dtype, np.floating)):
            raise ImageError(
                f"an array of shape {image.shape} and dtype {image.dtype} is not an image to augment: expected uint8 "
                "or float, (H, W) or (H, W, C)"
            )
        self.image, self.boxes, self.sem_seg = image, boxes, sem_seg

    def transform(self, tfm: Transform) -> None:
        """Replace each attribute by what a transform makes of it."""
        for name, method in _CHANGED_BY.items():
            if getattr(self, name) is not None:
                setattr(self, name, getattr(tfm, method)(getattr(self, name)))

    def apply_augmentations(self, augmentations: Sequence[Augmentation | Transform]) -> TransformList:
        """Apply augmentations in turn, and return the transforms."""
        return AugmentationList(augmentations)(self)


class Augmentation(ABC):  # noqa: B024
    """A policy: derive from it with ``get_transform``, whose parameters name the attributes of the input it looks at.

    A single parameter is the image, however it is called.
    """

    def get_transform(self, *args: Any) -> Transform:
        """Decide on a transform."""
        raise NotImplementedError(f"{type(self).__name__} has no get_transform: define it")

    def __call__(self, aug_input: Any) -> Transform:
        """Transform an `AugInput` in place, and return how.

        Raises:
            AttributeError: the input lacks what the policy looks at.
            TypeError: the policy returns no transform.
        """
        parameters = inspect.signature(self.get_transform).parameters
        names = ["image"] if len(parameters) == 1 else list(parameters)
        transform = self.get_transform(*[getattr(aug_input, name) for name in names])
        if not hasattr(transform, "apply_image"):
            raise TypeError(
                f"{type(self).__name__}.get_transform returned a {type(transform).__name__}: expected a Transform"
            )
        aug_input.transform(transform)
        return transform

    def _init(self, params: dict[str, Any] | None = None) -> None:
        """Keep the parameters of a constructor, its ``locals()``, as attributes."""
        vars(self).update({k: v for k, v in (params or {}).items() if k != "self" and not k.startswith("_")})

    __repr__ = _with_attributes


Augmentation.register(ResizeShortestEdge)


class AugmentationList(Augmentation):
    """Augmentations and transforms one after the other, each looking at what those before it made of the input."""

    def __init__(self, augs: Iterable[Augmentation | Transform]) -> None:
        self.augs = list(augs)
        for one in self.augs:
            if not (callable(one) or hasattr(one, "apply_image")):
                raise AssertionError(f"{one!r} is no augmentation: expected an Augmentation or a Transform")

    def __call__(self, aug_input: Any) -> TransformList:
        """Transform an `AugInput` in place, and return how."""
        done = []
        for one in self.augs:
            if not callable(one):
                aug_input.transform(one)
            done.append(one(aug_input) if callable(one) else one)
        return TransformList(done)


def apply_augmentations(augmentations: Sequence[Augmentation | Transform], inputs: Any) -> tuple[Any, TransformList]:
    """Apply augmentations in turn to an `AugInput` or an image; returns it, changed, and the transforms."""
    aug_input = AugInput(inputs) if isinstance(inputs, np.ndarray) else inputs
    transforms = aug_input.apply_augmentations(augmentations)
    return aug_input.image if isinstance(inputs, np.ndarray) else inputs, transforms


class Resize(Augmentation):
    """Resize to ``shape``, (height, width) or one number for both, by one of Pillow's resampling methods."""

    def __init__(self, shape: int | Sequence[int], interp: int | None = None) -> None:
        self.shape = (shape, shape) if isinstance(shape, int) else tuple(shape)
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> ResizeTransform:  # type: ignore[override]
        """Return the resizing for an array (H, W, …)."""
        return ResizeTransform(image.shape[0], image.shape[1], self.shape[0], self.shape[1], self.interp)
