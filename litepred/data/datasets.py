"""The well-known data sets: which names there are, and the facts behind each, read from ``names/`` when asked for.

A name is a pattern filled with a split, ``coco_2017_{}`` with ``val``; all splits of a pattern share facts. A file
in ``names/`` is a list of class names in the models' order, or of rows ``[id in the data set, is a thing, RGB, name]``;
``person_skeleton.json`` has a line between two keypoints in each row, with its RGB.
A class's number in a model is its place in the list, where the ``…_dataset_id_to_contiguous_id`` maps lead.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["BUILTIN_NAMES", "builtin_facts"]

Facts = dict[str, Any]

_PAIRED_KEYPOINTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def _read(file: str) -> list[Any]:
    return json.loads((Path(__file__).parent / "names" / file).read_text(encoding="utf-8"))


def _names(kind: str, file: str) -> Callable[[], Facts]:
    return lambda: {f"{kind}_classes": _read(file)}


def _coco() -> Facts:
    rows = [row for row in _read("coco.json") if row[1]]
    return {
        "thing_dataset_id_to_contiguous_id": {row[0]: index for index, row in enumerate(rows)},
        "thing_classes": [name for _, _, _, name in rows],
        "thing_colors": [color for _, _, color, _ in rows],
    }


def _person() -> Facts:
    return {"thing_classes": ["person"]}


def _coco_person() -> Facts:
    pairs = tuple((f"left_{part}", f"right_{part}") for part in _PAIRED_KEYPOINTS)
    return _person() | {
        "keypoint_names": ("nose", *(side for pair in pairs for side in pair)),
        "keypoint_flip_map": pairs,
        "keypoint_connection_rules": [(start, end, tuple(rgb)) for start, end, rgb in _read("person_skeleton.json")],
    }


def _coco_separated() -> Facts:
    """Things and stuff are numbered apart; stuff class 0 stands for all things."""
    rows = [row for row in _read("coco.json") if not row[1]]
    return _coco() | {
        "stuff_dataset_id_to_contiguous_id": {row[0]: index for index, row in enumerate(rows, 1)} | {0: 0},
        "stuff_classes": ["things", *(row[3].replace("-other", "").replace("-merged", "") for row in rows)],
        "stuff_colors": [[82, 18, 128], *(row[2] for row in rows)],
    }


def _panoptic(rows: list[Any]) -> Facts:
    """Things and stuff are numbered together: the list of either holds all classes."""
    facts: Facts = {}
    for kind, is_thing in (("thing", True), ("stuff", False)):
        ids = {row[0]: index for index, row in enumerate(rows) if row[1] is is_thing}
        facts[f"{kind}_dataset_id_to_contiguous_id"] = ids
        facts[f"{kind}_classes"] = [row[3] for row in rows]
        facts[f"{kind}_colors"] = [row[2] for row in rows]
    return facts


def _coco_panoptic() -> Facts:
    return _panoptic(_read("coco.json"))


def _cityscapes_panoptic() -> Facts:
    # tuples here, lists in COCO: what other code sets again must compare equal
    return _panoptic([[number, is_thing, tuple(rgb), name] for number, is_thing, rgb, name in _read("cityscapes.json")])


def _cityscapes() -> Facts:
    rows = _read("cityscapes.json")
    return {"thing_classes": [row[3] for row in rows if row[1]], "stuff_classes": [row[3] for row in rows]}


def _torchvision_coco() -> Facts:
    """The 90 classes of torchvision's COCO detectors: COCO's ids less 1, with those that COCO has never used."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    return {"thing_classes": FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:]}


def _page_layout() -> Facts:
    return {
        "thing_classes": ["text", "title", "list", "table", "figure"],
        "thing_colors": [[72, 118, 214], [222, 88, 60], [64, 160, 92], [150, 92, 190], [236, 164, 44]],
        "stuff_classes": ["things", "page", "surroundings"],
        "stuff_colors": [[120, 120, 120], [238, 232, 213], [108, 112, 104]],
    }


def _eval_as(evaluator_type: str, ignore_label: int | None = None, label_divisor: int | None = None) -> Facts:
    facts = {"evaluator_type": evaluator_type, "ignore_label": ignore_label, "label_divisor": label_divisor}
    return {key: value for key, value in facts.items() if value is not None}


_LVIS_V1, _LVIS_V05 = _names("thing", "lvis_v1.json"), _names("thing", "lvis_v0.5.json")
_VOC, _ADE20K = _names("thing", "voc.json"), _names("stuff", "ade20k.json")

# pattern, splits, reader of the facts that all splits share, what comes on top
_FAMILIES: tuple[tuple[str, str, Callable[[], Facts], Facts], ...] = (
    ("coco_2014_{}", "train val minival valminusminival", _coco, _eval_as("coco")),
    ("coco_2017_{}", "train val test test-dev val_100", _coco, _eval_as("coco")),
    ("keypoints_coco_2014_{}", "train val minival valminusminival", _coco_person, _eval_as("coco")),
    ("keypoints_coco_2017_{}", "train val val_100", _coco_person, _eval_as("coco")),
    ("densepose_coco_2014_{}", "train minival valminusminival", _person, _eval_as("coco")),
    ("coco_2017_{}_panoptic_separated", "train val val_100", _coco_separated, _eval_as("coco_panoptic_seg", 255)),
    ("coco_2017_{}_panoptic_stuffonly", "train val val_100", _coco_separated, _eval_as("sem_seg", 255)),
    ("coco_2017_{}_panoptic", "train val val_100", _coco_panoptic, _eval_as("coco_panoptic_seg", 255, 1000)),
    ("lvis_v1_{}", "train val test_dev test_challenge", _LVIS_V1, _eval_as("lvis")),
    ("lvis_v0.5_{}", "train val val_rand_100 test", _LVIS_V05, _eval_as("lvis")),
    ("lvis_v0.5_{}_cocofied", "train val", _coco, _eval_as("lvis")),
    ("cityscapes_fine_instance_seg_{}", "train val test", _cityscapes, _eval_as("cityscapes_instance")),
    ("cityscapes_fine_sem_seg_{}", "train val test", _cityscapes, _eval_as("cityscapes_sem_seg", 255)),
    ("cityscapes_fine_panoptic_{}", "train val", _cityscapes_panoptic, _eval_as("cityscapes_panoptic_seg", 255, 1000)),
    ("voc_2007_{}", "trainval train val test", _VOC, _eval_as("pascal_voc") | {"year": 2007}),
    ("voc_2012_{}", "trainval train val", _VOC, _eval_as("pascal_voc") | {"year": 2012}),
    ("ade20k_sem_seg_{}", "train val", _ADE20K, _eval_as("sem_seg", 255)),
    ("torchvision_{}", "coco", _torchvision_coco, _eval_as("coco")),
    ("page_layout_{}", "train val", _page_layout, {}),
)
_BUILTIN = {
    pattern.format(split): (read, extra | ({"split": split} if read is _VOC else {}))
    for pattern, splits, read, extra in _FAMILIES
    for split in splits.split()
}

BUILTIN_NAMES: tuple[str, ...] = tuple(_BUILTIN)
"""The names that `builtin_facts` knows."""


def builtin_facts(name: str) -> Facts:
    """Return the facts of one of `BUILTIN_NAMES` in new containers: classes, RGB colours (0-255), id maps, keypoints.

    Raises:
        KeyError: for another name.
    """
    read, extra = _BUILTIN[name]
    return read() | extra
