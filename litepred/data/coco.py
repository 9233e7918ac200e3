"""Data sets in COCO's JSON, as records."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import LitepredError
from ..structures import BoxMode
from .metadata import DatasetCatalog, MetadataCatalog

__all__ = ["load_coco_json", "register_coco_instances"]


def load_coco_json(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Read the records of a data set.

    Args:
        json_file: in COCO's format, with ``images``, ``annotations`` and ``categories``.
        image_root: the folder of the images.
        dataset_name: gets the names of the classes, and the numbering where the file's has gaps, as metadata.
        extra_annotation_keys: kept in the annotations besides ``iscrowd``, ``bbox``, ``keypoints`` and ``category_id``.

    Returns:
        A record per image, ordered by ``image_id``: ``file_name``, ``height``, ``width``, ``image_id`` and
        ``annotations``, whose boxes are x y width height. With a ``dataset_name``, classes count from 0 without gaps.

    Raises:
        LitepredError: the file cannot be read, or is not of this format.
    """
    try:
        content = json.loads(Path(json_file).read_text(encoding="utf-8"))
        categories = sorted(content.get("categories", ()), key=lambda category: category["id"])
        images = sorted(content["images"], key=lambda image: image["id"])
        number_of = {category["id"]: number for number, category in enumerate(categories)}
        by_image: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
        keys = ("iscrowd", "bbox", "keypoints", "category_id", *(extra_annotation_keys or ()))
        for annotation in content.get("annotations", ()):
            by_image[annotation["image_id"]].append(_annotation(annotation, keys, number_of if dataset_name else None))
        records = [
            {
                "file_name": os.path.join(image_root, image["file_name"]),
                "height": image["height"],
                "width": image["width"],
                "image_id": image["id"],
                "annotations": by_image[image["id"]],
            }
            for image in images
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LitepredError(
            f"{os.fspath(json_file)} is not a data set in COCO's format ({type(error).__name__}: {error}): expected "
            "JSON with images, annotations and categories"
        ) from error
    if dataset_name is not None:
        names = [category["name"] for category in categories]
        MetadataCatalog.get(dataset_name).set(thing_classes=names, thing_dataset_id_to_contiguous_id=number_of)
    return records


def _annotation(annotation: dict[str, Any], keys: Sequence[str], number_of: dict[Any, int] | None) -> dict[str, Any]:
    kept = {key: annotation[key] for key in keys if key in annotation}
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):  # polygons; those of less than three points enclose nothing
        segmentation = [one for one in segmentation if len(one) % 2 == 0 and len(one) >= 6]
    if segmentation:
        kept["segmentation"] = segmentation
    if "keypoints" in kept:  # COCO numbers pixels; coordinates are half a pixel further
        points = kept["keypoints"]
        kept["keypoints"] = [value if i % 3 == 2 else value + 0.5 for i, value in enumerate(points)]
    kept["bbox_mode"] = BoxMode.XYWH_ABS
    if number_of is not None:
        kept["category_id"] = number_of[annotation["category_id"]]
    return kept


def register_coco_instances(
    name: str, metadata: dict[str, Any], json_file: str | os.PathLike[str], image_root: str | os.PathLike[str]
) -> None:
    """Register a data set in COCO's JSON in the two catalogs; the file is read when its records are asked for.

    Args:
        name: of the data set.
        metadata: what is known of it besides, such as ``{"thing_classes": [...]}``.
        json_file: see `load_coco_json`.
        image_root: see `load_coco_json`.

    Raises:
        AssertionError: the name is taken.
    """
    DatasetCatalog.register(name, lambda: load_coco_json(json_file, image_root, name))
    MetadataCatalog.get(name).set(json_file=json_file, image_root=image_root, evaluator_type="coco", **(metadata or {}))
