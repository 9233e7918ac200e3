"""Which decoders a file can reach, and what is said of old ones."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import PIL
import pytest
from PIL import Image, UnidentifiedImageError

from litepred.data import IMAGE_FORMATS, VideoReader, decoders, open_image, read_image
from litepred.errors import ImageError

ROOT = Path(__file__).parents[2]
PICTURE = Image.radial_gradient("L").resize((32, 20))


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    (PICTURE.convert("1") if kind in ("MSP", "XBM") else PICTURE.convert("RGB")).save(file, kind)
    return file.getvalue()


def kinds_that_pillow_writes() -> list[str]:
    Image.init()
    return sorted(set(Image.SAVE) & set(Image.OPEN))


@pytest.mark.parametrize("kind", kinds_that_pillow_writes())
def test_only_listed_formats_reach_their_decoder(kind, monkeypatch):
    for name in set(Image.OPEN) - set(IMAGE_FORMATS):
        monkeypatch.setitem(Image.OPEN, name, (lambda *_: pytest.fail("a decoder was reached"), None))
    try:
        data = encoded(kind)
    except (OSError, ValueError):
        pytest.skip("Pillow writes it in other modes, or not in this build")
    if kind in IMAGE_FORMATS:
        assert open_image(io.BytesIO(data)).size == PICTURE.size
    elif data.startswith(b"BM"):  # as DIB and others do, which then are BMP
        pytest.skip("it is another format by its content")
    else:
        with pytest.raises(UnidentifiedImageError):
            open_image(io.BytesIO(data))
        with pytest.raises(ImageError, match=r"format that is opened|is EPS"):
            read_image(io.BytesIO(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x09\0\0\0\x09\0\x08\0\3" + bytes(99),
        b"SIMPLE  =                    T".ljust(80) + b"NAXIS   =                    2".ljust(80) + b"END".ljust(2720),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    ],
    ids=["empty", "PSD", "FITS", "EPS", "OLE"],
)
def test_hostile_formats_do_not_reach_their_decoder(data, monkeypatch):
    Image.init()
    for name in set(Image.OPEN) - set(IMAGE_FORMATS):
        monkeypatch.setitem(Image.OPEN, name, (lambda *_: pytest.fail("a decoder was reached"), None))
    with pytest.raises(ImageError):
        read_image(io.BytesIO(data))


def test_there_is_one_door():
    files = {path.name for path in (ROOT / "litepred").rglob("*.py") if "Image.open(" in path.read_text("utf-8")}
    assert files == {"decoders.py"}


def test_a_program_may_add_a_format(monkeypatch):
    monkeypatch.setattr(decoders, "IMAGE_FORMATS", [*IMAGE_FORMATS, "TGA"])
    assert open_image(io.BytesIO(encoded("TGA"))).format == "TGA"


@pytest.mark.parametrize(
    ("version", "is_old"),
    [("3.4.2", True), ("4.8.0", True), ("12.2.9", True), ("12.10.0", True), ("13.0.0", False), ("13.0.0.dev0", False)],
)
def test_which_releases_are_old(version, is_old, monkeypatch):
    monkeypatch.setitem(decoders.DECODERS, "PIL", ("pillow", "13.0.0"))
    monkeypatch.setattr(PIL, "__version__", version)
    assert decoders.is_old("PIL") is is_old


def test_an_old_decoder_is_told_of_once(monkeypatch, tmp_path):
    monkeypatch.setattr(decoders, "_warned", set())
    monkeypatch.setattr(PIL, "__version__", "10.1.0")
    monkeypatch.setattr(cv2, "__version__", "4.11.0")
    wanted = re.escape(decoders.DECODERS["PIL"][1])
    with pytest.warns(UserWarning, match=rf"pillow 10\.1\.0 has known holes.*take {wanted} .*pillow>={wanted}"):
        read_image(io.BytesIO(encoded("PNG")))
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.warns(UserWarning, match=r"opencv-python 4\.11\.0 has .*4\.12\.0"), pytest.raises(ImageError):
        VideoReader(tmp_path / "a.mp4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(io.BytesIO(encoded("PNG")))


def test_the_decoders_here_are_not_old():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(io.BytesIO(encoded("JPEG")))


def test_what_is_installed_is_what_is_wanted():
    """pyproject.toml asks for the releases that the warning names."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    python = ">=" if sys.version_info >= (3, 11) else "<"
    for name, wanted in decoders.DECODERS.values():
        least = wanted.removesuffix(".0")
        assert re.search(rf'"{name}>={least}(; python_version {python} \'3\.11\')?"', text)


CUT = """
import os, sys
from PIL import ImageFile
from litepred.data import image_to_array
load = ImageFile.ImageFile.load
def cutting(image):
    loaded = load(image)
    os.truncate(sys.argv[1], 99)
    return loaded
ImageFile.ImageFile.load = cutting
assert image_to_array(sys.argv[1]).shape == (500, 600, 3)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody cut a file that is open")
@pytest.mark.parametrize(("format", "mode"), [("bmp", "L"), ("tif", "RGBA"), ("tif", "I;16"), ("ppm", "L")])
def test_an_image_that_is_cut_short_while_it_is_read_ends_no_process(format, mode, tmp_path):
    Image.new(mode, (600, 500)).save(tmp_path / f"a.{format}")
    done = subprocess.run([sys.executable, "-c", CUT, tmp_path / f"a.{format}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
