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
from unicodedata import normalize

from ..errors import ImageError
from ..files import address_advice, as_stored, camera_number, is_address, is_video_address
from .arguments import kind_advice
from .common import say

if TYPE_CHECKING:
    import numpy as np

    from ..predictor import Predictor
    from ..selection import Way
    from ..structures import Outputs

__all__ = ["IMAGE_SUFFIXES", "expand", "images_or_page", "is_video", "missing_file", "predict_files", "say_left_out"]

T = TypeVar("T")
_SUFFIXES = ".png .jpg .jpeg .jpe .jfif .tif .tiff .bmp .webp .gif .jp2 .avif .ppm .pgm .pbm .pnm"
IMAGE_SUFFIXES = tuple(_SUFFIXES.split())
_HEIF_SUFFIXES = (".heic", ".heif", ".hif")
_NAMED = 20  # of the files that are left out


def expand(names: Sequence[str], left_out: list[str] | None = None) -> Iterator[str | ImageError]:
    """Yield paths of files, and cameras, in order; an error for a name that leads to none.

    A folder stands for the images and videos in it, sorted. What else is in it is added to ``left_out``, but for what
    is hidden: its other files, and its folders with a slash at their end. ``*``, ``?``, ``[…]`` and ``**`` are
    expanded here too, for shells that leave them as they are.
    """
    for name in map(as_stored, names):
        if os.path.isdir(name):
            found: list[str] = []
            missing = f"the folder {name!r} has no image or video in it: expected files such as .png, .jpg or .mp4"
            try:
                files = sorted(os.path.join(name, file) for file in os.listdir(name) if not file.startswith("."))
                folders = {file for file in files if os.path.isdir(file)}
                found = [file for file in files if file not in folders and _is_read(file)]
                if left_out is not None:
                    left_out += [f"{file}/" if file in folders else file for file in files if file not in {*found}]
                if folders:
                    missing = f"{missing}; {os.path.join(name, '**', '*.jpg')!r} reads those of its subfolders"
            except OSError as error:
                missing = f"the folder {name!r} cannot be read: {error.strerror or error}"
        elif is_video_address(name):
            found = [name]
        elif not os.path.exists(name) and glob.has_magic(name) and not is_address(name):
            found = _matching(name)
            missing = f"no file matches {name!r}; the working folder is {os.getcwd()!r}"
        elif os.path.exists(name) and kind_advice(name):
            found, missing = [], f"{name!r} is no image: {kind_advice(name)}"
        elif os.path.exists(name) or camera_number(name) is not None:
            found = [name]
        else:
            found, missing = [], str(missing_file(name))
        if found:
            yield from found
        else:
            yield ImageError(missing)


def _matching(pattern: str) -> list[str]:
    """Return the files that match a pattern, in either form of Unicode, sorted."""
    folder = pattern
    parts: list[str] = []
    while folder != os.path.dirname(folder) and not os.path.isdir(folder):
        folder, part = os.path.split(folder)
        parts.insert(0, part)
    forms = [parts, *([normalize(form, part) for part in parts] for form in ("NFC", "NFD"))]
    found = {file for index, form in enumerate(forms) if form not in forms[:index] for file in _below(folder, form)}
    return sorted(file for file in found if os.path.isfile(file))


def _below(folder: str, parts: list[str]) -> Iterator[str]:
    """Yield what matches the parts of a pattern below a folder; unlike glob's, ``**`` goes into each folder once."""
    index = parts.index("**") if "**" in parts else len(parts)
    first = os.path.join(*parts[:index]) if index else ""
    found = [os.path.join(folder, one) for one in glob.glob(first, root_dir=folder)] if index else [folder]
    if index == len(parts):
        yield from found
        return
    seen: set[str] = set()
    for one in found:  # which grows, so that of several links the shortest way is taken
        real = os.path.realpath(one)
        if real not in seen:
            seen.add(real)
            yield from _below(one, parts[index + 1 :] or ["*"])
            found += sorted(os.path.join(one, name) for name in glob.glob("*/", root_dir=one))


def say_left_out(left_out: Sequence[str], are_patterns_taken: bool = True) -> None:
    """Tell what `expand` has left out."""
    folders = [one for one in left_out if one.endswith("/")]
    files = [one for one in left_out if not one.endswith("/")]
    if files:
        advice = "; HEIC needs pip install 'litepred[heif]'"
        is_lacked = any(one.lower().endswith(_HEIF_SUFFIXES) for one in files)
        say(f"{len(files)} files of folders are not read: {_listed(files)}{advice * is_lacked}")
    if folders:
        pattern = os.path.join(os.path.dirname(folders[0][:-1]), "**", "*.jpg")
        advice = f"; {pattern!r} reads what is in them" if are_patterns_taken else ""
        say(f"subfolders are not read: {_listed(folders)}{advice}")


def _listed(paths: Sequence[str]) -> str:
    names = [os.path.basename(path.rstrip("/")) for path in paths[:_NAMED]]
    return ", ".join(names) + (" …" if len(paths) > _NAMED else "")


def images_or_page(names: Sequence[str]) -> Sequence[str]:
    """Return the images that were given, or the example page that comes with litepred."""
    if names:
        return names
    from ..default_model import example_page

    return [str(example_page())]


def missing_file(name: str) -> ImageError:
    """Return the error for a name that leads to no file."""
    return ImageError(f"there is no file {name!r}: {_advice(name)}")


def _advice(name: str) -> str:
    if advice := address_advice(name) or kind_advice(name):
        return advice
    if name.isdecimal():
        return f"a camera is camera:{name}"
    if name.lower() in ("yes", "no", "true", "false"):
        return "an option that is a switch takes no value, and its opposite begins with --no-"
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
    from ..data.video import is_video_file

    is_live = camera_number(name) is not None or is_video_address(name)
    return is_video_file(name) or (is_live and not os.path.isfile(name))  # /dev/video0 exists, and is no file


def predict_files(
    predictor: Predictor,
    items: Iterable[T],
    path_of: Callable[[T], str | os.PathLike[str]],
    batch_size: int | None,
    way: Way | None = None,
) -> Iterator[tuple[T, np.ndarray | None, Outputs | ImageError]]:
    """Run a model on image files, going on after those that cannot be read or that it does not take.

    No more than two batches are held at once.

    Yields:
        In order: the item; its image as `Predictor.read` gives it, or ``None`` where it cannot be read; and what the
        model returns, or the error, which names the file.
    """
    images: deque[np.ndarray | None] = deque()  # those read so far of the items that are still to be yielded

    def read(item: T) -> np.ndarray:
        try:
            images.append(image := predictor.read(path_of(item)))
        except ImageError:
            images.append(None)
            raise
        return image

    items, to_read = itertools.tee(items)
    readings = (partial(read, item) for item in to_read)
    for outputs, item in zip(predictor.batch(readings, batch_size, return_errors=True, **(way or {})), items):
        image = images.popleft()
        if isinstance(outputs, ImageError) and image is not None:  # which the model got without its name
            outputs = ImageError(f"{os.fspath(path_of(item))!r}: {outputs}")
        yield item, image, outputs
