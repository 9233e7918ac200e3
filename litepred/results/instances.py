"""Instances as plain Python, as COCO's entries, and as rows of a table.

N instances of one image, K keypoints of each, H × W pixels.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ..data import Metadata, as_metadata, class_name, dataset_ids, segments_of
from ..errors import ConfigError, LitepredError
from ..structures import Instances, Outputs, instance_mask, mask_to_polygons, mask_to_rle, origin_of
from ..structures.boxes import as_numpy
from .files import CSV_COLUMNS, TRACKED_COLUMNS, csv_table, json_list, plain_id

__all__ = [
    "category_id",
    "columns_of",
    "csv_rows",
    "describe",
    "found_in",
    "instances_to_coco_json",
    "metadata_of",
    "named",
    "pairs",
    "to_coco",
    "to_dicts",
    "write_coco",
    "write_csv",
]

P = ParamSpec("P")
T = TypeVar("T")

_MASKS = ("rle", "polygon", "none")


def _with_old_name(function: Callable[P, T]) -> Callable[P, T]:
    """Let ``masks``, the former name of ``mask_format``, go on working for one release, with a warning."""

    @functools.wraps(function)
    def renaming(*args: Any, **kwargs: Any) -> T:
        if "masks" in kwargs:
            told = "is called mask_format now, and the old name goes with the next release"
            warnings.warn(f"the argument masks of {function.__name__}() {told}", FutureWarning, stacklevel=2)
            kwargs["mask_format"] = kwargs.pop("masks")
        return function(*args, **kwargs)

    return renaming


def found_in(given: Any, *keys: str) -> Any:
    """Return what is meant: it, or of a predictor's whole answer what is under the first of some keys.

    Raises:
        LitepredError: the answer has none of them, or it is neither, such as an error of ``return_errors=True``.
    """
    if isinstance(given, Mapping):
        if found := [given[key] for key in keys if key in given]:
            return found[0]
        raise LitepredError(f"a dict with {', '.join(map(str, given)) or 'nothing'} came: expected {keys[0]!r} in it")
    if isinstance(given, Exception):
        raise LitepredError(f"an error came where what was found belongs: leave such entries out; {given}") from given
    if "instances" in keys and not hasattr(given, "get_fields"):
        raise LitepredError(f"{given!r:.60} came: expected instances, as outputs['instances'] of a predictor")
    return given


def named(instances: Instances, metadata: Metadata | None) -> Metadata | None:
    """Return the metadata, or where none came those that the instances of a predictor know: the names of classes."""
    names = origin_of(instances).class_names
    return Metadata(thing_classes=names) if metadata is None and names else metadata_of(metadata)


def metadata_of(given: Any) -> Metadata | None:
    """Return `as_metadata` of what came, which may be names that can be read only once; ``None`` where nothing did."""
    return None if given is None else as_metadata(given)


def pairs(results: Iterable[tuple[T, Any]], name: str) -> Iterator[tuple[T, Any]]:
    """Yield the pairs of a name and instances.

    Raises:
        LitepredError: an entry is no such pair.
    """
    for pair in [results] if isinstance(results, (Mapping, Instances)) else results:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise LitepredError(
                f"a {type(pair).__name__} came where a pair belongs: expected a list of pairs such as "
                f"[({name}, outputs['instances'])]"
            )
        yield pair[0], pair[1]


def category_id(label: int, ids: Mapping[int, int], kind: str, otherwise: int) -> int:
    """Return the data set's id of a class of the model, which is of a kind, "thing" or "stuff"; else another number.

    Raises:
        ConfigError: there are ids, but none for this class.
    """
    if ids and label not in ids:
        raise ConfigError(
            f"a {kind} has the class {label}, but {kind}_dataset_id_to_contiguous_id of the metadata leads to "
            f"{len(ids)} classes: pass the metadata of the data set that the model was trained on, or none"
        )
    return ids.get(label, otherwise)


@_with_old_name
def instances_to_coco_json(
    instances: Instances | Outputs, img_id: int | str, *, mask_format: str = "rle", metadata: Metadata | None = None
) -> list[dict[str, Any]]:
    """Return instances as the entries of COCO's results format, which pycocotools' ``loadRes`` takes.

    Args:
        instances: with ``pred_boxes``, ``scores`` and ``pred_classes``, and perhaps ``pred_masks`` in any format and
            ``pred_keypoints`` (N, K, 3), or the dict that they are in. They are not changed.
        img_id: the image's id, for every entry.
        mask_format: "rle" (needs pycocotools); "polygon" for outlines, which cannot show holes and which ``loadRes``
            does not take; or "none".
        metadata: with ``thing_dataset_id_to_contiguous_id``, categories get the data set's own ids; otherwise, as in
            Detectron2's function of this name, they are the model's, from 0.

    Returns:
        A dict per instance: ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in pixels; of a rotated box
        the five numbers of `RotatedBoxes`, as Detectron2 writes it), ``score``, ``segmentation``
        (``{"size", "counts"}`` with ``counts`` as text, or a list of x0 y0 x1 y1 …), and ``keypoints``
        (x0 y0 score0 x1 …, 0 being the centre of the first pixel, as COCO counts).

    Raises:
        LitepredError: run lengths are wanted and pycocotools is missing; or ``img_id`` is several.
        ConfigError: the metadata have ids, but none for a class that was found.
        ValueError: for another ``mask_format``.
    """
    found: Instances = found_in(instances, "instances").to("cpu")
    written = _write_masks(found, mask_format)
    if not len(found):
        return []
    boxes = found.pred_boxes.tensor.detach().clone()
    if boxes.shape[1] == 4:
        boxes[:, 2:] -= boxes[:, :2]
    ids, labels = dataset_ids(metadata), found.pred_classes.tolist()
    columns: dict[str, list[Any]] = {
        "image_id": [plain_id(img_id)] * len(labels),
        "category_id": [category_id(label, ids, "thing", label) for label in labels],
        "bbox": boxes.tolist(),
        "score": found.scores.tolist(),
    }
    if written is not None:
        columns["segmentation"] = written
    if found.has("pred_keypoints"):
        keypoints = found.pred_keypoints.detach().clone()
        keypoints[:, :, :2] -= 0.5
        columns["keypoints"] = keypoints.flatten(1).tolist()
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


@_with_old_name
def to_dicts(
    instances: Instances | Outputs, metadata: Metadata | None = None, mask_format: str = "polygon"
) -> list[dict[str, Any]]:
    """Return a plain dict for each instance or proposal.

    Args:
        instances: what a model returned, whole or its instances alone; the dicts have what their fields tell.
        metadata: gives the classes their names; instances that a `Predictor` returned know them.
        mask_format: "polygon", "rle" (needs pycocotools) or "none".

    Returns:
        Per instance ``category_id`` (the model's, from 0), ``category``, ``score``, ``box`` (x1, y1, x2, y2 in pixels,
        or the five numbers of `RotatedBoxes`), ``mask`` (a list of outlines x0 y0 x1 y1 …, or run lengths),
        ``keypoints`` (K lists x, y, score), ``track_id`` (``None`` of one that is not followed); of proposals ``box``
        and ``objectness_logit``.

    Raises:
        LitepredError: run lengths are wanted and pycocotools is missing.
        ValueError: for another ``mask_format``.
    """
    found: Instances = found_in(instances, "instances", "proposals").to("cpu")
    columns = columns_of(found, metadata, mask_format)
    number = len(found) if found.get_fields() else 0
    return [{key: column[i] for key, column in columns.items()} for i in range(number)]


def columns_of(found: Instances, metadata: Metadata | None, mask_format: str) -> dict[str, list[Any]]:
    """Return what `to_dicts` does of instances on the CPU, as a list for each key, empty ones of no instances."""
    written = _write_masks(found, mask_format)
    columns: dict[str, list[Any]] = {}
    if found.has("pred_classes"):
        columns["category_id"] = found.pred_classes.tolist()
        known = named(found, metadata)
        columns["category"] = [class_name(known, label) for label in columns["category_id"]]
    for field, key in (("scores", "score"), ("objectness_logits", "objectness_logit")):
        if found.has(field):
            columns[key] = found.get(field).tolist()
    for field in ("pred_boxes", "proposal_boxes"):
        if found.has(field):
            columns["box"] = found.get(field).tensor.tolist()
    if written is not None:
        columns["mask"] = written
    if found.has("pred_keypoints"):
        columns["keypoints"] = found.pred_keypoints.tolist()
    if found.has("track_ids"):
        columns["track_id"] = [None if i < 0 else i for i in found.track_ids.tolist()]
    return columns


def describe(outputs: Outputs, metadata: Metadata | None = None, mask_format: str = "polygon") -> dict[str, Any]:
    """Return as plain Python all that a predictor found in an image, except the labels of single pixels.

    Args:
        outputs: what a predictor returned for the image.
        metadata: gives the classes their names.
        mask_format: "polygon", "rle" (needs pycocotools) or "none".

    Returns:
        ``instances`` or ``proposals``, as `to_dicts` has them; of a panoptic model also ``segments``, its list with the
        ``category`` of each; of a semantic model ``stuff``: ``category_id``, ``category`` and ``area`` in pixels of
        each class that the image has.

    Raises:
        LitepredError: run lengths are wanted and pycocotools is missing.
    """
    facts: dict[str, Any] = {}
    metadata = metadata_of(metadata)
    for key in ("instances", "proposals"):
        if key in outputs:
            facts[key] = to_dicts(outputs[key], metadata, mask_format)
    if "panoptic_seg" in outputs:
        ids, segments = outputs["panoptic_seg"]
        facts["segments"] = [
            {**one, "category": class_name(metadata, one["category_id"], "thing" if one["isthing"] else "stuff")}
            for one in segments_of(as_numpy(ids), segments, metadata)
        ]
    elif "sem_seg" in outputs and "instances" not in outputs:
        labels, areas = outputs["sem_seg"].max(dim=0).indices.unique(return_counts=True)
        facts["stuff"] = [
            {"category_id": label, "category": class_name(metadata, label, "stuff"), "area": area}
            for label, area in zip(labels.tolist(), areas.tolist())
        ]
    return facts


def _write_masks(instances: Instances, mask_format: str) -> list[Any] | None:
    """Write the masks of instances as run lengths or outlines; return nothing where there are none to write."""
    if mask_format not in _MASKS:
        raise ValueError(f"mask_format is {mask_format!r}: expected one of {', '.join(_MASKS)}")
    if mask_format == "none" or not instances.has("pred_masks"):
        return None
    written: list[Any] = []
    for i in range(len(instances)):
        given = instances.pred_masks[i] if isinstance(instances.pred_masks, list) else None
        if mask_format == "polygon" and isinstance(given, list):
            written.append([np.asarray(polygon).tolist() for polygon in given])
        elif mask_format == "polygon":
            written.append(mask_to_polygons(instance_mask(instances, i)))
        elif isinstance(given, dict) and isinstance(given["counts"], (str, bytes)):  # compressed already
            counts = given["counts"]
            text = counts if isinstance(counts, str) else counts.decode("ascii")
            written.append({"size": list(given["size"]), "counts": text})
        else:
            written.append(mask_to_rle(instance_mask(instances, i)))
    return written


to_coco = instances_to_coco_json


def csv_rows(
    instances: Instances | Outputs, file: str, metadata: Metadata | None = None, frame: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a row of `CSV_COLUMNS` per instance, its box in pixels; a proposal's score is its objectness logit.

    Tracked instances give rows of `TRACKED_COLUMNS`.

    Raises:
        LitepredError: the boxes are rotated.
    """
    for row in to_dicts(instances, metadata, mask_format="none"):
        if len(row["box"]) != 4:
            raise LitepredError("CSV has no column for the angle of a rotated box: write JSON, or COCO's format")
        category = row.get("category_id", ""), row.get("category", "")
        score = row.get("score", row.get("objectness_logit", ""))
        values = (plain_id(file), "" if frame is None else frame, *category, score, *row["box"])
        yield dict(zip(CSV_COLUMNS, values)) | ({"track_id": row["track_id"]} if "track_id" in row else {})


