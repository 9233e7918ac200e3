"""A checkpoint file to tensors: the kind is told by the first bytes, not by the name, and no code in it ever runs."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import CheckpointError
from .unpickler import load_pickle, load_torch

__all__ = ["Checkpoint", "read_checkpoint", "to_tensor"]

_HEAD_BYTES = 512
_SAFETENSORS_HEADER_MAX = 100_000_000  # the format's own limit
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_TEXT_PICKLE = re.compile(rb"c[\w.]+\r?\n[\w.]+\r?\n|\(([dl]p\d|d[VS]|S['\"]|V)|[}\]][q(.]")
_PREFIX = "module."
_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")

# What people hand over instead of a checkpoint, by how it starts (lower case), and what to do about it.
_OTHER_KINDS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    (
        (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--"),
        "is a web page: the download returned an HTML page (sign-in, preview or error) in place of the weights; "
        "download again with the direct link",
    ),
    (
        (b"version https://git-lfs",),
        "is a Git LFS pointer, not the weights: run 'git lfs pull' in its repository or download the file itself",
    ),
    (
        (b"\x1f\x8b", b"bzh", b"\xfd7zxz", b"7z\xbc\xaf", b"rar!", b"\x28\xb5\x2f\xfd"),
        "is a compressed archive: unpack it and give the checkpoint inside",
    ),
    ((b"\x89hdf\r\n",), "is an HDF5 file, as Keras writes: expected a PyTorch or Detectron2 checkpoint"),
    ((b"\x93numpy",), "is a single NumPy array: expected a dict of named arrays (.pth, .pkl or .safetensors)"),
)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        model: state dict, name to CPU tensor; a prefix ``module.`` that all names had is gone.
        extra: the other top-level entries, such as ``iteration`` or ``__author__``.
        metadata: the text pairs of a safetensors header, as written.
        format: ``"safetensors"``, ``"torch"``, ``"torch-legacy"`` or ``"pickle"``.
    """

    model: dict[str, Tensor]
    extra: dict[str, Any]
    metadata: dict[str, str]
    format: str


class _MissingFileError(CheckpointError, FileNotFoundError):
    """There is no such checkpoint file."""


def read_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Read a checkpoint of any supported kind, safely.

    Supported are safetensors files, files of ``torch.save`` (zip and legacy), and pickled dicts of arrays as in
    Detectron2's model zoo (all protocols, Python 2 included). The name's ending plays no part. The state dict is the
    entry ``model`` or ``state_dict`` of the file, or the whole file if it holds nothing but tensors and arrays.

    Args:
        path: a local file; a query tail (``model.pth?dl=1``) is dropped if there is no file of the full name.

    Raises:
        CheckpointError: there is no such file (then also a ``FileNotFoundError``), it is of another kind, damaged,
            names code, or holds no state dict.
    """
    file = _existing_file(path)
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    kind = _kind(file, head, size)
    try:
        data, metadata = _READERS[kind](file)
        model, extra = _split(data)
        return Checkpoint(model, extra, metadata, kind)
    except CheckpointError as error:
        raise CheckpointError(f"{file} cannot be loaded: {error}") from error.__cause__
    except Exception as error:  # a damaged file can fail at any byte, in as many ways as its reader has steps
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no details'}"
        raise CheckpointError(
            f"{file} is cut short or damaged: it starts like a {kind} checkpoint but its {size:,} bytes cannot be "
            f"read to the end ({reason[:300]}). Download or copy it again"
        ) from error


def to_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Turn an array into a tensor of the same shape and type, sharing memory where that is allowed.

    Raises:
        CheckpointError: for an element type that weights do not have (unsigned 16 bit, text, objects, ...).
    """
    if array.dtype.name not in _DTYPES:
        raise CheckpointError(f"an array of type {array.dtype} is not weights: expected one of {', '.join(_DTYPES)}")
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W", "A"]))


def _existing_file(path: str | PathLike[str]) -> Path:
    given = Path(path)
    bare = Path(str(given).partition("?")[0])
    for file in (given, bare):
        if file.is_file():
            return file
        if file.is_dir():
            inside = sorted(entry.name for entry in file.iterdir() if entry.suffix in (".pth", ".pkl", ".safetensors"))
            hint = f", such as {file / inside[0]}" if inside else ""
            raise CheckpointError(f"{file} is a directory: expected a checkpoint file{hint}")
    raise _MissingFileError(f"there is no checkpoint file {given}: check the path (current directory: {Path.cwd()})")


