"""Layers and small functions on tensors that custom parts are made of, and that litepred's own models do not need."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import RoIAlign
from torchvision.ops import batched_nms as _batched_nms

from ..layers import FrozenBatchNorm2d, InferenceModule


class CNNBlockBase(InferenceModule):
    """A block of a backbone, which knows its channels, and how many cells of its input make one of its output."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride

    def freeze(self) -> CNNBlockBase:
        """Make batch norms constant and take the gradients away; returns the block itself."""
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self.requires_grad_(False)


class ROIAlign(RoIAlign):
    """torchvision's RoIAlign, whose coordinates are shifted by half a cell unless ``aligned`` is false."""

    def __init__(
        self, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool = True
    ) -> None:
        super().__init__(output_size, spatial_scale, sampling_ratio, aligned)

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool regions (R, 5), image's index and x1 y1 x2 y2, which are brought to the type of ``input``."""
        return super().forward(input, rois.to(input.dtype))


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress, class by class, the boxes (N, 4) that overlap better ones, as torchvision does; but in float32."""
    return _batched_nms(boxes.float(), scores, idxs, iou_threshold)


def shapes_to_tensor(x: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Return a list of numbers as an int64 tensor."""
    return torch.as_tensor(x, device=device)


def move_device_like(src: Tensor, dst: Tensor) -> Tensor:
    """Return ``src`` on the device of ``dst``."""
    return src.to(dst.device)
