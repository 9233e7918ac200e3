"""Open pickled data without ever running what a file names: arrays, tensors, containers, text and numbers only.

A pickle builds objects by naming functions and calling them. Here a name is looked up in a fixed table and nowhere
else; nothing is imported for it. Behind each name is a stand-in that checks what the file says before numpy or torch
sees it. A pickle may also repeat parts of itself; how much it may build that way is bounded by its size.
"""

from __future__ import annotations

import io
import math
import mmap
import pickle
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError

__all__ = ["LATIN1", "NESTED_FILE", "Unpickler", "known_name", "load_legacy", "load_pickle", "stored_tensor"]

_MOST_AXES = 64  # of an array of NumPy
_PLAIN_DTYPE = re.compile(r"[biufcSU]\d{1,9}")
LATIN1 = {"latin1", "latin-1", "iso-8859-1"}
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
_KEYS = (str, bytes, int, float, np.number, type(None))
# A file may build this many bytes from parts that it repeats, plus this many times its own size.
_COPIED_FREELY, _COPIES = 10_000_000, 4
NESTED_FILE = "torch.storage._load_from_bytes"  # is called with the bytes of another torch file
_READ_FREELY = 65_536  # bytes that are read at once without a look at how many are left
_MOST_READS = 1_500_000


class _DType:
    """An array's element type as a file describes it; only plain numbers and text are accepted."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code if isinstance(code, str) else ""
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


def _fill(array: np.ndarray[Any, Any], state: Any) -> None:
    """Give an array that was just made its state, after a look at every part of it."""
    *_, shape, dtype, fortran, raw = state
    is_shape = isinstance(shape, (tuple, list)) and len(shape) <= _MOST_AXES
    if not isinstance(dtype, _DType) or not is_shape or not all(type(size) is int and size >= 0 for size in shape):
        raise pickle.UnpicklingError("an array's description is malformed")
    if array.size:  # its memory would be freed, and parts of it may be in use
        raise pickle.UnpicklingError("an array is filled twice")
    # Resolve first: for an array of Python objects `raw` is a list, and the type is what the message should name.
    resolved = dtype.resolve()
    numbers = _as_bytes(raw)
    if math.prod(shape) * resolved.itemsize != len(numbers):  # which NumPy may call a want of memory
        raise pickle.UnpicklingError(f"an array has {len(numbers):,} bytes, which its shape and type do not have")
    checked: Any = (1, tuple(shape), resolved, bool(fortran), numbers)
    array.__setstate__(checked)


def _as_bytes(raw: Any) -> bytes:
    if isinstance(raw, str):  # Python 2 pickled bytes as text; the unpickler reads them as latin1
        return raw.encode("latin1")
    if not isinstance(raw, bytes):
        raise pickle.UnpicklingError(f"expected an array's bytes, got {type(raw).__name__}")
    return raw


def _from_buffer(
    buffer: bytes | bytearray, dtype: _DType, shape: Any, order: str, axes: Any = None
) -> np.ndarray[Any, Any]:
    if not isinstance(buffer, (bytes, bytearray)):
        raise pickle.UnpicklingError(f"expected an array's bytes, got {type(buffer).__name__}")
    array = np.frombuffer(buffer, dtype.resolve())
    if axes is not None:
        return array.reshape(shape).transpose(axes)
    return array.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: _DType, raw: bytes | str) -> Any:
    return np.frombuffer(_as_bytes(raw), dtype.resolve(), count=1)[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding.lower() not in LATIN1:
        raise pickle.UnpicklingError(f"bytes written as {encoding!r} text, expected latin1")
    return text.encode("latin1")


def _checked_keys(keys: Iterable[Any]) -> list[Any]:
    """Return the keys of a dict or set, if they are quick to hash.

    Hashing deeply nested tuples ends in a crash, and a dict of large numbers chosen to collide takes hours.
    """
    listed = list(keys)
    for key in listed:
        if not isinstance(key, _KEYS) or (isinstance(key, int) and abs(key) >> 60):
            raise CheckpointError(
                f"a dict or set in it has a {type(key).__name__} as a key, but only text and numbers below 2**60 are "
                "read there: save its weights alone"
            )
    return listed


def _versions(metadata: object) -> dict[str, int]:
    """Return the version of each module, by its name, that ``state_dict()`` notes beside the tensors."""
    facts = metadata if isinstance(metadata, dict) else {}
    versions = {name: fact.get("version") for name, fact in facts.items() if isinstance(fact, dict)}
    return {name: version for name, version in versions.items() if isinstance(name, str) and type(version) is int}


def _ordered(pairs: list[list[Any]] | None = None) -> OrderedDict[Any, Any]:
    return OrderedDict(zip(_checked_keys(key for key, _ in pairs or ()), (value for _, value in pairs or ())))


def _rebuild_tensor(storage: Tensor, offset: int, size: Any, stride: Any, *rest: Any) -> Tensor:
    dtype = next((one for one in rest if isinstance(one, torch.dtype)), storage.dtype)  # newer files tell it here
    return storage.view(dtype).as_strided(size, stride, offset)  # checks that this lies in the storage


def _rebuild_with_attributes(rebuild: _Call, _type: object, arguments: tuple[Any, ...], _state: object) -> Tensor:
    if rebuild.func not in (_rebuild_tensor, _first):
        raise pickle.UnpicklingError("a tensor made by something else")
    return rebuild(*arguments)


def _first(value: Any, *_: object) -> Any:
    return value


class _Call(partial[Any]):
    """A function that files may call."""


# PyTorch gives most storages the name of an element type, with capitals.
_LIKE_TYPES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Bool")
_STORAGES = {name: getattr(torch, name.lower()) for name in _LIKE_TYPES}
_STORAGES |= {"Char": torch.int8, "Byte": torch.uint8}
_STORAGES |= {"ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "numpy._core.multiarray._reconstruct": lambda *_: np.empty(0, np.uint8),
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": _DType,
    "_codecs.encode": _encode,
    "builtins.bytes": lambda: b"",  # of an array without elements
    "builtins.bytearray": lambda raw=b"", *_: bytearray(_as_bytes(raw)),
    "builtins.set": lambda items: set(_checked_keys(items)),
    "builtins.frozenset": lambda items: frozenset(_checked_keys(items)),
    "builtins.complex": complex,
    "collections.OrderedDict": _ordered,
    "collections.Counter": lambda counts: Counter({**counts}),
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _rebuild_with_attributes,
    NESTED_FILE: lambda raw: load_legacy(io.BytesIO(_as_bytes(raw))),
    "torch.Size": tuple,
    "torch.device": _first,
}
_ALLOWED: dict[str, Any] = {
    **{name: _Call(call) for name, call in _FUNCTIONS.items()},
    **{f"torch.{name}Storage": dtype for name, dtype in _STORAGES.items()},
    "torch.storage.UntypedStorage": torch.uint8,
    **{str(dtype): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)},
    **dict.fromkeys(("numpy.ndarray", "torch.Tensor", "torch.nn.parameter.Parameter")),  # arguments that are ignored
}
# The beginnings of names in other versions of Python, numpy and torch, and what they are here.
_SAME = {"__builtin__": "builtins", "numpy.core": "numpy._core", "torch.cuda": "torch", "torch.tensor": "torch._tensor"}
_OTHER_MODULE = re.compile(rf"^({'|'.join(map(re.escape, _SAME))})(?=\.)")


def known_name(name: str) -> str | None:
    """Return what a name is called in the table of those that may stand in a checkpoint; ``None`` for others."""
    known = _OTHER_MODULE.sub(lambda old: _SAME[old[0]], name)
    return known if known in _ALLOWED else None


def _refusal(name: str) -> CheckpointError:
    if name.endswith(".CfgNode"):
        return CheckpointError(
            f"it holds a pickled config ({name}), and a config is read from YAML only. Where it was made, write "
            "what its dump() returns to config.yaml, and give that file as the config"
        )
    if name.startswith("torch._utils._rebuild_"):
        return CheckpointError(
            f"it holds a sparse, quantized or otherwise special tensor ({name}): expected plain ones"
        )
    return CheckpointError(
        f"it asks for {name}, which is not plain data. Reading a checkpoint never runs code, so nothing of it was "
        "loaded. If you trust the file, open it where it was made and save only its weights: "
        "torch.save(model.state_dict(), 'weights.pth')"
    )


def _keyed(opcode: bytes, keys: slice, container: type = object) -> dict[int, Callable[[Any], None]]:
    """Put a check before an inherited step: of the keys on the stack, and of the container that the items go into."""
    step = pickle._Unpickler.dispatch[opcode[0]]

    def checked(unpickler: Any) -> None:
        _checked_keys(unpickler.stack[keys])
        target = unpickler.stack[-3] if opcode == pickle.SETITEM else (unpickler.metastack[-1] or [None])[-1]
        if not isinstance(target, container):
            raise pickle.UnpicklingError(f"items for a {type(target).__name__}")
        step(unpickler)

    return {opcode[0]: checked}


# It derives from the unpickler that is written in Python. The one in C reserves as much memory as a damaged file asks
# for, and its steps cannot be replaced.
class Unpickler(pickle._Unpickler):
    """A reader of plain data: what `load_pickle` says."""

    def __init__(self, stream: BinaryIO, storage: Callable[[torch.dtype, str, int], Tensor] | None = None) -> None:
        start, end, reads = stream.tell(), _size(stream), 0

        def read(size: int) -> bytes:
            nonlocal reads
            reads += 1
            if reads > _MOST_READS:  # a byte may ask for a whole dict
                raise CheckpointError(f"it has more than {_MOST_READS:,} parts, which no weights do")
            # Memory is taken for the bytes that are there, not for those announced.
            return stream.read(size if size < _READ_FREELY else min(size, end - stream.tell()))

        def readline() -> bytes:
            line = stream.readline()
            if not line.endswith(b"\n"):  # the rest of a name or a number is missing
                raise EOFError("it ends within a line")
            return line

        super().__init__(SimpleNamespace(read=read, readline=readline), encoding="latin1")
        self._storage = storage
        self._storages: dict[str, Tensor] = {}
        self._budget = _COPIED_FREELY + _COPIES * (end - start)

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up in the table."""
        known = known_name(f"{module}.{name}")
        # Torch files have no other torch files in them: one inside the other, they would add up.
        if known is None or (self._storage and known == NESTED_FILE):
            raise _refusal(f"{module}.{name}")
        return _ALLOWED[known]

    def persistent_load(self, pid: Any) -> Tensor:
        """Return the storage that a tensor of a torch file refers to, as a tensor of one dimension."""
        kind, dtype, key, _location, numel, *view = pid  # a view is of PyTorch before 1.0
        expected = kind == "storage" and isinstance(dtype, torch.dtype) and isinstance(key, str) and type(numel) is int
        if self._storage is None or not expected or view not in ([], [None]):
            raise pickle.UnpicklingError("a reference that is not to a tensor's numbers")
        if key not in self._storages:
            self._storages[key] = self._storage(dtype, key, numel)
        return self._storages[key].view(dtype)

    def _spend(self, parts: Sequence[Any]) -> None:
        for part in parts:
            if isinstance(part, (str, bytes, list, dict)):
                self._budget -= len(part) * (1 if isinstance(part, (str, bytes)) else 64)
        if self._budget < 0:
            raise pickle.UnpicklingError("it repeats parts of itself too often")

    def _load_reduce(self: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Call):
            raise pickle.UnpicklingError("a call of what is no function")
        self._spend(arguments)
        self.append(function(*arguments))

    def _load_build(self: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, dict):  # of a state dict's attributes, its modules' versions alone are kept
            if isinstance(target, OrderedDict) and isinstance(state, dict):
                target.versions = _versions(state.get("_metadata"))  # type: ignore[attr-defined]
            return
        if not isinstance(target, (np.ndarray, _DType)):
            raise pickle.UnpicklingError(f"a state for a {type(target).__name__}")
        self._spend(state)
        if isinstance(target, np.ndarray):
            _fill(target, state)
        else:
            target.__setstate__(state)

    def _load_object(self: Any, *_: object) -> None:
        raise pickle.UnpicklingError("an object of a class")

    _instantiate = _load_object

    def _load_frame(self: Any) -> None:
        self.read(8)  # the frame's length, which is not needed: its content is read like the rest

    def _load_byte_array(self: Any) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.REDUCE[0]: _load_reduce,
        pickle.BUILD[0]: _load_build,
        pickle.NEWOBJ[0]: _load_object,
        pickle.NEWOBJ_EX[0]: _load_object,
        pickle.FRAME[0]: _load_frame,
        pickle.BYTEARRAY8[0]: _load_byte_array,
        **_keyed(pickle.SETITEM, slice(-2, -1), dict),
        **_keyed(pickle.SETITEMS, slice(0, None, 2), dict),
        **_keyed(pickle.ADDITEMS, slice(None), set),
        **_keyed(pickle.DICT, slice(0, None, 2)),
        **_keyed(pickle.FROZENSET, slice(None)),
    }


