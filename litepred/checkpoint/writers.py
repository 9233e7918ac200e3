"""Write tensors to a checkpoint file, whole or not at all, in the format that the file's name asks for."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..errors import CheckpointError
from ..files import whole_file

__all__ = ["SUFFIXES", "write_checkpoint"]

SUFFIXES = (".pth", ".pkl", ".safetensors")


def write_checkpoint(
    path: Path, state: Mapping[str, Tensor], rest: Mapping[str, Any], header: Mapping[str, str] | None = None
) -> None:
    """Write a checkpoint; a file that is there stays as it is until the new one is whole.

    The path's ending, one of `SUFFIXES`, chooses the format: ``.pth`` (torch), ``.pkl`` (NumPy arrays as in
    Detectron2's model zoo) or ``.safetensors``. Detectron2 loads the first two.

    Args:
        path: of the file.
        state: name to CPU tensor.
        rest: further top-level entries; text, numbers and truth values only in a safetensors file.
        header: texts for the header of a safetensors file, by key; the other formats have no place for them.

    Raises:
        CheckpointError: the format cannot hold a value.
        WriteError: the file cannot be written.
    """
    with whole_file(path, durable=True) as file:
        if path.suffix == ".safetensors":
            for part in _safetensors(state, rest, header or {}):
                file.write(part)
        elif path.suffix == ".pkl":
            pickle.dump({"model": _arrays(state), "__author__": "litepred", **rest}, file, protocol=4)
        else:
            torch.save({"model": dict(state), **rest}, file)


def _arrays(state: Mapping[str, Tensor]) -> dict[str, Any]:
    arrays = {}
    for key, value in state.items():
        try:
            arrays[key] = value.numpy()
        except TypeError as error:
            raise CheckpointError(f"{key} is {value.dtype}, which NumPy does not have: save as .pth") from error
    return arrays


def _safetensors(
    state: Mapping[str, Tensor], rest: Mapping[str, Any], header: Mapping[str, str]
) -> tuple[bytes | memoryview, ...]:
    """Return the parts of a safetensors file."""
    unfit = [
        f"{key} ({type(value).__name__})" for key, value in rest.items() if not isinstance(value, (str, int, float))
    ]
    if unfit:
        raise CheckpointError(f"a safetensors file holds text and numbers besides weights, not {', '.join(unfit)}")
    # The format takes neither tensors that share memory nor strides of their own.
    copies = {key: value.clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    texts = {key: json.dumps(value) for key, value in rest.items()}
    data = memoryview(safetensors.torch.save(copies))
    # The library would put the texts in another order each time, so that no file could be made again byte by byte.
    start = 8 + int.from_bytes(data[:8], "little")
    entries = {"__metadata__": {"format": "pt", **texts, **header}, **json.loads(bytes(data[8:start]))}
    written = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    written += b" " * (-len(written) % 8)  # the format aligns what follows
    return len(written).to_bytes(8, "little"), written, data[start:]
