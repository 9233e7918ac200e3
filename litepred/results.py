"""Turn what a model found into plain Python and into files: COCO's formats, CSV, JSON and label pictures.

N instances of one image, K keypoints of each, H × W pixels. A file is written whole or not at all. Lists are written
entry by entry, so that a run over any number of images needs the memory of one.
"""

from __future__ import annotations

import codecs
import csv
import functools
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .data import Metadata, as_metadata, class_name, dataset_ids
from .errors import LitepredError
from .files import whole_file
from .structures import Instances, Outputs, instance_mask, mask_to_polygons, mask_to_rle

__all__ = [
    "CSV_COLUMNS",
    "csv_rows",
    "csv_table",
    "describe",
    "id_to_rgb",
    "instances_to_coco_json",
    "json_list",
    "panoptic_annotation",
    "panoptic_categories",
    "plain",
    "rgb_to_id",
    "to_dicts",
    "write_coco",
    "write_csv",
    "write_json",
    "write_labels",
    "write_panoptic",
]

CSV_COLUMNS = ("file", "frame", "category_id", "category", "score", "x1", "y1", "x2", "y2")
P = ParamSpec("P")
T = TypeVar("T")
Extend = Callable[[Iterable[Any]], None]

_MASKS = ("rle", "polygon", "none")
_MAX_ID = (1 << 24) - 1
_MANY = 1000  # where the ids of stuff begin when the number of thing classes is not known


def plain(value: Any) -> Any:
    """Return a number, an id or a list as Python has it, where it came as NumPy's or torch's, or as a path.

    Raises:
        LitepredError: it is something else.
    """
    if isinstance(value, (np.generic, np.ndarray, Tensor)):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, (bool, int, float, str, list, tuple, dict)):
        return value
    raise LitepredError(
        f"{value!r:.100} is a {type(value).__name__}, for which JSON has no form: expected numbers, texts, lists, dicts"
    )


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


def _found(given: Any, *keys: str) -> Any:
    """Return what is meant: it, or of a predictor's whole answer what is under the first of some keys.

    Raises:
        LitepredError: the answer has none of them, or it is neither.
    """
    if isinstance(given, Mapping):
        if found := [given[key] for key in keys if key in given]:
            return found[0]
        raise LitepredError(f"a dict with {', '.join(map(str, given)) or 'nothing'} came: expected {keys[0]!r} in it")
    if "instances" in keys and not hasattr(given, "get_fields"):
        raise LitepredError(f"{given!r:.60} came: expected instances, as outputs['instances'] of a predictor")
    return given


