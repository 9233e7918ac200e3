import numpy as np
import pytest
from PIL import Image

from litepred.errors import ImageError, LitepredError
from litepred.visualizer import VisImage
from litepred.visualizer.image import as_rgb, bands_to_look_at

PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [(1.0, (4, 6, 3)), (2.0, (8, 12, 3)), (0.5, (2, 3, 3)), (1.5, (6, 9, 3)), (0.01, (1, 1, 3))],
)
def test_size(scale, expected):
    image = VisImage(PICTURE, scale)
    assert image.get_image().shape == expected
    assert image.get_image().dtype == np.uint8
    assert (image.height, image.width, image.scale) == (4, 6, scale)


@pytest.mark.parametrize("scale", [0, -1, float("nan")])
def test_no_scale(scale):
    with pytest.raises(ValueError, match="more than 0"):
        VisImage(PICTURE, scale)


def test_get_image_is_a_copy_and_reset_replaces():
    image = VisImage(PICTURE)
    image.get_image()[:] = 0
    np.testing.assert_array_equal(image.get_image(), PICTURE)
    image.reset_image(PICTURE[::-1].astype(np.float32))
    np.testing.assert_array_equal(image.get_image(), PICTURE[::-1])


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tiff", "a.jpg", "a.webp"])
def test_save(tmp_path, name):
    path = tmp_path / name
    VisImage(PICTURE).save(path)
    VisImage(PICTURE).save(str(path))  # over a file that is there
    with Image.open(path) as read:
        assert read.size == (6, 4)
        if "png" in name.lower():
            np.testing.assert_array_equal(np.asarray(read), PICTURE)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "message"), [("picture", "cannot tell the format"), ("a.xyz", "cannot tell"), ("no/a.png", "cannot write")]
)
def test_save_to_nowhere(tmp_path, name, message):
    with pytest.raises(LitepredError, match=message):
        VisImage(PICTURE).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(self, file, **options):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(LitepredError, match="disk full"):
        VisImage(PICTURE).save(path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "image",
    [
        PICTURE,
        PICTURE.astype(np.float64),
        PICTURE[::-1][::-1],
        np.asfortranarray(PICTURE),
        np.concatenate([PICTURE, PICTURE[:, :, :1]], 2),
        PICTURE.tolist(),
    ],
    ids=range(6),
)
def test_as_rgb(image):
    np.testing.assert_array_equal(as_rgb(image), PICTURE)


@pytest.mark.parametrize("image", [PICTURE[:, :, 0], PICTURE[:, :, :1]])
def test_as_rgb_of_gray(image):
    np.testing.assert_array_equal(as_rgb(image), np.repeat(PICTURE[:, :, :1], 3, axis=2))


@pytest.mark.parametrize("shape", [(), (3,), (0, 5, 3), (5, 0, 3), (4, 4, 0), (1, 4, 4, 3)])
def test_as_rgb_of_no_image(shape):
    with pytest.raises(ImageError, match="expected"):
        as_rgb(np.zeros(shape))


@pytest.mark.parametrize(("bands", "shown"), [(2, [0, 0, 0]), (4, [0, 1, 2]), (5, [0, 1, 2])])
def test_as_rgb_of_many_bands(bands, shown):
    image = np.arange(bands, dtype=np.float32) * np.ones((4, 6, 1), np.float32) * 90
    np.testing.assert_array_equal(as_rgb(image), image[:, :, shown])


BANDS = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5)
SPREAD = np.linspace(0, 1, 101)[:, None, None] * np.float32(
    [1, 10_000, 0.001, 7, 9]
)  # 2 % of a band are two of its rows


@pytest.mark.parametrize(
    ("image", "input_format", "expected"),
    [
        (PICTURE, "BGR", PICTURE),
        (PICTURE, "RGB", PICTURE),  # in BGR all the same
        (PICTURE[:, :, :1], "RGB", PICTURE[:, :, :1]),
        (BANDS[:, :, :2], "BGR", BANDS[:, :, :1]),
        (BANDS[:, :, 1::-1], "RGB", BANDS[:, :, :1]),
        (BANDS[:, :, :4], "BGR", BANDS[:, :, 2::-1]),
        (BANDS[:, :, 3::-1], "RGB", BANDS[:, :, 2::-1]),
        (BANDS, "BGR", BANDS[:, :, 2::-1]),
        (np.zeros((4, 6, 5), np.float32), "BGR", np.zeros((4, 6, 3), np.uint8)),
    ],
)
def test_what_is_seen_of_bands(image, input_format, expected):
    seen = bands_to_look_at(image, input_format)
    np.testing.assert_array_equal(seen, expected)
    assert seen.dtype == np.uint8


@pytest.mark.parametrize("bands", [1, 2, 3, 5])
def test_floats_of_any_range_are_seen(bands):
    seen = bands_to_look_at(SPREAD[:, :, :bands] - 0.5, "BGR").astype(int)
    assert (seen[:3] == 0).all() and (seen[99:] == 255).all()
    assert (np.diff(seen[2:98], axis=0) > 0).all() and (abs(seen[50] - 127) <= 1).all()
