"""The table of Detectron2's modules in ``names.txt``, which says where litepred has each of their names."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

__all__ = ["ABSENT", "MODULES", "VERSION", "Names", "names_of"]

VERSION = "0.6"  # of the Detectron2 whose API this is

ABSENT = {
    "training": "litepred only infers. Train with Detectron2 and load the checkpoint here, through cfg.MODEL.WEIGHTS",
    "evaluation": "it scores results on Detectron2's data sets. Score a model with `litepred evaluate`, or with "
    "litepred.evaluation",
    "lazy": "it runs a Python file as a config. Write the model's config as YAML and load it with get_cfg() and "
    "merge_from_file()",
    "export": "litepred's models are not traced or scripted. Export with Detectron2, or run the model as it is",
    "old": "it serves Detectron1's code or configs. Paste masks with paste_masks_in_image(), load weights with "
    "DetectionCheckpointer, and bring old configs to today's format with upgrade_config()",
    "model": "it belongs to a kind of model that litepred does not run. Run that model with Detectron2",
    "unknown": "If Detectron2 has it, a script that needs it needs Detectron2 itself",
}


def _read_table() -> dict[str, list[str]]:
    """Read the lines of each module in ``names.txt``, by the module's full name."""
    table: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in Path(__file__).with_name("names.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            lines.append(line.strip())
        elif line and not line.startswith("#"):
            lines = table.setdefault(line, [])
    return table


MODULES = _read_table()


class Names(NamedTuple):
    """What a module of the table has."""

    homes: dict[str, str]
    """``module:name`` by name."""
    absent: dict[str, str]
    """A key of `ABSENT` by name."""


@functools.cache
def names_of(module: str) -> Names:
    """Read a module's entry of the table.

    Raises:
        KeyError: the table has no such module.
    """
    homes: dict[str, str] = {}
    absent: dict[str, str] = {}
    for line in MODULES[module]:
        if line.startswith("+"):
            for other in line[1:].split():
                names = names_of(other)
                homes.update(names.homes)
                absent.update(names.absent)
            continue
        home, _, listed = line.partition(":")
        for entry in listed.split():
            name, _, original = entry.partition("=")
            if home.startswith("!"):
                absent[name] = home[1:].strip()
            else:
                homes[name] = f"{'litepred' if home.startswith('.') else ''}{home}:{original or name}"
    return Names(homes, absent)
