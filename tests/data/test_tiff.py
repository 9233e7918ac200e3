"""TIFF files and other grays that Pillow lacks or misreads: the values of ``cv2.imread``, or a message that is true."""

from __future__ import annotations

import re
import struct
import sys
import warnings

import cv2
import numpy as np
import pytest
from data.test_image_table import png_of
from PIL import Image

from litepred.data import image_size, image_to_array, read_image
from litepred.data.tiff import read_tags
from litepred.errors import ImageError

G8 = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
RGB8 = np.dstack([G8, G8[::-1], G8[:, ::-1]])
G16, RGB16 = G8.astype(np.uint16) * 257 + 3, RGB8.astype(np.uint16) * 257 + 3
BANDS5 = np.dstack([G8 + i for i in range(5)])


def tiff_of(array, photometric=1, planes=1, order="<", orientation=1, bits=None, alpha=0):
    """An uncompressed TIFF by hand, since Pillow writes few of them: (H, W) or (H, W, C)."""
    array = array[:, :, None] if array.ndim == 2 else array
    height, width, number = array.shape
    kind = {"u": 1, "b": 1, "i": 2, "f": 3}[array.dtype.kind]
    stored = np.moveaxis(array, 2, 0) if planes == 2 else array
    data = stored.astype(array.dtype.newbyteorder(order)).tobytes()
    count = number if planes == 2 else 1
    fields = {
        256: [width],
        257: [height],
        258: [bits or 8 * array.dtype.itemsize] * number,
        259: [1],
        262: [photometric],
        273: [8 + i * len(data) // count for i in range(count)],
        274: [orientation],
        277: [number],
        278: [height],
        279: [len(data) // count] * count,
        284: [planes],
        338: [alpha] * max(0, number - (3 if photometric == 2 else 1)),
        339: [kind] * number,
    }
    entries, extra = b"", b""
    fields = {tag: values for tag, values in fields.items() if values}
    after = 8 + len(data) + 2 + 12 * len(fields) + 4
    for tag, values in fields.items():
        packed = struct.pack(f"{order}{len(values)}I", *values)
        place = packed if len(values) == 1 else struct.pack(f"{order}I", after + len(extra))
        extra += b"" if len(values) == 1 else packed
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + place
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(fields)) + entries + bytes(4) + extra


def repeated(gray):
    return np.dstack([gray] * 3)


FILES = {  # name, content, pixels or message
    "gray": (tiff_of(G8), repeated(G8)),
    "16 bits": (tiff_of(G16), repeated(G8)),
    "16 bits, big-endian": (tiff_of(G16, order=">"), repeated(G8)),
    "signed 16 bits": (tiff_of((G16 >> 1).astype(np.int16)), repeated(G8 >> 1)),
    "signed 16 bits, big-endian": (tiff_of((G16 >> 1).astype(np.int16), order=">"), repeated(G8 >> 1)),
    "white is zero": (tiff_of(G8, 0), repeated(~G8)),
    "white is zero, 16 bits": (tiff_of(G16, 0), repeated(~G8)),
    "white is zero, 16 bits, big-endian": (tiff_of(G16, 0, order=">"), repeated(~G8)),
    "colour, 16 bits": (tiff_of(RGB16, 2), RGB8[:, :, ::-1]),
    "colour, 16 bits, in planes": (tiff_of(RGB16, 2, planes=2), RGB8[:, :, ::-1]),
    "colour, 16 bits, in planes, turned": (tiff_of(RGB16, 2, planes=2, orientation=3), RGB8[::-1, ::-1, ::-1]),
    "colour, 16 bits, in planes, lying": (
        tiff_of(RGB16, 2, planes=2, orientation=6),
        RGB8.transpose(1, 0, 2)[:, ::-1, ::-1],
    ),
    "gray and another band, 16 bits": (tiff_of(np.dstack([G16, G16[::-1]])), repeated(G8)),
    "four bands, none a colour": (tiff_of(BANDS5[:, :, :4]), repeated(G8)),
    "floats": (tiff_of(G8 / np.float32(255)), "has float pixels from 0 to 0.92.*scale them"),
    "floats of 64 bits": (tiff_of(G8 / 255), "has float pixels from 0 to 0.92.*scale them"),
    "colour in floats": (tiff_of(RGB8 / np.float32(255), 2), "has float pixels from 0 to 0.92.*scale them"),
    "32 bits": (tiff_of(G8.astype(np.int32) - 9), "has 32-bit pixels from -9 to 226"),
    "32 bits without sign": (tiff_of(G8.astype(np.uint32) << 24), r"has 32-bit pixels from 0 to 3.9\d*e\+09"),
    "32 bits, big-endian": (tiff_of(G8.astype(np.uint32) << 24, order=">"), r"has 32-bit pixels from 0 to 3.9\d*e\+09"),
    "gray multiplied by alpha": (tiff_of(np.dstack([G8, G8 * 0 + 255]), alpha=1), repeated(G8)),
    "five bands": (tiff_of(BANDS5), "TIFF with 5 bands, none of which is called a colour: .* a model of 5 channels"),
}


@pytest.mark.parametrize("decoder", ["tifffile", "OpenCV"])
@pytest.mark.parametrize("name", FILES)
def test_pixels(name, decoder, tmp_path, monkeypatch):
    if decoder == "OpenCV":
        monkeypatch.setitem(sys.modules, "tifffile", None)
    else:
        pytest.importorskip("tifffile")
    content, expected = FILES[name]
    (tmp_path / "a.tif").write_bytes(content)
    if isinstance(expected, str):
        if decoder == "OpenCV" and name in (
            "five bands",
            "floats of 64 bits",
            "colour in floats",
            "32 bits, big-endian",
        ):
            expected = "is a TIFF of .* band.* of .*-bit .* neither Pillow nor OpenCV decodes as colours"
        with pytest.raises(ImageError, match=expected):
            read_image(tmp_path / "a.tif")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = read_image(tmp_path / "a.tif")
    assert np.abs(array.astype(int) - expected).max() <= (decoder == "OpenCV")
    if (other := cv2.imread(str(tmp_path / "a.tif"))) is not None:  # it lacks some that lie
        assert np.abs(array.astype(int) - other).max() <= 1


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (BANDS5, BANDS5),
        (BANDS5[:, :, :2], BANDS5[:, :, :2]),
        (BANDS5[:, :, :4], BANDS5[:, :, :4]),
        (BANDS5.astype(np.uint16) * 200, BANDS5.astype(np.float32) * 200),
        (BANDS5 / np.float32(7), BANDS5 / np.float32(7)),
        (BANDS5.astype(np.int16) - 99, BANDS5.astype(np.float32) - 99),
    ],
    ids=["five", "two", "four", "16 bits", "floats", "negative"],
)
@pytest.mark.parametrize("planes", [1, 2])
def test_bands_are_read_as_they_are(array, expected, planes, tmp_path):
    pytest.importorskip("tifffile")
    (tmp_path / "a.tif").write_bytes(tiff_of(array, planes=planes))
    found = image_to_array(tmp_path / "a.tif", channels=array.shape[2])
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ImageError, match=f"has {array.shape[2]} bands: expected 7"):
        image_to_array(tmp_path / "a.tif", channels=7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bands_in_pages_of_their_own(dtype, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    bands = BANDS5.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(bands, 2, 0), photometric="minisblack")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(image_to_array(tmp_path / "a.tif", channels=5), bands)
    with pytest.raises(ImageError, match="has 1 band: expected 4"):
        image_to_array(tmp_path / "a.tif", channels=4)


@pytest.mark.parametrize("bands", [2, 4])
def test_bands_of_16_bits_in_a_png(bands, tmp_path):
    image = np.dstack([RGB16 - 1, G16])
    rows = b"".join(b"\0" + row.tobytes() for row in image[:, :, -bands:].astype(">u2"))
    (tmp_path / "a.png").write_bytes(png_of(8, 6, 16, 6 if bands == 4 else 4, rows))
    np.testing.assert_array_equal(image_to_array(tmp_path / "a.png", bands), image[:, :, -bands:].astype(np.float32))


def test_a_palette_of_16_bits(tmp_path):
    pytest.importorskip("tifffile")
    (tmp_path / "a.tif").write_bytes(tiff_of(G16, 3))
    with pytest.raises(ImageError, match=r"colours are of an unusual kind \(PhotometricInterpretation 3\): convert it"):
        read_image(tmp_path / "a.tif")


def test_bands_of_16_bits_where_nothing_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    (tmp_path / "a.tif").write_bytes(tiff_of(np.dstack([RGB16, G16]), 2))
    cv2.imwrite(str(tmp_path / "a.jp2"), np.tile(np.dstack([RGB16, G16]), (6, 6, 1)))
    for name in ("a.tif", "a.jp2"):
        with pytest.raises(ImageError, match=r"more than 8 bits per sample, .*pip install 'litepred\[tiff\]'"):
            image_to_array(tmp_path / name, channels=4)


@pytest.mark.parametrize("decoder", ["tifffile", "OpenCV"])
@pytest.mark.parametrize("format", ["png", "webp", "tif"])
def test_alpha_is_a_band_for_a_model_of_four(format, decoder, tmp_path, monkeypatch):
    if decoder == "OpenCV":
        monkeypatch.setitem(sys.modules, "tifffile", None)
    else:
        pytest.importorskip("tifffile")
    rgba = np.dstack([RGB8, G8])
    rgba[0, :, 3] = 0
    Image.fromarray(rgba).save(
        tmp_path / f"a.{format}", **({"lossless": True, "exact": True} if format == "webp" else {})
    )
    np.testing.assert_array_equal(image_to_array(tmp_path / f"a.{format}", channels=4), rgba)
    np.testing.assert_array_equal(image_to_array(Image.fromarray(rgba), channels=4), rgba)
    with pytest.raises(ImageError, match="has 4 bands: expected 6"):
        image_to_array(tmp_path / f"a.{format}", channels=6)


def test_pgm_has_the_range_that_it_says(tmp_path):
    for name, most in (("deep", 65535), ("twelve", 4095)):
        values = (G8.astype(float) / 255 * most).round().astype(">u2")
        (tmp_path / f"{name}.pgm").write_bytes(b"P5 8 6 %d\n" % most + values.tobytes())
        assert np.abs(read_image(tmp_path / f"{name}.pgm")[:, :, 0].astype(int) - G8).max() <= 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (tiff_of(G16 >> 4), "16 bits per sample, but none above 3[0-9]{3}, and is nearly black"),
        (tiff_of(G16 >> 8), "16 bits per sample, but none above 2[0-9]{2}, and is nearly black"),
        (tiff_of(RGB16 >> 4, 2), "is nearly black"),
        (tiff_of(RGB16 >> 2, 2, planes=2), "is nearly black"),
        (tiff_of(G8.astype(np.int16) - 99), "has negative values, which count as 32768 and more"),
        (tiff_of(np.zeros((6, 8), np.uint16)), None),
        (tiff_of(G16 >> 1), None),
    ],
    ids=["12 bits", "8 bits", "12 bits, colour", "14 bits, planes", "negative", "black", "15 bits"],
)
def test_what_may_be_wrong_is_told(content, told, tmp_path):
    (tmp_path / "a.tif").write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        array = read_image(tmp_path / "a.tif")
    assert np.abs(array.astype(int) - cv2.imread(str(tmp_path / "a.tif"))).max() <= 1
    assert len(caught) == (told is not None)
    if told:
        assert re.search(told, str(caught[0].message))


