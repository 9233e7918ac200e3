"""Normalisation layers as they behave at inference, and their choice by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError

__all__ = ["ChannelsLastGroupNorm", "FrozenBatchNorm2d", "LayerNorm2d", "get_norm"]


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with stored statistics; scale and shift are buffers too.

    A freshly built layer is the exact identity: its variance is ``1 - eps``.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features) - eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (N, C, H, W) channel by channel."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Replace every batch norm in ``module`` by a frozen one; returns it, or the new one if it is a norm itself."""
        if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)):
            frozen = cls(module.num_features, module.eps)
            frozen.load_state_dict(module.state_dict(), strict=False)
            return frozen.to(next(module.buffers()).device)
        for name, child in module.named_children():
            module.add_module(name, cls.convert_frozen_batchnorm(child))
        return module

    def extra_repr(self) -> str:
        """Show the constructor's arguments in the module's printed form."""
        return f"{self.num_features}, eps={self.eps}"


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, num_features: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (N, C, H, W) over C."""
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class ChannelsLastGroupNorm(nn.Module):
    """Group normalisation for maps in channels-last order, made from an ``nn.GroupNorm``.

    torch's own is forty times less exact in that order: it subtracts large sums of squares.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.num_groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (N, C, H, W) over each group of channels."""
        n, channels, height, width = x.shape
        per_group = channels // self.num_groups

        def group_mean(of_channels: Tensor) -> Tensor:  # (N, C) to (N, 1, C)
            means = of_channels.view(n, self.num_groups, per_group).mean(dim=2)
            return means.repeat_interleave(per_group, dim=1)[:, None]

        pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
        centred = pixels - group_mean(pixels.mean(dim=1))
        variance = group_mean(centred.square().mean(dim=1))
        centred.mul_(self.weight * torch.rsqrt(variance + self.eps)).add_(self.bias)
        return centred.view(n, height, width, channels).permute(0, 3, 1, 2)


def _group_norm(num_channels: int) -> nn.Module:
    return nn.GroupNorm(32, num_channels)


# The synchronised variants only differ while training: in evaluation they are plain batch normalisation.
_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.BatchNorm2d,
    "nnSyncBN": nn.BatchNorm2d,
    "naiveSyncBN": nn.BatchNorm2d,
    "naiveSyncBN_N": nn.BatchNorm2d,
    "FrozenBN": FrozenBatchNorm2d,
    "FrozenBNWithoutEps": partial(FrozenBatchNorm2d, eps=0.0),  # of torchvision's released detectors
    "GN": _group_norm,
    "LN": LayerNorm2d,
}


def get_norm(norm: str | Callable[[int], nn.Module] | None, num_channels: int) -> nn.Module | None:
    """Build the normalisation layer that a config's ``NORM`` value names, in evaluation mode.

    Args:
        norm: a name such as ``"BN"``, ``"FrozenBN"`` or ``"GN"``; a callable that takes the number of channels;
            ``""`` or ``None`` for no normalisation.
        num_channels: channels of the map to be normalised.

    Raises:
        ConfigError: for an unknown name.
    """
    if not norm:
        return None
    if isinstance(norm, str):
        if norm not in _NORMS:
            raise ConfigError(f"unknown normalisation {norm!r}: expected '' or one of {', '.join(_NORMS)}")
        norm = _NORMS[norm]
    return norm(num_channels).eval()
