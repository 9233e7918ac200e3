"""Layers and functions that custom parts are made of."""

import pytest
import torch
import torchvision.ops
from torch import nn

from litepred.drop_in.adapters import (
    CNNBlockBase,
    ROIAlign,
    batched_nms,
    move_device_like,
    shapes_to_tensor,
)
from litepred.layers import FrozenBatchNorm2d


class Block(CNNBlockBase):
    def __init__(self):
        super().__init__(3, 4, stride=2)
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean.fill_(2)

    def forward(self, x):
        return self.norm(self.conv(x))


def test_freezing_changes_no_answer():
    block = Block().eval()
    x = torch.randn(1, 3, 8, 8)
    expected = block(x)
    assert block.freeze() is block
    assert isinstance(block.norm, FrozenBatchNorm2d)
    torch.testing.assert_close(block(x), expected)
    assert not any(parameter.requires_grad for parameter in block.parameters())
    assert (block.in_channels, block.out_channels, block.stride) == (3, 4, 2)


def test_a_norm_is_frozen_itself():
    norm = nn.BatchNorm2d(3, eps=0.5)
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(norm)
    x = torch.randn(1, 3, 2, 2)
    torch.testing.assert_close(frozen(x), norm.eval()(x))
    plain = nn.ReLU()
    assert FrozenBatchNorm2d.convert_frozen_batchnorm(plain) is plain


@pytest.mark.usefixtures("drop_in")
def test_functions_on_tensors():
    from detectron2.layers import nonzero_tuple

    one = torch.ones(2)
    assert [index.tolist() for index in nonzero_tuple(torch.tensor([[0, 1], [1, 0]]))] == [[0, 1], [1, 0]]
    assert [index.tolist() for index in nonzero_tuple(torch.tensor(3))] == [[0]]
    assert shapes_to_tensor([1, 2]).dtype == torch.int64
    assert move_device_like(one, one) is one


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_is_torchvisions(count, aligned):
    maps = torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[0, 2.0, 3, 20, 18], [1, 0, 0, 31, 23], [1, -9, 5, 7, 40]])[:count]
    layer = ROIAlign((4, 5), 0.5, 2) if aligned else ROIAlign((4, 5), 0.5, 2, aligned=False)
    assert layer(maps, rois.double()).equal(torchvision.ops.roi_align(maps, rois, (4, 5), 0.5, 2, aligned))
    assert repr(layer) == f"ROIAlign(output_size=(4, 5), spatial_scale=0.5, sampling_ratio=2, aligned={aligned})"


@pytest.mark.parametrize("count", [0, 20])
def test_boxes_of_half_precision_are_suppressed_in_float32(count):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(count, 4, generator=generator) * 60
    boxes[:, 2:] += boxes[:, :2] + 1
    scores, classes = torch.rand(count, generator=generator), torch.zeros(count, dtype=torch.int64)
    expected = torchvision.ops.batched_nms(boxes.half().float(), scores, classes, 0.5)
    assert batched_nms(boxes.half(), scores, classes, 0.5).equal(expected)
