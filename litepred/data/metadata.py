"""What is known of a data set besides its images: names, colours, numbering."""

from __future__ import annotations

import threading
from collections import UserDict
from collections.abc import Iterable, KeysView, Mapping, Sequence, Set
from enum import Enum
from numbers import Number
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..errors import ConfigError, LitepredError, scalar
from .datasets import BUILTIN_NAMES, builtin_facts

__all__ = [
    "Catalog",
    "Metadata",
    "MetadataCatalog",
    "as_list",
    "as_metadata",
    "as_names",
    "bare_name",
    "class_name",
    "dataset_ids",
    "segments_of",
]

_OLD_NAMES = {
    "class_names": "thing_classes",
    "stuff_class_names": "stuff_classes",
    "dataset_id_to_contiguous_id": "thing_dataset_id_to_contiguous_id",
}
_READING = threading.RLock()


class Metadata(SimpleNamespace):
    """Facts about one data set as plain attributes, ``thing_classes`` and ``stuff_classes`` first of all.

    Reading one that was never set raises ``AttributeError``; setting one to a second, different value is refused with
    ``AssertionError``. The names of old scripts, such as ``class_names``, stand for today's.
    """

    name: str = "N/A"

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self.set(**facts)

    def __getattr__(self, key: str) -> Any:
        if key in _OLD_NAMES:
            return getattr(self, _OLD_NAMES[key])
        if key.startswith("__"):
            raise AttributeError(key)
        known = ", ".join(known for known in self.__dict__ if known != "name")
        raise AttributeError(
            f"the metadata of {self.name!r} have no {key!r}; they have {known or 'nothing'}: "
            f"set it with MetadataCatalog.get({self.name!r}).set({key}=...)"
        )

    def __setattr__(self, key: str, value: Any) -> None:
        key = _OLD_NAMES.get(key, key)
        if key in ("thing_classes", "stuff_classes") and value is not None:
            value = as_names(value, key)
        if key in self.__dict__ and _bare(self.__dict__[key]) != _bare(value):
            raise AssertionError(
                f"{key!r} of the metadata of {self.name!r} is already {self.__dict__[key]!r} and cannot become "
                f"{value!r}: use another name, or MetadataCatalog.remove({self.name!r}) first"
            )
        self.__dict__[key] = value

    def set(self, **facts: Any) -> Metadata:
        """Set several attributes; returns itself."""
        for key, value in facts.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """Return an attribute, or ``default`` where it was never set."""
        return self.__dict__.get(_OLD_NAMES.get(key, key), default)

    def as_dict(self) -> dict[str, Any]:
        """Return all attributes in a new dict."""
        return dict(self.__dict__)


class Catalog(UserDict[str, Any]):
    """A mapping by data set name, the base of Detectron2's two catalogs."""

    def list(self) -> list[str]:
        """Return the names known so far, the well-known data sets' first."""
        return [*self.data]

    def remove(self, name: str) -> None:
        """Forget a data set; it is a KeyError when it is not known."""
        del self.data[name]

    def __repr__(self) -> str:
        return f"{type(self).__name__.lstrip('_')}(names: {', '.join(self.data)})"


class _MetadataCatalog(Catalog):
    """`Metadata` by data set name; those of the well-known data sets are there from the start."""

    def __init__(self) -> None:
        super().__init__()
        self.data.update(dict.fromkeys(BUILTIN_NAMES))  # None: not read from its file yet

    def __getitem__(self, name: str) -> Metadata:
        if self.data[name] is None:
            with _READING:
                if self.data[name] is None:  # no other thread was faster: all get the same object
                    self.data[name] = Metadata(name=name, **builtin_facts(name))
        return self.data[name]

    def get(self, name: str) -> Metadata:  # type: ignore[override]
        """Return the metadata of a data set: always the same object, an empty one for a name not seen before."""
        if not name:
            raise ValueError("a data set's name is empty: expected one as in cfg.DATASETS.TEST")
        if name not in self.data:
            self.data.setdefault(name, Metadata(name=name))
        return self[name]


MetadataCatalog = _MetadataCatalog()


