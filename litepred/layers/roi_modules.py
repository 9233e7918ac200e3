"""ROIAlign as modules, upright (Mask R-CNN, He et al. 2017) and rotated.

R regions, S × S cells of the result, g samples per cell and axis.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

__all__ = ["ROIAlign", "ROIAlignRotated", "roi_align_rotated"]

Size = int | tuple[int, int]


class ROIAlign(nn.Module):
    """Pool regions (R, 5), index of the image and x1 y1 x2 y2, out of maps (N, C, H, W) to (R, C, S, S).

    Args:
        output_size: S, or (height, width).
        spatial_scale: cells of the map per pixel of the regions.
        sampling_ratio: g; 0 for as many as a cell covers pixels.
        aligned: whether coordinates are shifted by half a cell, as they should be; ``False`` is Detectron1's way.
    """

    def __init__(self, output_size: Size, spatial_scale: float, sampling_ratio: int, aligned: bool = True) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool; the regions are brought to the type of the map."""
        rois = rois.to(input.dtype)
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)

    def extra_repr(self) -> str:
        """Show the constructor's arguments in the module's printed form."""
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )


class ROIAlignRotated(nn.Module):
    """Pool rotated regions; see `roi_align_rotated`."""

    def __init__(self, output_size: Size, spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool out of ``input`` (N, C, H, W) to (R, C, S, S)."""
        return roi_align_rotated(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)

    def extra_repr(self) -> str:
        """Show the constructor's arguments in the module's printed form."""
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, sampling_ratio={self.sampling_ratio}"
        )


def roi_align_rotated(
    input: Tensor, rois: Tensor, output_size: Size, spatial_scale: float, sampling_ratio: int
) -> Tensor:
    """Pool regions that are turned about their centres, with bilinear samples.

    Args:
        input: (N, C, H, W) float.
        rois: (R, 6): index of the image, then a row as in `RotatedBoxes`.
        output_size: S, or (height, width).
        spatial_scale: cells of the map per pixel of the regions.
        sampling_ratio: g; 0 for as many as a cell covers pixels.

    Returns:
        (R, C, S, S).
    """
    rows, columns = (output_size, output_size) if isinstance(output_size, int) else output_size
    regions = rois.to(input.dtype)
    center = regions[:, 1:3] * spatial_scale - 0.5
    sides = regions[:, 3:5] * spatial_scale
    cell = sides / sides.new_tensor([columns, rows])
    samples = torch.full_like(cell, sampling_ratio) if sampling_ratio > 0 else cell.ceil()
    angle = regions[:, 5] * (math.pi / 180.0)
    out = input.new_zeros(len(rois), input.shape[1], rows, columns)
    for g_x, g_y in samples.unique(dim=0).int().tolist():
        if g_x <= 0 or g_y <= 0:  # an empty region pools nothing
            continue
        index = torch.nonzero((samples == samples.new_tensor([g_x, g_y])).all(dim=1))[:, 0]
        x = _positions(cell[index, 0], columns, g_x)[:, None]  # (R', 1, S·g)
        y = _positions(cell[index, 1], rows, g_y)[:, :, None]
        cos, sin = (f(angle[index])[:, None, None] for f in (torch.cos, torch.sin))
        at_x = center[index, 0, None, None] + y * sin + x * cos
        at_y = center[index, 1, None, None] + y * cos - x * sin
        values = _sample(input, regions[index, 0].long(), at_x, at_y)  # (R', C, S·g, S·g)
        pooled = values.unflatten(3, (columns, g_x)).unflatten(2, (rows, g_y)).mean(dim=(3, 5))
        out = out.index_copy(0, index, pooled)
    return out


def _positions(cell: Tensor, cells: int, samples: int) -> Tensor:
    """Where the samples of one axis lie, from the middle of the region: (R, cells · samples)."""
    steps = (torch.arange(cells * samples, device=cell.device, dtype=cell.dtype) + 0.5) / samples - cells / 2
    return cell[:, None] * steps


def _sample(maps: Tensor, image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sample ``maps`` bilinearly at ``x`` and ``y`` (R, …), 0 further than a cell outside: (R, C, …)."""
    height, width = maps.shape[2:]
    inside = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.floor().long(), y.floor().long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    part_x, part_y = x - left, y - top
    image = image[:, None, None]
    total = torch.zeros((), dtype=maps.dtype, device=maps.device)
    for row, weight_y in ((top, 1 - part_y), (bottom, part_y)):
        for column, weight_x in ((left, 1 - part_x), (right, part_x)):
            weight = (weight_y * weight_x * inside)[..., None]
            total = total + maps.permute(0, 2, 3, 1)[image, row, column] * weight
    return total.movedim(-1, 1)
