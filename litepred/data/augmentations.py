"""Augmentations: what looks at an input and decides on a `Transform`. Inference needs few of them, and none random.

H × W pixels, C channels, N boxes.
"""

from __future__ import annotations

import inspect
import pprint
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ConfigError, ImageError
from .resampling import ResizeTransform
from .transforms import (
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    Transform,
    TransformList,
    VFlipTransform,
)

__all__ = [
    "AugInput",
    "Augmentation",
    "AugmentationList",
    "FixedSizeCrop",
    "RandomApply",
    "RandomFlip",
    "Resize",
    "ResizeScale",
    "ResizeShortestEdge",
    "apply_augmentations",
]


class Augmentation:
    """A policy: derive from it with ``get_transform``, whose parameters name the attributes of the input it looks at.

    With a single parameter that is the image, however it is called.
    """

    input_args: tuple[str, ...] | None = None

    def get_transform(self, *args: Any) -> Transform:
        """Decide on a transform."""
        raise NotImplementedError(f"{type(self).__name__} has no get_transform: define it")

    def __call__(self, aug_input: Any) -> Transform:
        """Transform an `AugInput` in place, and return how.

        Raises:
            AttributeError: the input lacks what the policy looks at.
            TypeError: the policy takes any number of arguments, or returns no transform.
        """
        if self.input_args is None:
            parameters = inspect.signature(self.get_transform).parameters
            if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values()):
                raise TypeError(f"{type(self).__name__}.get_transform takes any arguments: override __call__ as well")
            self.input_args = ("image",) if len(parameters) == 1 else tuple(parameters)
        for name in self.input_args:
            if not hasattr(aug_input, name):
                raise AttributeError(
                    f"{type(self).__name__}.get_transform needs {name!r}, which the {type(aug_input).__name__} lacks"
                )
        transform = self.get_transform(*[getattr(aug_input, name) for name in self.input_args])
        if not isinstance(transform, Transform):
            raise TypeError(
                f"{type(self).__name__}.get_transform returned a {type(transform).__name__}: expected a Transform"
            )
        aug_input.transform(transform)
        return transform

    def _init(self, params: dict[str, Any] | None = None) -> None:
        for name, value in (params or {}).items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def _rand_range(self, low: float = 1.0, high: float | None = None, size: Any = None) -> Any:
        return np.random.uniform(0 if high is None else low, low if high is None else high, size)

    def __repr__(self) -> str:
        given = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if not hasattr(self, name):
                return object.__repr__(self)
            value = getattr(self, name)
            if parameter.default is not value:
                shown = pprint.pformat(value)
                given.append(f"{name}={shown if len(shown.splitlines()) == 1 else '...'}")
        return f"{type(self).__name__}({', '.join(given)})"