def as_metadata(given: Any) -> Metadata:
    """Return metadata for what a caller gave: metadata, a predictor, a dict of facts, or the names of the classes.

    Raises:
        LitepredError: ``given`` is none of these.
    """
    if isinstance(given, Mapping) and any(str(key).endswith("_classes") for key in given):
        return Metadata(**given)
    if isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
        return Metadata(thing_classes=given)
    found = Metadata() if given is None else given if hasattr(given, "get") else getattr(given, "metadata", None)
    if found is None:
        raise LitepredError(f"{given!r:.60} came as metadata: expected predictor.metadata, or a list of class names")
    return found


def as_names(names: Any, what: str) -> list[str]:
    """Return the names of classes as a list of texts.

    They may come as an array, an index or a dict from the numbers 0, 1, 2 … to names, and be numbers.

    Raises:
        ConfigError: they are neither, or in no order; ``what`` is what the message calls them.
    """
    given = names
    if isinstance(names, Mapping) and {str(key) for key in names} == {str(number) for number in range(len(names))}:
        names = [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
    unordered = isinstance(names, (str, bytes, Mapping)) or (isinstance(names, Set) and not isinstance(names, KeysView))
    if unordered or not isinstance(names, Iterable):
        raise ConfigError(f"{what} is {given!r:.100}: expected a list of names, one for each class in order")
    if isinstance(names, list) and all(type(name) is str for name in names):
        return names
    names = list(names)
    bare = [bare_name(name) for name in names]
    if not all(isinstance(name, (str, Number)) and name == name for name in bare):
        raise ConfigError(f"{what} is {names!r:.100}: expected a text or a number for each class")
    return [str(name) for name in bare]


def bare_name(name: Any) -> Any:
    """Return a name or number as Python has it, where it came as NumPy's or torch's, as bytes or of an enumeration."""
    if isinstance(name, Enum):
        name = name.value
    name = scalar(name)
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def as_list(values: Any) -> list[Any]:
    """Return values, which may have come as an array, tensor or column of a table, as a list: none for ``None``."""
    if values is None or isinstance(values, list):
        return values or []
    return values.tolist() if hasattr(values, "tolist") else [*values]


def _bare(value: Any) -> Any:
    """Return a value with lists in the place of arrays, so that it can be compared."""
    if type(value) in (list, tuple):
        return type(value)(map(_bare, value))
    return value.tolist() if hasattr(value, "tolist") else value


def class_name(metadata: Metadata | None, index: int, kind: str = "thing") -> str:
    """Return the name of a class, ``class_3`` where it is not known; ``kind`` is "thing" or "stuff"."""
    names = as_list(as_metadata(metadata).get(f"{kind}_classes"))
    return names[index] if 0 <= index < len(names) else f"class_{index}"


def dataset_ids(metadata: Metadata | None, kind: str = "thing") -> dict[int, int]:
    """Return the data set's category id for each class of the model; nothing where the metadata does not tell.

    This is the inverse of ``thing_dataset_id_to_contiguous_id``; ``kind`` is "thing" or "stuff".
    """
    known = as_metadata(metadata).get(f"{kind}_dataset_id_to_contiguous_id")
    return {} if known is None else {scalar(label): scalar(dataset_id) for dataset_id, label in known.items()}


def segments_of(
    ids: np.ndarray, segments: Sequence[Mapping[str, Any]] | None, metadata: Metadata | None
) -> Sequence[Mapping[str, Any]]:
    """Return the segments of a panoptic map (H, W), where no list of them came those that its numbers tell.

    These are class · ``metadata.label_divisor`` + instance, or -1 where nothing is.

    Raises:
        LitepredError: there is neither a list nor a ``label_divisor``.
    """
    if segments is not None:
        return segments
    divisor, things = as_metadata(metadata).get("label_divisor"), dataset_ids(metadata)
    if not divisor:
        raise LitepredError("panoptic_seg came without segments_info, which needs metadata with label_divisor")
    numbers = [(number, number // divisor) for number in np.unique(ids).tolist() if number != -1]
    return [{"id": number, "category_id": label, "isthing": label in things} for number, label in numbers]
