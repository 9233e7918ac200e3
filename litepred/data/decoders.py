"""The doors through which image files come: the formats that are opened, and the releases of the decoders to have."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import warnings
from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

from PIL import Image, UnidentifiedImageError

__all__ = ["DECODERS", "IMAGE_FORMATS", "ImageFile", "format_of", "is_old", "open_image", "opened", "warn_if_old"]

ImageFile: TypeAlias = "str | os.PathLike[str] | BinaryIO"

# Pillow's names of the formats that are opened. A program may append others, such as "TGA": each is one decoder more
# that a file can reach. MPO comes with JPEG, and HEIF is there once `pillow_heif.register_heif_opener` was called.
IMAGE_FORMATS = ["JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "JPEG2000", "AVIF", "HEIF"]

# The first release of each decoder without the holes that are known, where Python is new enough for it.
DECODERS = {
    "PIL": ("pillow", "13.0.0" if sys.version_info >= (3, 11) else "12.3.0"),
    "cv2": ("opencv-python", "4.12.0"),
}
_warned: set[str] = set()


@contextlib.contextmanager
def opened(file: ImageFile) -> Iterator[BinaryIO]:
    """Open a file at its beginning; one that is open already is rewound, now and at the end."""
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as stream:
            yield stream
    else:
        file.seek(0)
        yield file
        file.seek(0)


def open_image(file: ImageFile) -> Image.Image:
    """Open an image file whose content is of one of `IMAGE_FORMATS`; its pixels are read later.

    Raises:
        PIL.UnidentifiedImageError: the file is of another format, or no image.
        OSError: it cannot be opened.
        Exception: of any kind, where it is damaged.
    """
    warn_if_old("PIL")
    Image.preinit()  # the most usual formats: the others take long to import
    try:
        image = Image.open(file, formats=_known())
    except UnidentifiedImageError:
        Image.init()
        image = Image.open(file, formats=_known())
    image.filename = ""  # Pillow would map it into memory, where a file that is cut short meanwhile ends the process
    return image


def format_of(head: bytes) -> str:
    """Return which of `IMAGE_FORMATS` a file claims to be by its first 16 bytes, an empty text for none."""
    for name in _known():
        accepts = Image.OPEN[name][1]
        with contextlib.suppress(Exception):  # it reads past a short head
            if accepts is not None and accepts(head) is True:
                return name
    return ""


def _known() -> list[str]:
    return [name for name in IMAGE_FORMATS if name in Image.OPEN]


def warn_if_old(module: str) -> None:
    """Warn, once in a process, where a decoder is of a release with holes that are known."""
    if module not in _warned and is_old(module):
        _warned.add(module)
        name, wanted = DECODERS[module]
        version = importlib.import_module(module).__version__
        warnings.warn(
            f"{name} {version} has known holes, by which a hostile file may do harm: take {wanted} or newer "
            f"(pip install '{name}>={wanted}')",
            stacklevel=3,
        )


def is_old(module: str) -> bool:
    """Tell whether a decoder, "PIL" or "cv2", is of a release with holes that are known."""
    found, wanted = importlib.import_module(module).__version__, DECODERS[module][1]
    return [*map(int, re.findall(r"\d+", found)[:3])] < [*map(int, wanted.split("."))]
