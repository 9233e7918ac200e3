"""Draw predictions and annotations over their image, with the methods of Detectron2's visualizer.

N instances, K keypoints each, an image of H × W pixels. Coordinates are in the image's pixels; the picture is
``scale`` times larger. Colours are what `to_rgb` reads: names, "#hex", or RGB from 0 to 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ..data import Metadata, class_name
from ..structures import BoxMode, Instances
from . import paint
from .colors import class_color, palette_color, shades, to_rgb, unit
from .image import VisImage
from .marks import Marks
from .masks import GenericMask, Window, as_array

__all__ = ["ColorMode", "Visualizer"]

_OFF_WHITE = (1.0, 1.0, 0.94)
_RED = (1.0, 0.0, 0.0)
_RGB_ID = np.array([1, 256, 256 * 256])  # how COCO's panoptic PNG files write a segment's number


class ColorMode(Enum):
    """How instances are coloured."""

    IMAGE = 0
    """Each in its class's colour, lightly."""
    SEGMENTATION = 1
    """Each in a shade of its class's colour, opaque enough to judge the masks."""
    IMAGE_BW = 2
    """As IMAGE, with gray where there is no mask."""


_OPACITY = {ColorMode.IMAGE: 0.4, ColorMode.SEGMENTATION: 0.8, ColorMode.IMAGE_BW: 0.3}


