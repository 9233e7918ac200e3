"""Axis-aligned boxes of one image, and what they have in common with masks.

There are N or M boxes. A row is x1 y1 x2 y2 in absolute pixels, float32, and a box is x2 - x1 wide, without + 1.
Sizes are (height, width), points are (x, y).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import absent
from ..layers import clip_boxes_to_image

__all__ = ["BoxMode", "Boxes", "Rows", "as_index", "as_numpy", "pairwise_intersection", "pairwise_ioa", "pairwise_iou"]

_Self = TypeVar("_Self", bound="Rows")
_Boxes = TypeVar("_Boxes", bound="Boxes")

_INSTEAD = {
    "numpy": "its .tensor.numpy()",
    "tolist": "its .tensor.tolist()",
    "xyxy": "its .tensor",
    "shape": "its .tensor.shape",
    "cpu": "its .to('cpu')",
    "cuda": "its .to('cuda')",
}


@unique
class BoxMode(IntEnum):
    """The ways to write a box; annotation files hold their numbers.

    ``ABS`` modes are in pixels. ``REL`` modes are in fractions of the image; they have names, but are not converted.
    ``XYWH`` starts at the top left corner, ``XYWHA`` at the centre, with an angle in degrees counter-clockwise.
    """

    XYXY_ABS = 0
    XYWH_ABS = 1
    XYXY_REL = 2
    XYWH_REL = 3
    XYWHA_ABS = 4

    @staticmethod
    def convert(box: Any, from_mode: BoxMode | int, to_mode: BoxMode | int) -> Any:
        """Rewrite one or many boxes in another mode.

        Args:
            box: one box as a list or tuple of 4 or 5 numbers, or an (N, 4) or (N, 5) ndarray or tensor.
            from_mode: the mode that ``box`` is in.
            to_mode: the mode to return.

        Returns:
            The boxes in the type and dtype in which they came: ``box`` itself when the modes are equal, else a new
            object. A rotated box becomes the upright rectangle around it. Floats in a list keep float32 precision.

        Raises:
            AssertionError: for a relative mode.
            NotImplementedError: for a pair of modes without a conversion.
            ValueError: when a box has the wrong number of values.
        """
        if from_mode == to_mode:
            return box
        source, target = BoxMode(from_mode), BoxMode(to_mode)
        if not {source, target}.isdisjoint({BoxMode.XYXY_REL, BoxMode.XYWH_REL}):
            raise AssertionError(
                f"cannot convert {source.name} to {target.name}: only absolute modes are supported, "
                "multiply relative boxes by the image width and height first"
            )
        if isinstance(box, (list, tuple)):
            if len(box) not in (4, 5):
                raise ValueError(
                    f"a box came as a {type(box).__name__} of length {len(box)}: expected 4 or 5 numbers "
                    "(pass many boxes as an ndarray or tensor)"
                )
            return type(box)(_convert(torch.tensor(box, device="cpu"), source, target).tolist())
        if isinstance(box, np.ndarray):
            return _convert(torch.from_numpy(np.array(box, order="C")), source, target).numpy()
        return _convert(box, source, target)


def _convert(box: Tensor, source: BoxMode, target: BoxMode) -> Tensor:
    """Convert boxes in the last dimension of ``box`` into a new tensor of the same dtype."""
    first, size, rest = box[..., :2], box[..., 2:4], box[..., 4:]
    if (source, target) == (BoxMode.XYWH_ABS, BoxMode.XYXY_ABS):
        return torch.cat((first, size + first, rest), dim=-1)
    if (source, target) == (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS):
        return torch.cat((first, size - first, rest), dim=-1)
    if (source, target) == (BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS):
        center = first.double() + size.double() / 2.0
        return torch.cat((center, size.double(), torch.zeros_like(center[..., :1])), dim=-1).to(box.dtype)
    if (source, target) == (BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS):
        if box.shape[-1] != 5:
            raise ValueError(f"XYWHA boxes came with {box.shape[-1]} values each: expected 5 (x, y, w, h, angle)")
        x, y, w, h, degrees = box.double().unbind(-1)
        cos = torch.cos(degrees * math.pi / 180.0).abs()
        sin = torch.sin(degrees * math.pi / 180.0).abs()
        width, height = cos * w + sin * h, cos * h + sin * w
        x1, y1 = x - width / 2.0, y - height / 2.0
        return torch.stack((x1, y1, x1 + width, y1 + height), dim=-1).to(box.dtype)
    raise NotImplementedError(f"no conversion from {source.name} to {target.name}: go through XYWH_ABS or XYXY_ABS")


def as_numpy(values: Any) -> np.ndarray:
    """Return a NumPy array of a tensor on any device, of an object that holds one as ``tensor``, or of a sequence.

    Numbers of 16 bits, of which NumPy lacks some, become float32.
    """
    values = values if isinstance(values, Tensor) else getattr(values, "tensor", values)
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    return np.asarray(values)


def as_tensor(values: Any) -> Tensor:
    """Return a tensor as it is, and what an array or a sequence holds as one on the CPU."""
    if isinstance(values, np.ndarray):  # torch takes no array whose steps go backwards, nor big-endian numbers
        values = np.asarray(values, values.dtype.newbyteorder("="), order="C")
    return values if isinstance(values, Tensor) else torch.as_tensor(values, device="cpu")


def as_index(item: Any) -> Any:
    """Return a single whole number, of NumPy or in a tensor of no dimension, as an int; all else as it came."""
    is_scalar = isinstance(item, np.integer) or (isinstance(item, (np.ndarray, Tensor)) and item.ndim == 0)
    return int(item) if is_scalar and "int" in str(item.dtype) else item


class Rows:
    """A tensor whose first dimension has a row for each of N instances of one image.

    Iterating gives the rows. Indexing gives an object of the same class, which shares storage wherever the indexing of
    a tensor does.
    """

    tensor: Tensor
    _dtype: torch.dtype | None = torch.float32  # what the tensor becomes; None leaves the type that comes

    def __init__(self, tensor: Tensor | np.ndarray | Sequence[Any]) -> None:
        if isinstance(tensor, Tensor):
            self.tensor = tensor.to(self._dtype or tensor.dtype)
        else:
            self.tensor = torch.as_tensor(tensor, dtype=self._dtype, device="cpu")

    @property
    def device(self) -> torch.device:
        """The device of the tensor."""
        return self.tensor.device

    def clone(self: _Self) -> _Self:
        """Return a copy with its own storage."""
        return type(self)(self.tensor.clone())

    def to(self: _Self, *args: Any, **kwargs: Any) -> _Self:
        """Return an object whose tensor went through ``Tensor.to``; the class decides on its dtype."""
        return type(self)(self.tensor.to(*args, **kwargs))

    @classmethod
    def cat(cls: type[_Self], parts: Sequence[_Self]) -> _Self:
        """Join at least one object of this class into a new one, which never shares storage with its parts.

        Raises:
            AssertionError: when the argument is not a list or tuple, is empty, or holds anything else.
        """
        if not isinstance(parts, (list, tuple)) or not parts or not all(isinstance(part, cls) for part in parts):
            name = cls.__name__
            raise AssertionError(
                f"{name}.cat expects a list or tuple of {name} only, at least one: wrap raw tensors in {name} first"
            )
        return cls(torch.cat([part.tensor for part in parts]))

    if not TYPE_CHECKING:  # which could check no attribute otherwise

        def __getattr__(self, name: str) -> NoReturn:
            raise absent(self, name, _INSTEAD)

    def __getitem__(self: _Self, item: Any) -> _Self:
        """Select instances by int (gives one), slice, list, ndarray, or bool or integer tensor."""
        item = as_index(item)
        selected = self.tensor[item][None] if isinstance(item, int) else self.tensor[item]
        if selected.ndim != self.tensor.ndim:
            raise AssertionError(
                f"index {item!r} selects a tensor of shape {tuple(selected.shape)} instead of rows: "
                "use a Python int, a slice, or a one-dimensional list, array or tensor"
            )
        return type(self)(selected)

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.tensor

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self)})"


class Boxes(Rows):
    """N boxes of one image.

    Args:
        tensor: (N, 4) x1 y1 x2 y2 in pixels. A float32 tensor is kept without a copy; another dtype, a list or an
            ndarray becomes float32. Anything without elements becomes (0, 4).

    Attributes:
        tensor: (N, 4) float32.
        layout: the names of the columns. A subclass with another number of columns sets its own.

    Raises:
        AssertionError: for any other shape.
    """

    layout: tuple[str, ...] = ("x1", "y1", "x2", "y2")

    def __init__(self, tensor: Tensor | np.ndarray | Sequence[Any]) -> None:
        super().__init__(tensor)
        columns = len(self.layout)
        if self.tensor.shape[1:] != (columns,) and self.tensor.numel() == 0:
            self.tensor = self.tensor.reshape(-1, columns)
        if self.tensor.ndim != 2 or self.tensor.shape[1] != columns:
            raise AssertionError(
                f"boxes came with shape {tuple(self.tensor.shape)}: expected (N, {columns}), "
                f"{' '.join(self.layout)} per row"
            )

    def to(self: _Self, device: torch.device | str | int) -> _Self:
        """Return the boxes on ``device``; they stay float32, so no dtype is taken."""
        return super().to(device=device)

    def area(self) -> Tensor:
        """Return the areas, (N,) float32, in square pixels; negative when one side is inverted."""
        width, height = self._sides()
        return width * height

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """Return an (N,) bool tensor: whether both sides are longer than ``threshold`` pixels."""
        width, height = self._sides()
        return (width > threshold) & (height > threshold)

    def clip(self, box_size: tuple[int, int]) -> None:
        """Limit x to [0, width] and y to [0, height].

        ``self.tensor`` becomes a new tensor; the old one, which other objects may share, keeps its values.

        Args:
            box_size: (height, width) of the image in pixels.

        Raises:
            AssertionError: when a coordinate is infinite or NaN.
        """
        if not torch.isfinite(self.tensor).all():
            raise AssertionError(
                "cannot clip infinite or NaN boxes: check that the weights fit the model and that the image is finite"
            )
        self.tensor = self.clipped(box_size).tensor

    def clipped(self: _Boxes, box_size: tuple[int, int]) -> _Boxes:
        """Return new boxes, clipped as `clip` does it, but without a look at whether they are finite."""
        return type(self)(clip_boxes_to_image(self.tensor, box_size))

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiply the coordinates in place; objects that share the tensor change with it."""
        self.tensor[:, 0::2] *= scale_x
        self.tensor[:, 1::2] *= scale_y

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> Tensor:
        """Tell which boxes lie inside an image, as (N,) bool.

        Args:
            box_size: (height, width) of the image in pixels.
            boundary_threshold: how many pixels a box may stick out. The right and bottom limits are exclusive.
        """
        height, width = box_size
        x1, y1, x2, y2 = self.tensor.unbind(1)
        starts_inside = (x1 >= -boundary_threshold) & (y1 >= -boundary_threshold)
        return starts_inside & (x2 < width + boundary_threshold) & (y2 < height + boundary_threshold)

    def get_centers(self) -> Tensor:
        """Return the box centres, (N, 2) float32, x y."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    @classmethod
    def cat(cls: type[_Self], parts: Sequence[_Self]) -> _Self:
        """Join boxes of this class into a new object, as `Rows.cat` does; an empty list gives no boxes."""
        return super().cat(parts or [cls([])])

    def _sides(self) -> tuple[Tensor, Tensor]:
        """Return the widths and the heights in pixels, (N,) each."""
        x1, y1, x2, y2 = self.tensor.unbind(1)
        return x2 - x1, y2 - y1

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tensor})"


def pairwise_intersection(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """Return the intersection areas in square pixels, (N, M) float32, of N boxes with M boxes."""
    first, second = boxes1.tensor[:, None], boxes2.tensor  # (N, 1, 4), (M, 4)
    low, high = torch.maximum(first[..., :2], second[:, :2]), torch.minimum(first[..., 2:], second[:, 2:])
    sides = (high - low).clamp(min=0)  # (N, M, 2)
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """Return intersection over union, (N, M) float32 in [0, 1], of N boxes with M boxes; 0 without overlap."""
    intersection = pairwise_intersection(boxes1, boxes2)
    union = boxes1.area()[:, None] + boxes2.area() - intersection
    return torch.where(intersection > 0, intersection / union, torch.zeros_like(intersection))


def pairwise_ioa(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """Return intersection over the area of ``boxes2``, (N, M) float32 in [0, 1]; 0 without overlap."""
    intersection = pairwise_intersection(boxes1, boxes2)
    return torch.where(intersection > 0, intersection / boxes2.area(), torch.zeros_like(intersection))
