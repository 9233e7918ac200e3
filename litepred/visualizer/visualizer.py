"""Draw predictions and annotations over their image, with the methods of Detectron2's visualizer.

N instances, K keypoints each, an image of H × W pixels. Coordinates are in the image's pixels; the picture is
``scale`` times larger. Colours are what `to_rgb` reads: names, "#hex", or RGB from 0 to 1. The ``alpha`` of a mask is
its opacity, from 0 to 1. Lines are solid "-", dashed "--", dotted ":" or in dashes and dots "-.".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from ..data import ImageLike, Metadata, as_list, as_metadata, class_name, image_to_array, open_image, segments_of
from ..errors import ImageError, LitepredError, score
from ..structures import BoxMode, Instances, Outputs
from . import paint
from .colors import Color, class_color, palette_color, random_color, shades, to_rgb, unit
from .image import VisImage, as_rgb, scale_to_look_at
from .labels import SMALLEST_FONT, Labels, text_labels
from .masks import GenericMask, Mask, Masks, Values, Window, as_masks, as_numpy, scaled, without_small_parts

__all__ = ["ColorMode", "Visualizer", "draw", "show"]

_OFF_WHITE = (1.0, 1.0, 0.94)
_RGB_ID = np.array([1, 256, 256 * 256])  # how COCO's panoptic PNG files write a segment's number
_STUFF_OPACITY = 0.25  # behind instances
_SEMANTIC_OPACITY = 0.5
_PROPOSALS = 100
_DRAWN = ("instances", "proposals", "sem_seg", "panoptic_seg")
_NOTEBOOK_SIDE = 1600  # pixels


class ColorMode(Enum):
    """How instances are coloured."""

    IMAGE = 0
    """Each in its class's colour, lightly."""
    SEGMENTATION = 1
    """Each in a shade of its class's colour, opaque enough to judge the masks."""
    IMAGE_BW = 2
    """As IMAGE, with gray where there is no mask."""


_OPACITY = {ColorMode.IMAGE: 0.4, ColorMode.SEGMENTATION: 0.8, ColorMode.IMAGE_BW: 0.3}


