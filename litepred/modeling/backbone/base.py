"""What every backbone tells the rest of the model."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from ...layers import InferenceModule, ShapeSpec

__all__ = ["Backbone"]


class Backbone(InferenceModule):
    """Images to named feature maps.

    A subclass sets the three attributes below, or overrides `output_shape`.
    """

    _out_features: list[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, int]

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map normalised images (N, C, H, W) to feature maps by name."""

    @property
    def size_divisibility(self) -> int:
        """What the input's height and width must be multiples of; 0 when anything goes."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """Further wishes about padding: ``square_size`` asks for a square of that side."""
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map, by name."""
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }
