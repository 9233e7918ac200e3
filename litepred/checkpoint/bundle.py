"""A model in one file: its config and class names as text in the metadata of a safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import CheckpointError
from .readers import is_safetensors, read_checkpoint

__all__ = ["CLASS_NAMES", "CONFIG", "bundle_metadata", "read_class_names", "read_metadata"]

CONFIG = "litepred.config"  # the config, as YAML
CLASS_NAMES = "litepred.class_names"  # a JSON list


def bundle_metadata(config: str | None = None, class_names: Sequence[str] | None = None) -> dict[str, str]:
    """Return the metadata that carry a config (YAML text) and class names, either or both of them."""
    names = None if class_names is None else json.dumps(list(class_names), ensure_ascii=False)
    return {key: text for key, text in ((CONFIG, config), (CLASS_NAMES, names)) if text is not None}


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str] | None:
    """Return the metadata of a safetensors file, maybe empty, reading no weights; ``None`` for any other file.

    Raises:
        CheckpointError: the file is cut short or damaged.
    """
    if not os.path.isfile(path):
        return None
    with Path(path).open("rb") as file:
        head = file.read(16)
    return read_checkpoint(path).metadata if is_safetensors(head) else None


def read_class_names(metadata: Mapping[str, str], source: str) -> list[str] | None:
    """Return the class names in a file's metadata, ``None`` where there are none.

    Args:
        metadata: the text pairs of a safetensors file.
        source: what to call the file in messages.

    Raises:
        CheckpointError: they are no JSON list of text.
    """
    if CLASS_NAMES not in metadata:
        return None
    try:
        names = json.loads(metadata[CLASS_NAMES])
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(
            f"{source}: its metadata {CLASS_NAMES!r} are {metadata[CLASS_NAMES][:60]!r}, but expected a JSON list of "
            "names. Pass class_names=, or make the file again with litepred convert"
        )
    return names
