"""Read images from files or take them from memory: upright, as uint8, in the wanted channel order.

H × W pixels, C channels. Arrays are uint8, BGR as OpenCV has them, unless said otherwise.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, TypeAlias, Union

import numpy as np
from PIL import Image, ImageOps

from ..errors import ImageError, wording
from ..files import is_address
from .decoders import IMAGE_FORMATS, open_image
from .video import VIDEO_SUFFIXES

__all__ = ["ImageLike", "image_to_array", "read_image"]

# A path, an open binary file, a Pillow image, or an array; see `image_to_array`.
ImageLike: TypeAlias = Union[str, "os.PathLike[str]", BinaryIO, Image.Image, np.ndarray]

_IS_PROGRAM = "is EPS, which is drawn by running a program: convert it to PNG first"  # by Ghostscript


def read_image(path: str | os.PathLike[str] | BinaryIO, format: str = "BGR") -> np.ndarray:
    """Read an image file, turned upright as its EXIF data say; where it has several frames or pages, the first.

    Args:
        path: of a file whose content is of a format in `litepred.data.IMAGE_FORMATS`; or an open binary file, such as
            ``io.BytesIO(data)``.
        format: order of the channels, "BGR" or "RGB"; or a mode of Pillow, such as "L" for gray.

    Returns:
        (H, W, 3) uint8 in that order, or (H, W, 1) for "L".

    Raises:
        ImageError: when there is no such file or it is not an image that can be read whole.
    """
    name = _existing(path) if isinstance(path, (str, os.PathLike)) else f"the {type(path).__name__}"
    try:
        with open_image(path) as image:
            several = image.format == "TIFF" and getattr(image, "is_animated", False)
            array = _pil_to_array(image, format)
    except Exception as error:  # Pillow's decoders raise all sorts on damaged files
        raise ImageError(f"{name} {_reason(error, path)}") from error
    if several:
        warnings.warn(f"{name} has several pages, and the first is taken: pass each as a Pillow image", stacklevel=2)
    return array


def _existing(path: str | os.PathLike[str]) -> str:
    """Return the path of a file in quotation marks, as messages show it."""
    name = os.fspath(path)
    if not os.path.exists(name):  # unlike Path.exists(), never an error of its own
        advice = f"expected an image file; the working folder is {os.getcwd()!r}"
        if is_address(str(name)):
            advice = "addresses are not opened, download the image first"
        raise ImageError(f"there is no file {str(name)!r}: {advice}")
    path = Path(name)
    if not path.is_file():
        kind, advice = "not a regular file", ""
        if path.is_dir():
            kind = "a directory"
            advice = wording("; predictor.batch(sorted(Path(folder).iterdir())) takes all that are in one", "")
        raise ImageError(f"{str(path)!r} is {kind}: expected an image file{advice}")
    return repr(str(path))


class _UnfitError(Exception):
    """The file is not an image, or it cannot be turned into an image of the wanted kind."""


def _reason(error: Exception, source: str | os.PathLike[str] | BinaryIO | None = None) -> str:
    """Finish a sentence that begins with the name of an image that cannot be read."""
    if isinstance(error, _UnfitError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        advice = wording("if the file can be trusted, raise PIL.Image.MAX_IMAGE_PIXELS", "make it smaller first")
        return f"is too large ({error}): {advice}"
    if str(source).lower().endswith(VIDEO_SUFFIXES):
        advice = wording("predictor.stream(path) goes through its frames", "only litepred predict takes videos")
        return f"is a video: expected an image; {advice}"
    if isinstance(error, Image.UnidentifiedImageError) and source is not None:
        with open(source, "rb") if isinstance(source, (str, os.PathLike)) else nullcontext(source) as file:
            size, _ = file.seek(0, os.SEEK_END), file.seek(0)
            head = file.read(16)
        if head.startswith(b"%!PS"):
            return _IS_PROGRAM
        return (
            f"is no image of a format that is opened: it has {size} bytes and starts with {head!r}; expected "
            f"{', '.join(IMAGE_FORMATS)}. Convert it to PNG"
            + wording(", or add its format to litepred.data.IMAGE_FORMATS", "")
        )
    return f"cannot be read as an image ({error}): is the file complete?"


def _pil_to_array(image: Image.Image, format: str) -> np.ndarray:
    if image.format == "EPS":
        raise _UnfitError(_IS_PROGRAM)
    image.load()
    is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")  # Pillow before 10.3
    # Orientation is an extra: an image whose EXIF data are damaged is taken as it is stored.
    with contextlib.suppress(Exception):
        image = ImageOps.exif_transpose(image)
    mode = "RGB" if format == "BGR" else format
    if image.mode != mode and image.mode[0] in "IF":  # I;16 and its relatives, I, F
        image = _to_8_bits(image, is_16_bit)
    try:
        array = np.array(image.convert(mode))
    except ValueError as error:
        raise _UnfitError(
            f"has Pillow's mode {image.mode}, which cannot become {mode} ({error}): convert it"
        ) from error
    if array.ndim == 2:
        array = array[:, :, None]
    return np.ascontiguousarray(array[:, :, ::-1]) if format == "BGR" else array


def _to_8_bits(image: Image.Image, is_16_bit: bool) -> Image.Image:
    """Bring 16-bit gray to 8 bits, as ``cv2.imread`` does; other values have no known range.

    Pillow's own conversion cuts all values off at 255, which leaves white.
    """
    values = np.asarray(image)
    if is_16_bit:
        return Image.fromarray((values >> 8).astype(np.uint8))
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    raise _UnfitError(
        f"has {'float' if image.mode == 'F' else '32-bit'} pixels from {low:g} to {high:g}, and what is black and what "
        "is white in them is not known: scale them to 0…255 as uint8 first"
    )


def _instead_of(image: object) -> str:
    """Say what to do about something that is no image."""
    if image is None:
        return "cv2.imread() returns None for a file that it cannot read, so check its path"
    if isinstance(image, (list, tuple, Iterator)):
        return "expected a single one; predictor.batch(images) takes several"
    if isinstance(image, (bytes, bytearray, memoryview)):
        return "put the bytes of a file into io.BytesIO"
    if hasattr(image, "numpy"):
        return "call .numpy() on a tensor, and bring its channels to the end by .transpose(1, 2, 0)"
    return "expected a path, a Pillow image or a uint8 array (H, W, 3) in BGR order"


def _to_bytes(image: np.ndarray) -> str:
    """Say how an array of another type becomes uint8, which depends on the range of its values."""
    low, high = (image.min(), image.max()) if image.size and image.dtype.kind in "fiu" else (-1, -1)
    if 0 <= low <= high <= 1:
        return "its values lie between 0 and 1: call (255 * image).astype(numpy.uint8)"
    if 0 <= low <= high <= 255:
        return "its values lie between 0 and 255 already: call .astype(numpy.uint8)"
    if image.dtype == np.uint16:
        return "call (image >> 8).astype(numpy.uint8), if its values use all 16 bits"
    return "scale its values to 0…255 and call .astype(numpy.uint8)"


def image_to_array(image: ImageLike, channels: int = 3, format: str = "BGR") -> np.ndarray:
    """Return an image as a contiguous uint8 array (H, W, ``channels``).

    Args:
        image: a path or an open binary file; a Pillow image (turned upright as its EXIF data say); or a uint8 array of
            any strides, (H, W, 3) in BGR order, (H, W) or (H, W, 1) gray, or (H, W, 4) BGRA, whose alpha is dropped.
        channels: how many the model takes.
        format: order of three channels in what is returned, "BGR" or "RGB".

    Raises:
        ImageError: ``image`` is none of these, or has another number of channels.
    """
    pillow_format = format if channels == 3 else "L"
    came_as_array = isinstance(image, np.ndarray)
    if isinstance(image, Image.Image):
        try:
            image = _pil_to_array(image, pillow_format)
        except Exception as error:  # an image that is opened lazily is decoded here
            raise ImageError(f"the Pillow image {image!r} {_reason(error)}") from error
    elif not isinstance(image, np.ndarray) and (isinstance(image, (str, os.PathLike)) or hasattr(image, "read")):
        image = read_image(image, pillow_format)
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{type(image).__name__} is not an image: {_instead_of(image)}")
    image = np.asarray(image)  # a subclass, such as a matrix, has ways of its own
    expected = f"expected uint8 (H, W, {channels})" + (" in BGR order, (H, W) or (H, W, 4)" if channels == 3 else "")
    came = f"an array of shape {image.shape} and dtype {image.dtype}"
    if image.dtype != np.uint8:
        raise ImageError(f"{came} is not an image: {expected}; {_to_bytes(image)}")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or 0 in image.shape:
        raise ImageError(f"{came} is not an image: {expected}, height and width at least 1")
    if channels == 3 and image.shape[2] == 4:
        image = image[:, :, :3]
    elif channels == 3 and image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if image.shape[2] != channels:
        first = image.shape[0] == channels and ": its channels come first, bring them to the end by .transpose(1, 2, 0)"
        raise ImageError(f"{came} has {image.shape[2]} channels: {expected}{first or ''}")
    return np.ascontiguousarray(image[:, :, ::-1] if came_as_array and format == "RGB" else image)
