"""A model in one file: its config and class names as texts in the header of a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..errors import CheckpointError
from .readers import Checkpoint

__all__ = ["CLASS_NAMES", "CONFIG", "bundle_texts", "read_class_names"]

CONFIG = "litepred.config"  # the config, as YAML
CLASS_NAMES = "litepred.class_names"  # a JSON list


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
            "Pass class_names=, or make the file again with litepred convert"
        )
    return names
