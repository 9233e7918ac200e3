"""Non-maximum suppression of upright and rotated boxes."""

import pytest
import torch

from litepred.layers import batched_nms, batched_nms_rotated, nms, nms_rotated


def boxes_and_scores(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(number, 4, generator=generator) * 60
    corners[:, 2:] += corners[:, :2] + 1
    scores = torch.rand(number, generator=generator)
    return corners, scores, torch.randint(0, 3, (number,), generator=generator)


def rotated(corners, quarter_turns=0):
    center, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    sides = sides.flip(1) if quarter_turns % 2 else sides
    return torch.cat([center, sides, torch.full((len(corners), 1), 90.0 * quarter_turns)], dim=1)


@pytest.mark.parametrize("function", [batched_nms, batched_nms_rotated])
def test_no_boxes(function):
    dim = 5 if function is batched_nms_rotated else 4
    keep = function(torch.zeros(0, dim), torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.5)
    assert keep.shape == (0,)
    assert keep.dtype == torch.int64


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("quarter_turns", [0, 1, 2])
def test_rotated_ones_are_suppressed_as_upright_ones_are(threshold, quarter_turns):
    corners, scores, classes = boxes_and_scores(120)
    turned = rotated(corners, quarter_turns)
    assert nms_rotated(turned, scores, threshold).equal(nms(corners, scores, threshold))
    expected = batched_nms(corners, scores, classes, threshold)
    assert batched_nms_rotated(turned, scores, classes, threshold).equal(expected)


def test_half_precision_boxes():
    corners, scores, classes = boxes_and_scores(20)
    assert batched_nms(corners.half(), scores, classes, 0.5).equal(
        batched_nms(corners.half().float(), scores, classes, 0.5)
    )