class Visualizer:
    """Draw on an image. Each method returns the picture, a `VisImage`, as it is by then.

    Args:
        image_rgb: (H, W, 3) array, RGB from 0 to 255; or gray, (H, W).
        metadata: names and colours of classes and keypoints, as far as they are known: ``thing_classes``,
            ``thing_colors``, ``stuff_classes``, ``stuff_colors``, ``keypoint_names``, ``keypoint_connection_rules``,
            ``label_divisor``.
        scale: how many times larger the picture is than the image.
        instance_mode: how instances are coloured.
        font_size_scale: factor of the size of text.
        line_width: width of lines, in pixels of the picture; by default it follows from the picture's size.
        opacity: opacity of masks, 0 to 1, which replaces each method's ``alpha``.
        font: path of a TrueType font, for names in scripts that no font of the system has.
        labels: whether to label instances.
        scores: whether to write scores in the labels.

    Attributes:
        img: the image, (H, W, 3) uint8.
        metadata: names and colours, as they were given.
        output: the picture.
        keypoint_threshold: keypoints with this score or less are left out.

    Raises:
        ImageError: when ``image_rgb`` is not an image.
        LitepredError: when ``font`` is not a font.
    """

    def __init__(
        self,
        image_rgb: ArrayLike,
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
        self.img = as_rgb(image_rgb)
        self.metadata = as_metadata(metadata)
        self.output = VisImage(self.img, scale)
        self.keypoint_threshold = 0.05
        self._instance_mode, self._opacity = instance_mode, opacity
        self._with_labels, self._with_scores = labels, scores
        self._canvas, self._scale = self.output.canvas, scale
        height, width = self._canvas.shape[:2]
        self._line_width = line_width or max(1, round(min(height, width) / 400 + 0.5))
        self._outline_width = max(1, self._line_width // 2)
        self._font = None if font is None else os.fspath(font)
        try:
            if font is not None:
                paint.text_pixels("", SMALLEST_FONT, self._font)
        except OSError as error:
            raise LitepredError(f"font={self._font!r} cannot be read ({error}): give a TrueType font's path") from error
        self._font_size = max((height * width) ** 0.5 / 72, SMALLEST_FONT) * font_size_scale
        self._labels = Labels(self._canvas, self._font)

    def get_output(self) -> VisImage:
        """Return the picture."""
        return self.output

    def draw_instance_predictions(
        self, predictions: Instances, jittering: bool = True, *, assigned_colors: Sequence[Color] | None = None
    ) -> VisImage:
        """Draw instances.

        Args:
            predictions: may have ``pred_boxes``, ``pred_masks`` of any format, ``pred_classes``, ``scores`` and
                ``pred_keypoints``.
            jittering: whether the mode SEGMENTATION gives the instances of a class different shades.
            assigned_colors: a colour per instance; by default the colours of the classes.
        """
        fields = predictions.get_fields()
        boxes = as_numpy(fields["pred_boxes"]) if "pred_boxes" in fields else None
        masks = fields.get("pred_masks")
        if masks is not None:
            # litepred's own polygons, a list of lists, have holes
            masks = as_masks(masks, self.img.shape[:2], boxes, even_odd=isinstance(masks, list))
        classes = as_numpy(fields["pred_classes"]).tolist() if "pred_classes" in fields else None
        scores = as_numpy(fields["scores"]).tolist() if "scores" in fields else None
        if assigned_colors is None and classes is not None:
            assigned_colors = self._class_colors(classes, jittering and self._instance_mode is ColorMode.SEGMENTATION)
        if self._instance_mode is ColorMode.IMAGE_BW:
            self._gray_outside([mask.window for mask in masks or []])
        return self.overlay_instances(
            boxes=boxes,
            masks=masks,
            keypoints=fields.get("pred_keypoints"),
            labels=self._names(classes, scores, tracks=fields.get("track_ids", ())),
            assigned_colors=assigned_colors,
            alpha=_OPACITY[self._instance_mode],
        )

    def draw_sem_seg(
        self,
        sem_seg: Values,
        area_threshold: int | None = None,
        alpha: float = 0.8,
        draw_text: bool = True,
        edge_color: Color = _OFF_WHITE,
    ) -> VisImage:
        """Draw a semantic segmentation, (H, W) numbers of classes; those that the metadata do not know are left out.

        Connected parts of fewer than ``area_threshold`` pixels are left out, too. ``edge_color`` is the outlines', and
        ``draw_text`` says whether to write the names of the classes.
        """
        classes = as_numpy(sem_seg)
        known = len(as_list(self.metadata.get("stuff_classes"))) or self.metadata.get("ignore_label", 255)
        segments = [(i, self._mask(classes == i)) for i in np.unique(classes).tolist() if 0 <= i < known]
        return self._draw_stuff(segments, draw_text, area_threshold=area_threshold, alpha=alpha, edge_color=edge_color)

    def draw_panoptic_seg(
        self,
        panoptic_seg: Values,
        segments_info: Sequence[Mapping[str, Any]] | None,
        area_threshold: int | None = None,
        alpha: float = 0.7,
        *,
        thing_colors: Callable[[list[int], list[GenericMask]], Sequence[Color]] | None = None,
    ) -> VisImage:
        """Draw a panoptic segmentation.

        Args:
            panoptic_seg: (H, W), the number of the segment of each pixel.
            segments_info: for each segment ``id``, ``category_id``, ``isthing`` and perhaps ``score``. Without it, a
                pixel's number is class · ``metadata.label_divisor`` + instance, or -1 where nothing is.
            area_threshold: connected parts of stuff of fewer pixels are left out.
            alpha: opacity of the colours.
            thing_colors: a function that chooses the colours of things from their classes and masks.
        """
        ids = as_numpy(panoptic_seg)
        segments_info = segments_of(ids, segments_info, self.metadata)
        if self._instance_mode is ColorMode.IMAGE_BW:
            self._gray_outside([self._mask(np.isin(ids, [one["id"] for one in segments_info])).window])
        found = [(one, self._mask(ids == one["id"])) for one in segments_info]
        stuff = [(one["category_id"], mask) for one, mask in found if not one.get("isthing", True)]
        self._draw_stuff(stuff, area_threshold=area_threshold, alpha=alpha, edge_color=_OFF_WHITE)
        things = [(one, mask) for one, mask in found if one.get("isthing", True) and mask.area()]
        rows, masks = [one for one, _ in things], [mask for _, mask in things]
        classes = [one["category_id"] for one in rows]
        scores = [one["score"] for one in rows] if all("score" in one for one in rows) else None
        colors = thing_colors(classes, masks) if thing_colors else self._class_colors(classes, True)
        labels = self._names(classes, scores, rows)
        return self.overlay_instances(masks=masks, labels=labels, assigned_colors=colors, alpha=alpha)

    draw_panoptic_seg_predictions = draw_panoptic_seg

    def draw_dataset_dict(self, dic: Mapping[str, Any]) -> VisImage:
        """Draw the annotations of one image of a data set, a record in Detectron2's format.

        It has any of ``annotations``; ``sem_seg`` or ``sem_seg_file_name``; and ``pan_seg`` or ``pan_seg_file_name``,
        with ``segments_info``.
        """
        rows = dic.get("annotations")
        if rows:
            boxes = [(one["bbox"], one["bbox_mode"]) for one in rows]
            points = np.array([one["keypoints"] for one in rows], np.float64) if "keypoints" in rows[0] else None
            classes = [one["category_id"] for one in rows]
            self.overlay_instances(
                boxes=[b if len(b) == 5 else BoxMode.convert(b, mode, BoxMode.XYXY_ABS) for b, mode in boxes],
                masks=[one["segmentation"] for one in rows] if "segmentation" in rows[0] else None,
                keypoints=None if points is None else points.reshape(len(rows), -1, 3),
                labels=self._names(classes, None, rows),
                assigned_colors=self._class_colors(classes, self._instance_mode is ColorMode.SEGMENTATION),
            )
        sem_seg, pan_seg = dic.get("sem_seg"), dic.get("pan_seg")
        if sem_seg is None and "sem_seg_file_name" in dic:
            with open_image(dic["sem_seg_file_name"]) as file:
                sem_seg = np.asarray(file)
        if sem_seg is not None:
            self.draw_sem_seg(sem_seg, area_threshold=0, alpha=0.5)
        if pan_seg is None and "pan_seg_file_name" in dic:
            with open_image(dic["pan_seg_file_name"]) as file:
                pan_seg = np.asarray(file.convert("RGB")) @ _RGB_ID
        if pan_seg is not None:
            self.draw_panoptic_seg(pan_seg, dic["segments_info"], area_threshold=0, alpha=0.5)
        return self.output

    def overlay_instances(
        self,
        *,
        boxes: Values | None = None,
        labels: Sequence[str] | None = None,
        masks: Masks | None = None,
        keypoints: Values | None = None,
        assigned_colors: Sequence[Color] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw instances by whatever is known of them, the largest first and labels last.

        Args:
            boxes: (N, 4) x0 y0 x1 y1, or (N, 5) rotated boxes, as an array, tensor, or object with a ``tensor``.
            labels: a text per instance.
            masks: N masks of any format, see `as_masks`.
            keypoints: (N, K, 3), x, y and score or visibility.
            assigned_colors: a colour per instance; by default the colours of a palette.
            alpha: opacity of masks.

        Raises:
            ValueError: when the numbers of instances differ.
        """
        boxes = None if boxes is None else as_numpy(boxes)
        masks = None if masks is None else as_masks(masks, self.img.shape[:2], boxes)
        keypoints = None if keypoints is None else as_numpy(keypoints)
        labels = as_list(labels) if labels is not None and self._with_labels else None
        parts = {"boxes": boxes, "masks": masks, "keypoints": keypoints, "labels": labels, "colors": assigned_colors}
        counts = {name: len(part) for name, part in parts.items() if part is not None}
        if len(set(counts.values())) > 1:
            raise ValueError(f"the instances came with {counts}: expected as many of each")
        number = max(counts.values(), default=0)
        if not number:
            return self.output
        if boxes is not None and boxes.shape != (number, 4):
            return self.overlay_rotated_instances(boxes, labels, assigned_colors)
        around = [mask.bbox() for mask in masks or []] if boxes is None else boxes
        extents = np.clip(np.reshape(around, (-1, 4)).astype(np.float64), -1e9, 1e9)
        colors = [palette_color(i) for i in range(number)]
        if assigned_colors is not None:
            colors = [to_rgb(color) for color in assigned_colors]
        windows = [scaled(mask.window, self._scale) for mask in masks or []]
        for i in np.argsort(-(extents[:, 2:] - extents[:, :2]).prod(1), kind="stable").tolist():
            if windows:
                paint.tint(self._canvas, windows[i], colors[i], self._alpha(alpha))
                paint.outline(self._canvas, windows[i], colors[i], self._outline_width)
            if boxes is not None and self._is_visible(extents[i]):
                paint.frame(self._canvas, extents[i] * self._scale, colors[i], self._line_width)
        for one in keypoints if keypoints is not None else ():
            self.draw_and_connect_keypoints(one)
        self._labels.repaint()
        for i, (text, box) in enumerate(zip(labels or (), extents)):
            if self._is_visible(box) if boxes is not None else windows[i][2].size:
                share = (box[3] - box[1]) / max(self.img.shape[:2])  # small instances get small labels
                size = self._font_size * np.clip(0.75 + 2.5 * share, 0.75, 1)
                window = windows[i] if boxes is None else None
                self._labels.add(str(text), colors[i], size, box * self._scale, window)
        return self.output

    def overlay_rotated_instances(
        self,
        boxes: Values | None = None,
        labels: Sequence[str] | None = None,
        assigned_colors: Sequence[Color] | None = None,
    ) -> VisImage:
        """Draw rotated boxes, the largest first, each with its label and colour, by default that of a palette.

        ``boxes`` are (N, 5): centre x, centre y, width, height, and degrees counter-clockwise.
        """
        boxes = np.zeros((0, 5)) if boxes is None else as_numpy(boxes)
        if boxes.ndim != 2 or boxes.shape[1] != 5:
            raise ValueError(f"boxes came with shape {boxes.shape}: expected (N, 4), or (N, 5) for rotated ones")
        labels, colors = as_list(labels), as_list(assigned_colors)
        for i in np.argsort(-boxes[:, 2] * boxes[:, 3], kind="stable").tolist():
            color = colors[i] if colors else unit(palette_color(i))
            label = labels[i] if labels and self._with_labels else None
            self.draw_rotated_box_with_label(boxes[i], edge_color=color, label=label)
        self._labels.repaint()
        return self.output

    def draw_and_connect_keypoints(self, keypoints: Values) -> VisImage:
        """Draw the keypoints of one instance, (K, 3) x, y and score or visibility, and the lines of the metadata."""
        names = as_list(self.metadata.get("keypoint_names"))
        points = enumerate(as_numpy(keypoints).tolist())
        shown = {i: np.array([x, y]) for i, (x, y, score) in points if score > self.keypoint_threshold}
        ends = {names[i]: point for i, point in shown.items() if i < len(names)}
        for part in ("shoulder", "hip"):  # a person's neck and spine have no points
            left, right = ends.get(f"left_{part}"), ends.get(f"right_{part}")
            if left is not None and right is not None:
                ends[f"between {part}s"] = (left + right) / 2
        lines = [(part, "between shoulders", (255, 0, 0)) for part in ("nose", "between hips")]
        width = self._line_width / self._scale
        for start, end, color in [*as_list(self.metadata.get("keypoint_connection_rules")), *lines]:
            if start in ends and end in ends:
                (x0, y0), (x1, y1) = ends[start], ends[end]
                self.draw_line([x0, x1], [y0, y1], unit(color), linewidth=width * 1.5)
        for point in shown.values():
            self.draw_circle(point, _OFF_WHITE, radius=width * 2)
            self.draw_circle(point, (1, 0, 0), radius=width * 1.4)
        return self.output

    def draw_text(
        self,
        text: str,
        position: Sequence[float],
        *,
        font_size: float | None = None,
        color: Color = "g",
        horizontal_alignment: str = "center",
        rotation: float = 0,
    ) -> VisImage:
        """Write on a dark plate, moved inside the picture where it would leave it.

        ``position`` is x, y of the plate's top left corner, top middle or top right corner, as the
        ``horizontal_alignment``, "left", "center" or "right", says. The font's size is in pixels of the image, the
        rotation in degrees counter-clockwise. A dark colour is made lighter.
        """
        share_left = {"left": 0.0, "center": 0.5, "right": 1.0}.get(horizontal_alignment)
        if share_left is None:
            raise ValueError(f"horizontal_alignment is {horizontal_alignment!r}: expected left, center or right")
        rgb = np.maximum(to_rgb(color), 51)
        rgb[rgb.argmax()] = max(rgb.max(), 204)
        red, green, blue = rgb.tolist()
        size = self._font_size if font_size is None else font_size * self._scale
        pixels = paint.text_pixels(str(text), max(round(size), 1), self._font)
        cover = np.full_like(pixels, 255)
        if rotation:
            pixels, cover = (
                np.asarray(Image.fromarray(one).rotate(rotation, Image.Resampling.BILINEAR, expand=True))
                for one in (pixels, cover)
            )
        corner = np.array(position) * self._scale - (pixels.shape[1] * share_left, 0)
        room = np.array(self._canvas.shape[1::-1]) - pixels.shape[1::-1]
        x, y = np.clip(np.round(corner), 0, np.maximum(room, 0)).astype(int).tolist()
        paint.plate(self._canvas, (x, y), pixels, (red, green, blue), (0, 0, 0), cover * (0.8 / 255))
        return self.output

    def draw_box(
        self, box_coord: Sequence[float], alpha: float = 0.5, edge_color: Color = "g", line_style: str = "-"
    ) -> VisImage:
        """Draw the outline of a box, x0 y0 x1 y1; ``alpha`` is the opacity of a solid line, other lines are opaque."""
        box = np.array(box_coord, np.float64) * self._scale
        if line_style in ("-", "solid") and np.isfinite(box).all():
            paint.frame(self._canvas, box, to_rgb(edge_color), self._line_width, alpha)
        else:
            corners = box[[[0, 1], [2, 1], [2, 3], [0, 3]]]
            paint.stroke(self._canvas, corners, to_rgb(edge_color), self._line_width, True, line_style)
        return self.output

    def draw_rotated_box_with_label(
        self,
        rotated_box: Sequence[float] | np.ndarray,
        alpha: float = 0.5,
        edge_color: Color = "g",
        line_style: str = "-",
        label: str | None = None,
    ) -> VisImage:
        """Draw a rotated box, its top side dashed, with a label at its top left corner if there is to be one.

        ``rotated_box`` is centre x, centre y, width, height, and degrees counter-clockwise. ``alpha`` has no effect:
        Detectron2's method has this argument, and draws opaque lines too.
        """
        x, y, width, height, angle = (float(v) for v in rotated_box)
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        halves = np.array([[-1, 1], [-1, -1], [1, -1], [1, 1]]) * (width / 2, height / 2)
        corners = halves @ np.array([[cos, -sin], [sin, cos]]) + (x, y)  # y points down
        if not np.isfinite(corners).all():
            return self.output
        rgb = to_rgb(edge_color)
        for k in range(4):
            side = corners[[k, (k + 1) % 4]] * self._scale
            paint.stroke(self._canvas, side, rgb, self._line_width, style="--" if k == 1 else line_style)
        if label is not None and self._is_visible(np.concatenate([corners.min(0), corners.max(0)])):
            self._labels.add(str(label), rgb, self._font_size, np.tile(corners[1], 2) * self._scale)
        return self.output

    def draw_circle(self, circle_coord: ArrayLike, color: Color, radius: float = 3) -> VisImage:
        """Draw a filled circle around the point x, y."""
        center = np.array(circle_coord, np.float64) * self._scale
        paint.disc(self._canvas, center, radius * self._scale, to_rgb(color))
        return self.output

    def draw_line(
        self, x_data: ArrayLike, y_data: ArrayLike, color: Color, linestyle: str = "-", linewidth: float | None = None
    ) -> VisImage:
        """Draw a line through the points of these x and y; ``linewidth`` is its width in pixels of the image."""
        points = np.stack([np.asarray(x_data, np.float64), np.asarray(y_data, np.float64)], axis=1)
        width = self._line_width if linewidth is None else max(1, round(linewidth * self._scale))
        paint.stroke(self._canvas, points * self._scale, to_rgb(color), width, style=linestyle)
        return self.output

    def draw_polygon(
        self, segment: Values, color: Color, edge_color: Color | None = None, alpha: float = 0.5
    ) -> VisImage:
        """Draw a filled polygon of the points x, y, (n, 2); its outline has the colour of the inside by default."""
        points = as_numpy(segment).astype(np.float64).reshape(-1, 2) * self._scale
        paint.fill(self._canvas, points, to_rgb(color), self._alpha(alpha))
        edge = to_rgb(color if edge_color is None else edge_color)
        paint.stroke(self._canvas, points, edge, self._outline_width, closed=True)
        return self.output

    def draw_binary_mask(
        self,
        binary_mask: Mask,
        color: Color | None = None,
        *,
        edge_color: Color | None = None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: int | None = 10,
        beside: bool = True,
    ) -> VisImage:
        """Draw a mask, (H, W), set where it is 0.5 or more; or in any other format that `GenericMask` takes.

        Its colour is random by default, and the outline's is that of the mask. Connected parts of fewer pixels than
        ``area_threshold`` are left out. A label for which the mask has no room goes beside it, or is left out when
        ``beside`` is false.
        """
        color = random_color(rgb=True, maximum=1) if color is None else color
        mask, rgb = self._mask(binary_mask), to_rgb(color)
        window = scaled(without_small_parts(mask.window, area_threshold), self._scale)
        paint.tint(self._canvas, window, rgb, self._alpha(alpha))
        paint.outline(self._canvas, window, to_rgb(color if edge_color is None else edge_color), self._outline_width)
        if text is not None and window[2].any():
            self._labels.add(text, rgb, self._font_size, mask.bbox() * self._scale, window, beside)
        return self.output

    def draw_soft_mask(
        self, soft_mask: Values, color: Color | None = None, *, text: str | None = None, alpha: float = 0.5
    ) -> VisImage:
        """Draw a mask whose pixels, (H, W) from 0 to 1, say how opaque each is; arguments as in `draw_binary_mask`."""
        rgb = to_rgb(random_color(rgb=True, maximum=1) if color is None else color)
        canvas, share = self._canvas, np.clip(np.nan_to_num(as_numpy(soft_mask).astype(np.float32)), 0, 1)
        mask = self._mask(share)
        share = cv2.resize(share, canvas.shape[1::-1], interpolation=cv2.INTER_LINEAR)[:, :, None] * self._alpha(alpha)
        canvas[:] = np.round(canvas + (np.array(rgb, np.float32) - canvas) * share).astype(np.uint8)
        if text is not None and mask.area():
            window = scaled(mask.window, self._scale)
            self._labels.add(text, rgb, self._font_size, mask.bbox() * self._scale, window)
        return self.output

    def _mask(self, mask: Mask) -> GenericMask:
        return as_masks([mask], self.img.shape[:2])[0]

    def _alpha(self, alpha: float) -> float:
        return alpha if self._opacity is None else self._opacity

    def _is_visible(self, box: np.ndarray) -> bool:
        """Tell whether a box reaches into the image; false too for one that is not a number."""
        height, width = self.img.shape[:2]
        return bool(box[0] <= width and box[1] <= height and box[2] >= 0 and box[3] >= 0)

    def _class_colors(self, classes: list[int], shaded: bool) -> list[tuple[float, ...]]:
        colors = shades(self.metadata, classes) if shaded else [class_color(self.metadata, i) for i in classes]
        return [unit(color) for color in colors]

    def _names(
        self,
        classes: list[int] | None,
        scores: list[float] | None,
        rows: Sequence[Mapping[str, Any]] = (),
        tracks: Values = (),
    ) -> list[str] | None:
        """Return the labels of instances of these classes, which may be tracked; see `text_labels`."""
        names = None if classes is None else [class_name(self.metadata, index) for index in classes]
        for i, track in enumerate(as_numpy(tracks)):
            if names and track >= 0:
                names[i] += f" #{track}"
        return text_labels(names, scores if self._with_scores else None, [bool(row.get("iscrowd")) for row in rows])

    def _gray_outside(self, windows: list[Window]) -> None:
        gray = cv2.cvtColor(cv2.cvtColor(self.img, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        for x, y, inside in windows:
            where = np.s_[y : y + inside.shape[0], x : x + inside.shape[1]]
            np.copyto(gray[where], self.img[where], where=inside[:, :, None].view(bool))
        self.output.reset_image(gray)

    def _draw_stuff(self, segments: list[tuple[int, GenericMask]], draw_text: bool = True, **style: Any) -> VisImage:
        """Draw segments of stuff, each a class and its mask, the largest first, in a style of `draw_binary_mask`."""
        for index, mask in sorted(segments, key=lambda segment: -segment[1].area()):
            color = unit(class_color(self.metadata, index, "stuff"))
            text = class_name(self.metadata, index, "stuff") if draw_text else None
            self.draw_binary_mask(mask, color, text=text, beside=False, **style)
        self._labels.repaint()
        return self.output


def draw(
    image: ImageLike,
    outputs: Outputs | Instances,
    metadata: Metadata | None = None,
    threshold: float = 0.5,
    **options: Any,
) -> np.ndarray:
    """Draw a prediction over its image.

    The picture has the image's size. Where that is less than 240 pixels on a side, labels that find no free place are
    left out; with ``scale`` the picture grows, and has room for them.

    Args:
        image: (H, W, 3) uint8, BGR, of the size that the prediction is in; or gray, (H, W); or the path of the image,
            or a Pillow image.
        outputs: what a `Predictor` returned, or the instances in it. Stuff segments are tinted where it has
            ``panoptic_seg``, all pixels where it has only ``sem_seg``; instances get their mask, box, keypoints, name
            and score; the best 100 proposals get their boxes.
        metadata: names and colours of the classes.
        threshold: instances that score less, from 0 to 1, are left out.
        **options: options of `Visualizer`: ``instance_mode``, ``line_width``, ``opacity``, ``scale``,
            ``font_size_scale``, ``font``, ``labels`` and ``scores``.

    Returns:
        A new (H, W, 3) uint8 array, BGR; ``scale`` times larger.

    Raises:
        ImageError: ``image`` is no image, or not of the prediction's size.
        ConfigError: ``threshold`` is no score.
        LitepredError: ``outputs`` is not what a predictor returns, or ``font`` is not a font.
    """
    if isinstance(outputs, Instances):
        outputs = {"instances": outputs}
    if isinstance(image, Mapping) or not isinstance(outputs, Mapping):
        raise LitepredError(
            f"draw() got {type(image).__name__} and {type(outputs).__name__}: expected an image, and the dict that "
            "predictor(image) returned"
        )
    threshold = score("threshold", threshold)
    array = image if isinstance(image, np.ndarray) else image_to_array(image)
    picture = as_rgb(array, "BGR")
    _check_sizes(outputs, picture.shape[:2])
    visualizer = Visualizer(picture[:, :, ::-1], metadata, **options)
    instances = outputs.get("instances")
    if instances is not None:
        instances = instances.to("cpu")
        if instances.has("scores"):
            instances = instances[instances.scores >= threshold]
    if "panoptic_seg" in outputs:
        ids, segments = outputs["panoptic_seg"]
        if instances is None:
            visualizer.draw_panoptic_seg(ids, segments)
        elif options.get("instance_mode") is not ColorMode.IMAGE_BW:
            described = segments_of(as_numpy(ids), segments, metadata)
            stuff = [segment for segment in described if not segment.get("isthing", True)]
            visualizer.draw_panoptic_seg(ids, stuff, alpha=_STUFF_OPACITY)
    elif "sem_seg" in outputs and instances is None:
        visualizer.draw_sem_seg(outputs["sem_seg"].max(dim=0).indices, alpha=_SEMANTIC_OPACITY)
    if instances is not None:
        visualizer.draw_instance_predictions(instances)
    elif "proposals" in outputs:
        visualizer.overlay_instances(boxes=outputs["proposals"].proposal_boxes[:_PROPOSALS])
    return np.ascontiguousarray(visualizer.output.canvas[:, :, ::-1])


def _check_sizes(outputs: Mapping[str, Any], size_hw: tuple[int, ...]) -> None:
    """Raise ImageError where a part of a prediction belongs to an image of another size than (H, W) ``size_hw``."""
    parts = {name: outputs[name] for name in _DRAWN if name in outputs}  # a model may return more
    for name, part in parts.items():
        own = part.image_size if isinstance(part, Instances) else np.shape(part[0] if name == "panoptic_seg" else part)
        if tuple(own[-2:]) != size_hw:
            raise ImageError(
                f"the image has {size_hw[1]} × {size_hw[0]} pixels, but {name!r} is of one with {own[-1]} × {own[-2]}: "
                "give the image that the predictor was given"
            )


def show(image: ImageLike, outputs: Outputs | Instances, metadata: Metadata | None = None, **options: Any) -> None:
    """Show in a notebook the picture that `draw` makes of a prediction, with the same arguments.

    By default ``scale`` limits the picture to 1,600 pixels a side, and enlarges that of a small image.

    Raises:
        LitepredError: outside a notebook.
    """
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError as error:
        raise LitepredError(
            "show() is for notebooks and needs IPython, which is not installed: pip install ipython; elsewhere write "
            "what litepred.draw() returns with cv2.imwrite"
        ) from error
    if get_ipython() is None:
        raise LitepredError("show() is for notebooks: elsewhere write what litepred.draw() returns with cv2.imwrite")
    display(notebook_picture(image, outputs, metadata, **options))


def notebook_picture(
    image: ImageLike, outputs: Outputs | Instances, metadata: Metadata | None = None, **options: Any
) -> VisImage:
    """Return the picture that `show` shows."""
    array = image if isinstance(image, np.ndarray) else image_to_array(image)
    size_hw = array.shape[:2]
    options.setdefault("scale", min(scale_to_look_at(size_hw), _NOTEBOOK_SIDE / max(size_hw)))
    return VisImage(draw(array, outputs, metadata, **options)[:, :, ::-1])
