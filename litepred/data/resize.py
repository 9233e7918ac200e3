"""Resizing as Detectron2's predictor does it, to the same sizes and the same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from PIL import Image

from ..errors import ConfigError, ImageError
from .transforms import Transform

__all__ = ["ResizeShortestEdge", "ResizeTransform"]


class ResizeTransform(Transform):
    """Resize images from (``h``, ``w``) to (``new_h``, ``new_w``) pixels, and coordinates with them.

    ``interp`` is one of Pillow's resampling methods; ``None`` stands for the bilinear one. With ``last_is_alpha``,
    uint8 arrays of two or four bands are colours with alpha, as they are to Detectron2: where that is 0, all become 0.
    """

    def __init__(
        self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None, *, last_is_alpha: bool = False
    ) -> None:
        self.h, self.w, self.new_h, self.new_w, self.last_is_alpha = h, w, new_h, new_w, last_is_alpha
        self.interp = Image.Resampling.BILINEAR if interp is None else interp

    def __repr__(self) -> str:
        return f"ResizeTransform(h={self.h}, w={self.w}, new_h={self.new_h}, new_w={self.new_w}, interp={self.interp})"

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize an array (H, W) or (H, W, C), keeping its dtype and channels, of which there may be any number.

        Pillow resizes uint8 arrays, and smooths when it shrinks them. Float arrays are interpolated without smoothing.
        Detectron2 makes the same difference, and it is visible. ``interp`` is one of Pillow's resampling methods in
        place of the object's own; float arrays know the nearest one, and take the bilinear one for all others.

        Raises:
            ImageError: when the array has another size than was announced, or a dtype that cannot be interpolated.
        """
        if img.shape[:2] != (self.h, self.w):
            raise ImageError(f"an image of {img.shape[:2]} pixels came where {(self.h, self.w)} were announced")
        if (self.h, self.w) == (self.new_h, self.new_w):
            return img
        method = cast(Image.Resampling, self.interp if interp is None else interp)
        if img.dtype == np.uint8:
            bands = 1 if img.ndim == 2 else img.shape[2]
            together = bands == 3 or (self.last_is_alpha and bands in (2, 4))
            planes = [img] if img.ndim == 2 or together else np.moveaxis(img, 2, 0)
            size = self.new_w, self.new_h
            resized = [np.asarray(Image.fromarray(np.ascontiguousarray(p)).resize(size, method)) for p in planes]
            return resized[0] if img.ndim == 2 or together else np.stack(resized, axis=2)
        if not np.issubdtype(img.dtype, np.floating):
            raise ImageError(f"cannot resize an array of dtype {img.dtype}: expected uint8 or a float type")
        import torch
        from torch.nn import functional as F

        mode, align_corners = ("nearest", None) if method == Image.Resampling.NEAREST else ("bilinear", False)
        floats = torch.from_numpy(np.ascontiguousarray(img)).reshape(self.h, self.w, -1).permute(2, 0, 1)[None]
        scaled = F.interpolate(floats, (self.new_h, self.new_w), mode=mode, align_corners=align_corners)
        return scaled[0].permute(1, 2, 0).reshape(self.new_h, self.new_w, *img.shape[2:]).numpy()

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize a map of labels (H, W), uint8 or float; each new pixel takes the nearest label."""
        return self.apply_image(segmentation, Image.Resampling.NEAREST)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale points (N, 2), x y, in place, and return them; in an array of integers the fractions are cut off."""
        coords[:, 0] = coords[:, 0] * (self.new_w * 1.0 / self.w)
        coords[:, 1] = coords[:, 1] * (self.new_h * 1.0 / self.h)
        return coords

    def apply_box(self, box: np.ndarray) -> np.ndarray:
        """Return boxes (N, 4), x1 y1 x2 y2, scaled."""
        return self.apply_coords(np.array(box).reshape(-1, 2)).reshape(-1, 4)

    def inverse(self) -> ResizeTransform:
        """Return the transform that resizes back."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp, last_is_alpha=self.last_is_alpha)


class ResizeShortestEdge:
    """Resize so that the shorter edge has a given length, unless the longer one would exceed its limit.

    Args:
        short_edge_length: in pixels, one number or a list that repeats it; 0 leaves images as they are.
        max_size: limit of the longer edge in pixels.
        sample_style: how Detectron2 draws one of several lengths in training. Prediction has one, so it is not used.
        interp: Pillow's resampling method; bilinear by default.
        last_is_alpha: see `ResizeTransform`.

    Raises:
        ConfigError: when a size cannot be one, or there are several lengths.
    """

    def __init__(
        self,
        short_edge_length: int | Sequence[int],
        max_size: int = 2**31,
        sample_style: str = "range",
        interp: int | None = None,
        *,
        last_is_alpha: bool = False,
    ) -> None:
        lengths = tuple(short_edge_length) if isinstance(short_edge_length, Sequence) else (short_edge_length,)
        is_length = all(isinstance(edge, (int, np.integer)) and edge >= 0 for edge in lengths)
        if not is_length or len(set(lengths)) != 1:
            raise ConfigError(
                f"short_edge_length (INPUT.MIN_SIZE_TEST) is {short_edge_length!r}: expected pixels, or 0 not to "
                "resize; a choice of several lengths is for training only"
            )
        if not isinstance(max_size, (int, float)) or not max_size >= 1:
            raise ConfigError(f"max_size (INPUT.MAX_SIZE_TEST) is {max_size!r}: expected pixels, 1 or more")
        self.short_edge_length = lengths
        self.max_size = max_size
        self.interp = interp
        self.last_is_alpha = last_is_alpha

    def get_transform(self, image: np.ndarray) -> ResizeTransform:
        """Return the resizing for an array (H, W, …)."""
        height, width = image.shape[:2]
        new_height, new_width = height, width
        if self.short_edge_length[0]:
            new_height, new_width = self.get_output_shape(height, width, self.short_edge_length[0], self.max_size)
        return ResizeTransform(height, width, new_height, new_width, self.interp, last_is_alpha=self.last_is_alpha)

    def __call__(self, aug_input: Any) -> ResizeTransform:
        """Resize the image of an input that has ``image`` and ``transform()``, and return how.

        Detectron2's ``AugInput`` is such an input.
        """
        transform = self.get_transform(aug_input.image)
        aug_input.transform(transform)
        return transform

    @staticmethod
    def get_output_shape(oldh: int, oldw: int, short_edge_length: int, max_size: int) -> tuple[int, int]:
        """Return the new (height, width): scaled in two steps, each half rounded up at the end, at least 1."""
        size = short_edge_length * 1.0
        scale = size / min(oldh, oldw)
        height, width = (size, scale * oldw) if oldh < oldw else (scale * oldh, size)
        if max(height, width) > max_size:
            scale = max_size * 1.0 / max(height, width)
            height, width = height * scale, width * scale
        return max(1, int(height + 0.5)), max(1, int(width + 0.5))
