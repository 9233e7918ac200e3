"""The base of blocks, and freezing."""

import pytest
import torch
from torch import nn

from litepred.layers import CNNBlockBase, FrozenBatchNorm2d
from litepred.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock


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


@pytest.mark.parametrize("built", [BottleneckBlock(4, 8, bottleneck_channels=4), BasicBlock(4, 8), BasicStem()])
def test_blocks_of_resnets_are_such(built):
    assert isinstance(built, CNNBlockBase)
    assert built.freeze() is built
    assert isinstance(built.conv1.norm, FrozenBatchNorm2d)
