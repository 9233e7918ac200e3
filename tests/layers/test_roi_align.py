import pytest
import torch
from torchvision.ops import roi_align

from litepred.layers.roi_align import roi_align_channels_last

torch.manual_seed(0)
CORNERS = torch.rand(60, 2) * 150 - 20
RANDOM = torch.cat([torch.randint(0, 2, (60, 1)), CORNERS, CORNERS + torch.rand(60, 2) * 90], dim=1).float()
SPECIAL = torch.tensor(
    [
        [0, 10, 10, 10, 30],  # no width
        [1, 30, 30, 10, 10],  # turned inside out
        [0, 0, 0, 128, 96],
        [0, -500, -500, -400, -400],
        [1, 3, 3, 3.01, 3.01],
        [1, -1000, 0, 2000, 96],
    ]
).float()


@pytest.mark.parametrize("rois", [torch.zeros(0, 5), RANDOM, SPECIAL], ids=["none", "random", "special"])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("size", [(7, 7), (2, 5)])
def test_it_pools_as_torchvision_does(rois, sampling_ratio, aligned, size):
    x = torch.randn(2, 8, 24, 32)
    options = {
        "output_size": size,
        "spatial_scale": 0.25,
        "sampling_ratio": sampling_ratio,
        "aligned": aligned,
    }
    wanted = roi_align(x, rois, **options)
    for maps in (x, x.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(roi_align_channels_last(maps, rois, **options), wanted, rtol=1e-5, atol=2e-5)
