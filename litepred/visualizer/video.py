"""Draw on the frames of a video, in which an instance keeps its colour.

N instances of a frame, T tracks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import Metadata
from ..structures import Boxes, Instances, pairwise_iou
from .colors import Color, palette_color, unit
from .image import VisImage
from .masks import Values, as_numpy
from .visualizer import ColorMode, Visualizer

__all__ = ["VideoVisualizer"]

_SAME = 0.5  # the least intersection over union at which two instances are taken for one
_PATIENCE = 8  # frames after which the colour of an instance that is not seen is forgotten


@dataclass
class _Track:
    label: int
    box: Tensor  # (4,)
    color: tuple[float, ...]  # RGB from 0 to 1
    unseen: int = 0


class VideoVisualizer:
    """Draw what was found in frame after frame.

    An instance that overlaps one of its class in the frames before keeps that one's colour. Where predictions have a
    field ``ID`` (N,), colours follow from it, and where they have ``COLOR``, RGB from 0 to 1, these are used.

    Args:
        metadata: names and colours of the classes.
        instance_mode: how instances are coloured.
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
            predictions: its instances, see `Visualizer.draw_instance_predictions`.
        """
        visualizer = self._visualizer(frame)
        colors: Sequence[Color] | None = None
        if predictions.has("COLOR"):
            colors = list(predictions.COLOR)
        elif predictions.has("ID"):
            colors = [unit(palette_color(int(identity))) for identity in predictions.ID]
        elif predictions.has("pred_boxes") or predictions.has("pred_masks"):
            if predictions.has("pred_boxes"):
                boxes = list(as_numpy(predictions.pred_boxes))
            else:
                boxes = [mask.bbox() for mask in visualizer.read_masks(predictions.pred_masks)]
            classes = predictions.pred_classes.tolist() if predictions.has("pred_classes") else [0] * len(boxes)
            colors = self._colors(classes, boxes)
        return visualizer.draw_instance_predictions(predictions, assigned_colors=colors)

    def draw_sem_seg(self, frame: np.ndarray, sem_seg: Values, area_threshold: int | None = None) -> VisImage:
        """Draw a semantic segmentation of the next frame; arguments as in `Visualizer.draw_sem_seg`."""
        return self._visualizer(frame).draw_sem_seg(sem_seg, area_threshold)

    def draw_panoptic_seg_predictions(
        self,
        frame: np.ndarray,
        panoptic_seg: Values,
        segments_info: Sequence[Mapping[str, Any]] | None,
        area_threshold: int | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw a panoptic segmentation of the next frame; arguments as in `Visualizer.draw_panoptic_seg`."""
        return self._visualizer(frame).draw_panoptic_seg(
            panoptic_seg,
            segments_info,
            area_threshold,
            alpha,
            thing_colors=lambda classes, masks: self._colors(classes, [mask.bbox() for mask in masks]),
        )

    draw_panoptic_seg = draw_panoptic_seg_predictions

    def _colors(self, classes: list[int], boxes: Sequence[np.ndarray]) -> list[tuple[float, ...]]:
        """Return a colour per instance, and remember the instances."""
        places = torch.as_tensor(np.array(boxes), dtype=torch.float32).reshape(-1, 4)  # (N, 4)
        known = torch.stack([track.box for track in self._tracks]) if self._tracks else places[:0]  # (T, 4)
        same = torch.tensor([track.label for track in self._tracks])[:, None] == torch.tensor(classes)
        overlaps = pairwise_iou(Boxes(known), Boxes(places)) * same  # (T, N)
        pairs = (overlaps >= _SAME).nonzero()
        best_first = pairs[overlaps[pairs[:, 0], pairs[:, 1]].argsort(descending=True, stable=True)]
        matched: dict[int, int] = {}  # an instance's number to its track's
        for t, n in best_first.tolist():
            if n not in matched and t not in matched.values():
                matched[n] = t
        tracks = []
        for n, (label, box) in enumerate(zip(classes, places)):
            if n in matched:
                color = self._tracks[matched[n]].color
            else:
                color, self._colors_given = unit(palette_color(self._colors_given)), self._colors_given + 1
            tracks.append(_Track(label, box, color))
        for t, track in enumerate(self._tracks):
            track.unseen += 1
            if t not in matched.values() and track.unseen < _PATIENCE:
                tracks.append(track)
        self._tracks = tracks
        return [track.color for track in tracks[: len(places)]]
