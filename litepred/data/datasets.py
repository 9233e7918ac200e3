"""The well-known data sets: which names there are, and the facts behind each, read from ``names/`` when asked for.

A name is a pattern filled with a split, ``coco_2017_{}`` with ``val``; all splits of a pattern share facts. A file
in ``names/`` is a list of class names in the models' order, or of rows ``[id in the data set, is a thing, RGB, name]``;
``person_skeleton.json`` has a line between two keypoints in each row, with its RGB, and ``page_layout.json`` the facts
themselves. A class's number in a model is its place in the list, to which ``…_dataset_id_to_contiguous_id`` leads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["BUILTIN_NAMES", "builtin_facts"]

Facts = dict[str, Any]

_PAIRED_KEYPOINTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def _read(file: str) -> Any:
    return json.loads((Path(__file__).parent / "names" / file).read_text(encoding="utf-8"))


def _names(kind: str, file: str) -> Facts:
    return {f"{kind}_classes": _read(file)}


def _described(kind: str, rows: list[Any], with_ids: tuple[bool, ...] = (True, False)) -> Facts:
    """Return the facts of rows as classes of a kind, with the ids of things, of stuff, or of both."""
    return {
        f"{kind}_dataset_id_to_contiguous_id": {row[0]: i for i, row in enumerate(rows) if row[1] in with_ids},
        f"{kind}_classes": [row[3] for row in rows],
        f"{kind}_colors": [row[2] for row in rows],
    }


def _coco() -> Facts:
    return _described("thing", [row for row in _read("coco.json") if row[1]])


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
    stuff = [
        [*row[:3], row[3].replace("-other", "").replace("-merged", "")] for row in _read("coco.json") if not row[1]
    ]
    return _coco() | _described("stuff", [[0, False, [82, 18, 128], "things"], *stuff])


def _panoptic(file: str, color: Callable[[list[int]], Any] = list) -> Facts:
    """Things and stuff are numbered together: the list of either holds all classes."""
    rows = [[number, is_thing, color(rgb), name] for number, is_thing, rgb, name in _read(file)]
    return _described("thing", rows, (True,)) | _described("stuff", rows, (False,))


def _cityscapes() -> Facts:
    rows = _read("cityscapes.json")
    return {"thing_classes": [row[3] for row in rows if row[1]], "stuff_classes": [row[3] for row in rows]}


def _torchvision_coco() -> Facts:
    """The 90 classes of torchvision's COCO detectors: COCO's ids less 1, with those that COCO has never used."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    return {"thing_classes": FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:]}


def _eval_as(evaluator_type: str, ignore_label: int | None = None, label_divisor: int | None = None) -> Facts:
    facts = {"evaluator_type": evaluator_type, "ignore_label": ignore_label, "label_divisor": label_divisor}
    return {key: value for key, value in facts.items() if value is not None}


_LVIS_V1, _LVIS_V05 = partial(_names, "thing", "lvis_v1.json"), partial(_names, "thing", "lvis_v0.5.json")
_VOC, _ADE20K = partial(_names, "thing", "voc.json"), partial(_names, "stuff", "ade20k.json")
_COCO_PANOPTIC = partial(_panoptic, "coco.json")
# Its colours are tuples and COCO's are lists: what other code sets again must compare equal.
_CITYSCAPES_PANOPTIC = partial(_panoptic, "cityscapes.json", tuple)

# pattern, splits, reader of the facts that all splits share, what comes on top
_FAMILIES: tuple[tuple[str, str, Callable[[], Facts], Facts], ...] = (
    ("coco_2014_{}", "train val minival valminusminival", _coco, _eval_as("coco")),
    ("coco_2017_{}", "train val test test-dev val_100", _coco, _eval_as("coco")),
    ("keypoints_coco_2014_{}", "train val minival valminusminival", _coco_person, _eval_as("coco")),
    ("keypoints_coco_2017_{}", "train val val_100", _coco_person, _eval_as("coco")),
    ("densepose_coco_2014_{}", "train minival valminusminival", _person, _eval_as("coco")),
    ("coco_2017_{}_panoptic_separated", "train val val_100", _coco_separated, _eval_as("coco_panoptic_seg", 255)),
    ("coco_2017_{}_panoptic_stuffonly", "train val val_100", _coco_separated, _eval_as("sem_seg", 255)),
    ("coco_2017_{}_panoptic", "train val val_100", _COCO_PANOPTIC, _eval_as("coco_panoptic_seg", 255, 1000)),
    ("lvis_v1_{}", "train val test_dev test_challenge", _LVIS_V1, _eval_as("lvis")),
    ("lvis_v0.5_{}", "train val val_rand_100 test", _LVIS_V05, _eval_as("lvis")),
    ("lvis_v0.5_{}_cocofied", "train val", _coco, _eval_as("lvis")),
    ("cityscapes_fine_instance_seg_{}", "train val test", _cityscapes, _eval_as("cityscapes_instance")),
    ("cityscapes_fine_sem_seg_{}", "train val test", _cityscapes, _eval_as("cityscapes_sem_seg", 255)),
    ("cityscapes_fine_panoptic_{}", "train val", _CITYSCAPES_PANOPTIC, _eval_as("cityscapes_panoptic_seg", 255, 1000)),
    ("voc_2007_{}", "trainval train val test", _VOC, _eval_as("pascal_voc") | {"year": 2007}),
    ("voc_2012_{}", "trainval train val", _VOC, _eval_as("pascal_voc") | {"year": 2012}),
    ("ade20k_sem_seg_{}", "train val", _ADE20K, _eval_as("sem_seg", 255)),
    ("torchvision_{}", "coco", _torchvision_coco, _eval_as("coco")),
    ("page_layout_{}", "train val", partial(_read, "page_layout.json"), {}),
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