def _kind(file: Path, head: bytes, size: int) -> str:
    """Name the file's format, or say what it is instead."""
    if not head:
        raise CheckpointError(f"{file} is empty (0 bytes): the download or copy failed, get it again")
    header_size = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header_size <= _SAFETENSORS_HEADER_MAX:
        if 8 + header_size > size:
            raise CheckpointError(
                f"{file} is cut short: its safetensors header alone needs {8 + header_size:,} bytes, but the file has "
                f"{size:,}. Download or copy it again"
            )
        return "safetensors"
    if head.startswith(b"PK"):
        return "torch"
    if head[0] == 0x80 and len(head) > 1 and head[1] <= 5:
        return "torch-legacy" if _LEGACY_MAGIC in head[:40] else "pickle"
    if _TEXT_PICKLE.match(head):
        return "pickle"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for starts, message in _OTHER_KINDS:
        if start.startswith(starts):
            raise CheckpointError(f"{file} {message}")
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


def _read_safetensors(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with safe_open(file, framework="pt", device="cpu") as opened:
        metadata = dict(opened.metadata() or {})
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
    extra = {key: _json_or_text(value) for key, value in metadata.items() if (key, value) != ("format", "pt")}
    return {**extra, "model": tensors}, metadata


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _read_zip(file: Path) -> tuple[Any, dict[str, str]]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
            raise CheckpointError(
                "it is a TorchScript archive (a compiled program, from torch.jit.save), not a state dict. Save the "
                "weights of the model that it was made from: torch.save(model.state_dict(), 'weights.pth')"
            )
        pickled = next((name for name in names if name.rpartition("/")[2] == "data.pkl"), None)
        if pickled is None:
            shown = ", ".join(names[:3]) or "nothing"
            raise CheckpointError(
                f"it is a zip archive that torch.save did not write (it holds {shown}): unpack it and give the "
                "checkpoint inside"
            )
        with archive.open(pickled) as stream:
            _refuse_new_protocol(stream.read(2))
    # A memory map takes the bytes as they lie, which does not do for the entries of a re-compressed archive; and torch
    # takes every path with this ending for a safetensors file.
    if all(entry.compress_type == zipfile.ZIP_STORED for entry in entries) and file.suffix != ".safetensors":
        return load_torch(str(file), mmap=True), {}
    with file.open("rb") as stream:
        return load_torch(stream), {}


def _read_legacy(file: Path) -> tuple[Any, dict[str, str]]:
    # torch would unpack a tar archive to disk first, and older versions of it read that without any check.
    if tarfile.is_tarfile(file):
        raise CheckpointError("it is a tar archive, as PyTorch 0.1 wrote: save it again with a newer PyTorch")
    with file.open("rb") as stream:
        _refuse_new_protocol(stream.read(2))
        stream.seek(0)
        return load_torch(stream), {}


def _refuse_new_protocol(start: bytes) -> None:
    if start[:1] == b"\x80" and start[1:] > b"\x02":
        raise CheckpointError(
            f"it was saved with pickle_protocol={start[1]}, which torch's safe reader does not know: save it again "
            "with torch.save(data, path), without that argument"
        )


def _read_pickle(file: Path) -> tuple[Any, dict[str, str]]:
    with file.open("rb") as stream:
        return load_pickle(stream), {}


_READERS: dict[str, Callable[[Path], tuple[Any, dict[str, str]]]] = {
    "safetensors": _read_safetensors,
    "torch": _read_zip,
    "torch-legacy": _read_legacy,
    "pickle": _read_pickle,
}


def _split(data: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Find the state dict among a file's top-level entries; what is left is extra."""
    if not isinstance(data, Mapping):
        raise CheckpointError(f"it holds an object of type {type(data).__name__}, but expected a dict of named tensors")
    for entry in ("model", "state_dict"):
        if isinstance(data.get(entry), Mapping):
            return _tensors(data[entry]), {key: value for key, value in data.items() if key != entry}
    if not all(isinstance(value, (Tensor, np.ndarray)) for value in data.values()):
        shown = ", ".join(f"{key!r} ({type(value).__name__})" for key, value in list(data.items())[:8])
        raise CheckpointError(
            f"no weights found in it: its entries are {shown}, but expected a dict under 'model' or 'state_dict', or "
            "tensors only"
        )
    return _tensors(data), {}


def _tensors(state: Mapping[Any, Any]) -> dict[str, Tensor]:
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
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(f"{key} is a sparse, quantized or empty-shell tensor, but expected an ordinary one")
        tensors[key] = value.detach()
    if all(key.startswith(_PREFIX) for key in tensors):
        return {key[len(_PREFIX) :]: value for key, value in tensors.items()}
    return tensors
