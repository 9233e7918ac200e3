import math

import pytest
import torch
from torch.nn import functional as F

from litepred.structures import heatmaps_to_keypoints


def one_hot_maps(row, column, size=4, peak=10.0):
    maps = torch.zeros(1, 1, size, size)
    maps[0, 0, row, column] = peak
    return maps


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0.0, 0.0, 4.0, 4.0], [2.5, 1.5]),
        ([10.0, 20.0, 14.0, 24.0], [12.5, 21.5]),
        ([0.0, 0.0, 3.5, 4.0], [2.5 * 3.5 / 4, 1.5]),  # 4 whole pixels over 3.5
        ([5.0, 6.0, 5.0, 6.2], [5.5, 6.5]),  # sides below 1 count as 1
        ([-9.0, -8.0, -5.0, -4.0], [-6.5, -6.5]),  # nothing is clipped
    ],
)
def test_position_is_the_centre_of_the_largest_cell(box, expected):
    result = heatmaps_to_keypoints(one_hot_maps(1, 2), torch.tensor([box]))
    assert result.shape == (1, 1, 4)
    assert result[0, 0, :2].tolist() == pytest.approx(expected)


def test_logit_and_score_at_the_size_of_the_map():
    result = heatmaps_to_keypoints(one_hot_maps(1, 2), torch.tensor([[0.0, 0.0, 4.0, 4.0]]))
    assert result[0, 0, 2].item() == 10.0
    assert result[0, 0, 3].item() == pytest.approx(1 / (1 + 15 * math.exp(-10)))


def test_score_can_exceed_one():
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 1:3, 1:3] = 10.0
    result = heatmaps_to_keypoints(maps, torch.tensor([[0.0, 0.0, 11.0, 11.0]]))
    assert result[0, 0, 2] > 13.0  # bicubic enlarging overshoots between equal neighbours
    assert result[0, 0, 3] > 1.0


@pytest.mark.parametrize("shape", [(0, 17, 56, 56), (1, 1, 1, 1), (4, 3, 14, 14)])
def test_instances_are_independent(shape):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(shape, generator=generator)
    corners = torch.rand(shape[0], 2, generator=generator) * 50
    boxes = torch.cat((corners, corners + torch.rand(shape[0], 2, generator=generator) * 60), dim=1)
    result = heatmaps_to_keypoints(maps, boxes)
    assert result.shape == (*shape[:2], 4)
    for i in range(shape[0]):
        x1, y1, x2, y2 = boxes[i].tolist()
        width, height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
        size = (math.ceil(height), math.ceil(width))
        for k in range(shape[1]):
            enlarged = F.interpolate(maps[i : i + 1, k : k + 1], size=size, mode="bicubic", align_corners=False)[0, 0]
            row, column = divmod(int(enlarged.argmax()), size[1])
            peak = enlarged.max()
            expected = [
                x1 + (column + 0.5) * width / size[1],
                y1 + (row + 0.5) * height / size[0],
                peak.item(),
                1 / (maps[i, k] - peak).exp().sum().item(),
            ]
            assert result[i, k].tolist() == pytest.approx(expected, rel=1e-5)


def test_counts_must_match():
    with pytest.raises(ValueError, match="2 boxes"):
        heatmaps_to_keypoints(torch.zeros(1, 3, 4, 4), torch.zeros(2, 4))


def test_arguments_are_not_changed():
    maps, boxes = one_hot_maps(0, 0), torch.tensor([[0.0, 0.0, 6.0, 6.0]])
    before = maps.clone(), boxes.clone()
    heatmaps_to_keypoints(maps, boxes)
    assert torch.equal(maps, before[0])
    assert torch.equal(boxes, before[1])
