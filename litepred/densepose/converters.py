"""Converters from the maps of an instance to the pixels of its box.

C = 25 fine channels, M × M map cells, H × W pixels of a box.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import LitepredError
from ..structures import BitMasks, Boxes
from .structures import DensePoseChartPredictorOutput as Maps
from .structures import DensePoseChartResult, DensePoseChartResultWithConfidences

__all__ = ["ToChartResultConverter", "ToChartResultConverterWithConfidences", "ToMaskConverter"]

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
