"""Resizing to Detectron2's sizes and pixels, and coordinates with it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from litepred.data import ResizeShortestEdge, ResizeTransform
from litepred.errors import ConfigError, ImageError

rng = np.random.default_rng(0)
BGR = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
GRAY = BGR[:, :, 0]


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [
        ((480, 640), (800, 1067)),
        ((427, 640), (800, 1199)),
        ((100, 1000), (133, 1333)),
        ((1080, 1920), (750, 1333)),
        ((304, 608), (667, 1333)),  # scaled in two steps and rounded half up: one step gives 666
        ((1, 1000), (1, 1333)),
        ((1000, 1), (1333, 1)),
        ((1, 100_000), (1, 1333)),
        ((1, 1), (800, 800)),
        ((800, 1333), (800, 1333)),
    ],
)
def test_output_shape(size_hw, expected):
    assert ResizeShortestEdge.get_output_shape(*size_hw, 800, 1333) == expected


@pytest.mark.parametrize("short_edge", [0, [0, 0]])
def test_zero_leaves_the_image_alone(short_edge):
    transform = ResizeShortestEdge(short_edge, 1333).get_transform(BGR)
    assert transform.apply_image(BGR) is BGR


def test_a_pair_as_in_detectron2():
    resized = ResizeShortestEdge([12, 12], 1333).get_transform(BGR).apply_image(BGR)
    assert resized.shape == (14, 12, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_uint8_goes_through_pillow(channels):
    image = rng.integers(0, 256, (40, 60, channels), dtype=np.uint8)
    resized = ResizeTransform(40, 60, 17, 23).apply_image(image)
    planes = [
        np.asarray(Image.fromarray(image[:, :, c].copy()).resize((23, 17), Image.Resampling.BILINEAR))
        for c in range(channels)
    ]
    np.testing.assert_array_equal(resized, np.dstack(planes))


def test_two_dimensions_stay_two():
    assert ResizeTransform(6, 5, 3, 4).apply_image(GRAY).shape == (3, 4)


def test_float_is_not_smoothed():
    image = np.zeros((4, 4, 3), np.float32)
    image[1::2] = 1.0
    resized = ResizeTransform(4, 4, 2, 2).apply_image(image)
    assert resized.dtype == np.float32
    np.testing.assert_array_equal(resized, np.full((2, 2, 3), 0.5, np.float32))


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, bool])
def test_other_types_are_refused(dtype):
    with pytest.raises(ImageError, match="expected uint8 or a float type"):
        ResizeTransform(6, 5, 3, 4).apply_image(BGR.astype(dtype))


def test_another_size_than_announced():
    with pytest.raises(ImageError, match=r"\(6, 5\).*\(5, 6\)"):
        ResizeTransform(5, 6, 3, 4).apply_image(BGR)


def test_coordinates_there_and_back():
    transform = ResizeTransform(6, 5, 12, 20)
    moved = transform.apply_coords(np.array([[1.0, 2.0]]))
    np.testing.assert_allclose(moved, [[4.0, 4.0]])
    np.testing.assert_allclose(transform.inverse().apply_coords(moved), [[1.0, 2.0]])


@pytest.mark.parametrize("shape", [(12, 20), (12, 20, 1), (12, 20, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_type_and_channels_stay(shape, dtype):
    resized = ResizeTransform(12, 20, 6, 9).apply_image(np.ones(shape, dtype))
    assert resized.shape == (6, 9, *shape[2:])
    assert resized.dtype == dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_labels_stay_labels(dtype):
    labels = np.arange(4, dtype=dtype).reshape(2, 2) * 9
    assert ResizeTransform(2, 2, 4, 4).apply_segmentation(labels).tolist() == labels.repeat(2, 0).repeat(2, 1).tolist()


@pytest.mark.parametrize("boxes", [np.zeros((0, 4)), np.array([[1.0, 2, 3, 5]])])
def test_boxes_are_scaled_and_those_that_came_stay(boxes):
    given = boxes.copy()
    assert ResizeTransform(6, 5, 12, 20).apply_box(boxes).tolist() == (boxes * [4, 2, 4, 2]).tolist()
    assert (boxes == given).all()


def test_an_input_is_resized_in_place():
    aug_input = SimpleNamespace(image=BGR)
    aug_input.transform = lambda transform: setattr(aug_input, "image", transform.apply_image(aug_input.image))
    transform = ResizeShortestEdge(12)(aug_input)
    assert aug_input.image.shape == (14, 12, 3)
    assert repr(transform).startswith("ResizeTransform(h=6, w=5, new_h=14, new_w=12")


@pytest.mark.parametrize(
    ("edge", "limit"), [(-5, 99), (None, 99), ((8, None), 99), ((), 99), ((8, 9), 99), (8, 0), (8, -1), (8, None)]
)
def test_sizes_that_an_edge_cannot_have(edge, limit):
    with pytest.raises(ConfigError, match=r"INPUT\.M(IN|AX)_SIZE_TEST\) is .*: expected pixels"):
        ResizeShortestEdge(edge, limit)
