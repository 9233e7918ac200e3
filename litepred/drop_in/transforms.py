"""Augmentations, and the inputs that they change.

An augmentation looks at an input and decides on a transform, see `litepred.data.transforms`. Changes that are drawn at
random, which training needs, have stand-ins instead. H × W pixels, C channels, N points or boxes, x y in pixels.
"""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..data import ResizeShortestEdge, ResizeTransform
from ..data.transforms import Transform, TransformList, keep_parameters, with_attributes
from ..errors import ImageError

_CHANGED_BY = {"image": "apply_image", "boxes": "apply_box", "sem_seg": "apply_segmentation"}  # of an input


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

    A single parameter is the image, however it is called. ``input_args`` names the attributes instead, if it is set.
    """

    input_args: Sequence[str] | None = None

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
        names = self.input_args or (["image"] if len(parameters) == 1 else list(parameters))
        transform = self.get_transform(*[getattr(aug_input, name) for name in names])
        if not hasattr(transform, "apply_image"):
            raise TypeError(
                f"{type(self).__name__}.get_transform returned a {type(transform).__name__}: expected a Transform"
            )
        aug_input.transform(transform)
        return transform

    def _init(self, params: dict[str, Any] | None = None) -> None:
        """Keep the parameters of a constructor, its ``locals()``, as attributes."""
        keep_parameters(self, params)

    __repr__ = with_attributes


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

    def get_transform(self, image: np.ndarray) -> ResizeTransform:
        """Return the resizing for an array (H, W, …)."""
        return ResizeTransform(image.shape[0], image.shape[1], self.shape[0], self.shape[1], self.interp)
