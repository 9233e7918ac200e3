"""ROIAlign as modules, and the rotated one against the upright one."""

import pytest
import torch
from torchvision.ops import roi_align

from litepred.layers import ROIAlign, ROIAlignRotated, roi_align_rotated

MAPS = torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))
ROIS = torch.tensor([[0, 2.0, 3.0, 20.0, 18.0], [1, 0.0, 0.0, 31.0, 23.0], [1, -9.0, 5.0, 7.0, 40.0]])


def rotated(rois, angle=0.0):
    center, sides = (rois[:, 1:3] + rois[:, 3:]) / 2, rois[:, 3:] - rois[:, 1:3]
    return torch.cat([rois[:, :1], center, sides, torch.full((len(rois), 1), angle)], dim=1)


def test_roi_align_is_torchvisions():
    layer = ROIAlign((4, 5), 0.5, 2, aligned=False)
    assert layer(MAPS, ROIS.double()).equal(roi_align(MAPS, ROIS, (4, 5), 0.5, 2, False))
    assert repr(layer) == "ROIAlign(output_size=(4, 5), spatial_scale=0.5, sampling_ratio=2, aligned=False)"


def test_no_regions():
    assert ROIAlignRotated(7, 0.5, 0)(MAPS, torch.zeros(0, 6)).shape == (0, 3, 7, 7)


def test_an_empty_region_pools_nothing():
    assert not roi_align_rotated(MAPS, torch.tensor([[0, 5.0, 5, 0, 4, 30]]), 2, 1.0, 0).any()


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
@pytest.mark.parametrize("size", [3, (4, 5)])
def test_without_a_turn_it_is_the_upright_one(sampling_ratio, size):
    expected = roi_align(MAPS, ROIS, size, 0.5, sampling_ratio, True)
    found = ROIAlignRotated(size, 0.5, sampling_ratio)(MAPS, rotated(ROIS))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_quarter_turns_turn_the_map(quarter_turns):
    """Of a square map about its middle: what is pooled is the map turned the other way."""
    square = MAPS[:1, :, :12, :12]
    roi = torch.tensor([[0, 6.0, 6.0, 12.0, 12.0, 90.0 * quarter_turns]])
    found = roi_align_rotated(square, roi, 12, 1.0, 1)
    torch.testing.assert_close(found, torch.rot90(square, -quarter_turns, (2, 3)), atol=1e-5, rtol=1e-5)
