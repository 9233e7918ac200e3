"""Sixty-odd images, good and bad, each with its outcome: the right pixels, or an `ImageError` that helps.

A row makes its image in a folder of its own from the picture RGB, and names what is expected: pixels, how far they may
be off, or a pattern that the sentence matches.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_cfg, tiny_model

from litepred import ImageError, Predictor
from litepred.data import image_to_array

_GENERATOR = np.random.default_rng(8)
_COARSE = Image.fromarray(_GENERATOR.integers(0, 256, (3, 4, 3), dtype=np.uint8))
RGB = np.asarray(_COARSE.resize((40, 24), Image.Resampling.BICUBIC))  # smooth, so that JPEG is near
GRAY = np.asarray(Image.fromarray(RGB).convert("L"))
BGR = np.ascontiguousarray(RGB[:, :, ::-1])
PLAIN = Image.fromarray(RGB)


def repeated(gray: np.ndarray) -> np.ndarray:
    return np.dstack([gray] * 3)


class Row:
    """``make(folder)`` gives what the caller passes: a path, an array, a Pillow image …"""

    def __init__(self, name: str, make: Any, expected: np.ndarray | str, off_by: int = 0) -> None:
        self.name, self.make, self.expected, self.off_by = name, make, expected, off_by


def saved(name: str, image: Image.Image = PLAIN, **options: Any) -> Any:
    def make(folder: Path) -> Path:
        image.save(folder / name, **options)
        return folder / name

    return make


def content(name: str, data: bytes) -> Any:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def encoded(format: str, image: Image.Image = PLAIN, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


class Download(io.BytesIO):
    """It comes once."""

    def seekable(self):
        return False

    def seek(self, *_):
        raise io.UnsupportedOperation("seek")


def failing(error: Exception, kind: type[io.BytesIO] = io.BytesIO) -> Any:
    class Failing(kind):
        def read(self, *_):
            raise error

    return lambda _: Failing()


def oriented(orientation: int) -> Any:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {  # how a camera that was turned stores RGB
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: RGB.transpose(1, 0, 2)[::-1],
        7: RGB.transpose(1, 0, 2)[::-1, ::-1],
        8: RGB.transpose(1, 0, 2)[:, ::-1],
    }.get(orientation, RGB)
    return saved("turned.png", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)


def converted(mode: str) -> Image.Image:
    """RGB in another mode, with what that mode keeps of it."""
    return PLAIN.convert("RGBA").convert(mode) if mode == "RGBa" else PLAIN.convert(mode)


def in_mode(mode: str, **kwargs: Any) -> Row:
    image = converted(mode)
    source = converted("LA") if mode == "LA" else image
    return Row(f"Pillow {mode}", lambda folder: source, np.asarray(image.convert("RGB"))[:, :, ::-1], **kwargs)


def png_of(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand, for what Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def rgb_of_16_bits() -> bytes:
    samples = (RGB.astype(">u2") * 257).tobytes()
    line = RGB.shape[1] * 6
    rows = b"".join(b"\0" + samples[i : i + line] for i in range(0, len(samples), line))
    return png_of(RGB.shape[1], RGB.shape[0], 16, 2, rows)


def animation(name: str, **options: Any) -> Any:
    frames = [PLAIN, PLAIN.transpose(Image.Transpose.ROTATE_180), Image.new("RGB", PLAIN.size)]
    return saved(name, frames[0], save_all=True, append_images=frames[1:], **options)


def profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def closed(folder: Path) -> Image.Image:
    image = Image.open(saved("closed.png")(folder))
    image.close()
    return image


def opened(name: str, data: bytes) -> Any:
    return lambda folder: Image.open(content(name, data)(folder))


def wide(height: int, width: int) -> np.ndarray:
    return np.arange(height * width * 3, dtype=np.uint32).astype(np.uint8).reshape(height, width, 3)


def saved_array(array: np.ndarray) -> Any:
    return saved("array.png", Image.fromarray(array))


class Handle:
    """Has what a data set of rasterio has."""

    count, height, width = 3, 24, 40

    def read(self) -> np.ndarray:
        raise AssertionError("it would be read whole")


JPEG = encoded("JPEG", quality=95)
VIDEO = struct.pack(">I", 24) + b"ftypisom\0\0\2\0isomiso2" + bytes(200)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
PALETTE = PLAIN.quantize(16)
TRANSPARENT = PALETTE.copy()
TRANSPARENT.info["transparency"] = 0
CMYK = PLAIN.convert("CMYK")
G16 = GRAY.astype(np.uint16) * 257
HIDDEN = np.dstack([RGB, np.zeros_like(GRAY)])  # quite transparent

ROWS = [
    # arrays
    Row("plain", lambda _: BGR, BGR),
    Row("read-only", lambda _: read_only(BGR), BGR),
    Row("non-contiguous", lambda _: np.repeat(BGR, 2, axis=1)[:, ::2], BGR),
    Row("negative strides", lambda _: BGR[::-1, ::-1].copy()[::-1, ::-1], BGR),
    Row("RGB turned into BGR by a negative stride", lambda _: RGB[:, :, ::-1], BGR),
    Row("Fortran order", lambda _: np.asfortranarray(BGR), BGR),
    Row("a window of a larger array", lambda _: np.pad(BGR, ((5, 5), (7, 7), (0, 0)))[5:-5, 7:-7], BGR),
    Row("broadcast, stride 0", lambda _: np.broadcast_to(BGR[:1], BGR.shape), np.repeat(BGR[:1], len(BGR), axis=0)),
    Row("alpha", lambda _: np.dstack([BGR, GRAY]), BGR),
    Row("gray", lambda _: GRAY, repeated(GRAY)),
    Row("gray with a channel", lambda _: GRAY[:, :, None], repeated(GRAY)),
    Row("masked array", lambda _: np.ma.masked_array(BGR, BGR > 99), BGR),
    Row("matrix", lambda _: np.matrix(GRAY), repeated(GRAY)),
    Row("memory map", lambda folder: mapped(folder), BGR),
    Row("1 × 1 array", lambda _: BGR[:1, :1], BGR[:1, :1]),
    Row("1 × 5000 array", lambda _: wide(1, 5000), wide(1, 5000)),
    Row("5000 × 1 array", lambda _: wide(5000, 1), wide(5000, 1)),
    Row("12,000 × 9,000 array", lambda _: np.broadcast_to(np.uint8(7), (9000, 12000, 3)), "skip pixels"),
    Row("zero-sized", lambda _: BGR[:0], r"shape \(0, 40, 3\).*height and width at least 1"),
    Row("zero wide", lambda _: BGR[:, :0], "height and width at least 1"),
    Row("no channels", lambda _: BGR[:, :, :0], "height and width at least 1"),
    Row("float, as it is", lambda _: BGR - 0.5, BGR - 0.5),
    Row("float16", lambda _: BGR.astype(np.float16), BGR.astype(np.float32)),
    Row("float, other byte order", lambda _: BGR.astype(">f4"), BGR.astype(np.float32)),
    Row("float with NaN", lambda _: np.full((4, 4, 3), np.nan, np.float32), r"float32.*NaN or infinite"),
    Row("float with infinity", lambda _: np.full((4, 4), np.inf), r"float64.*NaN or infinite"),
    Row("16-bit", lambda _: BGR.astype(np.uint16), "uint16.*astype"),
    Row("16-bit, all used", lambda _: BGR * np.uint16(257), r"uint16.*\.astype\(numpy.float32\), if the model"),
    Row("bool", lambda _: BGR > 9, "bool.*astype"),
    Row("complex", lambda _: BGR.astype(complex), "complex128"),
    Row("objects", lambda _: np.full((4, 4, 3), None), "object"),
    Row("text", lambda _: np.full((4, 4, 3), "a"), "<U1"),
    Row("channels first", lambda _: BGR.transpose(2, 0, 1), r"40 channels: expected uint8 \(H, W, 3\)"),
    Row("two channels", lambda _: BGR[:, :, :2], "2 channels"),
    Row("a batch", lambda _: BGR[None], r"\(1, 24, 40, 3\)"),
    Row("one row of pixels", lambda _: BGR[0, :, 0], r"shape \(40,\)"),
    Row("tensor", lambda _: torch.from_numpy(BGR.copy()), r"Tensor is not an image.*\.numpy\(\)"),
    Row("nothing", lambda _: None, r"NoneType is not an image: cv2\.imread\(\) returns None"),
    Row("bytes of a JPEG", lambda _: JPEG, r"bytes is not an image: put the bytes of a file into io\.BytesIO"),
    Row(
        "handle of rasterio",
        lambda _: Handle(),
        r"Handle is no open file: predictor\(image, tile=1024\) takes a handle",
    ),
    Row("list of lists", lambda _: GRAY.tolist(), r"list is not an image: .*predictor\.batch\(images\) takes several"),
    # Pillow images of every mode
    *(in_mode(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "HSV", "LAB")),
    in_mode("YCbCr"),
    in_mode("PA"),
    in_mode("RGBa"),
    Row("Pillow I;16", lambda _: Image.fromarray(G16), repeated(GRAY)),
    Row("Pillow I;16B", lambda _: Image.frombytes("I;16B", PLAIN.size, G16.astype(">u2").tobytes()), repeated(GRAY)),
    Row("Pillow I", lambda _: Image.fromarray(GRAY.astype(np.int32)), "32-bit pixels from .* scale them"),
    Row("Pillow F", lambda _: Image.fromarray(GRAY.astype(np.float32)), "float pixels from .* scale them"),
    Row("Pillow F with NaN", lambda _: Image.fromarray(np.full((4, 4), np.nan, np.float32)), "float pixels from nan"),
    Row("Pillow La", lambda _: PLAIN.convert("LA").convert("La"), repeated(GRAY)),
    Row("Pillow, transparent", lambda _: Image.fromarray(HIDDEN), BGR),
    Row("Pillow, zero-sized", lambda _: Image.new("RGB", (0, 5)), "the Pillow image .*height and width at least 1"),
    Row("Pillow, opened and not yet read", opened("lazy.png", encoded("PNG")), BGR),
    Row("Pillow, closed", closed, "closed image"),
    Row("Pillow, of a truncated file", opened("cut.jpg", JPEG[:-60]), "is the file complete"),
    # files
    Row("PNG", saved("plain.png"), BGR),
    Row("PNG, interlaced palette", saved("palette.png", PALETTE), np.asarray(PALETTE.convert("RGB"))[:, :, ::-1]),
    Row("PNG, palette with alpha", saved("t.png", TRANSPARENT), np.asarray(PALETTE.convert("RGB"))[:, :, ::-1]),
    Row("PNG, 1 bit", saved("bit.png", PLAIN.convert("1")), repeated(np.asarray(PLAIN.convert("1")) * np.uint8(255))),
    Row("PNG, gray and alpha", saved("la.png", PLAIN.convert("LA")), repeated(GRAY)),
    Row("PNG, transparent", saved("rgba.png", Image.fromarray(HIDDEN)), BGR),
    Row("PNG, 16-bit gray", saved("g16.png", Image.fromarray(G16)), repeated(GRAY)),
    Row("PNG, 16-bit colour", content("rgb16.png", rgb_of_16_bits()), BGR),
    Row("PNG, with another ICC profile", lambda folder: saved("icc.png", icc_profile=profile())(folder), BGR),
    *(Row(f"PNG, EXIF {i}", oriented(i), BGR) for i in range(1, 9)),
    Row("PNG, an orientation that there is not", oriented(9), BGR),
    Row("TIFF", saved("plain.tif"), BGR),
    Row("TIFF, LZW", saved("lzw.tif", compression="tiff_lzw"), BGR),
    Row("TIFF, 16-bit", saved("g16.tif", Image.fromarray(G16)), repeated(GRAY)),
    Row("TIFF, CMYK", saved("cmyk.tif", CMYK), np.asarray(CMYK.convert("RGB"))[:, :, ::-1]),
    Row("TIFF, float", saved("f.tif", Image.fromarray(GRAY.astype(np.float32))), "float pixels from .* scale them"),
    Row("TIFF, 32-bit", saved("i.tif", Image.fromarray(GRAY.astype(np.int32))), "32-bit pixels from .* scale them"),
    Row("TIFF, pages: the first", animation("pages.tif"), BGR),
    Row("BMP", saved("plain.bmp"), BGR),
    Row("PPM", saved("plain.ppm"), BGR),
    Row("TGA", saved("plain.tga"), "no image of a format that is opened.*expected JPEG, .*IMAGE_FORMATS"),
    Row("WebP, lossless", saved("plain.webp", lossless=True), BGR),
    Row("WebP, animated: the first frame", animation("moving.webp", lossless=True), BGR),
    Row("GIF", saved("plain.gif", PALETTE), np.asarray(PALETTE.convert("RGB"))[:, :, ::-1]),
    Row("GIF, animated: the first frame", animation("moving.gif"), BGR, off_by=60),
    Row("PNG, animated: the first frame", animation("moving.png"), BGR),
    Row("JPEG", content("plain.jpg", JPEG), BGR, off_by=24),
    Row("JPEG, progressive", saved("p.jpg", quality=95, progressive=True), BGR, off_by=24),
    Row("JPEG, gray", saved("g.jpg", PLAIN.convert("L"), quality=95), repeated(GRAY), off_by=12),
    Row("JPEG, CMYK", saved("c.jpg", CMYK, quality=95), BGR, off_by=40),
    Row("JPEG with damaged EXIF", saved("e.jpg", quality=95, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), BGR, off_by=24),
    Row("JPEG named .png", content("photo.png", JPEG), BGR, off_by=24),
    Row("1 × 1 file", saved_array(RGB[:1, :1]), BGR[:1, :1]),
    Row("1 × 5000 file", saved_array(wide(1, 5000)), wide(1, 5000)[:, :, ::-1]),
    Row("5000 × 1 file", saved_array(wide(5000, 1)), wide(5000, 1)[:, :, ::-1]),
    Row("12,000 × 9,000 file", content("large.png", png_of(12000, 9000, 1, 0, bytes(9000 * 1501))), "skip pixels"),
    Row("JPEG, truncated", content("cut.jpg", JPEG[: len(JPEG) // 2]), "is the file complete"),
    Row("JPEG, progressive and truncated", content("cut.jpg", encoded("JPEG", progressive=True)[:-60]), "complete"),
    Row("PNG, truncated", content("cut.png", encoded("PNG")[:-60]), "is the file complete"),
    Row("PNG, damaged", content("bad.png", encoded("PNG")[:80] + bytes(40) + encoded("PNG")[120:]), "complete"),
    Row("GIF, truncated", content("cut.gif", encoded("GIF", PALETTE)[:-60]), "complete"),
    Row("decompression bomb", content("b.png", png_of(60000, 60000, 8, 2, b"")), "too large.*MAX_IMAGE_PIXELS"),
    Row(
        "a PNG that claims 2³¹ rows",
        content("b.png", png_of(9, 2**31 - 1, 8, 0, b"")),
        "too large|complete|that is opened",
    ),
    Row("empty file", content("empty.png", b""), r"is empty \(0 bytes\): copy or download it again"),
    Row(
        "the head of a PNG",
        content("cut.png", encoded("PNG")[:26] + b"\7\0\0" + encoded("PNG")[29:]),
        "starts like PNG, .*is it damaged",
    ),
    Row("the head of a TIFF", content("cut.tif", encoded("TIFF")[:12]), "starts like TIFF, .*is it damaged"),
    Row(
        "a BMP of another kind",
        content("a.bmp", encoded("BMP")[:28] + b"\2\0" + encoded("BMP")[30:]),
        "anew as a plain",
    ),
    Row("text named .jpg", content("page.jpg", b"<html></html>"), "is a web page: download the image itself"),
    Row("video named .png", content("video.png", VIDEO), "is a video: expected an image"),
    Row("JPEGs one after another", content("cam.MJPEG", 2 * JPEG), "is a video: expected an image; predictor.stream"),
    Row("PDF", content("page.pdf", b"%PDF-1.7\n"), "is a PDF: write its pages as images first"),
    Row("PostScript", content("a.eps", EPS), "is EPS, which is drawn by running a program"),
    Row("NumPy's file", content("a.npy", b"\x93NUMPY\1\0v\0{}"), "in NumPy's format: pass what numpy.load gives"),
    # open files, as a server has them
    Row("open PNG", lambda _: io.BytesIO(encoded("PNG")), BGR),
    Row("open file on disk", lambda folder: saved("open.png")(folder).open("rb"), BGR),
    Row("open, EXIF 6", lambda folder: io.BytesIO(oriented(6)(folder).read_bytes()), BGR),
    Row("open, empty", lambda _: io.BytesIO(), "the BytesIO is empty"),
    Row("open, text", lambda _: io.BytesIO(b"<!DOCTYPE html>"), "is a web page"),
    Row("open, truncated", lambda _: io.BytesIO(JPEG[: len(JPEG) // 2]), "the BytesIO cannot be.*is the file complete"),
    Row("open, PostScript", lambda _: io.BytesIO(EPS), "the BytesIO is EPS, which is drawn by running a program"),
    Row("open as text", lambda _: io.StringIO("text"), "the StringIO is open as text: open it with mode 'rb'"),
    Row("open as text, of any bytes", lambda f: saved("text.jpg")(f).open(encoding="latin-1"), "is open as text"),
    Row("temporary, as text", lambda _: tempfile.NamedTemporaryFile("w+"), "is open as text"),  # noqa: SIM115
    Row("download, PNG", lambda _: Download(encoded("PNG")), BGR),
    Row("download, TIFF", lambda _: Download(encoded("TIFF")), BGR),
    Row("download, WebP", lambda _: Download(encoded("WEBP", lossless=True)), BGR),
    Row("download, text", lambda _: Download(b"<!DOCTYPE html>"), "the Download is a web page"),
    Row(
        "download, broken off",
        failing(ConnectionResetError(104, "it ended"), Download),
        "the Failing cannot be read: it ended$",
    ),
    Row("disk that fails", failing(PermissionError(13, "not yours")), "the Failing cannot be read: not yours$"),
    Row("odd place", failing(OSError(22, "Invalid argument")), "cannot be read as an image.*: is the file complete"),
    Row("too little memory", failing(MemoryError()), "the Failing takes more memory than is left: make it smaller"),
    Row("open for writing", lambda folder: (folder / "new").open("wb"), "the BufferedWriter cannot be read"),
    Row("directory", lambda folder: folder, "is a directory: expected an image file"),
    Row("missing file", lambda folder: folder / "nowhere.png", "there is no file.*working folder"),
    Row("missing file, by text", lambda folder: str(folder / "nowhere.png"), "there is no file.*working folder"),
    Row("empty path", lambda _: "", "there is no file ''"),
    Row("path with a zero", lambda _: "a\0b.png", "there is no file"),
    Row("path that is too long", lambda _: "a" * 9999, "there is no file"),
    Row("URL", lambda _: "https://example.com/a.png", "no file 'https://example.com/a.png': .*download the file"),
    Row("FIFO", fifo, "not a regular file: expected an image file"),
    Row("device", lambda _: os.devnull, "not a regular file|there is no file"),
]
POSIX_ONLY = {"FIFO", "device"}


def mapped(folder: Path) -> np.ndarray:
    array = np.memmap(folder / "array", np.uint8, "w+", shape=BGR.shape)
    array[:] = BGR
    return array


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    cfg = tiny_cfg("fpn")
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 32, 64
    return Predictor(cfg, weights=tiny_model("fpn").state_dict())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_outcome(row, tmp_path):
    if row.name in POSIX_ONLY and sys.platform == "win32":
        pytest.skip("Windows has no such files")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's of a large image; NumPy's of a matrix
        image = row.make(tmp_path)
        if isinstance(row.expected, np.ndarray):
            array = image_to_array(image)
            assert array.dtype == row.expected.dtype
            assert array.flags.c_contiguous
            assert array.shape == row.expected.shape
            assert np.abs(array.astype(int) - row.expected.astype(int)).max() <= row.off_by
        elif row.expected == "skip pixels":  # too large to compare cheaply
            array = image_to_array(image)
            assert array.shape == (9000, 12000, 3)
            assert array[0, 0].tolist() == array[-1, -1].tolist()
        else:
            with pytest.raises(ImageError, match=row.expected) as caught:
                image_to_array(image)
            assert 30 < len(str(caught.value)) < 12_000


def test_the_table_is_long_enough():
    assert len({row.name for row in ROWS}) == len(ROWS) >= 60


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if isinstance(row.expected, np.ndarray) and max(row.expected.shape) < 100],
    ids=lambda row: row.name,
)
def test_answers_are_those_of_the_plain_pixels(row, tmp_path, predictor):
    """Whatever way the image came, a model answers as to the array of its pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = row.make(tmp_path)
        plain = image_to_array(row.make(tmp_path)) if row.off_by else np.ascontiguousarray(row.expected)
        one, other = predictor(image)["instances"], predictor(plain)["instances"]
    assert len(plain) == 1 or len(one) > 0
    assert torch.equal(one.pred_boxes.tensor, other.pred_boxes.tensor)
    assert torch.equal(one.scores, other.scores)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_with_a_value_that_is_no_number(value, dtype, predictor):
    image = torch.full((3, 32, 48), 200.0, dtype=dtype)
    assert "instances" in predictor.model([{"image": image}])[0]
    image[1, 2, 3] = value
    with pytest.raises(ImageError, match="input 1 of the model has NaN or infinite values"):
        predictor.model([{"image": torch.zeros(3, 8, 8)}, {"image": image}])