@pytest.mark.parametrize("coding", [34712, 34887, 50001, 50002, 12345])
def test_a_coding_that_is_lacking_is_named(coding, tmp_path, monkeypatch):
    """OpenCV returns black pixels for some of them."""
    monkeypatch.setitem(sys.modules, "tifffile", None)
    content = tiff_of(RGB8, 2).replace(struct.pack("<HHII", 259, 4, 1, 1), struct.pack("<HHII", 259, 4, 1, coding))
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(
        ImageError, match=r"3 bands of 8-bit unsigned integers \(compression .*pip install 'litepred\[tiff\]'"
    ):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("content", [b"", b"II", b"II*\0", b"MM\0*\0\0\xff\xff", b"II+\0\x08\0\0\0", tiff_of(G8)[:100]])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_files(content, tmp_path):
    (tmp_path / "a.tif").write_bytes(content)
    assert 273 not in read_tags(tmp_path / "a.tif")[0]
    with pytest.raises(ImageError):
        read_image(tmp_path / "a.tif")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    content = tiff_of(BANDS5).replace(struct.pack("<HHII", 257, 4, 1, 6), struct.pack("<HHII", 257, 4, 1, 1 << 30))
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match="too large"):
        image_to_array(tmp_path / "a.tif", channels=5)


def test_many_bands_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    """Strips without a byte stand for zeros, so that a file of 1 kB may have gigabytes of samples."""
    pytest.importorskip("tifffile")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48)  # of which twice as many are taken, in four bands or the wanted
    (tmp_path / "a.tif").write_bytes(tiff_of(np.dstack([G16] * 9), planes=2))
    with pytest.raises(ImageError, match="too large"):
        read_image(tmp_path / "a.tif")
    assert image_to_array(tmp_path / "a.tif", channels=9).shape == (6, 8, 9)


@pytest.mark.parametrize("order", ["<", ">"])
def test_big_tiff(order, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", RGB16, bigtiff=True, byteorder=order, photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), (RGB16 >> 8).astype(np.uint8)[:, :, ::-1])
    assert image_size(tmp_path / "a.tif") == (6, 8)


@pytest.mark.parametrize("gray", [True, False])
def test_jpeg_2000_of_16_bits(gray, tmp_path):
    """In colours Pillow's rounding makes the brightest samples black."""
    image = np.full((32, 48, 3), 65535, np.uint16)
    image[8:16] = 40000
    cv2.imwrite(str(tmp_path / "a.jp2"), image[:, :, 0] if gray else image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jp2"), cv2.imread(str(tmp_path / "a.jp2")))
    with open(tmp_path / "a.jp2", "rb") as file:
        assert read_image(file).min() > 150
