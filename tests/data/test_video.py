"""Frames in and out."""

from __future__ import annotations

import os
import struct
import sys
import threading
import warnings
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from unicodedata import normalize

import cv2
import numpy as np
import pytest
import torch
from full_disk import disk_with_room_for

from litepred.data import VideoReader, video_file
from litepred.data.video import camera_number, is_video_address, is_video_file, writes_h264
from litepred.errors import ConfigError, ImageError, LitepredError, WriteError


class Capture:
    """What OpenCV reads: frames at the times that ``of`` was called with, in seconds."""

    def __init__(self, *arguments):
        self.times, self.arguments = list(self.told), arguments
        self.time_s = 0.0

    @classmethod
    def of(cls, *times, fps=25.0, frames=0):
        return type(
            "Capture", (cls,), {"told": times, "facts": {cv2.CAP_PROP_FPS: fps, cv2.CAP_PROP_FRAME_COUNT: frames}}
        )

    isOpened = staticmethod(lambda: True)
    set = staticmethod(lambda *_: True)
    release = staticmethod(lambda: None)

    def get(self, key):
        return self.time_s * 1000 if key == cv2.CAP_PROP_POS_MSEC else self.facts.get(key, 0.0)

    def read(self):
        if not self.times:
            return False, None
        self.time_s = self.times.pop(0)
        return True, np.zeros((4, 6, 3), np.uint8)


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


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_the_other_form(form, other, tmp_path):
    write(tmp_path / normalize(form, "é.mp4"), 1)
    with VideoReader(tmp_path / normalize(other, "é.mp4")) as reader:
        assert len(list(reader)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no colons in names")
@pytest.mark.parametrize("name", ["2024-01-01T12:30:00.mp4", "rtsp:a/b.mp4"])
@pytest.mark.parametrize("writer", ["PyAV", "OpenCV"])
@pytest.mark.filterwarnings("ignore:.*MPEG-4 part 2")
def test_a_name_with_a_colon(name, writer, tmp_path, monkeypatch):
    """FFmpeg takes what stands before it for a protocol."""
    if writer == "OpenCV":
        monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    write(name, 2)
    with VideoReader(name) as reader:
        assert len(list(reader)) == 2


def test_jpegs_one_after_another(tmp_path):
    """The beginning of such a file is that of a JPEG."""
    frames = [np.full((48, 64, 3), 40 * i, np.uint8) for i in range(3)]
    content = b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames)
    (tmp_path / "cam.mjpeg").write_bytes(content)
    with VideoReader(tmp_path / "cam.mjpeg") as reader:
        assert [round(frame.mean() / 40) for _, _, frame in reader] == [0, 1, 2]


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


def test_without_pyav_browsers_cannot_play_it_which_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.warns(UserWarning, match=r"MPEG-4 part 2, which players play, but no browser.*litepred\[video\]"):
        write(tmp_path / "a.mp4", 3)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert [time_s for _, time_s, _ in reader] == [0, 0.1, 0.2]


def test_browsers_play_what_pyav_writes(tmp_path):
    pytest.importorskip("av")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(tmp_path / "a.mp4", 3)
    assert b"avc1" in (tmp_path / "a.mp4").read_bytes()


