"""Annotated polygons and keypoints, which no model of litepred reads: programs draw them, and pass them on.

N instances, K keypoints per instance. A polygon is a flat vector x0 y0 x1 y1 … in pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..structures import Boxes
from ..structures.boxes import Rows
from ..structures.masks import as_polygon

__all__ = ["Keypoints", "PolygonMasks"]


class Keypoints(Rows):
    """Annotated keypoints of N instances.

    Args:
        keypoints: (N, K, 3): x, y in pixels and the COCO visibility (0 not labelled, 1 hidden, 2 visible). They become
            the float32 ``tensor``; one that is float32 already is kept without a copy.

    Raises:
        ValueError: for another shape.
    """

    def __init__(self, keypoints: Tensor | np.ndarray | Sequence[Any]) -> None:
        super().__init__(keypoints)
        if self.tensor.ndim != 3 or self.tensor.shape[2] != 3:
            shape = tuple(self.tensor.shape)
            raise ValueError(f"keypoints came with shape {shape}: expected (N, K, 3), x y visibility")


class PolygonMasks:
    """Polygons of N instances, always on the CPU.

    Args:
        polygons: per instance a list of polygons, each a flat vector (ndarray, tensor or list) of an even number of
            at least 6 coordinates. The attribute of this name has float64 copies.

    Raises:
        ValueError: for another nesting or number of coordinates.
    """

    def __init__(self, polygons: list[list[Any]]) -> None:
        if not isinstance(polygons, list) or not all(isinstance(one, list) for one in polygons):
            raise ValueError("PolygonMasks expects a list (instances) of lists (polygons) of flat coordinate vectors")
        self.polygons = [[as_polygon(polygon) for polygon in one] for one in polygons]

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def to(self, *args: Any, **kwargs: Any) -> PolygonMasks:
        """Return the same object: polygons stay on the CPU."""
        return self

    def nonempty(self) -> Tensor:
        """Return an (N,) bool tensor: whether an instance has any polygon."""
        return torch.tensor([len(one) > 0 for one in self.polygons], dtype=torch.bool, device="cpu")

    def area(self) -> Tensor:
        """Return each instance's summed polygon areas, (N,) float64, in square pixels (overlaps count twice)."""
        return torch.tensor([sum(map(polygon_area, one)) for one in self.polygons], dtype=torch.float64, device="cpu")

    def get_bounding_boxes(self) -> Boxes:
        """Return the tight boxes; x2, y2 are at least 0, and without polygons the box is (inf, inf, 0, 0)."""
        points = [np.concatenate([np.empty(0), *one]).astype(np.float32).reshape(-1, 2) for one in self.polygons]
        return Boxes(np.array([[*xy.min(0, initial=np.inf), *xy.max(0, initial=0)] for xy in points], np.float32))

    @staticmethod
    def cat(polymasks_list: Sequence[PolygonMasks]) -> PolygonMasks:
        """Join the instances of several objects into a new one.

        Raises:
            AssertionError: when the argument is empty or holds another type.
        """
        if not polymasks_list or not all(isinstance(one, PolygonMasks) for one in polymasks_list):
            raise AssertionError("PolygonMasks.cat expects at least one PolygonMasks and no other type")
        return type(polymasks_list[0])(list(itertools.chain.from_iterable(m.polygons for m in polymasks_list)))

    def __getitem__(self, item: Any) -> PolygonMasks:
        """Select instances by int (gives one), slice, or a list, ndarray or tensor of bools or integers."""
        index = item.cpu().numpy() if isinstance(item, Tensor) else item
        selected = np.atleast_1d(np.arange(len(self))[index])
        return PolygonMasks([self.polygons[i] for i in selected])

    def __len__(self) -> int:
        return len(self.polygons)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        return iter(self.polygons)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self)})"


def polygon_area(polygon: np.ndarray) -> float:
    """Add up the signed triangles between the origin and each edge; their sum is the area of the polygon."""
    corners = polygon.reshape(-1, 2)
    edges = np.diff(corners, axis=0, append=corners[:1])
    return abs(float((corners[:, 0] * edges[:, 1] - corners[:, 1] * edges[:, 0]).sum())) / 2
