"""DensePose's heads, which turn pooled boxes into features, and its predictors, which turn those into maps.

The maps are of segmentation, of coordinates and of confidences in both (Güler et al. 2018). D detections over all
images, S × S cells of a pooled box, C channels, M × M = 2·s·S × 2·s·S map cells, s being the upscaling.
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
from .structures import DensePoseChartPredictorOutput, DensePoseChartPredictorOutputWithConfidences

__all__ = [
    "DENSEPOSE_PREDICTOR_REGISTRY",
    "ROI_DENSEPOSE_HEAD_REGISTRY",
    "DensePoseChartPredictor",
    "DensePoseChartWithConfidencePredictor",
    "DensePoseDeepLabHead",
    "DensePoseV1ConvXHead",
]

ROI_DENSEPOSE_HEAD_REGISTRY = Registry("ROI_DENSEPOSE_HEAD_REGISTRY", "MODEL.ROI_DENSEPOSE_HEAD.NAME")
DENSEPOSE_PREDICTOR_REGISTRY = Registry("DENSEPOSE_PREDICTOR_REGISTRY", "MODEL.ROI_DENSEPOSE_HEAD.PREDICTOR_NAME")
_UV_CONFIDENCES = {"iid_iso": ("sigma_2",), "indep_aniso": ("sigma_2", "kappa_u", "kappa_v")}


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


@DENSEPOSE_PREDICTOR_REGISTRY.register()
class DensePoseChartPredictor(InferenceModule):
    """Predicts segmentation, and coordinates on charts of the body's surface.

    Args:
        input_channels: channels of the features.
        num_patches: parts of the body, each with a chart.
        num_coarse: channels of the coarse segmentation.
        kernel_size: side of the kernels of the transposed convolutions, which double the resolution.
        scale_factor: s, by which the resolution is multiplied further.
    """

    @configurable
    def __init__(
        self,
        input_channels: int,
        *,
        num_patches: int = 24,
        num_coarse: int = 2,
        kernel_size: int = 4,
        scale_factor: int = 2,
    ) -> None:
        super().__init__()
        self._kernel_size = kernel_size
        self._input_channels = input_channels
        self.scale_factor = scale_factor
        self.ann_index_lowres = self._deconv(num_coarse)
        self.index_uv_lowres = self._deconv(num_patches + 1)
        self.u_lowres = self._deconv(num_patches + 1)
        self.v_lowres = self._deconv(num_patches + 1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_channels: int) -> dict[str, Any]:
        """Translate ``MODEL.ROI_DENSEPOSE_HEAD`` into arguments."""
        head = cfg.MODEL.ROI_DENSEPOSE_HEAD
        return {
            "input_channels": input_channels,
            "num_patches": head.NUM_PATCHES,
            "num_coarse": head.NUM_COARSE_SEGM_CHANNELS,
            "kernel_size": head.DECONV_KERNEL,
            "scale_factor": head.UP_SCALE,
        }

    def _deconv(self, channels: int) -> nn.ConvTranspose2d:
        padding = int(self._kernel_size / 2 - 1)
        return nn.ConvTranspose2d(self._input_channels, channels, self._kernel_size, stride=2, padding=padding)

    def _maps(self, layer: nn.Module, features: Tensor) -> Tensor:
        maps = layer(features).float()
        return F.interpolate(maps, scale_factor=self.scale_factor, mode="bilinear", align_corners=False)

    def forward(self, head_outputs: Tensor) -> DensePoseChartPredictorOutput:
        """Map features (D, C, S, S) to maps (D, …, M, M)."""
        return DensePoseChartPredictorOutput(
            coarse_segm=self._maps(self.ann_index_lowres, head_outputs),
            fine_segm=self._maps(self.index_uv_lowres, head_outputs),
            u=self._maps(self.u_lowres, head_outputs),
            v=self._maps(self.v_lowres, head_outputs),
        )


@DENSEPOSE_PREDICTOR_REGISTRY.register()
class DensePoseChartWithConfidencePredictor(DensePoseChartPredictor):
    """Predicts confidences too (Neverova et al. 2019, Sanakoyeu et al. 2020), each of which is optional.

    Args:
        input_channels: channels of the features.
        uv_confidence: ``""`` for none, "iid_iso" for ``sigma_2``, "indep_aniso" for ``kappa_u`` and ``kappa_v`` too.
        segm_epsilon: the least confidence of the segmentations, ``None`` for no such confidences.
        **kwargs: see `DensePoseChartPredictor`.

    Raises:
        ConfigError: ``uv_confidence`` is none of these.
    """

    @configurable
    def __init__(
        self, input_channels: int, *, uv_confidence: str = "", segm_epsilon: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(input_channels, **kwargs)
        if uv_confidence and uv_confidence not in _UV_CONFIDENCES:
            raise ConfigError(
                f"MODEL.ROI_DENSEPOSE_HEAD.UV_CONFIDENCE.TYPE is {uv_confidence!r}: "
                f"expected one of {', '.join(_UV_CONFIDENCES)}"
            )
        self.uv_confidences = _UV_CONFIDENCES.get(uv_confidence, ())
        self.segm_epsilon = segm_epsilon
        for name in self.uv_confidences:
            self.add_module(f"{name}_lowres", self._deconv(self.u_lowres.out_channels))
        if segm_epsilon is not None:
            self.fine_segm_confidence_lowres = self._deconv(1)
            self.coarse_segm_confidence_lowres = self._deconv(1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_channels: int) -> dict[str, Any]:
        """Translate ``MODEL.ROI_DENSEPOSE_HEAD`` into arguments."""
        head = cfg.MODEL.ROI_DENSEPOSE_HEAD
        return super().from_config(cfg, input_channels) | {
            "uv_confidence": head.UV_CONFIDENCE.TYPE if head.UV_CONFIDENCE.ENABLED else "",
            "segm_epsilon": head.SEGM_CONFIDENCE.EPSILON if head.SEGM_CONFIDENCE.ENABLED else None,
        }

    def forward(self, head_outputs: Tensor) -> DensePoseChartPredictorOutputWithConfidences:
        """Map features (D, C, S, S) to maps (D, …, M, M); segmentations come multiplied by their confidence."""
        output = DensePoseChartPredictorOutputWithConfidences(**vars(super().forward(head_outputs)))
        for name in self.uv_confidences:
            setattr(output, name, self._maps(getattr(self, f"{name}_lowres"), head_outputs))
        if self.segm_epsilon is not None:
            fine = F.softplus(self._maps(self.fine_segm_confidence_lowres, head_outputs)) + self.segm_epsilon
            coarse = F.softplus(self._maps(self.coarse_segm_confidence_lowres, head_outputs)) + self.segm_epsilon
            output.fine_segm_confidence, output.fine_segm = fine, output.fine_segm * fine
            output.coarse_segm_confidence, output.coarse_segm = coarse, output.coarse_segm * coarse
        return output