def recorded(path, times_ms, codec="mpeg4", **options):
    """A video whose frames are shown at these times; each is brighter than the one before."""
    av = pytest.importorskip("av")
    with av.open(path, "w", **options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        if not codec.endswith("video"):  # which know some rates alone
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for i, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 20 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mpeg4"), ("a.mkv", "mpeg4"), ("a.webm", "libvpx")])
@pytest.mark.parametrize("start_ms", [0, 700])
def test_times_are_those_of_the_file(name, codec, start_ms, tmp_path):
    times_ms = [0, 40, 80, 120, 1160, 2160, 2200, 4160]
    recorded(tmp_path / name, [start_ms + one for one in times_ms], codec)
    with VideoReader(tmp_path / name) as reader, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reader.fps < 1000
        assert [time_s for _, time_s, _ in reader] == pytest.approx([one / 1000 for one in times_ms], abs=0.002)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([0, 0.033, 0.066, 0.1], [0, 0.033, 0.066, 0.1]),
        ([0, 0.0005, 0.001, 0.0015], [0, 0.0005, 0.001, 0.0015]),
        ([5, 5.5, 6], [0, 0.5, 1]),  # the first is shown at once
        ([0, 0, 0], [0, 0.04, 0.08]),  # no times
        ([0, 0.033, 0.033, 0.067, 0.1, 0.133], [0, 0.033, 0.073, 0.074, 0.1, 0.133]),  # one twice, and then the file's
        ([0, 0.033, 0, 0.067, 0.1], [0, 0.033, 0.073, 0.074, 0.1]),  # one without
        ([0, 0.5, 1, 0, 0.5], [0, 0.5, 1, 1.04, 1.08]),  # two films, one behind the other
    ],
)
def test_times_that_repeat_or_are_missing(told, expected, tmp_path, monkeypatch):
    (tmp_path / "a.webm").touch()
    monkeypatch.setattr(cv2, "VideoCapture", Capture.of(*told))
    assert [time_s for _, time_s, _ in VideoReader(tmp_path / "a.webm")] == pytest.approx(expected)


