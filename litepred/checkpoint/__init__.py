"""Read checkpoints of any kind safely, load them into a model with a report, and save them.

Nothing is imported before it is used, so that the addresses of checkpoints are known without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bundle import Checkpoint
    from .checkpointer import DetectionCheckpointer, named_for, resolve_path
    from .hints import infer_class_counts
    from .loading import LoadReport, load_into
    from .readers import read_checkpoint

__all__ = [
    "Checkpoint",
    "DetectionCheckpointer",
    "LoadReport",
    "infer_class_counts",
    "load_into",
    "named_for",
    "read_checkpoint",
    "resolve_path",
]

_HOMES = {
    "bundle": ("Checkpoint",),
    "checkpointer": ("DetectionCheckpointer", "named_for", "resolve_path"),
    "hints": ("infer_class_counts",),
    "loading": ("LoadReport", "load_into"),
    "readers": ("read_checkpoint",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
