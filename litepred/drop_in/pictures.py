"""Detectron2's visualizer by the names that subclasses of it use."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..data import Metadata, segments_of
from ..visualizer import GenericMask
from ..visualizer import Visualizer as _Visualizer
from ..visualizer.colors import Color, to_rgb, unit
from ..visualizer.labels import text_labels
from ..visualizer.masks import Mask, Masks, Values, as_masks, as_numpy, scaled

OFF_WHITE = (1.0, 1.0, 240 / 255)
BLACK = (0, 0, 0)
RED = (1.0, 0, 0)
SMALL_OBJECT_AREA_THRESH = 1000  # pixels of the picture
LARGE_MASK_AREA_THRESH = 120_000  # pixels
KEYPOINT_THRESHOLD = 0.05


class Visualizer(_Visualizer):
    """A `litepred.Visualizer` whose first argument is called ``img_rgb``, with the parts that subclasses draw by."""

    cpu_device = torch.device("cpu")

    def __init__(self, img_rgb: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(img_rgb, *args, **kwargs)
        self._default_font_size = self._font_size / self._scale

    def _jitter(self, color: Color) -> tuple[float, ...]:
        """Return a colour, from 0 to 1, moved in a random direction, of NumPy's global generator."""
        direction = np.random.rand(3)
        moved = np.add(unit(to_rgb(color)), direction / np.linalg.norm(direction) * 0.5)
        return tuple(moved.clip(0, 1).tolist())

    def _change_color_brightness(self, color: Color, brightness_factor: float) -> tuple[float, ...]:
        """Return a colour, from 0 to 1, lighter by a share -1 to 1 of its lightness."""
        hue, light, saturation = colorsys.rgb_to_hls(*unit(to_rgb(color)))
        return colorsys.hls_to_rgb(hue, min(max(light * (1 + brightness_factor), 0.0), 1.0), saturation)

    def _create_grayscale_image(self, mask: np.ndarray | None = None) -> np.ndarray:
        """Return the image in gray, (H, W, 3), with its colours where ``mask`` (H, W) is true."""
        gray = np.repeat(self.img.astype(np.float32).mean(axis=2)[:, :, None], 3, axis=2)
        if mask is not None:
            gray[mask] = self.img[mask]
        return gray

    def _convert_boxes(self, boxes: Values) -> np.ndarray:
        return as_numpy(boxes)

    def _convert_keypoints(self, keypoints: Values) -> np.ndarray:
        return as_numpy(keypoints)

    def _convert_masks(self, masks_or_polygons: Masks) -> list[GenericMask]:
        return as_masks(masks_or_polygons, self.img.shape[:2])

    def _draw_text_in_mask(self, binary_mask: Mask, text: str, color: Color) -> None:
        """Write in a mask, (H, W)."""
        mask = self._mask(binary_mask)
        if mask.area():
            window = scaled(mask.window, self._scale)
            self._labels.add(text, to_rgb(color), self._font_size, mask.bbox() * self._scale, window)
            self._labels.repaint()


class PanopticPrediction:
    """A panoptic segmentation taken apart.

    Args:
        panoptic_seg: (H, W), the number of the segment of each pixel.
        segments_info: for each segment ``id``, ``category_id`` and ``isthing``. Without it, a pixel's number is class ·
            ``metadata.label_divisor`` + instance, or -1 where nothing is.
        metadata: of the data set.
    """

    def __init__(
        self, panoptic_seg: Values, segments_info: Sequence[Mapping[str, Any]] | None, metadata: Metadata | None = None
    ) -> None:
        self._seg = as_numpy(panoptic_seg)
        numbers, areas = np.unique(self._seg, return_counts=True)
        self._areas = dict(zip(numbers.tolist(), areas.tolist()))
        assert segments_info is not None or metadata is not None
        self._segments = {segment["id"]: segment for segment in segments_of(self._seg, segments_info, metadata)}

    def non_empty_mask(self) -> np.ndarray:
        """Return (H, W) bool, true where there is a segment."""
        return np.isin(self._seg, [number for number in self._areas if number in self._segments])

    def semantic_masks(self) -> Iterator[tuple[np.ndarray, Mapping[str, Any]]]:
        """Yield the mask, (H, W) bool, and the facts of each segment of stuff, the largest first."""
        return self._masks(False)

    def instance_masks(self) -> Iterator[tuple[np.ndarray, Mapping[str, Any]]]:
        """Yield the mask, (H, W) bool, and the facts of each thing, the largest first."""
        return self._masks(True)

    def _masks(self, things: bool) -> Iterator[tuple[np.ndarray, Mapping[str, Any]]]:
        for number in sorted(self._areas, key=lambda number: -self._areas[number]):
            segment = self._segments.get(number)
            if segment is not None and bool(segment["isthing"]) == things:
                yield self._seg == number, segment


def create_text_labels(
    classes: Sequence[int] | None,
    scores: Sequence[float] | None,
    class_names: Sequence[str] | None,
    is_crowd: Sequence[bool] | None = None,
) -> list[str] | None:
    """Return a label such as "person 98%" for each instance, ``None`` where neither classes nor scores are given."""
    names = (
        None
        if classes is None
        else [str(i) if class_names is None or not len(class_names) else class_names[i] for i in classes]
    )
    return text_labels(names, scores, () if is_crowd is None else is_crowd)
