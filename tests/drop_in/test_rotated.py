"""Rotated boxes, their overlap against Monte-Carlo sampling and closed forms, and the operators on them."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import batched_nms, nms

from litepred.drop_in.rotated import (
    RotatedBoxes,
    batched_nms_rotated,
    nms_rotated,
    pairwise_iou_rotated,
)
from litepred.structures import Boxes, pairwise_iou

ROOT2 = math.sqrt(2)


def random_boxes(number, seed=0, size=100.0):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(number, 5, generator=generator) * torch.tensor([size, size, size, size, 720.0])
    boxes[:, 2:4] += 1
    boxes[:, 4] -= 360
    return boxes


def turned(corners, quarter_turns=0):
    """The rotated boxes that cover the same pixels as upright ones (N, 4)."""
    center, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    sides = sides.flip(1) if quarter_turns % 2 else sides
    return torch.cat([center, sides, torch.full((len(corners), 1), 90.0 * quarter_turns)], dim=1)


def inside(points, box):
    """Which points (P, 2) lie in one box: turned back into its own axes."""
    x, y, width, height, degrees = box.double().tolist()
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    dx, dy = points[:, 0] - x, points[:, 1] - y
    return ((dx * cos - dy * sin).abs() <= width / 2) & ((dx * sin + dy * cos).abs() <= height / 2)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 3), (3, 0)])
def test_no_boxes(first, second):
    assert pairwise_iou_rotated(torch.zeros(first, 5), torch.zeros(second, 5)).shape == (first, second)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 1, 2, 2, 0], [1, 1, 2, 2, 0], 1),
        ([1, 1, 2, 2, 0], [1, 1, 2, 2, 90], 1),
        ([1, 1, 2, 2, 33], [1, 1, 2, 2, 33 - 360], 1),
        ([5, 5, 10, 6, 55], [5, 5, 6, 10, -35], 1),
        ([1, 1, 2, 2, 0], [3, 1, 2, 2, 0], 0),  # side by side
        ([1, 1, 2, 2, 0], [2, 1, 2, 2, 0], 1 / 3),
        ([1, 1, ROOT2, ROOT2, 45], [1, 1, 2, 2, 0], 0.5),
        ([1, 1, 2 * ROOT2, 2 * ROOT2, -45], [1, 1, 2, 2, 0], 0.5),
        ([5, 5, 10, 6, 55], [5, 5, 10, 6, -35], 36 / 84),
        ([0, 0, 4, 4, 20], [0.5, 0.5, 1, 1, 70], 1 / 16),  # inside
        ([0, 0, 0, 4, 20], [0, 0, 4, 4, 20], 0),  # no area
        ([0, 0, -4, 4, 0], [0, 0, 4, 4, 0], 0),
        ([160, 153, 230, 23, -37], [-1e17, 1e18, 1000, 1000, 1612], 0),
        ([0, 0, float("nan"), 4, 0], [0, 0, 4, 4, 0], 0),
    ],
)
@pytest.mark.parametrize("turn", [0, 17, 101.5])
def test_pairs(first, second, expected, turn):
    """Both are turned together about the first one's centre."""
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    dx, dy = second[0] - first[0], second[1] - first[1]
    moved = [first[0] + dx * cos + dy * sin, first[1] - dx * sin + dy * cos, *second[2:4], second[4] + turn]
    iou = pairwise_iou_rotated(
        torch.tensor([[*first[:4], first[4] + turn]]), torch.tensor([moved], dtype=torch.float32)
    )
    assert float(iou) == pytest.approx(expected, abs=1e-5)


def test_upright_boxes_overlap_as_boxes_do():
    corners = torch.rand(40, 4) * 50
    corners[:, 2:] += corners[:, :2] + 1
    boxes = RotatedBoxes(turned(corners))
    expected = pairwise_iou(Boxes(corners), Boxes(corners))
    torch.testing.assert_close(pairwise_iou_rotated(boxes, boxes), expected, atol=2e-5, rtol=0)


