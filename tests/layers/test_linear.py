"""Linear layers as convolutions of 1×1, where those are faster."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from litepred.layers import PointwiseLinear, pointwise_linear


@pytest.fixture(autouse=True)
def a_processor_on_which_it_is_faster(monkeypatch):
    monkeypatch.setenv("LITEPRED_CHOICES", "linear=yes")


def linear(bias=True):
    torch.manual_seed(0)
    return nn.Linear(40, 24, bias=bias).requires_grad_(False)


@pytest.mark.parametrize("shape", [(0, 40), (40,), (255, 40), (256, 40), (2, 30, 7, 40)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_it_is_the_linear_layer(shape, bias, dtype):
    plain = linear(bias).to(dtype)
    fast = PointwiseLinear(plain)
    x = torch.randn(shape).to(dtype)
    found, wanted = fast(x), plain(x)
    assert (found.shape, found.dtype, found.is_contiguous()) == (wanted.shape, wanted.dtype, True)
    assert dict(fast.state_dict()).keys() == dict(plain.state_dict()).keys()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_many_rows_are_convolved_and_few_are_not(monkeypatch):
    rows = []
    monkeypatch.setattr(F, "conv2d", lambda x, *others: rows.append(x.shape[3]) or torch.zeros(1, 24, 1, x.shape[3]))
    for number in (1, 255, 256, 1000):
        pointwise_linear(torch.randn(number, 40), linear().weight)
    assert rows == [256, 1000]


def test_views_are_multiplied_too():
    x, weight = torch.randn(40, 300).T, torch.randn(40, 24).T
    torch.testing.assert_close(pointwise_linear(x, weight), F.linear(x, weight), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("faster", [True, False])
def test_only_where_it_is_faster(faster, monkeypatch):
    def is_faster(kind, layer, make):
        usual, other = make()
        assert kind == "linear" and usual().shape == other().shape == (512, 1024)
        return faster

    monkeypatch.setattr("litepred.layers.linear.is_faster", is_faster)
    assert PointwiseLinear.suits(linear()) is faster
    assert not PointwiseLinear.suits(nn.Conv2d(3, 3, 1))
    assert not PointwiseLinear.suits(PointwiseLinear(linear()))
