"""Turn what a model found into plain Python and into files: COCO's formats, CSV, JSON and label pictures.

N instances of one image, K keypoints of each, H × W pixels. A file is written whole or not at all. Lists are written
entry by entry, so that a run over any number of images needs the memory of one.
"""

from __future__ import annotations

import codecs
import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .data import Metadata, class_name, dataset_ids
from .files import whole_file
from .structures import Instances, instance_mask, mask_to_polygons, mask_to_rle

__all__ = [
    "CSV_COLUMNS",
    "csv_rows",
    "csv_table",
    "id_to_rgb",
    "instances_to_coco_json",
    "json_list",
    "panoptic_annotation",
    "panoptic_categories",
    "rgb_to_id",
    "to_dicts",
    "write_coco",
    "write_csv",
    "write_json",
    "write_labels",
    "write_panoptic",
]

CSV_COLUMNS = ("file", "frame", "category_id", "category", "score", "x1", "y1", "x2", "y2")
Extend = Callable[[Iterable[Any]], None]

_MASKS = ("rle", "polygon", "none")
_MAX_ID = (1 << 24) - 1
_MANY = 1000  # where the ids of stuff begin when the number of thing classes is not known


def instances_to_coco_json(
    instances: Instances, img_id: int | str, *, masks: str = "rle", metadata: Metadata | None = None
) -> list[dict[str, Any]]:
    """Return instances as the entries of COCO's results format, which pycocotools' ``loadRes`` takes.

    Args:
        instances: with ``pred_boxes``, ``scores`` and ``pred_classes``, and perhaps ``pred_masks`` in any format and
            ``pred_keypoints`` (N, K, 3). They are not changed.
        img_id: the image's id, for every entry.
        masks: "rle" (needs pycocotools); "polygon" for outlines, which cannot show holes and which ``loadRes`` does
            not take; or "none".
        metadata: with ``thing_dataset_id_to_contiguous_id``, categories get the data set's own ids; otherwise, as in
            Detectron2's function of this name, they are the model's, from 0.

    Returns:
        A dict per instance: ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in pixels), ``score``,
        ``segmentation`` (``{"size", "counts"}`` with ``counts`` as text, or a list of x0 y0 x1 y1 …), and
        ``keypoints`` (x0 y0 score0 x1 …, 0 being the centre of the first pixel, as COCO counts).

    Raises:
        LitepredError: run lengths are wanted and pycocotools is missing.
        ValueError: for other ``masks``, or a class that the metadata have no id for.
    """
    instances = instances.to("cpu")
    written = _write_masks(instances, masks)
    if not len(instances):
        return []
    boxes = instances.pred_boxes.tensor.detach().clone()
    boxes[:, 2:] -= boxes[:, :2]
    ids, labels = dataset_ids(metadata), instances.pred_classes.tolist()
    unknown = [label for label in labels if label not in ids]
    if ids and unknown:
        raise ValueError(
            f"an instance has the class {min(unknown)}, but thing_dataset_id_to_contiguous_id of the metadata leads to "
            f"{len(ids)} classes: pass the metadata of the data set that the model was trained on, or none"
        )
    columns: dict[str, list[Any]] = {
        "image_id": [img_id] * len(labels),
        "category_id": [ids.get(label, label) for label in labels],
        "bbox": boxes.tolist(),
        "score": instances.scores.tolist(),
    }
    if written is not None:
        columns["segmentation"] = written
    if instances.has("pred_keypoints"):
        keypoints = instances.pred_keypoints.detach().clone()
        keypoints[:, :, :2] -= 0.5
        columns["keypoints"] = keypoints.flatten(1).tolist()
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


def to_dicts(instances: Instances, metadata: Metadata | None = None, masks: str = "polygon") -> list[dict[str, Any]]:
    """Return a plain dict for each instance or proposal.

    Args:
        instances: what a model returned; the dicts have what its fields tell.
        metadata: gives the classes their names.
        masks: "polygon", "rle" (needs pycocotools) or "none".

    Returns:
        Per instance ``category_id`` (the model's, from 0), ``category``, ``score``, ``box`` (x1, y1, x2, y2 in pixels),
        ``mask`` (a list of outlines x0 y0 x1 y1 …, or run lengths), ``keypoints`` (K lists x, y, score); of proposals
        ``box`` and ``objectness_logit``.

    Raises:
        LitepredError: run lengths are wanted and pycocotools is missing.
        ValueError: for other ``masks``.
    """
    instances = instances.to("cpu")
    written = _write_masks(instances, masks)
    columns: dict[str, Any] = {}
    if instances.has("pred_classes"):
        columns["category_id"] = instances.pred_classes.tolist()
        columns["category"] = [class_name(metadata or Metadata(), label) for label in columns["category_id"]]
    for field, key in (("scores", "score"), ("objectness_logits", "objectness_logit")):
        if instances.has(field):
            columns[key] = instances.get(field).tolist()
    for field in ("pred_boxes", "proposal_boxes"):
        if instances.has(field):
            columns["box"] = instances.get(field).tensor.tolist()
    if written is not None:
        columns["mask"] = written
    if instances.has("pred_keypoints"):
        columns["keypoints"] = instances.pred_keypoints.tolist()
    number = len(instances) if instances.get_fields() else 0
    return [{key: column[i] for key, column in columns.items()} for i in range(number)]


