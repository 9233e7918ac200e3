"""The table of Detectron2's modules in ``names.txt``, which says where litepred has each of their names."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["ABSENT", "MODULES", "VERSION", "Names", "names_of"]

VERSION = "0.6"  # of the Detectron2 whose API this is

_TEXT = Path(__file__).with_name("names.txt").read_text(encoding="utf-8")
MODULES = {
    name: [line.strip() for line in indented.splitlines()]
    for name, indented in re.findall(r"^([^#\s].*)\n((?: .*\n)*)", _TEXT, flags=re.MULTILINE)
}
ABSENT = {name[1:].strip(): " ".join(MODULES.pop(name)) for name in list(MODULES) if name.startswith("!")}


class Names(NamedTuple):
    """What a module of the table has: by name its ``module:name``, or a key of `ABSENT`."""

    homes: dict[str, str]
    absent: dict[str, str]


@functools.cache
def names_of(module: str) -> Names:
    """Read a module's entry of the table.

    Raises:
        KeyError: the table has no such module.
    """
    found = Names({}, {})
    for line in MODULES[module]:
        if line.startswith("+"):
            for other in map(names_of, line[1:].split()):
                found.homes.update(other.homes)
                found.absent.update(other.absent)
            continue
        home, _, listed = line.partition(":")
        for entry in listed.split():
            name, _, original = entry.partition("=")
            if home.startswith("!"):
                found.absent[name] = home[1:].strip()
            else:
                found.homes[name] = f"{'litepred' if home.startswith('.') else ''}{home}:{original or name}"
    return found
