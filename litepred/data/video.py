"""Frames in and out of videos and cameras, one at a time.

H × W pixels. Frames are (H, W, 3) uint8 arrays in BGR order.
"""

from __future__ import annotations

import math
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from ..errors import ConfigError, ImageError, LitepredError, WriteError, number
from ..files import (
    MJPEG_SUFFIXES,
    VIDEO_SUFFIXES,
    as_stored,
    camera_number,
    is_stream_address,
    is_video_address,
    whole_file,
    without_password,
)
from .decoders import warn_if_old

__all__ = ["VideoReader", "camera_number", "is_video_address", "is_video_file", "video_file", "writes_h264"]

_MAGIC = re.compile(
    rb".{4}ftyp(?!avi[fs]|hei|hev|mif1|msf1|jp|crx|M4[ABP]|F4[AB])|"  # MP4 and QuickTime, but no AVIF and no sound
    rb"(?P<size>.{4})(moov|mdat|wide|free|skip|pnot)|"  # QuickTime that begins with another atom
    rb"\x1aE\xdf\xa3|RIFF.{4}AVI |FLV\x01|"  # WebM and Matroska, AVI, Flash
    rb"OggS.*(\x80theora|BBCD\0|OVP80|\x01video)|"  # Ogg whose first packets are not of sound alone
    rb"0&\xb2u\x8ef\xcf\x11|\xb7\xd8\x00 7I\xda\x11|\x00\x00\x01[\xb0\xb3\xba]|"  # Windows Media, MPEG
    rb"\x00\x00\x00\x01([\x27\x67]|\x09.\x00\x00|[\x40\x46]\x01)|"  # H.264 and H.265 without a container
    rb"\x06\x0e\+4\x02\x05\x01\x01|YUV4MPEG2 |DKIF|nut/multi|\.RMF|\x1f\x07\x00[\x3f\xbf]|"  # MXF, raw ones, DV
    rb"G.{187}G.{187}G|.{4}G.{191}G.{191}G",  # MPEG-TS, with times (of cameras and Blu-rays) or without
    re.DOTALL,
)
_SOUND_SUFFIXES = (".wma", ".mka", ".m4a", ".m4b", ".m4r", ".weba", ".3ga", ".oga", ".opus")  # begun as videos are
_Write: TypeAlias = Callable[[np.ndarray], object]
_PATIENCE_MS = 15_000  # for a host that does not answer


