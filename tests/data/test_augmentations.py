"""Augmentations: which transform they decide on, and how they go through an input."""

from __future__ import annotations

import numpy as np
import pytest

from litepred.data.augmentations import (
    AugInput,
    Augmentation,
    AugmentationList,
    FixedSizeCrop,
    RandomApply,
    RandomFlip,
    Resize,
    ResizeScale,
    ResizeShortestEdge,
    apply_augmentations,
)
from litepred.data.resampling import ResizeTransform
from litepred.data.transforms import HFlipTransform, NoOpTransform, TransformList, VFlipTransform
from litepred.errors import ConfigError, ImageError

IMAGE = np.zeros((40, 60, 3), np.uint8)


class Both(Augmentation):
    """Looks at two attributes."""

    def get_transform(self, image, sem_seg):
        assert image.shape[:2] == sem_seg.shape
        return HFlipTransform(image.shape[1])


class TestAugInput:
    def test_everything_moves(self):
        inputs = AugInput(IMAGE, boxes=np.array([[0.0, 0, 10, 20]]), sem_seg=np.eye(40, 60, dtype=np.uint8))
        transforms = inputs.apply_augmentations([Both(), Resize((20, 30)), VFlipTransform(20)])
        assert [type(one) for one in transforms] == [HFlipTransform, ResizeTransform, VFlipTransform]
        assert inputs.image.shape == (20, 30, 3)
        assert inputs.sem_seg.shape == (20, 30)
        assert inputs.boxes.tolist() == [[25, 10, 30, 20]]

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

        with pytest.raises(AttributeError, match="needs 'depth', which the AugInput lacks"):
            Wants()(AugInput(IMAGE))

    def test_any_arguments(self):
        with pytest.raises(TypeError, match="override __call__"):
            Augmentation()(AugInput(IMAGE))

    def test_no_transform(self):
        class Wrong(Augmentation):
            def get_transform(self, image):
                return 3

        with pytest.raises(TypeError, match="returned a int: expected a Transform"):
            Wrong()(AugInput(IMAGE))

    @pytest.mark.parametrize(
        ("augmentation", "expected"),
        [
            (RandomFlip(), "RandomFlip()"),
            (RandomFlip(prob=0.25), "RandomFlip(prob=0.25)"),
            (AugmentationList([RandomFlip(), RandomFlip(0.1)]), "AugmentationList[RandomFlip(), RandomFlip(prob=0.1)]"),
        ],
    )
    def test_printed_forms(self, augmentation, expected):
        assert str(augmentation) == expected

    def test_a_list_takes_augmentations_only(self):
        with pytest.raises(AssertionError, match="expected an Augmentation or a Transform"):
            AugmentationList([3])


@pytest.mark.parametrize(
    ("lengths", "style", "expected"),
    [(20, "range", {20}), ([20, 20], "choice", {20}), ((20, 21), "range", {20, 21}), ((20, 40), "choice", {20, 40})],
)
def test_shortest_edges(lengths, style, expected):
    np.random.seed(0)
    augmentation = ResizeShortestEdge(lengths, 100, style)
    assert {augmentation.get_transform(IMAGE).new_h for _ in range(20)} == expected


@pytest.mark.parametrize(("lengths", "style"), [(20, "all"), ((1, 2, 3), "range")])
def test_lengths_that_mean_nothing(lengths, style):
    with pytest.raises(ValueError, match="expected"):
        ResizeShortestEdge(lengths, 100, style)


@pytest.mark.parametrize(("shape", "target"), [((40, 60), (30, 70)), ((40, 60), (50, 50)), ((10, 10), (10, 10))])
def test_fixed_size_crop(shape, target):
    transform = FixedSizeCrop(target).get_transform(np.zeros(shape))
    assert transform.apply_image(np.zeros(shape)).shape == target
    unpadded = FixedSizeCrop(target, pad=False).get_transform(np.zeros(shape))
    assert unpadded.apply_image(np.zeros(shape)).shape == tuple(np.minimum(shape, target))


def test_resize_scale_fits_into_its_target():
    assert ResizeScale(1.0, 1.0, 80, 90).get_transform(IMAGE).apply_image(IMAGE).shape == (60, 90, 3)


@pytest.mark.parametrize(("prob", "expected"), [(0.0, NoOpTransform), (1.0, HFlipTransform)])
def test_chances(prob, expected):
    assert type(RandomFlip(prob).get_transform(IMAGE)) is expected
    assert type(RandomApply(HFlipTransform(60), prob).get_transform(IMAGE)) is expected
    assert type(RandomApply(RandomFlip(1.0), prob)(AugInput(IMAGE))) is expected


def test_flips_go_one_way():
    assert type(RandomFlip(1.0, horizontal=False, vertical=True).get_transform(IMAGE)) is VFlipTransform
    with pytest.raises(ValueError, match="expected one of the two"):
        RandomFlip(horizontal=True, vertical=True)
    with pytest.raises(AssertionError, match="from 0 to 1"):
        RandomApply(NoOpTransform(), 1.5)


@pytest.mark.parametrize(("edge", "limit"), [(-5, 99), (None, 99), ((8, None), 99), (8, 0), (8, -1), (8, None)])
def test_sizes_that_an_edge_cannot_have(edge, limit):
    with pytest.raises(ConfigError, match=r"INPUT\.M(IN|AX)_SIZE_TEST\) is .*: expected pixels"):
        ResizeShortestEdge(edge, limit)
