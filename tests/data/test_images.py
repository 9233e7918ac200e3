"""Reading, accepting and resizing images."""

from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
import pytest
import torch
from golden_answers import ASSETS
from PIL import Image

from litepred.data import image_size, image_to_array, read_image
from litepred.errors import ImageError, LitepredError, in_words_of_commands

rng = np.random.default_rng(0)
BGR = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
GRAY = BGR[:, :, 0].copy()


class TestAsArray:
    @pytest.mark.parametrize(
        ("image", "expected"),
        [
            (np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)),
            (BGR, BGR),
            (np.asfortranarray(BGR), BGR),
            (BGR[:, ::-1][:, ::-1], BGR),
            (BGR[:, :, ::-1], BGR[:, :, ::-1]),
            (np.dstack([BGR, GRAY]), BGR),
            (GRAY, np.dstack([GRAY] * 3)),
            (GRAY[:, :, None], np.dstack([GRAY] * 3)),
            (Image.fromarray(BGR[:, :, ::-1].copy()), BGR),
            (Image.fromarray(GRAY), np.dstack([GRAY] * 3)),
            (Image.fromarray(np.dstack([BGR[:, :, ::-1], GRAY])), BGR),
        ],
        ids=["1x1", "plain", "fortran", "strided", "negative", "bgra", "HW", "HW1", "pil", "pil-L", "pil-RGBA"],
    )
    def test_accepts(self, image, expected):
        array = image_to_array(image)
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, expected)

    def test_read_only_input_stays_as_it_is(self):
        image = BGR.copy()
        image.flags.writeable = False
        np.testing.assert_array_equal(image_to_array(image, format="RGB"), BGR[:, :, ::-1])

    def test_model_of_one_channel(self):
        np.testing.assert_array_equal(image_to_array(GRAY, channels=1), GRAY[:, :, None])
        np.testing.assert_array_equal(image_to_array(Image.fromarray(GRAY), channels=1), GRAY[:, :, None])

    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (np.zeros((0, 0, 3), np.uint8), r"shape \(0, 0, 3\).*at least 1"),
            (np.zeros((4, 0), np.uint8), "at least 1"),
            (np.zeros((), np.uint8), "expected uint8"),
            (np.zeros((2, 4, 4, 3), np.uint8), r"\(2, 4, 4, 3\)"),
            (np.zeros((4, 4, 2), np.uint8), "2 channels"),
            (np.zeros((3, 4, 5), np.uint8), "5 channels"),
            (np.full((4, 4, 3), np.nan, np.float32), "float32 has NaN"),
            (np.zeros((4, 4, 3), np.uint16), "uint16"),
            (np.zeros((4, 4, 3), bool), "bool"),
            (np.full((4, 4, 3), None), "object"),
            (torch.zeros(3, 4, 4), r"Tensor is not an image.*\.numpy\(\)"),
            (None, "NoneType is not an image"),
            (b"abc", "bytes is not an image"),
        ],
        ids=lambda value: None,
    )
    def test_refuses(self, image, message):
        with pytest.raises(ImageError, match=message):
            image_to_array(image)


