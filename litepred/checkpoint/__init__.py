"""Checkpoints: read any of Detectron2's files safely, load them into a model with a report, save them."""

from .checkpointer import DetectionCheckpointer, resolve_path
from .hints import infer_class_counts
from .loading import LoadReport, load_into
from .readers import Checkpoint, read_checkpoint

__all__ = [
    "Checkpoint",
    "DetectionCheckpointer",
    "LoadReport",
    "infer_class_counts",
    "load_into",
    "read_checkpoint",
    "resolve_path",
]
