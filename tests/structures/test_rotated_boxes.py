"""Rotated boxes of one image."""

from __future__ import annotations

import math

import pytest
import torch

from litepred.structures import Boxes, RotatedBoxes, boxes_of


def random_boxes(number):
    boxes = torch.rand(number, 5, generator=torch.Generator().manual_seed(0)) * 100
    boxes[:, 2:4] += 1
    return boxes


@pytest.mark.parametrize("empty", [[], torch.zeros(0), torch.zeros(0, 5)])
def test_no_boxes(empty):
    boxes = RotatedBoxes(empty)
    assert boxes.tensor.shape == (0, 5)
    boxes.clip((5, 5))
    boxes.scale(2, 3)
    assert len(RotatedBoxes.cat([boxes])) == len(RotatedBoxes.cat([])) == len(boxes.area()) == 0


@pytest.mark.parametrize("wrong", [torch.zeros(2, 4), torch.zeros(5), [[1, 2]]])
def test_a_wrong_shape(wrong):
    with pytest.raises(AssertionError, match=r"expected \(N, 5\), x y width height angle"):
        RotatedBoxes(wrong)


def test_they_are_boxes():
    boxes = RotatedBoxes([[1, 2, 3, 4, 5]])
    assert isinstance(boxes, Boxes)
    assert boxes.tensor.dtype == torch.float32
    assert type(boxes.clone()) is type(boxes.to("cpu")) is type(boxes[0]) is RotatedBoxes
    assert boxes.area().tolist() == [12]
    assert boxes.get_centers().tolist() == [[1, 2]]
    assert boxes.nonempty().tolist() == [True]
    assert repr(boxes).startswith("RotatedBoxes(")


@pytest.mark.parametrize("index", [0, slice(1, 3), [0, 2], torch.tensor([True, False, True])])
def test_indexing(index):
    boxes = RotatedBoxes(random_boxes(3))
    expected = boxes.tensor[[index]] if isinstance(index, int) else boxes.tensor[index]
    assert boxes[index].tensor.equal(expected)


def test_indexing_away_the_rows():
    with pytest.raises(AssertionError, match="instead of rows"):
        RotatedBoxes(random_boxes(3))[:, 0]


@pytest.mark.parametrize(("angle", "expected"), [(0, 0), (180, -180), (-180, -180), (350, -10), (-725, -5)])
def test_normalize_angles(angle, expected):
    boxes = RotatedBoxes([[1, 2, 3, 4, angle]])
    boxes.normalize_angles()
    assert boxes.tensor.tolist() == [[1, 2, 3, 4, expected]]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([5, 5, 20, 4, 0], [5, 5, 10, 4, 0]),
        ([5, 5, 20, 4, 360.5], [5, 5, 10, 4, 0.5]),
        ([0, 0, 4, 4, 0], [1, 1, 2, 2, 0]),
        ([5, 5, 20, 4, 30], [5, 5, 20, 4, 30]),
        ([50, 5, 4, 4, 0], [10, 5, 0, 4, 0]),
    ],
)
def test_clip(box, expected):
    boxes = RotatedBoxes([box])
    boxes.clip((8, 10))
    assert boxes.tensor.tolist() == [expected]


@pytest.mark.parametrize(
    ("box", "expected"),
    [([5, 5, 4, 2, 0], True), ([5, 5, 10, 2, 0], False), ([5, 5, 8, 2, 45], True), ([1, 1, 3, 1, 0], False)],
)
def test_inside_box(box, expected):
    assert RotatedBoxes([box]).inside_box((10, 10)).tolist() == [expected]
    assert RotatedBoxes([box]).inside_box((10, 10), boundary_threshold=2).tolist() == [True]


@pytest.mark.parametrize("angle", [0, 30, 90, -45])
def test_scale(angle):
    boxes = RotatedBoxes([[3, 4, 6, 2, angle]])
    boxes.scale(2, 2)
    torch.testing.assert_close(boxes.tensor, torch.tensor([[6.0, 8, 12, 4, angle]]))
    boxes.scale(1, 3)  # sides keep the length that their own direction gets
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    assert boxes.tensor[0, 2:4].tolist() == pytest.approx([12 * math.hypot(cos, 3 * sin), 4 * math.hypot(sin, 3 * cos)])


def test_cat_refuses_others():
    with pytest.raises(AssertionError, match="RotatedBoxes only"):
        RotatedBoxes.cat([Boxes(torch.zeros(1, 4))])


@pytest.mark.parametrize(("columns", "kind"), [(4, Boxes), (5, RotatedBoxes)])
@pytest.mark.parametrize("rows", [0, 2])
def test_boxes_of_rows(columns, kind, rows):
    assert type(boxes_of(torch.zeros(rows, columns))) is kind


def test_clipped_ones_are_new():
    boxes = RotatedBoxes([[5, 5, 20, 4, 360]])
    assert boxes.clipped((8, 10)).tensor.tolist() == [[5, 5, 10, 4, 0]]
    assert boxes.tensor.tolist() == [[5, 5, 20, 4, 360]]
