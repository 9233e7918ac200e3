"""Transforms that compute new pixels: resize, rotate, change colours.

H × W pixels, C channels, N points. Coordinates are x y in pixels, where a pixel is one unit wide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from ..errors import ImageError
from .transforms import CropTransform, NoOpTransform, Transform, TransformList

__all__ = [
    "BlendTransform",
    "ColorTransform",
    "ExtentTransform",
    "PILColorTransform",
    "ResizeTransform",
    "RotationTransform",
    "ScaleTransform",
]


class ResizeTransform(Transform):
    """Resize images from (``h``, ``w``) to (``new_h``, ``new_w``) pixels, and coordinates with them."""

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None) -> None:
        self.h, self.w, self.new_h, self.new_w = h, w, new_h, new_w
        self.interp = Image.Resampling.BILINEAR if interp is None else interp

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize an array (H, W) or (H, W, C), keeping its dtype and channels.

        uint8 goes through Pillow, which smooths when it shrinks; other types are interpolated bilinearly without
        smoothing. So does Detectron2, and the two differ visibly.

        Args:
            img: the array.
            interp: Pillow's resampling method instead of the object's own; other types than uint8 know nearest only.

        Raises:
            ImageError: when the array has another size than was announced, or a dtype that cannot be interpolated.
        """
        if img.shape[:2] != (self.h, self.w):
            raise ImageError(f"an image of {img.shape[:2]} pixels came where {(self.h, self.w)} were announced")
        if (self.h, self.w) == (self.new_h, self.new_w):
            return img
        if img.dtype == np.uint8:
            plane = img[:, :, 0] if img.ndim == 3 and img.shape[2] == 1 else img
            method = cast(Image.Resampling, self.interp if interp is None else interp)
            resized = np.asarray(Image.fromarray(plane).resize((self.new_w, self.new_h), method))
            return resized.reshape(self.new_h, self.new_w, *img.shape[2:])
        if (self.interp if interp is None else interp) == Image.Resampling.NEAREST:
            rows, columns = (np.arange(n, dtype=np.int64) for n in (self.new_h, self.new_w))  # 32 bits can be too few
            return img[rows * self.h // self.new_h][:, columns * self.w // self.new_w]
        if not np.issubdtype(img.dtype, np.floating):
            raise ImageError(f"cannot resize an array of dtype {img.dtype}: expected uint8 or a float type")
        planes = torch.from_numpy(np.ascontiguousarray(img)).reshape(self.h, self.w, -1).permute(2, 0, 1)[None]
        scaled = F.interpolate(planes, (self.new_h, self.new_w), mode="bilinear", align_corners=False)
        return scaled[0].permute(1, 2, 0).reshape(self.new_h, self.new_w, *img.shape[2:]).numpy()

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale coordinates (N, 2) of x and y, in place: integers are cut off."""
        coords[:, 0] = coords[:, 0] * (self.new_w * 1.0 / self.w)
        coords[:, 1] = coords[:, 1] * (self.new_h * 1.0 / self.h)
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize a map of labels (H, W), each pixel taking the nearest."""
        return self.apply_image(segmentation, interp=Image.Resampling.NEAREST)

    def apply_rotated_box(self, boxes: np.ndarray) -> np.ndarray:
        """Scale rotated boxes (N, 5), x y width height angle, in place; see `RotatedBoxes.scale`."""
        scale_x, scale_y = self.new_w / self.w, self.new_h / self.h
        cos, sin = np.cos(np.deg2rad(boxes[:, 4])), np.sin(np.deg2rad(boxes[:, 4]))
        boxes[:, 0] *= scale_x
        boxes[:, 1] *= scale_y
        boxes[:, 2] *= np.hypot(scale_x * cos, scale_y * sin)
        boxes[:, 3] *= np.hypot(scale_x * sin, scale_y * cos)
        boxes[:, 4] = np.rad2deg(np.arctan2(scale_x * sin, scale_y * cos))
        return boxes

    def inverse(self) -> ResizeTransform:
        """Return the way back."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


class ScaleTransform(Transform):
    """Resize from (``h``, ``w``) to (``new_h``, ``new_w``) pixels with torch: without smoothing, for any real dtype.

    Args:
        h: in pixels.
        w: in pixels.
        new_h: in pixels.
        new_w: in pixels.
        interp: "bilinear" (the default), "nearest", "bicubic" or "area".
    """

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: str | None = None) -> None:
        self.h, self.w, self.new_h, self.new_w, self.interp = h, w, new_h, new_w, interp or "bilinear"

    def apply_image(self, img: np.ndarray, interp: str | None = None) -> np.ndarray:
        """Resize an array (H, W) or (H, W, C), keeping its dtype and channels."""
        mode = interp or self.interp
        planes = torch.from_numpy(np.ascontiguousarray(img)).reshape(self.h, self.w, -1).permute(2, 0, 1)[None]
        corners = False if mode in ("bilinear", "bicubic") else None
        scaled = F.interpolate(planes.float(), (self.new_h, self.new_w), mode=mode, align_corners=corners)
        resized = scaled[0].permute(1, 2, 0).reshape(self.new_h, self.new_w, *img.shape[2:]).numpy()
        return resized.astype(img.dtype)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale coordinates (N, 2) of x and y, in place."""
        coords[:, 0] = coords[:, 0] * (self.new_w * 1.0 / self.w)
        coords[:, 1] = coords[:, 1] * (self.new_h * 1.0 / self.h)
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize a map of labels (H, W), each pixel taking the nearest."""
        return self.apply_image(segmentation, interp="nearest")

    def inverse(self) -> Transform:
        """Return the way back."""
        return ScaleTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


class ExtentTransform(Transform):
    """Cut the rectangle ``src_rect`` (x0, y0, x1, y1) out of an image and scale it to ``output_size`` (h, w).

    ``fill`` is the value of pixels from outside of the image.
    """

    def __init__(
        self,
        src_rect: tuple[float, float, float, float],
        output_size: tuple[int, int],
        interp: int = Image.Resampling.BILINEAR,
        fill: int = 0,
    ) -> None:
        self.src_rect, self.output_size, self.interp, self.fill = src_rect, output_size, interp, fill

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Change a uint8 array (H, W) or (H, W, C)."""
        height, width = self.output_size
        plane = img[:, :, 0] if img.ndim == 3 and img.shape[2] == 1 else img
        cut = Image.fromarray(plane).transform(
            (width, height),
            Image.Transform.EXTENT,
            self.src_rect,
            resample=cast(Any, self.interp if interp is None else interp),
            fillcolor=self.fill,
        )
        return np.asarray(cut).reshape(height, width, *img.shape[2:])

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Return points (N, 2) as float32 in the new image."""
        height, width = self.output_size
        x0, y0, x1, y1 = self.src_rect
        scale = np.array([width / (x1 - x0), height / (y1 - y0)], np.float32)
        return (coords.astype(np.float32) - np.array([x0, y0], np.float32)) * scale

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Change a map of labels (H, W), each pixel taking the nearest."""
        return self.apply_image(segmentation, interp=Image.Resampling.NEAREST)


class RotationTransform(Transform):
    """Turn images of ``h`` × ``w`` pixels by ``angle`` degrees, counter-clockwise.

    Args:
        h: in pixels.
        w: in pixels.
        angle: in degrees.
        expand: enlarge the image so that nothing is cut off; then ``center`` is ignored.
        center: x y of the point that stays, by default the middle.
        interp: OpenCV's interpolation flag, by default linear.
    """

    def __init__(
        self,
        h: int,
        w: int,
        angle: float,
        expand: bool = True,
        center: tuple[float, float] | None = None,
        interp: int | None = None,
    ) -> None:
        self.h, self.w, self.angle, self.expand, self.interp = h, w, angle, expand, interp
        self.center = (w / 2, h / 2) if center is None else center
        cos, sin = abs(np.cos(np.deg2rad(angle))), abs(np.sin(np.deg2rad(angle)))
        self.bound_w, self.bound_h = w, h
        if expand:
            self.bound_w, self.bound_h = int(np.rint(h * sin + w * cos)), int(np.rint(h * cos + w * sin))

    def _matrix(self, offset: float = 0.0) -> np.ndarray:
        """The (2, 3) matrix of the rotation; images need pixel centres at whole numbers, an offset of -0.5."""
        import cv2

        middle = np.array([self.w / 2, self.h / 2]) + offset
        matrix = cv2.getRotationMatrix2D((self.center[0] + offset, self.center[1] + offset), self.angle, 1)
        if self.expand:
            moved = matrix @ np.array([*middle, 1.0])
            matrix[:, 2] += np.array([self.bound_w / 2, self.bound_h / 2]) + offset - moved
        return matrix

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Turn an array (h, w) or (h, w, C)."""
        import cv2

        if not len(img) or self.angle % 360 == 0:
            return img
        if img.shape[:2] != (self.h, self.w):
            raise ImageError(f"an image of {img.shape[:2]} pixels came where {(self.h, self.w)} were announced")
        chosen = self.interp if interp is None else interp
        flags = cv2.INTER_LINEAR if chosen is None else chosen
        return cv2.warpAffine(img, self._matrix(-0.5), (self.bound_w, self.bound_h), flags=flags)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Return points (N, 2) turned, as float64."""
        coords = np.asarray(coords, float)
        if not len(coords) or self.angle % 360 == 0:
            return coords
        matrix = self._matrix()
        return coords @ matrix[:, :2].T + matrix[:, 2]

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Turn a map of labels (h, w), each pixel taking the nearest."""
        return self.apply_image(segmentation, interp=0)  # cv2.INTER_NEAREST

    def inverse(self) -> Transform:
        """Return the rotation back with a crop to the old size.

        Raises:
            NotImplementedError: ``expand`` is false, so that corners are lost.
        """
        if not self.expand:
            raise NotImplementedError("a RotationTransform with expand=False cuts corners off: it has no inverse")
        back = RotationTransform(self.bound_h, self.bound_w, -self.angle, True, None, self.interp)
        x0, y0 = (back.bound_w - self.w) // 2, (back.bound_h - self.h) // 2
        return TransformList([back, CropTransform(x0, y0, self.w, self.h)])


class ColorTransform(Transform):
    """Change pixels by a function of the image, and nothing else."""

    def __init__(self, op: Callable[[Any], Any]) -> None:
        if not callable(op):
            raise ValueError(f"op is {op!r}: expected a function from image to image")
        self.op = op

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Return ``op(img)``."""
        return self.op(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Return the points as they are."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Return the labels as they are."""
        return segmentation

    def inverse(self) -> Transform:
        """Return no change, for there is nothing to undo in the geometry."""
        return NoOpTransform()


class PILColorTransform(ColorTransform):
    """A `ColorTransform` whose function is one of Pillow images."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Return ``op(img)`` as an array."""
        return np.asarray(self.op(Image.fromarray(img)))


class BlendTransform(ColorTransform):
    """Mix an image with another: ``src_weight · src_image + dst_weight · img``."""

    def __init__(self, src_image: np.ndarray, src_weight: float, dst_weight: float) -> None:
        super().__init__(self._blend)
        self.src_image, self.src_weight, self.dst_weight = src_image, src_weight, dst_weight

    def _blend(self, img: np.ndarray) -> np.ndarray:
        mixed = self.src_weight * self.src_image + self.dst_weight * img.astype(np.float32)
        return mixed.clip(0, 255).astype(np.uint8) if img.dtype == np.uint8 else mixed
