"""Checkpoints: read any of Detectron2's files safely, load them into a model with a report, save them."""

from .checkpointer import DetectionCheckpointer, resolve_path
from .loading import LoadReport, load_into
from .readers import Checkpoint, read_checkpoint

__all__ = ["Checkpoint", "DetectionCheckpointer", "LoadReport", "load_into", "read_checkpoint", "resolve_path"]
