"""Paint on pixels: tints, outlines, lines, frames and text plates.

A canvas is (H, W, 3) uint8, RGB, and is changed in place. Coordinates are in its pixels, x before y; what lies
outside is left out.
"""

from __future__ import annotations

import unicodedata
import warnings
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from ..errors import wording
from .colors import RGB
from .masks import Window

__all__ = ["disc", "fill", "frame", "outline", "plate", "stroke", "system_fonts", "text_pixels", "tint"]

_LATIN_GREEK_CYRILLIC = str(Path(__file__).parent / "fonts" / "DejaVuSans.ttf")
_SYSTEM_FONTS = (  # by the names under which Pillow looks for them in the system's folders
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "arial.ttf", "Arial.ttf"),
    *("ArialUnicode.ttf", "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "msyh.ttc", "msgothic.ttc", "malgun.ttf"),
    *("PingFang.ttc", "seguisym.ttf"),
)
_NO_LETTER = "\U0010ffff"
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_OUTLINE_OPACITY = 0.7
_OPAQUE = np.float32(1)
_SHIFT = 4  # OpenCV takes coordinates in 1 / 2**_SHIFT pixels
_DASHES = ((), (6, 4), (1.5, 2), (6, 3, 1.5, 3))  # lengths drawn and left out, in line widths
_STYLES = dict(zip(["-", "--", ":", "-.", "solid", "dashed", "dotted", "dashdot"], _DASHES * 2))


def tint(canvas: np.ndarray, window: Window, color: RGB, opacity: float) -> None:
    """Mix a colour into the pixels of a mask."""
    x, y, inside = window
    part = canvas[y : y + inside.shape[0], x : x + inside.shape[1]]
    if part.size:
        mixed = cv2.LUT(np.ascontiguousarray(part), _ramp(color, opacity))
        keep = np.ascontiguousarray(inside[: part.shape[0], : part.shape[1]] == 0).view(np.uint8)
        part[:] = cv2.copyTo(np.ascontiguousarray(part), keep, mixed)


@lru_cache(maxsize=256)
def _ramp(color: RGB, opacity: float) -> np.ndarray:
    values = np.arange(256)[:, None] * (1 - opacity) + np.array(color) * opacity
    return np.round(values).astype(np.uint8)[None]  # (1, 256, 3)