def _pairs(results: Iterable[tuple[T, Any]], name: str) -> Iterator[tuple[T, Any]]:
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
        LitepredError: run lengths are wanted and pycocotools is missing.
        ValueError: for another ``mask_format``, or a class that the metadata have no id for.
    """
    found: Instances = _found(instances, "instances").to("cpu")
    written = _write_masks(found, mask_format)
    if not len(found):
        return []
    boxes = found.pred_boxes.tensor.detach().clone()
    if boxes.shape[1] == 4:
        boxes[:, 2:] -= boxes[:, :2]
    ids, labels = dataset_ids(metadata), found.pred_classes.tolist()
    unknown = [label for label in labels if label not in ids]
    if ids and unknown:
        raise ValueError(
            f"an instance has the class {min(unknown)}, but thing_dataset_id_to_contiguous_id of the metadata leads to "
            f"{len(ids)} classes: pass the metadata of the data set that the model was trained on, or none"
        )
    columns: dict[str, list[Any]] = {
        "image_id": [plain(img_id)] * len(labels),
        "category_id": [ids.get(label, label) for label in labels],
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
        metadata: gives the classes their names.
        mask_format: "polygon", "rle" (needs pycocotools) or "none".

    Returns:
        Per instance ``category_id`` (the model's, from 0), ``category``, ``score``, ``box`` (x1, y1, x2, y2 in pixels,
        or the five numbers of `RotatedBoxes`), ``mask`` (a list of outlines x0 y0 x1 y1 …, or run lengths),
        ``keypoints`` (K lists x, y, score); of proposals ``box`` and ``objectness_logit``.

    Raises:
        LitepredError: run lengths are wanted and pycocotools is missing.
        ValueError: for another ``mask_format``.
    """
    found: Instances = _found(instances, "instances", "proposals").to("cpu")
    written = _write_masks(found, mask_format)
    columns: dict[str, Any] = {}
    if found.has("pred_classes"):
        columns["category_id"] = found.pred_classes.tolist()
        columns["category"] = [class_name(metadata, label) for label in columns["category_id"]]
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
    number = len(found) if found.get_fields() else 0
    return [{key: column[i] for key, column in columns.items()} for i in range(number)]


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
    for key in ("instances", "proposals"):
        if key in outputs:
            facts[key] = to_dicts(outputs[key], metadata, mask_format)
    if "panoptic_seg" in outputs:
        facts["segments"] = [
            {**one, "category": class_name(metadata, one["category_id"], "thing" if one["isthing"] else "stuff")}
            for one in outputs["panoptic_seg"][1]
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


@contextmanager
def json_list(path: str | os.PathLike[str], key: str = "", rest: Mapping[str, Any] | None = None) -> Iterator[Extend]:
    """Open a JSON file that holds a list, in a ``with`` block, and give the function that adds entries.

    The file appears at the end of the block, whole, and not at all when the block raises.

    Args:
        path: path of the file.
        key: key of the list, if the file is to be an object with the list in it.
        rest: the other keys of that object; it is read at the end, so that it can be filled meanwhile.

    Raises:
        WriteError: the file cannot be written.
    """
    with whole_file(path) as file:
        separator = "\n"

        def extend(entries: Iterable[Any]) -> None:
            nonlocal separator
            for entry in entries:
                file.write((separator + json.dumps(entry, default=plain)).encode())
                separator = ",\n"

        file.write(f"{{{json.dumps(key)}: [".encode() if key else b"[")
        yield extend
        file.write(b"\n]")
        for other, value in (rest or {}).items():
            file.write(f",\n{json.dumps(other)}: {json.dumps(value, default=plain)}".encode())
        file.write(b"}\n" if key else b"\n")


@contextmanager
def csv_table(path: str | os.PathLike[str], columns: Sequence[str] = CSV_COLUMNS) -> Iterator[Extend]:
    """Open a CSV file with a line of titles, in a ``with`` block, and give the function that adds rows, as dicts.

    The file appears at the end of the block, whole, and not at all when the block raises.

    Raises:
        WriteError: the file cannot be written.
    """
    with whole_file(path) as file:
        text = codecs.getwriter("utf-8")(file, "backslashreplace")  # names of files may hold what is no text
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        yield writer.writerows


def csv_rows(
    instances: Instances | Outputs, file: str, metadata: Metadata | None = None, frame: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a row of `CSV_COLUMNS` per instance, its box in pixels; a proposal's score is its objectness logit.

    Raises:
        LitepredError: the boxes are rotated.
    """
    for row in to_dicts(instances, metadata, mask_format="none"):
        if len(row["box"]) != 4:
            raise LitepredError("CSV has no column for the angle of a rotated box: write JSON, or COCO's format")
        category = row.get("category_id", ""), row.get("category", "")
        score = row.get("score", row.get("objectness_logit", ""))
        yield dict(zip(CSV_COLUMNS, (file, "" if frame is None else frame, *category, score, *row["box"])))


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
        for image_id, instances in _pairs(results, "image_id"):
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
    with csv_table(path) as extend:
        for name, instances in _pairs(results, "'photo.jpg'"):
            extend(csv_rows(instances, name, metadata))


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write plain Python as JSON.

    Raises:
        WriteError: the file cannot be written.
    """
    with whole_file(path) as file:
        file.write(f"{json.dumps(content, default=plain)}\n".encode())


def id_to_rgb(ids: np.ndarray) -> np.ndarray:
    """Turn segment ids (H, W) into colours (H, W, 3) uint8 RGB: id = R + 256 G + 65536 B (COCO panoptic).

    Raises:
        ValueError: an id is negative or has more than 24 bits.
    """
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) <= _MAX_ID:
        raise ValueError(f"segment ids go from {ids.min()} to {ids.max()}: a colour holds 0 to {_MAX_ID}")
    ids = ids.astype(np.uint32)
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)


def rgb_to_id(image: np.ndarray) -> np.ndarray:
    """Read colours (H, W, 3) uint8 RGB as segment ids (H, W) int32."""
    image = image.astype(np.int32)
    return image[..., 0] + (image[..., 1] << 8) + (image[..., 2] << 16)


