"""The base of a backbone's blocks."""

from __future__ import annotations

from typing import TypeVar

from .module import InferenceModule
from .norm import FrozenBatchNorm2d

__all__ = ["CNNBlockBase"]

_Self = TypeVar("_Self", bound="CNNBlockBase")


class CNNBlockBase(InferenceModule):
    """A block of a backbone, which knows its channels, and how many cells of its input make one of its output."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride

    def freeze(self: _Self) -> _Self:
        """Make batch norms constant and take the gradients away; returns the block itself."""
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self.requires_grad_(False)
