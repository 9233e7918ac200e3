"""Frames in and out of videos and cameras, by OpenCV, one at a time.

H × W pixels. Frames are (H, W, 3) uint8 arrays in BGR order.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError, LitepredError
from ..files import whole_file
from .decoders import warn_if_old

__all__ = ["VIDEO_SUFFIXES", "VideoReader", "camera_number", "video_file"]

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")
_CAMERA = re.compile(r"camera:(\d{1,3})")


def camera_number(source: Any) -> int | None:
    """Return the number of the camera that is meant by ``camera:0`` or a plain int, ``None`` for anything else."""
    if isinstance(source, Integral) and not isinstance(source, bool):
        return int(source)
    match = _CAMERA.fullmatch(source) if isinstance(source, str) else None
    return int(match[1]) if match else None


class VideoReader:
    """The frames of a video file or a camera, each read when its turn comes.

    Open it with ``with``, and iterate over it once: it yields each frame's number from 0, its time in seconds, and the
    frame.

    Args:
        source: the path of a video file; ``"camera:0"`` or 0 for the first camera.

    Attributes:
        is_camera: whether the source is a camera, which never ends by itself.
        fps: frames per second, as the file or the camera tells; 25 where it does not tell.
        frame_count: how many frames the file says it has; ``None`` where it does not say, and for a camera.

    Raises:
        ImageError: there is no such file or camera, or it cannot be opened as a video.
    """

    def __init__(self, source: str | os.PathLike[str] | int) -> None:
        import cv2

        number = camera_number(source)
        if not (isinstance(source, (str, os.PathLike)) if number is None else 0 <= number < 1000):
            raise ImageError(f"{source!r:.100} is no video: expected a file's path, or camera:0 for the first camera")
        self.is_camera = number is not None
        self._name = f"camera {number}" if number is not None else os.fspath(source)  # type: ignore[arg-type]
        if number is None and not Path(self._name).is_file():
            raise ImageError(
                f"there is no file {self._name!r}: expected a video file, or camera:0 for the first camera; the "
                f"working folder is {os.getcwd()!r}"
            )
        warn_if_old("cv2")
        self._capture: Any = cv2.VideoCapture(self._name if number is None else number)
        if not self._capture.isOpened():
            expected = "expected MP4, AVI, MOV, MKV … that is complete, in a coding that this build of OpenCV knows"
            if self.is_camera:
                expected = "is it connected, free and allowed to be used?"
            raise ImageError(f"{self._name} cannot be opened as a video: {expected}")
        if self.is_camera:
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one of seconds ago
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = float(fps) if 0 < fps <= 1000 else 25.0
        self.frame_count = int(count) if not self.is_camera and count >= 1 else None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file or camera."""
        self._capture.release()

    def __iter__(self) -> Iterator[tuple[int, float, np.ndarray]]:
        """Read the frames; where there are far fewer than the file says, a warning says so at the end.

        Raises:
            ImageError: when there is not even a first one.
        """
        index, start = 0, time.perf_counter()  # whose steps are not of 16 ms, as the other clock's on Windows
        while (frame := self._capture.read()[1]) is not None:
            yield index, time.perf_counter() - start if self.is_camera else index / self.fps, frame
            index += 1
        if not index:
            raise ImageError(f"{self._name} has no frame that can be read: is it complete?")
        if index < 0.9 * (self.frame_count or 0):  # some formats tell an estimate
            told = f"{self._name} says that it has {self.frame_count} frames, but only {index} could be read"
            warnings.warn(f"{told}: is it complete?", stacklevel=2)


@contextmanager
def video_file(
    path: str | os.PathLike[str], fps: float, size_hw: tuple[int, int]
) -> Iterator[Callable[[np.ndarray], object]]:
    """Open an MP4 file (MPEG-4) for a ``with`` block, and give the function that adds a frame.

    The file appears at the end of the block, whole, and not at all when the block raises. The format has even sizes
    only: of an odd height or width, the last row or column is left out.

    Args:
        path: the file's path, which ends in .mp4.
        fps: frames per second.
        size_hw: (height, width) of all frames in pixels.

    Raises:
        LitepredError: this build of OpenCV cannot write such a file there, or did not write all of it.
        WriteError: the folder cannot be written.
    """
    import cv2

    added = False

    def add(frame: np.ndarray) -> None:
        nonlocal added
        if frame.shape != (*size_hw, 3):  # OpenCV would leave it out and say nothing
            raise LitepredError(f"{str(path)!r} takes frames of shape {(*size_hw, 3)}, but one is {frame.shape}")
        writer.write(np.ascontiguousarray(frame))
        added = True

    with whole_file(path) as file:
        file.close()  # OpenCV opens it by its name
        writer = cv2.VideoWriter(file.name, cv2.VideoWriter.fourcc(*"mp4v"), fps, size_hw[::-1])
        try:
            if not writer.isOpened():
                raise LitepredError(
                    f"{str(path)!r} cannot be written as a video of {size_hw[1]} × {size_hw[0]} pixels: is the name's "
                    "ending .mp4, and can the folder be written?"
                )
            yield add
        finally:
            writer.release()
        if added:
            try:  # nor does it tell that the disk is full
                VideoReader(file.name).close()
            except ImageError as error:
                raise LitepredError(f"{str(path)!r} cannot be written whole: is the disk full?") from error