class TestReadImage:
    @pytest.mark.parametrize(("pages", "told"), [(1, 0), (3, 1)])
    def test_pages_that_are_left_out_are_told(self, pages, told, tmp_path):
        images = [Image.new("L", (8, 8), shade) for shade in range(pages)]
        images[0].save(tmp_path / "scan.tif", save_all=True, append_images=images[1:])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert (read_image(tmp_path / "scan.tif") == 0).all()
            with Image.open(tmp_path / "scan.tif") as image:
                image.seek(pages - 1)  # as whoever takes page by page does
                assert (image_to_array(image) == pages - 1).all()
        assert ["scan.tif' has several pages" in str(one.message) for one in caught] == [True] * told

    def test_png_equals_opencv(self):
        path = ASSETS / "images" / "coffee.png"
        array = read_image(path)
        np.testing.assert_array_equal(array, cv2.imread(str(path)))
        assert array.flags.c_contiguous
        assert array.flags.writeable
        np.testing.assert_array_equal(read_image(path, "RGB"), array[:, :, ::-1])
        assert read_image(path, "L").shape == (*array.shape[:2], 1)

    def test_jpeg_is_close_to_opencv(self):
        path = ASSETS / "page_layout" / "ltnews_2col_warped.jpg"
        assert np.abs(read_image(path).astype(int) - cv2.imread(str(path)).astype(int)).max() <= 3

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_rotation_is_applied(self, tmp_path, orientation):
        upright = np.zeros((4, 8, 3), np.uint8)
        upright[0, 0] = 255  # the corner that tells the eight cases apart
        upright[0, 1] = (0, 0, 255)
        stored = {  # how a camera would have stored it
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: upright.transpose(1, 0, 2)[::-1],
            7: upright.transpose(1, 0, 2)[::-1, ::-1],
            8: upright.transpose(1, 0, 2)[:, ::-1],
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / "turned.png"
        Image.fromarray(stored[:, :, ::-1].copy()).save(path, exif=exif)
        np.testing.assert_array_equal(read_image(path), upright)
        with Image.open(path) as image:
            np.testing.assert_array_equal(image_to_array(image), upright)

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
    def test_modes_of_pillow(self, tmp_path, mode):
        path = tmp_path / ("image.jpg" if mode == "YCbCr" else "image.tif")
        Image.fromarray(BGR[:, :, ::-1].copy()).convert(mode).save(path)
        assert read_image(path).shape == BGR.shape

    def test_missing_file(self, tmp_path):
        with pytest.raises(ImageError, match=r"there is no file.*nowhere\.png"):
            read_image(tmp_path / "nowhere.png")

    def test_directory(self, tmp_path):
        with pytest.raises(ImageError, match="is a directory: expected an image file"):
            read_image(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"no picture at all", b"<htm"])
    def test_text_named_jpg(self, tmp_path, content):
        path = tmp_path / "page.jpg"
        path.write_bytes(content)
        with pytest.raises(ImageError, match=f"{len(content)} bytes"):
            read_image(path)

    def test_what_is_no_image_is_not_read_whole(self):
        class Large(io.BytesIO):
            def read(self, size=-1):
                assert size is not None and 0 <= size < len(self.getbuffer())
                return super().read(size)

        with pytest.raises(ImageError, match=r"it has 4000000 bytes and starts with b.no picture"):
            read_image(Large(b"no picture".ljust(4_000_000)))

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    @pytest.mark.parametrize("name", ["images/coffee.png", "page_layout/ltnews_2col_warped.jpg"])
    def test_truncated_file(self, tmp_path, name, share):
        content = (ASSETS / name).read_bytes()
        path = tmp_path / name.split("/")[1]
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ImageError, match="is the file complete"):
            read_image(path)

    def test_decompression_bomb(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        path = tmp_path / "bomb.png"
        Image.new("L", (100, 100)).save(path)
        with pytest.raises(ImageError, match="decompression bomb"):
            read_image(path)

    def test_errors_are_of_the_family(self):
        assert issubclass(ImageError, LitepredError)


@pytest.mark.parametrize(
    ("make", "in_python", "in_commands"),
    [
        (
            lambda path: Image.new("L", (8, 8)).save(
                path, "GIF", save_all=True, append_images=[Image.new("L", (8, 8), 9)]
            ),
            "several frames, and the first is taken: pass each as a Pillow image",
            "several frames, and the first is taken: write them as PNGs or as a video first",
        ),
        (
            lambda path: Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(path, "PNG"),
            "scale it to 0…255 as uint8 and pass the array",
            "scale it to 0…255 as uint8 first",
        ),
    ],
    ids=["frames", "dark"],
)
def test_warnings_in_the_words_of_who_reads_them(make, in_python, in_commands, tmp_path):
    make(tmp_path / "file")
    with pytest.warns(UserWarning, match=f"{in_python}$"):
        read_image(tmp_path / "file")
    with in_words_of_commands(), pytest.warns(UserWarning, match=f"{in_commands}$"):
        read_image(tmp_path / "file")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "JPEG2000", "AVIF"])
def test_size_without_decoding(format, tmp_path):
    path = tmp_path / "image"
    Image.new("L", (30, 20)).save(path, format)
    assert image_size(path) == image_size(io.BytesIO(path.read_bytes())) == (20, 30)


def test_size_of_a_png_whose_pixels_are_missing():
    file = io.BytesIO()
    Image.new("1", (300, 200)).save(file, "PNG")
    assert image_size(io.BytesIO(file.getvalue()[:60])) == (200, 300)


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "is empty"), (b"II*\0\x08\0\0\0\0\0\0\0\0\0", "starts like TIFF"), (b"%!PS", "is EPS")]
)
def test_no_size(content, told, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ImageError, match=told):
        image_size(tmp_path / "file")
    with pytest.raises(ImageError, match="there is no file"):
        image_size(tmp_path / "other")
