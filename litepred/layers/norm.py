"""Normalisation layers as they behave at inference, and their choice by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError

__all__ = ["FrozenBatchNorm2d", "LayerNorm2d", "Norm", "get_norm"]

Norm = str | Callable[[int], nn.Module] | None


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
        self.num_features, self.eps = num_features, eps
        one, zero = torch.ones(num_features), torch.zeros(num_features)
        for name, start in {"weight": one, "bias": zero, "running_mean": zero, "running_var": one - eps}.items():
            self.register_buffer(name, start.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (N, C, H, W) channel by channel."""
        statistics = (self.running_mean, self.running_var)
        return F.batch_norm(x, *statistics, weight=self.weight, bias=self.bias, eps=self.eps)

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Replace every batch norm in ``module``; return ``module``, or its replacement when it is a norm itself."""
        holder = nn.ModuleList([module])
        for parent in list(holder.modules()):
            for name, norm in list(parent.named_children()):
                if isinstance(norm, (nn.BatchNorm2d, nn.SyncBatchNorm)):
                    frozen = cls(norm.num_features, norm.eps)
                    frozen.load_state_dict(norm.state_dict(), strict=False)
                    parent.add_module(name, frozen.to(next(norm.buffers()).device))
        return holder[0]

    def extra_repr(self) -> str:
        """Show the constructor's arguments in the module's printed form."""
        return f"{self.num_features}, eps={self.eps}"


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of each pixel.

    Attributes:
        exact: whether to keep the reference's order of operations, or compute faster, to rounding the same.
    """

    exact = True

    def __init__(self, num_features: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (N, C, H, W) over C."""
        if not self.exact:
            pixels = x.permute(0, 2, 3, 1)
            return F.layer_norm(pixels, self.weight.shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)
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

    def plain_module(self) -> nn.GroupNorm:
        """Return torch's own norm, with the weights of this one."""
        norm = nn.GroupNorm(self.num_groups, len(self.weight), self.eps).eval()
        norm.weight, norm.bias = self.weight, self.bias
        return norm

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (N, C, H, W), or of other dimensions behind C, over each group of channels."""
        if x.ndim != 4:
            return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
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


# The synchronised variants only differ while training: in evaluation they are plain batch normalisation.
_NORMS: dict[str, Callable[[int], nn.Module]] = {
    **dict.fromkeys(("BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N"), nn.BatchNorm2d),
    "FrozenBN": FrozenBatchNorm2d,
    "FrozenBNWithoutEps": partial(FrozenBatchNorm2d, eps=0.0),  # of torchvision's released detectors
    "GN": partial(nn.GroupNorm, 32),
    "LN": LayerNorm2d,
}


def get_norm(norm: Norm, out_channels: int) -> nn.Module | None:
    """Build the normalisation layer that a config's ``NORM`` value names, in evaluation mode.

    Args:
        norm: a name such as ``"BN"``, ``"FrozenBN"`` or ``"GN"``; a callable that takes the number of channels;
            ``""`` or ``None`` for no normalisation.
        out_channels: channels of the map to be normalised.

    Raises:
        ConfigError: for an unknown name.
    """
    if not norm:
        return None
    make = _NORMS.get(norm) if isinstance(norm, str) else norm
    if not callable(make):
        raise ConfigError(f"unknown normalisation {norm!r}: expected '' or one of {', '.join(_NORMS)}")
    return make(out_channels).eval()
