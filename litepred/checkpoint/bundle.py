"""What a checkpoint holds: the weights and, in a safetensors file of ``litepred convert``, config and class names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..errors import CheckpointError, wording

__all__ = ["CLASS_NAMES", "CONFIG", "Checkpoint", "bundle_texts", "read_class_names"]

CONFIG = "litepred.config"  # the config, as YAML
CLASS_NAMES = "litepred.class_names"  # a JSON list


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        model: state dict, name to CPU tensor; what wrappers had put before all names is gone.
        name: path of the file, or what messages call a state dict that came without a file.
        extra: the other top-level entries, such as ``iteration`` or ``__author__``.
        header: the texts in the header of a safetensors file, by key.
        format: ``"safetensors"``, ``"torch"``, ``"torch-legacy"`` or ``"pickle"``; empty without a file.
        author: who made the file, such as ``"Caffe2"``; empty where it is not known.
        matching_heuristics: whether the names may be short, so that `by_suffix` is to complete them for a model.
        versions: the version of each module that was saved, by its name, where the file notes it.
    """

    model: dict[str, Tensor]
    name: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    header: dict[str, str] = field(default_factory=dict)
    format: str = ""
    author: str = ""
    matching_heuristics: bool = False
    versions: dict[str, int] = field(default_factory=dict)


def bundle_texts(config: str | None = None, class_names: Sequence[str] | None = None) -> dict[str, str]:
    """Return the texts for a file's header that carry a config (YAML) and class names, either or both of them."""
    names = None if class_names is None else json.dumps(list(class_names), ensure_ascii=False)
    return {key: text for key, text in ((CONFIG, config), (CLASS_NAMES, names)) if text is not None}


def read_class_names(checkpoint: Checkpoint) -> list[str] | None:
    """Return the class names in a checkpoint's header, ``None`` where there are none.

    Raises:
        CheckpointError: they are not a JSON list of texts.
    """
    text = checkpoint.header.get(CLASS_NAMES)
    if text is None:
        return None
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(
            f"{checkpoint.name} has {text[:60]!r} as {CLASS_NAMES!r} in its header: expected a JSON list of names. "
            f"Pass {wording('class_names=', '--class-names')}, or make the file again with litepred convert"
        )
    return names
