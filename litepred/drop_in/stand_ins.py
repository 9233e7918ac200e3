"""Stand-ins for names that litepred does not have: they can be imported, and say at use why they are missing."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

from ..errors import LitepredError
from .names import ABSENT

__all__ = ["NotInLitepredError", "stand_in"]


class NotInLitepredError(LitepredError, NotImplementedError, AttributeError):
    """A stand-in was used: a name of Detectron2 that litepred has only so that imports succeed."""


class _StandInType(ABCMeta):
    """The type of stand-ins, which are classes, so that scripts can derive from them, also beside abstract classes."""

    _why: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotInLitepredError(cls._why)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotInLitepredError(f"{cls.__name__}.{name}: {cls._why}")


def stand_in(full_name: str, reason: str) -> type:
    """Make the stand-in for a function or class; calling it, or a class derived from it, raises `NotInLitepredError`.

    Args:
        full_name: the name with its module, such as ``detectron2.engine.DefaultTrainer``.
        reason: why litepred does not have it, a key of `ABSENT`.
    """
    module, _, name = full_name.rpartition(".")
    why = f"{full_name} is not in litepred: {ABSENT[reason]}"
    return _StandInType(name, (), {"__module__": module, "__doc__": why, "_why": why})
