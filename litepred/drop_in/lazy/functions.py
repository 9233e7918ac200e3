"""What a lazy config may call while it is read: these functions, and nothing else.

Each takes the scope that calls it, which counts what a call costs, and then the arguments in the file.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from ...layers import ShapeSpec
from .language import Function, LazyTarget, Scope
from .targets import Name, find_target
from .values import MAPPINGS, MAX_COST, PLAIN, WITH_LENGTH, as_config, checked_key, checked_shape, shown

__all__ = ["FUNCTIONS"]


def _listed(scope: Scope, *values: Any) -> list[Any]:
    return [one for value in values for one in scope.iterate(value)]


def _of_plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function be called with numbers and text, and with sequences of such."""

    def called(scope: Scope, *values: Any) -> Any:
        found = [one if isinstance(one, PLAIN) else _listed(scope, one) for one in values]
        for one in found:
            if isinstance(one, list) and not all(isinstance(below, PLAIN) for below in one):
                raise TypeError(f"{function.__name__} takes numbers and text in a config")
        return function(*found)

    return called


def _dict(scope: Scope, /, *pairs: Any, **values: Any) -> dict[Any, Any]:
    if len(pairs) == 1 and isinstance(pairs[0], MAPPINGS):
        return scope.mapping(pairs[0]) | values
    return {checked_key(key): value for key, value in _listed(scope, *pairs)} | values


def _range(scope: Scope, *ends: int) -> range:
    found = range(*ends)
    if len(found) > MAX_COST:
        raise ValueError(f"a range of {len(found)} numbers is longer than a config's")
    return found


def _length(scope: Scope, value: Any) -> int:
    if not isinstance(value, WITH_LENGTH):
        raise TypeError(f"a {type(value).__name__} has no length in a config")
    return len(value)


def _sum(scope: Scope, values: Any, start: Any = 0) -> Any:
    return functools.reduce(scope.add, scope.iterate(values), start)


def _lazy_call(scope: Scope, target: Any) -> LazyTarget:
    if not isinstance(target, (Name, Function, str, *MAPPINGS)):
        raise TypeError(f"{shown(target)} is no target of a LazyCall: expected the name of a class or function")
    scope.files.measure(target)
    return LazyTarget(target)


def _load(scope: Scope, filename: str, keys: Any = None) -> Any:
    from .config import read_values

    path = Path(filename)
    if path.is_absolute() or path.suffix not in (".py", ".yaml", ".yml"):
        raise ValueError(f"{filename!r} is refused: expected the path of a config, seen from the file that loads it")
    return read_values(scope.path.parent / path, keys, scope.files)


def _get_config(scope: Scope, name: str) -> Any:
    scope.files.count(name)
    return scope.files.get_config(name)


def _partial(scope: Scope, target: Any, /, *args: Any, **kwargs: Any) -> functools.partial[Any]:
    if not isinstance(target, (Name, Function)):
        raise TypeError(f"partial got {shown(target)}: expected a class or function")
    scope.files.measure([args, kwargs])
    found = find_target(target.path) if isinstance(target, Name) else None
    return functools.partial(target if found is None else found, *args, **kwargs)


def _create(scope: Scope, content: Any = None) -> DictConfig | ListConfig:
    scope.files.measure(content)
    return as_config({} if content is None else content)


def _copy(scope: Scope, value: Any) -> Any:
    scope.files.measure(value)
    return copy.deepcopy(value)


def _flip_indices(scope: Scope, names: Any) -> list[int]:
    from ..datasets import create_keypoint_hflip_indices

    return create_keypoint_hflip_indices(names)


def _round(scope: Scope, value: Any, digits: int | None = None) -> Any:
    if not isinstance(value, (int, float)) or abs(digits or 0) > 20:
        raise TypeError("round takes a number in a config, and at most 20 digits")
    return round(value, digits)


def _shape(scope: Scope, *args: Any, **kwargs: Any) -> ShapeSpec:
    return checked_shape(ShapeSpec(*args, **kwargs))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"builtins.{f.__name__}": _of_plain(f) for f in (abs, all, any, bool, float, int, max, min, sorted, str)},
    **{f"math.{f.__name__}": _of_plain(f) for f in (math.ceil, math.floor, math.log2, math.sqrt)},
    "builtins.dict": _dict,
    "builtins.enumerate": lambda scope, values, start=0: list(enumerate(_listed(scope, values), start)),
    "builtins.len": _length,
    "builtins.list": _listed,
    "builtins.range": _range,
    "builtins.round": _round,
    "builtins.reversed": lambda scope, values: _listed(scope, values)[::-1],
    "builtins.sum": _sum,
    "builtins.tuple": lambda scope, *values: tuple(_listed(scope, *values)),
    "builtins.zip": lambda scope, *values: list(zip(*(_listed(scope, one) for one in values))),
    "detectron2.data.detection_utils.create_keypoint_hflip_indices": _flip_indices,
    "copy.copy": _copy,
    "copy.deepcopy": _copy,
    "functools.partial": _partial,
    "omegaconf.OmegaConf.create": _create,
    "omegaconf.DictConfig": _create,
    "omegaconf.ListConfig": _create,
}
for _module in ("detectron2.config", "detectron2.config.lazy", "litepred.drop_in.lazy"):
    FUNCTIONS[f"{_module}.LazyCall"] = _lazy_call
    FUNCTIONS[f"{_module}.LazyConfig.load"] = FUNCTIONS[f"{_module}.LazyConfig.load_rel"] = _load
for _module in ("detectron2.model_zoo", "detectron2.model_zoo.model_zoo", "litepred.drop_in.lazy"):
    FUNCTIONS[f"{_module}.get_config"] = _get_config
for _module in ("detectron2.layers", "detectron2.layers.shape_spec", "detectron2.modeling", "litepred.layers"):
    FUNCTIONS[f"{_module}.ShapeSpec"] = _shape
