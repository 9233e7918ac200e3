"""The table of Detectron2's modules, which says where litepred has each of their names.

It is ``names.txt``, and ``other_names.txt``, which has the rest of what Detectron2's source defines. Names that
litepred does not have get stand-ins, which can be imported, and say at use why they are missing.
"""

from __future__ import annotations

import functools
import inspect
import re
from abc import ABCMeta
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import LitepredError

__all__ = ["ABSENT", "MODULES", "VERSION", "Names", "NotInLitepredError", "names_of", "stand_in"]

VERSION = "0.6"  # of the Detectron2 whose API this is

MODULES: dict[str, list[str]] = {}
for _table in ("names.txt", "other_names.txt"):
    _text = Path(__file__).with_name(_table).read_text(encoding="utf-8")
    for _module, _indented in re.findall(r"^([^#\s].*)\n((?: .*\n)*)", _text, flags=re.MULTILINE):
        MODULES.setdefault(_module, []).extend(line.strip() for line in _indented.splitlines())
ABSENT = {name[1:].strip(): " ".join(MODULES.pop(name)) for name in list(MODULES) if name.startswith("!")}


class Names(NamedTuple):
    """What a module of the table has: by name its ``module:name``, or a key of `ABSENT`.

    Where no name follows the colon, it is the module itself.
    """

    homes: dict[str, str]
    absent: dict[str, str]


@functools.cache
def names_of(module: str) -> Names:
    """Read the entry of a module that is in `MODULES`, with those of the modules that it exports again."""
    found = Names({}, {})
    for line in MODULES[module]:
        if line.startswith("+"):
            for other in map(names_of, line[1:].split()):
                found.homes.update(other.homes)
                found.absent.update(other.absent)
            continue
        home, _, listed = line.partition(":")
        for entry in listed.split():
            name, equals, original = entry.partition("=")
            if home.startswith("!"):
                found.absent[name] = home[1:].strip()
            else:
                original = original if equals else name
                found.homes[name] = f"{'litepred' if home.startswith('.') else ''}{home}:{original}"
    return Names(found.homes, {name: why for name, why in found.absent.items() if name not in found.homes})


class NotInLitepredError(LitepredError, NotImplementedError, AttributeError):
    """A stand-in was used: a name of Detectron2 that litepred has only so that imports succeed."""


class _StandInType(ABCMeta):
    """The type of stand-ins, which are classes, so that scripts can derive from them, also beside abstract classes."""

    _why: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and inspect.isroutine(args[0]):  # as a decorator does
            return args[0]
        raise NotInLitepredError(cls._why)

    def __getitem__(cls, item: Any) -> Any:  # in a type hint
        return cls

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotInLitepredError(f"{cls.__name__}.{name}: {cls._why}")


def stand_in(full_name: str, problem: str) -> type:
    """Make the stand-in for a name, such as ``detectron2.engine.HookBase``.

    Calling it, or a class derived from it, raises `NotInLitepredError`; as a decorator of a function it does nothing.

    Args:
        full_name: the name with its module.
        problem: the error's text, after the name.
    """
    module, _, name = full_name.rpartition(".")
    why = f"{full_name} {problem}"
    return _StandInType(name, (), {"__module__": module, "__doc__": why, "_why": why})