def _write_masks(instances: Instances, masks: str) -> list[Any] | None:
    """Write the masks of instances as run lengths or outlines; return nothing where there are none to write."""
    if masks not in _MASKS:
        raise ValueError(f"masks is {masks!r}: expected one of {', '.join(_MASKS)}")
    if masks == "none" or not instances.has("pred_masks"):
        return None
    written: list[Any] = []
    for i in range(len(instances)):
        given = instances.pred_masks[i] if isinstance(instances.pred_masks, list) else None
        if masks == "polygon" and isinstance(given, list):
            written.append([np.asarray(polygon).tolist() for polygon in given])
        elif masks == "polygon":
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
                file.write((separator + json.dumps(entry)).encode())
                separator = ",\n"

        file.write(f"{{{json.dumps(key)}: [".encode() if key else b"[")
        yield extend
        file.write(b"\n]")
        for other, value in (rest or {}).items():
            file.write(f",\n{json.dumps(other)}: {json.dumps(value)}".encode())
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
    instances: Instances, file: str, metadata: Metadata | None = None, frame: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a row of `CSV_COLUMNS` per instance, its box in pixels; a proposal's score is its objectness logit."""
    for row in to_dicts(instances, metadata, masks="none"):
        category = row.get("category_id", ""), row.get("category", "")
        score = row.get("score", row.get("objectness_logit", ""))
        yield dict(zip(CSV_COLUMNS, (file, "" if frame is None else frame, *category, score, *row["box"])))


def write_coco(
    path: str | os.PathLike[str],
    results: Iterable[tuple[int | str, Instances]],
    metadata: Metadata | None = None,
    masks: str = "rle",
) -> None:
    """Write COCO's results file, the list that pycocotools' ``loadRes`` takes.

    ``results`` are pairs of image id and instances, taken one at a time. ``metadata`` gives the categories their ids,
    and ``masks`` is "rle", "polygon" or "none"; see `instances_to_coco_json`.

    Raises:
        WriteError: the file cannot be written.
        LitepredError: run lengths are wanted and pycocotools is missing.
    """
    with json_list(path) as extend:
        for image_id, instances in results:
            extend(instances_to_coco_json(instances, image_id, masks=masks, metadata=metadata))


def write_csv(
    path: str | os.PathLike[str], results: Iterable[tuple[str, Instances]], metadata: Metadata | None = None
) -> None:
    """Write instances as CSV: a line of titles, and a line for each of them, with its class's name in the metadata.

    ``results`` are pairs of file name and instances, taken one at a time.

    Raises:
        WriteError: the file cannot be written.
    """
    with csv_table(path) as extend:
        for name, instances in results:
            extend(csv_rows(instances, name, metadata))


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write plain Python as JSON.

    Raises:
        WriteError: the file cannot be written.
    """
    with whole_file(path) as file:
        file.write(f"{json.dumps(content)}\n".encode())


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
    metadata = metadata or Metadata()
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
    panoptic_seg: tuple[Tensor, Sequence[Mapping[str, Any]]],
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

    array, segments = panoptic_seg[0].cpu().numpy(), panoptic_seg[1]
    infos = []
    for segment in segments:
        inside = array == segment["id"]
        kind = "thing" if segment["isthing"] else "stuff"
        info = {
            "id": int(segment["id"]),
            "category_id": _category_id(metadata or Metadata(), kind, int(segment["category_id"])),
            "isthing": kind == "thing",
            "area": int(np.count_nonzero(inside)),
            "bbox": list(cv2.boundingRect(inside.view(np.uint8))),
            "iscrowd": 0,
        }
        infos.append(info | ({"score": float(segment["score"])} if "score" in segment else {}))
    return {"image_id": image_id, "file_name": file_name, "segments_info": infos}


def write_panoptic(path: str | os.PathLike[str], ids: Tensor | np.ndarray) -> None:
    """Write segment ids (H, W) as COCO's panoptic PNG.

    Raises:
        WriteError: the file cannot be written.
        ValueError: an id is negative or has more than 24 bits.
    """
    picture = Image.fromarray(id_to_rgb(torch.as_tensor(ids).cpu().numpy()))
    with whole_file(path) as file:
        picture.save(file, format="PNG")


def write_labels(path: str | os.PathLike[str], sem_seg: Tensor | np.ndarray) -> None:
    """Write the class of each pixel as a gray PNG: 8 bits per pixel, or 16 where a class is above 255.

    ``sem_seg`` is logits or probabilities (C, H, W), or labels (H, W) of an integer type.

    Raises:
        WriteError: the file cannot be written.
        ValueError: for another shape, or labels that 16 bits do not hold.
    """
    labels = torch.as_tensor(sem_seg)
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