def test_a_camera_that_is_unplugged_is_told(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Capture.of(0, 0))
    with pytest.warns(
        UserWarning, match=r"camera 0 gave its last frame after 0 s: if that is not its end, is it still"
    ):
        assert len(list(VideoReader(0))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names of other systems are text")
@pytest.mark.parametrize("writer", ["PyAV", "OpenCV"])
def test_a_name_that_is_no_text(writer, tmp_path, monkeypatch):
    """OpenCV ends the process."""
    if writer == "OpenCV":
        monkeypatch.setitem(sys.modules, "av", None)
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    write(tmp_path / "a.mp4", 1)
    os.rename(tmp_path / "a.mp4", path)
    for refused in (lambda: VideoReader(path), lambda: write(path, 1)):
        with pytest.raises(ImageError, match=r"caf\\udce9\.mp4' cannot be the path of a video, .* no text in UTF-8"):
            refused()


@pytest.mark.skipif(sys.platform == "win32", reason="without such modes")
def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    write(tmp_path / "a.mp4", 1)
    monkeypatch.setattr("builtins.open", partial(forbidden, open))
    with pytest.raises(ImageError, match=r"a\.mp4' cannot be read: Permission denied$"):
        VideoReader(tmp_path / "a.mp4")


def forbidden(usual, path, *arguments, **options):
    """Root, as whom tests may run, may read every file."""
    if str(path).endswith(".mp4"):
        raise PermissionError(13, "Permission denied")
    return usual(path, *arguments, **options)


def test_a_film_that_was_turned(tmp_path):
    recorded(tmp_path / "a.mp4", range(0, 200, 40))
    content = (tmp_path / "a.mp4").read_bytes()
    plain, turned = ([1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 1, 0, -1, 0, 0, 0, 0, 1])
    plain, turned = (
        struct.pack(">9i", *(v << (30 if i == 8 else 16) for i, v in enumerate(m))) for m in (plain, turned)
    )
    track = content.index(b"tkhd")
    place = content.index(plain, track)
    (tmp_path / "a.mp4").write_bytes(content[:place] + turned + content[place + 36 :])
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert {frame.shape for _, _, frame in reader} == {(96, 64, 3)}


FORMATS = "mp4 mov avi matroska webm mpeg mpegts 3gp asf flv mpeg1video mxf ivf nut rm wtv yuv4mpegpipe h264"


@pytest.mark.parametrize("format", FORMATS.split())
def test_videos_are_told_by_content(format, tmp_path):
    codec = {"webm": "libvpx", "mpeg": "mpeg1video", "mpegts": "mpeg2video", "flv": "flv", "mxf": "mpeg2video"}
    codec |= {"ivf": "libvpx", "rm": "rv10", "wtv": "mpeg2video", "yuv4mpegpipe": "wrapped_avframe", "h264": "libx264"}
    recorded(
        str(tmp_path / "a"),
        range(0, 200, 40),
        codec.get(format, format if "1video" in format else "mpeg4"),
        format=format,
    )
    assert is_video_file(tmp_path / "a")
    blu_ray = b"".join(bytes(4) + b"G" + bytes(187) for _ in range(4))
    (tmp_path / "a").write_bytes(blu_ray)
    assert is_video_file(tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n", False),
        ("a.mp4", b"\x89PNG\r\n\x1a\n", False),
        ("a.jpg", b"\xff\xd8\xff\xe0", False),
        ("a.avif", b"\0\0\0\x1cftypavif", False),
        ("a.heic", b"\0\0\0\x1cftypheic", False),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ", False),
        ("a.webp", b"RIFF\0\0\0\0WEBPVP8 ", False),
        ("a.gif", b"GIF89a", False),
        ("a.txt", b"", False),
        ("a", b"\0\0\0\x08wide\0\0\0\0mdat", True),
        ("a", b"\0\0\0\1mdat" + bytes(30), True),
        ("notes.txt", b"The free encyclopedia", False),
        ("notes.txt", b"You skip this, or wide of it", False),
        ("a.m4a", b"\0\0\0\x1cftypM4A \0\0\0\0", False),
        ("a.m4b", b"\0\0\0\x1cftypM4B \0\0\0\0", False),
        ("a.m4v", b"\0\0\0\x1cftypM4V \0\0\0\0", True),
        ("a.ogg", b"OggS\0\2" + bytes(22) + b"\x01vorbis", False),
        ("a.opus", b"OggS\0\2" + bytes(22) + b"OpusHead", False),
        ("a.ogg", b"OggS\0\2" + bytes(22) + b"\x01vorbis" + bytes(23) + b"OggS\0\2" + bytes(22) + b"\x80theora", True),
        ("a.wma", b"0&\xb2u\x8ef\xcf\x11", False),
        ("a.wmv", b"0&\xb2u\x8ef\xcf\x11", True),
        ("a.mka", b"\x1aE\xdf\xa3", False),
        ("a.WEBA", b"\x1aE\xdf\xa3", False),
        ("a.m4a", b"\0\0\0\x1cftypmp42\0\0\0\0", False),
        ("a.m4b", b"\0\0\0\x1cftypisom\0\0\0\0", False),
        ("a.m4r", b"\0\0\0\x1cftypdash\0\0\0\0", False),
        ("a.3ga", b"\0\0\0\x1cftyp3gp4\0\0\0\0", False),
        *(
            (f"a.{end}", b"OggS\0\2" + bytes(22) + b"OpusHead" + bytes(9) + b"\x01video", False)
            for end in ("oga", "opus")
        ),
        ("a.mp4", b"", True),  # so that what reads videos says what is wrong
        ("a.MP4", b"text", True),
        ("a.mjpeg", b"\xff\xd8\xff\xe0", True),
        ("a.MJPG", b"\xff\xd8\xff\xdb", True),
        ("a.mjpeg", b"", True),
    ],
)
def test_what_is_a_video(name, content, expected, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert is_video_file(tmp_path / name) == expected
    assert not is_video_file(tmp_path / "nowhere.mp4")


def test_a_disk_that_gets_full(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)

    class Full:
        """Says nothing, as OpenCV's own, and only the beginning is there."""

        fourcc = cv2.VideoWriter.fourcc

        def __init__(self, path, *_):
            self.isOpened, self.release = lambda: True, lambda: None
            self.write = lambda frame: Path(path).write_bytes(b"\0\0\0\x1cftypisom")

    monkeypatch.setattr(cv2, "VideoWriter", Full)
    with (
        pytest.warns(UserWarning, match="MPEG-4 part 2"),
        pytest.raises(LitepredError, match=r"a\.mp4' cannot be written whole: is the disk full"),
    ):
        write(tmp_path / "a.mp4", 5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not writes_h264(), reason="there is no PyAV that writes H.264")
def test_errors_of_the_block_pass_unchanged(tmp_path):
    import av

    (tmp_path / "broken.mp4").write_bytes(b"0" * 999)
    with pytest.raises(av.error.InvalidDataError), video_file(tmp_path / "a.mp4", 10, (48, 64)) as add_frame:
        add_frame(np.zeros((48, 64, 3), np.uint8))
        av.open(str(tmp_path / "broken.mp4"))
    assert [path.name for path in tmp_path.iterdir()] == ["broken.mp4"]


@pytest.mark.skipif(not writes_h264(), reason="there is no PyAV that writes H.264")
def test_a_disk_that_gets_full_for_pyav(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with (
        disk_with_room_for(20_000),
        pytest.raises(WriteError, match=r"a\.mp4' cannot be written whole: "),
        video_file(tmp_path / "a.mp4", 10, (480, 640)) as add_frame,
    ):
        for _ in range(99):
            add_frame(noise)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), None, "10"])
