"""What models answer: the instances (detections, proposals) of one image, and the dict of all that was found in it."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Tensor

from .. import extensions
from ..errors import absent
from .boxes import Boxes, as_index
from .table import as_text

__all__ = ["Instances", "Origin", "Outputs", "SegmentInfo", "origin_of", "set_origin"]

_INSTEAD = {
    "boxes": "its .pred_boxes",
    "masks": "its .pred_masks",
    "keypoints": "its .pred_keypoints",
    "classes": "its .pred_classes",
    "labels": "its .pred_classes",
    "names": "predictor.metadata.thing_classes",
    "cpu": "its .to('cpu')",
    "cuda": "its .to('cuda')",
    "numpy": "a field's, such as .scores.numpy()",
    "xyxy": "its .pred_boxes.tensor",
    "conf": "its .scores",
}


@dataclass(frozen=True)
class Origin:
    """What a predictor knows of the instances that it returns, for those who look at them.

    Attributes:
        class_names: of the model's classes in order, as far as they are known.
        image: a path; or a weak reference to an image, which may be gone.
    """

    class_names: Sequence[str] = ()
    image: str | weakref.ref[Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:  # a weak reference goes into no other process
        return Origin, (self.class_names, self.image if isinstance(self.image, str) else None)


class Instances:
    """N instances of one image; every field holds one entry per instance.

    Fields are read and set as attributes. A field is anything that has a length; to be moved, indexed and joined along
    with the others it needs ``to``, ``__getitem__`` and ``cat``. Names that begin with an underscore are no fields.

    ``repr()`` is Detectron2's text, all values of all fields, and so is ``str()`` of instances that a program has made.
    Those that a `Predictor` has returned, and selections of them, print as a table of the first 20; a notebook shows a
    table of any, with a picture where their image is known.

    Args:
        image_size: (height, width) in pixels of the image that coordinates refer to.
        **kwargs: initial fields.

    Raises:
        AssertionError: when the fields differ in length.
    """

    # The fields that models set, for type checkers: an instance has those that its model predicts.
    pred_boxes: Boxes
    scores: Tensor
    pred_classes: Tensor
    pred_masks: Any  # (N, H, W) bool, or in the format that the predictor was asked for
    pred_keypoints: Tensor
    pred_keypoint_heatmaps: Tensor
    proposal_boxes: Boxes
    objectness_logits: Tensor
    track_ids: Tensor  # (N,) int64, of videos that are tracked
    _origin: Origin | None = None

    def __init__(self, image_size: tuple[int, int], **kwargs: Any) -> None:
        self._image_size = image_size
        self._fields: dict[str, Any] = {}
        for name, value in kwargs.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels; read-only."""
        return self._image_size

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        elif name == "image_size":
            raise AttributeError("image_size is read-only: build Instances(image_size, **old.get_fields()) instead")
        else:
            self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        # Python calls this for absent attributes only. Pickle and copy ask for some before _fields exists.
        fields = self.__dict__.get("_fields", {})
        if name not in fields:
            if name in _INSTEAD:
                raise absent(self, name, _INSTEAD)
            raise AttributeError(f"Instances has no field {name!r}: its fields are {sorted(fields)}")
        return fields[name]

    def set(self, name: str, value: Any) -> None:
        """Add or replace a field, whose value may be anything that has a length.

        Raises:
            AssertionError: when the length differs from that of the fields that are there.
            TypeError: when the value has no length.
        """
        length = len(value)
        if self._fields and length != len(self):
            raise AssertionError(f"field {name!r} came with length {length}: expected {len(self)}, one per instance")
        self._fields[name] = value

    def has(self, name: str) -> bool:
        """Tell whether there is a field ``name``."""
        return name in self._fields

    def get(self, name: str) -> Any:
        """Return the field ``name``; it is a KeyError when there is none."""
        return self._fields[name]

    def remove(self, name: str) -> None:
        """Delete the field ``name``; it is a KeyError when there is none."""
        del self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """Return the fields by name, in the dict that holds them: changing it changes the instances."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> Instances:
        """Return new instances with each field moved by its ``to(*args, **kwargs)``; fields without it are kept."""
        moved = {k: v.to(*args, **kwargs) if hasattr(v, "to") else v for k, v in self._fields.items()}
        return _build(self, moved)

    @staticmethod
    def cat(instance_lists: Sequence[Instances]) -> Instances:
        """Join instances of one image size, in order; the result has the fields of the first.

        Args:
            instance_lists: at least one ``Instances``; a single one is returned as it is.

        Raises:
            AssertionError: when the list is empty or holds another type, or the image sizes differ.
            KeyError: when a later one lacks a field of the first.
            ValueError: when a field is neither a tensor nor a list, and its type has no ``cat``.
        """
        if not instance_lists or not all(isinstance(instances, Instances) for instances in instance_lists):
            raise AssertionError("Instances.cat expects at least one Instances and no other type")
        first = instance_lists[0]
        if len(instance_lists) == 1:
            return first
        sizes = [instances.image_size for instances in instance_lists]
        if not torch.jit.is_tracing() and any(size != sizes[0] for size in sizes):  # a trace has tensors as sizes
            raise AssertionError(f"Instances.cat got the image sizes {sizes}: they must be equal, join per image")
        return _build(first, {k: _cat_field(k, [i.get(k) for i in instance_lists]) for k in first._fields})

    def __getitem__(self, item: Any) -> Instances:
        """Select instances by int (gives one), slice, or what all fields take: a list, a mask, indices."""
        if isinstance(item, str):
            raise TypeError(f"instances are selected by number or mask; a field is an attribute: instances.{item}")
        item = as_index(item)
        if type(item) is int:
            length = len(self)
            if not -length <= item < length:
                raise IndexError(f"instance {item} was asked for, but there are {length}")
            item = slice(item % length, item % length + 1)
        return _build(self, {k: _select(v, item) for k, v in self._fields.items()})

    def __len__(self) -> int:
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("Instances without fields has no length: set a field first")

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError("Instances cannot be iterated or searched with `in`: use has(name), or index by int")

    def __repr__(self) -> str:
        count, (height, width) = len(self) if self._fields else 0, self._image_size
        counts = f"num_instances={count}, image_height={height}, image_width={width}"
        fields = ", ".join(f"{k}: {v}" for k, v in self._fields.items())
        return f"{type(self).__name__}({counts}, fields=[{fields}])"

    def __str__(self) -> str:
        return repr(self) if self._origin is None else as_text(self, self._origin.class_names) or repr(self)

    def _repr_html_(self) -> str | None:
        """Show a table where a notebook's cell ends in instances, with their picture where the image is known."""
        origin = origin_of(self)
        image = origin.image() if isinstance(origin.image, weakref.ref) else origin.image
        return extensions.satellite("html")(self, origin.class_names, image)