class _Fixed(Augmentation):
    """A transform in the place of a policy."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def get_transform(self, *args: Any) -> Transform:
        return self.transform

    def __call__(self, aug_input: Any) -> Transform:
        aug_input.transform(self.transform)
        return self.transform

    def __repr__(self) -> str:
        return repr(self.transform)


def _as_augmentation(one: Any) -> Augmentation:
    if not isinstance(one, (Transform, Augmentation)):
        raise AssertionError(f"{one!r} is no augmentation: expected an Augmentation or a Transform")
    return one if isinstance(one, Augmentation) else _Fixed(one)


class AugmentationList(Augmentation):
    """Augmentations one after the other, each looking at what those before it made of the input."""

    def __init__(self, augs: Sequence[Augmentation | Transform]) -> None:
        self.augs = [_as_augmentation(one) for one in augs]

    def __call__(self, aug_input: Any) -> TransformList:
        """Transform an `AugInput` in place, and return how."""
        return TransformList([one(aug_input) for one in self.augs])

    def __repr__(self) -> str:
        return f"AugmentationList[{', '.join(map(str, self.augs))}]"


class AugInput:
    """What augmentations look at and transform.

    Args:
        image: (H, W) or (H, W, C), uint8 or float.
        boxes: (N, 4), x1 y1 x2 y2 in pixels.
        sem_seg: (H, W), labels.

    Raises:
        ImageError: the image is of another type or number of dimensions.
    """

    def __init__(
        self, image: np.ndarray, *, boxes: np.ndarray | None = None, sem_seg: np.ndarray | None = None
    ) -> None:
        if (np.issubdtype(image.dtype, np.integer) and image.dtype != np.uint8) or image.ndim not in (2, 3):
            raise ImageError(
                f"an array of shape {image.shape} and dtype {image.dtype} is not an image to augment: expected uint8 "
                "or float, (H, W) or (H, W, C)"
            )
        self.image = image
        self.boxes = boxes
        self.sem_seg = sem_seg

    def transform(self, tfm: Transform) -> None:
        """Replace each attribute by what a transform makes of it."""
        self.image = tfm.apply_image(self.image)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)

    def apply_augmentations(self, augmentations: Sequence[Augmentation | Transform]) -> TransformList:
        """Apply augmentations in turn, and return the transforms."""
        return AugmentationList(augmentations)(self)


def apply_augmentations(augmentations: Sequence[Augmentation | Transform], inputs: Any) -> tuple[Any, TransformList]:
    """Apply augmentations in turn to an `AugInput`, or to an image; returns that, transformed, and the transforms."""
    if isinstance(inputs, np.ndarray):
        wrapped = AugInput(inputs)
        transforms = wrapped.apply_augmentations(augmentations)
        return wrapped.image, transforms
    return inputs, inputs.apply_augmentations(augmentations)


class ResizeShortestEdge(Augmentation):
    """Resize so that the shorter edge has a given length, unless the longer one would exceed its limit.

    Args:
        short_edge_length: in pixels, a number, or several to draw from; 0 leaves images as they are.
        max_size: limit of the longer edge in pixels.
        sample_style: of several lengths, "range" draws between the two, "choice" one of them. Where all are equal, as
            at inference, nothing is drawn.
        interp: Pillow's resampling method; bilinear by default.
    """

    def __init__(
        self,
        short_edge_length: int | Sequence[int],
        max_size: int = 2**31,
        sample_style: str = "range",
        interp: int | None = None,
    ) -> None:
        if sample_style not in ("range", "choice"):
            raise ValueError(f"sample_style is {sample_style!r}: expected 'range' or 'choice'")
        self.is_range = sample_style == "range"
        lengths = tuple(short_edge_length) if isinstance(short_edge_length, Sequence) else (short_edge_length,)
        if not all(isinstance(edge, (int, np.integer)) and edge >= 0 for edge in lengths):
            raise ConfigError(
                f"short_edge_length (INPUT.MIN_SIZE_TEST) is {short_edge_length!r}: expected pixels, or 0 not to resize"
            )
        if not isinstance(max_size, (int, float)) or not max_size >= 1:
            raise ConfigError(f"max_size (INPUT.MAX_SIZE_TEST) is {max_size!r}: expected pixels, 1 or more")
        if self.is_range and len(lengths) > 2:
            raise ValueError(f"short_edge_length is {lengths}: expected the smallest and the largest of a range")
        self.short_edge_length = lengths
        self.max_size = max_size
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> ResizeTransform:
        """Return the resizing for an array (H, W, …)."""
        height, width = image.shape[:2]
        new_height, new_width = height, width
        edge = self._draw_edge()
        if edge:
            new_height, new_width = self.get_output_shape(height, width, edge, self.max_size)
        return ResizeTransform(height, width, new_height, new_width, self.interp)

    def _draw_edge(self) -> int:
        if len(set(self.short_edge_length)) == 1:
            return self.short_edge_length[0]
        if self.is_range:
            return int(np.random.randint(self.short_edge_length[0], self.short_edge_length[1] + 1))
        return int(np.random.choice(self.short_edge_length))

    @staticmethod
    def get_output_shape(oldh: int, oldw: int, short_edge_length: int, max_size: int) -> tuple[int, int]:
        """Return the new (height, width): scaled in two steps, each half rounded up at the end, at least 1."""
        size = short_edge_length * 1.0
        scale = size / min(oldh, oldw)
        height, width = (size, scale * oldw) if oldh < oldw else (scale * oldh, size)
        if max(height, width) > max_size:
            scale = max_size * 1.0 / max(height, width)
            height, width = height * scale, width * scale
        return max(1, int(height + 0.5)), max(1, int(width + 0.5))


class Resize(Augmentation):
    """Resize to ``shape``, (height, width) or one number for both."""

    def __init__(self, shape: int | tuple[int, int], interp: int = Image.Resampling.BILINEAR) -> None:
        self.shape = (shape, shape) if isinstance(shape, int) else tuple(shape)
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """Return the resizing for an array (H, W, …)."""
        height, width = self.shape
        return ResizeTransform(image.shape[0], image.shape[1], height, width, self.interp)


class ResizeScale(Augmentation):
    """Fit the image into ``target_height`` × ``target_width`` pixels times a random factor, keeping its proportions."""

    def __init__(
        self,
        min_scale: float,
        max_scale: float,
        target_height: int,
        target_width: int,
        interp: int = Image.Resampling.BILINEAR,
    ) -> None:
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        """Return the resizing for an array (H, W, …)."""
        size = np.array(image.shape[:2])
        target = np.array([self.target_height, self.target_width])  # type: ignore[attr-defined]
        factor = np.random.uniform(self.min_scale, self.max_scale)  # type: ignore[attr-defined]
        height, width = np.round(size * (target * factor / size).min()).astype(int).tolist()
        return ResizeTransform(image.shape[0], image.shape[1], height, width, self.interp)  # type: ignore[attr-defined]


class FixedSizeCrop(Augmentation):
    """Crop at random what is larger than ``crop_size`` (height, width), and pad at the right and bottom the rest.

    Args:
        crop_size: in pixels.
        pad: whether to pad.
        pad_value: of the new pixels.
        seg_pad_value: label of the new pixels.
    """

    def __init__(
        self, crop_size: tuple[int, int], pad: bool = True, pad_value: float = 128.0, seg_pad_value: int = 255
    ) -> None:
        self.crop_size, self.pad, self.pad_value, self.seg_pad_value = crop_size, pad, pad_value, seg_pad_value

    def get_transform(self, image: np.ndarray) -> TransformList:
        """Return the crop and the padding for an array (H, W, …)."""
        size, target = np.array(image.shape[:2]), np.array(self.crop_size)
        y0, x0 = np.round(np.maximum(size - target, 0) * np.random.uniform(0.0, 1.0)).astype(int).tolist()
        height, width = np.minimum(size, target).tolist()
        below, right = np.maximum(target - size, 0).tolist()
        transforms: list[Transform] = [
            CropTransform(x0, y0, self.crop_size[1], self.crop_size[0], image.shape[1], image.shape[0])
        ]
        if self.pad:
            transforms.append(PadTransform(0, 0, right, below, width, height, self.pad_value, self.seg_pad_value))
        return TransformList(transforms)


class RandomFlip(Augmentation):
    """Flip with the probability ``prob``, either horizontally or vertically."""

    def __init__(self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False) -> None:
        if horizontal == vertical:
            raise ValueError(f"RandomFlip got horizontal={horizontal} and vertical={vertical}: expected one of the two")
        self.prob, self.horizontal, self.vertical = prob, horizontal, vertical

    def get_transform(self, image: np.ndarray) -> Transform:
        """Return a flip for an array (H, W, …), or no change."""
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        return HFlipTransform(image.shape[1]) if self.horizontal else VFlipTransform(image.shape[0])


class RandomApply(Augmentation):
    """Apply an augmentation or a transform with the probability ``prob``."""

    def __init__(self, tfm_or_aug: Augmentation | Transform, prob: float = 0.5) -> None:
        if not 0.0 <= prob <= 1.0:
            raise AssertionError(f"prob is {prob}: expected a number from 0 to 1")
        self.aug = _as_augmentation(tfm_or_aug)
        self.prob = prob

    def get_transform(self, *args: Any) -> Transform:
        """Return the transform, or no change."""
        return self.aug.get_transform(*args) if self._rand_range() < self.prob else NoOpTransform()

    def __call__(self, aug_input: Any) -> Transform:
        """Transform an `AugInput` in place or leave it, and return how."""
        return self.aug(aug_input) if self._rand_range() < self.prob else NoOpTransform()
