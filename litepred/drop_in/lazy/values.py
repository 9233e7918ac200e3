"""The values of lazy configs, and what they may cost: files, steps, texts, numbers, trees of values."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, MappingView
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from ...errors import ConfigError
from ...layers import ShapeSpec
from .targets import TUPLES, LazyImportError

__all__ = [
    "COST_IN_A_CONFIG",
    "FAILURES",
    "MAPPINGS",
    "MAX_BITS",
    "MAX_COST",
    "MAX_DEPTH",
    "PLAIN",
    "SEQUENCES",
    "WITH_LENGTH",
    "Budget",
    "LazyImportError",
    "as_config",
    "checked_key",
    "checked_number",
    "checked_shape",
    "checked_text",
    "lazy_call",
    "shown",
]

MAX_COST = 1_000_000  # steps and values of all files together
_MAX_FILES = 100
_MAX_BYTES = 1_000_000  # of all files together
_MAX_FILE_SIZE = 100_000
_MAX_VALUES = 20_000  # of one tree of values
COST_IN_A_CONFIG = 20  # of a value that omegaconf wraps
_MAX_TEXT = 10_000
MAX_BITS = 256  # of a whole number
MAX_DEPTH = 60  # of expressions, values and calls

_INTERPOLATION = re.compile(r"\$\{\.*[A-Za-z_]\w*(\.\w+|\[\d+\])*\}")

FAILURES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError, MemoryError, OSError)
PLAIN = (type(None), bool, int, float, str)
SEQUENCES: tuple[Any, ...] = (list, range, ListConfig, *TUPLES)
MAPPINGS = (dict, DictConfig)
WITH_LENGTH: Any = (*SEQUENCES, *MAPPINGS, str)


def as_config(value: Any) -> Any:
    """Return a dictionary or list as a config that holds any kind of object; other values as they are."""
    if isinstance(value, (dict, list)):
        return OmegaConf.create(value, flags={"allow_objects": True})
    return value


def lazy_call(target: Any, arguments: Mapping[str, Any]) -> DictConfig:
    """Return the config that describes a call."""
    content: dict[Any, Any] = {**arguments, "_target_": target}
    return DictConfig(content, flags={"allow_objects": True})


def checked_text(text: str) -> str:
    """Return a text of a config.

    Raises:
        ValueError: when it is longer than a config's text, or asks omegaconf for more than another value: its
            ``${oc.env:HOME}`` reads the environment, for example.
    """
    if len(text) > _MAX_TEXT:
        raise ValueError(f"a text of {len(text)} characters is longer than a config's: expected at most {_MAX_TEXT}")
    if "${" in text and not _INTERPOLATION.fullmatch(text):
        raise ValueError(
            f"{text!r:.100} is refused: expected plain text, or one path to another value as in '${{..lr}}'"
        )
    return text


def checked_number(value: Any) -> Any:
    """Return a number; a TypeError is raised where it is none."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"{shown(value)} is no number")
    return value


def shown(value: Any) -> str:
    """Return how a message shows a value; what is made of others may be too large to show."""
    return f"{value!r:.100}" if isinstance(value, PLAIN) else f"a {type(value).__name__}"


def checked_shape(shape: ShapeSpec) -> ShapeSpec:
    """Return a shape of a config; a TypeError is raised where a part of it is no whole number."""
    if not all(part is None or isinstance(part, int) for part in vars(shape).values()):
        raise TypeError("a ShapeSpec of a config has a part that is no whole number")
    return shape


def checked_key(key: Any) -> Any:
    """Return a key of a config; a TypeError is raised where it is neither text nor a number."""
    if not isinstance(key, PLAIN) or key is None:
        raise TypeError(f"{shown(key)} is no key of a config: expected text or a number")
    return key


class Budget:
    """What one config may cost: the files that it is read from, and the steps and values of all of them."""

    def __init__(self) -> None:
        self._cost = self._count = self._bytes = 0

    def charge(self, cost: int = 1) -> None:
        """Add to what the config has cost so far.

        Raises:
            ValueError: when that is more than a config costs.
        """
        self._cost += cost
        if self._cost > MAX_COST:
            raise ValueError("this takes more steps and values than a config: expected a file that describes one model")

    def content(self, path: Path) -> bytes:
        """Return the bytes of one more file.

        Raises:
            ConfigError: when it does not exist, or is larger, or one more, than a config's files are.
        """
        self.count(path)
        if not os.path.isfile(path):
            raise LazyImportError(f"config {path} does not exist: expected a Python or YAML file")
        try:
            with open(path, "rb") as file:
                content = file.read(_MAX_FILE_SIZE + 1)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        self._bytes += len(content)
        if len(content) > _MAX_FILE_SIZE or self._bytes > _MAX_BYTES:
            raise ConfigError(
                f"{path}: larger than {_MAX_FILE_SIZE} bytes, or {_MAX_BYTES} with all others of this config"
            )
        return content

    def count(self, name: Path | str) -> None:
        """Count one more file, or config of the zoo.

        Raises:
            ConfigError: when there are more than a config has.
        """
        self._count += 1
        if self._count > _MAX_FILES:
            raise ConfigError(f"{name}: more than {_MAX_FILES} files are imported")

    def measure(self, value: Any) -> None:
        """Charge for a tree of values that becomes part of a config as a copy.

        Raises:
            ValueError: when it is too deep, there are more than a config may cost, or a text is refused.
            TypeError: when a key is neither text nor a number.
        """
        before = self._cost
        self._charge_tree(value, 0, before + _MAX_VALUES)
        self.charge((self._cost - before) * COST_IN_A_CONFIG)

    def _charge_tree(self, value: Any, depth: int, most: int) -> None:
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        self.charge()
        if self._cost > most:
            raise ValueError(f"a part of a config has more than {_MAX_VALUES} values")
        if OmegaConf.is_config(value):
            value = OmegaConf.to_container(value, resolve=False)
        if isinstance(value, str):
            checked_text(value)
        below: Any = value if isinstance(value, (list, tuple, range, MappingView)) else ()
        if isinstance(value, functools.partial):
            below = (*value.args, *value.keywords.values())
        if isinstance(value, dict):
            for key in value:
                checked_key(key)
            below = value.values()
        for one in below:
            self._charge_tree(one, depth + 1, most)
