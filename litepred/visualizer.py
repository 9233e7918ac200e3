"""Pictures of what a model found, drawn with Pillow.

N instances, H × W pixels. Images are uint8 arrays in BGR order.
"""

from __future__ import annotations

import colorsys
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .data import Metadata, class_name

__all__ = ["class_color", "draw"]

_MASK_OPACITY = 0.4
_STUFF_OPACITY = 0.25


def class_color(metadata: Metadata, index: int, kind: str = "thing") -> tuple[int, int, int]:
    """Return the RGB colour of a class: the data set's own, else one that always follows from the number."""
    colors = metadata.get(f"{kind}_colors") or ()
    if 0 <= index < len(colors):
        red, green, blue = colors[index]
        return int(red), int(green), int(blue)
    hue = (index * 0.618034 + (0.0 if kind == "thing" else 0.5)) % 1.0  # golden-ratio steps keep neighbours apart
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.9 - 0.25 * (index // 8 % 3) / 2)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw(
    image: np.ndarray, outputs: dict[str, Any], metadata: Metadata | None = None, threshold: float = 0.5
) -> np.ndarray:
    """Draw a prediction over its image.

    Args:
        image: (H, W, 3) uint8, BGR, of the size that the prediction is in.
        outputs: what a `Predictor` returned. Stuff segments are tinted where it has ``panoptic_seg``, all pixels where
            it has only ``sem_seg``; instances get their mask, box, name and score.
        metadata: names and colours.
        threshold: instances below this score are left out.

    Returns:
        A new (H, W, 3) uint8 array, BGR.
    """
    metadata = metadata or Metadata()
    canvas = image[:, :, ::-1].copy()  # RGB, and ours to change
    instances = outputs.get("instances")
    if "panoptic_seg" in outputs:
        ids, segments = outputs["panoptic_seg"]
        ids = ids.cpu().numpy()
        for segment in segments:
            if not segment["isthing"]:
                _tint(
                    canvas, ids == segment["id"], class_color(metadata, segment["category_id"], "stuff"), _STUFF_OPACITY
                )
    elif "sem_seg" in outputs and instances is None:
        labels = outputs["sem_seg"].argmax(dim=0).cpu().numpy()
        for label in np.unique(labels):
            _tint(canvas, labels == label, class_color(metadata, int(label), "stuff"), _MASK_OPACITY)
    if instances is None:
        return np.ascontiguousarray(canvas[:, :, ::-1])

    instances = instances[instances.scores >= threshold].to("cpu")
    boxes, scores = instances.pred_boxes.tensor.tolist(), instances.scores.tolist()
    classes = instances.pred_classes.tolist()
    colors = [class_color(metadata, label) for label in classes]
    if instances.has("pred_masks"):
        for mask, color in zip(instances.pred_masks.numpy(), colors):
            _tint(canvas, mask, color, _MASK_OPACITY)
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    short_edge = min(picture.size)
    line_width = max(1, round(short_edge / 400))
    font = _font(max(10, round(short_edge / 55)))
    for box, color in zip(boxes, colors):
        pen.rectangle(box, outline=color, width=line_width)
    for box, score, label, color in reversed(list(zip(boxes, scores, classes, colors))):  # the best label on top
        _label(pen, f"{class_name(metadata, label)} {score:.0%}", box[:2], color, font)
    return np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])


def _tint(canvas: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], opacity: float) -> None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    part, inside = canvas[window], mask[window]
    part[inside] = (part[inside] * (1 - opacity) + np.array(color) * opacity).astype(np.uint8)


@lru_cache(maxsize=8)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _label(pen: ImageDraw.ImageDraw, text: str, corner: list[float], color: tuple[int, int, int], font: Any) -> None:
    """Write on a plate above the box's top-left corner, moved inside the picture where it would leave it."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 6
    picture_width, picture_height = pen.im.size
    x = max(0, min(corner[0], picture_width - width))
    y = max(0, min(corner[1] - height, picture_height - height))
    pen.rectangle((x, y, x + width, y + height), fill=color)
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 150
    pen.text((x + 3 - left, y + 3 - top), text, fill=(0, 0, 0) if bright else (255, 255, 255), font=font)
