"""Transforms: what they do to images, and the same to coordinates, boxes, polygons and labels."""

from __future__ import annotations

import numpy as np
import pytest

from litepred.data.resampling import (
    BlendTransform,
    ColorTransform,
    ExtentTransform,
    PILColorTransform,
    ResizeTransform,
    RotationTransform,
    ScaleTransform,
)
from litepred.data.transforms import (
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    Transform,
    TransformList,
    VFlipTransform,
)
from litepred.errors import ImageError

HEIGHT, WIDTH = 12, 20
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GEOMETRY = [
    NoOpTransform(),
    HFlipTransform(WIDTH),
    VFlipTransform(HEIGHT),
    CropTransform(3, 2, 10, 8, WIDTH, HEIGHT),
    PadTransform(3, 2, 1, 4, WIDTH, HEIGHT),
    ResizeTransform(HEIGHT, WIDTH, 24, 60),
    ScaleTransform(HEIGHT, WIDTH, 24, 60),
    ExtentTransform((2, 1, 12, 11), (20, 30)),
    RotationTransform(HEIGHT, WIDTH, 90),
    RotationTransform(HEIGHT, WIDTH, 180, expand=False),
]
IDS = [f"{type(one).__name__}{i}" for i, one in enumerate(GEOMETRY)]


