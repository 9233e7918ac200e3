"""Open pickled data without ever running what a file names: arrays, tensors, containers, text and numbers only.

A pickle builds objects by naming functions and calling them. Here a name is looked up in a fixed table and nowhere
else; nothing is imported for it. Array types are stand-ins that check what the file says before numpy sees it.
"""

from __future__ import annotations

import io
import pickle
import re
import threading
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from ..errors import CheckpointError

__all__ = ["load_pickle", "load_torch"]

_PLAIN_DTYPE = re.compile(r"[biufcSU]\d{1,9}")
_REFUSED = re.compile(r"GLOBAL (\S+)")
_LATIN1 = {"latin1", "latin-1", "iso-8859-1"}
_torch_table = threading.Lock()


class _DType:
    """What a file says about an array's element type, believed only if it is a plain number or text type."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = str(code)
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, self.order, *structure = state[:5]
        if any(part is not None for part in structure):
            self.code = "V"

    def resolve(self) -> np.dtype[Any]:
        if not _PLAIN_DTYPE.fullmatch(self.code) or self.order not in ("<", ">", "=", "|"):
            what = "Python objects" if self.code.startswith("O") else f"the element type {self.code!r}"
            raise CheckpointError(f"it holds an array of {what}, but only arrays of plain numbers are read")
        return np.dtype(self.order + self.code)


class _Array(np.ndarray):
    """An array under construction, which takes its state only after a look at every part of it."""

    def __new__(cls) -> _Array:
        return super().__new__(cls, (0,), np.uint8)

    def __setstate__(self, state: Any) -> None:
        *_, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _DType) or not all(type(size) is int and size >= 0 for size in shape):
            raise pickle.UnpicklingError("an array's description is malformed")
        # Resolve first: for an array of Python objects `raw` is a list, and the type is what the message should name.
        resolved = dtype.resolve()
        checked: Any = (1, tuple(shape), resolved, bool(fortran), _as_bytes(raw))
        super().__setstate__(checked)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.asarray(self).view(np.ndarray).__reduce_ex__(protocol)


class _Function:
    """A function that files may call under one name; it takes no state, so that no file can alter it."""

    def __init__(self, name: str, call: Callable[..., Any]) -> None:
        self.__module__, _, self.__name__ = name.rpartition(".")
        self.__qualname__ = self.__name__
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError(f"{self.__module__}.{self.__name__} takes no state")


def _as_bytes(raw: Any) -> bytes:
    if isinstance(raw, str):  # Python 2 pickled bytes as text; the unpickler reads them as latin1
        return raw.encode("latin1")
    if not isinstance(raw, bytes):
        raise pickle.UnpicklingError(f"expected an array's bytes, got {type(raw).__name__}")
    return raw


def _not_callable(*_: object) -> None:
    raise pickle.UnpicklingError("numpy.ndarray is only a name here")


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _from_buffer(buffer: bytes, dtype: _DType, shape: Any, order: str, axes: Any = None) -> np.ndarray[Any, Any]:
    array = np.frombuffer(buffer, dtype.resolve())
    if axes is not None:
        return array.reshape(shape).transpose(axes)
    return array.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: _DType, raw: bytes | str) -> Any:
    return np.frombuffer(_as_bytes(raw), dtype.resolve(), count=1)[0]


def _no_bytes() -> bytes:
    return b""


def _byte_array(raw: bytes | str = b"", *_: object) -> bytearray:
    return bytearray(_as_bytes(raw))


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding.lower() not in _LATIN1:
        raise pickle.UnpicklingError(f"bytes written as {encoding!r} text, expected latin1")
    return text.encode("latin1")


def _storage_from_bytes(raw: bytes) -> Any:
    # torch's own function of this name unpickles without any check.
    return load_torch(io.BytesIO(_as_bytes(raw)))


def _functions(modules: tuple[str, ...], calls: dict[str, Callable[..., Any]]) -> dict[str, _Function]:
    names = {f"{module}.{name}": call for module in modules for name, call in calls.items()}
    return {name: _Function(name, call) for name, call in names.items()}


_ARRAY_FUNCTIONS = {
    # numpy 2's name of the module and numpy 1's: either may read a file of the other's time.
    **_functions(
        ("numpy._core", "numpy.core"),
        {"multiarray._reconstruct": _reconstruct, "multiarray.scalar": _scalar, "numeric._frombuffer": _from_buffer},
    ),
    **_functions(("numpy",), {"ndarray": _not_callable, "dtype": _DType}),
    **_functions(("_codecs",), {"encode": _encode}),
    **_functions(("builtins", "__builtin__"), {"bytes": _no_bytes}),  # of an array without elements
}
_ALLOWED: dict[str, Any] = {
    **_ARRAY_FUNCTIONS,
    **_functions(
        ("builtins", "__builtin__"), {"set": set, "frozenset": frozenset, "bytearray": _byte_array, "complex": complex}
    ),
    **_functions(
        ("torch",),
        {
            "_utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
            "_utils._rebuild_parameter": torch._utils._rebuild_parameter,
            "storage._load_from_bytes": _storage_from_bytes,
        },
    ),
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
}


def _refusal(name: str) -> CheckpointError:
    return CheckpointError(
        f"it asks for {name}, which is not plain data. Reading a checkpoint never runs code, so nothing of it was "
        "loaded. If you trust the file, open it where it was made and save only its weights: "
        "torch.save(model.state_dict(), 'weights.pth')"
    )


# The unpickler written in Python: the one in C sets memory aside for whatever number a damaged file gives an object.
class _Unpickler(pickle._Unpickler):
    def _load_byte_array(self: Any) -> None:
        # As inherited, but reading first: memory is taken for the bytes that are there, not for those announced.
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(size)))

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: _load_byte_array}

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up in the table."""
        if f"{module}.{name}" not in _ALLOWED:
            raise _refusal(f"{module}.{name}")
        return _ALLOWED[f"{module}.{name}"]


def load_pickle(file: BinaryIO) -> Any:
    """Read one plain pickle of any protocol, Python 2's included, whose text and bytes become ``str``.

    Returns:
        The object in it: containers, numbers, text, ``np.ndarray`` (maybe not writable) and CPU tensors.

    Raises:
        CheckpointError: the file names anything else; nothing has run then.
        Exception: the file is damaged, which shows in many ways.
    """
    return _Unpickler(file, encoding="latin1").load()


@contextmanager
def _array_names_for_torch() -> Iterator[None]:
    # The process-wide table is replaced, not extended: numpy's real functions, which other code may have put there
    # under the same names, do not work together with the stand-ins.
    with _torch_table:
        before = list(get_safe_globals())
        clear_safe_globals()
        try:
            add_safe_globals([*_ARRAY_FUNCTIONS.values(), _Array, _DType])
            yield
        finally:
            clear_safe_globals()
            add_safe_globals(before)


def load_torch(file: str | PathLike[str] | BinaryIO, *, mmap: bool = False) -> Any:
    """Read a file of ``torch.save``, zip or legacy, onto the CPU with torch's weights-only reader.

    Args:
        file: path or open binary file.
        mmap: leave the tensors in the file until they are used; only for a path of an uncompressed zip.

    Returns:
        The saved object; numpy arrays and numpy scalars in it are allowed.

    Raises:
        CheckpointError: the file names anything but plain data; nothing has run then.
        Exception: the file is damaged, which shows in many ways.
    """
    try:
        with _array_names_for_torch(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about storage classes, which the caller cannot change
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        named = _REFUSED.search(str(error))
        if named is None:
            raise
        raise _refusal(named[1]) from None
