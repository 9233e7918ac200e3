"""Extractors, which turn a model's instances into what is drawn or stored.

N instances. ``select`` is an index of instances, such as a mask, numbers or a slice; ``None`` selects all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..structures import Instances
from .converters import ToChartResultConverterWithConfidences
from .structures import DensePoseChartPredictorOutput, DensePoseChartResultWithConfidences

__all__ = [
    "CompoundExtractor",
    "DensePoseOutputsExtractor",
    "DensePoseResultExtractor",
    "create_extractor",
    "extract_boxes_xywh_from_instances",
    "extract_scores_from_instances",
]

Selection = slice | list[int] | np.ndarray | Tensor | None


def extract_scores_from_instances(instances: Instances, select: Selection = None) -> Tensor | None:
    """Return the scores (N,), or ``None`` where the instances have none."""
    if not instances.has("scores"):
        return None
    return instances.scores if select is None else instances.scores[select]


def extract_boxes_xywh_from_instances(instances: Instances, select: Selection = None) -> Tensor | None:
    """Return the boxes as float32 (N, 4), x, y, width and height in pixels; ``None`` where the instances have none."""
    if not instances.has("pred_boxes"):
        return None
    boxes = instances.pred_boxes.tensor.clone()
    boxes[:, 2:] -= boxes[:, :2]
    return boxes if select is None else boxes[select]


class DensePoseOutputsExtractor:
    """Extracts the maps as the model has them."""

    def __call__(
        self, instances: Instances, select: Selection = None
    ) -> tuple[DensePoseChartPredictorOutput | None, Tensor | None, list[int] | None]:
        """Return the maps, the boxes and the classes; each is ``None`` where the instances have no maps or no boxes.

        Boxes are float32 (N, 4), as x, y, width and height. Classes are ``None`` where the instances have none.
        """
        if not instances.has("pred_densepose") or not instances.has("pred_boxes"):
            return None, None, None
        if select is not None:
            instances = instances[select]
        classes = instances.pred_classes.tolist() if instances.has("pred_classes") else None
        return instances.pred_densepose, extract_boxes_xywh_from_instances(instances), classes


class DensePoseResultExtractor:
    """Extracts a result in the pixels of its box for each instance."""

    def __call__(
        self, instances: Instances, select: Selection = None
    ) -> tuple[list[DensePoseChartResultWithConfidences] | None, Tensor | None]:
        """Return N results and the boxes; both are ``None`` where the instances have no maps or no boxes.

        Boxes are float32 (N, 4), as x, y, width and height.
        """
        maps, boxes_xywh, _ = DensePoseOutputsExtractor()(instances, select)
        if maps is None:
            return None, None
        boxes = instances.pred_boxes if select is None else instances.pred_boxes[select]
        return [ToChartResultConverterWithConfidences.convert(maps[i], boxes[i]) for i in range(len(maps))], boxes_xywh


class CompoundExtractor:
    """Several extractors as one."""

    def __init__(self, extractors: Sequence[Callable[..., Any]]) -> None:
        self.extractors = list(extractors)

    def __call__(self, instances: Instances, select: Selection = None) -> list[Any]:
        """Return a list of what each extractor returns, in their order."""
        return [extractor(instances, select) for extractor in self.extractors]


def create_extractor(visualizer: Any) -> Callable[..., Any]:
    """Return the extractor whose results a visualiser draws: its attribute of that name."""
    if hasattr(visualizer, "visualizers"):
        return CompoundExtractor([create_extractor(one) for one in visualizer.visualizers])
    return visualizer.extractor
