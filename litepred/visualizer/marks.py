"""Single marks on a picture: text, lines, boxes, polygons, masks, and labels where there is room.

An image of H × W pixels. Coordinates are in the image's pixels; the picture is ``scale`` times larger. Colours are
what `to_rgb` reads: names, "#hex", or RGB from 0 to 1.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from . import paint
from .colors import RGB, random_color, to_rgb
from .image import VisImage, as_rgb
from .labels import LabelPlacer, spots_around, spots_inside
from .masks import GenericMask, Window, as_array, as_masks

__all__ = ["Marks"]

_SMALLEST_FONT = 11  # pixels


class Marks:
    """An image and the pen for it; each method returns the `VisImage` drawn on so far."""

    def __init__(
        self,
        image_rgb: Any,
        scale: float,
        font_size_scale: float,
        line_width: int | None,
        opacity: float | None,
        font: str | os.PathLike[str] | None,
    ) -> None:
        self.img = as_rgb(image_rgb)
        self.output = VisImage(self.img, scale)
        height, width = self.output.canvas.shape[:2]
        self._opacity, self._font = opacity, None if font is None else os.fspath(font)
        self._font_size = max((height * width) ** 0.5 / 72, _SMALLEST_FONT) * font_size_scale
        self._line_width = line_width or max(1, round(min(height, width) / 400 + 0.5))
        self._placer = LabelPlacer(self.output.canvas.copy())
        self._plates: list[tuple[Any, ...]] = []  # the labels so far

    def get_output(self) -> VisImage:
        """Return the picture."""
        return self.output

    def draw_text(
        self,
        text: str,
        position: Sequence[float],
        *,
        font_size: float | None = None,
        color: Any = "g",
        horizontal_alignment: str = "center",
        rotation: float = 0,
    ) -> VisImage:
        """Write on a dark plate, moved inside the picture where it would leave it.

        Args:
            text: one line.
            position: x, y of the plate's top left corner, top middle or top right corner.
            font_size: in pixels of the image.
            color: of the text; made lighter where it is dark.
            horizontal_alignment: "left", "center" or "right".
            rotation: degrees counter-clockwise.
        """
        ink = np.maximum(to_rgb(color), 51)
        ink[ink.argmax()] = max(ink.max(), 204)
        size = self._font_size if font_size is None else font_size * self.output.scale
        pixels = paint.text_pixels(str(text), max(round(size), 1), self._font)
        shape = np.full_like(pixels, 255)
        if rotation:
            pixels, shape = (
                np.asarray(Image.fromarray(one).rotate(rotation, Image.Resampling.BILINEAR, expand=True))
                for one in (pixels, shape)
            )
        back = {"left": 0.0, "center": 0.5, "right": 1.0}.get(horizontal_alignment)
        if back is None:
            raise ValueError(f"horizontal_alignment is {horizontal_alignment!r}: expected left, center or right")
        corner = np.array(position) * self.output.scale - (pixels.shape[1] * back, 0)
        room = np.array(self.output.canvas.shape[1::-1]) - pixels.shape[1::-1]
        x, y = np.clip(np.round(corner), 0, np.maximum(room, 0)).astype(int).tolist()
        red, green, blue = ink.tolist()
        paint.plate(self.output.canvas, (x, y), pixels, (red, green, blue), (0, 0, 0), 0.8, shape)
        return self.output

    def draw_box(
        self, box_coord: Sequence[float], alpha: float = 0.5, edge_color: Any = "g", line_style: str = "-"
    ) -> VisImage:
        """Draw the outline of a box.

        Args:
            box_coord: x0, y0, x1, y1.
            alpha: opacity of a solid line.
            edge_color: of the line.
            line_style: "-", "--", ":" or "-.".
        """
        box = np.array(box_coord, np.float64) * self.output.scale
        if line_style in ("-", "solid") and np.isfinite(box).all():
            paint.frame(self.output.canvas, box, to_rgb(edge_color), self._line_width, alpha)
        else:
            corners = box[[[0, 1], [2, 1], [2, 3], [0, 3]]]
            paint.stroke(self.output.canvas, corners, to_rgb(edge_color), self._line_width, True, line_style)
        return self.output

    def draw_rotated_box_with_label(
        self,
        rotated_box: Sequence[float],
        alpha: float = 0.5,
        edge_color: Any = "g",
        line_style: str = "-",
        label: str | None = None,
    ) -> VisImage:
        """Draw a rotated box, its top side dashed, with a label at its top left corner.

        Args:
            rotated_box: centre x, centre y, width, height, and degrees counter-clockwise.
            alpha: taken for the sake of Detectron2's signature; the lines are opaque there too.
            edge_color: of the lines.
            line_style: of the three other sides.
            label: the text, if any.
        """
        x, y, width, height, angle = (float(v) for v in rotated_box)
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        halves = np.array([[-1, 1], [-1, -1], [1, -1], [1, 1]]) * (width / 2, height / 2)
        corners = halves @ np.array([[cos, -sin], [sin, cos]]) + (x, y)  # y points down
        if not np.isfinite(corners).all():
            return self.output
        for k in range(4):
            sides = corners[[k, (k + 1) % 4]] * self.output.scale
            style = "--" if k == 1 else line_style
            paint.stroke(self.output.canvas, sides, to_rgb(edge_color), self._line_width, style=style)
        if label is not None and self._visible(np.concatenate([corners.min(0), corners.max(0)])):
            self._label(label, to_rgb(edge_color), self._font_size, np.tile(corners[1], 2))
        return self.output

    def draw_circle(self, circle_coord: Sequence[float], color: Any, radius: float = 3) -> VisImage:
        """Draw a filled circle around x, y."""
        center = np.array(circle_coord, np.float64) * self.output.scale
        paint.disc(self.output.canvas, center, radius * self.output.scale, to_rgb(color))
        return self.output

    def draw_line(
        self,
        x_data: Sequence[float],
        y_data: Sequence[float],
        color: Any,
        linestyle: str = "-",
        linewidth: float | None = None,
    ) -> VisImage:
        """Draw a line through points.

        Args:
            x_data: their x.
            y_data: their y, as many.
            color: of the line.
            linestyle: "-", "--", ":" or "-.".
            linewidth: in pixels of the image.
        """
        points = np.stack([np.asarray(x_data, np.float64), np.asarray(y_data, np.float64)], axis=1)
        width = self._line_width if linewidth is None else max(1, round(linewidth * self.output.scale))
        paint.stroke(self.output.canvas, points * self.output.scale, to_rgb(color), width, style=linestyle)
        return self.output

    def draw_polygon(self, segment: Any, color: Any, edge_color: Any = None, alpha: float = 0.5) -> VisImage:
        """Draw a filled polygon.

        Args:
            segment: (n, 2), x, y of its points.
            color: of its inside.
            edge_color: of its outline; by default as its inside.
            alpha: opacity of its inside.
        """
        points = as_array(segment).astype(np.float64).reshape(-1, 2) * self.output.scale
        paint.fill(self.output.canvas, points, to_rgb(color), self._alpha(alpha))
        edge = to_rgb(color if edge_color is None else edge_color)
        paint.stroke(self.output.canvas, points, edge, max(1, self._line_width // 2), closed=True)
        return self.output

    def draw_binary_mask(
        self,
        binary_mask: Any,
        color: Any = None,
        *,
        edge_color: Any = None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: int | None = 10,
    ) -> VisImage:
        """Draw a mask.

        Args:
            binary_mask: (H, W), set where it is 0.5 or more.
            color: of the mask; by default a random one.
            edge_color: of its outline; by default as the mask.
            text: written in it.
            alpha: opacity.
            area_threshold: connected parts of fewer pixels are left out.
        """
        rgb = _rgb_or_random(color)
        edge = rgb if edge_color is None else to_rgb(edge_color)
        self._draw_mask(self._mask(binary_mask), rgb, edge, text, alpha, area_threshold, every_text=True)
        return self.output

    def draw_soft_mask(
        self, soft_mask: Any, color: Any = None, *, text: str | None = None, alpha: float = 0.5
    ) -> VisImage:
        """Draw a mask whose pixels, (H, W) from 0 to 1, say how opaque each is; arguments as in `draw_binary_mask`."""
        rgb, canvas = _rgb_or_random(color), self.output.canvas
        share = np.clip(np.nan_to_num(as_array(soft_mask).astype(np.float32)), 0, 1)
        inside = self._mask(share)
        share = cv2.resize(share, canvas.shape[1::-1], interpolation=cv2.INTER_LINEAR)[:, :, None] * self._alpha(alpha)
        canvas[:] = np.round(canvas + (np.array(rgb, np.float32) - canvas) * share).astype(np.uint8)
        if text is not None and inside.area():
            self._label(text, rgb, self._font_size, inside.bbox(), self._scaled(inside.window))
        return self.output

    def _alpha(self, alpha: float) -> float:
        return alpha if self._opacity is None else self._opacity

    def _mask(self, mask: Any) -> GenericMask:
        return self.read_masks([mask])[0]

    def read_masks(self, masks: Any, boxes: np.ndarray | None = None, *, even_odd: bool = False) -> list[GenericMask]:
        """Read masks of any format; arguments as in `as_masks`."""
        height, width = self.img.shape[:2]
        return as_masks(masks, height, width, boxes, even_odd=even_odd)

    def _draw_mask(
        self,
        mask: GenericMask,
        color: RGB,
        edge: RGB,
        text: str | None,
        alpha: float,
        area_threshold: int | None,
        every_text: bool,
    ) -> None:
        x, y, inside = mask.window
        if area_threshold and area_threshold > 1 and inside.size:
            _, parts, stats, _ = cv2.connectedComponentsWithStats(inside)
            large = stats[:, cv2.CC_STAT_AREA] >= area_threshold
            large[0] = False
            inside = large[parts].view(np.uint8)
        window = self._scaled((x, y, inside))
        paint.tint(self.output.canvas, window, color, self._alpha(alpha))
        paint.outline(self.output.canvas, window, edge, max(1, self._line_width // 2))
        if text is not None and inside.any():
            self._label(text, color, self._font_size, mask.bbox(), window, every_text)

    def _visible(self, box: np.ndarray) -> bool:
        height, width = self.img.shape[:2]
        return bool(box[0] <= width and box[1] <= height and box[2] >= 0 and box[3] >= 0)

    def _scaled(self, window: Window) -> Window:
        scale, (x, y, inside) = self.output.scale, window
        if scale == 1 or not inside.size:
            return window
        x0, y0 = round(x * scale), round(y * scale)
        width = max(round((x + inside.shape[1]) * scale) - x0, 1)
        height = max(round((y + inside.shape[0]) * scale) - y0, 1)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return x0, y0, (cv2.resize(inside * 255, (width, height), interpolation=how) >= 128).view(np.uint8)

    def _label(
        self, text: str, color: RGB, size: float, box: np.ndarray, window: Window | None = None, always: bool = True
    ) -> None:
        """Put a plate where it is free, at a box of the image; in a mask where ``window`` is given and wide enough."""
        height, width = self.output.canvas.shape[:2]
        text = str(text)
        pixels = paint.text_pixels(text, max(round(size), _SMALLEST_FONT), self._font)
        if pixels.shape[1] > width:
            pixels = paint.text_pixels(text, max(int(size * width / pixels.shape[1]), 7), self._font)
        if pixels.shape[1] > width or pixels.shape[0] > height:
            return  # no room in the whole picture
        box = np.clip(box * self.output.scale, 0, (width, height, width, height))
        spots, costs = spots_around(box, pixels.shape[1], pixels.shape[0])
        if window is not None:
            inner, inner_costs, depth = spots_inside(window, pixels.shape[1], pixels.shape[0])
            if 2 * depth >= pixels.shape[0]:
                spots, costs = np.concatenate([inner, spots]), np.concatenate([inner_costs, costs + 1])
            elif not always:
                return
        corner = self._placer.place(pixels.shape[1], pixels.shape[0], spots, costs, box if window is None else None)
        light = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140
        self._plates.append((corner, pixels, (0, 0, 0) if light else (255, 255, 255), color))
        paint.plate(self.output.canvas, *self._plates[-1])

    def _repaint_labels(self) -> None:
        """Bring the labels so far in front of what was drawn since."""
        for one in self._plates:
            paint.plate(self.output.canvas, *one)


def _rgb_or_random(color: Any) -> RGB:
    return to_rgb(random_color(rgb=True, maximum=1) if color is None else color)
