"""Read checkpoints of any kind safely, load them into a model with a report, and save them.

Nothing is imported before it is used, so that the addresses of checkpoints are known without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..extensions import imported_when_used

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

__getattr__ = imported_when_used(__name__, __all__, ("bundle", "readers", "hints", "loading", "checkpointer"))
