"""What stands for the names that litepred will not have: they import, and say so when they are used."""

from __future__ import annotations

from typing import Any

from ..errors import LitepredError
from .names import ABSENT

__all__ = ["NotInLitepredError", "stand_in"]


class NotInLitepredError(LitepredError, NotImplementedError, AttributeError):
    """A name of Detectron2 was used that litepred only has for imports to succeed."""


class _StandInType(type):
    """The type of stand-ins, which are classes, so that scripts can derive from them."""

    _why: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotInLitepredError(cls._why)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotInLitepredError(f"{cls.__name__}.{name}: {cls._why}")


def stand_in(full_name: str, reason: str) -> type:
    """Make the stand-in for a function or class; calling it, or a class derived from it, raises the reason.

    Args:
        full_name: such as ``detectron2.engine.DefaultTrainer``.
        reason: a key of `ABSENT`.
    """
    module, _, name = full_name.rpartition(".")
    why = f"{full_name} is not in litepred: {ABSENT[reason]}"
    return _StandInType(name, (), {"__module__": module, "__doc__": why, "_why": why})
