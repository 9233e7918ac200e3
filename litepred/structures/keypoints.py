"""Keypoints, and how a keypoint head's heatmaps become them.

N instances, K keypoints per instance, S × S the resolution of a predicted heatmap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Keypoints", "heatmaps_to_keypoints"]


class Keypoints:
    """Annotated keypoints of N instances.

    Args:
        keypoints: (N, K, 3): x, y in pixels and the COCO visibility (0 not labelled, 1 hidden, 2 visible).
            Converted to float32; a float32 tensor is kept without a copy.

    Attributes:
        tensor: (N, K, 3) float32.

    Raises:
        ValueError: for another shape.
    """

    tensor: Tensor

    def __init__(self, keypoints: Tensor | np.ndarray | Sequence[Any]) -> None:
        device = keypoints.device if isinstance(keypoints, Tensor) else torch.device("cpu")
        tensor = torch.as_tensor(keypoints, dtype=torch.float32, device=device)
        if tensor.ndim != 3 or tensor.shape[2] != 3:
            raise ValueError(f"keypoints came with shape {tuple(tensor.shape)}: expected (N, K, 3), x y visibility")
        self.tensor = tensor

    @property
    def device(self) -> torch.device:
        """The device of the tensor."""
        return self.tensor.device

    def to(self, *args: Any, **kwargs: Any) -> Keypoints:
        """Return the keypoints moved by ``Tensor.to``."""
        return type(self)(self.tensor.to(*args, **kwargs))

    @staticmethod
    def cat(keypoints_list: Sequence[Keypoints]) -> Keypoints:
        """Join keypoints into a new object.

        Raises:
            TypeError: when the argument holds another type.
            ValueError: when it is empty.
        """
        if not keypoints_list:
            raise ValueError("Keypoints.cat got nothing to join: expected at least one Keypoints")
        if not all(isinstance(keypoints, Keypoints) for keypoints in keypoints_list):
            raise TypeError("Keypoints.cat expects Keypoints only: wrap raw tensors in Keypoints first")
        return type(keypoints_list[0])(torch.cat([keypoints.tensor for keypoints in keypoints_list]))

    def __getitem__(self, item: Any) -> Keypoints:
        """Select instances by int (gives one), slice, list, ndarray or tensor."""
        return Keypoints(self.tensor[item][None] if isinstance(item, int) else self.tensor[item])

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self)})"


def heatmaps_to_keypoints(maps: Tensor, rois: Tensor) -> Tensor:
    """Locate the keypoints in predicted heatmaps (Mask R-CNN).

    Each heatmap is enlarged (bicubic) to its box in whole pixels; the keypoint is the centre of the largest cell.
    The score is 1 / Σ exp(logit - largest enlarged logit) over the S × S logits: it can exceed 1.

    Args:
        maps: (N, K, S, S) float, logits.
        rois: (N, 4) float, x1 y1 x2 y2 in pixels; a side below 1 counts as 1.

    Returns:
        (N, K, 4) in the dtype of ``maps``: x, y in pixels (not clipped to any image), logit, score. Logit and score
        are 0 where the heatmap is not finite.

    Raises:
        ValueError: when the numbers of heatmaps and boxes differ.
    """
    if len(maps) != len(rois):
        raise ValueError(f"{len(maps)} sets of heatmaps came with {len(rois)} boxes: expected one box for each")
    keypoints = maps.new_zeros(len(rois), maps.shape[1], 4)
    sides = (rois[:, 2:] - rois[:, :2]).clamp(min=1)  # (N, 2), width height
    pixels = sides.ceil()
    cells = torch.zeros(maps.shape[0], maps.shape[1], 2, device=rois.device)  # (N, K, 2), column row

    # Box sizes differ, so the enlarging goes box by box; no value is read back to the host inside the loop.
    for i, (width, height) in enumerate(pixels.int().tolist()):
        enlarged = F.interpolate(maps[i : i + 1], size=(height, width), mode="bicubic", align_corners=False)
        flat = enlarged.flatten(2)[0]  # (K, height * width)
        best = flat.argmax(1)
        peak = flat.gather(1, best[:, None])  # (K, 1)
        keypoints[i, :, 2] = peak[:, 0]
        # exp(0) = 1 is the numerator of a softmax at its peak
        keypoints[i, :, 3] = 1 / (maps[i] - peak[:, :, None]).exp_().sum((1, 2))
        cells[i, :, 0], cells[i, :, 1] = best % width, best // width

    keypoints.masked_fill_(~torch.isfinite(keypoints).all(dim=2, keepdim=True), 0.0)
    keypoints[:, :, :2] = (cells + 0.5) * (sides / pixels)[:, None] + rois[:, None, :2]
    return keypoints