def panoptic_categories(metadata: Metadata | None) -> list[dict[str, Any]]:
    """Return the ``categories`` of a COCO panoptic file: a dict per class with ``id``, ``name`` and ``isthing``.

    Args:
        metadata: names of the classes, and their ids in the data set, if it has ``thing_dataset_id_to_contiguous_id``
            and ``stuff_dataset_id_to_contiguous_id``; else the ids count from 0, stuff after things.
    """
    metadata = as_metadata(metadata)
    return [
        {"id": _category_id(metadata, kind, i), "name": class_name(metadata, i, kind), "isthing": int(kind == "thing")}
        for kind in ("thing", "stuff")
        for i in dataset_ids(metadata, kind) or range(len(metadata.get(f"{kind}_classes") or ()))
    ]


def _category_id(metadata: Metadata, kind: str, label: int) -> int:
    """Return the data set's id of a class, else a number that no other class of the model has."""
    first = 0 if kind == "thing" else len(metadata.get("thing_classes") or ()) or _MANY
    return dataset_ids(metadata, kind).get(label, first + label)


def panoptic_annotation(
    panoptic_seg: tuple[Tensor, Sequence[Mapping[str, Any]]] | Outputs,
    image_id: int | str,
    file_name: str,
    metadata: Metadata | None = None,
) -> dict[str, Any]:
    """Describe a panoptic segmentation as an entry of COCO's panoptic ``annotations``.

    Args:
        panoptic_seg: segment ids (H, W), 0 being nothing, and a dict for each segment with ``id``, ``isthing`` and
            ``category_id``.
        image_id: id of the image.
        file_name: name of the PNG.
        metadata: gives the categories their ids; see `panoptic_categories`.

    Returns:
        ``image_id``, ``file_name`` and ``segments_info``, each with ``id``, ``category_id``, ``isthing``, ``area``,
        ``bbox`` (x, y, width, height) and ``iscrowd``, and ``score`` where it has one.
    """
    import cv2

    ids, segments = _found(panoptic_seg, "panoptic_seg")
    array = ids.cpu().numpy()
    infos = []
    for segment in segments:
        inside = array == segment["id"]
        kind = "thing" if segment["isthing"] else "stuff"
        info = {
            "id": int(segment["id"]),
            "category_id": _category_id(as_metadata(metadata), kind, int(segment["category_id"])),
            "isthing": kind == "thing",
            "area": int(np.count_nonzero(inside)),
            "bbox": list(cv2.boundingRect(inside.view(np.uint8))),
            "iscrowd": 0,
        }
        infos.append(info | ({"score": float(segment["score"])} if "score" in segment else {}))
    return {"image_id": plain(image_id), "file_name": file_name, "segments_info": infos}


def write_panoptic(path: str | os.PathLike[str], ids: Tensor | np.ndarray | tuple[Tensor, Any] | Outputs) -> None:
    """Write segment ids (H, W) as COCO's panoptic PNG; they may come with their list, as in ``panoptic_seg``.

    Raises:
        WriteError: the file cannot be written.
        ValueError: an id is negative or has more than 24 bits.
    """
    found = _found(ids, "panoptic_seg")
    found = found[0] if isinstance(found, tuple) else found
    picture = Image.fromarray(id_to_rgb(torch.as_tensor(found).cpu().numpy()))
    with whole_file(path) as file:
        picture.save(file, format="PNG")


def write_labels(path: str | os.PathLike[str], sem_seg: Tensor | np.ndarray | Outputs) -> None:
    """Write the class of each pixel as a gray PNG: 8 bits per pixel, or 16 where a class is above 255.

    ``sem_seg`` is logits or probabilities (C, H, W), or labels (H, W) of an integer type.

    Raises:
        WriteError: the file cannot be written.
        ValueError: for another shape, or labels that 16 bits do not hold.
    """
    labels = torch.as_tensor(_found(sem_seg, "sem_seg"))
    labels = labels.max(dim=0).indices if labels.ndim == 3 else labels
    if labels.ndim != 2 or labels.is_floating_point():
        raise ValueError(
            f"sem_seg came as {labels.dtype} of shape {tuple(labels.shape)}: expected logits (C, H, W) or labels (H, W)"
        )
    array = labels.cpu().numpy()
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if not 0 <= low <= high <= 65535:
        raise ValueError(f"labels go from {low} to {high}: a PNG holds 0 to 65535")
    picture = Image.fromarray(array.astype(np.uint8 if high < 256 else np.uint16))
    with whole_file(path) as file:
        picture.save(file, format="PNG")
