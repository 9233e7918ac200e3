"""Augmentations, which decide on transforms, and what they look at."""

from __future__ import annotations

import numpy as np
import pytest

from litepred.data import ResizeShortestEdge, ResizeTransform
from litepred.data.transforms import HFlipTransform, NoOpTransform, TransformList, VFlipTransform
from litepred.drop_in.transforms import AugInput, Augmentation, AugmentationList, Resize, apply_augmentations
from litepred.errors import ImageError

HEIGHT, WIDTH = 12, 20
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


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

    @pytest.mark.parametrize("names", [("image", "sem_seg"), ("sem_seg",)])
    def test_attributes_by_input_args(self, names):
        class Named(Augmentation):
            input_args = names

            def get_transform(self, *given):
                seen.extend(given)
                return NoOpTransform()

        seen: list[np.ndarray] = []
        inputs = AugInput(IMAGE, sem_seg=np.zeros((HEIGHT, WIDTH), np.uint8))
        Named()(inputs)
        assert all(one is getattr(inputs, name) for one, name in zip(seen, names, strict=True))

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