def outline(canvas: np.ndarray, window: Window, color: RGB, width: int) -> None:
    """Mark the inner edges of a mask, holes included."""
    x, y, inside = window
    if inside.size:
        deep = cv2.erode(inside, _CROSS, iterations=width, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        tint(canvas, (x, y, inside - deep), color, _OUTLINE_OPACITY)


def _fixed(canvas: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Turn coordinates into OpenCV's, whose integers are pixel centres; points far outside are moved nearer."""
    reach = 2 * max(canvas.shape)
    return np.round((np.clip(points, -reach, reach) - 0.5) * 2**_SHIFT).astype(np.int32)


def stroke(
    canvas: np.ndarray, points: np.ndarray, color: RGB, width: int, closed: bool = False, style: str = "-"
) -> None:
    """Draw a line through ``points`` (n, 2), with the line styles of matplotlib."""
    pieces = [points[np.isfinite(points).all(axis=1)]]
    if not len(pieces[0]):
        return
    if style not in _STYLES:
        raise ValueError(f"the line style {style!r} is not known: expected one of {', '.join(_STYLES)}")
    if _STYLES[style]:
        path = np.concatenate([pieces[0], pieces[0][:1]]) if closed else pieces[0]
        lengths = np.array(_STYLES[style]) * width
        pieces, closed = [dash for ends in pairwise(path) for dash in _dashes(*ends, lengths)], False
    cv2.polylines(canvas, [_fixed(canvas, p) for p in pieces], closed, color, width, cv2.LINE_AA, _SHIFT)


def _dashes(start: np.ndarray, end: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Cut a line into dashes, (2, 2) each."""
    length = float(np.linalg.norm(end - start))
    ends = np.cumsum(np.tile(lengths, int(min(length, 1e5) // lengths.sum()) + 1))
    ends = np.clip(np.concatenate([[0.0], ends]) / max(length, 1e-9), 0, 1)
    return [start + np.array([[a], [b]]) * (end - start) for a, b in zip(ends[:-1:2], ends[1::2]) if b > a]


def frame(canvas: np.ndarray, box: np.ndarray, color: RGB, width: int, opacity: float = 1.0) -> None:
    """Draw the outline of ``box`` (x0, y0, x1, y1), its line centred on the sides."""
    limits = np.array([canvas.shape[1], canvas.shape[0]] * 2) + 2 * width
    x0, y0, x1, y1 = (np.round(np.clip(box, -2 * width, limits)).astype(int) - width // 2).tolist()
    x1, y1 = max(x1, x0), max(y1, y0)
    strips = [(x0, y0, x1 + width, y0 + width), (x0, y1, x1 + width, y1 + width)]
    strips += [(x, y0 + width, x + width, y1) for x in (x0, x1)]
    for left, top, right, bottom in strips:
        part = canvas[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if part.size:
            part[:] = color if opacity >= 1 else cv2.LUT(np.ascontiguousarray(part), _ramp(color, opacity))


def fill(canvas: np.ndarray, points: np.ndarray, color: RGB, opacity: float) -> None:
    """Mix a colour into a polygon (n, 2)."""
    if not len(points) or not np.isfinite(points).all():
        return
    size = canvas.shape[1], canvas.shape[0]
    x0, y0 = np.clip(np.floor(points.min(0)), 0, size).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(points.max(0)) + 1, 0, size).astype(int).tolist()
    if x1 > x0 and y1 > y0:
        inside = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(inside, [_fixed(canvas, points - (x0, y0))], 1, shift=_SHIFT)
        tint(canvas, (x0, y0, inside), color, opacity)


def disc(canvas: np.ndarray, center: np.ndarray, radius: float, color: RGB) -> None:
    """Draw a filled circle."""
    if np.isfinite(center).all():
        x, y = _fixed(canvas, center).tolist()
        cv2.circle(canvas, (x, y), max(round(radius * 2**_SHIFT), 1), color, -1, cv2.LINE_AA, _SHIFT)


@lru_cache(maxsize=16)
def _font(path: str | None, size: int) -> Any:
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)


def _face_for(text: str, path: str | None, size: int) -> Any:
    """Return the first font that has all letters of a text: the one that was given; or Pillow's, ours, the system's.

    Where there is none, a warning names the letters, and the font that lacks the fewest is taken.
    """
    face, lacking = _font(path, size), _lacking(_font(path, size), text)
    for name in (_LATIN_GREEK_CYRILLIC, *_SYSTEM_FONTS) if lacking and path is None else ():
        with suppress(OSError):
            other = _font(name, size)
            if len(left := _lacking(other, text)) < len(lacking):
                face, lacking = other, left
    if lacking:
        letters = "".join(sorted(lacking))
        advice = wording("pass the path of one that has, font=…", "install one that has, such as Noto Sans")
        warnings.warn(f"no font that was found has {letters!r}: {advice}", stacklevel=2)
    return face


def system_fonts() -> list[str]:
    """Return the names of the fonts of the system that are tried for letters which the first one lacks."""
    found = []
    for name in _SYSTEM_FONTS:
        with suppress(OSError):
            found.append(_font(name, 12) and name)
    return found


def _lacking(face: Any, text: str) -> set[str]:
    absent = bytes(face.getmask(_NO_LETTER))
    return {one for one in text if not (one.isascii() or one.isspace()) and bytes(face.getmask(one)) == absent}


@lru_cache(maxsize=512)
def text_pixels(text: str, size: int, font: str | None = None) -> np.ndarray:
    """Render a line of text, ``size`` pixels high: (h, w) uint8 coverage with a margin; h follows from font and size.

    ``font`` is the path of a TrueType font; by default Pillow's own, the one that comes along for further letters of
    Latin, Greek and Cyrillic, or one of the system's for other scripts. A warning names letters that none has. Line
    ends in the text become spaces.
    """
    text = unicodedata.normalize("NFC", " ".join(text.splitlines()))
    face = _face_for(text, font, size)
    if not features.check("raqm") and any(unicodedata.bidirectional(one) in ("R", "AL") for one in text):
        advice = "install the system's library FriBiDi, by which Pillow sets them"
        warnings.warn(f"letters that are written from the right are drawn from the left: {advice}", stacklevel=2)
    left, _, right, _ = face.getbbox(text)
    ascent, descent = face.getmetrics()
    margin = max(2, size // 5)
    picture = Image.new("L", (max(int(right - left), 1) + 2 * margin, ascent + descent + margin // 2))
    ImageDraw.Draw(picture).text((margin - left, margin // 4), text, fill=255, font=face)
    return np.asarray(picture)


def plate(
    canvas: np.ndarray,
    corner: tuple[int, int],
    text: np.ndarray,
    ink: RGB,
    paper: RGB,
    cover: np.ndarray | np.float32 = _OPAQUE,
) -> None:
    """Paint `text_pixels` in the colour ``ink`` on a plate of the colour ``paper``.

    ``corner`` is x, y of the plate's top left pixel, inside the picture; ``cover`` is how opaque each pixel of the
    plate is, (h, w) from 0 to 1.
    """
    x, y = corner
    part = canvas[y : y + text.shape[0], x : x + text.shape[1]]
    height, width = part.shape[:2]
    under = np.broadcast_to(cover, text.shape)[:height, :width, None]
    over = text[:height, :width, None] * np.float32(1 / 255)
    mixed = part + (np.array(paper, np.float32) - part) * under
    part[:] = np.round(mixed + (np.array(ink, np.float32) - mixed) * over).astype(np.uint8)
