"""The classes of LVIS as Detectron2 lists them, without their definitions.

``lvis_synonyms.txt`` has a row for each class that is called several things.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..files import read_rows
from .builtin import get_lvis_instances_meta


def _categories(version: str, added: dict[str, list[str]], renamed: dict[str, str]) -> list[dict[str, Any]]:
    others = {name: more for name, *more in read_rows(Path(__file__).with_name("lvis_synonyms.txt"))}
    names = get_lvis_instances_meta(f"lvis_{version}_val")["thing_classes"]
    return [
        {
            "id": number,
            "name": renamed.get(name, name),
            "synonyms": [name, *others.get(name, ()), *added.get(name, ())],
        }
        for number, name in enumerate(names, 1)
    ]


LVIS_V0_5_CATEGORIES = _categories("v0.5", {}, {})
LVIS_V1_CATEGORIES = _categories("v1", {"dishwasher_detergent": ["dishsoap"]}, {"horned_cow": "bull"})
