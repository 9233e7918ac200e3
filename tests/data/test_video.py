"""Frames in and out."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from litepred.data import VideoReader, video_file
from litepred.data.video import camera_number
from litepred.errors import ImageError, LitepredError


def write(path, count: int, size_hw=(48, 64), fps: float = 10.0) -> None:
    with video_file(path, fps, size_hw) as add_frame:
        for i in range(count):
            add_frame(np.full((*size_hw, 3), (0, 0, 20 * i), np.uint8))  # ever brighter red


@pytest.mark.parametrize("size_hw", [(48, 64), (47, 63), (17, 200)])
def test_there_and_back(size_hw, tmp_path):
    write(tmp_path / "a.mp4", 5, size_hw)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert (reader.fps, reader.frame_count, reader.is_camera) == (10.0, 5, False)
        frames = list(reader)
    assert [(index, time_s) for index, time_s, _ in frames] == [(i, i / 10) for i in range(5)]
    for i, (_, _, frame) in enumerate(frames):
        assert frame.dtype == np.uint8
        assert frame.shape == (size_hw[0] // 2 * 2, size_hw[1] // 2 * 2, 3)  # the format has even sizes
        assert np.abs(frame.mean(axis=(0, 1)) - (0, 0, 20 * i)).max() < 8  # BGR


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_video_that_breaks_off_is_not_there(error, tmp_path):
    with pytest.raises(error), video_file(tmp_path / "a.mp4", 10, (48, 64)) as add_frame:
        add_frame(np.zeros((48, 64, 3), np.uint8))
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_cut(tmp_path):
    """Its beginning says how many frames there should be."""
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(40):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    with VideoReader(path) as reader, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(reader)) == 40
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (
        VideoReader(path) as reader,
        pytest.warns(UserWarning, match=r"a\.avi says that it has 40 frames, but only \d+ could be read"),
    ):
        assert 0 < len(list(reader)) < 30


@pytest.mark.parametrize("shape", [(32, 64, 3), (48, 64), (48, 64, 4)])
def test_a_frame_of_another_size(shape, tmp_path):
    with (
        pytest.raises(LitepredError, match=r"takes frames of shape \(48, 64, 3\), but one is"),
        video_file(tmp_path / "a.mp4", 10, (48, 64)) as add_frame,
    ):
        add_frame(np.zeros(shape, np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_gets_full(tmp_path, monkeypatch):
    class Full:
        """Says nothing, as OpenCV's own, and only the beginning is there."""

        fourcc = cv2.VideoWriter.fourcc

        def __init__(self, path, *_):
            self.isOpened, self.release = lambda: True, lambda: None
            self.write = lambda frame: Path(path).write_bytes(b"\0\0\0\x1cftypisom")

    monkeypatch.setattr(cv2, "VideoWriter", Full)
    with pytest.raises(LitepredError, match=r"a\.mp4' cannot be written whole: is the disk full"):
        write(tmp_path / "a.mp4", 5)
    assert list(tmp_path.iterdir()) == []


def test_a_size_that_cannot_be_written(tmp_path):
    with (
        pytest.raises(LitepredError, match="cannot be written as a video of 1 × 1"),
        video_file(tmp_path / "a.mp4", 10, (1, 1)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.mp4", "there is no file 'nowhere.mp4'"),
        (".", "there is no file"),
        ("text.mp4", "cannot be opened as a video: expected MP4"),
        ("camera:999", "camera 999 cannot be opened as a video: is it connected"),
        (-1, "-1 is no video: expected a file's path, or camera:0"),  # OpenCV would crash
        (2**40, "1099511627776 is no video: expected a file's path"),
        (None, "None is no video: expected a file's path"),
        (0.5, "0.5 is no video: expected a file's path"),
        (b"a.mp4", "b'a.mp4' is no video: expected a file's path"),
    ],
)
def test_what_is_no_video(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ImageError, match=message):
        VideoReader(source)


@pytest.mark.parametrize(
    ("source", "number"),
    [
        (0, 0),
        (3, 3),
        ("camera:0", 0),
        ("camera:12", 12),
        ("camera:", None),
        ("a.mp4", None),
        (True, None),
        (None, None),
    ],
)
def test_cameras(source, number):
    assert camera_number(source) == number
