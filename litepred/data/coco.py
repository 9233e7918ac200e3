"""Annotation files in COCO's format: reading them, and refusing those that contradict themselves."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from ..errors import LitepredError, package, wording
from .metadata import MetadataCatalog

__all__ = [
    "check_known",
    "check_references",
    "check_unique",
    "is_listed",
    "is_number",
    "load_coco_json",
    "read_annotations",
    "tell_elsewhere",
]

# By a key that an annotation has: a key that tells its kind of file from the other, and who takes such a file.
_OTHER_FILES = {
    "segments_info": ("segments_info", "panoptic", "PanopticEvaluator", "--panoptic-annotations"),
    "bbox": ("bbox", "instance", "COCOEvaluator", "--annotations"),
}
_XYWH_ABS = 1  # as in litepred.structures.BoxMode


def read_annotations(
    path: str | os.PathLike[str], records: Mapping[str, Collection[str]], optional: Collection[str] = ()
) -> dict[str, Any]:
    """Read a JSON file with lists of these names, of which ``optional`` may be missing; entries are dicts with keys.

    Raises:
        LitepredError: it cannot be read, or has something else in it.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise LitepredError(f"the annotations {str(path)!r} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise LitepredError(f"the annotations {str(path)!r} are not JSON: {error}") from error
    if isinstance(content, dict):
        records = {key: fields for key, fields in records.items() if key in content or key not in optional}
    missing = [key for key in records if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise LitepredError(
            f"the annotations {str(path)!r} have no {', '.join(missing)}: "
            "expected a COCO file, such as instances_val2017.json"
        )
    for name, keys in records.items():
        for one in content[name]:
            if isinstance(one, dict) and all(key in one for key in keys):
                continue
            other = next((told for key, told in _OTHER_FILES.items() if isinstance(one, dict) and key in one), None)
            if other is not None and other[0] not in keys:
                kind, python, command = other[1:]
                raise LitepredError(
                    f"{str(path)!r} has {kind} annotations: pass it {wording(f'to {python}', f'as {command}')}"
                )
            lacks = f"one without {', '.join(key for key in keys if key not in one)}" if isinstance(one, dict) else one
            raise LitepredError(
                f"the annotations {str(path)!r} have among their {name} {lacks!s:.80}: expected a dict with "
                f"{', '.join(keys)}"
            )
    return content


def check_references(content: Mapping[str, Any], name: str) -> None:
    """Check that ids are unique and lead to something, and that the rest can be; ``name`` is the file's.

    What may be meant, but makes annotations count for nothing, is told in warnings: images that the file does not list,
    as files of a part of a data set have them; boxes that are empty or leave their image; crowds alone. So are images
    of one file, and categories of one name.

    Raises:
        LitepredError: an id stands twice or leads nowhere, there are no categories, or a name, box or area is none.
    """
    if not content["categories"]:
        raise LitepredError(f"{name} has no categories: expected one for each class of the model")
    for kind in ("images", "categories", "annotations"):
        check_unique(content[kind], "id", kind, name)
    images = {one["id"]: one for one in content["images"]}
    categories = {one["id"] for one in content["categories"]}
    for kind, ids in (("images", images), ("categories", categories)):
        if len({isinstance(one, str) for one in ids}) > 1:
            raise LitepredError(f"{name} has numbers and texts as ids of its {kind}: write them all as numbers")
    for one in images.values():
        if not isinstance(one.get("file_name", ""), str):  # LVIS's images have none
            raise LitepredError(f"{name} has an image whose file_name is {one['file_name']!r:.100}: expected a text")
    for told, values in (
        ("images of one file", [one["file_name"] for one in images.values() if "file_name" in one]),
        ("categories of one name", [one["name"] for one in content["categories"] if "name" in one]),
    ):
        shared = next((one for one, number in Counter(map(str, values)).items() if number > 1), None)
        if shared is not None:
            warnings.warn(f"{name} has several {told}, such as {shared!r}", stacklevel=4)
    texts = set(map(str, images))
    counts: Counter[str] = Counter()
    for one in content["annotations"]:
        who = f"the annotation {one['id']!r} of {name} has the"
        check_known(one["category_id"], categories, f"{who} category_id")
        counts["elsewhere"] += not is_listed(one["image_id"], images, texts, f"{who} image_id")
        box = one["bbox"]
        if not isinstance(box, list) or len(box) not in (4, 5) or not all(map(is_number, box)):
            raise LitepredError(f"{who} bbox {box!r:.100}: expected x, y, width, height, and an angle of rotated boxes")
        if not all(map(math.isfinite, box)) or min(box[2:4]) < 0:
            raise LitepredError(f"{who} bbox {box!r:.100}: expected finite numbers, and no width or height below 0")
        if not is_number(one["area"]) or not one["area"] >= 0:
            raise LitepredError(f"{who} area {one['area']!r:.100}: expected a number of pixels, 0 or more")
        if one.get("iscrowd", 0) not in (0, 1):  # LVIS has no crowds
            raise LitepredError(f"{who} iscrowd {one['iscrowd']!r:.100}: expected 0 or 1")
        image = images.get(one["image_id"], {})
        sides = [side if is_number(side := image.get(key)) else math.inf for key in ("width", "height")]
        counts["empty"] += not (box[2] and box[3])
        counts["outside"] += len(box) == 4 and any(box[i] < -1 or box[i] + box[i + 2] > sides[i] + 1 for i in range(2))
        counts["fractions"] += max(box) <= 1
        counts["crowds"] += bool(one.get("iscrowd"))
    _tell(counts, len(content["annotations"]), name)


def _tell(counts: Mapping[str, int], number: int, name: str) -> None:
    if number and counts["elsewhere"] == number:
        raise LitepredError(
            f"{number} of {number} annotations of {name} are of images that it does not list: do the image_ids belong "
            "to another file?"
        )
    tell_elsewhere(counts["elsewhere"], number, name, stacklevel=6)
    if number and counts["fractions"] == number:
        raise LitepredError(f"no box of {name} is larger than a pixel: expected x, y, width, height in pixels")
    boxes = f"of {number} annotations of {name} have a bbox"
    for message, matters in (
        (f"{counts['empty']} {boxes} without area, in which nothing can be found", counts["empty"]),
        (f"{counts['outside']} {boxes} that leaves its image: is it x, y, width, height?", counts["outside"]),
        (f"{name} has no annotation that counts, but for crowds: no AP can be computed", counts["crowds"] == number),
    ):
        if matters:
            warnings.warn(message, stacklevel=5)


def tell_elsewhere(elsewhere: int, number: int, name: str, stacklevel: int) -> None:
    """Tell of the annotations of a file, ``elsewhere`` of a ``number``, whose images it does not list."""
    if elsewhere:
        told = f"{elsewhere} of {number} annotations of {name} are of images that it does not list, and do not count"
        warnings.warn(told, stacklevel=stacklevel)


def check_unique(records: Iterable[Mapping[str, Any]], key: str, kind: str, name: str) -> None:
    """Check that no two records have one id; of annotations of a COCO minival, which are known to, it is only told.

    Raises:
        LitepredError: two have, or one is neither number nor text.
    """
    ids = Counter(_hashable(one[key], f"{name} has among its {kind} the {key}") for one in records)
    one, number = max(ids.items(), key=itemgetter(1), default=(None, 1))
    told = f"{name} has {number} {kind} with the {key} {one!r}: expected one of its own for each"
    if number > 1 and (kind, key) == ("annotations", "id") and "minival" in name:
        warnings.warn(told, stacklevel=4)
    elif number > 1:
        raise LitepredError(told)


def check_known(value: Any, ids: Collection[Any], who: str) -> None:
    """Check that an id is one of those that the file has; ``who`` is how the message begins.

    Raises:
        LitepredError: it is not.
    """
    if _hashable(value, who) not in ids:
        raise LitepredError(f"{who} {value!r}, {_not_among(value, ids)}")


def is_listed(image_id: Any, images: Collection[Any], texts: Collection[str], who: str) -> bool:
    """Tell whether an annotation's image is among a file's ``images``; ``texts`` are their ids as texts.

    Raises:
        LitepredError: it is no id, or the id of one of them but for its type; ``who`` is how the message begins.
    """
    if _hashable(image_id, who) in images:
        return True
    if str(image_id) in texts:
        check_known(image_id, images, who)
    return False


def is_number(value: Any) -> bool:
    """Tell whether a value of an annotation is a number, which ``true`` is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _hashable(value: Any, who: str) -> Any:
    if not isinstance(value, (int, str, float)):
        raise LitepredError(f"{who} {value!r:.100}: expected a number or a text")
    return value


def _not_among(value: Any, ids: Collection[Any]) -> str:
    some = ", ".join(map(repr, list(ids)[:8])) + (" …" if len(ids) > 8 else "")
    other = next((one for one in ids if str(one) == str(value)), None)
    advice = "write ids as numbers everywhere, or as texts" if other is not None else "correct it"
    return f"which the file does not have: it has {some or 'none'}; {advice}"


def load_coco_json(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Read a file in COCO's format, with ``images``, ``annotations`` and ``categories``.

    Polygons of less than three points are dropped, and so is an annotation that has no others, or whose image is not
    listed; warnings count them.
    Run lengths are compressed, which needs pycocotools.

    Args:
        json_file: the file.
        image_root: the folder of the images.
        dataset_name: the data set whose metadata get the names of the classes, and their numbering in the file.
        extra_annotation_keys: what to keep of annotations besides ``iscrowd``, ``bbox``, ``keypoints``,
            ``segmentation`` and ``category_id``.

    Returns:
        A record per image, ordered by ``image_id``, whose annotations have boxes of x y width height
        (``bbox_mode`` 1). With a ``dataset_name``, classes count from 0 without gaps.

    Raises:
        LitepredError: the file cannot be read, is not of this format, or contradicts itself.
    """
    name = os.fspath(json_file)
    keys = ("iscrowd", "bbox", "keypoints", "category_id", *(extra_annotation_keys or ()))
    try:
        content = json.loads(Path(json_file).read_text(encoding="utf-8-sig"))
        categories = sorted(content.get("categories", ()), key=itemgetter("id"))
        number_of = {category["id"]: number for number, category in enumerate(categories)}
        records: dict[Any, dict[str, Any]] = {
            image["id"]: {
                "file_name": os.path.join(image_root, image["file_name"]),
                "height": image["height"],
                "width": image["width"],
                "image_id": image["id"],
                "annotations": [],
            }
            for image in sorted(content["images"], key=itemgetter("id"))
        }
        check_unique(content["images"], "id", "images", name)
        check_unique(categories, "id", "categories", name)
        check_unique([one for one in content.get("annotations", ()) if "id" in one], "id", "annotations", name)
        texts = set(map(str, records))
        dropped = elsewhere = 0
        for annotation in content.get("annotations", ()):
            who = f"an annotation of {name}"
            if not is_listed(annotation["image_id"], records, texts, f"{who} has image_id"):
                elsewhere += 1
                continue
            if "bbox" in annotation and not annotation["bbox"]:
                raise LitepredError(f"{who} has the bbox {annotation['bbox']!r}: expected x, y, width, height")
            if annotation.get("ignore", 0) != 0:
                raise LitepredError(f"{who} has ignore {annotation['ignore']!r}: expected 0, and iscrowd of crowds")
            kept = _annotation(annotation, keys)
            if kept is None:
                dropped += 1
                continue
            category = annotation["category_id"]
            if dataset_name is not None:
                check_known(category, number_of, f"{who} is of the category")
                kept["category_id"] = number_of[category]
            records[annotation["image_id"]]["annotations"].append(kept)
        names = [category["name"] for category in categories] if dataset_name is not None else []
    except (OSError, ValueError, ArithmeticError, KeyError, TypeError, AttributeError) as error:
        raise LitepredError(
            f"{name} is not a data set in COCO's format ({type(error).__name__}: {error}): expected "
            "JSON with images, annotations and categories"
        ) from error
    tell_elsewhere(elsewhere, len(content.get("annotations", ())), name, stacklevel=3)
    if dropped:
        warnings.warn(f"{dropped} annotations of {name} have no polygon of three points or more: dropped", stacklevel=2)
    if dataset_name is not None:
        MetadataCatalog.get(dataset_name).set(thing_classes=names, thing_dataset_id_to_contiguous_id=number_of)
    return list(records.values())


def _annotation(annotation: dict[str, Any], keys: Sequence[str]) -> dict[str, Any] | None:
    """Return what is kept of an annotation; nothing if none of its polygons encloses anything."""
    kept = {"bbox_mode": _XYWH_ABS, **{key: annotation[key] for key in keys if key in annotation}}
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list) and segmentation:
        segmentation = [one for one in segmentation if len(one) % 2 == 0 and len(one) >= 6]
        if not segmentation:
            return None
    elif isinstance(segmentation, dict) and segmentation and isinstance(segmentation["counts"], list):
        mask = package("pycocotools.mask", "compressing run lengths", "'litepred[coco]'")
        segmentation = mask.frPyObjects(segmentation, *segmentation["size"])
    if segmentation:
        kept["segmentation"] = segmentation
    if kept.get("keypoints"):  # COCO numbers pixels; coordinates are half a pixel further
        kept["keypoints"] = [value if i % 3 == 2 else value + 0.5 for i, value in enumerate(kept["keypoints"])]
    return kept