@_with_old_name
def write_coco(
    path: str | os.PathLike[str],
    results: Iterable[tuple[int | str, Instances | Outputs]],
    metadata: Metadata | None = None,
    mask_format: str = "rle",
) -> None:
    """Write COCO's results file, the list that pycocotools' ``loadRes`` takes.

    ``results`` are pairs of image id and instances, taken one at a time. ``metadata`` gives the categories their ids,
    and ``mask_format`` is "rle", "polygon" or "none"; see `instances_to_coco_json`.

    Raises:
        WriteError: the file cannot be written.
        LitepredError: run lengths are wanted and pycocotools is missing; or ``results`` are no such pairs.
    """
    with json_list(path) as extend:
        for image_id, instances in pairs(results, "image_id"):
            extend(instances_to_coco_json(instances, image_id, mask_format=mask_format, metadata=metadata))


def write_csv(
    path: str | os.PathLike[str], results: Iterable[tuple[str, Instances | Outputs]], metadata: Metadata | None = None
) -> None:
    """Write instances as CSV: a line of titles, and a line for each of them, with its class's name in the metadata.

    ``results`` are pairs of file name and instances, taken one at a time.

    Raises:
        WriteError: the file cannot be written.
        LitepredError: ``results`` are no such pairs.
    """
    rest, metadata = pairs(results, "'photo.jpg'"), metadata_of(metadata)
    first = list(islice(rest, 1))
    tracked = any(found_in(found, "instances", "proposals").has("track_ids") for _, found in first)
    with csv_table(path, TRACKED_COLUMNS if tracked else CSV_COLUMNS) as extend:
        for name, instances in chain(first, rest):
            if found_in(instances, "instances", "proposals").has("track_ids") is not tracked:
                raise LitepredError(
                    f"{name!r} has instances {'without' if tracked else 'with'} track_ids, unlike those before: write "
                    "tracked instances and others into two files"
                )
            extend(csv_rows(instances, name, metadata))
