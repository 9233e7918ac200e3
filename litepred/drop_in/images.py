"""Images out of files and from one order of channels to another, by Detectron2's names. H × W pixels, C channels."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from ..data import read_image as _read_image
from .files import PathManager


def read_image(file_name: str | os.PathLike[str], format: str | None = None) -> np.ndarray:
    """Read an image file, turned upright as its EXIF data say.

    Args:
        file_name: a path, or an address, which is downloaded.
        format: "BGR", "RGB" or another mode of Pillow; ``None`` for the file's own mode.

    Returns:
        (H, W, C) uint8; (H, W, 1) for "L".

    Raises:
        ImageError: when there is no such file or it is not an image that can be read whole.
    """
    path = PathManager.get_local_path(file_name)
    if format is not None:
        return _read_image(path, format)
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image))


def convert_PIL_to_numpy(image: Image.Image, format: str | None) -> np.ndarray:
    """Return a Pillow image as an array (H, W, C) in the order ``format``: "BGR" or a mode of Pillow."""
    array = np.asarray(image if format is None else image.convert("RGB" if format == "BGR" else format))
    if format == "BGR":
        return array[:, :, ::-1]
    return array[:, :, None] if format == "L" else array


def convert_image_to_rgb(image: np.ndarray | Tensor, format: str) -> np.ndarray:
    """Return an image (H, W, C) in the order ``format`` as RGB (H, W, 3), 0 to 255."""
    array = image.cpu().numpy() if isinstance(image, Tensor) else image
    if format == "BGR":
        return array[:, :, [2, 1, 0]]
    array = array.astype(np.uint8)
    return np.asarray(Image.fromarray(array[:, :, 0] if format == "L" else array).convert("RGB"))
