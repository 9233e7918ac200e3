"""Convolutions with norm and activation; deformable ones against the definition, tap by tap."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from litepred.layers import Conv2d, DeformConv, ModulatedDeformConv


class Negate(nn.Module):
    def forward(self, x):
        return -x


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("norm", [None, Negate()])
@pytest.mark.parametrize("activation", [None, F.relu])
def test_norm_then_activation(batch, norm, activation):
    conv = Conv2d(2, 3, 3, padding=1, norm=norm, activation=activation)
    x = random(batch, 2, 1, 5)
    expected = F.conv2d(x, conv.weight, conv.bias, padding=1)
    expected = -expected if norm else expected
    expected = expected.clamp(min=0) if activation else expected
    assert torch.equal(conv(x), expected)


def sample(plane, y, x):
    """Bilinear value of a plane at index coordinates; everything outside is zero."""
    total = 0.0
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                total += plane[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def deformable(x, offset, weight, mask, stride, padding, dilation, groups, offset_groups):
    """Deformable convolution by its definition: offsets are dy, dx for each tap in row-major order."""
    x, offset, weight = x.numpy().astype(float), offset.numpy().astype(float), weight.detach().numpy().astype(float)
    images, channels = x.shape[:2]
    outputs, per_group = weight.shape[:2]
    out = np.zeros((images, outputs, *offset.shape[2:]))
    for n, o, row, column in np.ndindex(*out.shape):
        group = o // (outputs // groups)
        for c in range(per_group):
            channel = group * per_group + c
            g = channel // (channels // offset_groups)
            for tap in range(9):
                dy, dx = offset[n, 18 * g + 2 * tap, row, column], offset[n, 18 * g + 2 * tap + 1, row, column]
                y = row * stride - padding + tap // 3 * dilation + dy
                x_ = column * stride - padding + tap % 3 * dilation + dx
                share = 1.0 if mask is None else float(mask[n, 9 * g + tap, row, column])
                out[n, o, row, column] += weight[o, c, tap // 3, tap % 3] * sample(x[n, channel], y, x_) * share
    return torch.from_numpy(out).float()


CASES = [  # stride, dilation, groups, deformable groups
    (1, 1, 1, 1),
    (2, 1, 1, 1),
    (1, 2, 2, 1),
    (2, 1, 1, 2),
]


@pytest.mark.parametrize(("stride", "dilation", "groups", "offset_groups"), CASES)
def test_deformable_by_definition(stride, dilation, groups, offset_groups):
    kwargs = {"stride": stride, "padding": dilation, "dilation": dilation, "groups": groups, "bias": False}
    conv = DeformConv(4, 2, 3, deformable_groups=offset_groups, **kwargs)
    x = random(2, 4, 5, 4)
    size = (5 + stride - 1) // stride, (4 + stride - 1) // stride
    offset = random(2, 18 * offset_groups, *size, seed=1) * 1.5
    expected = deformable(x, offset, conv.weight, None, stride, dilation, dilation, groups, offset_groups)
    torch.testing.assert_close(conv(x, offset), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("stride", "dilation", "groups", "offset_groups"), CASES)
def test_modulated_by_definition(stride, dilation, groups, offset_groups):
    kwargs = {"stride": stride, "padding": dilation, "dilation": dilation, "groups": groups, "bias": False}
    conv = ModulatedDeformConv(4, 2, 3, deformable_groups=offset_groups, **kwargs)
    x = random(2, 4, 5, 4)
    size = (5 + stride - 1) // stride, (4 + stride - 1) // stride
    offset_mask = random(2, 27 * offset_groups, *size, seed=1) * 1.5
    offset, logits = offset_mask[:, : 18 * offset_groups], offset_mask[:, 18 * offset_groups :]
    mask = 1 / (1 + torch.exp(-logits))
    expected = deformable(x, offset, conv.weight, mask, stride, dilation, dilation, groups, offset_groups)
    torch.testing.assert_close(conv(x, offset_mask), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("tap", "dy", "dx", "expected"),
    [
        (4, 0, 0, [[0, 1, 2], [10, 11, 12]]),
        (4, 1, 0, [[10, 11, 12], [0, 0, 0]]),  # the even channel of a tap moves it down
        (4, 0, 1, [[1, 2, 0], [11, 12, 0]]),  # the odd one to the right
        (4, 0.5, 0, [[5, 6, 7], [5, 5.5, 6]]),  # half outside: half of the value
        (3, 0, 1, [[0, 1, 2], [10, 11, 12]]),  # the tap at the left, moved right by one
        (4, 0, -5, [[0, 0, 0], [0, 0, 0]]),
    ],
)
def test_deformable_by_hand(tap, dy, dx, expected):
    conv = DeformConv(1, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.zero_()[0, 0, tap // 3, tap % 3] = 1
    offset = torch.zeros(1, 18, 2, 3)
    offset[:, 2 * tap], offset[:, 2 * tap + 1] = dy, dx
    x = torch.tensor([[[[0.0, 1, 2], [10, 11, 12]]]])
    assert conv(x, offset)[0, 0].tolist() == expected


def test_deformable_ends_with_norm_and_activation():
    x, offset = random(1, 2, 3, 3), torch.zeros(1, 18, 3, 3)
    conv = DeformConv(2, 2, 3, padding=1, bias=False, norm=Negate(), activation=F.relu)
    plain = F.conv2d(x, conv.weight, padding=1)
    torch.testing.assert_close(conv(x, offset), (-plain).clamp(min=0))
    v2 = ModulatedDeformConv(2, 2, 3, padding=1, bias=False, norm=Negate(), activation=F.relu)
    plain = F.conv2d(x, v2.weight, padding=1)
    torch.testing.assert_close(v2(x, torch.zeros(1, 27, 3, 3)), (-plain / 2).clamp(min=0))  # sigmoid(0) = 1/2
