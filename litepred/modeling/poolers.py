"""Regions of interest out of feature maps, each from the level that suits its size.

N images, R boxes over all images, S × S cells of the result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..errors import ConfigError, LitepredError, whole_number
from ..layers import InferenceModule, roi_align_rotated
from ..layers.operators import roi_align
from ..layers.roi_align import roi_align_channels_last
from ..structures import Boxes, boxes_of

__all__ = ["ROIPooler"]


def assign_boxes_to_levels(
    box_lists: Sequence[Boxes],
    min_level: int,
    max_level: int,
    canonical_box_size: float,
    canonical_level: int,
    slack: tuple[float, float] = (1e-8, 0.0),
) -> Tensor:
    """Return for each of R boxes the index of its pyramid level, counted from ``min_level``: int64 (R,).

    A box of side ``canonical_box_size`` belongs to ``canonical_level``; twice the side is one level up (FPN, eq. 1).
    ``slack`` is added to the relative side and to the level: boxes at a boundary go up, each library in its own way.
    """
    side = torch.sqrt(torch.cat([boxes.area() for boxes in box_lists]))
    level = torch.floor(canonical_level + torch.log2(side / canonical_box_size + slack[0]) + slack[1])
    return level.clamp(min=min_level, max=max_level).to(torch.int64) - min_level


class ROIPooler(InferenceModule):
    """Pool boxes out of one or several feature maps.

    Args:
        output_size: S, or (height, width).
        scales: cells per pixel of each map, 1 / stride.
        sampling_ratio: samples per cell and side; 0 adapts it to the box.
        pooler_type: "ROIAlignV2" (pixel-exact), "ROIAlign" (shifted by half a cell, as Detectron1),
            "TorchvisionROIAlign" (the same, with torchvision's choice of level at boundaries), or "ROIAlignRotated"
            (for rotated boxes).
        canonical_box_size: see `assign_boxes_to_levels`.
        canonical_level: see `assign_boxes_to_levels`.

    Attributes:
        exact: whether to pool with torchvision's own operator, or faster where there is another, to rounding the same.

    Raises:
        ConfigError: for another type, a number that is out of its range, or scales that are not consecutive powers of
            two.
    """

    exact = True

    def __init__(
        self,
        output_size: int | tuple[int, int],
        scales: Sequence[float],
        sampling_ratio: float,
        pooler_type: str,
        canonical_box_size: float = 224,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        height, width = (output_size, output_size) if not isinstance(output_size, (tuple, list)) else output_size
        self.output_size = (whole_number("POOLER_RESOLUTION", height), whole_number("POOLER_RESOLUTION", width))
        self.scales = list(scales)
        if isinstance(sampling_ratio, float) and float(sampling_ratio).is_integer():  # as programs give it
            sampling_ratio = int(sampling_ratio)
        self.sampling_ratio = whole_number("POOLER_SAMPLING_RATIO", sampling_ratio, least=None)
        types = ("ROIAlignV2", "ROIAlign", "TorchvisionROIAlign", "ROIAlignRotated")
        if pooler_type not in types:
            raise ConfigError(f"POOLER_TYPE is {pooler_type!r}: expected one of {', '.join(types)}")
        self.aligned = pooler_type == "ROIAlignV2"
        self.box_dim = 5 if pooler_type == "ROIAlignRotated" else 4
        self._slack = (0.0, 1e-6) if pooler_type == "TorchvisionROIAlign" else (1e-8, 0.0)
        levels = [-math.log2(scale) for scale in scales]
        if any(level != round(level) for level in levels) or any(b - a != 1 for a, b in itertools.pairwise(levels)):
            raise ConfigError(f"cannot pool from maps of scale {self.scales}: expected consecutive powers of 1/2")
        self.min_level, self.max_level = int(levels[0]), int(levels[-1])
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level

    @property
    def level_poolers(self) -> list[Callable[[Tensor, Tensor], Tensor]]:
        """What pools regions out of the map of each level, for subclasses that choose the levels themselves.

        Each takes a map (N, C, H, W), and rows of an image's index and a box in input pixels, (R, 5 or 6).
        """
        return [partial(self._pool, scale=scale) for scale in self.scales]

    def forward(self, x: Sequence[Tensor], box_lists: Sequence[Boxes]) -> Tensor:
        """Pool from ``x``, L maps (N, C, H, W), the boxes of N images, in input pixels.

        Returns:
            (R, C, S, S), in the order of the boxes, image after image.

        Raises:
            LitepredError: when the maps are not as many as the scales, or the lists of boxes not as many as the images,
                or the boxes are rotated and the pooler is not, or the other way round.
        """
        if len(x) != len(self.scales) or len(box_lists) != len(x[0]):
            raise LitepredError(
                f"{len(x)} maps of {len(x[0]) if x else 0} images came with boxes of "
                f"{len(box_lists)} images: expected {len(self.scales)} maps, and one list of boxes per image"
            )
        if not box_lists:
            return x[0].new_zeros(0, x[0].shape[1], *self.output_size)
        if box_lists[0].tensor.shape[1] != self.box_dim:
            raise LitepredError(
                f"boxes of {box_lists[0].tensor.shape[1]} numbers came to a pooler of boxes of {self.box_dim}: "
                "POOLER_TYPE ROIAlignRotated goes with RRPN and RROIHeads, and the others with upright boxes"
            )
        image_index = torch.cat([torch.full_like(boxes.tensor[:, :1], i) for i, boxes in enumerate(box_lists)])
        rois = torch.cat([image_index, torch.cat([boxes.tensor for boxes in box_lists])], dim=1)  # (R, 5 or 6)
        # Where a box is not finite, sampling would not end; an empty one pools nothing.
        rois[:, 1:].masked_fill_(~torch.isfinite(rois[:, 1:]).all(dim=1, keepdim=True), 0.0)
        # Half precision would round the boxes to whole pixels and more.
        features = [feature.float() if feature.dtype.itemsize < 4 else feature for feature in x]
        rois = rois.to(features[0].dtype)
        if len(features) == 1:
            return self._pool(features[0], rois, self.scales[0])
        pyramid = (self.min_level, self.max_level, self.canonical_box_size, self.canonical_level, self._slack)
        level = assign_boxes_to_levels([boxes_of(rois[:, 1:])], *pyramid)
        if rois.device.type != "cpu":
            return self._pool_each_level_whole(features, rois, level)
        channels_last = not self.exact and features[0].is_contiguous(memory_format=torch.channels_last)
        pooled = torch.empty(
            (rois.shape[0], features[0].shape[1], *self.output_size),
            dtype=features[0].dtype,
            device=rois.device,
            memory_format=torch.channels_last if channels_last else torch.contiguous_format,
        ).zero_()
        for i, (feature, scale) in enumerate(zip(features, self.scales)):
            index = torch.nonzero(level == i)[:, 0]
            pooled.index_put_((index,), self._pool(feature, rois[index], scale))
        return pooled

    def _pool_each_level_whole(self, features: Sequence[Tensor], rois: Tensor, level: Tensor) -> Tensor:
        """Pool all ``rois`` from each level, those of other levels as empty boxes, and take each from its own.

        An accelerator does so faster than its host can ask it which boxes are a level's.
        """
        pooled = rois.new_zeros(())
        for i, (feature, scale) in enumerate(zip(features, self.scales)):
            is_own = (level == i)[:, None]
            own = torch.cat([rois[:, :1], rois[:, 1:] * is_own], dim=1)
            pooled = torch.where(is_own[:, :, None, None], self._pool(feature, own, scale), pooled)
        return pooled

    def _pool(self, feature: Tensor, rois: Tensor, scale: float) -> Tensor:
        """Pool ``rois`` (R, 5 or 6), index of the image and a box in input pixels, out of one map."""
        if self.box_dim == 5:
            return roi_align_rotated(feature, rois, self.output_size, scale, self.sampling_ratio, self.exact)
        torchvisions = self.exact or feature.device.type != "cpu" or torch.compiler.is_compiling()
        align = roi_align if torchvisions else roi_align_channels_last
        return align(feature, rois, self.output_size, scale, self.sampling_ratio, self.aligned)
