"""From what is typed to what is read: files, folders, patterns, videos, cameras; and running a model over them."""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ImageError

if TYPE_CHECKING:
    import numpy as np

    from ..predictor import Predictor

__all__ = ["IMAGE_SUFFIXES", "expand", "is_video", "predict_files"]

T = TypeVar("T")
_SUFFIXES = ".png .jpg .jpeg .jpe .jfif .tif .tiff .bmp .webp .gif .jp2 .avif .ppm .pgm .pbm .pnm"
IMAGE_SUFFIXES = tuple(_SUFFIXES.split())


def expand(names: Sequence[str]) -> Iterator[str | ImageError]:
    """Yield paths of files, and cameras, in order; an error for a name that leads to none.

    A folder stands for the images and videos in it, sorted, without its subfolders; ``*``, ``?``, ``[…]`` and ``**``
    are expanded here too, for shells that leave them as they are.
    """
    for name in names:
        if os.path.isdir(name):
            found: list[str] = []
            missing = f"the folder {name!r} has no image or video in it: expected files such as .png, .jpg or .mp4"
            try:
                found = sorted(os.path.join(name, file) for file in os.listdir(name) if _is_shown(file))
            except OSError as error:
                missing = f"the folder {name!r} cannot be read: {error.strerror or error}"
        elif not os.path.exists(name) and glob.has_magic(name):
            found = sorted(file for file in glob.glob(name, recursive=True) if os.path.isfile(file))
            missing = f"no file matches {name!r}; the working folder is {os.getcwd()!r}"
        else:
            found = [name]
        if found:
            yield from found
        else:
            yield ImageError(missing)


def _is_shown(file: str) -> bool:
    from ..data.video import VIDEO_SUFFIXES

    return not file.startswith(".") and Path(file).suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)


def is_video(name: str) -> bool:
    """Tell videos and cameras from images, by their name."""
    from ..data.video import VIDEO_SUFFIXES, camera_number

    return Path(name).suffix.lower() in VIDEO_SUFFIXES or (camera_number(name) is not None and not os.path.exists(name))


def predict_files(
    predictor: Predictor, items: Iterable[T], path_of: Callable[[T], str | os.PathLike[str]], batch_size: int | None
) -> Iterator[tuple[T, np.ndarray | None, dict[str, Any] | ImageError]]:
    """Run a model on image files, going on after those that cannot be read.

    A thread reads ahead while the model works; no more than two batches are held at once.

    Yields:
        In order: the item; its image, (H, W, C) uint8 as the model's channels want it, BGR where they are three; and
        what the model returns. For a file that cannot be read ``None`` and the error.
    """
    from ..data import as_array

    channels = len(predictor.cfg.MODEL.PIXEL_MEAN)
    waiting: deque[tuple[T, np.ndarray | None, ImageError | None]] = deque()

    def images(reader: ThreadPoolExecutor) -> Iterator[np.ndarray]:
        for item, future in _ahead(
            reader, items, lambda item: as_array(path_of(item), channels), 2 * (batch_size or 4)
        ):
            try:
                image = future.result()
            except ImageError as error:
                waiting.append((item, None, error))
            else:
                waiting.append((item, image, None))
                yield image

    reader = ThreadPoolExecutor(max_workers=1)
    try:
        for outputs in predictor.batch(images(reader), batch_size):
            yield from _errors(waiting)
            item, image, _ = waiting.popleft()
            yield item, image, outputs
        yield from _errors(waiting)
    finally:
        reader.shutdown(cancel_futures=True)


def _errors(waiting: deque[tuple[T, np.ndarray | None, ImageError | None]]) -> Iterator[tuple[T, None, ImageError]]:
    """Take the unreadable files from the front."""
    while waiting and (error := waiting[0][2]) is not None:
        yield waiting.popleft()[0], None, error


def _ahead(
    reader: ThreadPoolExecutor, items: Iterable[T], read: Callable[[T], Any], depth: int
) -> Iterator[tuple[T, Future[Any]]]:
    """Yield each item with its reading, ``depth`` of which are begun before they are asked for."""
    begun: deque[tuple[T, Future[Any]]] = deque()
    rest = iter(items)
    while True:
        with suppress(StopIteration):
            while len(begun) <= depth:
                item = next(rest)
                begun.append((item, reader.submit(read, item)))
        if not begun:
            return
        yield begun.popleft()