def origin_of(instances: Instances) -> Origin:
    """Return what a predictor knew of instances; of others, an `Origin` that knows nothing."""
    return instances._origin or Origin()


def set_origin(instances: Instances, origin: Origin) -> None:
    """Let instances, and those that are selected from them, know what a predictor knows: they print as a table then."""
    instances._origin = origin


def _select(value: Any, item: Any) -> Any:
    if not isinstance(value, list) or isinstance(item, slice):
        return value[item]
    return [value[i] for i in torch.arange(len(value), device="cpu")[torch.as_tensor(item, device="cpu")].tolist()]


def _build(source: Instances, fields: dict[str, Any]) -> Instances:
    """Make instances of the source's image from a dict, so that a field may have any name (``self`` too)."""
    result = Instances(source.image_size)
    result._origin = source._origin
    for name, value in fields.items():
        result.set(name, value)
    return result


def _cat_field(name: str, values: list[Any]) -> Any:
    """Join the values of one field of several instances."""
    kind = type(values[0])
    if isinstance(values[0], Tensor):
        return torch.cat(values, dim=0)
    if isinstance(values[0], list):
        return list(itertools.chain.from_iterable(values))
    if hasattr(kind, "cat"):
        return kind.cat(values)
    raise ValueError(f"field {name!r} is of type {kind.__name__}: only tensors, lists and types with cat can be joined")


class _EverySegment(TypedDict):
    id: int
    isthing: bool
    category_id: int


class SegmentInfo(_EverySegment, total=False):
    """A segment of a panoptic segmentation.

    Attributes:
        id: its number in the map of segments, from 1.
        isthing: whether it is a thing, or else stuff.
        category_id: its class; things and stuff are numbered apart.
        score: of a thing, 0 to 1.
        instance_id: of a thing, its index in the instances.
        area: of stuff, in pixels.
    """

    score: float
    instance_id: int
    area: int


class Outputs(TypedDict, total=False):
    """What a model finds in an image, in the image's own height and width; each key only if the model finds such.

    Attributes:
        instances: with ``pred_boxes``, ``scores`` and ``pred_classes``; of some models ``pred_masks``,
            ``pred_keypoints`` or ``pred_densepose``.
        sem_seg: logits (C, H, W) of C classes of stuff.
        panoptic_seg: the segment's number for each pixel, (H, W) int32, 0 for none, and a description of each segment.
        proposals: with ``proposal_boxes`` and ``objectness_logits``.
    """

    instances: Instances
    sem_seg: Tensor
    panoptic_seg: tuple[Tensor, list[SegmentInfo]]
    proposals: Instances
