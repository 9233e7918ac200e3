"""Rotated boxes, their overlap against Monte-Carlo sampling and closed forms, and the operators on them."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import batched_nms, nms, roi_align

from litepred.layers import batched_nms_rotated, nms_rotated, pairwise_iou_rotated, roi_align_rotated
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


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([50, 50, 40, 20, 30], [55, 45, 30, 30, -70], 0.5104100704193115),
        ([1e5, 1e5, 8, 3, 11], [1e5 + 2, 1e5 + 1, 7, 4, 100], 0.3000594675540924),
        ([296.662, 458.73838, 23.651574, 47.617394, 0.08794], [296.662, 458.73878, 23.651556, 47.61757, 0.08794], None),
        # thinner than float32 can tell from a distance: what Detectron2 says decides what it suppresses
        (
            [468.96478, -50.28514, 0.04232876, 1414.2136, 72.757263],
            [85889.35, 86158.695, 2.5043776e-09, 0.00118764, -24.11163],
            107.71556854248047,
        ),
    ],
)
def test_the_bits_of_detectron2(first, second, expected):
    """Detectron2's operator gave the numbers."""
    expected = 0.9999961256980896 if expected is None else expected
    assert float(pairwise_iou_rotated(torch.tensor([first]), torch.tensor([second]))) == expected


BEST = [27, 19, 11, 38, 3, 30, 22, 14, 6, 17, 20, 12, 31, 23, 15, 7, 26, 10, 2, 21, 13]
BEST_BY_CLASS = [27, 19, 11, 38, 3, 30, 22, 14, 6, 25, 17, 9, 1, 20, 12]
BEST_BY_CLASS += [23, 15, 7, 34, 26, 18, 10, 2, 21, 13, 5, 24, 16, 0]


@pytest.mark.parametrize(("by_class", "expected"), [(False, BEST), (True, BEST_BY_CLASS)])
@pytest.mark.parametrize("at_once", [1, 7, 128])
def test_suppression_as_detectron2_does_it(monkeypatch, by_class, expected, at_once):
    monkeypatch.setattr("litepred.layers.rotated._BOXES_AT_ONCE", at_once)
    i = torch.arange(40, dtype=torch.float32)
    columns = [i * 37 % 101, i * 53 % 89, 10 + i * 29 % 31, 10 + i * 17 % 23, i * 47 % 360 - 180]
    boxes, scores = torch.stack(columns, dim=1), i * 61 % 97 / 97
    if by_class:
        keep = batched_nms_rotated(boxes, scores, torch.arange(40) % 3, 0.1)
    else:
        keep = nms_rotated(boxes, scores, 0.1)
    assert keep.tolist() == expected


def test_an_overlap_of_just_the_threshold_suppresses():
    boxes = torch.tensor([[0.0, 0, 4, 2, 0], [0, 0, 2, 2, 0]])
    assert nms_rotated(boxes, torch.tensor([1.0, 0.5]), 0.5).tolist() == [0]
    assert nms_rotated(boxes, torch.tensor([1.0, 0.5]), 0.51).tolist() == [0, 1]


REGIONS = [[0, 10, 9, 12, 6, 30], [0, 2, 20, 9, 16, -100], [0, 30, 30, 4, 4, 0], [0, 12, 8, 0, 4, 45]]
POOLED = {  # by Detectron2, of maps (1, 2, 5, 6)
    0: [
        [4.437970161437988, 3.738147735595703, 4.69847297668457, 3.2866835594177246],
        [2.7694239616394043, 4.174310684204102, 2.759894371032715, 3.0255439281463623],
        [6.074900150299072, 1.4409494400024414, 2.870471954345703, 1.3938770294189453],
        [3.549008369445801, 0.8798232674598694, 2.2767059803009033, 1.2043380737304688],
        *[[0.0] * 4] * 4,
    ],
    2: [
        [4.411941051483154, 3.6864967346191406, 4.715409755706787, 3.307819366455078],
        [2.672396659851074, 4.135202884674072, 2.7699458599090576, 3.0521247386932373],
        [6.074900150299072, 1.4409494400024414, 2.870471954345703, 1.3938770294189453],
        [3.549008369445801, 0.8798232674598694, 2.2767059803009033, 1.2043380737304688],
        *[[0.0] * 4] * 2,
        [2.9725940227508545, 2.9725940227508545, 3.1378211975097656, 3.1378211975097656],
        [3.808037757873535, 3.808037757873535, 2.9670915603637695, 2.9670915603637695],
    ],
}


@pytest.mark.parametrize("sampling_ratio", POOLED)
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("values", "samples"), [(2**22, 64), (8, 1)])
def test_pooling_as_detectron2_does_it(monkeypatch, sampling_ratio, exact, values, samples):
    monkeypatch.setattr("litepred.layers.rotated._VALUES_AT_ONCE", values)
    monkeypatch.setattr("litepred.layers.rotated._SAMPLES_AT_ONCE", samples)
    x = torch.arange(60.0).view(1, 2, 5, 6) ** 1.5 % 7
    pooled = roi_align_rotated(x, torch.tensor(REGIONS), (2, 2), 0.25, sampling_ratio, exact)
    expected = torch.tensor(POOLED[sampling_ratio]).view(4, 2, 2, 2)
    torch.testing.assert_close(pooled, expected, atol=0 if exact else 2e-6, rtol=0)


def test_no_regions():
    assert roi_align_rotated(torch.zeros(1, 3, 4, 4), torch.zeros(0, 6), (2, 5), 1.0, 0).shape == (0, 3, 2, 5)


def test_pooling_is_upright_where_the_angle_is_0():
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    corners = torch.tensor([[0, 1.0, 2, 9, 7], [1, 3, 3, 40, 50], [1, -5, -5, 3, 3]])
    rois = torch.cat([corners[:, :1], turned(corners[:, 1:])], dim=1)
    expected = roi_align(x, corners, (3, 4), 0.5, 2, aligned=True)
    torch.testing.assert_close(roi_align_rotated(x, rois, (3, 4), 0.5, 2), expected, atol=1e-5, rtol=0)
