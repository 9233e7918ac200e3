"""Run Detectron2-style models without Detectron2: inference only, on torchvision.

Nothing is imported before it is used, so ``import litepred`` costs next to nothing.
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

from . import densepose as densepose  # they announce their parts; nothing of them is imported before it is used
from . import export as export
from . import extensions
from . import hub as hub
from .environment import set_variables
from .errors import CheckpointError, ConfigError, ImageError, LitepredError, WriteError

if TYPE_CHECKING:
    from .checkpoint import DetectionCheckpointer
    from .config import CfgNode, get_cfg
    from .data import ImageLike, MetadataCatalog, read_image
    from .default_model import example_page
    from .drop_in import as_detectron2
    from .drop_in.annotations import Keypoints, PolygonMasks
    from .drop_in.lazy import LazyCall, LazyConfig, allow_targets, instantiate
    from .modeling import build_backbone, build_model, build_roi_heads
    from .predictor import DefaultPredictor, Predictor
    from .structures import (
        BitMasks,
        Boxes,
        BoxMode,
        ImageList,
        Instances,
        Outputs,
        SegmentInfo,
        pairwise_iou,
    )
    from .visualizer import ColorMode, VideoVisualizer, Visualizer, draw, show

__version__ = "0.1.0"

set_variables(os.environ)  # here, since torch reads them early; `litepred.environment` tells which and why

extensions.announce(
    satellites={
        "html": "litepred.visualizer.notebook:instances_html",
        "tile": "litepred.tiles:predict_tiled",
        "track": "litepred.tracking:follow",
    }
)

__all__ = [
    "BitMasks",
    "BoxMode",
    "Boxes",
    "CfgNode",
    "CheckpointError",
    "ColorMode",
    "ConfigError",
    "DefaultPredictor",
    "DetectionCheckpointer",
    "ImageError",
    "ImageLike",
    "ImageList",
    "Instances",
    "Keypoints",
    "LazyCall",
    "LazyConfig",
    "LitepredError",
    "MetadataCatalog",
    "Outputs",
    "PolygonMasks",
    "Predictor",
    "SegmentInfo",
    "VideoVisualizer",
    "Visualizer",
    "WriteError",
    "allow_targets",
    "as_detectron2",
    "build_backbone",
    "build_model",
    "build_roi_heads",
    "draw",
    "example_page",
    "get_cfg",
    "instantiate",
    "pairwise_iou",
    "read_image",
    "show",
]

_MODULES = ("choices", "densepose", "evaluation", "export", "model_zoo", "results")
_HOMES = {
    "checkpoint": ("DetectionCheckpointer",),
    "config": ("CfgNode", "get_cfg"),
    "data": ("ImageLike", "MetadataCatalog", "read_image"),
    "default_model": ("example_page",),
    "drop_in": ("as_detectron2",),
    "drop_in.annotations": ("Keypoints", "PolygonMasks"),
    "drop_in.lazy": ("LazyCall", "LazyConfig", "allow_targets", "instantiate"),
    "modeling": ("build_backbone", "build_model", "build_roi_heads"),
    "predictor": ("DefaultPredictor", "Predictor"),
    "structures": (
        "BitMasks",
        "BoxMode",
        "Boxes",
        "ImageList",
        "Instances",
        "Outputs",
        "SegmentInfo",
        "pairwise_iou",
    ),
    "visualizer": ("ColorMode", "VideoVisualizer", "Visualizer", "draw", "show"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        if not name.startswith("_") and importlib.util.find_spec(f".{name}", __name__):
            return importlib.import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__dir__())}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, "__version__"])
