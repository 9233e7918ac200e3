"""Panoptic and semantic segmentations as COCO's panoptic format and as label pictures, H × W pixels each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..data import Metadata, as_list, as_metadata, class_name, dataset_ids, segments_of
from ..files import whole_file
from ..structures import Outputs
from ..structures.boxes import as_numpy, as_tensor
from .files import plain_id
from .instances import category_id, found_in

__all__ = [
    "id_to_rgb",
    "panoptic_annotation",
    "panoptic_categories",
    "rgb_to_id",
    "write_labels",
    "write_panoptic",
]

_MAX_ID = (1 << 24) - 1
_MANY = 1000  # where the ids of stuff begin when the number of thing classes is not known


def id_to_rgb(ids: np.ndarray | Tensor) -> np.ndarray:
    """Turn segment ids (H, W) into colours (H, W, 3) uint8 RGB: id = R + 256 G + 65536 B (COCO panoptic).

    Raises:
        ValueError: an id is negative or has more than 24 bits.
    """
    ids = as_numpy(ids)
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) <= _MAX_ID:
        raise ValueError(f"segment ids go from {ids.min()} to {ids.max()}: a colour holds 0 to {_MAX_ID}")
    ids = ids.astype(np.uint32)
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)


def rgb_to_id(image: np.ndarray | Tensor) -> np.ndarray:
    """Read colours (H, W, 3) uint8 RGB as segment ids (H, W) int32."""
    image = as_numpy(image).astype(np.int32)
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
        for i in dataset_ids(metadata, kind) or range(len(as_list(metadata.get(f"{kind}_classes"))))
    ]


def _category_id(metadata: Metadata, kind: str, label: int) -> int:
    """Return the data set's id of a class, else a number that no other class of the model has."""
    first = 0 if kind == "thing" else len(as_list(metadata.get("thing_classes"))) or _MANY
    return category_id(label, dataset_ids(metadata, kind), kind, first + label)


def panoptic_annotation(
    panoptic_seg: tuple[Tensor, Sequence[Mapping[str, Any]] | None] | Outputs,
    image_id: int | str,
    file_name: str,
    metadata: Metadata | None = None,
) -> dict[str, Any]:
    """Describe a panoptic segmentation as an entry of COCO's panoptic ``annotations``.

    Args:
        panoptic_seg: segment ids (H, W), 0 being nothing, and a dict for each segment with ``id``, ``isthing`` and
            ``category_id``. Without that list the numbers are class · ``metadata.label_divisor`` + instance, or -1 for
            nothing, and become larger by one, here as in `write_panoptic`.
        image_id: id of the image.
        file_name: name of the PNG.
        metadata: gives the categories their ids; see `panoptic_categories`.

    Returns:
        ``image_id``, ``file_name`` and ``segments_info``, each with ``id``, ``category_id``, ``isthing``, ``area``,
        ``bbox`` (x, y, width, height) and ``iscrowd``, and ``score`` where it has one.

    Raises:
        ConfigError: the metadata have ids, but none for a class that was found.
        LitepredError: ``image_id`` is several.
    """
    import cv2

    ids, segments = found_in(panoptic_seg, "panoptic_seg")
    array, shift = as_numpy(ids), int(segments is None)
    infos = []
    for segment in segments_of(array, segments, metadata):
        inside = array == segment["id"]
        kind = "thing" if segment["isthing"] else "stuff"
        info = {
            "id": int(segment["id"]) + shift,
            "category_id": _category_id(as_metadata(metadata), kind, int(segment["category_id"])),
            "isthing": kind == "thing",
            "area": int(np.count_nonzero(inside)),
            "bbox": list(cv2.boundingRect(inside.view(np.uint8))),
            "iscrowd": 0,
        }
        infos.append(info | ({"score": float(segment["score"])} if "score" in segment else {}))
    return {"image_id": plain_id(image_id), "file_name": file_name, "segments_info": infos}


def write_panoptic(path: str | os.PathLike[str], ids: Tensor | np.ndarray | tuple[Tensor, Any] | Outputs) -> None:
    """Write segment ids (H, W) as COCO's panoptic PNG; they may come with their list, as in ``panoptic_seg``.

    Raises:
        WriteError: the file cannot be written.
        ValueError: an id is negative or has more than 24 bits.
    """
    found = found_in(ids, "panoptic_seg")
    found, segments = found if isinstance(found, tuple) else (found, ())
    numbers = as_tensor(found).cpu().numpy() + (segments is None)
    picture = Image.fromarray(id_to_rgb(numbers))
    with whole_file(path) as file:
        picture.save(file, format="PNG")


def write_labels(path: str | os.PathLike[str], sem_seg: Tensor | np.ndarray | Outputs) -> None:
    """Write the class of each pixel as a gray PNG: 8 bits per pixel, or 16 where a class is above 255.

    ``sem_seg`` is logits or probabilities (C, H, W), or labels (H, W) of an integer type.

    Raises:
        WriteError: the file cannot be written.
        ValueError: for another shape, or labels that 16 bits do not hold.
    """
    labels = as_tensor(found_in(sem_seg, "sem_seg"))
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
