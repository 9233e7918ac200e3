"""Images out of files, and their channels in one order or another."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from litepred.drop_in.datasets import convert_image_to_rgb, convert_PIL_to_numpy, read_image
from litepred.errors import ImageError


@pytest.mark.parametrize(
    ("format", "expected"),
    [("BGR", [30, 20, 10]), ("RGB", [10, 20, 30]), (None, [10, 20, 30]), ("L", [18])],
)
def test_read_image(tmp_path, format, expected):
    Image.new("RGB", (3, 2), (10, 20, 30)).save(tmp_path / "a.png")
    image = read_image(str(tmp_path / "a.png"), format=format)
    assert image.shape == (2, 3, len(expected))
    assert image[0, 0].tolist() == expected


def test_read_image_that_is_not_there(tmp_path):
    with pytest.raises(ImageError, match="there is no file"):
        read_image(tmp_path / "a.png", "BGR")


@pytest.mark.parametrize("format", [None, "BGR"])
def test_read_image_turns_it_upright(tmp_path, format):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png", format).shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("format", "within"),  # Pillow rounds YCbCr both ways
    [("RGB", 0), ("BGR", 0), ("L", 0), ("HSV", 0), ("CMYK", 0), ("YCbCr", 1), ("YUV-BT.601", 0.01)],
)
def test_orders_of_channels(format, within):
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4).repeat(3).reshape(3, 4, 3)
    array = convert_PIL_to_numpy(Image.fromarray(gray), format)
    assert convert_image_to_rgb(array, format) == pytest.approx(gray, abs=within)
    assert array.ndim == 3


@pytest.mark.usefixtures("drop_in")
def test_a_pillow_image_as_try_on_programs_prepare_it():
    from detectron2.data.detection_utils import _apply_exif_orientation, convert_PIL_to_numpy

    image = Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3))
    image.getexif()[0x0112] = 6  # to be turned by 90 degrees
    assert convert_PIL_to_numpy(_apply_exif_orientation(image), "BGR")[0].tolist() == [[11, 10, 9], [2, 1, 0]]