def is_video_file(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is a video: by its first bytes, or by its name where they are those of no format known."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return False
    try:
        with open(path, "rb") as file:
            head, length = file.read(600), os.fstat(file.fileno()).st_size
    except OSError:  # which is told where the file is wanted
        return False
    name, found = os.fspath(path).lower(), _MAGIC.match(head)
    if found and int.from_bytes(found["size"] or b"", "big") <= length:  # four letters of a text would be far larger
        return not name.endswith(_SOUND_SUFFIXES)
    is_image = head.startswith((b"\x89PNG", b"\xff\xd8", b"GIF8"))
    return name.endswith(MJPEG_SUFFIXES if is_image else VIDEO_SUFFIXES)


class VideoReader:
    """The frames of a video file or a camera, each read when its turn comes.

    Open it with ``with``, and iterate over it once: it yields each frame's number from 0; when it is shown, in seconds
    after the first, as the file tells, whose rate may vary; and the frame, upright.

    Args:
        source: the path of a video file; ``"camera:0"`` or 0 for the first camera; or an address that begins with
            ``rtsp://``, ``http://`` or the like, whose host has 15 seconds to answer.

    Attributes:
        is_camera: whether the source is a camera or a stream, which tells no length.
        fps: frames per second on average, as the file or the camera tells; 25 where it does not, as in the recordings
            of browsers.
        name: what messages call the source; an address without its password.
        frame_count: how many frames the file says it has; ``None`` where it does not say, and for a camera.

    Raises:
        ImageError: there is no such file or camera, or it cannot be opened as a video.
    """

    def __init__(self, source: str | os.PathLike[str] | int) -> None:
        import cv2

        camera = camera_number(source)
        if not (isinstance(source, (str, os.PathLike)) if camera is None else 0 <= camera < 1000):
            text = f"{source!r:.100}"
            what = type(source).__name__ if "\n" in text else text  # an array's is of many lines
            frames = "" if isinstance(source, int) else "; predictor.batch(images) goes through images"
            raise ImageError(f"{what} is no video: expected a file's path, or camera:0 for the first camera{frames}")
        self.is_camera = camera is not None
        path: Any = source if camera is None else f"camera {camera}"
        self.name: str = as_stored(os.fspath(path))
        if camera is None and os.path.isdir(self.name):  # unlike Path.is_dir(), never an error of its own
            raise ImageError(
                f"{self.name!r} is a folder: expected one video, such as each of sorted(Path(folder).glob('*.mp4')); "
                "images go to predictor.batch(sorted(Path(folder).glob('*.jpg')))"
            )
        is_address = is_stream_address(source)
        if camera is None and not is_address and not os.path.isfile(self.name):
            raise ImageError(
                f"there is no file {self.name!r}: expected a video file, or camera:0 for the first camera; the "
                f"working folder is {os.getcwd()!r}"
            )
        warn_if_old("cv2")
        if is_address:
            patience = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _PATIENCE_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _PATIENCE_MS]
            self._capture: Any = cv2.VideoCapture(self.name, cv2.CAP_FFMPEG, patience)
            self.name = without_password(self.name)
        else:
            self._capture = cv2.VideoCapture(_readable(self.name) if camera is None else camera)
        if not self._capture.isOpened():
            expected = "expected MP4, AVI, MOV, MKV … that is complete, has pictures and not sound alone, and is in a "
            expected += "coding that this build of OpenCV knows"
            if self.is_camera:
                expected = "is it connected, free and allowed to be used?"
            elif is_address:
                expected = "is the address right, and does the host answer? Download it first if it is an image"
            raise ImageError(f"{self.name} cannot be opened as a video: {expected}")
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        if camera is not None:
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one of seconds ago
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.is_camera |= is_address and count < 1
        self.fps = float(fps) if 0 < fps < 1000 else 25.0  # 1000 is the clock of a WebM file
        self.frame_count = int(count) if not self.is_camera and count >= 1 else None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file or camera."""
        self._capture.release()

    def __iter__(self) -> Iterator[tuple[int, float, np.ndarray]]:
        """Read the frames; a warning tells of a camera that gives no more, and of far fewer than the file says.

        Raises:
            ImageError: when there is not even a first one.
        """
        import cv2

        index, start = 0, time.perf_counter()  # time.time() goes by steps of 16 ms on Windows
        first_s = time_s = latest_s = 0.0
        while (frame := self._capture.read()[1]) is not None:
            if self.is_camera:
                time_s = time.perf_counter() - start
            else:
                told_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                first_s = told_s if index == 0 else first_s
                passed_s = round(told_s - first_s, 6)
                if passed_s > latest_s:
                    latest_s, time_s = passed_s, passed_s if passed_s > time_s else time_s + 0.001
                elif index:  # some files tell no times, or not of each frame, or one of them twice
                    time_s += 1 / self.fps
            yield index, time_s, frame
            index += 1
        if not index:
            advice = "is it complete, and in a coding that this build of OpenCV knows?"
            raise ImageError(f"{self.name} has no frame that can be read: {advice}")
        if self.is_camera:
            told = f"{self.name} gave its last frame after {time_s:.0f} s"
            warnings.warn(f"{told}: if that is not its end, is it still connected?", stacklevel=2)
        # Some formats tell an estimate, from the last time in the file; its first may be later than 0.
        count = self.frame_count or 0
        if max(index, time_s * self.fps + min(self.fps, count / 4)) < 0.9 * count:
            told = f"{self.name} says that it has {self.frame_count} frames, but only {index} could be read: "
            told += "is it complete? One that was trimmed may count what it no longer shows"
            warnings.warn(told, stacklevel=2)


def _readable(name: str) -> str:
    """Return the path by which OpenCV opens a file; raise an ImageError where it has none, or may not be read."""
    _check_text(name)
    try:
        with open(name, "rb"):
            pass
    except OSError as error:
        raise ImageError(f"{name!r} cannot be read: {error.strerror or error}") from error
    return os.path.abspath(name)  # FFmpeg takes what stands before the first colon of a relative path for a protocol


def _check_text(path: str | os.PathLike[str]) -> None:
    """Refuse a path whose bytes are no UTF-8, at which OpenCV would end the process."""
    try:
        os.path.abspath(path).encode()
    except UnicodeEncodeError as error:
        raise ImageError(
            f"{os.fspath(path)!r} cannot be the path of a video, for its bytes are no text in UTF-8: rename it"
        ) from error


@contextmanager
def video_file(
    path: str | os.PathLike[str], fps: float, size_hw: tuple[int, int]
) -> Iterator[Callable[[np.ndarray], object]]:
    """Open an MP4 file for a ``with`` block, and give the function that adds a frame.

    PyAV writes H.264, which everything plays. Without it OpenCV writes MPEG-4 part 2, which browsers and notebooks do
    not play, and a warning says so. The file appears at the end of the block, whole, and not at all when the block
    raises. Both have even sizes only: of an odd height or width, the last row or column is left out.

    Args:
        path: the file's path, which ends in .mp4.
        fps: frames per second.
        size_hw: (height, width) of all frames in pixels.

    Raises:
        ConfigError: ``fps`` is no number above 0.
        LitepredError: such a file cannot be written there, or not all of it could be.
        ImageError: a frame is of another size, or the path's bytes are no text in UTF-8.
        WriteError: the folder cannot be written.
    """
    fps, added = float(fps) if isinstance(fps, (Fraction, Decimal)) else number("fps", fps), False
    if not 0 < fps < math.inf:
        raise ConfigError(f"fps is {fps}: expected frames per second, above 0")
    _check_text(path)
    height, width = (side // 2 * 2 for side in size_hw)

    def add(frame: np.ndarray) -> None:
        nonlocal added
        if frame.shape != (*size_hw, 3):  # OpenCV would leave it out and say nothing
            raise ImageError(f"{str(path)!r} takes frames of shape {(*size_hw, 3)}, but one is {frame.shape}")
        write(np.ascontiguousarray(frame[:height, :width]))
        added = True

    with whole_file(path) as file:
        file.close()  # it is opened by its name
        writer = _h264 if writes_h264() and min(height, width) else _mpeg4
        with writer(os.path.abspath(file.name), fps, size_hw, str(path)) as write:
            yield add
        if added:
            try:  # OpenCV does not tell that the disk is full
                with VideoReader(file.name) as reader:
                    next(iter(reader))
            except ImageError as error:
                raise LitepredError(f"{str(path)!r} cannot be written whole: is the disk full?") from error


def writes_h264() -> bool:
    """Tell whether a PyAV is there that writes H.264."""
    try:
        import av

        av.codec.Codec("libx264", "w")
    except Exception:  # ImportError; or one of its own, by a name that differs between releases
        return False
    return True


@contextmanager
def _h264(name: str, fps: float, size_hw: tuple[int, int], shown: str) -> Iterator[_Write]:
    import av

    @contextmanager
    def naming() -> Iterator[None]:
        try:
            yield
        except av.error.FFmpegError as error:  # it names the temporary file
            raise WriteError(f"{shown!r} cannot be written whole: {error.strerror}") from error

    def write(frame: np.ndarray) -> None:
        with naming():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))

    with naming():
        container = av.open(name, "w", format="mp4")
    try:
        with naming():
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = (side // 2 * 2 for side in size_hw)
        stream.pix_fmt, stream.options = "yuv420p", {"preset": "veryfast", "crf": "18"}
        yield write
        with naming():
            container.mux(stream.encode())
            container.close()
    finally:
        with suppress(av.error.FFmpegError):  # it was told, or the file is not wanted any more
            container.close()


@contextmanager
def _mpeg4(name: str, fps: float, size_hw: tuple[int, int], shown: str) -> Iterator[_Write]:
    import cv2

    fps = round(fps, 3 if fps < 65 else 2 if fps < 655 else 1)  # a number of 16 bits by a power of ten
    writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"mp4v"), fps, (size_hw[1] // 2 * 2, size_hw[0] // 2 * 2))
    try:
        if not writer.isOpened():
            raise LitepredError(
                f"{shown!r} cannot be written as a video of {size_hw[1]} × {size_hw[0]} pixels: is the name's ending "
                ".mp4, and can the folder be written?"
            )
        warnings.warn(
            f"{shown!r} becomes MPEG-4 part 2, which players play, but no browser and no notebook: for H.264, "
            "pip install 'litepred[video]'",
            stacklevel=5,
        )
        yield writer.write
    finally:
        writer.release()