def load_pickle(stream: BinaryIO, storage: Callable[[torch.dtype, str, int], Tensor] | None = None) -> Any:
    """Read a plain pickle of any protocol from where a file stands.

    ``storage(dtype, key, numel)`` returns the numbers of a torch file's tensors. What comes back is made of containers,
    numbers, text, ``np.ndarray`` (some not writable) and CPU tensors. Text and bytes of Python 2 become ``str``.

    Raises:
        CheckpointError: the file names anything else; no code of it has run.
        Exception: of any kind, where the file is damaged.
    """
    return Unpickler(stream, storage).load()


def stored_tensor(buffer: bytearray | mmap.mmap, dtype: torch.dtype, numel: int) -> Tensor:
    """Return the first ``numel`` little-endian numbers of a buffer as a tensor, which shares its memory.

    Raises:
        UnpicklingError: there are fewer bytes.
    """
    size = numel * dtype.itemsize
    if not 0 <= size <= len(buffer):
        raise pickle.UnpicklingError(f"a tensor of {size:,} bytes where there are {len(buffer):,}")
    return torch.frombuffer(buffer, dtype=dtype, count=numel) if numel else torch.empty(0, dtype=dtype, device="cpu")


def load_legacy(stream: BinaryIO) -> Any:
    """Read what ``torch.save`` wrote before it wrote zip archives: pickles, then each storage's length and bytes.

    Raises:
        CheckpointError: as for `load_pickle`.
        Exception: of any kind, where the file is damaged.
    """
    numbers: dict[str, Tensor] = {}
    left = _size(stream)

    def storage(dtype: torch.dtype, key: str, numel: int) -> Tensor:
        nonlocal left
        left -= numel * dtype.itemsize
        if left < 0 or numel < 0:
            raise pickle.UnpicklingError("it announces more numbers than there are")
        numbers[key] = torch.empty(numel, dtype=dtype, device="cpu")
        return numbers[key]

    # The tensors come before the numbers that they are made of, which fill the storages afterwards.
    read = partial(load_pickle, stream, storage)
    if (read(), read()) != (_LEGACY_MAGIC, _LEGACY_VERSION):
        raise pickle.UnpicklingError("not what torch.save writes")
    if not read()["little_endian"]:
        raise CheckpointError("it was written on a big-endian machine, and its numbers are not read")
    content, keys = read(), _checked_keys(read())
    if set(keys) != set(numbers):
        raise pickle.UnpicklingError("its tensors and its numbers do not belong together")
    for key in keys:
        count, target = int.from_bytes(stream.read(8), "little"), numbers[key].view(torch.uint8).numpy()
        if count != len(numbers[key]) or stream.readinto(target) != len(target):  # type: ignore[attr-defined]
            raise pickle.UnpicklingError("it has other numbers than it announces")
    return content


def _size(stream: BinaryIO) -> int:
    here = stream.tell()
    size = stream.seek(0, io.SEEK_END)
    stream.seek(here)
    return size