def test_against_sampling():
    first, second = random_boxes(5, 1), random_boxes(6, 2)
    axis = torch.linspace(-120, 220, 700, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            in_a, in_b = inside(points, a), inside(points, b)
            sampled = (in_a & in_b).sum() / (in_a | in_b).sum()
            assert float(pairwise_iou_rotated(first[i : i + 1], second[j : j + 1])) == pytest.approx(
                float(sampled), abs=0.01
            )


def test_symmetry_and_chunks(monkeypatch):
    boxes = random_boxes(60)
    whole = pairwise_iou_rotated(boxes, boxes)
    torch.testing.assert_close(whole, whole.T, atol=1e-6, rtol=0)
    torch.testing.assert_close(whole.diagonal(), torch.ones(60))
    monkeypatch.setattr("litepred.drop_in.rotated._PAIRS_AT_ONCE", 7)
    assert pairwise_iou_rotated(boxes, boxes).equal(whole)


class TestRotatedBoxes:
    @pytest.mark.parametrize("empty", [[], torch.zeros(0), torch.zeros(0, 5)])
    def test_empty(self, empty):
        boxes = RotatedBoxes(empty)
        assert boxes.tensor.shape == (0, 5)
        boxes.clip((5, 5))
        boxes.scale(2, 3)
        assert len(RotatedBoxes.cat([boxes])) == len(RotatedBoxes.cat([])) == len(boxes.area()) == 0

    @pytest.mark.parametrize("wrong", [torch.zeros(2, 4), torch.zeros(5), [[1, 2]]])
    def test_a_wrong_shape(self, wrong):
        with pytest.raises(AssertionError, match=r"expected \(N, 5\), x y width height angle"):
            RotatedBoxes(wrong)

    def test_they_are_boxes(self):
        boxes = RotatedBoxes([[1, 2, 3, 4, 5]])
        assert isinstance(boxes, Boxes)
        assert boxes.tensor.dtype == torch.float32
        assert type(boxes.clone()) is type(boxes.to("cpu")) is type(boxes[0]) is RotatedBoxes
        assert boxes.area().tolist() == [12]
        assert boxes.get_centers().tolist() == [[1, 2]]
        assert boxes.nonempty().tolist() == [True]
        assert repr(boxes).startswith("RotatedBoxes(")

    @pytest.mark.parametrize("index", [0, slice(1, 3), [0, 2], torch.tensor([True, False, True])])
    def test_indexing(self, index):
        boxes = RotatedBoxes(random_boxes(3))
        expected = boxes.tensor[[index]] if isinstance(index, int) else boxes.tensor[index]
        assert boxes[index].tensor.equal(expected)

    def test_indexing_away_the_rows(self):
        with pytest.raises(AssertionError, match="instead of rows"):
            RotatedBoxes(random_boxes(3))[torch.tensor(0)]

    @pytest.mark.parametrize(("angle", "expected"), [(0, 0), (180, -180), (-180, -180), (350, -10), (-725, -5)])
    def test_normalize_angles(self, angle, expected):
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
    def test_clip(self, box, expected):
        boxes = RotatedBoxes([box])
        boxes.clip((8, 10))
        assert boxes.tensor.tolist() == [expected]

    @pytest.mark.parametrize(
        ("box", "expected"),
        [([5, 5, 4, 2, 0], True), ([5, 5, 10, 2, 0], False), ([5, 5, 8, 2, 45], True), ([1, 1, 3, 1, 0], False)],
    )
    def test_inside_box(self, box, expected):
        assert RotatedBoxes([box]).inside_box((10, 10)).tolist() == [expected]
        assert RotatedBoxes([box]).inside_box((10, 10), boundary_threshold=2).tolist() == [True]

    @pytest.mark.parametrize("angle", [0, 30, 90, -45])
    def test_scale(self, angle):
        boxes = RotatedBoxes([[3, 4, 6, 2, angle]])
        boxes.scale(2, 2)
        torch.testing.assert_close(boxes.tensor, torch.tensor([[6.0, 8, 12, 4, angle]]))
        boxes.scale(1, 3)  # sides keep the length that their own direction gets
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        assert boxes.tensor[0, 2:4].tolist() == pytest.approx(
            [12 * math.hypot(cos, 3 * sin), 4 * math.hypot(sin, 3 * cos)]
        )

    def test_cat_refuses_others(self):
        with pytest.raises(AssertionError, match="RotatedBoxes only"):
            RotatedBoxes.cat([Boxes(torch.zeros(1, 4))])


@pytest.mark.parametrize("function", [nms_rotated, batched_nms_rotated])
def test_nothing_to_suppress(function):
    classes = [torch.zeros(0, dtype=torch.int64)] if function is batched_nms_rotated else []
    keep = function(torch.zeros(0, 5), torch.zeros(0), *classes, 0.5)
    assert (keep.shape, keep.dtype) == ((0,), torch.int64)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("quarter_turns", [0, 1, 2])
def test_rotated_ones_are_suppressed_as_upright_ones_are(threshold, quarter_turns):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(120, 4, generator=generator) * 60
    corners[:, 2:] += corners[:, :2] + 1
    scores = torch.rand(120, generator=generator)
    classes = torch.randint(0, 3, (120,), generator=generator)
    boxes = turned(corners, quarter_turns)
    assert nms_rotated(boxes, scores, threshold).equal(nms(corners, scores, threshold))
    expected = batched_nms(corners, scores, classes, threshold)
    assert batched_nms_rotated(boxes, scores, classes, threshold).equal(expected)
