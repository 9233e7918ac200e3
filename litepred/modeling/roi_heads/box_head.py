"""The layers between a pooled box and its predictors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ...config import CfgNode, configurable
from ...errors import ConfigError, whole_number
from ...layers import InferenceModule, Norm, ShapeSpec, add_convs
from ..build import ROI_BOX_HEAD_REGISTRY

__all__ = ["FastRCNNConvFCHead"]


@ROI_BOX_HEAD_REGISTRY.register()
class FastRCNNConvFCHead(InferenceModule):
    """3×3 convolutions, then fully connected layers, each followed by ReLU.

    Args:
        input_shape: channels, height and width of the pooled boxes.
        conv_dims: output channels of each convolution.
        fc_dims: outputs of each fully connected layer.
        conv_norm: as `get_norm` takes it.

    Attributes:
        conv_names: the names of the convolutions, in order.
        fc_names: the names of the fully connected layers, in order.
        flattened_channels: channels of the map that the first fully connected layer reads.

    Raises:
        ConfigError: when there is no layer, or one without outputs.
    """

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, conv_dims: Sequence[int], fc_dims: Sequence[int], conv_norm: Norm = ""
    ) -> None:
        super().__init__()
        if not conv_dims and not fc_dims:
            raise ConfigError("MODEL.ROI_BOX_HEAD has NUM_CONV 0 and NUM_FC 0: expected at least one layer")
        height, width = input_shape.height or 1, input_shape.width or 1
        self.conv_names = add_convs(self, "conv", input_shape.channels or 0, conv_dims, conv_norm)
        self.flatten = nn.Flatten()
        self.flattened_channels = conv_dims[-1] if conv_dims else input_shape.channels or 0
        self._output = ShapeSpec(channels=self.flattened_channels, height=height, width=width)
        self.fc_names = [f"fc{i}" for i in range(1, len(fc_dims) + 1)]
        inputs = self.flattened_channels * height * width
        for name, dim in zip(self.fc_names, fc_dims):
            self.add_module(name, nn.Linear(inputs, whole_number("MODEL.ROI_BOX_HEAD.FC_DIM", dim)))
            self._output = ShapeSpec(channels=dim)
            inputs = dim

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Translate ``MODEL.ROI_BOX_HEAD`` into arguments."""
        head = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "conv_dims": [head.CONV_DIM] * whole_number("MODEL.ROI_BOX_HEAD.NUM_CONV", head.NUM_CONV, 0),
            "fc_dims": [head.FC_DIM] * whole_number("MODEL.ROI_BOX_HEAD.NUM_FC", head.NUM_FC, 0),
            "conv_norm": head.NORM,
        }

    @property
    def conv_norm_relus(self) -> list[nn.Module]:
        """The convolutions, in order."""
        return [getattr(self, name) for name in self.conv_names]

    @property
    def fcs(self) -> list[nn.Module]:
        """The fully connected layers, in order, without the ReLU that follows each."""
        return [getattr(self, name) for name in self.fc_names]

    @property
    def output_shape(self) -> ShapeSpec:
        """The shape of what `forward` returns: channels alone behind a fully connected layer, else those of a map."""
        return self._output

    def forward(self, x: Tensor) -> Tensor:
        """Map pooled boxes (R, C, S, S) to features (R, D), or (R, C', S, S) without fully connected layers."""
        for conv in self.conv_norm_relus:
            x = conv(x)
        if self.fc_names:
            x = self.flatten(x)  # (R, C·S·S)
        for fc in self.fcs:
            x = F.relu_(fc(x))
        return x
