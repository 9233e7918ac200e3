"""What was found in images, written for labelling tools, for YOLO and for maps.

Each of the formats has an instance once: by its mask if it has one, else by its box; its keypoints come in addition.
All coordinates are those of the upright image, as these tools show it. Only instances are written: segments of stuff
have no place in these formats. Of two images of one name, the files of the second are called ``name-2``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import Metadata
from ..errors import LitepredError, package
from ..files import as_stored, own_name
from ..structures import Instances, Outputs
from .geojson import geojson
from .instances import found_in, pairs
from .labelling import LOCAL_FILES, cvat, label_studio, labelme, yolo
from .things import Add, Picture, things

__all__ = [
    "FORMATS",
    "Format",
    "Picture",
    "to_fiftyone",
    "write_cvat",
    "write_geojson",
    "write_label_studio",
    "write_labelme",
    "write_yolo",
]

Results = Iterable[tuple["str | os.PathLike[str]", "Instances | Outputs"]]


@dataclass(frozen=True)
class Format:
    """A format of another tool, for those who add images one by one.

    Attributes:
        open: a context, made of a path, metadata and whether masks are written, that gives the function which adds an
            image. The path is a folder, or the file that has all images.
        each: path of the file that each image gets, within the folder, with ``{}`` for the image's stem; "" for none.
        whole: paths of the files of all images, within the folder.
        is_file: whether ``open`` takes the first of these instead of the folder.
    """

    open: Callable[[str | os.PathLike[str], Metadata | None, bool], AbstractContextManager[Add]]
    each: str = ""
    whole: tuple[str, ...] = ()
    is_file: bool = False


FORMATS = {
    "yolo": Format(yolo, "labels/{}.txt", ("data.yaml",)),
    "labelme": Format(labelme, "{}.json"),
    "cvat": Format(cvat, whole=("annotations.xml",), is_file=True),
    "label-studio": Format(label_studio, whole=("tasks.json", "config.xml")),
    "geojson": Format(geojson, "{}.geojson"),
}


def write_yolo(
    folder: str | os.PathLike[str], results: Results, metadata: Metadata | None = None, masks: bool = True
) -> None:
    """Write a data set for YOLO: ``labels/NAME.txt`` for each image, and ``data.yaml`` with the names of the classes.

    A line is a class and its box; of a model with masks a polygon (segment), of one with keypoints a box and these
    (pose), of one with rotated boxes four corners (OBB). Its numbers are shares of the image's width and height. A mask
    that has holes or several parts is one polygon, whose outlines are joined by lines that have no area. There are no
    scores, which YOLO's labels have no place for: choose by `filter`. An image with nothing in it has an empty file.

    The images belong into ``images`` beside ``labels``; they are not copied.

    Args:
        folder: where the files are written; it is made.
        results: pairs of an image's path and what was found in it, taken one at a time.
        metadata: names of the classes, where the instances do not know them, and ``keypoint_names``.
        masks: ``False`` writes boxes where there are masks.

    Raises:
        WriteError: a file cannot be written.
        LitepredError: ``results`` are no such pairs.
    """
    _write(yolo(folder, metadata, masks), results)


def write_labelme(
    folder: str | os.PathLike[str], results: Results, metadata: Metadata | None = None, masks: bool = True
) -> None:
    """Write ``NAME.json`` for each image, which LabelMe opens: ``labelme images --output folder``.

    A mask is a polygon, or where it has holes or several parts, LabelMe's shape "mask"; a box is a rectangle, a rotated
    one a polygon. Each keypoint is a point, of the same ``group_id`` as its instance. ``score`` and ``track_id`` stand
    beside the label. An image with nothing in it has no shapes. ``imagePath`` leads from the folder to the image.

    Args:
        folder: where the files are written; it is made.
        results: pairs of an image's path and what was found in it, taken one at a time.
        metadata: names of the classes, where the instances do not know them, and ``keypoint_names``.
        masks: ``False`` writes boxes where there are masks.

    Raises:
        WriteError: a file cannot be written.
        LitepredError: ``results`` are no such pairs.
    """
    _write(labelme(folder, metadata, masks), results)


def write_cvat(
    path: str | os.PathLike[str], results: Results, metadata: Metadata | None = None, masks: bool = True
) -> None:
    """Write a file of the format "CVAT for images 1.1", to be uploaded to a task that has these images and classes.

    A mask is a ``mask``, whatever its shape; a box a ``box``, a rotated one with its ``rotation``; keypoints are
    ``points`` of the same group. ``score`` and ``track_id`` are attributes, which CVAT takes where a label has them. An
    image with nothing in it is there, too. CVAT knows images by name: a second one of a name gets its path as given.

    Args:
        path: of the file that is written; its folder is made.
        results: pairs of an image's path and what was found in it, taken one at a time.
        metadata: names of the classes, where the instances do not know them, and ``keypoint_names``.
        masks: ``False`` writes boxes where there are masks.

    Raises:
        WriteError: the file cannot be written.
        LitepredError: ``results`` are no such pairs.
    """
    _write(cvat(path, metadata, masks), results)


def write_label_studio(
    folder: str | os.PathLike[str],
    results: Results,
    metadata: Metadata | None = None,
    masks: bool = True,
    image_root: str = LOCAL_FILES,
) -> None:
    """Write Label Studio's ``tasks.json``, with predictions, and ``config.xml``, the labelling interface for them.

    A mask is a polygon, or where it has holes or several parts, a brush stroke; a box is a rectangle with its
    ``rotation``; keypoints belong to their instance (``parentID``). Each region has its ``score``, and a prediction the
    mean of them. An image with nothing in it has a prediction without regions.

    Args:
        folder: where the files are written; it is made.
        results: pairs of an image's path and what was found in it, taken one at a time.
        metadata: names of the classes, where the instances do not know them, and ``keypoint_names``.
        masks: ``False`` writes boxes where there are masks.
        image_root: stands before an image's path in its address. By default Label Studio shows files of its own
            machine, if ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`` is the folder that the paths are relative to.

    Raises:
        WriteError: a file cannot be written.
        LitepredError: ``results`` are no such pairs.
    """
    _write(label_studio(folder, metadata, masks, image_root), results)


def write_geojson(
    folder: str | os.PathLike[str], results: Results, metadata: Metadata | None = None, masks: bool = True
) -> None:
    """Write ``NAME.geojson`` for each image: a FeatureCollection with a polygon for each instance.

    Polygons run along the edges of a mask's pixels, with its holes; a mask in several parts is a MultiPolygon.
    ``properties`` are ``category``, ``category_id``, ``score``, ``track_id`` and ``keypoints`` (lists x, y, score), as
    far as they are known. An image with nothing in it has no features.

    Coordinates are pixels from the image's top left corner, y down. Where the image's file is a GeoTIFF, or has a world
    file (.tfw, .jgw, .wld …) beside it, they are world coordinates; ``crs`` names their system where the GeoTIFF has a
    number of EPSG. The key ``axes`` says which they are.

    Args:
        folder: where the files are written; it is made.
        results: pairs of an image's path and what was found in it, taken one at a time.
        metadata: names of the classes, where the instances do not know them, and ``keypoint_names``.
        masks: ``False`` writes boxes where there are masks.

    Raises:
        WriteError: a file cannot be written.
        ImageError: a world file does not hold six numbers.
        LitepredError: ``results`` are no such pairs.
    """
    _write(geojson(folder, metadata, masks), results)


def _write(add_to: AbstractContextManager[Add], results: Results) -> None:
    with add_to as add:
        for picture, found in _pictures(results):
            add(picture, found)


def _pictures(results: Results) -> Iterator[tuple[Picture, Instances | Outputs]]:
    uses: Counter[str] = Counter()
    names: set[str] = set()
    for path, found in pairs(results, "'photo.jpg'"):
        try:
            source = as_stored(os.fsdecode(path))
        except TypeError as error:
            raise LitepredError(f"{path!r:.60} came where an image's path belongs, such as 'photo.jpg'") from error
        name = os.path.basename(source)
        yield Picture(source, source if name in names else name, own_name(Path(name).stem, uses)), found
        names.add(name)


def to_fiftyone(instances: Instances | Outputs, metadata: Metadata | None = None, masks: bool = True) -> dict[str, Any]:
    """Return instances as labels of FiftyOne, by the names of fields: ``fo.Sample(path, **to_fiftyone(outputs))``.

    Args:
        instances: what a predictor returned, or the instances in it.
        metadata: gives the classes their names; instances that a `Predictor` returned know them.
        masks: ``False`` leaves masks out.

    Returns:
        ``detections``, FiftyOne's ``Detections`` with a mask within each box; ``polylines`` instead, its ``Polylines``,
        where the boxes are rotated; and ``keypoints``, its ``Keypoints``, where there are some.

    Raises:
        LitepredError: the package fiftyone is missing, or there are no instances.
    """
    fo = package("fiftyone", "to_fiftyone()", "fiftyone")
    found = found_in(instances, "instances")
    height, width = found.image_size
    detections, polylines, keypoints = [], [], []
    for thing in things(found, metadata, masks):
        facts = {"confidence": thing.facts.get("score"), "index": thing.facts.get("track_id")}
        if thing.turned:
            corners = (thing.corners / (width, height)).tolist()
            polylines.append(fo.Polyline(label=thing.name, points=[corners], closed=True, filled=False, **facts))
        else:
            x1, y1, x2, y2 = thing.box
            box = [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height]
            window = (slice(round(y1), round(y2)), slice(round(x1), round(x2)))
            mask = None if thing.mask is None or not thing.mask[window].size else thing.mask[window]
            detections.append(fo.Detection(label=thing.name, bounding_box=box, mask=mask, **facts))
        if thing.points:
            points = [(x / width, y / height) for _, x, y, _ in thing.points]
            sure = [score for *_, score in thing.points]
            keypoints.append(fo.Keypoint(label=thing.name, points=points, confidence=sure, index=facts["index"]))
    rotated = found.has("pred_boxes") and found.pred_boxes.tensor.shape[1] == 5
    fields = {"polylines": fo.Polylines(polylines=polylines)} if rotated else {}
    fields = fields or {"detections": fo.Detections(detections=detections)}
    return fields | ({"keypoints": fo.Keypoints(keypoints=keypoints)} if found.has("pred_keypoints") else {})