def test_rates_that_are_none(fps, tmp_path):
    with pytest.raises(ConfigError, match=r"^fps is "):
        write(tmp_path / "a.mp4", 1, fps=fps)


@pytest.mark.parametrize("writer", ["PyAV", "OpenCV"])
@pytest.mark.parametrize("fps", [83.333, 66.667, 999.9, np.float32(29.97), torch.tensor(7), Fraction(30000, 1001)])
@pytest.mark.filterwarnings("ignore:.*MPEG-4 part 2")
def test_any_rate(fps, writer, tmp_path, monkeypatch):
    if writer == "OpenCV":
        monkeypatch.setitem(sys.modules, "av", None)
    write(tmp_path / "a.mp4", 3, fps=fps)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert reader.fps == pytest.approx(float(fps), rel=1e-4)


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
        (".", "'.' is a folder: expected one video, such as each of "),
        ("text.mp4", "cannot be opened as a video: expected MP4.* has pictures and not sound alone"),
        ("camera:999", "camera 999 cannot be opened as a video: is it connected"),
        ("/dev/video999", "camera 999 cannot be opened as a video: is it connected"),
        (-1, "-1 is no video: expected a file's path, or camera:0"),  # OpenCV would crash
        (2**40, "1099511627776 is no video: expected a file's path"),
        (None, "None is no video: expected a file's path"),
        (0.5, "0.5 is no video: expected a file's path"),
        ("x" * 300 + ".mp4", r"there is no file 'x+\.mp4'"),
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
        ("/dev/video2", 2),
        (PurePosixPath("/dev/video2"), 2),
        ("/dev/video", None),
        ("camera:", None),
        ("a.mp4", None),
        (True, None),
        (None, None),
    ],
)
def test_cameras(source, number):
    assert camera_number(source) == number


class TestAddresses:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("", False),
            ("a.mp4", False),
            (0, False),
            ("rtsp://u:p@h/x", True),
            ("UDP://1:2", True),
            ("https://h/a.MP4?x=1", True),
            ("http://h/live.m3u8", True),
            ("rtmpte://h/x", True),
            ("mmsh://h/x", True),
            ("http://192.168.0.5:8080", True),
            ("http://192.168.0.5:8080/video", True),
            ("http://192.168.0.5/v1.2/stream?x=a.png", True),
            ("http://h/axis-cgi/mjpg/video.cgi", True),
            ("https://h/model.pth", False),
            ("http://h/cam.MJPG?x=1", True),
            ("https://h/a.png", False),
            ("ftp://h/a.mp4", False),
        ],
    )
    def test_which_are_videos(self, source, expected):
        assert is_video_address(source) is expected

    def test_a_file_behind_http(self, tmp_path):
        with video_file(tmp_path / "clip.mp4", 10, (32, 32)) as add:
            for value in range(3):
                add(np.full((32, 32, 3), value * 80, np.uint8))
        handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                with VideoReader(f"http://127.0.0.1:{server.server_port}/clip.mp4") as reader:
                    assert not reader.is_camera and reader.frame_count == 3
                    assert [index for index, _, _ in reader] == [0, 1, 2]
                with pytest.raises(
                    ImageError, match=r"http://127.*/none\.mp4 cannot be opened .* does the host answer"
                ):
                    VideoReader(f"http://me:secret@127.0.0.1:{server.server_port}/none.mp4")
            finally:
                server.shutdown()

    def test_a_stream_is_a_camera_and_its_password_a_secret(self, monkeypatch):
        monkeypatch.setattr(cv2, "VideoCapture", Capture.of(fps=0.0))
        reader = VideoReader("rtsp://me:secret@h/live")
        assert (
            reader._capture.arguments[0] == "rtsp://me:secret@h/live"
            and reader.is_camera
            and reader.frame_count is None
        )
        with pytest.raises(ImageError, match=r"^rtsp://h/live has no frame"):
            list(reader)
