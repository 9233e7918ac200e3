"""Rotated boxes of one image.

There are N boxes. A row is centre x, centre y, width, height in pixels and an angle in degrees, counter-clockwise as
seen on the screen, where y points down. The roundings are Detectron2's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..layers import clip_boxes_to_image
from .boxes import Boxes

__all__ = ["RotatedBoxes", "boxes_of"]


class RotatedBoxes(Boxes):
    """N rotated boxes of one image, (N, 5), which are built, copied, joined and indexed as `Boxes` are."""

    layout = ("x", "y", "width", "height", "angle")

    def normalize_angles(self) -> None:
        """Bring the angles to [-180, 180); ``self.tensor`` becomes a new tensor."""
        self.tensor = torch.cat((self.tensor[:, :4], (self.tensor[:, 4:] + 180.0) % 360.0 - 180.0), dim=1)

    def clip(self, box_size: tuple[int, int], clip_angle_threshold: float = 1.0) -> None:
        """Do what `clipped` does in place: ``self.tensor`` becomes a new tensor."""
        self.tensor = self.clipped(box_size, clip_angle_threshold).tensor

    def clipped(self, box_size: tuple[int, int], clip_angle_threshold: float = 1.0) -> RotatedBoxes:
        """Clip the boxes that are turned by ``clip_angle_threshold`` degrees at most, as if they were not turned.

        All angles are normalised. ``box_size`` is (height, width) of the image in pixels.
        """
        boxes = RotatedBoxes(self.tensor)
        boxes.normalize_angles()
        centers, sides, angles = boxes.tensor.split((2, 2, 1), dim=1)
        corners = clip_boxes_to_image(torch.cat((centers - sides / 2, centers + sides / 2), dim=1), box_size)
        start, end = corners.split(2, dim=1)
        sides = torch.minimum(sides, end - start)  # rounding is not to make a box larger
        upright = torch.cat(((start + end) / 2, sides, angles), dim=1)
        boxes.tensor = torch.where(angles.abs() <= clip_angle_threshold, upright, boxes.tensor)
        return boxes

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> Tensor:
        """Tell which boxes lie inside an image with the upright rectangle around them; see `Boxes.inside_box`."""
        angles, sides = self.tensor[:, 4:] * math.pi / 180.0, self.tensor[:, 2:4] / 2.0
        reach = angles.cos().abs() * sides + angles.sin().abs() * sides.flip(1)
        around = Boxes(torch.cat((self.tensor[:, :2] - reach, self.tensor[:, :2] + reach), dim=1))
        return around.inside_box(box_size, boundary_threshold)

    def get_centers(self) -> Tensor:
        """Return the centres, (N, 2) float32, x y."""
        return self.tensor[:, :2]

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Scale the boxes in place; under unequal factors each becomes the nearest rotated box, with a new angle."""
        angle = self.tensor[:, 4] * math.pi / 180.0
        cos, sin = torch.cos(angle), torch.sin(angle)
        self.tensor[:, 0] *= scale_x
        self.tensor[:, 1] *= scale_y
        self.tensor[:, 2] *= torch.sqrt((scale_x * cos) ** 2 + (scale_y * sin) ** 2)
        self.tensor[:, 3] *= torch.sqrt((scale_x * sin) ** 2 + (scale_y * cos) ** 2)
        self.tensor[:, 4] = torch.atan2(scale_x * sin, scale_y * cos) * 180 / math.pi

    def _sides(self) -> tuple[Tensor, Tensor]:
        return self.tensor[:, 2], self.tensor[:, 3]


def boxes_of(tensor: Tensor) -> Boxes:
    """Return the rows of a tensor as `Boxes`, (N, 4), or as `RotatedBoxes`, (N, 5)."""
    return (RotatedBoxes if tensor.shape[-1] == 5 else Boxes)(tensor)
