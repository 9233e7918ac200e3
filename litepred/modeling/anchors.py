"""Anchors: the boxes that a detector's dense heads refine.

H × W cells of one feature map, A anchors per cell. Flat order: (y · W + x) · A + a, sizes outer and ratios inner, and
angles inmost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..config import CfgNode, configurable
from ..errors import ConfigError, number, scalar
from ..layers import InferenceModule, ShapeSpec
from ..structures import Boxes, boxes_of
from .build import ANCHOR_GENERATOR_REGISTRY

__all__ = ["DefaultAnchorGenerator", "RotatedAnchorGenerator"]


def anchors_per_cell(generator: DefaultAnchorGenerator) -> int:
    """Return A of an anchor generator whose levels share a head.

    Raises:
        ConfigError: when its levels differ in the number of anchors.
    """
    numbers = generator.num_anchors
    if len(set(numbers)) != 1:
        raise ConfigError(
            f"MODEL.ANCHOR_GENERATOR gives the levels {numbers} anchors per cell: "
            "they share a head, expected as many on each"
        )
    return numbers[0]


def _cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> Tensor:
    """Return boxes of area size² and height / width = ratio around the origin, unrounded: (A, 4)."""
    boxes = []
    for size in sizes:
        for ratio in aspect_ratios:
            width = math.sqrt(size**2.0 / ratio)
            height = ratio * width
            boxes.append([-width / 2.0, -height / 2.0, width / 2.0, height / 2.0])
    return torch.tensor(boxes, dtype=torch.float32)


def anchors_around(x: Tensor, y: Tensor, cell_anchors: Tensor) -> Boxes:
    """Put the anchors (A, 4 or 5) of a cell around the points of a grid, ``x`` (W,) by ``y`` (H,): H·W·A boxes."""
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    box_dim, none = cell_anchors.shape[1], torch.zeros_like(rows)
    rest = [none, none, none] if box_dim == 5 else [columns, rows]  # sides and angles stay
    shifts = torch.stack([columns, rows, *rest], dim=2).reshape(-1, 1, box_dim)  # (H·W, 1, 4 or 5)
    return boxes_of((shifts + cell_anchors).reshape(-1, box_dim))


PerLevel = Sequence[float] | Sequence[Sequence[float]]


def _per_level(values: PerLevel, levels: int, name: str, above: float = 0.0) -> list[Sequence[float]]:
    """Spread a config's anchor parameters over the levels: one list for all, or one for each."""
    lists: list[Any] = list(values) if isinstance(values, (list, tuple)) else []
    if lists and not isinstance(lists[0], (list, tuple)):
        lists = [lists]
    if len(lists) == 1:
        lists = lists * levels
    values_are_valid = all(
        isinstance(value, (int, float)) and value > above
        for one in lists
        for value in (map(scalar, one) if isinstance(one, (list, tuple)) and one else [None])
    )
    if len(lists) != levels or not values_are_valid:
        raise ConfigError(
            f"MODEL.ANCHOR_GENERATOR.{name} is {values!r} for {levels} feature maps: "
            f"expected numbers{' above 0' if above == 0 else ''}, in one list for all of them or in {levels} lists"
        )
    return lists


@ANCHOR_GENERATOR_REGISTRY.register()
class DefaultAnchorGenerator(InferenceModule):
    """The same axis-aligned anchors around every cell's corner (Faster R-CNN, FPN).

    Args:
        sizes: square roots of the anchors' areas in input pixels, a list per level (or one for all).
        aspect_ratios: height / width, a list per level (or one for all).
        strides: stride in pixels of each level.
        offset: where in its cell an anchor is centred, in strides from the top-left corner, in [0, 1).

    Raises:
        ConfigError: when the lists do not fit the number of levels, or make no anchors.
    """

    box_dim = 4  # numbers that describe a box

    @configurable
    def __init__(
        self, *, sizes: PerLevel, aspect_ratios: PerLevel, strides: Sequence[int], offset: float = 0.5
    ) -> None:
        super().__init__()
        self.strides = list(strides)
        self.num_features = len(self.strides)
        size_lists = _per_level(sizes, self.num_features, "SIZES")
        ratio_lists = _per_level(aspect_ratios, self.num_features, "ASPECT_RATIOS")
        if not 0.0 <= number("MODEL.ANCHOR_GENERATOR.OFFSET", offset) < 1.0:
            raise ConfigError(f"MODEL.ANCHOR_GENERATOR.OFFSET is {offset}: expected a number in [0, 1)")
        self.offset = offset
        for level, (level_sizes, level_ratios) in enumerate(zip(size_lists, ratio_lists)):
            self.register_buffer(f"_cell_anchors_{level}", _cell_anchors(level_sizes, level_ratios), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Translate ``MODEL.ANCHOR_GENERATOR`` into arguments."""
        anchors = cfg.MODEL.ANCHOR_GENERATOR
        return {
            "sizes": anchors.SIZES,
            "aspect_ratios": anchors.ASPECT_RATIOS,
            "strides": [shape.stride for shape in input_shape],
            "offset": anchors.OFFSET,
        }

    @property
    def cell_anchors(self) -> list[Tensor]:
        """The anchors around the origin, (A, 4) per level."""
        return [getattr(self, f"_cell_anchors_{level}") for level in range(self.num_features)]

    @property
    def num_anchors(self) -> list[int]:
        """The number of anchors per cell, A, of each level."""
        return [len(anchors) for anchors in self.cell_anchors]

    num_cell_anchors = num_anchors

    def forward(self, features: Sequence[Tensor]) -> list[Boxes]:
        """Return the anchors of each map (N, C, H, W) as H·W·A boxes in input pixels."""
        anchors = []
        for feature, stride, cell in zip(features, self.strides, self.cell_anchors):
            height, width = feature.shape[-2:]
            start = self.offset * stride
            x = torch.arange(start, width * stride, stride, dtype=torch.float32, device=cell.device)
            y = torch.arange(start, height * stride, stride, dtype=torch.float32, device=cell.device)
            anchors.append(anchors_around(x, y, cell))
        return anchors


@ANCHOR_GENERATOR_REGISTRY.register()
class RotatedAnchorGenerator(DefaultAnchorGenerator):
    """The same anchors at several angles around every cell's corner: `RotatedBoxes`.

    Args:
        angles: in degrees, counter-clockwise, a list per level (or one for all).
        **kwargs: see `DefaultAnchorGenerator`.

    Raises:
        ConfigError: as `DefaultAnchorGenerator`.
    """

    box_dim = 5

    @configurable
    def __init__(self, *, angles: PerLevel, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        lists = _per_level(angles, self.num_features, "ANGLES", above=-math.inf)
        for level, (upright, degrees) in enumerate(zip(self.cell_anchors, lists)):
            sides = upright.repeat_interleave(len(degrees), dim=0) * 2  # the corner at the bottom right, doubled
            angle = upright.new_tensor(degrees).repeat(len(upright))[:, None]
            cell = torch.cat([torch.zeros_like(sides[:, 2:]), sides[:, 2:], angle], dim=1)
            self.register_buffer(f"_cell_anchors_{level}", cell, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Translate ``MODEL.ANCHOR_GENERATOR`` into arguments."""
        return super().from_config(cfg, input_shape) | {"angles": cfg.MODEL.ANCHOR_GENERATOR.ANGLES}
