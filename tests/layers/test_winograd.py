import pytest
import torch
from torch import nn
from torch.nn import functional as F

from litepred.layers import Conv2d, WinogradConv2d, get_norm


def conv(inputs=128, outputs=130, **kwargs):
    torch.manual_seed(0)
    layer = Conv2d(inputs, outputs, 3, **{"padding": 1, **kwargs}).requires_grad_(False)
    nn.init.normal_(layer.weight, std=(2 / (9 * inputs)) ** 0.5)
    return layer


@pytest.mark.parametrize(
    ("images", "height", "width"),
    [(0, 9, 9), (1, 1, 1), (1, 1, 50), (1, 50, 1), (1, 4, 4), (3, 5, 7), (40, 14, 14), (1, 100, 130), (2, 70, 300)],
)
@pytest.mark.parametrize("channels_last", [True, False])
def test_it_is_the_convolution(images, height, width, channels_last):
    direct = conv(activation=F.relu_)
    x = torch.randn(images, 128, height, width)
    before = x.clone()
    fast = WinogradConv2d(direct)(x.contiguous(memory_format=torch.channels_last) if channels_last else x)
    wanted = direct(x)
    assert torch.equal(x, before)
    assert fast.shape == wanted.shape
    if images:
        assert float((fast - wanted).abs().max()) < 1e-5 * float(wanted.abs().max())


def test_it_is_about_as_exact_as_direct_convolution():
    """In the mean, against double precision: how exact direct convolution is differs between processors."""
    direct = conv(256, 256, bias=False)
    x = torch.randn(1, 256, 40, 40).relu()
    exact = F.conv2d(x.double(), direct.weight.double(), padding=1)
    assert float((WinogradConv2d(direct)(x) - exact).abs().mean()) < 1e-6 * float(exact.abs().mean())


@pytest.mark.parametrize(
    ("layer", "suits"),
    [
        (conv(), True),
        (nn.Conv2d(128, 128, 3, padding=1), True),
        (conv(64), False),
        (conv(stride=2), False),
        (conv(padding=0), False),
        (conv(dilation=2, padding=2), False),
        (conv(outputs=128, groups=2), False),
        (conv(padding_mode="reflect"), False),
        (conv(norm=get_norm("BN", 130)), False),
        (nn.Conv2d(128, 128, 1), False),
        (nn.Linear(128, 128), False),
        (type("Own", (Conv2d,), {})(128, 128, 3, padding=1), False),
    ],
)
def test_what_it_takes_the_place_of(layer, suits, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert WinogradConv2d.suits(layer) is suits


@pytest.mark.parametrize("processor", ["AVX512", "DEFAULT"])
def test_processors_on_which_it_does_not_pay(processor, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    assert not WinogradConv2d.suits(conv())
