"""DensePose's last layers, which turn the features of boxes into maps of segmentation, coordinates and confidences.

D detections over all images, S × S cells of their features, M × M = 2·s·S × 2·s·S map cells, s being the upscaling.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..config import CfgNode, configurable
from ..errors import ConfigError
from ..layers import InferenceModule
from ..modeling.registry import Registry
from .structures import DensePoseChartPredictorOutput, DensePoseChartPredictorOutputWithConfidences

__all__ = ["DENSEPOSE_PREDICTOR_REGISTRY", "DensePoseChartPredictor", "DensePoseChartWithConfidencePredictor"]

DENSEPOSE_PREDICTOR_REGISTRY = Registry("DENSEPOSE_PREDICTOR_REGISTRY", "MODEL.ROI_DENSEPOSE_HEAD.PREDICTOR_NAME")

_UV_CONFIDENCES = {"iid_iso": ("sigma_2",), "indep_aniso": ("sigma_2", "kappa_u", "kappa_v")}


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
