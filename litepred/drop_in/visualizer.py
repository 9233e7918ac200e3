"""The visualizer with Detectron2's name for its first argument."""

from __future__ import annotations

from typing import Any

from .. import visualizer

__all__ = ["Visualizer"]


class Visualizer(visualizer.Visualizer):
    """A `litepred.Visualizer` with Detectron2's argument names."""

    def __init__(self, img_rgb: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(img_rgb, *args, **kwargs)
