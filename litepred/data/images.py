"""Read images from files or take them from memory: upright, as uint8, in the wanted channel order.

H × W pixels, C channels. Arrays are uint8, BGR as OpenCV has them, unless said otherwise.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, Union

import numpy as np
from PIL import Image, ImageOps

from ..errors import ImageError, is_out_of_memory, wording
from ..files import MJPEG_SUFFIXES, address_advice, as_stored
from . import tiff
from .decoders import IMAGE_FORMATS, ImageFile, format_of, open_image, opened
from .video import is_video_file

__all__ = ["ImageLike", "bands_for_array", "image_size", "image_to_array", "read_image"]

# A path, an open binary file, a Pillow image, or an array; see `image_to_array`.
ImageLike: TypeAlias = Union[str, "os.PathLike[str]", BinaryIO, Image.Image, np.ndarray]

_IS_PROGRAM = "is EPS, which is drawn by running a program: convert it to PNG first"  # by Ghostscript
_OTHERS = {  # what is no image, by its first bytes
    b"%!ps": _IS_PROGRAM,
    b"%pdf": "is a PDF: write its pages as images first, such as by pdftoppm",
    b"<!doctype": "is a web page: download the image itself",
    b"<html": "is a web page: download the image itself",
    b"<svg": "is a drawing of vectors (SVG): write it as PNG first",
    b"<?xml": "is XML, such as a drawing of vectors (SVG): write it as PNG first",
    b"pk\3\4": "is a zip archive: unpack it first",
}
_HEIF = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"))


def read_image(path: ImageFile, format: str = "BGR") -> np.ndarray:
    """Read an image file, turned upright as its EXIF data say; where it has several frames or pages, the first.

    Of samples of more than 8 bits the lower ones are cut off, as by ``cv2.imread``. Warnings tell of frames that are
    left out, and of 16 bits of which so few are used that the image is nearly black.

    Args:
        path: of a file whose content is of a format in `litepred.data.IMAGE_FORMATS`; or an open binary file, such as
            ``io.BytesIO(data)``.
        format: order of the channels, "BGR" or "RGB"; or a mode of Pillow, such as "L" for gray.

    Returns:
        (H, W, 3) uint8 in that order, or (H, W, 1) for "L".

    Raises:
        ImageError: when there is no such file or it is not an image that can be read whole.
    """
    if not isinstance(path, (str, os.PathLike)) and not hasattr(path, "read"):
        taken = wording("; image_to_array takes arrays and Pillow images", "")
        raise ImageError(f"{type(path).__name__} is no image file: expected a path, or an open binary file{taken}")
    return _read(*_named(path), format)


def image_size(path: ImageFile) -> tuple[int, int]:
    """Return height and width in pixels of an image file, as they are stored, without decoding the pixels.

    Args:
        path: as `read_image` takes it.

    Raises:
        ImageError: when there is no such file or it is no image.
    """
    path, name = _named(path)
    try:
        tags, _ = tiff.read_tags(path)
        if tags:
            return int(tags[257]), int(tags[256])
        with _open(path) as image:
            return image.height, image.width
    except Exception as error:  # as in `_read`
        raise ImageError(f"{name} {_reason(error, path)}") from error


def _named(path: ImageFile) -> tuple[ImageFile, str]:
    """Return a path that exists, or an open file that can be rewound, and what messages call it."""
    if isinstance(path, (str, os.PathLike)):
        path = _existing(path)
        return path, repr(path)
    if hasattr(path, "count"):  # of its bands
        raise ImageError(
            f"{type(path).__name__} is no open file: predictor(image, tile=1024) takes a handle of rasterio, by windows"
        )
    name = f"the {type(path).__name__}"
    if isinstance(getattr(path, "file", path), io.TextIOBase):  # tempfile has one in a wrapper
        raise ImageError(f"{name} is open as text: open it with mode 'rb'")
    try:
        if not getattr(path, "seekable", lambda: True)():  # of a download, or a pipe
            path = io.BytesIO(path.read())
    except Exception as error:
        raise ImageError(f"{name} {_reason(error)}") from error
    return path, name


def _read(path: ImageFile, name: str, format: str, bands: int = 0) -> np.ndarray:
    """Read a file of `_named` as `read_image` does, or with ``bands`` as `_as_bands` does."""
    try:
        tags, several = tiff.read_tags(path)
        try:
            if not tiff.is_deep_in_planes(tags) and not (tags and bands and tiff.has_tifffile()):
                with _open(path) as image:
                    number = len(image.getbands())
                    if bands and tags and tags.get(277, 1) != number:
                        raise Image.UnidentifiedImageError  # Pillow would leave some of them out
                    bits = _bits_of_jp2(path) if image.format == "JPEG2000" else 16 * _is_deep(image)
                    is_rounded = image.format in ("JPEG2000", "PPM") and image.mode in ("LA", "RGB", "RGBA")
                    if bits > 8 and bands and number != 3:
                        array = _deep_bands(path, image.format, bands)
                    elif bits > 8 and not bands and is_rounded:
                        # by Pillow, which turns the brightest samples of a JPEG 2000 black
                        pixels = np.ascontiguousarray(_by_opencv(path)[:, :, ::-1])
                        if bits == 16:
                            _warn_if_dark(pixels, name)
                        array = _in_order(Image.fromarray(pixels), format)
                    else:
                        array = _pil_to_array(image, format, name, bands)
                    # the other pictures of an MPO are views of the same, those of HEIF often smaller ones
                    if not tags and image.format not in ("MPO", "HEIF"):
                        several = getattr(image, "is_animated", False)
            else:
                array = _tiff_to_array(path, tags, format, name, bands)
        except Exception as error:
            if not tags or not tiff.is_lacked(error, tags):
                raise
            array = _tiff_to_array(path, tags, format, name, bands)
    except Exception as error:  # Pillow's decoders raise all sorts on damaged files
        raise ImageError(f"{name} {_reason(error, path)}") from error
    told = ""
    if tiff.is_preview(tags):
        told = "begins with a preview, which is taken: develop the raw image behind it into TIFF or JPEG first"
    elif several and not tiff.has_bands_in_pages(tags, bands):
        advice = wording("pass each as a Pillow image", "write them as PNGs or as a video first")
        told = f"has several {'pages' if tags else 'frames'}, and the first is taken: {advice}"
    if told:
        warnings.warn(f"{name} {told}", stacklevel=3)
    return array


def _open(path: ImageFile) -> Image.Image:
    if str(path).lower().endswith(MJPEG_SUFFIXES):  # of which the first frame would be taken for all
        raise Image.UnidentifiedImageError
    try:
        return open_image(path)
    except Image.UnidentifiedImageError:
        if _head(path)[4:12] not in _HEIF:
            raise
        try:
            import pillow_heif
        except ImportError as error:
            advice = "pip install 'litepred[heif]', or convert it"
            raise ImageError(f"is HEIC, which Pillow does not read alone: {advice}") from error
        return pillow_heif.HeifImageFile(path)


def _head(source: ImageFile, size: int = 16) -> bytes:
    with opened(source) as file:
        return file.read(size)


def _bits_of_jp2(source: ImageFile) -> int:
    """Return how many bits a sample of a JPEG 2000 has: a byte of its header holds their number less one."""
    header = _head(source, 1 << 16).partition(b"\xff\x4f\xff\x51")[2]
    return (header[38] & 127) + 1 if len(header) > 38 else 8


def _is_deep(image: Image.Image) -> bool:
    """Tell whether an image that is not loaded yet has 16 bits per sample, of which Pillow will keep 8."""
    tile = str(getattr(image, "tile", "")).replace("BGR;16", "")  # which has 16 bits in all
    return ";16" in tile or "('RGB', 65535)" in tile  # the second of PPM


def _by_opencv(source: ImageFile, unchanged: bool = False) -> np.ndarray:
    """Decode a file as colours (H, W, 3) uint8, BGR; or ``unchanged``, with its alpha and all its bits."""
    import cv2

    flags = cv2.IMREAD_UNCHANGED if unchanged else cv2.IMREAD_COLOR
    content = _head(source, -1) + b"\n"  # which OpenCV wants after the last number of a plain PPM
    array = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if array is None:
        raise ImageError("cannot be read as an image by OpenCV: is the file complete?")
    return array


def _deep_bands(source: ImageFile, format: str | None, bands: int) -> np.ndarray:
    """Return the bands of a file of 16 bits per sample, all of which are to be kept."""
    if format != "PNG":
        raise ImageError(
            "has more than 8 bits per sample, of which only 8 would be left: save it as TIFF, and "
            "pip install 'litepred[tiff]'"
        )
    values = _by_opencv(source, unchanged=True)
    if values.ndim == 3:  # BGR, and BGRA also where gray came with alpha
        values = values[:, :, [0, 3] if bands == 2 and values.shape[2] == 4 else [2, 1, 0, 3][: values.shape[2]]]
    return _as_bands(values, bands)


def _existing(path: str | os.PathLike[str]) -> str:
    """Return the path of a file, in the Unicode form that the file system has it in."""
    name = path = as_stored(os.fspath(path))
    if not os.path.exists(name):  # unlike Path.exists(), never an error of its own
        advice = address_advice(str(name)) or f"expected an image file; the working folder is {os.getcwd()!r}"
        raise ImageError(f"there is no file {str(name)!r}: {advice}")
    path = Path(name)
    if not path.is_file():
        kind, advice = "not a regular file", ""
        if path.is_dir():
            kind = "a directory"
            advice = wording("; predictor.batch(sorted(Path(folder).rglob('*.jpg'))) takes all that are in one", "")
        raise ImageError(f"{str(path)!r} is {kind}: expected an image file{advice}")
    return str(path)


def _reason(error: Exception, source: ImageFile | None = None) -> str:
    """Finish a sentence that begins with the name of an image that cannot be read."""
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        advice = wording("if the file can be trusted, raise PIL.Image.MAX_IMAGE_PIXELS", "make it smaller first")
        return f"is too large ({error}): {advice}"
    if is_out_of_memory(error):
        return "takes more memory than is left: make it smaller first, or is it damaged?"
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # as of a place before the beginning
        return f"cannot be read: {error.strerror or error}"
    if isinstance(source, (str, os.PathLike)) and is_video_file(source):
        advice = wording("predictor.stream(path) goes through its frames", "only litepred predict takes videos")
        return f"is a video: expected an image; {advice}"
    if isinstance(error, Image.UnidentifiedImageError) and source is not None:
        with opened(source) as file:
            head, _, size = file.read(16), file.seek(0, os.SEEK_END), file.tell()
        if not size:
            return "is empty (0 bytes): copy or download it again"
        for start, told in _OTHERS.items():
            if head.lower().startswith(start):
                return told
        if head.startswith(b"\x93NUMPY"):
            return "is an array in NumPy's format: " + wording("pass what numpy.load gives", "write it as PNG first")
        if known := format_of(head):
            return f"starts like {known}, but cannot be read as an image: is it damaged?"
        return (
            f"is no image of a format that is opened: it has {size} bytes and starts with {head!r}; expected "
            f"{', '.join(IMAGE_FORMATS)}. Convert it to PNG"
            + wording(", or add its format to litepred.data.IMAGE_FORMATS", "")
        )
    is_lacked = re.search("nsupported|not supported|nknown|too large", str(error))
    advice = "save it anew as a plain PNG" if is_lacked else "is the file complete?"
    return f"cannot be read as an image ({error}): {advice}"


def _pil_to_array(image: Image.Image, format: str, name: str, bands: int = 0) -> np.ndarray:
    if image.format == "EPS":
        raise ImageError(_IS_PROGRAM)
    tags, came_as = getattr(image, "tag_v2", {}), image.format
    is_deep = _is_deep(image)
    if tiff.is_deep_in_planes(tags):
        raise ImageError("is a TIFF of 16 bits with a plane for each band, which Pillow misreads: give its path")
    image.load()
    # Orientation is an extra: an image whose EXIF data are damaged is taken as it is stored.
    with contextlib.suppress(Exception):
        image = ImageOps.exif_transpose(image)
    if bands:
        return _as_bands(np.asarray(image.convert("RGBA") if image.mode in ("P", "PA") else image), bands)
    if image.mode[0] in "IF" and image.mode != format:  # I;16 and its relatives, I, F
        has_16 = image.mode.startswith("I;") or came_as in ("PNG", "PPM") or tags.get(258) == (16,)
        bits = min(max(tags.get(258, (16,))), 16) if has_16 and image.mode != "F" else 32
        values = np.asarray(image)
        if bits == 32 and image.mode == "I" and tags.get(339, (1,)) == (1,) and came_as == "TIFF":
            values = values.view(np.uint32)
        image = Image.fromarray(_deep_to_8_bits(values, bits, tags, name))
    elif is_deep:
        _warn_if_dark(_in_order(image, "RGB"), name)
    return _in_order(image, format)


def _tiff_to_array(path: ImageFile, tags: Mapping[int, Any], format: str, name: str, bands: int) -> np.ndarray:
    if not bands and not tiff.has_tifffile():
        array = tiff.read_by_opencv(path, tags)
        if max(tags.get(258, (8,))) == 16:
            _warn_if_dark(array, name)
        return _in_order(Image.fromarray(array), format)
    values, bits = tiff.read_bands(path, tags, bands)
    if bands:
        return _as_bands(values, bands)
    seen = _deep_to_8_bits(tiff.colours(values, tags), bits, tags, name)
    return _in_order(Image.fromarray(seen if seen.shape[2] == 3 else seen[:, :, 0]), format)


def _in_order(image: Image.Image, format: str) -> np.ndarray:
    mode = "RGB" if format == "BGR" else format
    image = image.convert("LA") if image.mode == "La" else image  # its colours were multiplied by alpha
    try:
        array = np.array(image.convert(mode))
    except ValueError as error:
        raise ImageError(f"has Pillow's mode {image.mode}, which cannot become {mode} ({error}): convert it") from error
    if array.ndim == 2:
        array = array[:, :, None]
    return np.ascontiguousarray(array[:, :, ::-1]) if format == "BGR" else array


def _as_bands(values: np.ndarray, bands: int) -> np.ndarray:
    """Return what a file holds (H, W, C), in its own order: bytes as uint8, all else as float32 of the same values."""
    values = values[:, :, None] if values.ndim == 2 else values
    if values.shape[2] != bands:
        number = values.shape[2]
        raise ImageError(f"has {number} band{'s' * (number > 1)}: expected {bands}, as many as the model takes")
    return np.ascontiguousarray(values, np.uint8 if values.dtype == np.uint8 else np.float32)


def _deep_to_8_bits(values: np.ndarray, bits: int, tags: Mapping[int, Any], name: str) -> np.ndarray:
    array = tiff.samples_to_8_bits(values, bits, tags)
    if values.dtype.kind == "i" and values.min(initial=0) < 0:
        told = f"{name} has negative values, which count as 32768 and more: scale them to 0…255 as uint8 yourself"
        warnings.warn(told, stacklevel=6)
    elif bits == 16:
        _warn_if_dark(values, name)
    return array


def _warn_if_dark(colours: np.ndarray, name: str) -> None:
    """Tell of samples of 16 bits, or their upper 8, of which a camera of 14 bits or less has used the lower alone."""
    brightest = int(colours.max(initial=0))
    brightest = brightest << 8 | 255 if colours.dtype == np.uint8 else brightest
    if 0 < brightest < 1 << 14:
        warnings.warn(
            f"{name} has 16 bits per sample, but none above {brightest}, and is nearly black as 8 bits: if its camera "
            "has fewer bits, scale it to 0…255 as uint8" + wording(" and pass the array", " first"),
            stacklevel=6,
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
        return (
            "call (image >> 8).astype(numpy.uint8), if its values use all 16 bits; or .astype(numpy.float32), if the "
            "model was trained on them as they are"
        )
    return "scale its values to 0…255 and call .astype(numpy.uint8)"


def image_to_array(image: ImageLike, channels: int = 3, format: str = "BGR") -> np.ndarray:
    """Return an image as a contiguous array (H, W, ``channels``), uint8 unless it came as floats.

    Args:
        image: a path or an open binary file; a Pillow image (turned upright as its EXIF data say); or an array of
            any strides, (H, W, 3) in BGR order, (H, W) or (H, W, 1) gray, or (H, W, 4) BGRA, whose alpha is dropped.
            An array is uint8; or of floats in the range that the model was trained on, which keep their values.
        channels: how many the model takes. Where they are neither 3 nor 1, files and Pillow images need as many bands,
            which keep the order and the values that they have there: bytes become uint8, all else float32.
        format: order of three channels in what is returned, "BGR" or "RGB".

    Raises:
        ImageError: ``image`` is none of these, or has another number of channels.
    """
    pillow_format, bands = format if channels == 3 else "L", 0 if channels in (1, 3) else channels
    came_as_array = isinstance(image, np.ndarray)
    name = ""
    if isinstance(image, Image.Image):
        name = f"the Pillow image {image!r}"
        try:
            image = _pil_to_array(image, pillow_format, name, bands)
        except Exception as error:  # an image that is opened lazily is decoded here
            raise ImageError(f"{name} {_reason(error)}") from error
    elif not isinstance(image, np.ndarray) and (isinstance(image, (str, os.PathLike)) or hasattr(image, "read")):
        file, name = _named(image)
        image = _read(file, name, pillow_format, bands)
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{type(image).__name__} is not an image: {_instead_of(image)}")
    image = np.asarray(image)  # a subclass, such as a matrix, has ways of its own
    order = " in BGR order, (H, W) or (H, W, 4)" if channels == 3 else ""
    expected = f"expected uint8 (H, W, {channels}){order}, or floats in the range that the model was trained on"
    came = name or f"an array of shape {image.shape} and dtype {image.dtype}"
    if image.dtype.kind == "f":
        image = image.astype(np.float64 if image.dtype.itemsize == 8 else np.float32, copy=False)
    if image.dtype not in (np.uint8, np.float32, np.float64):
        raise ImageError(f"{came} is not an image: {expected}; {_to_bytes(image)}")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or 0 in image.shape:
        raise ImageError(f"{came} is not an image: {expected}, height and width at least 1")
    if image.dtype != np.uint8 and not np.isfinite(image).all():
        raise ImageError(f"{came} has NaN or infinite values: expected numbers, put 0 or the mean in their place")
    if channels == 3 and image.shape[2] == 4:
        image = image[:, :, :3]
    elif channels == 3 and image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if image.shape[2] != channels:
        first = image.shape[0] == channels and ": its channels come first, bring them to the end by .transpose(1, 2, 0)"
        raise ImageError(f"{came} has {image.shape[2]} channels: {expected}{first or ''}")
    return np.ascontiguousarray(image[:, :, ::-1] if came_as_array and format == "RGB" else image)


def bands_for_array(pixels: np.ndarray, channels: int, input_format: str) -> np.ndarray:
    """Order the bands of a file, as `image_to_array` read them, as a predictor takes those of an array.

    It turns those of arrays around for models of RGB, as Detectron2 does, and those of files with other than one or
    three bands never.
    """
    return pixels[:, :, ::-1] if channels not in (1, 3) and pixels.ndim == 3 and input_format == "RGB" else pixels
