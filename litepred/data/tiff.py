"""TIFF files that Pillow lacks or misreads: many bands, floats, deep samples in planes, rarer codings.

tifffile decodes them, or else OpenCV as far as it can. H × W pixels, C bands.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from ..errors import ImageError, wording
from .decoders import ImageFile, opened

__all__ = [
    "colours",
    "has_bands_in_pages",
    "has_tifffile",
    "is_deep_in_planes",
    "is_lacked",
    "is_preview",
    "read_bands",
    "read_by_opencv",
    "read_tags",
    "samples_to_8_bits",
]

_BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _BANDS, _PLANES, _KIND = 258, 259, 262, 274, 277, 284, 339
_PAGE_KIND, _INNER_PAGES, _DNG = 254, 330, 50706
_SMALLER, _MASK = 1, 4  # bits of the page's kind
_INSTALL = "pip install 'litepred[tiff]', or convert it"
_KINDS = {1: "unsigned integers", 2: "signed integers", 3: "floats"}
_OPENCV_CODINGS = (1, 5, 8, 32773, 32946)  # of others OpenCV 5 returns black pixels and no error
_UPRIGHT = {  # by orientation: whether rows and columns change places, and then the steps along both
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}


def read_tags(source: ImageFile) -> tuple[dict[int, Any], bool]:
    """Return the tags of a TIFF file's first page by number, and whether there are more pages.

    Smaller copies of a page, and its mask, are no pages. There are no tags where the file is no TIFF or is damaged.
    """
    with contextlib.suppress(Exception), opened(source) as file:  # it is damaged in as many ways as there are
        head = file.read(4)
        if head[:2] in (b"II", b"MM"):
            if 43 in head:  # BigTIFF, which Pillow knows in one order of bytes alone
                start = b"II\x2b\0" + file.read(12)
                directory = TiffImagePlugin.ImageFileDirectory_v2(start, prefix=head[:2])
            else:
                directory = TiffImagePlugin.ImageFileDirectory_v2(head + file.read(4))
            file.seek(directory.next)
            directory.load(file)
            return dict(directory), _has_more_pages(directory, file)
    return {}, False


def _has_more_pages(directory: TiffImagePlugin.ImageFileDirectory_v2, file: BinaryIO) -> bool:
    seen: set[int] = set()
    with contextlib.suppress(Exception):
        while directory.next and directory.next not in seen and len(seen) < 100:  # they may lead round in a circle
            seen.add(directory.next)
            file.seek(directory.next)
            directory.load(file)
            if not directory.get(_PAGE_KIND, 0) & (_SMALLER | _MASK):
                return True
    return False


def is_preview(tags: Mapping[int, Any]) -> bool:
    """Tell whether the first page is a smaller copy of one that is inside it, as in raw files of cameras."""
    return tags.get(_PAGE_KIND) == _SMALLER and (_INNER_PAGES in tags or _DNG in tags)


def is_lacked(error: Exception, tags: Mapping[int, Any]) -> bool:
    """Tell whether Pillow, which failed with ``error``, lacks the layout or coding of a TIFF file."""
    coding = TiffImagePlugin.COMPRESSION_INFO.get(tags.get(_COMPRESSION, 1))
    return isinstance(error, Image.UnidentifiedImageError) or coding in (None, "webp")


def is_deep_in_planes(tags: Mapping[int, Any]) -> bool:
    """Tell whether a TIFF file has more than 8 bits per sample and a plane for each band, which Pillow misreads."""
    return tags.get(_PLANES) == 2 and tags.get(_BANDS, 1) > 1 and max(tags.get(_BITS, (1,))) > 8


def has_tifffile() -> bool:
    """Tell whether tifffile is installed."""
    try:
        import tifffile  # noqa: F401
    except ImportError:
        return False
    return True


def has_bands_in_pages(tags: Mapping[int, Any], bands: int) -> bool:
    """Tell whether a TIFF file that is read as ``bands`` bands must have a page for each."""
    return bool(tags) and tags.get(_BANDS, 1) == 1 < bands


def read_bands(source: ImageFile, tags: Mapping[int, Any], bands: int = 0) -> tuple[np.ndarray, int]:
    """Decode the first page of a TIFF file, by tifffile.

    Args:
        source: the file.
        tags: of `read_tags`.
        bands: how many are wanted. Where the first page has one, and there are as many pages, they are the bands, as
            microscopes and ImageJ have it.

    Returns:
        Its samples, upright, (H, W, C) in the file's order, type and range; and how many bits each uses.

    Raises:
        ImageError: it is not installed, or lacks the layout or coding; the message finishes a sentence.
        PIL.Image.DecompressionBombError: the file has far more pixels than Pillow would take.
        Exception: of any kind, where it is damaged.
    """
    try:
        import tifffile
    except ImportError as error:
        raise ImageError(f"{_described(tags)}, which Pillow does not decode: {_INSTALL}") from error
    with opened(source) as file:
        try:
            with tifffile.TiffFile(file) as tiff:
                pages: Any = tiff.pages[:1]
                axes = pages[0].axes
                if axes == "YX" and has_bands_in_pages(tags, bands) and len(tiff.pages) == bands:
                    pages = tiff.pages[:]
                pixels = max(page.imagewidth * page.imagelength for page in pages)
                _refuse_bombs(pixels, sum(page.size for page in pages), bands)
                if axes not in ("YX", "YXS", "SYX"):
                    raise ImageError(
                        f"{_described(tags)} along the axes {axes}: expected height, width and bands, convert it"
                    )
                array = pages[0].asarray()
                if len(pages) > 1:
                    array, axes = np.stack([array, *(page.asarray() for page in pages[1:])], axis=2), "YXS"
        except (ImageError, Image.DecompressionBombError, MemoryError):
            raise
        except Exception as error:
            advice = "convert it" if "not supported" in str(error) else "is the file complete?"
            advice = "pip install imagecodecs, or convert it" if "imagecodecs" in str(error) else advice
            raise ImageError(f"{_described(tags)}, and tifffile cannot decode it ({error}): {advice}") from error
    array = array[:, :, None] if axes == "YX" else np.moveaxis(array, 0, 2) if axes == "SYX" else array
    if turn := _UPRIGHT.get(tags.get(_ORIENTATION, 1)):
        array = (array.swapaxes(0, 1) if turn[0] else array)[:: turn[1], :: turn[2]]
    return array.astype(array.dtype.newbyteorder("="), copy=False), max(tags.get(_BITS, (1,)))


def read_by_opencv(source: ImageFile, tags: Mapping[int, Any]) -> np.ndarray:
    """Decode the first page of a TIFF file as ``cv2.imread`` does: (H, W, 3) uint8, RGB.

    OpenCV cannot be trusted with samples of more than 8 bits, several planes or alpha if they are to stay as they are.

    Raises:
        ImageError: OpenCV lacks the layout or coding, too; the message finishes a sentence.
        PIL.Image.DecompressionBombError: the file has far more pixels than Pillow would take.
    """
    import cv2

    pixels = tags.get(256, 0) * tags.get(257, 0)
    _refuse_bombs(pixels, pixels * tags.get(_BANDS, 1))
    array = None
    if tags.get(_COMPRESSION, 1) in _OPENCV_CODINGS:
        with opened(source) as file:
            array = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    if array is None:
        raise ImageError(f"{_described(tags)}, which neither Pillow nor OpenCV decodes as colours: {_INSTALL}")
    return np.ascontiguousarray(array[:, :, ::-1])


def _refuse_bombs(pixels: int, samples: int, bands: int = 0) -> None:
    """Refuse more pixels than Pillow takes, or more samples than these have in four bands, or in those wanted."""
    limit = 2 * (Image.MAX_IMAGE_PIXELS or math.inf)
    if pixels > limit or samples > limit * max(4, bands):
        raise Image.DecompressionBombError(f"{pixels} pixels and {samples} samples, where {limit} pixels are the most")


def _described(tags: Mapping[int, Any]) -> str:
    bands, bits, kind = tags.get(_BANDS, 1), max(tags.get(_BITS, (1,))), max(tags.get(_KIND, (1,)))
    compression = TiffImagePlugin.COMPRESSION_INFO.get(tags.get(_COMPRESSION, 1), f"code {tags.get(_COMPRESSION)}")
    name = _KINDS.get(kind, "values of another kind")
    return f"is a TIFF of {bands} band{'s' * (bands > 1)} of {bits}-bit {name} (compression {compression})"


def samples_to_8_bits(values: np.ndarray, bits: int, tags: Mapping[int, Any]) -> np.ndarray:
    """Bring whole samples of any shape to uint8 as ``cv2.imread`` does: the lower bits are cut off.

    Signed samples of 16 bits count as unsigned, as they do there. White is 255, also where a TIFF calls it zero.

    Raises:
        ImageError: what is black and what is white is not known; the message finishes a sentence.
    """
    if values.dtype.kind not in "biu" or bits > 16:
        low, high = (values.min(), values.max()) if values.size else (0, 0)
        kind = "float" if values.dtype.kind == "f" else f"{bits}-bit"
        raise ImageError(
            f"has {kind} pixels from {low:g} to {high:g}, and what is black and what is white in them is not known: "
            "scale them to 0…255 as uint8 first"
            + wording(", or pass them as an array if the model was trained on them as they are", "")
        )
    if bits < 8:
        samples = values.astype(np.uint8) * np.uint8(255 // (2**bits - 1))
    else:
        samples = (values.astype(np.uint16) >> (bits - 8)).astype(np.uint8)
    return ~samples if tags.get(_PHOTOMETRIC) == 0 else samples


def colours(bands: np.ndarray, tags: Mapping[int, Any]) -> np.ndarray:
    """Return what is seen of bands (H, W, C): gray (H, W, 1) or RGB (H, W, 3).

    Raises:
        ImageError: the file does not tell; the message finishes a sentence.
    """
    number, kind = bands.shape[2], tags.get(_PHOTOMETRIC, 1)
    if number >= 3 and (kind == 2 or (kind in (0, 1) and number == 3)):
        return bands[:, :, :3]
    if kind in (0, 1) and number <= 4:  # OpenCV, too, takes the others for alpha, or leaves them out
        return bands[:, :, :1]
    if number < 3:
        raise ImageError(
            f"is a TIFF whose colours are of an unusual kind (PhotometricInterpretation {kind}): convert it"
        )
    told = f"{number} bands, none of which is called a colour" if kind in (0, 1) else f"colours of kind {kind}"
    raise ImageError(
        f"is a TIFF with {told}: take a model of {number} channels"
        + wording(", whose predictor.read(path) gives what draw and crops take, or pass three bands as an array", "")
    )
