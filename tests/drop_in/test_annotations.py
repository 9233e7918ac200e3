import numpy as np
import pytest
import torch
from selections import SELECTIONS

from litepred import Keypoints, PolygonMasks

SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]
TRIANGLE = [0, 0, 4, 0, 0, 4]


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(0, 4, 3),
        torch.ones(2, 4, 3, dtype=torch.float64),
        np.ones((2, 4, 3), dtype=np.int64),
        [[[1, 2, 2]]],
    ],
)
def test_keypoints_constructor_gives_float32(value):
    keypoints = Keypoints(value)
    assert keypoints.tensor.dtype == torch.float32
    assert np.array_equal(keypoints.tensor.numpy(), np.asarray(value))
    assert len(keypoints) == len(value)


@pytest.mark.parametrize("shape", [(0,), (2, 3), (2, 4, 2), (1, 2, 4, 3)])
def test_keypoints_constructor_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"expected \(N, K, 3\)"):
        Keypoints(torch.zeros(shape))


@pytest.mark.parametrize(
    ("item", "rows"),
    [
        ([], []),
        (torch.zeros(3, dtype=torch.bool), []),
        (1, [1]),
        (-1, [2]),
        (slice(1, 3), [1, 2]),
        ([2, 0], [2, 0]),
        (torch.tensor([True, False, True]), [0, 2]),
        (np.array([1]), [1]),
    ],
)
def test_keypoints_getitem(item, rows):
    tensor = torch.rand(3, 5, 3)
    assert torch.equal(Keypoints(tensor)[item].tensor, tensor[rows])


def test_keypoints_cat_to_and_repr():
    first, second = Keypoints(torch.rand(0, 5, 3)), Keypoints(torch.rand(2, 5, 3))
    joined = Keypoints.cat([first, second])
    assert torch.equal(joined.tensor, second.tensor)
    assert joined.to("meta").device.type == "meta"
    assert repr(joined) == "Keypoints(num_instances=2)"


@pytest.mark.parametrize("value", [[], [torch.zeros(1, 1, 3)]])
def test_keypoints_cat_refuses(value):
    with pytest.raises(AssertionError):
        Keypoints.cat(value)


def polygon_masks():
    return PolygonMasks([[SQUARE], [torch.tensor(TRIANGLE), np.array(SQUARE, dtype=np.float32)], []])


def test_polygon_masks_hold_float64_copies():
    source = np.array(SQUARE, dtype=np.float64)
    masks = PolygonMasks([[source]])
    source[:] = 0
    assert masks.polygons[0][0].tolist() == SQUARE
    assert all(polygon.dtype == np.float64 for one in polygon_masks() for polygon in one)


@pytest.mark.parametrize("value", [None, (), [(SQUARE,)], [np.array(SQUARE)], np.zeros((1, 1, 6))])
def test_polygon_masks_refuse_other_nestings(value):
    with pytest.raises(ValueError, match="expects a list"):
        PolygonMasks(value)


def test_polygon_masks_measures():
    masks = polygon_masks()
    assert masks.nonempty().tolist() == [True, True, False]
    assert masks.area().tolist() == [6.0, 14.0, 0.0]
    assert masks.area().dtype == torch.float64
    inf = float("inf")
    assert masks.get_bounding_boxes().tensor.tolist() == [
        [1.0, 1.0, 4.0, 3.0],
        [0.0, 0.0, 4.0, 4.0],
        [inf, inf, 0.0, 0.0],
    ]
    assert repr(masks) == "PolygonMasks(num_instances=3)"


def test_no_polygon_masks():
    masks = PolygonMasks([])
    assert len(masks) == 0
    assert masks.area().shape == masks.nonempty().shape == (0,)
    assert masks.get_bounding_boxes().tensor.shape == (0, 4)
    assert len(masks[[]]) == len(masks[torch.zeros(0, dtype=torch.bool)]) == 0


def test_polygon_masks_stay_on_the_cpu():
    masks = polygon_masks()
    assert masks.to("meta") is masks
    assert masks.device.type == "cpu"


@pytest.mark.parametrize(("item", "rows"), SELECTIONS)
def test_polygon_masks_getitem(item, rows):
    masks = PolygonMasks([[[0, 0, k, 0, k, k]] for k in range(3)])
    assert [one[0][2] for one in masks[item]] == rows


@pytest.mark.parametrize("item", [3, -4, [0, 5], torch.tensor([0.5]), torch.tensor([True, False])])
def test_polygon_masks_getitem_refuses(item):
    with pytest.raises(IndexError):
        polygon_masks()[item]


def test_polygon_masks_cat():
    assert PolygonMasks.cat([polygon_masks(), PolygonMasks([[SQUARE]])]).area().tolist() == [6.0, 14.0, 0.0, 6.0]
    for wrong in ([], [[[SQUARE]]]):
        with pytest.raises(AssertionError, match="at least one PolygonMasks"):
            PolygonMasks.cat(wrong)


@pytest.mark.parametrize("polygon", [[], [0, 0, 1, 1], [0, 0, 1, 1, 2, 2, 3], [[0, 0], [1, 1], [2, 2]]])
def test_polygons_of_other_lengths_are_refused(polygon):
    with pytest.raises(ValueError, match="at least 3 points"):
        PolygonMasks([[polygon]])
