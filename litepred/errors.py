"""The exceptions that litepred raises, one small family, and the checks of values that many places share.

Each message says what came, what was expected and what to do about it. They also derive from the builtin
exception that callers of Detectron2-style code already catch, so that existing ``except`` clauses keep working.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ImageError",
    "LitepredError",
    "WriteError",
    "absent",
    "in_words_of_commands",
    "in_words_of_python",
    "is_out_of_memory",
    "number",
    "package",
    "scalar",
    "score",
    "switch",
    "whole_number",
    "wording",
]

# How those say it who do not raise a MemoryError: the loader of libraries, and torch on the CPU and on CUDA.
_NO_MEMORY = re.compile("failed to map segment|allocate memory|out of memory", re.IGNORECASE)
_commands_open = 0  # how many of litepred's commands run in this process


@contextmanager
def in_words_of_commands() -> Iterator[None]:
    """Let `wording` speak of commands and their options, for as long as one of litepred's commands runs."""
    global _commands_open
    _commands_open += 1
    try:
        yield
    finally:
        _commands_open -= 1


@contextmanager
def in_words_of_python() -> Iterator[None]:
    """Undo `in_words_of_commands` where a command answers others than the one who typed it."""
    global _commands_open
    before, _commands_open = _commands_open, 0
    try:
        yield
    finally:
        _commands_open = before


def wording(python: str, command: str) -> str:
    """Return the advice for whoever reads it: of someone's Python, or of someone who typed a command."""
    return command if _commands_open else python


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


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception, whoever raised it, is for want of memory."""
    told = isinstance(error, (ImportError, RuntimeError)) and _NO_MEMORY.search(str(error)) is not None
    return told or isinstance(error, MemoryError)


def absent(thing: Any, name: str, instead: Mapping[str, str]) -> AttributeError:
    """Return the error of an attribute that there is not.

    Args:
        thing: whose attribute was asked for.
        name: of the attribute.
        instead: what to write where people ask for an attribute that similar classes of other packages have.
    """
    advice = f": write {instead[name]}" if name in instead else ""
    return AttributeError(f"{type(thing).__name__} has no attribute {name!r}{advice}", name=name, obj=thing)


def package(name: str, user: str, install: str, error: type[LitepredError] | None = None) -> Any:
    """Import a package, or a module of one, that is none of litepred's own dependencies.

    Args:
        name: as it is imported.
        user: what needs it, as the beginning of a sentence.
        install: what follows ``pip install``.
        error: the class of the exception, `LitepredError` by default.

    Raises:
        LitepredError: it is not installed, or cannot be imported.
    """
    try:
        importlib.import_module(name.partition(".")[0])
        return importlib.import_module(name)
    except ImportError as cause:
        missing = cause.name or name
        reason = f"the package {missing}" if isinstance(cause, ModuleNotFoundError) else f"{missing} ({cause!s:.200})"
        raise (error or LitepredError)(f"{user} needs {reason}: pip install {install}") from cause


def scalar(value: Any) -> Any:
    """Return a value as Python has it, where it came as the one number of an array or tensor."""
    with suppress(ValueError, RuntimeError):  # it has several elements
        return value.item() if hasattr(value, "item") else value
    return value


def whole_number(name: str, value: Any, least: int | None = 1) -> int:
    """Return ``value``, which a config or a caller gave as ``name``.

    Raises:
        ConfigError: when it is not a whole number, or below ``least``.
    """
    found = scalar(value)
    if not isinstance(found, int) or (least is not None and found < least):
        range_of_it = "" if least is None else f", {least} or more"
        raise ConfigError(f"{name} is {found!r:.100}: expected a whole number{range_of_it}")
    return found


def number(name: str, value: Any) -> float:
    """Return ``value``, which a config or a caller gave as ``name``.

    Raises:
        ConfigError: when it is not a number, or NaN.
    """
    found = scalar(value)
    if not isinstance(found, (int, float)) or found != found:
        raise ConfigError(f"{name} is {found!r:.100}: expected a number")
    return found


def score(name: str, value: Any) -> float:
    """Return ``value``, a score that a config or a caller gave as ``name``.

    Raises:
        ConfigError: when it is not a number from 0 to 1.
    """
    found = scalar(value)
    if not isinstance(found, (int, float)) or not 0 <= found <= 1:
        raise ConfigError(f"{name} is {found!r:.100}: expected a number from 0 to 1")
    return found


def switch(name: str, value: Any) -> bool:
    """Return ``value``, which a config or a caller gave as ``name``.

    Raises:
        ConfigError: when it is neither ``True`` nor ``False`` (nor 1 or 0, as older files write it).
    """
    if value not in (True, False):
        raise ConfigError(f"{name} is {value!r}: expected True or False")
    return bool(value)
