"""Transforms, which change images with their points, boxes and labels."""

from __future__ import annotations

import numpy as np
import pytest

from litepred.data import ResizeTransform
from litepred.data.transforms import HFlipTransform, NoOpTransform, Transform, TransformList, VFlipTransform

HEIGHT, WIDTH = 12, 20
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GEOMETRY = [
    NoOpTransform(),
    HFlipTransform(WIDTH),
    VFlipTransform(HEIGHT),
    ResizeTransform(HEIGHT, WIDTH, 24, 60),
    TransformList([HFlipTransform(WIDTH), ResizeTransform(HEIGHT, WIDTH, 24, 60)]),
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

    def test_a_box_holds_its_corners(self, transform):
        x1, y1, x2, y2 = transform.apply_box(np.array([[4.0, 3, 9, 7]]))[0]
        corners = transform.apply_coords(np.array([[4.0, 3], [9, 3], [4, 7], [9, 7]]))
        assert (corners.min(0) == (x1, y1)).all()
        assert (corners.max(0) == (x2, y2)).all()

    def test_there_and_back(self, transform):
        points = np.array([[8.0, 6.0], [10.5, 7.25]])
        back = transform.inverse().apply_coords(transform.apply_coords(points.copy()))
        assert back == pytest.approx(points)

    def test_it_is_a_transform_with_a_printed_form(self, transform):
        assert isinstance(transform, Transform)
        assert repr(transform).startswith(type(transform).__name__)


@pytest.mark.parametrize(("flip", "axis"), [(HFlipTransform(WIDTH), 1), (VFlipTransform(HEIGHT), 0)])
def test_flips(flip, axis):
    assert (flip.apply_image(IMAGE) == np.flip(IMAGE, axis)).all()
    assert (flip.apply_image(IMAGE[None])[0] == np.flip(IMAGE, axis)).all()


class TestTransformList:
    def test_nothing(self):
        assert TransformList([]).apply_image(IMAGE) is IMAGE

    def test_in_order(self):
        both = TransformList([VFlipTransform(HEIGHT), ResizeTransform(HEIGHT, WIDTH, 6, WIDTH)])
        assert (both.apply_image(IMAGE) == ResizeTransform(HEIGHT, WIDTH, 6, WIDTH).apply_image(IMAGE[::-1])).all()
        assert both.apply_coords(np.array([[19.0, 2.0]])).tolist() == [[19, 5]]

    def test_joining(self):
        one, two = HFlipTransform(WIDTH), VFlipTransform(HEIGHT)
        joined = TransformList([one]) + TransformList([two])
        assert TransformList([TransformList([one]), two]).transforms == joined.transforms == [one, two]
        assert TransformList([one]).__add__([two]).transforms == [one, two]
        assert TransformList([two]).__radd__([one]).transforms == [one, two]
        assert (len(joined), joined[1]) == (2, two)
        assert (joined + one).transforms == [one, two, one]
        assert (two + joined).transforms == [two, one, two]
        joined += one
        assert joined.transforms == [one, two, one]
        assert type(NoOpTransform() + joined) is TransformList

    def test_types_of_data_of_its_own(self):
        class Shift(Transform):
            def apply_number(self, number):
                return number + 1

        both = TransformList([Shift(), NoOpTransform(), Shift()])
        assert both.apply_number(3) == 5
        with pytest.raises(AttributeError):
            both.apply_nothing(1)

    def test_a_transform_without_its_methods(self):
        for method in ("apply_image", "apply_coords"):
            with pytest.raises(NotImplementedError, match=method):
                getattr(Transform(), method)(IMAGE)


def test_a_type_of_data_of_ones_own(monkeypatch):
    for one in (Transform, ResizeTransform, VFlipTransform):
        monkeypatch.setattr(one, "apply_depth", None, raising=False)  # so that they lose it afterwards

    @Transform.register_type("depth")
    def kept(transform, depth):
        return depth

    del ResizeTransform.apply_depth
    assert ResizeTransform(10, 20, 5, 10).apply_depth(3) == kept(None, 3) == 3
    assert ResizeTransform.register_type("depth", lambda resize, depth: depth * resize.new_h / resize.h) is not kept
    VFlipTransform.register_type("depth", lambda flip, depth: -depth)
    both = TransformList([VFlipTransform(10), NoOpTransform(), HFlipTransform(20), ResizeTransform(10, 20, 5, 10)])
    assert both.apply_depth(4) == -2
    for wrong in (3, lambda depth: depth):
        with pytest.raises(AssertionError, match="for 'depth': expected a function of a transform and its data"):
            Transform.register_type("depth", wrong)


def test_a_transform_of_ones_own():
    class Shift(Transform):
        def __init__(self, by, _unused=None):
            self._set_attributes(locals())

        def apply_coords(self, coords):
            return coords + self.by

    shift = Shift(2)
    assert vars(shift) == {"by": 2}
    assert [polygon.tolist() for polygon in shift.apply_polygons([np.zeros((1, 2)), np.ones((1, 2))])] == [
        [[2, 2]],
        [[3, 3]],
    ]
    assert shift.apply_polygons([]) == []
