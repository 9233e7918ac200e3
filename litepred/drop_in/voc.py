"""Data sets in the layout of Pascal VOC: a folder with ``Annotations``, ``ImageSets`` and ``JPEGImages``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..data.datasets import builtin_facts
from ..errors import LitepredError
from ..structures import BoxMode
from .builtin import MetadataCatalog
from .datasets import DatasetCatalog
from .files import PathManager

CLASS_NAMES = tuple(builtin_facts("voc_2007_test")["thing_classes"])
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def load_voc_instances(dirname: str, split: str, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Read the annotations of a split.

    Args:
        dirname: the folder.
        split: the images, which ``ImageSets/Main/SPLIT.txt`` lists.
        class_names: the classes that objects are of.

    Returns:
        A record per image, whose boxes count pixels from 0; ``image_id`` is the name of its file without the ending.

    Raises:
        LitepredError: a file cannot be read, lacks a size or a box, or has an object of another class.
    """
    folder = Path(PathManager.get_local_path(dirname))
    listed = folder / "ImageSets" / "Main" / f"{split}.txt"
    try:
        names = listed.read_text(encoding="utf-8").split()
    except OSError as error:
        raise LitepredError(f"the list of images {str(listed)!r} cannot be read: {error.strerror or error}") from error
    return [_record(dirname, name, folder / "Annotations" / f"{name}.xml", list(class_names)) for name in names]


def _record(dirname: str, name: str, path: Path, class_names: list[str]) -> dict[str, Any]:
    try:
        root = ElementTree.fromstring(path.read_bytes())
        height, width = (int(root.findtext(f"./size/{side}", "")) for side in ("height", "width"))
        objects = [
            (one.findtext("name", ""), [float(one.findtext(f"./bndbox/{side}", "")) for side in _SIDES])
            for one in root.findall("object")
        ]
    except OSError as error:
        raise LitepredError(f"the annotations {str(path)!r} cannot be read: {error.strerror or error}") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise LitepredError(
            f"the annotations {str(path)!r} are not Pascal VOC's ({error}): expected XML with the size of the image, "
            "and a name and a box of each object"
        ) from error
    unknown = next((kind for kind, _ in objects if kind not in class_names), None)
    if unknown is not None:
        raise LitepredError(
            f"the annotations {str(path)!r} have an object {unknown!r}: expected one of {', '.join(class_names):.200}"
        )
    return {
        "file_name": os.path.join(dirname, "JPEGImages", f"{name}.jpg"),
        "image_id": name,
        "height": height,
        "width": width,
        "annotations": [
            {
                "category_id": class_names.index(kind),
                "bbox": [x0 - 1, y0 - 1, x1, y1],  # in the file, both corners are pixels within, counted from 1
                "bbox_mode": BoxMode.XYXY_ABS,
            }
            for kind, (x0, y0, x1, y1) in objects
        ],
    }


def register_pascal_voc(
    name: str, dirname: str, split: str, year: int, class_names: Sequence[str] = CLASS_NAMES
) -> None:
    """Register a split, see `load_voc_instances`, in the two catalogs under a new name.

    Raises:
        AssertionError: the name is taken.
    """
    DatasetCatalog.register(name, lambda: load_voc_instances(dirname, split, class_names))
    MetadataCatalog.get(name).set(thing_classes=list(class_names), dirname=dirname, year=year, split=split)
