"""TIFF files and other grays that Pillow lacks or misreads: the values of ``cv2.imread``, or a message that is true."""

from __future__ import annotations

import io
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
from litepred.errors import ImageError, in_words_of_commands

G8 = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
RGB8 = np.dstack([G8, G8[::-1], G8[:, ::-1]])
G16, RGB16 = G8.astype(np.uint16) * 257 + 3, RGB8.astype(np.uint16) * 257 + 3
OPAQUE = np.full((6, 8), 65535, np.uint16)
FINE = RGB8.astype(np.uint16) << 8 | 200  # in which cutting off differs from rounding
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
        338: [*np.resize(alpha, max(0, number - (3 if photometric == 2 else 1)))],
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


def png_of_16_bits(*bands):
    samples = np.dstack(bands).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    return png_of(8, 6, 16, {2: 4, 3: 2, 4: 6}[samples.shape[2]], rows)


def ppm_of_16_bits(colours):
    return b"P6 8 6 65535\n" + colours.astype(">u2").tobytes()


def jp2_of(*bands):
    return cv2.imencode(".jp2", np.tile(np.dstack(bands), (6, 6, 1)))[1].tobytes()


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


def test_planes_of_16_bits_that_pillow_has_opened(tmp_path):
    """Pillow reads them as if they had 8 bits."""
    (tmp_path / "a.tif").write_bytes(tiff_of(BANDS5[:, :, :3].astype(np.uint16) * 200, planes=2, photometric=2))
    assert image_to_array(tmp_path / "a.tif").shape[2] == 3
    with (
        Image.open(tmp_path / "a.tif") as image,
        pytest.raises(ImageError, match="16 bits with a plane for each band, which Pillow misreads: give its path"),
    ):
        image_to_array(image)


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


@pytest.mark.parametrize("alpha", [0, (1, 0), (2, 0), 2])
def test_bands_that_pillow_leaves_out(alpha, tmp_path, monkeypatch):
    """It opens the first three or four of five where they are called colours and alpha."""
    monkeypatch.setitem(sys.modules, "tifffile", None)
    (tmp_path / "a.tif").write_bytes(tiff_of(BANDS5, 2, alpha=alpha))
    for channels in (4, 5):
        with pytest.raises(ImageError, match=r"a TIFF of 5 bands of 8-bit .*pip install 'litepred\[tiff\]'"):
            image_to_array(tmp_path / "a.tif", channels)


def test_a_band_with_nan_is_told_with_the_name_of_the_file(tmp_path):
    pytest.importorskip("tifffile")
    (tmp_path / "a.tif").write_bytes(tiff_of(np.where(BANDS5 == 15, np.nan, BANDS5).astype(np.float32)))
    with pytest.raises(ImageError, match=r"a\.tif' has NaN or infinite values"):
        image_to_array(tmp_path / "a.tif", 5)


def chained(*kinds, **tags):
    """A TIFF of a page for each kind, which is the value of its tag 254; the first has further tags."""
    content, place = b"II*\0\x08\0\0\0", 8
    for i, kind in enumerate(kinds):
        fields = {254: kind, 256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}
        fields |= {int(name[1:]): value for name, value in tags.items()} if i == 0 else {}
        place += 2 + 12 * len(fields) + 4
        content += struct.pack("<H", len(fields))
        content += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
        content += struct.pack("<I", place if i < len(kinds) - 1 else 0)
    return content


CIRCLE = chained(0, 1)[:-4] + chained(0, 1)[:134][-4:]  # the second page is followed by itself


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (chained(0), None),
        (chained(0, 0), "has several pages"),
        (chained(0, 2), "has several pages"),
        (chained(0, 1, 1), None),
        (chained(0, 4, 1, 5), None),
        (chained(0, 1, 0), "has several pages"),
        (chained(1, 0), "has several pages"),
        (chained(0, t330=8), None),
        (chained(1), None),
        (chained(1, t330=8), "begins with a preview, which is taken: develop the raw image"),
        (chained(1, 0, t50706=1025), "begins with a preview, which is taken: develop the raw image"),
        (CIRCLE, None),
    ],
)
@pytest.mark.parametrize("decoder", ["tifffile", "OpenCV"])
def test_smaller_copies_and_masks_are_no_pages(content, told, decoder, tmp_path, monkeypatch):
    if decoder == "OpenCV":
        monkeypatch.setitem(sys.modules, "tifffile", None)
    (tmp_path / "a.tif").write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_image(tmp_path / "a.tif").shape == (1, 1, 3)
    assert len(caught) == (told is not None)
    if told:
        assert told in str(caught[0].message)


