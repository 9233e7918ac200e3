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

_HOMES = ("bundle", "readers", "hints", "loading", "checkpointer")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = importlib.import_module(f".{home}", __name__)
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
