"""The layers between a pooled box and its predictors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ...config import CfgNode, configurable
from ...errors import ConfigError
from ...layers import Conv2d, InferenceModule, ShapeSpec, get_norm
from ..build import ROI_BOX_HEAD_REGISTRY

__all__ = ["FastRCNNConvFCHead"]


@ROI_BOX_HEAD_REGISTRY.register()
class FastRCNNConvFCHead(InferenceModule):
    """3×3 convolutions, then fully connected layers, each followed by ReLU.

    Args:
        input_shape: of the pooled boxes: channels, height, width.
        conv_dims: output channels of each convolution.
        fc_dims: outputs of each fully connected layer.
        conv_norm: as `get_norm` takes it.
    """

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, conv_dims: Sequence[int], fc_dims: Sequence[int], conv_norm: Any = ""
    ) -> None:
        super().__init__()
        if not conv_dims and not fc_dims:
            raise ConfigError("MODEL.ROI_BOX_HEAD has NUM_CONV 0 and NUM_FC 0: expected at least one layer")
        channels, height, width = input_shape.channels or 0, input_shape.height or 1, input_shape.width or 1
        self._convs: list[str] = []
        self._fcs: list[str] = []
        for i, dim in enumerate(conv_dims, 1):
            norm = get_norm(conv_norm, dim)
            conv = Conv2d(channels, dim, 3, padding=1, bias=norm is None, norm=norm, activation=F.relu_)
            self.add_module(f"conv{i}", conv)
            self._convs.append(f"conv{i}")
            channels = dim
        self.flatten = nn.Flatten()
        self.pooled_channels = channels  # of the map that is flattened
        self._output = ShapeSpec(channels=channels, height=height, width=width)
        inputs = channels * height * width
        for i, dim in enumerate(fc_dims, 1):
            self.add_module(f"fc{i}", nn.Linear(inputs, dim))
            self._fcs.append(f"fc{i}")
            inputs = dim
            self._output = ShapeSpec(channels=dim)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Translate ``MODEL.ROI_BOX_HEAD`` into arguments."""
        head = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "conv_dims": [head.CONV_DIM] * head.NUM_CONV,
            "fc_dims": [head.FC_DIM] * head.NUM_FC,
            "conv_norm": head.NORM,
        }

    @property
    def output_shape(self) -> ShapeSpec:
        """What `forward` returns: channels alone behind a fully connected layer, else a map."""
        return self._output

    def forward(self, x: Tensor) -> Tensor:
        """Map pooled boxes (R, C, S, S) to features (R, D), or (R, C', S, S) without fully connected layers."""
        for name in self._convs:
            x = getattr(self, name)(x)
        if self._fcs:
            x = self.flatten(x)  # (R, C·S·S)
        for name in self._fcs:
            x = F.relu_(getattr(self, name)(x))
        return x
