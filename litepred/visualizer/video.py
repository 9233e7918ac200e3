"""Pictures of the frames of a video, in which an instance keeps its colour.

N instances of a frame, T tracks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import Metadata
from ..structures import Instances
from .colors import RGB, palette_color
from .image import VisImage
from .masks import GenericMask, as_array, as_masks
from .visualizer import ColorMode, Visualizer

__all__ = ["VideoVisualizer"]

_SAME = 0.5  # intersection over union from which on two instances are taken for one
_PATIENCE = 8  # frames that an instance may go unseen before its colour is forgotten


@dataclass
class _Track:
    label: int
    place: np.ndarray | GenericMask  # a box (4,), or a mask
    color: RGB
    unseen: int = 0


class VideoVisualizer:
    """Draw what was found in frame after frame.

    Instances of the same class that overlap those of the frames before keep their colour. Where predictions have a
    field ``ID`` (N,), colours follow from it, and where they have ``COLOR``, RGB from 0 to 1, these are used.

    Args:
        metadata: names and colours.
        instance_mode: how instances are drawn.
    """

    def __init__(self, metadata: Metadata | None = None, instance_mode: ColorMode = ColorMode.IMAGE) -> None:
        self.metadata = metadata or Metadata()
        self.instance_mode = instance_mode
        self._tracks: list[_Track] = []
        self._colors_given = 0

    def _visualizer(self, frame: np.ndarray) -> Visualizer:
        return Visualizer(frame, self.metadata, instance_mode=self.instance_mode)

    def draw_instance_predictions(self, frame: np.ndarray, predictions: Instances) -> VisImage:
        """Draw the instances of the next frame.

        Args:
            frame: (H, W, 3), RGB from 0 to 255.
            predictions: as `Visualizer.draw_instance_predictions` takes them.
        """
        visualizer = self._visualizer(frame)
        predictions = predictions.to("cpu")
        if predictions.has("pred_boxes"):
            places: list[Any] = list(as_array(predictions.pred_boxes))
        else:
            places = (
                as_masks(predictions.pred_masks, *visualizer.img.shape[:2]) if predictions.has("pred_masks") else []
            )
        if predictions.has("COLOR"):
            colors: list[Any] = list(predictions.COLOR)
        elif predictions.has("ID"):
            colors = [tuple(v / 255 for v in palette_color(int(identity))) for identity in predictions.ID]
        else:
            classes = predictions.pred_classes.tolist() if predictions.has("pred_classes") else [0] * len(places)
            colors = self._colors(classes, places)
        return visualizer.draw_instance_predictions(predictions, assigned_colors=colors)

    def draw_sem_seg(self, frame: np.ndarray, sem_seg: Any, area_threshold: int | None = None) -> VisImage:
        """Draw a semantic segmentation of the next frame; arguments as in `Visualizer.draw_sem_seg`."""
        return self._visualizer(frame).draw_sem_seg(sem_seg, area_threshold)

    def draw_panoptic_seg_predictions(
        self,
        frame: np.ndarray,
        panoptic_seg: Any,
        segments_info: list[dict[str, Any]] | None,
        area_threshold: int | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw a panoptic segmentation of the next frame; arguments as in `Visualizer.draw_panoptic_seg`."""
        return self._visualizer(frame).draw_panoptic_seg(
            panoptic_seg, segments_info, area_threshold, alpha, thing_colors=self._colors
        )

    draw_panoptic_seg = draw_panoptic_seg_predictions

    def _colors(self, classes: list[int], places: list[Any]) -> list[tuple[float, ...]]:
        """Return a colour per instance, RGB from 0 to 1, and remember the instances."""
        overlaps = sorted(
            (
                (_iou(track.place, place), t, n)
                for t, track in enumerate(self._tracks)
                for n, (label, place) in enumerate(zip(classes, places))
                if track.label == label
            ),
            reverse=True,
        )
        matched: dict[int, int] = {}  # number of an instance to that of its track
        for overlap, t, n in overlaps:
            if overlap >= _SAME and n not in matched and t not in matched.values():
                matched[n] = t
        seen = []
        for n, (label, place) in enumerate(zip(classes, places)):
            if n in matched:
                color = self._tracks[matched[n]].color
            else:
                color = palette_color(self._colors_given)
                self._colors_given += 1
            seen.append(_Track(label, place, color))
        lost = [track for t, track in enumerate(self._tracks) if t not in matched.values()]
        for track in lost:
            track.unseen += 1
        self._tracks = seen + [track for track in lost if track.unseen < _PATIENCE]
        return [tuple(v / 255 for v in track.color) for track in seen]


def _iou(a: np.ndarray | GenericMask, b: np.ndarray | GenericMask) -> float:
    if isinstance(a, GenericMask) and isinstance(b, GenericMask):
        return a.iou(b)
    if isinstance(a, GenericMask) or isinstance(b, GenericMask):
        return 0.0  # a box of one call and a mask of another
    sides = np.clip(np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2]), 0, None)
    both = float(sides.prod())
    union = float((a[2:4] - a[:2]).prod() + (b[2:4] - b[:2]).prod()) - both
    return both / union if union > 0 else 0.0
