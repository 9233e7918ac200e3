"""Transforms, which change images with their points, boxes and labels; augmentations, which decide on transforms."""

from __future__ import annotations

import numpy as np
import pytest

from litepred.data import ResizeShortestEdge, ResizeTransform
from litepred.drop_in.transforms import (
    AugInput,
    Augmentation,
    AugmentationList,
    HFlipTransform,
    NoOpTransform,
    Resize,
    Transform,
    TransformList,
    VFlipTransform,
    apply_augmentations,
)
from litepred.errors import ImageError

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


class Both(Augmentation):
    """Looks at two attributes."""

    def __init__(self, note=1):
        self._init(locals())

    def get_transform(self, image, sem_seg):
        assert image.shape[:2] == sem_seg.shape
        return HFlipTransform(image.shape[1])


class TestAugInput:
    def test_everything_moves(self):
        inputs = AugInput(IMAGE, boxes=np.array([[0.0, 0, 10, 6]]), sem_seg=np.eye(HEIGHT, WIDTH, dtype=np.uint8))
        transforms = inputs.apply_augmentations([Both(), Resize((24, 10)), VFlipTransform(24)])
        assert [type(one) for one in transforms] == [HFlipTransform, ResizeTransform, VFlipTransform]
        assert inputs.image.shape == (24, 10, 3)
        assert inputs.sem_seg.shape == (24, 10)
        assert inputs.boxes.tolist() == [[5, 12, 10, 24]]

    def test_what_is_not_there_stays_so(self):
        inputs = AugInput(IMAGE)
        Resize(10)(inputs)
        assert inputs.boxes is None is inputs.sem_seg

    @pytest.mark.parametrize("image", [np.zeros((4, 4), np.int64), np.zeros((1, 4, 4, 3))])
    def test_what_is_no_image(self, image):
        with pytest.raises(ImageError, match="is not an image to augment"):
            AugInput(image)

    def test_an_array_alone(self):
        image, transforms = apply_augmentations([Resize(10)], IMAGE)
        assert image.shape == (10, 10, 3)
        assert isinstance(transforms, TransformList)
        inputs = AugInput(IMAGE)
        assert apply_augmentations([], inputs)[0] is inputs


class TestAugmentation:
    def test_a_missing_attribute(self):
        class Wants(Augmentation):
            def get_transform(self, image, depth):
                return NoOpTransform()

        with pytest.raises(AttributeError, match=r"AugInput.*'depth'"):
            Wants()(AugInput(IMAGE))

    def test_no_get_transform(self):
        with pytest.raises(NotImplementedError, match="Augmentation has no get_transform: define it"):
            Augmentation()(AugInput(IMAGE))

    def test_no_transform(self):
        class Wrong(Augmentation):
            def get_transform(self, image):
                return 3

        with pytest.raises(TypeError, match="returned a int: expected a Transform"):
            Wrong()(AugInput(IMAGE))

    def test_the_predictors_resizing_is_one(self):
        inputs = AugInput(IMAGE)
        assert isinstance(ResizeShortestEdge(6), Augmentation)
        assert AugmentationList([ResizeShortestEdge(6)])(inputs).transforms[0].new_w == inputs.image.shape[1] == 10

    def test_printed_forms(self):
        assert str(Both(note=3)) == "Both(note=3)"
        assert str(Resize(5)) == "Resize(shape=(5, 5), interp=None)"

    def test_a_list_takes_augmentations_only(self):
        with pytest.raises(AssertionError, match="expected an Augmentation or a Transform"):
            AugmentationList([3])
