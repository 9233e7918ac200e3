"""Instances one by one, as the formats of other tools have them: each with its box, its mask if it has one, its points.

N instances of one image of H × W pixels. Coordinates are pixels from the image's top left corner, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data import Metadata, as_list, as_metadata, class_name
from ..errors import LitepredError
from ..structures import Instances, Outputs, instance_mask, mask_to_polygons
from ..structures.boxes import as_numpy
from .convert import rotated_corners, upright
from .instances import found_in, metadata_of, named, to_dicts

__all__ = ["Add", "Classes", "Picture", "Thing", "one_ring", "outlines", "things"]


@dataclass(frozen=True)
class Thing:
    """One instance.

    Attributes:
        number: its index, from 0.
        label: its class, from 0.
        name: its class's name.
        box: x1, y1, x2, y2, within the image; of a rotated box the upright one around it.
        turned: of a rotated box centre, width, height and degrees counter-clockwise.
        corners: (4, 2) of its box, in order; those of a rotated one may lie outside the image.
        mask: (H, W) bool, which is not empty.
        points: its keypoints, each with name, x, y and score.
        facts: ``score`` and ``track_id``, as far as they are known.
    """

    number: int
    label: int
    name: str
    box: tuple[float, float, float, float]
    turned: tuple[float, ...]
    corners: np.ndarray
    mask: np.ndarray | None
    points: list[tuple[str, float, float, float]]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """An image, as a format names it.

    Attributes:
        source: its path.
        name: what tools that look for a name find.
        stem: what the names of its own files begin with, unlike those of any other image.
    """

    source: str
    name: str
    stem: str


Add = Callable[[Picture, "Instances | Outputs"], None]


@dataclass
class Classes:
    """The names of classes: those that are known, and of others those of the instances that were found."""

    metadata: Metadata | None
    names: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.metadata = metadata_of(self.metadata)

    def things(self, instances: Instances | Outputs, masks: bool) -> Iterator[Thing]:
        """Yield instances one by one, and note their classes."""
        known = as_metadata(named(found_in(instances, "instances"), self.metadata))
        self.names.update(enumerate(as_list(known.get("thing_classes"))))
        for thing in things(instances, known, masks):
            self.names.setdefault(thing.label, thing.name)
            yield thing

    def all(self) -> list[str]:
        """Return the names in order, also of classes between them that were not found."""
        names = self.names or dict(enumerate(as_list(as_metadata(self.metadata).get("thing_classes"))))
        return [names.get(i, class_name(None, i)) for i in range(max(names, default=-1) + 1)]


def things(instances: Instances | Outputs, metadata: Metadata | None = None, masks: bool = True) -> Iterator[Thing]:
    """Yield instances one by one, so that there is one full-size mask at a time.

    Args:
        instances: what a predictor returned, or the instances in it.
        metadata: gives the classes their names, and with ``keypoint_names`` the keypoints theirs.
        masks: whether masks are wanted.

    Raises:
        LitepredError: there are no instances, or they lack boxes or classes.
    """
    found: Instances = found_in(instances, "instances").to("cpu")
    metadata = named(found, metadata)
    rows = to_dicts(found, metadata, mask_format="none")
    if not rows:
        return
    if lacking := [name for name in ("pred_boxes", "pred_classes") if not found.has(name)]:
        raise LitepredError(f"instances without {' and '.join(lacking)} came: expected those that a predictor returns")
    boxes = found.pred_boxes.tensor
    around = upright(found).clamp(min=0)
    height, width = found.image_size
    corners = (rotated_corners(boxes) if boxes.shape[1] == 5 else boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]]).reshape(-1, 4, 2)
    names = as_list(as_metadata(metadata).get("keypoint_names"))
    for i, row in enumerate(rows):
        mask = instance_mask(found, i).numpy() if masks and found.has("pred_masks") else None
        x1, y1, x2, y2 = around[i].tolist()
        points = row.get("keypoints", ())
        yield Thing(
            number=i,
            label=row["category_id"],
            name=row["category"],
            box=(min(x1, width), min(y1, height), min(x2, width), min(y2, height)),
            turned=tuple(row["box"]) if len(row["box"]) == 5 else (),
            corners=as_numpy(corners[i]).astype(np.float64),
            mask=mask if mask is not None and mask.any() else None,
            points=[(names[k] if k < len(names) else f"keypoint_{k}", *point) for k, point in enumerate(points)],
            facts={key: row[key] for key in ("score", "track_id") if row.get(key) is not None},
        )


def outlines(thing: Thing) -> list[np.ndarray]:
    """Return the outlines (n, 2) of a thing's mask as `mask_to_polygons` traces them, by the corners of each alone.

    There are none where a part of the mask is one pixel wide, whose outline has no area.
    """
    rings = [_corners_alone(outline) for outline in _traced(thing)]
    return rings if all(len(ring) > 2 for ring in rings) else []


def one_ring(thing: Thing) -> np.ndarray:
    """Return one outline (n, 2) of a thing: of its mask, or of its box where there is no mask with an outline of area.

    Where the mask has holes or several parts, their outlines are joined by lines there and back, which have no area.
    """
    traced = _traced(thing)
    if not traced:
        return thing.corners
    ring = traced[0]
    for other in traced[1:]:
        at = int(((ring - other[0]) ** 2).sum(axis=1).argmin())
        ring = np.concatenate([ring[: at + 1], other, other[:1], ring[at:]])
    ring = _corners_alone(ring)
    return ring if len(ring) > 2 else thing.corners


def _traced(thing: Thing) -> list[np.ndarray]:
    polygons = [] if thing.mask is None else mask_to_polygons(thing.mask)
    return [np.reshape(polygon, (-1, 2)) for polygon in polygons]


def _corners_alone(ring: np.ndarray) -> np.ndarray:
    """Leave out points that come twice, and those between two others on a straight line of pixels."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    turns = (ring - np.roll(ring, 1, axis=0) != np.roll(ring, -1, axis=0) - ring).any(axis=1)
    return ring[turns]
