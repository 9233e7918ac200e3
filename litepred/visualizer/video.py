"""Draw on the frames of a video, in which an instance keeps its colour.

N instances of a frame, T tracks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import Metadata, as_metadata
from ..structures import Boxes, BoxMode, Instances, pairwise_iou
from .colors import Color, palette_color, unit
from .image import VisImage
from .masks import Values, as_masks, as_numpy
from .visualizer import ColorMode, Visualizer

__all__ = ["VideoVisualizer"]

_GRAY = (0.5, 0.5, 0.5)
_SAME = 0.5  # the least intersection over union at which two instances are taken for one
_PATIENCE = 8  # frames after which the colour of an instance that is not seen is forgotten


@dataclass
class _Track:
    label: int
    box: Tensor  # (4,)
    color: tuple[float, ...]  # RGB from 0 to 1
    unseen: int = 0


class VideoVisualizer:
    """Draw what was found in frame after frame, (H, W, 3) each, RGB from 0 to 255.

    An instance that overlaps one of its class in the frames before keeps that one's colour. Where predictions have a
    field ``ID`` or ``track_ids`` (N,), colours follow from it, and what is not tracked is gray; where they have
    ``COLOR``, RGB from 0 to 1, these are used.

    Args:
        metadata: names and colours of the classes.
        instance_mode: how instances are coloured.
    """

    def __init__(self, metadata: Metadata | None = None, instance_mode: ColorMode = ColorMode.IMAGE) -> None:
        self.metadata = as_metadata(metadata)
        self.instance_mode = instance_mode
        self._tracks: list[_Track] = []
        self._numbers = count()  # of the palette's colours

    def _visualizer(self, frame: np.ndarray) -> Visualizer:
        return Visualizer(frame, self.metadata, instance_mode=self.instance_mode)

    def draw_instance_predictions(self, frame: np.ndarray, predictions: Instances) -> VisImage:
        """Draw the instances of the next frame; see `Visualizer.draw_instance_predictions`."""
        colors: Sequence[Color] | None = None
        if predictions.has("COLOR"):
            colors = list(predictions.COLOR)
        elif predictions.has("ID"):
            colors = [unit(palette_color(int(identity))) for identity in predictions.ID]
        elif predictions.has("track_ids"):
            colors = [_GRAY if i < 0 else unit(palette_color(i)) for i in predictions.track_ids.tolist()]
        elif predictions.has("pred_boxes") or predictions.has("pred_masks"):
            if predictions.has("pred_boxes"):
                corners = as_numpy(predictions.pred_boxes)
                if corners.shape[1:] == (5,):  # rotated ones are followed by the upright boxes around them
                    corners = BoxMode.convert(corners, BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)
                boxes = list(corners)
            else:
                boxes = [mask.bbox() for mask in as_masks(predictions.pred_masks, frame.shape[:2])]
            classes = predictions.pred_classes.tolist() if predictions.has("pred_classes") else [0] * len(boxes)
            colors = self._colors(classes, boxes)
        return self._visualizer(frame).draw_instance_predictions(predictions, assigned_colors=colors)

    def draw_sem_seg(self, frame: np.ndarray, sem_seg: Values, area_threshold: int | None = None) -> VisImage:
        """Draw a semantic segmentation of the next frame; see `Visualizer.draw_sem_seg`."""
        return self._visualizer(frame).draw_sem_seg(sem_seg, area_threshold)

    def draw_panoptic_seg_predictions(
        self,
        frame: np.ndarray,
        panoptic_seg: Values,
        segments_info: Sequence[Mapping[str, Any]] | None,
        area_threshold: int | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw a panoptic segmentation of the next frame; see `Visualizer.draw_panoptic_seg`."""
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
        places = torch.from_numpy(np.array(boxes, np.float32)).reshape(-1, 4)  # (N, 4)
        known = torch.stack([track.box for track in self._tracks]) if self._tracks else places[:0]  # (T, 4)
        same = torch.from_numpy(np.array([track.label for track in self._tracks])[:, None] == np.array(classes))
        overlaps = pairwise_iou(Boxes(known), Boxes(places)) * same  # (T, N)
        pairs = (overlaps >= _SAME).nonzero()
        best_first = pairs[overlaps[pairs[:, 0], pairs[:, 1]].argsort(descending=True, stable=True)]
        lost = dict(enumerate(self._tracks))
        colors: dict[int, tuple[float, ...]] = {}  # by the number of the instance
        for t, n in best_first.tolist():
            if n not in colors and t in lost:
                colors[n] = lost.pop(t).color
        for n in range(len(places)):
            if n not in colors:
                colors[n] = unit(palette_color(next(self._numbers)))
        for track in lost.values():
            track.unseen += 1
        self._tracks = [_Track(label, box, colors[n]) for n, (label, box) in enumerate(zip(classes, places))]
        self._tracks += [track for track in lost.values() if track.unseen < _PATIENCE]
        return [colors[n] for n in range(len(places))]
