"""Read checkpoint files of any kind: the first bytes tell the kind, not the name, and no code in the file ever runs."""

from __future__ import annotations

import errno
import io
import json
import logging
import math
import mmap
import os
import re
import struct
import tarfile
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, LitepredError, is_out_of_memory
from ..files import as_stored, is_address, read_rows
from .bundle import Checkpoint
from .download import download
from .naming import CAFFE2, find_state, from_caffe2, split_query, unwrapped
from .unpickler import load_legacy, load_pickle, stored_tensor

__all__ = [
    "find_checkpoint",
    "find_file",
    "is_safetensors",
    "is_tar",
    "kind_of_pickle",
    "read_checkpoint",
    "to_tensor",
]

_HEAD_BYTES = 512
_SAFETENSORS_HEADER_MAX = 100_000_000  # the format's own limit
_HEADER_READ_MAX = 10_000_000
# A state dict may have this many bytes, plus this many times its file's.
_EXPANDED_FREELY, _EXPANSION = 100_000_000, 10
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_TEXT_PICKLE = re.compile(rb"c[\w.]+\r?\n[\w.]+\r?\n|\(([dl]p\d|d[VS]|S['\"]|V)|[}\]][q(.]")
_LOCAL_QUERY = re.compile(r"((dl|raw|download)=\w*|matching_heuristics=False)(&|$)")
_LARGE = 1 << 20  # bytes: what is larger gets memory that goes back to the system as soon as it is free
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
_logger = logging.getLogger(__name__)
_SAFETENSORS = {  # element types by their names in the format
    **{f"I{bits}": getattr(torch, f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": getattr(torch, f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"F{bits}": getattr(torch, f"float{bits}") for bits in (16, 32, 64)},
    **{"BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2},
    **{"BOOL": torch.bool, "C64": torch.complex64},
}
_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")

# How files start (in letters of either case) that people hand over instead of a checkpoint, and what to do about them.
_OTHER_KINDS = [
    (re.compile(pattern.encode(), re.DOTALL | re.IGNORECASE), message)
    for pattern, message in read_rows(Path(__file__).parent / "other_kinds.txt")
]


class _MissingFileError(CheckpointError, FileNotFoundError):
    """There is no such checkpoint file."""


def read_checkpoint(path: str | PathLike[str], *, numbers: bool = True, own: Collection[str] = ()) -> Checkpoint:
    """Read a checkpoint of any supported kind, safely.

    Supported are safetensors files, files of ``torch.save`` (zip and legacy), and pickled dicts of arrays as in
    Detectron2's and Detectron1's model zoos (all protocols, Python 2 included). The name's ending plays no part. Where
    the state dict is found in the file is told at `find_state`; names of Caffe2 are changed as `from_caffe2` tells.

    All tensors are in memory afterwards: no file is left open, and no later change of the file changes a tensor.

    Args:
        path: of a file; or its address (see `download`), which is downloaded unless it is in the cache.
            ``?matching_heuristics=True`` at the end asks for `Checkpoint.matching_heuristics`, and ``?prefix=teacher``
            for one of several models in it (see `litepred.checkpoint.naming.unwrapping`). That, and what is left
            of the address that a file came from, such as ``?dl=1``, is no part of a file's name, unless there is a
            file of the whole name.
        numbers: read the tensors' numbers, too. Without them, tensors of safetensors files and of those of PyTorch 1.6
            or newer are on the device ``meta``, and reading a file costs next to nothing.
        own: what the names of the model that is to be loaded have before ``backbone.`` (see `unwrapped`).

    Raises:
        CheckpointError: there is no such file (then also a ``FileNotFoundError``), it cannot be downloaded, is of
            another kind, damaged, names code, or holds no state dict.
    """
    file, kind, heuristics, chosen = find_checkpoint(path)
    _logger.info("Reading the checkpoint %s", file)
    size = 0
    try:
        size = file.stat().st_size
        data, header = _read(file, kind, numbers)
        found = find_state(data, chosen)
        tensors = _tensors(found.model, _EXPANDED_FREELY + _EXPANSION * size)
        is_entry = data is not found.model and chosen in data
        found = unwrapped(replace(found, model=tensors), chosen, own, is_entry)
        model = found.model
        if found.author == CAFFE2 and found.matching_heuristics:
            model = from_caffe2(model)
    except CheckpointError as error:
        raise CheckpointError(f"{file} cannot be loaded: {error}") from error.__cause__
    except Exception as error:  # a damaged file can fail at any byte, in as many ways as its reader has steps
        if is_out_of_memory(error):
            raise
        if isinstance(error, OSError) and error.strerror and error.errno != errno.EINVAL:  # a place that there is not
            raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no details'}"
        raise CheckpointError(
            f"{file} is cut short or damaged: it starts like a {kind} checkpoint but its {size:,} bytes cannot be "
            f"read to the end ({reason[:300]}). Download or copy it again"
        ) from error
    heuristics = heuristics or found.matching_heuristics
    return replace(
        found,
        model=model,
        name=str(file),
        header=header,
        format=kind,
        matching_heuristics=heuristics,
    )


def find_checkpoint(path: str | PathLike[str]) -> tuple[Path, str, bool, str]:
    """Return the file that is meant, its format, and what else `find_file` tells.

    Raises:
        CheckpointError: as for `read_checkpoint`; the file is not read beyond its first bytes.
    """
    file, heuristics, chosen = find_file(path)
    with _telling(file):
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    return file, _kind(file, head, size), heuristics, chosen


def find_file(path: str | PathLike[str]) -> tuple[Path, bool, str]:
    """Return the file that is meant, whether ``?matching_heuristics=True`` was asked for, and what ``?prefix=`` chose.

    Raises:
        CheckpointError: there is none, its folder cannot be looked into, or it cannot be downloaded.
    """
    with _telling(path):
        return _local_file(os.fspath(path))


@contextmanager
def _telling(path: str | PathLike[str]) -> Iterator[None]:
    try:
        yield
    except LitepredError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def is_tar(head: bytes) -> bool:
    """Tell by its first 512 bytes a tar archive of any kind, as old as it may be, from others."""
    try:
        return bool(tarfile.TarInfo.frombuf(head, "latin1", "strict"))
    except tarfile.TarError:
        return False


def kind_of_pickle(head: bytes) -> str:
    """Tell by its first bytes the pickle of an old file of torch.save from others."""
    return "torch-legacy" if _LEGACY_MAGIC in head[:40] else "pickle"


def is_safetensors(path: str | PathLike[str]) -> bool:
    """Tell by its first bytes whether a path leads to a safetensors file, whole or not."""
    with suppress(OSError):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return _starts_safetensors(file.read(9))
    return False


def _starts_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _SAFETENSORS_HEADER_MAX


def to_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Turn an array into a tensor of the same shape and type, which shares its memory where possible.

    Raises:
        CheckpointError: for an element type that weights do not have, such as text.
    """
    if array.dtype.name not in _DTYPES:
        raise CheckpointError(f"an array of type {array.dtype} is not weights: expected one of {', '.join(_DTYPES)}")
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W", "A"]))


def _local_file(name: str) -> tuple[Path, bool, str]:
    text, heuristics, chosen = split_query(name)
    if is_address(name):
        return download(text), heuristics, chosen
    given = Path(as_stored(name))
    bare, _, query = text.partition("?")
    for file, tail in ((given, ""), (Path(as_stored(bare)), query)):
        if file.is_file():
            if _LOCAL_QUERY.sub("", tail):
                raise CheckpointError(
                    f"{given} ends in the query {tail!r}: expected the plain path {file}, or it with "
                    "?matching_heuristics=True"
                )
            return (file, False, "") if file == given else (file, heuristics, chosen)
        if file.is_dir():
            inside = sorted(entry.name for entry in file.iterdir() if entry.suffix in (".pth", ".pkl", ".safetensors"))
            hint = f", such as {file / inside[0]}" if inside else ""
            raise CheckpointError(f"{file} is a directory: expected a checkpoint file{hint}")
    raise _MissingFileError(f"there is no checkpoint file {given}: check the path (current directory: {Path.cwd()})")


def _kind(file: Path, head: bytes, size: int) -> str:
    """Name the file's format, or say what it is instead."""
    if not head:
        raise CheckpointError(f"{file} is empty (0 bytes): the download or copy failed, get it again")
    if is_tar(head):
        head = bytes(257) + b"ustar"  # as the newer ones say it
    if _starts_safetensors(head):
        header_size = int.from_bytes(head[:8], "little")
        if 8 + header_size > size:
            raise CheckpointError(
                f"{file} is cut short: its safetensors header alone needs {8 + header_size:,} bytes, but the file has "
                f"{size:,}. Download or copy it again"
            )
        return "safetensors"
    for pattern, message in _OTHER_KINDS:
        if pattern.match(head):
            raise CheckpointError(f"{file} {message}")
    if head.startswith(b"PK"):
        return "torch"
    if head[0] == 0x80 and len(head) > 1 and head[1] <= 5:
        return kind_of_pickle(head)
    if _TEXT_PICKLE.match(head):
        return "pickle"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head):
        line = head.decode("utf-8", "replace").strip().splitlines() or ["only blanks"]
        raise CheckpointError(
            f"{file} is a text file (it starts {line[0][:60]!r}), such as a config: expected the weights, a .pth, .pkl "
            "or .safetensors file"
        )
    raise CheckpointError(
        f"{file} is no known kind of checkpoint (first bytes {head[:8].hex(' ')}): expected what torch.save, pickle or "
        "safetensors writes"
    )


def _read(file: Path, kind: str, numbers: bool) -> tuple[Any, dict[str, str]]:
    """Return what a file of a known format holds, and the texts in its header."""
    if kind == "safetensors":
        return _read_safetensors(file, numbers)
    if kind == "torch":
        return _read_zip(file, numbers), {}
    with file.open("rb") as stream:
        return (load_legacy if kind == "torch-legacy" else load_pickle)(stream), {}


def _read_safetensors(file: Path, numbers: bool) -> tuple[dict[str, Any], dict[str, str]]:
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > _HEADER_READ_MAX:
            raise CheckpointError(f"its header has {size:,} bytes, more than any that is read ({_HEADER_READ_MAX:,})")
        entries = json.loads(stream.read(size).decode(), object_pairs_hook=_without_duplicates)
        header: dict[str, str] = entries.pop("__metadata__", None) or {}
        if not all(isinstance(text, str) for text in header.values()):
            raise ValueError("the texts in its header are none")
        length = stream.seek(0, os.SEEK_END) - 8 - size
        parts = sorted(entries.items(), key=lambda item: item[1]["data_offsets"])
        place = 0  # the format has neither gaps nor parts that share bytes
        for key, entry in parts:
            start, end = entry["data_offsets"]
            shape, expected = entry["shape"], _SAFETENSORS[entry["dtype"]].itemsize
            if not all(type(number) is int and number >= 0 for number in (start, end, *shape)):
                raise ValueError(f"the place or shape of {key} is none")
            if start != place or end - start != math.prod(shape) * expected:
                raise ValueError(f"{key} has the bytes {start:,} to {end:,} for the shape {tuple(shape)}")
            place = end
        if place != length:
            raise ValueError(f"its tensors have {place:,} bytes where there are {length:,}")
        stream.seek(8 + size)
        tensors = {}
        for key, entry in parts:
            dtype, number = _SAFETENSORS[entry["dtype"]], math.prod(entry["shape"])
            if numbers:
                data = _exactly(stream, number * dtype.itemsize)
                tensors[key] = stored_tensor(data, dtype, number).reshape(entry["shape"])
            else:
                tensors[key] = torch.empty(entry["shape"], dtype=dtype, device="meta")
    extra = {key: _json_or_text(value) for key, value in header.items() if (key, value) != ("format", "pt")}
    return {**extra, "model": tensors}, header


def _exactly(stream: BinaryIO, size: int) -> bytearray | mmap.mmap:
    """Read so many bytes, or fail: the file is read rather than mapped, so that it may be cut short meanwhile."""
    data = bytearray(size) if size < _LARGE else mmap.mmap(-1, size, **_PRIVATE)
    if stream.readinto(data) < size:  # type: ignore[attr-defined]
        raise EOFError(f"it ends before {size:,} bytes that it had were read")
    return data


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return dict(pairs)


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _read_zip(file: Path, numbers: bool) -> Any:
    with file.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        size = left = stream.seek(0, os.SEEK_END)
        entries = {entry.filename.casefold(): entry for entry in archive.infolist()}  # as PyTorch looks for them
        pickles = [name for name in entries if name.rpartition("/")[2] == "data.pkl"]
        if len(entries) < len(archive.infolist()) or len(pickles) > 1:
            raise CheckpointError("it is a zip archive with two entries of one name, so that readers differ about it")
        if any(name.endswith("constants.pkl") or "/code/" in name for name in entries):
            raise CheckpointError(
                "it is a TorchScript archive (a compiled program, from torch.jit.save), not a state dict. Save the "
                "weights of the model that it was made from: torch.save(model.state_dict(), 'weights.pth')"
            )
        if any(name.endswith("archive_format") for name in entries):
            raise CheckpointError(
                "it is an exported program (.pt2, from torch.export), not a state dict. Save the weights of the model "
                "that it was made from: torch.save(model.state_dict(), 'weights.pth')"
            )
        if not pickles:
            shown = ", ".join(archive.namelist()[:3]) or "nothing"
            raise CheckpointError(
                f"it is a zip archive that torch.save did not write (it holds {shown}): unpack it and give the "
                "checkpoint inside"
            )
        pickled = pickles[0]
        expanded = sum(entry.file_size for entry in entries.values() if entry.compress_type != zipfile.ZIP_STORED)
        if expanded > _EXPANDED_FREELY + _EXPANSION * size or entries[pickled].file_size > 10**6 + size:
            raise CheckpointError(f"its {size:,} bytes unpack to {expanded:,}, which no weights do")
        folder = pickled.removesuffix("data.pkl")
        if "big" in (archive.read(entries[name]).decode() for name in entries.keys() & {f"{folder}byteorder"}):
            raise CheckpointError("it was written on a big-endian machine, and its numbers are not read")

        def storage(dtype: torch.dtype, key: str, numel: int) -> Tensor:
            nonlocal left
            entry = entries[f"{folder}data/{key.casefold()}"]
            if not numbers and 0 <= numel * dtype.itemsize <= entry.file_size:
                return torch.empty(numel, dtype=dtype, device="meta")
            if entry.compress_type != zipfile.ZIP_STORED:
                return stored_tensor(bytearray(archive.read(entry)), dtype, numel)
            stream.seek(entry.header_offset)  # past zipfile, which would take the bytes twice
            stream.seek(sum(struct.unpack("<26xHH", _exactly(stream, 30))), os.SEEK_CUR)  # its name and its extra field
            held = min(entry.file_size, entry.compress_size)
            left -= held
            if left < 0:
                raise CheckpointError("it is a zip archive whose entries share bytes")
            return stored_tensor(_exactly(stream, held), dtype, numel)

        return load_pickle(io.BytesIO(archive.read(entries[pickled])), storage)


def _tensors(state: Mapping[Any, Any], limit: int) -> dict[str, Tensor]:
    if not state:
        raise CheckpointError("its state dict is empty: expected named tensors")
    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        if not isinstance(key, str):
            raise CheckpointError(f"a name in its state dict is {key!r} ({type(key).__name__}), but expected text")
        if isinstance(value, np.ndarray):
            try:
                value = to_tensor(value)
            except CheckpointError as error:
                raise CheckpointError(f"{key}: {error}") from None
        elif not isinstance(value, Tensor):
            raise CheckpointError(f"{key} has type {type(value).__name__}, but expected a tensor or an array")
        tensors[key] = value
        limit -= value.numel() * value.element_size()
        if limit < 0:
            raise CheckpointError(f"its tensors, up to {key}, are far larger than the file, which no weights are")
    return tensors
