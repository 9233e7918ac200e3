"""Normalisation layers: their numbers, the entries they leave in a checkpoint, their choice by name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from litepred.errors import ConfigError
from litepred.layers import FrozenBatchNorm2d, LayerNorm2d, get_norm
from litepred.layers.norm import ChannelsLastGroupNorm

BN_KEYS = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
BATCH_NORMS = ["BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N"]


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomise(module):
    for i, tensor in enumerate(module.state_dict().values()):
        if tensor.is_floating_point():
            tensor.copy_(random(*tensor.shape, seed=i).abs() + 0.1)
    return module


@pytest.mark.parametrize("name", ["", None])
def test_no_norm(name):
    assert get_norm(name, 4) is None


@pytest.mark.parametrize(
    ("name", "kind", "eps", "keys"),
    [
        ("FrozenBN", FrozenBatchNorm2d, 1e-5, BN_KEYS[:4]),
        *[(name, nn.BatchNorm2d, 1e-5, BN_KEYS) for name in BATCH_NORMS],
        ("GN", nn.GroupNorm, 1e-5, BN_KEYS[:2]),
        ("LN", LayerNorm2d, 1e-6, BN_KEYS[:2]),
        (nn.InstanceNorm2d, nn.InstanceNorm2d, 1e-5, []),
    ],
)
def test_get_norm(name, kind, eps, keys):
    norm = get_norm(name, 64)
    assert type(norm) is kind
    assert norm.eps == eps
    assert list(norm.state_dict()) == keys
    assert not norm.training
    assert norm(random(2, 64, 1, 3)).shape == (2, 64, 1, 3)


def test_unknown_name():
    with pytest.raises(ConfigError, match=r"'batchnorm'.*FrozenBN"):
        get_norm("batchnorm", 4)


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (1, 3, 1, 1), (2, 3, 4, 5)])
@pytest.mark.parametrize("name", ["FrozenBN", *BATCH_NORMS])
def test_batch_norm_uses_stored_statistics(name, shape):
    norm = randomise(get_norm(name, 3))
    x = random(*shape, seed=9)
    scale = norm.weight / torch.sqrt(norm.running_var + 1e-5)
    expected = (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


def test_fresh_frozen_batch_norm_is_the_identity():
    norm = FrozenBatchNorm2d(3)
    x = random(2, 3, 4, 5)
    assert torch.equal(norm(x), x)
    assert torch.equal(norm.running_var, torch.ones(3) - 1e-5)
    assert list(norm.parameters()) == []
    norm.running_var.fill_(1)  # what a file without statistics stands for
    torch.testing.assert_close(norm(x), x / (1 + 1e-5) ** 0.5, rtol=1e-7, atol=0)
    assert not torch.equal(norm(x), x)


def test_frozen_batch_norm_shows_its_arguments():
    assert repr(FrozenBatchNorm2d(3, eps=0.001)) == "FrozenBatchNorm2d(3, eps=0.001)"


def test_group_norm_has_32_groups():
    norm = randomise(get_norm("GN", 64))
    x = random(2, 64, 3, 2)
    groups = x.view(2, 32, -1)  # two channels each
    spread = (groups.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
    expected = ((groups - groups.mean(2, keepdim=True)) / spread).view_as(x)
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("shape", [(3, 64), (2, 64, 5), (2, 64, 2, 3), (1, 64, 2, 3, 4)])
def test_group_norm_in_channels_last_order(shape):
    norm = randomise(get_norm("GN", 64))
    x = random(*shape)
    torch.testing.assert_close(ChannelsLastGroupNorm(norm)(x), norm(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("shape", [(0, 6, 2, 2), (1, 6, 1, 1), (2, 6, 4, 5)])
def test_layer_norm_is_over_the_channels_of_a_pixel(shape, exact):
    norm = randomise(LayerNorm2d(6))
    norm.exact = exact
    x = random(*shape, seed=9)
    expected = F.layer_norm(x.permute(0, 2, 3, 1), (6,), norm.weight, norm.bias, 1e-6).permute(0, 3, 1, 2)
    torch.testing.assert_close(norm(x), expected)


def test_layer_norm_epsilon():
    x = torch.tensor([1e-3, -1e-3]).view(1, 2, 1, 1)  # variance 1e-6, as large as epsilon
    assert LayerNorm2d(2)(x).flatten().tolist() == pytest.approx([0.5**0.5, -(0.5**0.5)], rel=1e-5)