class Visualizer(Marks):
    """Draw on an image; each method returns the `VisImage` drawn on so far.

    Args:
        image_rgb: (H, W, 3) array, RGB from 0 to 255; or gray, (H, W).
        metadata: names and colours: ``thing_classes``, ``thing_colors``, ``stuff_classes``, ``stuff_colors``,
            ``keypoint_names``, ``keypoint_connection_rules``, ``label_divisor``.
        scale: the picture's size over the image's.
        instance_mode: how instances are coloured.
        font_size_scale: times the usual size of text.
        line_width: in pixels of the picture; by default it follows from its size.
        opacity: of masks, 0 to 1, instead of each method's ``alpha``.
        font: path of a TrueType font, for names that Pillow's own font cannot write.
        labels: whether to label instances.
        scores: whether to write scores in the labels.

    Attributes:
        img: the image, (H, W, 3) uint8.
        metadata: as given.
        output: the picture.
        keypoint_threshold: keypoints with a score up to this are left out.

    Raises:
        ImageError: when ``image_rgb`` is not an image.
    """

    def __init__(
        self,
        image_rgb: Any,
        metadata: Metadata | None = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
        font_size_scale: float = 1.0,
        *,
        line_width: int | None = None,
        opacity: float | None = None,
        font: str | os.PathLike[str] | None = None,
        labels: bool = True,
        scores: bool = True,
    ) -> None:
        super().__init__(image_rgb, scale, font_size_scale, line_width, opacity, font)
        self.metadata = metadata if metadata is not None else Metadata()
        self.keypoint_threshold = 0.05
        self._mode, self._labels, self._scores = instance_mode, labels, scores

    def draw_instance_predictions(
        self, predictions: Instances, jittering: bool = True, *, assigned_colors: Sequence[Any] | None = None
    ) -> VisImage:
        """Draw instances.

        Args:
            predictions: may have ``pred_boxes``, ``pred_masks`` of any format, ``pred_classes``, ``scores`` and
                ``pred_keypoints``.
            jittering: give the instances of a class different shades in the mode SEGMENTATION.
            assigned_colors: one per instance, instead of the classes'.
        """
        fields = predictions.get_fields()
        boxes = as_array(fields["pred_boxes"]) if "pred_boxes" in fields else None
        masks = fields.get("pred_masks")
        if masks is not None:
            # litepred's own polygons, a list of lists, have holes
            masks = self.read_masks(masks, boxes, even_odd=isinstance(masks, list))
        classes = as_array(fields["pred_classes"]).tolist() if "pred_classes" in fields else None
        scores = as_array(fields["scores"]).tolist() if "scores" in fields else None
        if assigned_colors is None and classes is not None:
            assigned_colors = self._class_colors(classes, jittering and self._mode is ColorMode.SEGMENTATION)
        if self._mode is ColorMode.IMAGE_BW:
            self._gray_outside([mask.window for mask in masks or []])
        return self.overlay_instances(
            boxes=boxes,
            masks=masks,
            keypoints=fields.get("pred_keypoints"),
            labels=self._names(classes, scores),
            assigned_colors=assigned_colors,
            alpha=_OPACITY[self._mode],
        )

    def draw_sem_seg(
        self,
        sem_seg: Any,
        area_threshold: int | None = None,
        alpha: float = 0.8,
        draw_text: bool = True,
        edge_color: Any = _OFF_WHITE,
    ) -> VisImage:
        """Draw a semantic segmentation.

        Args:
            sem_seg: (H, W), the number of the class of each pixel; numbers without a class are left out.
            area_threshold: parts of fewer pixels are left out.
            alpha: opacity.
            draw_text: whether to write the classes' names.
            edge_color: of the outlines.
        """
        classes = as_array(sem_seg)
        known = len(self.metadata.get("stuff_classes") or ()) or self.metadata.get("ignore_label", 255)
        segments = [{"id": i, "category_id": i} for i in np.unique(classes).tolist() if 0 <= i < known]
        return self._draw_segments(classes, segments, area_threshold, alpha, draw_text, edge_color)

    def draw_panoptic_seg(
        self,
        panoptic_seg: Any,
        segments_info: Sequence[Mapping[str, Any]] | None,
        area_threshold: int | None = None,
        alpha: float = 0.7,
        *,
        thing_colors: Callable[[list[int], list[GenericMask]], Sequence[Any]] | None = None,
    ) -> VisImage:
        """Draw a panoptic segmentation.

        Args:
            panoptic_seg: (H, W), the number of the segment of each pixel.
            segments_info: per segment ``id``, ``category_id``, ``isthing`` and perhaps ``score``. None where the
                numbers are class · ``metadata.label_divisor`` + instance, -1 for nothing.
            area_threshold: parts of stuff of fewer pixels are left out.
            alpha: opacity.
            thing_colors: chooses the colours of things from their classes and masks.
        """
        ids = as_array(panoptic_seg)
        segments = self._segments(ids) if segments_info is None else segments_info
        if self._mode is ColorMode.IMAGE_BW:
            self._gray_outside([self._mask(np.isin(ids, [segment["id"] for segment in segments])).window])
        stuff = [one for one in segments if not one.get("isthing", True)]
        self._draw_segments(ids, stuff, area_threshold, alpha, True, _OFF_WHITE)
        found = [(one, self._mask(ids == one["id"])) for one in segments if one.get("isthing", True)]
        things = [(one, mask) for one, mask in found if mask.area()]
        classes, masks = [one["category_id"] for one, _ in things], [mask for _, mask in things]
        scores = [one["score"] for one, _ in things] if all("score" in one for one, _ in things) else None
        colors = thing_colors(classes, masks) if thing_colors else self._class_colors(classes, True)
        crowds = [bool(one.get("iscrowd")) for one, _ in things]
        return self.overlay_instances(
            masks=masks, labels=self._names(classes, scores, crowds), assigned_colors=colors, alpha=alpha
        )

    draw_panoptic_seg_predictions = draw_panoptic_seg

    def draw_dataset_dict(self, dic: dict[str, Any]) -> VisImage:
        """Draw the annotations of one image of a data set.

        Args:
            dic: in Detectron2's format: ``annotations``; ``sem_seg`` or ``sem_seg_file_name``; ``pan_seg`` or
                ``pan_seg_file_name``, with ``segments_info``.
        """
        annotations = dic.get("annotations") or []
        if annotations:
            first = annotations[0]
            boxes = [(one["bbox"], one["bbox_mode"]) for one in annotations]
            points = [one["keypoints"] for one in annotations] if "keypoints" in first else None
            classes = [one["category_id"] for one in annotations]
            self.overlay_instances(
                boxes=[b if len(b) == 5 else BoxMode.convert(b, mode, BoxMode.XYXY_ABS) for b, mode in boxes],
                masks=[one["segmentation"] for one in annotations] if "segmentation" in first else None,
                keypoints=None if points is None else np.array(points, np.float64).reshape(len(points), -1, 3),
                labels=self._names(classes, None, [bool(one.get("iscrowd")) for one in annotations]),
                assigned_colors=self._class_colors(classes, self._mode is ColorMode.SEGMENTATION),
            )
        sem_seg, pan_seg = dic.get("sem_seg"), dic.get("pan_seg")
        if sem_seg is None and "sem_seg_file_name" in dic:
            sem_seg = _read(dic["sem_seg_file_name"])
        if sem_seg is not None:
            self.draw_sem_seg(sem_seg, area_threshold=0, alpha=0.5)
        if pan_seg is None and "pan_seg_file_name" in dic:
            pan_seg = _read(dic["pan_seg_file_name"], "RGB") @ _RGB_ID
        if pan_seg is not None:
            self.draw_panoptic_seg(pan_seg, dic["segments_info"], area_threshold=0, alpha=0.5)
        return self.output

    def overlay_instances(
        self,
        *,
        boxes: Any = None,
        labels: Sequence[str] | None = None,
        masks: Any = None,
        keypoints: Any = None,
        assigned_colors: Sequence[Any] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw instances of which any parts are known, the largest first and labels last.

        Args:
            boxes: (N, 4) x0 y0 x1 y1, or (N, 5) rotated boxes, as an array, tensor, or object with a ``tensor``.
            labels: a text per instance.
            masks: as `as_masks` takes them.
            keypoints: (N, K, 3), x, y and score or visibility.
            assigned_colors: one per instance; by default the palette's.
            alpha: opacity of masks.

        Raises:
            ValueError: when the numbers of instances differ.
        """
        boxes = None if boxes is None else as_array(boxes)
        masks = None if masks is None else self.read_masks(masks, boxes)
        keypoints = None if keypoints is None else as_array(keypoints)
        labels = labels if self._labels else None
        parts = {"boxes": boxes, "masks": masks, "keypoints": keypoints, "labels": labels, "colors": assigned_colors}
        counts = {name: len(part) for name, part in parts.items() if part is not None}
        if len(set(counts.values())) > 1:
            raise ValueError(f"the instances came with {counts}: expected as many of each")
        number = max(counts.values(), default=0)
        if not number:
            return self.output
        if boxes is not None and boxes.shape != (number, 4):
            return self.overlay_rotated_instances(boxes, labels, assigned_colors)
        colors = (
            [palette_color(i) for i in range(number)] if assigned_colors is None else [*map(to_rgb, assigned_colors)]
        )
        if boxes is not None:
            extents = np.clip(boxes.astype(np.float64), -1e9, 1e9)
        else:
            extents = np.array([mask.bbox() for mask in masks or []]).reshape(-1, 4)
        windows = [] if masks is None else [self._scaled(mask.window) for mask in masks]
        canvas = self.output.canvas
        for i in np.argsort(-(extents[:, 2:] - extents[:, :2]).prod(1), kind="stable").tolist():
            if windows:
                paint.tint(canvas, windows[i], colors[i], self._alpha(alpha))
                paint.outline(canvas, windows[i], colors[i], max(1, self._line_width // 2))
            if boxes is not None and self._visible(extents[i]):  # false too for what is not a number
                paint.frame(canvas, extents[i] * self.output.scale, colors[i], self._line_width)
        for one in keypoints if keypoints is not None else ():
            self.draw_and_connect_keypoints(one)
        self._repaint_labels()
        for i, (text, box) in enumerate(zip(labels or (), extents)):
            if self._visible(box) if boxes is not None else windows[i][2].size:
                size = self._font_size * np.clip(0.75 + 2.5 * (box[3] - box[1]) / max(self.img.shape[:2]), 0.75, 1)
                self._label(text, colors[i], size, box, None if boxes is not None else windows[i])
        return self.output

    def overlay_rotated_instances(
        self, boxes: Any = None, labels: Sequence[str] | None = None, assigned_colors: Sequence[Any] | None = None
    ) -> VisImage:
        """Draw rotated boxes, the largest first.

        Args:
            boxes: (N, 5): centre x, centre y, width, height, and degrees counter-clockwise.
            labels: a text per box.
            assigned_colors: one per box; by default the palette's.
        """
        boxes = np.zeros((0, 5)) if boxes is None else as_array(boxes)
        if boxes.ndim != 2 or boxes.shape[1] != 5:
            raise ValueError(f"boxes came with shape {boxes.shape}: expected (N, 4), or (N, 5) for rotated ones")
        for i in np.argsort(-boxes[:, 2] * boxes[:, 3], kind="stable").tolist():
            color = unit(palette_color(i)) if assigned_colors is None else assigned_colors[i]
            label = labels[i] if labels and self._labels else None
            self.draw_rotated_box_with_label(boxes[i], edge_color=color, label=label)
        self._repaint_labels()
        return self.output

    def draw_and_connect_keypoints(self, keypoints: Any) -> VisImage:
        """Draw the keypoints of one instance, and the lines between them that the metadata name.

        Args:
            keypoints: (K, 3), x, y and score or visibility.
        """
        points = as_array(keypoints).tolist()
        names = self.metadata.get("keypoint_names") or ()
        shown = [(i, (x, y)) for i, (x, y, score) in enumerate(points) if score > self.keypoint_threshold]
        visible = {names[i]: np.array(point) for i, point in shown if i < len(names)}
        lines = [
            (visible[a], visible[b], unit(color))
            for a, b, color in self.metadata.get("keypoint_connection_rules") or ()
            if a in visible and b in visible
        ]
        if {"left_shoulder", "right_shoulder"} <= visible.keys():  # a person's neck and spine have no points
            neck = (visible["left_shoulder"] + visible["right_shoulder"]) / 2
            if "nose" in visible:
                lines.append((visible["nose"], neck, _RED))
            if {"left_hip", "right_hip"} <= visible.keys():
                lines.append(((visible["left_hip"] + visible["right_hip"]) / 2, neck, _RED))
        width = self._line_width / self.output.scale
        for start, end, color in lines:
            self.draw_line([start[0], end[0]], [start[1], end[1]], color, linewidth=width * 1.5)
        for _, point in shown:
            self.draw_circle(point, _OFF_WHITE, radius=width * 2)
            self.draw_circle(point, _RED, radius=width * 1.4)
        return self.output

    def _class_colors(self, classes: list[int], shaded: bool) -> list[tuple[float, ...]]:
        colors = shades(self.metadata, classes) if shaded else [class_color(self.metadata, i) for i in classes]
        return [unit(color) for color in colors]

    def _names(
        self, classes: list[int] | None, scores: list[float] | None, crowds: list[bool] | None = None
    ) -> list[str] | None:
        if classes is None and scores is None:
            return None
        number = len(classes if classes is not None else scores or ())
        parts = [[class_name(self.metadata, index)] for index in classes] if classes is not None else [[]] * number
        if scores is not None and self._scores:
            parts = [[*part, f"{score:.0%}"] for part, score in zip(parts, scores)]
        names = [" ".join(part) for part in parts]
        return [name + "|crowd" if crowd else name for name, crowd in zip(names, crowds or [False] * number)]

    def _segments(self, ids: np.ndarray) -> list[dict[str, Any]]:
        """Describe the segments whose numbers tell their class."""
        divisor = self.metadata.label_divisor
        things = set((self.metadata.get("thing_dataset_id_to_contiguous_id") or {}).values())
        numbers = [number for number in np.unique(ids).tolist() if number != -1]
        return [{"id": n, "category_id": n // divisor, "isthing": n // divisor in things} for n in numbers]

    def _gray_outside(self, windows: list[Window]) -> None:
        gray = cv2.cvtColor(cv2.cvtColor(self.img, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        for x, y, inside in windows:
            where = np.s_[y : y + inside.shape[0], x : x + inside.shape[1]]
            np.copyto(gray[where], self.img[where], where=inside[:, :, None].view(bool))
        self.output.reset_image(gray)

    def _draw_segments(
        self,
        ids: np.ndarray,
        segments: Sequence[Mapping[str, Any]],
        area_threshold: int | None,
        alpha: float,
        draw_text: bool,
        edge_color: Any,
    ) -> VisImage:
        masks = [(one["category_id"], self._mask(ids == one["id"])) for one in segments]
        for index, mask in sorted(masks, key=lambda pair: -pair[1].area()):
            color, text = class_color(self.metadata, index, "stuff"), class_name(self.metadata, index, "stuff")
            self._draw_mask(
                mask, color, to_rgb(edge_color), text if draw_text else None, alpha, area_threshold, every_text=False
            )
        self._repaint_labels()
        return self.output


def _read(path: str | os.PathLike[str], mode: str | None = None) -> np.ndarray:
    with Image.open(path) as file:
        return np.asarray(file.convert(mode) if mode else file)
