"""Images in: read from a file or taken from memory, turned upright, in the wanted channel order.

H × W pixels, C channels. Arrays are uint8, BGR as OpenCV has them, unless said otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..errors import ImageError

__all__ = ["as_array", "read_image"]


def read_image(path: str | os.PathLike[str], format: str = "BGR") -> np.ndarray:
    """Read an image file, turned upright as its EXIF data say.

    Args:
        path: of anything that Pillow reads.
        format: "BGR" or "RGB", or a mode of Pillow such as "L".

    Returns:
        (H, W, 3) uint8 in that order; (H, W, 1) for "L".

    Raises:
        ImageError: when there is no such file or it is not an image that can be read whole.
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(
            f"there is no file {str(path)!r}: expected an image file; the working folder is {os.getcwd()!r}"
        )
    if not path.is_file():
        kind = "a directory" if path.is_dir() else "not a regular file"
        raise ImageError(f"{str(path)!r} is {kind}: expected an image file")
    try:
        with Image.open(path) as image:
            return _pil_to_array(image, format)
    except Image.UnidentifiedImageError as error:
        with path.open("rb") as file:
            start = file.read(16)
        raise ImageError(
            f"{str(path)!r} is not an image that Pillow knows: it has {path.stat().st_size} bytes and starts with "
            f"{start!r}; expected PNG, JPEG, TIFF, WebP, BMP …"
        ) from error
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise all sorts on damaged files
        raise ImageError(f"{str(path)!r} cannot be read as an image ({error}): is the file complete?") from error


def _pil_to_array(image: Image.Image, format: str) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    array = np.array(image.convert("RGB" if format == "BGR" else format))
    if array.ndim == 2:
        array = array[:, :, None]
    return np.ascontiguousarray(array[:, :, ::-1]) if format == "BGR" else array


def as_array(image: Any, channels: int = 3, format: str = "BGR") -> np.ndarray:
    """Return ``image`` as a contiguous uint8 array (H, W, ``channels``) in the order ``format``.

    Args:
        image: a path; a Pillow image (turned upright as its EXIF data say); or a uint8 array, (H, W, 3) in BGR order,
            (H, W) or (H, W, 1) gray, or (H, W, 4) BGRA, whose alpha is dropped; any strides.
        channels: what the model takes. An array that has just as many is passed through, BGR to ``format``.
        format: "BGR" or "RGB".

    Raises:
        ImageError: for anything else.
    """
    if isinstance(image, (str, os.PathLike)):
        image = read_image(image, "BGR" if channels == 3 else "L")
    elif isinstance(image, Image.Image):
        try:
            image = _pil_to_array(image, "BGR" if channels == 3 else "L")
        except Exception as error:  # an image that is opened lazily is decoded here
            raise ImageError(
                f"the Pillow image {image!r} cannot be decoded ({error}): is its file complete?"
            ) from error
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"{type(image).__name__} is not an image: expected a path, a Pillow image or a uint8 array (H, W, 3) in "
            "BGR order; call .numpy() on a tensor and bring its channels to the end"
        )
    expected = f"expected uint8 (H, W, {channels})" + (" in BGR order, (H, W) or (H, W, 4)" if channels == 3 else "")
    came = f"an array of shape {image.shape} and dtype {image.dtype}"
    if image.dtype != np.uint8:
        raise ImageError(f"{came} is not an image: {expected}; scale its values to 0…255 and call .astype(numpy.uint8)")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or 0 in image.shape:
        raise ImageError(f"{came} is not an image: {expected}, height and width at least 1")
    if channels == 3 and image.shape[2] == 4:
        image = image[:, :, :3]
    elif channels == 3 and image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if image.shape[2] != channels:
        raise ImageError(f"{came} has {image.shape[2]} channels: {expected}")
    return np.ascontiguousarray(image[:, :, ::-1] if format == "RGB" else image)
