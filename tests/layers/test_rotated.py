"""Rotated boxes, their overlap against Monte-Carlo sampling and closed forms, and the operators on them."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import batched_nms, nms

from litepred.layers import batched_nms_rotated, nms_rotated, pairwise_iou_rotated
from litepred.structures import Boxes, RotatedBoxes, pairwise_iou

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
    monkeypatch.setattr("litepred.layers.rotated._PAIRS_AT_ONCE", 7)
    assert pairwise_iou_rotated(boxes, boxes).equal(whole)


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
