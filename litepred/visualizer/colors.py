"""Read colours as users write them, and choose the colours of classes and instances."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Integral

import numpy as np
from PIL import ImageColor

from ..data import Metadata, as_list

__all__ = ["class_color", "colormap", "palette_color", "random_color", "random_colors", "shades", "to_rgb", "unit"]

RGB = tuple[int, int, int]  # 0 to 255
Color = str | Sequence[float] | np.ndarray  # as `to_rgb` reads it

_LETTERS = {
    "b": "#0000ff", "g": "#008000", "r": "#ff0000", "c": "#00bfbf", "m": "#bf00bf", "y": "#bfbf00", "k": "#000000",
    "w": "#ffffff",
}  # fmt: skip
_COLORS = 72


def palette_color(index: int, turn: float = 0.0) -> RGB:
    """Return colour number ``index`` of an endless palette, in which neighbours differ; ``turn`` shifts all hues."""
    return _bytes(colorsys.hsv_to_rgb((index * 0.618034 + turn) % 1.0, 0.75, 0.9 - 0.25 * (index // 8 % 3) / 2))


def class_color(metadata: Metadata, index: int, kind: str = "thing") -> RGB:
    """Return the colour of a class: that of its data set, else one that follows from its number, any integer.

    The data set's colours are ``thing_colors`` and ``stuff_colors`` of its metadata, RGB from 0 to 255 or what `to_rgb`
    reads; ``kind`` is "thing" or "stuff".
    """
    colors = metadata.get(f"{kind}_colors")
    colors = colors if isinstance(colors, Mapping) else as_list(colors)
    if index in (colors if isinstance(colors, Mapping) else range(len(colors))):
        color = colors[index]
        if isinstance(color, str) or (max(color) <= 1 and not all(isinstance(part, Integral) for part in color)):
            return to_rgb(color)
        red, green, blue = color[:3]
        return int(red), int(green), int(blue)
    return palette_color(index, 0.0 if kind == "thing" else 0.5)


def _bytes(color: Sequence[float]) -> RGB:
    return round(color[0] * 255), round(color[1] * 255), round(color[2] * 255)


def shades(metadata: Metadata, classes: Sequence[int]) -> list[RGB]:
    """Return a colour per instance: that of its class, a bit different for each further instance of that class."""
    seen: Counter[int] = Counter()
    colors = []
    for index in classes:
        hue, light, saturation = colorsys.rgb_to_hls(*unit(class_color(metadata, index)))
        step = seen[index] * 0.618034 % 1.0 - (0.5 if seen[index] else 0.0)  # the first has the class's very colour
        seen[index] += 1
        mixed = colorsys.hls_to_rgb((hue + 0.06 * step) % 1.0, min(max(light + 0.3 * step, 0.1), 0.9), saturation)
        colors.append(_bytes(mixed))
    return colors


def to_rgb(color: Color) -> RGB:
    """Read a colour: a name as in CSS or one of matplotlib's letters, "#hex", a gray such as "0.5"; or RGB in [0, 1].

    RGB may come with an alpha, which is ignored.

    Raises:
        ValueError: when it is none of these.
    """
    if isinstance(color, str):
        try:
            return ImageColor.getrgb(_LETTERS.get(color, color))[:3]
        except ValueError:
            pass
        try:
            color = [float(color)] * 3
        except ValueError:
            raise ValueError(f"{color!r} is no colour: expected a name, '#rrggbb', or RGB from 0 to 1") from None
    parts = [float(v) for v in color]
    if len(parts) not in (3, 4) or not all(0 <= v <= 1 for v in parts):
        raise ValueError(f"the colour {tuple(parts)} came: expected red, green, blue from 0 to 1 (divide by 255?)")
    return _bytes(parts)


def unit(color: RGB) -> tuple[float, ...]:
    """Return a colour from 0 to 1, as `to_rgb` reads it."""
    return tuple(v / 255 for v in color)


def colormap(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """Return the first colours of the palette, (72, 3) float32 from 0 to ``maximum``, 255 or 1; BGR unless ``rgb``."""
    if maximum not in (255, 1):
        raise ValueError(f"maximum is {maximum}: expected 255 or 1")
    colors = np.array([palette_color(i) for i in range(_COLORS)], np.float32) * (maximum / 255)
    return colors if rgb else colors[:, ::-1]


def random_color(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """Return a random row of `colormap`, (3,) float32, chosen by NumPy's global generator."""
    return colormap(rgb, maximum)[np.random.randint(_COLORS)]


def random_colors(N: int, rgb: bool = False, maximum: int = 255) -> list[np.ndarray]:
    """Return ``N`` random rows of `colormap`; none comes twice before all were used."""
    order = np.concatenate([np.random.permutation(_COLORS) for _ in range(-(-N // _COLORS))] or [np.empty(0, int)])
    return list(colormap(rgb, maximum)[order[:N]])
