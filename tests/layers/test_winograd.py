import pytest
import torch
from torch import nn
from torch.nn import functional as F

from litepred.layers import Conv2d, WinogradConv2d, get_norm
from litepred.layers.winograd import _KERNEL, _from_points, _transformed_tiles


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
@pytest.mark.parametrize("kernels_at_once", [2**20, 128 * 50])
def test_it_is_the_convolution(images, height, width, channels_last, kernels_at_once, monkeypatch):
    """Kernels are transformed for some outputs at a time, of which the last have fewer."""
    monkeypatch.setattr("litepred.layers.winograd._KERNELS_AT_ONCE", kernels_at_once)
    direct = conv(activation=F.relu_)
    x = torch.randn(images, 128, height, width)
    before = x.clone()
    fast = WinogradConv2d(direct)(x.contiguous(memory_format=torch.channels_last) if channels_last else x)
    wanted = direct(x)
    assert torch.equal(x, before)
    assert fast.shape == wanted.shape
    if images:
        assert float((fast - wanted).abs().max()) < 1e-5 * float(wanted.abs().max())


@pytest.mark.parametrize("channels", [128, 512, 1024])
def test_its_error_is_that_of_float32_sums_times_the_growth_of_the_transform(channels):
    """The bound holds on every processor, since it is derived for the order of summing that rounds most.

    Summing C products one after the other rounds each partial sum by at most u = 2**-24 of it. For products of mean 0
    the i-th partial sum has i/C of the variance of the whole, so that the error of the sum has a variance of at most
    u² · C/6 of its own. The transforms of image and kernel round some times more, for which 4 stands. The result is a
    weighted sum of 36 such sums: its error grows with the squares of the weights.
    """
    direct = conv(channels, 256, bias=False)
    x = torch.randn(1, channels, 40, 40).relu()
    exact = F.conv2d(x.double(), direct.weight.double(), padding=1)
    to_pixels = torch.empty(4, 6, dtype=torch.float64)
    _from_points(torch.eye(6, dtype=torch.float64), to_pixels)
    sums = products_at_points(x.double(), direct.weight.double()).square()
    grown = torch.einsum("ai,bj,ijn->abn", to_pixels**2, to_pixels**2, sums).mean().sqrt()
    size = exact.square().mean().sqrt()
    assert 3 < float(grown / size) < 5  # the customary points, 0, ±1 and ±2, let it grow to above 10
    error = (WinogradConv2d(direct)(x) - exact).square().mean().sqrt()
    assert float(error) < 2**-24 * (channels / 6 + 4) ** 0.5 * float(grown)


def products_at_points(x, weight):
    """The 36 matrix products of all tiles of ``x`` (1, C, H, W), in the precision of ``x``: (6, 6, tiles · K)."""
    tiles = _transformed_tiles(F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)))
    kernels = torch.einsum("ij,kcjm,lm->ilck", _KERNEL, weight, _KERNEL).flatten(0, 1)
    return torch.bmm(tiles.view(36, -1, x.shape[1]), kernels).view(6, 6, -1)


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
        (conv(activation=F.relu_), True),
        (conv(outputs=128, activation=nn.PReLU(128)), False),
        (nn.Conv2d(128, 128, 1), False),
        (nn.Linear(128, 128), False),
        (type("Own", (Conv2d,), {})(128, 128, 3, padding=1), False),
    ],
)
def test_what_it_takes_the_place_of(layer, suits, monkeypatch):
    monkeypatch.setenv("LITEPRED_CHOICES", "winograd=yes")
    assert WinogradConv2d.suits(layer) is suits


@pytest.mark.parametrize("gain", [0.5, 2.0])
@pytest.mark.parametrize(
    ("channels", "tried_map"), [(128, (1, 256, 64, 64)), (512, (1, 256, 64, 64)), (2048, (1, 256, 64, 64))]
)
def test_only_where_it_is_faster(gain, channels, tried_map, monkeypatch):
    """What is tried is a direct and a Winograd convolution of the layer's width, on one map.

    Of the widest layers a part of the outputs is tried.
    """
    tried = []

    def is_faster(kind, layer, make):
        usual, other = make()
        torch.testing.assert_close(usual(), other(), rtol=1e-4, atol=1e-3)
        tried.append((kind, layer, tuple(usual().shape)))
        return gain > 1

    monkeypatch.setattr("litepred.layers.winograd.is_faster", is_faster)
    outputs = 2048 if channels == 2048 else 256
    with torch.device("meta"):
        layer = Conv2d(channels, outputs, 3, padding=1)
    assert WinogradConv2d.suits(layer) is (gain > 1)
    assert tried == [("winograd", f"{channels}→{outputs}", tried_map)]


def test_it_becomes_the_plain_convolution_again():
    """A layer keeps its kernels as they are: transformed, those of 2,048 channels would take 604 MB."""
    layer = conv(128, 256)
    winograd = WinogradConv2d(layer)
    assert winograd.weight.numel() == layer.weight.numel()
    plain = winograd.plain_module()
    assert plain.bias.equal(layer.bias) and plain.weight.equal(layer.weight)