@pytest.mark.parametrize("transform", GEOMETRY, ids=IDS)
class TestGeometry:
    def test_an_image_and_a_point_in_it_move_together(self, transform):
        """A bright square: its middle is where the transform says that it went."""
        image = np.zeros((HEIGHT, WIDTH), np.uint8)
        image[4:8, 6:10] = 200
        moved = transform.apply_image(image)
        middle = transform.apply_coords(np.array([[8.0, 6.0]]))[0]
        rows, columns = np.nonzero(moved > 100)
        assert [columns.mean() + 0.5, rows.mean() + 0.5] == pytest.approx(middle, abs=0.6)

    def test_labels_stay_labels(self, transform):
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        labels[4:8, 6:10] = 200
        assert set(np.unique(transform.apply_segmentation(labels))) <= {0, 200}

    def test_no_points(self, transform):
        assert transform.apply_coords(np.zeros((0, 2))).shape == (0, 2)
        assert transform.apply_box(np.zeros((0, 4))).shape == (0, 4)
        assert transform.apply_polygons([]) == []

    def test_a_box_holds_its_corners(self, transform):
        x1, y1, x2, y2 = transform.apply_box(np.array([[4.0, 3, 9, 7]]))[0]
        corners = transform.apply_coords(np.array([[4.0, 3], [9, 3], [4, 7], [9, 7]]))
        assert (corners.min(0) == (x1, y1)).all()
        assert (corners.max(0) == (x2, y2)).all()

    def test_there_and_back(self, transform):
        if isinstance(transform, ExtentTransform) or not getattr(transform, "expand", True):
            with pytest.raises(NotImplementedError, match="has no inverse"):
                transform.inverse()
            return
        points = np.array([[8.0, 6.0], [10.5, 7.25]])
        back = transform.inverse().apply_coords(transform.apply_coords(points.copy()))
        assert back == pytest.approx(points)

    def test_it_has_a_printed_form(self, transform):
        assert repr(transform).startswith(type(transform).__name__)


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 1), (HEIGHT, WIDTH, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("kind", [ResizeTransform, ScaleTransform])
def test_resizing_keeps_type_and_channels(shape, dtype, kind):
    resized = kind(HEIGHT, WIDTH, 6, 9).apply_image(np.ones(shape, dtype))
    assert resized.shape == (6, 9, *shape[2:])
    assert resized.dtype == dtype


def test_labels_of_any_integer_type_are_resized():
    labels = np.arange(4, dtype=np.int64).reshape(2, 2)
    assert ResizeTransform(2, 2, 4, 4).apply_segmentation(labels).tolist() == labels.repeat(2, 0).repeat(2, 1).tolist()


def test_labels_of_an_image_of_many_rows(monkeypatch):
    labels = np.arange(50_000, dtype=np.int64)[:, None]
    arange = np.arange
    monkeypatch.setattr(np, "arange", lambda n, dtype=np.int32: arange(n, dtype=dtype))  # NumPy 1's on Windows
    assert ResizeTransform(50_000, 1, 100_000, 1).apply_segmentation(labels)[:, 0].tolist() == labels.repeat(2).tolist()


@pytest.mark.parametrize(
    ("polygon", "expected"),
    [
        ([[1, 1], [4, 1], [4, 3], [1, 3]], [[1, 1], [4, 1], [4, 3], [1, 3]]),  # inside
        ([[-2, -2], [3, -2], [3, 3], [-2, 3]], [[0, 0], [3, 0], [3, 3], [0, 3]]),  # over a corner
        ([[-9, 2], [20, 2], [20, 4], [-9, 4]], [[0, 2], [6, 2], [6, 4], [0, 4]]),  # through
        ([[-9, -9], [-1, -9], [-1, -1], [-9, -1]], None),  # outside
        ([[-9, -9], [30, -9], [30, 30], [-9, 30]], [[0, 0], [6, 0], [6, 5], [0, 5]]),  # around
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_polygons_are_cut_to_the_crop(polygon, expected, reverse):
    points = np.array(polygon, float)[::-1] if reverse else np.array(polygon, float)
    cut = CropTransform(10, 20, 6, 5).apply_polygons([points + np.array([10, 20])])
    if expected is None:
        assert cut == []
    else:
        assert {tuple(point) for point in cut[0]} == {tuple(map(float, point)) for point in expected}


@pytest.mark.parametrize("transform", [CropTransform(1, 1, 2, 2), PadTransform(1, 1, 2, 2)])
def test_an_inverse_needs_the_whole_size(transform):
    with pytest.raises(ImageError, match="needs orig_w and orig_h"):
        transform.inverse()


def test_rotated_boxes():
    boxes = np.array([[4.0, 3, 6, 2, 30]])
    assert HFlipTransform(WIDTH).apply_rotated_box(boxes.copy()).tolist() == [[16, 3, 6, 2, -30]]
    assert ResizeTransform(HEIGHT, WIDTH, 24, 40).apply_rotated_box(boxes.copy())[0] == pytest.approx([8, 6, 12, 4, 30])


def test_a_rotation_needs_its_size():
    with pytest.raises(ImageError, match="were announced"):
        RotationTransform(3, 3, 10).apply_image(IMAGE)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (ColorTransform(lambda image: 255 - image), 255 - IMAGE),
        (PILColorTransform(lambda image: image.point(lambda value: 255 - value)), 255 - IMAGE),
        (BlendTransform(np.zeros(3), 0.5, 0.5), (IMAGE * 0.5).astype(np.uint8)),
    ],
    ids=["array", "Pillow", "blend"],
)
def test_colours(transform, expected):
    assert (transform.apply_image(IMAGE) == expected).all()
    points = np.ones((2, 2))
    assert transform.apply_coords(points) is points
    assert transform.apply_segmentation(points) is points
    assert transform.inverse().apply_image(IMAGE) is IMAGE


def test_a_colour_transform_takes_a_function():
    with pytest.raises(ValueError, match="expected a function"):
        ColorTransform(3)


class TestTransformList:
    def test_nothing(self):
        assert TransformList([]).apply_image(IMAGE) is IMAGE

    def test_in_order(self):
        both = TransformList([HFlipTransform(WIDTH), CropTransform(0, 0, 5, 5)])
        assert (both.apply_image(IMAGE) == IMAGE[:5, ::-1][:, :5]).all()
        assert both.apply_coords(np.array([[19.0, 1.0]])).tolist() == [[1, 1]]

    def test_joining(self):
        one, two = HFlipTransform(WIDTH), VFlipTransform(HEIGHT)
        joined = TransformList([one]) + TransformList([two])
        assert TransformList([TransformList([one]), two]).transforms == joined.transforms == [one, two]
        assert TransformList([one]).__add__([two]).transforms == [one, two]
        assert TransformList([two]).__radd__([one]).transforms == [one, two]
        assert (len(joined), joined[1]) == (2, two)

    def test_types_of_data_that_are_registered(self):
        class Shift(Transform):
            def apply_coords(self, coords):
                return coords + 1

        @Shift.register_type("number")
        def shift_number(transform, number):
            return number + 1

        Shift.register_type("text", lambda transform, text: text + "!")
        both = TransformList([Shift(), NoOpTransform(), Shift()])
        assert both.apply_number(3) == 5
        assert both.apply_text("a") == "a!!"
        with pytest.raises(AttributeError):
            both.apply_nothing(1)

    def test_a_transform_without_its_methods(self):
        for method in ("apply_image", "apply_coords"):
            with pytest.raises(NotImplementedError, match=method):
                getattr(Transform(), method)(IMAGE)
