"""ROIAlign on maps in channels-last order: a cell of the result is a weighted sum of whole rows of channels.

R regions, S × S cells of the result, g samples per cell and axis.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["roi_align_channels_last"]

_MOST_SAMPLES = 2**12  # of one axis, to pack the sample counts of both axes into one number


def roi_align_channels_last(
    x: Tensor, rois: Tensor, output_size: tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Pool regions as ``torchvision.ops.roi_align`` does, several times faster on the CPU, to rounding the same.

    Regions whose cells have as many samples are pooled together. Where their number adapts to the region, the samples
    of a cell lie at most a pixel apart, so that g of them read only g + 1 pixels on each axis.

    Args:
        x: (N, C, H, W) float32, best in channels-last order.
        rois: (R, 5) float32: index of the image, x1 y1 x2 y2 in pixels of the network's input.
        output_size: (height, width) of the result.
        spatial_scale: cells of ``x`` per pixel.
        sampling_ratio: g; 0 for as many as the cell covers pixels.
        aligned: whether coordinates are shifted by half a pixel, as they should be.

    Returns:
        (R, C, height, width) in channels-last order.
    """
    channels, height, width = x.shape[1:]
    out = x.new_zeros(len(rois), *output_size, channels)
    table = x.permute(0, 2, 3, 1).reshape(-1, channels)  # (N·H·W, C)
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    start = corners[:, :2]
    sides = corners[:, 2:] - start  # (R, 2), x y
    if not aligned:
        sides = sides.clamp(min=1)
    cells = sides / sides.new_tensor([output_size[1], output_size[0]])
    samples = (
        torch.full_like(cells, sampling_ratio) if sampling_ratio > 0 else cells.ceil().clamp(max=_MOST_SAMPLES - 1)
    )
    group = torch.where((samples > 0).all(dim=1), samples[:, 1] * _MOST_SAMPLES + samples[:, 0], 0).long()
    image = rois[:, 0].long() * (height * width)
    for code in group.unique().tolist():
        if code == 0:  # an empty region pools nothing
            continue
        index = torch.nonzero(group == code)[:, 0]
        g_y, g_x = divmod(code, _MOST_SAMPLES)
        dense = sampling_ratio <= 0
        rows, row_weights = _taps(start[index, 1], cells[index, 1], output_size[0], g_y, height, dense)
        columns, column_weights = _taps(start[index, 0], cells[index, 0], output_size[1], g_x, width, dense)
        rows = image[index, None, None] + rows * width
        taps = rows[:, :, None, :, None] + columns[:, None, :, None, :]  # (R', S, S, taps, taps)
        weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
        pooled = F.embedding_bag(
            taps.flatten(3).flatten(0, 2), table, per_sample_weights=weights.flatten(3).flatten(0, 2), mode="sum"
        )
        out[index] = pooled.view(-1, *output_size, channels)
    return out.permute(0, 3, 1, 2)


def _taps(start: Tensor, cell: Tensor, cells: int, samples: int, size: int, dense: bool) -> tuple[Tensor, Tensor]:
    """Return the pixels that each cell of one axis reads, int64 (R, S, taps), and their weights."""
    number = torch.arange(cells, device=start.device)[:, None]
    offset = (torch.arange(samples, device=start.device, dtype=torch.float32) + 0.5) * cell[:, None, None] / samples
    position = start[:, None, None] + number * cell[:, None, None] + offset  # (R, S, g)
    inside = (position >= -1) & (position <= size)
    position = position.clamp(0, size - 1)
    low = position.floor()
    if dense:  # at most a pixel apart
        pixels = low[:, :, :1] + torch.arange(samples + 1, device=start.device)  # (R, S, g + 1)
        distance = (position[..., None] - pixels[:, :, None]).abs()  # (R, S, g, g + 1)
        weights = ((1 - distance).clamp_(min=0) * inside[..., None]).sum(dim=2)
    else:
        high = position - low
        pixels = torch.cat([low, low + 1], dim=2)  # (R, S, 2·g)
        weights = torch.cat([(1 - high) * inside, high * inside], dim=2)
    return pixels.clamp_(max=size - 1).long(), weights / samples
