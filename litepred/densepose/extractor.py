"""From a model's instances to what is drawn or stored of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ..errors import LitepredError
from ..structures import Instances
from .converters import ToChartResultConverterWithConfidences
from .structures import DensePoseChartResultWithConfidences

__all__ = [
    "CompoundExtractor",
    "DensePoseOutputsExtractor",
    "DensePoseResultExtractor",
    "create_extractor",
    "extract_boxes_xywh_from_instances",
    "extract_scores_from_instances",
]

# N instances. ``select`` is whatever indexes them: a mask, indices or a slice; ``None`` for all.


def extract_scores_from_instances(instances: Instances, select: Any = None) -> Tensor | None:
    """Return the scores (N,), ``None`` where there are none."""
    if not instances.has("scores"):
        return None
    return instances.scores if select is None else instances.scores[select]


def extract_boxes_xywh_from_instances(instances: Instances, select: Any = None) -> Tensor | None:
    """Return the boxes as float32 (N, 4), x y width height in pixels, ``None`` where there are none."""
    if not instances.has("pred_boxes"):
        return None
    boxes = instances.pred_boxes.tensor.clone()
    boxes[:, 2:] -= boxes[:, :2]
    return boxes if select is None else boxes[select]


class DensePoseResultExtractor:
    """Instances to a list of results in the pixels of their boxes, and these boxes; ``(None, None)`` without both."""

    def __call__(
        self, instances: Instances, select: Any = None
    ) -> tuple[list[DensePoseChartResultWithConfidences] | None, Tensor | None]:
        """Convert instance by instance; returns the results and (N, 4) float32 boxes, x y width height."""
        if not instances.has("pred_densepose") or not instances.has("pred_boxes"):
            return None, None
        if select is not None:
            instances = instances[select]
        boxes, output = instances.pred_boxes, instances.pred_densepose
        results = [ToChartResultConverterWithConfidences.convert(output[i], boxes[i]) for i in range(len(output))]
        return results, extract_boxes_xywh_from_instances(instances)


class DensePoseOutputsExtractor:
    """Instances to their maps as the model has them, boxes and numbers of classes; each ``None`` without maps."""

    def __call__(self, instances: Instances, select: Any = None) -> tuple[Any, Tensor | None, list[int] | None]:
        """Return maps, (N, 4) float32 boxes, x y width height, and N numbers, ``None`` where there are none."""
        if not instances.has("pred_densepose") or not instances.has("pred_boxes"):
            return None, None, None
        if select is not None:
            instances = instances[select]
        classes = instances.pred_classes.tolist() if instances.has("pred_classes") else None
        return instances.pred_densepose, extract_boxes_xywh_from_instances(instances), classes


class CompoundExtractor:
    """Several extractors as one: a list of what each returns."""

    def __init__(self, extractors: Sequence[Callable[..., Any]]) -> None:
        self.extractors = list(extractors)

    def __call__(self, instances: Instances, select: Any = None) -> list[Any]:
        """Return what each extractor makes of the instances, in their order."""
        return [extractor(instances, select) for extractor in self.extractors]


def create_extractor(visualizer: Any) -> Callable[..., Any]:
    """Return the extractor of what a visualiser draws.

    Raises:
        LitepredError: when it is none of litepred's visualisers.
    """
    if hasattr(visualizer, "visualizers"):
        return CompoundExtractor([create_extractor(one) for one in visualizer.visualizers])
    if not hasattr(visualizer, "extractor"):
        raise LitepredError(f"{type(visualizer).__name__} names no extractor: give it an attribute of that name")
    return visualizer.extractor
