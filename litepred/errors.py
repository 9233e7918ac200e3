"""The exceptions that litepred raises, one small family, and the checks of values that many places share.

Each message says what came, what was expected and what to do about it. They also derive from the builtin
exception that callers of Detectron2-style code already catch, so that existing ``except`` clauses keep working.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ImageError",
    "LitepredError",
    "WriteError",
    "number",
    "switch",
    "whole_number",
]


class LitepredError(Exception):
    """Base of every exception that litepred raises on purpose."""


class ImageError(LitepredError, ValueError):
    """An image cannot be read, or an array is not an image that a model takes."""


class ConfigError(LitepredError, ValueError):
    """A config cannot be read, or it has an unknown key or a value that makes no sense."""


class CheckpointError(LitepredError, ValueError):
    """A checkpoint cannot be read safely, or does not fit the model."""


class WriteError(LitepredError, OSError):
    """A file cannot be written."""


def whole_number(name: str, value: Any, least: int | None = 1) -> int:
    """Return ``value``, which a config or a caller gave as ``name``.

    Raises:
        ConfigError: when it is not a whole number, or below ``least``.
    """
    if not isinstance(value, int) or (least is not None and value < least):
        range_of_it = "" if least is None else f", {least} or more"
        raise ConfigError(f"{name} is {value!r}: expected a whole number{range_of_it}")
    return value


def number(name: str, value: Any) -> float:
    """Return ``value``, which a config or a caller gave as ``name``.

    Raises:
        ConfigError: when it is not a number, or NaN.
    """
    if not isinstance(value, (int, float)) or value != value:
        raise ConfigError(f"{name} is {value!r}: expected a number")
    return value


def switch(name: str, value: Any) -> bool:
    """Return ``value``, which a config or a caller gave as ``name``.

    Raises:
        ConfigError: when it is neither ``True`` nor ``False`` (nor 1 or 0, as older files write it).
    """
    if value not in (True, False):
        raise ConfigError(f"{name} is {value!r}: expected True or False")
    return bool(value)
