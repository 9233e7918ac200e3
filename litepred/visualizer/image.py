"""The picture that a visualizer draws on."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from ..data import bands_for_array
from ..errors import ImageError, LitepredError, WriteError
from ..files import whole_file

__all__ = ["SMALL_SIDE", "VisImage", "as_rgb", "bands_to_look_at", "scale_to_look_at"]

SMALL_SIDE = 240  # pixels of the shorter side, below which labels cover much of a picture

_SAVE_OPTIONS = {"PNG": {"compress_level": 3}, "JPEG": {"quality": 95}, "WEBP": {"quality": 95}}  # PNG: half the time


class VisImage:
    """An image with drawings on it.

    Args:
        img: (H, W, 3) uint8, RGB.
        scale: how many times larger the picture is than the image.

    Attributes:
        img: the image without drawings.
        scale: how many times larger the picture is.
        width: of the image, in pixels.
        height: of the image, in pixels.
        canvas: (H · scale, W · scale, 3) uint8, RGB, which the drawing methods change in place.
    """

    def __init__(self, img: np.ndarray, scale: float = 1.0) -> None:
        if not scale > 0:
            raise ValueError(f"scale is {scale}: expected more than 0")
        self.img, self.scale = img, scale
        self.height, self.width = img.shape[:2]
        self.canvas = self._resized(img)

    def _resized(self, img: np.ndarray) -> np.ndarray:
        size = max(int(self.width * self.scale + 1e-2), 1), max(int(self.height * self.scale + 1e-2), 1)
        if size == (self.width, self.height):
            return img.copy()
        smooth = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        return cv2.resize(img, size, interpolation=cv2.INTER_NEAREST if self.scale % 1 == 0 else smooth)

    def reset_image(self, img: np.ndarray) -> None:
        """Replace all that was drawn by another image of the same size, (H, W, 3) in RGB."""
        self.canvas[:] = self._resized(as_rgb(img))

    def get_image(self) -> np.ndarray:
        """Return a copy of the picture: (H · scale, W · scale, 3) uint8, RGB."""
        return self.canvas.copy()

    def _repr_png_(self) -> bytes:
        """Show the picture where a notebook's cell ends in it."""
        file = io.BytesIO()
        Image.fromarray(self.canvas).save(file, format="PNG")
        return file.getvalue()

    def save(self, filepath: str | os.PathLike[str]) -> None:
        """Write the picture, whole or not at all, in the format that the name's ending tells.

        Raises:
            LitepredError: when the ending is not that of an image format, or the file cannot be written.
        """
        path = Path(filepath)
        format = Image.registered_extensions().get(path.suffix.lower())
        if format is None or format not in Image.SAVE:
            raise LitepredError(f"cannot tell the format of {path.name!r}: expected a name like picture.png or .jpg")
        with whole_file(path) as file:
            try:
                Image.fromarray(self.canvas).save(file, format=format, **_SAVE_OPTIONS.get(format, {}))
            except WriteError:
                raise
            except (OSError, ValueError) as error:
                height, width = self.canvas.shape[:2]
                raise LitepredError(f"Pillow cannot save {width} × {height} pixels as {format}: {error}") from error


def scale_to_look_at(size_hw: tuple[int, ...]) -> int:
    """Return the whole factor by which the picture of a small image grows so large that labels have room in it.

    A shorter side of less than 240 pixels gets 480 or more, as far as the longer one has at most 1,600 then; other
    images get 1.
    """
    short, long = min(size_hw), max(size_hw)
    return max(1, min(-(-480 // short), 1600 // long)) if short < SMALL_SIDE else 1


def bands_to_look_at(image: np.ndarray, input_format: str) -> np.ndarray:
    """Return what is to be seen of an image (H, W, C) as `Predictor.read` gives it: uint8, gray or BGR.

    Of other than one or three bands, the first three of the file are red, green and blue, and of two the first is gray.
    Of floats the darkest and the brightest 2 % of each band become black and white.

    Args:
        image: uint8 or floats.
        input_format: of the predictor, "BGR" or "RGB".
    """
    number = image.shape[2]
    if number not in (1, 3):
        image = bands_for_array(image, number, input_format)[:, :, [2, 1, 0] if number > 2 else [0]]
    if image.dtype == np.uint8:
        return image
    low, high = np.percentile(image, (2, 98), axis=(0, 1)).astype(np.float32)
    return ((image - low) * (255 / np.maximum(high - low, 1e-9))).clip(0, 255).astype(np.uint8)


def as_rgb(image: ArrayLike, order: str = "RGB") -> np.ndarray:
    """Return an image as a new (H, W, 3) uint8 array: gray is repeated, values clipped to 0-255.

    Of more than three bands the first three are taken, which leaves alpha out, and of two the first.

    The channels keep their ``order``, which is for messages.

    Raises:
        ImageError: when it is not an image, or an empty one.
    """
    array = np.asarray(image)
    array = array[:, :, None] if array.ndim == 2 else array
    if array.ndim != 3 or not array.size:
        raise ImageError(f"an image came with shape {np.shape(image)}: expected (height, width, 3) in {order} order")
    array = array[:, :, : 3 if array.shape[2] >= 3 else 1].clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))
