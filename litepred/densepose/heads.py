"""DensePose's heads, which turn pooled boxes into features, and its predictors, which turn those into maps.

The maps are of segmentation, of coordinates and of confidences in both (Güler et al. 2018). Each class is built from a
config, whose ``MODEL.ROI_DENSEPOSE_HEAD`` describes it, and from the number of its input's channels.

D detections over all images, S × S cells of a pooled box, C channels, M × M = 2·s·S × 2·s·S map cells, s being the
upscaling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import CfgNode
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
    """A stack of convolutions, each with a norm as `get_norm` takes it.

    Attributes:
        n_out_channels: channels of the result.
    """

    def __init__(self, cfg: CfgNode, input_channels: int, norm: str = "") -> None:
        super().__init__()
        head = cfg.MODEL.ROI_DENSEPOSE_HEAD
        channels, kernel_size = head.CONV_HEAD_DIM, head.CONV_HEAD_KERNEL
        self._convs = [f"body_conv_fcn{i + 1}" for i in range(head.NUM_STACKED_CONVS)]
        for name in self._convs:
            conv = Conv2d(input_channels, channels, kernel_size, padding=kernel_size // 2, bias=not norm)
            conv.norm, conv.activation = get_norm(norm, channels), F.relu_
            self.add_module(name, conv)
            input_channels = channels
        self.n_out_channels = input_channels

    def forward(self, features: Tensor) -> Tensor:
        """Map pooled boxes (D, C, S, S) to features (D, C', S, S)."""
        for name in self._convs:
            features = getattr(self, name)(features)
        return features


@ROI_DENSEPOSE_HEAD_REGISTRY.register()
class DensePoseDeepLabHead(DensePoseV1ConvXHead):
    """An atrous spatial pyramid, as in DeepLabv3 (Chen et al. 2017), and after it a stack of convolutions.

    Raises:
        ConfigError: ``DEEPLAB.NORM``, the norm of the convolutions, is neither GN nor empty.
    """

    def __init__(self, cfg: CfgNode, input_channels: int) -> None:
        section = cfg.MODEL.ROI_DENSEPOSE_HEAD.DEEPLAB
        if section.NORM not in ("GN", "", None):
            raise ConfigError(f"MODEL.ROI_DENSEPOSE_HEAD.DEEPLAB.NORM is {section.NORM!r}: expected 'GN' or ''")
        super().__init__(cfg, input_channels, section.NORM or "")
        self.ASPP = _AtrousPyramid(input_channels, (6, 12, 56))
        self.NLBlock = _NonLocalBlock(input_channels) if section.NONLOCAL_ON else None

    def forward(self, features: Tensor) -> Tensor:
        """Map pooled boxes (D, C, S, S) to features (D, C', S, S)."""
        features = self.ASPP(features)
        return super().forward(features if self.NLBlock is None else self.NLBlock(features))


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
    """Predicts segmentation, and coordinates on charts of the body's surface."""

    def __init__(self, cfg: CfgNode, input_channels: int) -> None:
        super().__init__()
        head = cfg.MODEL.ROI_DENSEPOSE_HEAD
        self._channels, self._kernel_size = input_channels, head.DECONV_KERNEL
        self.scale_factor = head.UP_SCALE
        self.ann_index_lowres = self._deconv(head.NUM_COARSE_SEGM_CHANNELS)
        self.index_uv_lowres = self._deconv(head.NUM_PATCHES + 1)
        self.u_lowres = self._deconv(head.NUM_PATCHES + 1)
        self.v_lowres = self._deconv(head.NUM_PATCHES + 1)

    def _deconv(self, channels: int) -> nn.ConvTranspose2d:
        padding = int(self._kernel_size / 2 - 1)
        return nn.ConvTranspose2d(self._channels, channels, self._kernel_size, stride=2, padding=padding)

    def _maps(self, layer: nn.Module, features: Tensor) -> Tensor:
        maps = layer(features).float()
        return F.interpolate(maps, scale_factor=self.scale_factor, mode="bilinear", align_corners=False)

    def forward(self, head_outputs: Tensor) -> DensePoseChartPredictorOutput:
        """Map features (D, C, S, S) to maps (D, …, M, M)."""
        layers = (self.ann_index_lowres, self.index_uv_lowres, self.u_lowres, self.v_lowres)
        return DensePoseChartPredictorOutput(*(self._maps(layer, head_outputs) for layer in layers))


@DENSEPOSE_PREDICTOR_REGISTRY.register()
class DensePoseChartWithConfidencePredictor(DensePoseChartPredictor):
    """Predicts confidences too (Neverova et al. 2019, Sanakoyeu et al. 2020), each of which is optional.

    With ``UV_CONFIDENCE``, of the type "iid_iso" they have ``sigma_2``, and of "indep_aniso" ``kappa_u`` and
    ``kappa_v`` too. ``SEGM_CONFIDENCE.EPSILON`` is the least confidence of the segmentations.

    Raises:
        ConfigError: the type is none of these.
    """

    def __init__(self, cfg: CfgNode, input_channels: int) -> None:
        super().__init__(cfg, input_channels)
        head = cfg.MODEL.ROI_DENSEPOSE_HEAD
        kind = head.UV_CONFIDENCE.TYPE if head.UV_CONFIDENCE.ENABLED else ""
        if kind and kind not in _UV_CONFIDENCES:
            expected = ", ".join(_UV_CONFIDENCES)
            raise ConfigError(f"MODEL.ROI_DENSEPOSE_HEAD.UV_CONFIDENCE.TYPE is {kind!r}: expected one of {expected}")
        self.uv_confidences = _UV_CONFIDENCES.get(kind, ())
        for name in self.uv_confidences:
            self.add_module(f"{name}_lowres", self._deconv(head.NUM_PATCHES + 1))
        self.segm_epsilon = head.SEGM_CONFIDENCE.EPSILON if head.SEGM_CONFIDENCE.ENABLED else None
        if self.segm_epsilon is not None:
            self.fine_segm_confidence_lowres = self._deconv(1)
            self.coarse_segm_confidence_lowres = self._deconv(1)

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
