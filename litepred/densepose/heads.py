"""DensePose's heads, which turn pooled boxes into the features that the maps are predicted from (Güler et al. 2018).

D detections over all images, S × S cells of a pooled box, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import CfgNode, configurable
from ..errors import ConfigError
from ..layers import Conv2d, InferenceModule, get_norm
from ..modeling.registry import Registry

__all__ = ["ROI_DENSEPOSE_HEAD_REGISTRY", "DensePoseDeepLabHead", "DensePoseV1ConvXHead"]

ROI_DENSEPOSE_HEAD_REGISTRY = Registry("ROI_DENSEPOSE_HEAD_REGISTRY", "MODEL.ROI_DENSEPOSE_HEAD.NAME")


@ROI_DENSEPOSE_HEAD_REGISTRY.register()
class DensePoseV1ConvXHead(InferenceModule):
    """A stack of convolutions.

    Args:
        input_channels: channels of the pooled boxes.
        conv_dim: channels of each convolution's output.
        num_convs: number of convolutions.
        kernel_size: side of each convolution's kernel.
        norm: name of the norm after each convolution, as `get_norm` takes it.

    Attributes:
        n_out_channels: channels of the result.
    """

    @configurable
    def __init__(
        self, input_channels: int, *, conv_dim: int, num_convs: int, kernel_size: int = 3, norm: str = ""
    ) -> None:
        super().__init__()
        self._convs = [f"body_conv_fcn{i + 1}" for i in range(num_convs)]
        for name in self._convs:
            padding, norm_layer = kernel_size // 2, get_norm(norm, conv_dim)
            conv = Conv2d(input_channels, conv_dim, kernel_size, padding=padding, bias=not norm, norm=norm_layer)
            conv.activation = F.relu_
            self.add_module(name, conv)
            input_channels = conv_dim
        self.n_out_channels = input_channels

    @classmethod
    def from_config(cls, cfg: CfgNode, input_channels: int) -> dict[str, Any]:
        """Translate ``MODEL.ROI_DENSEPOSE_HEAD`` into arguments."""
        head = cfg.MODEL.ROI_DENSEPOSE_HEAD
        return {
            "input_channels": input_channels,
            "conv_dim": head.CONV_HEAD_DIM,
            "num_convs": head.NUM_STACKED_CONVS,
            "kernel_size": head.CONV_HEAD_KERNEL,
        }

    def forward(self, features: Tensor) -> Tensor:
        """Map pooled boxes (D, C, S, S) to features (D, C', S, S)."""
        for name in self._convs:
            features = getattr(self, name)(features)
        return features


@ROI_DENSEPOSE_HEAD_REGISTRY.register()
class DensePoseDeepLabHead(DensePoseV1ConvXHead):
    """An atrous spatial pyramid, as in DeepLabv3 (Chen et al. 2017), and after it a stack of convolutions.

    Args:
        input_channels: channels of the pooled boxes.
        nonlocal_on: whether a non-local block follows the pyramid.
        **kwargs: see `DensePoseV1ConvXHead`.
    """

    @configurable
    def __init__(self, input_channels: int, *, nonlocal_on: bool = False, **kwargs: Any) -> None:
        super().__init__(input_channels, **kwargs)
        self.ASPP = _AtrousPyramid(input_channels, (6, 12, 56))
        if nonlocal_on:
            self.NLBlock = _NonLocalBlock(input_channels)
        self.nonlocal_on = nonlocal_on

    @classmethod
    def from_config(cls, cfg: CfgNode, input_channels: int) -> dict[str, Any]:
        """Translate ``MODEL.ROI_DENSEPOSE_HEAD`` into arguments."""
        section = cfg.MODEL.ROI_DENSEPOSE_HEAD.DEEPLAB
        if section.NORM not in ("GN", "", None):
            raise ConfigError(f"MODEL.ROI_DENSEPOSE_HEAD.DEEPLAB.NORM is {section.NORM!r}: expected 'GN' or ''")
        arguments = super().from_config(cfg, input_channels)
        return arguments | {"norm": section.NORM or "", "nonlocal_on": bool(section.NONLOCAL_ON)}

    def forward(self, features: Tensor) -> Tensor:
        """Map pooled boxes (D, C, S, S) to features (D, C', S, S)."""
        features = self.ASPP(features)
        if self.nonlocal_on:
            features = self.NLBlock(features)
        return super().forward(features)


class _AtrousPyramid(InferenceModule):
    """Five views of each cell's surroundings: itself, three rings at growing distance, the whole box."""

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        rings = [nn.Conv2d(channels, channels, 3, padding=d, dilation=d, bias=False) for d in dilations]
        cell, box = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(2))
        views: list[tuple[nn.Module, ...]] = [(cell,), *((ring,) for ring in rings), (nn.AdaptiveAvgPool2d(1), box)]
        self.convs = nn.ModuleList(nn.Sequential(*layers, nn.GroupNorm(32, channels), nn.ReLU()) for layers in views)
        self.project = nn.Sequential(nn.Conv2d(5 * channels, channels, 1, bias=False), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map (D, C, S, S) to the same shape."""
        *views, whole = (conv(x) for conv in self.convs)
        whole = F.interpolate(whole, x.shape[2:], mode="bilinear", align_corners=False)  # copies its only cell
        return self.project(torch.cat([*views, whole], dim=1))


class _NonLocalBlock(InferenceModule):
    """Each cell looks at all others (embedded Gaussian; Wang et al. 2018), at half the resolution and half of C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.MaxPool2d(2))
        self.g = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.MaxPool2d(2))
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.GroupNorm(32, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (D, C, S, S) to the same shape."""
        queries = self.theta(x).flatten(2).transpose(1, 2)  # (D, S·S, C / 2)
        attention = (queries @ self.phi(x).flatten(2)).softmax(dim=-1)  # (D, S·S, S·S / 4)
        seen = (attention @ self.g(x).flatten(2).transpose(1, 2)).transpose(1, 2)  # (D, C / 2, S·S)
        return self.W(seen.unflatten(2, x.shape[2:])) + x
