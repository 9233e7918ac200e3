"""The data sets that Detectron2 knows by itself: their classes as it lists them, and where their files are.

``places.txt`` has a row for each file or folder: data set, name of the fact, path below the folder of data sets. That
folder is what the environment variable DETECTRON2_DATASETS names, else ``datasets``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..data import MetadataCatalog
from ..data.datasets import builtin_facts
from ..errors import LitepredError
from ..files import read_rows

_root = os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets"))
_EVALUATED_AS = {"evaluator_type", "ignore_label", "label_divisor"}
_METADATA_OF = {
    "coco": "coco_2017_val",
    "coco_panoptic_separated": "coco_2017_val_panoptic_separated",
    "coco_panoptic_standard": "coco_2017_val_panoptic",
    "coco_person": "keypoints_coco_2017_val",
    "cityscapes": "cityscapes_fine_instance_seg_val",
}


def _get_builtin_metadata(dataset_name: str) -> dict[str, Any]:
    """Return the classes, colours and ids of a kind of data set.

    Args:
        dataset_name: "coco", "coco_panoptic_separated", "coco_panoptic_standard", "coco_person" or "cityscapes".

    Raises:
        KeyError: for another name.
    """
    if dataset_name not in _METADATA_OF:
        raise KeyError(f"there is no built-in metadata of {dataset_name!r}: expected one of {', '.join(_METADATA_OF)}")
    return {k: v for k, v in builtin_facts(_METADATA_OF[dataset_name]).items() if k not in _EVALUATED_AS}


def _get_coco_instances_meta() -> dict[str, Any]:
    return _get_builtin_metadata("coco")


def _get_coco_panoptic_separated_meta() -> dict[str, Any]:
    return _get_builtin_metadata("coco_panoptic_separated")


class NoMetadataError(LitepredError, ValueError):
    """Nothing is known of a data set's classes."""


def get_lvis_instances_meta(dataset_name: str) -> dict[str, Any]:
    """Return the class names of LVIS, as ``lvis_v1_…``, ``lvis_v0.5_…`` or with the classes of COCO (``…cocofied``).

    Raises:
        NoMetadataError: the name tells none of them.
    """
    if "cocofied" in dataset_name:
        return _get_coco_instances_meta()
    version = next((one for one in ("v0.5", "v1") if one in dataset_name), None)
    if version is None:
        raise NoMetadataError(
            f"{dataset_name!r} does not tell a version of LVIS: expected 'v0.5', 'v1' or 'cocofied' in the name; "
            "load_lvis_json(json_file, image_root) reads the records without names of classes"
        )
    return {"thing_classes": builtin_facts(f"lvis_{version}_val")["thing_classes"]}


def _categories(name: str) -> list[dict[str, Any]]:
    """Return the classes of a panoptic data set as a list of dicts, in the order of their numbers in a model."""
    facts = builtin_facts(name)
    things, stuff = (facts[f"{kind}_dataset_id_to_contiguous_id"] for kind in ("thing", "stuff"))
    number_of = {**stuff, **things}
    return [
        {
            "color": facts["stuff_colors"][number],
            "isthing": int(dataset_id in things),
            "id": dataset_id,
            "name": facts["stuff_classes"][number],
        }
        for dataset_id, number in sorted(number_of.items(), key=lambda pair: pair[1])
    ]


_PERSON = _get_builtin_metadata("coco_person")
COCO_CATEGORIES = _categories("coco_2017_val_panoptic")
COCO_PERSON_KEYPOINT_NAMES = _PERSON["keypoint_names"]
COCO_PERSON_KEYPOINT_FLIP_MAP = _PERSON["keypoint_flip_map"]
KEYPOINT_CONNECTION_RULES = _PERSON["keypoint_connection_rules"]
CITYSCAPES_CATEGORIES = [
    {**category, "trainId": number} for number, category in enumerate(_categories("cityscapes_fine_panoptic_val"))
]
ADE20K_SEM_SEG_CATEGORIES = builtin_facts("ade20k_sem_seg_val")["stuff_classes"]


def register_all(root: str = _root) -> None:
    """Do nothing, as the known data sets are registered; their files are below DETECTRON2_DATASETS.

    Raises:
        LitepredError: ``root`` is another folder.
    """
    if root != _root:
        raise LitepredError(
            f"the known data sets are registered below {_root!r}, not {root!r}: set DETECTRON2_DATASETS to the folder "
            "before the program starts"
        )


for _name, _fact, _path in read_rows(Path(__file__).with_name("places.txt")):
    MetadataCatalog.get(_name).set(**{_fact: os.path.join(_root, _path)})
