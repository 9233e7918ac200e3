"""Read checkpoints of any kind safely, load them into a model with a report, and save them."""

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