def test_a_palette_of_16_bits(tmp_path):
    pytest.importorskip("tifffile")
    (tmp_path / "a.tif").write_bytes(tiff_of(G16, 3))
    with pytest.raises(ImageError, match=r"colours are of an unusual kind \(PhotometricInterpretation 3\): convert it"):
        read_image(tmp_path / "a.tif")


def test_bands_of_16_bits_where_nothing_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    (tmp_path / "a.tif").write_bytes(tiff_of(np.dstack([RGB16, G16]), 2, alpha=2))
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
    "content", [ppm_of_16_bits(FINE), b"P3 8 6 65535 " + b" ".join(b"%d" % one for one in FINE.ravel())]
)
def test_ppm_of_16_bits(content, tmp_path):
    """Pillow alone would round, and OpenCV alone cannot read the second, which has no end of line."""
    (tmp_path / "a.ppm").write_bytes(content)
    np.testing.assert_array_equal(read_image(tmp_path / "a.ppm"), RGB8[:, :, ::-1])


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
        (tiff_of(np.dstack([G16 >> 4, OPAQUE]), alpha=2), "none above 3[0-9]{3}, and is nearly black"),
        (tiff_of(np.dstack([RGB16 >> 4, OPAQUE]), 2, alpha=2), "is nearly black"),
        (tiff_of(np.dstack([RGB16 >> 4, OPAQUE]), 2, planes=2, alpha=2), "is nearly black"),
        (png_of_16_bits(G16 >> 4, OPAQUE), "is nearly black"),
        (png_of_16_bits(RGB16 >> 4, OPAQUE), "is nearly black"),
        (ppm_of_16_bits(RGB16 >> 4), "is nearly black"),
        (jp2_of(RGB16 >> 4), "is nearly black"),
        (jp2_of(RGB16 >> 4, OPAQUE), "is nearly black"),
        (png_of_16_bits(RGB16, OPAQUE), None),
        (ppm_of_16_bits(RGB16), None),
        (jp2_of(RGB16, OPAQUE), None),
    ],
    ids=[
        "12 bits",
        "8 bits",
        "12 bits, colour",
        "14 bits, planes",
        "negative",
        "black",
        "15 bits",
        "12 bits, gray and alpha",
        "12 bits, colour and alpha",
        "12 bits, colour and alpha, planes",
        "12 bits, PNG of gray and alpha",
        "12 bits, PNG of colour and alpha",
        "12 bits, PPM",
        "12 bits, JPEG 2000",
        "12 bits, JPEG 2000 with alpha",
        "16 bits, PNG of colour and alpha",
        "16 bits, PPM",
        "16 bits, JPEG 2000 with alpha",
    ],
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


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_jpeg_2000_of_16_bits(bands, tmp_path):
    """In colours Pillow's rounding makes the brightest samples black."""
    image = np.full((32, 48, bands), 65535, np.uint16)
    image[8:16] = 40000
    cv2.imwrite(str(tmp_path / "a.jp2"), image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jp2"), cv2.imread(str(tmp_path / "a.jp2")))
    with open(tmp_path / "a.jp2", "rb") as file:
        assert read_image(file).min() > 150


def test_too_little_memory_for_bands_is_told(monkeypatch):
    tifffile = pytest.importorskip("tifffile")

    def full(_):
        raise MemoryError

    monkeypatch.setattr(tifffile, "TiffFile", full)
    with pytest.raises(ImageError, match="the BytesIO takes more memory than is left"):
        image_to_array(io.BytesIO(tiff_of(BANDS5)), channels=5)


@pytest.mark.parametrize(
    ("array", "in_python", "in_commands"),
    [
        (
            BANDS5,
            r"5 channels, whose predictor\.read\(path\) gives what draw and crops take, or .* array",
            "5 channels",
        ),
        (RGB8.astype(np.float32), "first, or pass them as an array if .* as they are", "as uint8 first"),
    ],
)
def test_what_to_do_in_the_words_of_who_reads_it(array, in_python, in_commands):
    pytest.importorskip("tifffile")
    data = tiff_of(array)
    with pytest.raises(ImageError, match=f"{in_python}$"):
        read_image(io.BytesIO(data))
    with in_words_of_commands(), pytest.raises(ImageError, match=f"{in_commands}$"):
        read_image(io.BytesIO(data))
