"""From a model's instances to what is drawn or stored: extractors, and the converters from maps to pixels of the box.

N instances, C = 25 fine channels, M × M map cells, H × W pixels of a box. ``select`` is an index of instances, such as
a mask, numbers or a slice; ``None`` selects all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import LitepredError
from ..structures import BitMasks, Boxes, Instances
from .structures import DensePoseChartPredictorOutput as Maps
from .structures import DensePoseChartResult, DensePoseChartResultWithConfidences

__all__ = [
    "CompoundExtractor",
    "DensePoseOutputsExtractor",
    "DensePoseResultExtractor",
    "ToChartResultConverter",
    "ToChartResultConverterWithConfidences",
    "ToMaskConverter",
    "create_extractor",
    "extract_boxes_xywh_from_instances",
    "extract_scores_from_instances",
]

Selection = slice | list[int] | np.ndarray | Tensor | None

_OF_PARTS = ("sigma_1", "sigma_2", "kappa_u", "kappa_v")
_OF_PIXELS = ("fine_segm_confidence", "coarse_segm_confidence")


class ToChartResultConverter:
    """Converts maps to labels and coordinates."""

    @classmethod
    def convert(cls, predictor_outputs: Maps, boxes: Boxes) -> DensePoseChartResult:
        """Convert one instance.

        Args:
            predictor_outputs: the maps of the one instance.
            boxes: its box in pixels of the image that the result is for.

        Returns:
            The labels, and the coordinates on the part that each pixel belongs to. The box's corner, width and height
            are each cut to whole pixels, and width and height are at least 1.

        Raises:
            LitepredError: There is not exactly one of each.
        """
        _, _, width, height = _pixel_box(predictor_outputs, boxes)
        labels = _labels(predictor_outputs, height, width)
        coordinates = [_picked(predictor_outputs.u, labels), _picked(predictor_outputs.v, labels)]
        return DensePoseChartResult(labels, torch.stack(coordinates))


class ToChartResultConverterWithConfidences:
    """Converts maps to labels, coordinates and confidences."""

    @classmethod
    def convert(cls, predictor_outputs: Maps, boxes: Boxes) -> DensePoseChartResultWithConfidences:
        """Convert one instance, with or without confidences; see `ToChartResultConverter.convert`."""
        plain = ToChartResultConverter.convert(predictor_outputs, boxes)
        maps = {name: getattr(predictor_outputs, name, None) for name in (*_OF_PARTS, *_OF_PIXELS)}
        confidences = {
            name: _picked(one, plain.labels) if name in _OF_PARTS else _resampled(one, *plain.labels.shape)[0, 0]
            for name, one in maps.items()
            if one is not None
        }
        return DensePoseChartResultWithConfidences(plain.labels, plain.uv, **confidences)


class ToMaskConverter:
    """Converts maps to masks of the whole image."""

    @classmethod
    def convert(cls, predictor_outputs: Maps, boxes: Boxes, image_size_hw: tuple[int, int]) -> BitMasks:
        """Mark each instance's body.

        Args:
            predictor_outputs: the maps of N instances.
            boxes: their boxes in pixels of the image.
            image_size_hw: height and width of the image in pixels.

        Returns:
            N masks, bool (N, height, width).
        """
        masks = torch.zeros(len(boxes), *image_size_hw, dtype=torch.bool, device=boxes.tensor.device)
        for i, mask in enumerate(masks):
            x, y, width, height = _pixel_box(predictor_outputs[i], boxes[i])
            x, y = max(x, 0), max(y, 0)
            window = mask[y : y + height, x : x + width]
            window.copy_(_labels(predictor_outputs[i], height, width)[: window.shape[0], : window.shape[1]] > 0)
        return BitMasks(masks)


def _pixel_box(output: Maps, boxes: Boxes) -> tuple[int, int, int, int]:
    """Return x, y, width and height of a single box in whole pixels."""
    if len(output) != 1 or len(boxes) != 1:
        raise LitepredError(
            f"{len(output)} instances came with {len(boxes)} boxes: expected one of each. Convert instance by instance"
        )
    corner, opposite = boxes.tensor[0, :2], boxes.tensor[0, 2:]
    x, y, width, height = torch.cat([corner, opposite - corner]).long().tolist()
    return x, y, max(width, 1), max(height, 1)


def _resampled(maps: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(maps, (height, width), mode="bilinear", align_corners=False)


def _labels(output: Maps, height: int, width: int) -> Tensor:
    """Return the body part of each pixel, int64 (H, W): the argmax of the resampled maps, not the resampled argmax."""
    # torch's max with indices is three times as fast as its argmax
    body = _resampled(output.coarse_segm, height, width)[0].max(dim=0).indices > 0
    return _resampled(output.fine_segm, height, width)[0].max(dim=0).indices * body


def _picked(maps: Tensor, labels: Tensor) -> Tensor:
    """Resample ``maps`` (1, C, M, M) and return (H, W), from the channel of each pixel's label; 0 on background."""
    values = _resampled(maps, *labels.shape)[0].gather(0, labels[None])[0]
    return values.masked_fill_(labels == 0, 0)


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
    ) -> tuple[Maps | None, Tensor | None, list[int] | None]:
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
