"""Things as GeoJSON: polygons along the edges of pixels, in pixels or where the image's file places it in the world.

A transform is (2, 3): world coordinates are its first two columns times x, y, the pixels from the top left corner, plus
its third.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Metadata, tiff
from ..data.decoders import open_image
from ..errors import ImageError
from ..files import make_folder
from ..structures import Instances, Outputs
from .files import write_json
from .instances import found_in, metadata_of
from .things import Add, Picture, things

__all__ = ["geojson", "place_in_world", "polygons_of"]

_ORIENTATION, _SCALE, _TIEPOINTS, _TRANSFORM, _KEYS = 274, 33550, 33922, 34264, 34735  # tags of a TIFF
_IS_POINT, _GEOGRAPHIC, _PROJECTED = 1025, 2048, 3072  # keys of a GeoTIFF
_PIXELS = "pixels of the image from its top left corner: x to the right, y down"
_WORLD = "world coordinates of the image's geotransform: x, then y"
_STORED = {  # where an upright image's x, y, of shares of the stored width and height, lie in one that is stored turned
    2: [[-1, 0, 1], [0, 1, 0]],
    3: [[-1, 0, 1], [0, -1, 1]],
    4: [[1, 0, 0], [0, -1, 1]],
    5: [[0, 1, 0], [1, 0, 0]],
    6: [[0, 1, 0], [-1, 0, 1]],
    7: [[0, -1, 1], [-1, 0, 1]],
    8: [[0, -1, 1], [1, 0, 0]],
}


@contextmanager
def geojson(folder: str | os.PathLike[str], metadata: Metadata | None, masks: bool) -> Iterator[Add]:
    """Make the folder, and give the function that writes the file of an image."""
    folder, metadata = make_folder(folder), metadata_of(metadata)

    def add(picture: Picture, instances: Instances | Outputs) -> None:
        transform, crs = place_in_world(picture.source, found_in(instances, "instances").image_size)
        features = []
        for thing in things(instances, metadata, masks):
            polygons = [[thing.corners]] if thing.mask is None else polygons_of(thing.mask)
            rings = [[_closed(ring, transform) for ring in polygon] for polygon in polygons]
            place: dict[str, Any] = {"type": "MultiPolygon", "coordinates": rings}
            if len(rings) == 1:
                place = {"type": "Polygon", "coordinates": rings[0]}
            properties: dict[str, Any] = {"category": thing.name, "category_id": thing.label, **thing.facts}
            if thing.points:
                points = _placed(np.array([point[1:3] for point in thing.points]), transform)
                properties["keypoints"] = [[*xy, point[3]] for xy, point in zip(points.tolist(), thing.points)]
            features.append({"type": "Feature", "id": thing.number, "properties": properties, "geometry": place})
        facts: dict[str, Any] = {"image": picture.name, "axes": _PIXELS if transform is None else _WORLD}
        if crs:
            facts["crs"] = {"type": "name", "properties": {"name": crs}}
        whole = {"type": "FeatureCollection", **facts, "features": features}
        write_json(folder / f"{picture.stem}.geojson", whole)

    yield add


def _placed(points: np.ndarray, transform: np.ndarray | None) -> np.ndarray:
    return points if transform is None else points @ transform[:, :2].T + transform[:, 2]


def _closed(ring: np.ndarray, transform: np.ndarray | None) -> list[list[float]]:
    """Return a ring as GeoJSON has it: its first point again at the end; outer ones counter-clockwise if y goes up."""
    if transform is not None and np.linalg.det(transform[:, :2]) < 0:
        ring = ring[::-1]
    return _placed(np.concatenate([ring, ring[:1]]), transform).tolist()


def polygons_of(mask: np.ndarray) -> list[list[np.ndarray]]:
    """Trace a mask (H, W) bool along the edges of its pixels.

    Returns:
        For each part whose pixels share edges its rings (n, 2), the outer one first, then its holes. They are valid
        polygons, whose area is the number of pixels. Outer rings turn from x to y, holes the other way.
    """
    import cv2

    if not mask.any():  # OpenCV's components of no pixels end the process
        return []
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    polygons = []
    for part in range(1, count):
        x, y, width, height, _ = boxes[part]
        rings = _trace(labels[y : y + height, x : x + width] == part)
        polygons.append([ring + np.array([x, y]) for ring in sorted(rings, key=_area, reverse=True)])
    return polygons


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _trace(part: np.ndarray) -> list[np.ndarray]:
    """Follow the edges of a part's pixels, which stay to the right of the way: its corners alone, (n, 2) each.

    Where two pixels touch by a corner alone, the way goes over to the other one: no ring meets itself there.
    """
    inside = np.pad(part, 1)
    core = inside[1:-1, 1:-1]
    leaving: dict[tuple[int, int], set[int]] = defaultdict(set)  # from a corner of pixels: right, down, left, up
    beyond = (inside[:-2, 1:-1], inside[1:-1, 2:], inside[2:, 1:-1], inside[1:-1, :-2])
    for way, (neighbour, dx, dy) in enumerate(zip(beyond, (0, 1, 1, 0), (0, 0, 1, 1))):
        for y, x in np.argwhere(core & ~neighbour).tolist():
            leaving[x + dx, y + dy].add(way)
    rings = []
    for start in sorted(leaving):  # the leftmost, of these the uppermost: a ring that is not traced yet turns there
        (x, y), way = start, -1
        ring: list[tuple[int, int]] = []
        while (x, y) in leaving and not (ring and (x, y) == start):
            ways = leaving[x, y]
            turned = next((way + turn) % 4 for turn in (-1, 0, 1, 2) if (way + turn) % 4 in ways)
            ways.remove(turned)
            if not ways:
                del leaving[x, y]
            if turned != way:
                ring.append((x, y))
            way = turned
            x, y = x + (1, 0, -1, 0)[way], y + (0, 1, 0, -1)[way]
        if ring:
            rings.append(np.array(ring, np.float64))
    return rings


def place_in_world(path: str, size_hw: tuple[int, int]) -> tuple[np.ndarray | None, str]:
    """Return the transform of an image's file, from its own tags or the world file beside it, and its system's name.

    Args:
        path: of the image; where there is no such file, there is no transform.
        size_hw: height and width of the upright image. The transform is that of the upright image, also where the file
            is stored turned.

    Raises:
        ImageError: the world file has no six numbers.
    """
    if not os.path.isfile(path):
        return None, ""
    tags, _ = tiff.read_tags(path)
    transform = _geotiff(tags)
    transform = _world_file(Path(path)) if transform is None else transform
    if transform is None:
        return None, ""
    orientation = tags.get(_ORIENTATION, 1)
    if not tags:
        with suppress(Exception), open_image(path) as image:  # EXIF data may be damaged; the image has been read
            orientation = image.getexif().get(_ORIENTATION, 1)
    if turn := _STORED.get(orientation):
        height, width = size_hw[::-1] if orientation > 4 else size_hw
        stored = np.array([*turn, [0, 0, 1]], float)
        stored[:2, 2] *= (width, height)
        transform = transform @ stored
    values = _numbers(tags, _KEYS)
    keys = {values[i]: values[i + 3] for i in range(4, len(values) - 3, 4) if values[i + 1] == 0}
    number = keys.get(_PROJECTED) or keys.get(_GEOGRAPHIC) or 0
    name = "urn:ogc:def:crs:OGC:1.3:CRS84" if number == 4326 else f"urn:ogc:def:crs:EPSG::{number}"
    return transform, name if 0 < number < 32767 else ""  # 32767: it is the user's own


def _geotiff(tags: Any) -> np.ndarray | None:
    """Return the transform that the tags of a GeoTIFF tell."""
    if len(matrix := _numbers(tags, _TRANSFORM)) == 16:
        transform = np.reshape(matrix, (4, 4))[:2, [0, 1, 3]].astype(float)
    elif len(scale := _numbers(tags, _SCALE)) >= 2 and len(tie := _numbers(tags, _TIEPOINTS)) >= 6:
        step = np.array([scale[0], -scale[1]])
        transform = np.column_stack([np.diag(step), np.array(tie[3:5]) - step * tie[:2]])
    else:
        return None
    keys = _numbers(tags, _KEYS)
    if (_IS_POINT, 2) in [(keys[i], keys[i + 3]) for i in range(4, len(keys) - 3, 4)]:  # it is of the pixels' centres
        transform[:, 2] -= transform[:, :2].sum(axis=1) / 2
    return transform


def _numbers(tags: Any, key: int) -> tuple[float, ...]:
    """Return the numbers of a tag; none, where it holds one number alone or a text, as in a damaged file."""
    value = tags.get(key, ())
    return value if isinstance(value, tuple) else ()


def _world_file(path: Path) -> np.ndarray | None:
    """Return the transform that the world file beside an image tells, which is of the pixels' centres."""
    suffix = path.suffix[1:]
    names = [f".{suffix[:1]}{suffix[-1:]}w", f".{suffix}w", ".wld"]
    found = [file for name in names for text in (name, name.upper()) if (file := path.with_suffix(text)).is_file()]
    if not found:
        return None
    try:
        a, d, b, e, c, f = map(float, found[0].read_text(encoding="ascii").split())
    except ValueError as error:
        raise ImageError(f"the world file {str(found[0])!r} is no geotransform: expected six numbers") from error
    return np.array([[a, b, c - (a + b) / 2], [d, e, f - (d + e) / 2]])
