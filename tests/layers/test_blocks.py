"""Blocks that custom backbones are made of."""

import torch
from torch import nn
from torch.nn import functional as F

from litepred.layers import (
    CNNBlockBase,
    DepthwiseSeparableConv2d,
    FrozenBatchNorm2d,
    cat,
    move_device_like,
    nonzero_tuple,
    shapes_to_tensor,
)


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


def test_depthwise_separable_convolution():
    conv = DepthwiseSeparableConv2d(3, 5, norm1="BN", activation1=F.relu, activation2=F.relu).eval()
    x = torch.randn(2, 3, 6, 7)
    expected = F.relu(
        conv.pointwise.weight.new_tensor(0)
        + conv.pointwise(F.relu(conv.depthwise.norm(F.conv2d(x, conv.depthwise.weight, padding=1, groups=3))))
    )
    torch.testing.assert_close(conv(x), expected)
    assert conv.depthwise.bias is None
    assert conv.pointwise.bias is not None


def test_functions_on_tensors():
    one = torch.ones(2)
    assert cat([one]) is one
    assert cat([one, one]).tolist() == [1, 1, 1, 1]
    assert [index.tolist() for index in nonzero_tuple(torch.tensor([[0, 1], [1, 0]]))] == [[0, 1], [1, 0]]
    assert [index.tolist() for index in nonzero_tuple(torch.tensor(3))] == [[0]]
    assert shapes_to_tensor([1, 2]).dtype == torch.int64
    assert move_device_like(one, one) is one
