"""What every backbone tells the rest of the model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from ...errors import ConfigError
from ...layers import InferenceModule, ShapeSpec

__all__ = ["Backbone"]


class Backbone(InferenceModule):
    """Images to named feature maps.

    A subclass sets the three attributes below, or overrides `output_shape`.
    """

    _out_features: list[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, int]
    _square_pad: int | None = None  # the side of the square that the input is padded to; 0 for none

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
        return {} if self._square_pad is None else {"square_size": self._square_pad}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map, by name."""
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }


class Stage(NamedTuple):
    """A part of a backbone, with the channels of its map, and the map's stride in pixels of the image."""

    module: nn.Module
    channels: int
    stride: int


class StagedBackbone(Backbone):
    """Stages in a row, each of which reads the map of the one before.

    Args:
        stages: the stages by the names of their maps, from fine to coarse.
        out_features: the names of the maps that are returned.
        config_key: what an error calls ``out_features``.

    Raises:
        ConfigError: when there is no wanted map, or one that no stage makes.
    """

    def __init__(self, stages: Mapping[str, Stage], out_features: Sequence[str], config_key: str) -> None:
        super().__init__()
        for name, stage in stages.items():
            self.add_module(name, stage.module)
        self._stages = list(stages)
        self._out_features = list(out_features)
        self._out_feature_channels = {name: stage.channels for name, stage in stages.items()}
        self._out_feature_strides = {name: stage.stride for name, stage in stages.items()}
        if not out_features or any(name not in self._stages for name in out_features):
            raise ConfigError(f"{config_key} is {self._out_features}: expected one or more of {self._stages}")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map normalised images (N, C, H, W) to the wanted feature maps.

        Raises:
            ValueError: when ``x`` is not four-dimensional.
        """
        if x.ndim != 4:
            raise ValueError(f"the backbone got a tensor of shape {tuple(x.shape)}: expected a batch, (N, C, H, W)")
        features = {}
        for name in self._stages:
            x = getattr(self, name)(x)
            if name in self._out_features:
                features[name] = x
        return features
