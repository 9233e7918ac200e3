"""A map at several dilations: against the sum of its parts."""

import pytest
import torch
from torch.nn import functional as F

from litepred.errors import ConfigError
from litepred.layers import ASPP, DepthwiseSeparableConv2d


@pytest.mark.parametrize("pooled", [None, (4, 3)])
@pytest.mark.parametrize("separable", [False, True])
def test_a_map_at_several_dilations(pooled, separable):
    options = {"norm": "", "activation": F.relu, "pool_kernel_size": pooled}
    aspp = ASPP(3, 2, [1, 2, 3], use_depthwise_separable_conv=separable, **options).requires_grad_(False)
    x = torch.randn(1, 3, 4, 6, generator=torch.Generator().manual_seed(0))

    def conv(name, x, padding=0, groups=1):
        weight, bias = (aspp.get_parameter(f"{name}.{leaf}") for leaf in ("weight", "bias"))
        return F.conv2d(x, weight, bias, 1, padding, max(1, padding), groups).relu()

    seen = [conv("convs.0", x)]
    for i in (1, 2, 3):
        if separable:
            seen.append(conv(f"convs.{i}.pointwise", conv(f"convs.{i}.depthwise", x, i, groups=3)))
        else:
            seen.append(conv(f"convs.{i}", x, i))
    pool = x.mean((2, 3), keepdim=True) if pooled is None else F.avg_pool2d(x, pooled, stride=1)
    seen.append(F.interpolate(conv("convs.4.1", pool), size=(4, 6), mode="bilinear"))
    torch.testing.assert_close(aspp(x), conv("project", torch.cat(seen, dim=1)))
    if pooled:
        with pytest.raises(ConfigError, match=r"a map of \(4, 4\) cells: expected multiples of \(4, 3\)"):
            aspp(x[:, :, :, :4])


def test_three_dilations():
    with pytest.raises(ConfigError, match="ASPP got 2 dilations: expected 3"):
        ASPP(3, 2, [1, 2], norm="", activation=None)
    assert DepthwiseSeparableConv2d(2, 4, norm1="BN").depthwise.bias is None


@pytest.mark.parametrize("separable", [False, True])
def test_each_convolution_has_its_own_activation(separable):
    aspp = ASPP(2, 3, [1, 2, 3], norm="", activation=torch.nn.PReLU(), use_depthwise_separable_conv=separable)
    weights = [weight for name, weight in aspp.named_parameters() if "activation" in name]
    assert len(weights) == (9 if separable else 6)
