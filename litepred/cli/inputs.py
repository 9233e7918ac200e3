"""From what is typed to what is read: files, folders, patterns, videos, cameras; and running a model over them."""

from __future__ import annotations

import contextlib
import difflib
import glob
import importlib.util
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import ImageError
from ..files import as_stored

if TYPE_CHECKING:
    import numpy as np

    from ..predictor import Predictor
    from ..selection import Way
    from ..structures import Outputs

__all__ = ["IMAGE_SUFFIXES", "expand", "is_video", "predict_files"]

T = TypeVar("T")
_SUFFIXES = ".png .jpg .jpeg .jpe .jfif .tif .tiff .bmp .webp .gif .jp2 .avif .ppm .pgm .pbm .pnm"
IMAGE_SUFFIXES = tuple(_SUFFIXES.split())
_HEIF_SUFFIXES = (".heic", ".heif", ".hif")


def expand(names: Sequence[str], left_out: list[str] | None = None) -> Iterator[str | ImageError]:
    """Yield paths of files, and cameras, in order; an error for a name that leads to none.

    A folder stands for the images and videos in it, sorted, without its subfolders; its other files are added to
    ``left_out``, but for hidden ones. ``*``, ``?``, ``[…]`` and ``**``
    are expanded here too, for shells that leave them as they are.
    """
    from ..data.video import camera_number

    for name in map(as_stored, names):
        if os.path.isdir(name):
            found: list[str] = []
            missing = f"the folder {name!r} has no image or video in it: expected files such as .png, .jpg or .mp4"
            try:
                files = sorted(os.path.join(name, file) for file in os.listdir(name) if not file.startswith("."))
                found = [file for file in files if _is_read(file)]
                if left_out is not None:
                    left_out += [file for file in files if file not in set(found) and not os.path.isdir(file)]
            except OSError as error:
                missing = f"the folder {name!r} cannot be read: {error.strerror or error}"
        elif not os.path.exists(name) and glob.has_magic(name):
            folder, pattern = os.path.split(name)
            folder = as_stored(folder)
            pattern = os.path.join(glob.escape(folder) if os.path.isdir(folder) else folder, pattern)
            found = sorted(file for file in glob.glob(pattern, recursive=True) if os.path.isfile(file))
            missing = f"no file matches {name!r}; the working folder is {os.getcwd()!r}"
        elif os.path.exists(name) or camera_number(name) is not None:
            found = [name]
        else:
            found, missing = [], f"there is no file {name!r}: {_advice(name)}"
        if found:
            yield from found
        else:
            yield ImageError(missing)


def _advice(name: str) -> str:
    """Say what to do about a name that leads to no file."""
    from ..data.images import address_advice

    if advice := address_advice(name):
        return advice
    if name.isdecimal():
        return f"a camera is camera:{name}"
    folder, file = os.path.split(name)
    with contextlib.suppress(OSError):
        if near := difflib.get_close_matches(file, os.listdir(folder or "."), n=1, cutoff=0.75):
            return f"did you mean {os.path.join(folder, near[0])!r}?"
    return f"expected an image, a folder or a video; the working folder is {os.getcwd()!r}"


def _is_read(file: str) -> bool:
    suffix = Path(file).suffix.lower()
    if suffix in _HEIF_SUFFIXES:
        return importlib.util.find_spec("pillow_heif") is not None
    return suffix in IMAGE_SUFFIXES or is_video(file)


def is_video(name: str) -> bool:
    """Tell videos and cameras from images: files by their content."""
    from ..data.video import camera_number, is_video_file

    return is_video_file(name) or (camera_number(name) is not None and not os.path.exists(name))


def predict_files(
    predictor: Predictor,
    items: Iterable[T],
    path_of: Callable[[T], str | os.PathLike[str]],
    batch_size: int | None,
    way: Way | None = None,
) -> Iterator[tuple[T, np.ndarray | None, Outputs | ImageError]]:
    """Run a model on image files, going on after those that cannot be read; no more than two batches are held at once.

    Yields:
        In order: the item; its image, (H, W, C) uint8 as the model's channels want it, BGR where they are three; and
        what the model returns. For a file that cannot be read ``None`` and the error.
    """
    from ..data import image_to_array

    channels = len(predictor.cfg.MODEL.PIXEL_MEAN)
    images: deque[np.ndarray | None] = deque()  # those read so far of the items that are still to be yielded

    def read(item: T) -> np.ndarray:
        try:
            images.append(image := image_to_array(path_of(item), channels))
        except ImageError:
            images.append(None)
            raise
        return image

    items, to_read = itertools.tee(items)
    readings = (partial(read, item) for item in to_read)
    for outputs, item in zip(predictor.batch(readings, batch_size, return_errors=True, **(way or {})), items):
        yield item, images.popleft(), outputs
