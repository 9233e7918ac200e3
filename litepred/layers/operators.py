"""torchvision's operators on boxes and regions, without importing torchvision where its compiled library is enough.

Importing torchvision takes as long as importing torch, since its models come along, and through them torch's compiler.
Its library alone is loaded in milliseconds, and computes on the CPU whatever needs no gradient and enters no graph. For
everything else torchvision is imported and called.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["clip_boxes_to_image", "deform_conv2d", "nms_within_groups", "roi_align"]

# As torchvision has it: on the CPU many boxes are suppressed group by group, and few all at once, moved apart.
_MOST_NUMBERS_AT_ONCE = 4000


@functools.cache
def _is_loaded() -> bool:
    """Load torchvision's library, which may be loaded already; returns whether its operators are there."""
    spec = importlib.util.find_spec("torchvision")
    for folder in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(folder).glob("_C*")):
            if file.name.endswith((*importlib.machinery.EXTENSION_SUFFIXES, ".so", ".pyd")):
                try:
                    torch.ops.load_library(file)
                except OSError:  # which torchvision may know how to load
                    continue
    return all(hasattr(torch.ops.torchvision, name) for name in ("nms", "roi_align", "deform_conv2d"))


def _is_plain(*tensors: Tensor | None) -> bool:
    """Whether the library alone computes this: on the CPU, without gradients, and outside of graphs."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    graded = torch.is_grad_enabled()
    return _is_loaded() and all(
        one is None or (type(one) in (Tensor, torch.nn.Parameter) and one.is_cpu and not (graded and one.requires_grad))
        for one in tensors
    )


def nms_within_groups(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Suppress boxes (N, 4) that overlap a better one of their group; returns the indices of the others, best first."""
    if not _is_plain(boxes, scores, groups):
        from torchvision.ops import batched_nms

        return batched_nms(boxes, scores, groups, iou_threshold)
    if not boxes.numel():
        return groups.new_empty(0)
    if boxes.numel() <= _MOST_NUMBERS_AT_ONCE:
        apart = boxes + (groups.to(boxes) * (boxes.max() + 1))[:, None]
        return torch.ops.torchvision.nms(apart, scores, iou_threshold)
    kept = [
        index[torch.ops.torchvision.nms(boxes[index], scores[index], iou_threshold)]
        for index in (torch.nonzero(groups == group)[:, 0] for group in groups.unique())
    ]
    stays = torch.zeros_like(scores, dtype=torch.bool)
    stays[torch.cat(kept)] = True
    index = torch.nonzero(stays)[:, 0]
    return index[scores[index].sort(descending=True)[1]]


def roi_align(
    x: Tensor, rois: Tensor, output_size: tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Pool regions (R, 5), index of the image and x1 y1 x2 y2, out of ``x`` (N, C, H, W); returns (R, C, S, S).

    The arguments are those of `roi_align_channels_last`.
    """
    if not _is_plain(x, rois):
        from torchvision.ops import roi_align

        return roi_align(x, rois, output_size, spatial_scale, sampling_ratio, aligned)
    return torch.ops.torchvision.roi_align(x, rois, spatial_scale, *output_size, sampling_ratio, aligned)


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Any,
    dilation: Sequence[int],
    mask: Tensor | None,
) -> Tensor:
    """Convolve ``x`` (N, C, H, W) with taps that are moved by ``offset`` (N, 2·G·k·k, H', W'), dy before dx.

    ``mask`` (N, G·k·k, H', W') weighs the taps; without one all weigh 1. Stride, padding and dilation are two numbers.
    """
    if not _is_plain(x, offset, weight, bias, mask):
        from torchvision.ops import deform_conv2d

        return deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask)
    weighs = x.new_zeros(len(x), 1) if mask is None else mask
    bias = x.new_zeros(len(weight)) if bias is None else bias
    taps = weight.shape[2] * weight.shape[3]
    groups = x.shape[1] // weight.shape[1], offset.shape[1] // (2 * taps)
    return torch.ops.torchvision.deform_conv2d(
        x, weight, offset, weighs, bias, *stride, *padding, *dilation, *groups, mask is not None
    )


def clip_boxes_to_image(boxes: Tensor, size_hw: Sequence[int]) -> Tensor:
    """Move the corners of ``boxes`` (..., 4) into an image, in pixels."""
    height, width = size_hw
    xs, ys = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack((xs, ys), dim=-1).flatten(-2)
