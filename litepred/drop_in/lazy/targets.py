"""What a lazy config may name, and the objects that are made of it.

A name in a config is a dotted path, such as ``detectron2.modeling.RPN``. It stands for an object only where that is a
component of litepred, a layer of torch, or something that the running program registered. Every other name stays a
`Name`, which can be copied and written but not called.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import re
import sys
import types
from collections.abc import Mapping
from typing import Any, NoReturn

import omegaconf
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from ... import modeling
from ...errors import ConfigError
from ..names import ABSENT, MODULES, names_of

__all__ = [
    "TUPLES",
    "LazyImportError",
    "Name",
    "allow_targets",
    "find_target",
    "instantiate",
    "locate",
    "name_of",
    "register_target",
]

# Modules whose classes a config may build, with their submodules. Constructing one of them computes, and does no more.
_BUILDABLE = (
    "litepred.data.resize",
    "litepred.data.transforms",
    "litepred.densepose.heads",
    "litepred.densepose.roi_heads",
    "litepred.drop_in.adapters",
    "litepred.drop_in.transforms",
    "litepred.layers",
    "litepred.modeling",
    "litepred.structures",
    "torch.nn.modules",
)
_FUNCTIONS = {
    "detectron2.data.build_detection_test_loader",
    "detectron2.data.build.build_detection_test_loader",
    "detectron2.data.detection_utils.create_keypoint_hflip_indices",
    "detectron2.data.get_detection_dataset_dicts",
    "detectron2.data.build.get_detection_dataset_dicts",
    "detectron2.data.DatasetMapper",
    "detectron2.data.dataset_mapper.DatasetMapper",
    *(f"detectron2.evaluation.{name}" for name in ("COCOEvaluator", "COCOPanopticEvaluator", "RotatedCOCOEvaluator")),
    *(f"detectron2.evaluation.{name}" for name in ("LVISEvaluator", "SemSegEvaluator")),
    "detectron2.evaluation.coco_evaluation.COCOEvaluator",
    "detectron2.evaluation.lvis_evaluation.LVISEvaluator",
    "detectron2.evaluation.panoptic_evaluation.COCOPanopticEvaluator",
    "detectron2.evaluation.sem_seg_evaluation.SemSegEvaluator",
    *(f"torch.nn.functional.{name}" for name in ("gelu", "leaky_relu", "relu", "relu_", "sigmoid", "silu", "softmax")),
}
_METHODS = {("ResNet", "make_default_stages"), ("ResNet", "make_stage")}  # that make parts, as a class does
_PATH = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*){0,29}", re.ASCII)
_MAX_PATH = 500  # characters
# omegaconf keeps tuples from version 2.4 on; before, they become lists.
TUPLES: Any = (tuple, getattr(omegaconf, "TupleConfig", tuple))
_REGISTERED: dict[str, Any] = {}
_PACKAGES: set[str] = set()


class LazyImportError(ConfigError, ImportError):
    """A config imports a config that does not exist, or names what it does not reach."""


class Name:
    """The name of something that a config does not reach: data that says what stood in the file.

    Args:
        path: the dotted name, such as ``fvcore.common.param_scheduler.MultiStepParamScheduler``.

    Raises:
        ValueError: when it is longer than a name.
    """

    def __init__(self, path: str) -> None:
        if len(path) > _MAX_PATH:
            raise ValueError(f"a name of {len(path)} characters is longer than a config's")
        self.path = path

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to be called; a ConfigError says what can be done."""
        raise _unreachable(self.path)

    def __repr__(self) -> str:
        return f"<{self.path}>"

    def __eq__(self, other: object) -> bool:
        return self.path == (other.path if isinstance(other, Name) else _written_name(other))

    def __hash__(self) -> int:
        return hash(self.path)

    def __deepcopy__(self, memo: dict[int, Any]) -> Name:
        return self


def _unreachable(path: str) -> LazyImportError:
    module, _, name = path.rpartition(".")
    if reason := ABSENT.get(names_of(module).absent.get(name, "")) if module in MODULES else "":
        return LazyImportError(f"a config names {path}, which litepred does not have: {reason}")
    return LazyImportError(
        f"a config names {path}, which it may not call: expected a component of litepred or a layer of torch.nn. Let "
        f"your program call litepred.allow_targets({path.partition('.')[0]!r}) first, if you trust the config"
    )


def allow_targets(*packages: str) -> None:
    """Let configs name whatever is in a package, such as a project's own, and import its modules.

    Call it for packages alone whose every function may be called by whoever wrote the configs.

    Args:
        packages: names of packages or modules, such as ``"my_project"``; what is below them is allowed too.
    """
    _PACKAGES.update(packages)


def register_target(target: Any) -> None:
    """Let configs name a class or function that the running program itself used in a `LazyCall`."""
    if path := _written_name(target):
        _REGISTERED[path] = target


def locate(path: str) -> Any:
    """Return the object that a dotted name stands for.

    Raises:
        ConfigError: when a config may not reach it.
    """
    found = find_target(path)
    if found is None:
        raise _unreachable(path)
    return found


def find_target(path: str) -> Any:
    """Return the object that a dotted name stands for, ``None`` where a config may not reach it."""
    if path in _REGISTERED:
        return _REGISTERED[path]
    if len(path) > _MAX_PATH or not _PATH.fullmatch(path):
        return None
    root = path.partition(".")[0]
    if any(path == package or path.startswith(f"{package}.") for package in _PACKAGES):
        return _imported(path)
    if root == "detectron2" or path.rpartition(".")[0] in MODULES:
        return _of_detectron2(path)
    if root == "torch":
        return _of_torch(path)
    if root == "litepred":
        found = _imported(path) if f"{path}.".startswith(tuple(f"{one}." for one in _BUILDABLE)) else None
        return found if _is_buildable(found) else None
    return _of_registries(path)


def _of_torch(path: str) -> Any:
    """Return a layer of ``torch.nn``, or one of the listed functions; no other module of torch is looked into."""
    module, _, name = path.rpartition(".")
    if path in _FUNCTIONS:
        return getattr(nn.functional, name)
    if module != "torch.nn" and not module.startswith("torch.nn.modules"):
        return None
    found = vars(sys.modules.get(module, nn)).get(name)
    return found if _is_buildable(found) else None


def _of_detectron2(path: str) -> Any:
    """Look a name up in the drop-in's table; the last part of a path may be one of a few methods of a class."""
    parts = path.split(".")
    for i in range(len(parts) - 1, 0, -1):
        module, name = ".".join(parts[:i]), parts[i]
        if module in MODULES:
            home, _, original = names_of(module).homes.get(name, "").partition(":")
            if home.partition(".")[0] == "detectron2":
                return _of_detectron2(".".join([home, original, *parts[i + 1 :]])) if original else None
            found = _attribute(importlib.import_module(home), original.split(".")) if home and original else None
            if i == len(parts) - 1:
                return found if f"{module}.{name}" in _FUNCTIONS or _is_buildable(found) else None
            is_method = _is_buildable(found) and (getattr(found, "__name__", ""), ".".join(parts[i + 1 :])) in _METHODS
            return getattr(found, parts[-1]) if is_method else None
    return None


def _of_registries(path: str) -> Any:
    """Find a component that the program registered, under the path of its module or a shorter one of its package."""
    root, name = path.partition(".")[0], path.rpartition(".")[2]
    for registry in vars(modeling).values():
        if isinstance(registry, modeling.Registry) and name in registry:
            component = registry.get(name)
            if component.__module__.partition(".")[0] == root:
                return component
    return None


def _imported(path: str) -> Any:
    """Import the longest part of a path that is a module, and return the attribute that the rest names."""
    parts = path.split(".")
    for i in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:i])
        try:
            return _attribute(importlib.import_module(module), parts[i:])
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
    return None


def _attribute(found: Any, names: list[str]) -> Any:
    for name in names:
        found = None if name.startswith("_") else getattr(found, name, None)
    return found


def _is_buildable(found: Any) -> bool:
    module = f"{getattr(found, '__module__', '')}."
    return inspect.isclass(found) and any(module.startswith(f"{one}.") for one in _BUILDABLE)


def name_of(target: Any) -> str:
    """Return the dotted name of a class or function, the shortest of Detectron2's where that has it.

    Raises:
        ConfigError: when it has none, as a lambda.
    """
    if isinstance(target, Name):
        return target.path
    path = _written_name(target)
    if path is None or "<" in path:
        raise ConfigError(f"{target!r} has no name that a config could be written with: name a class or function")
    name = target.__qualname__
    modules = (module for module in MODULES if name.partition(".")[0] in names_of(module).homes)
    candidates = sorted((f"{module}.{name}" for module in modules), key=lambda path: path.count("."))
    return next((one for one in candidates if _of_detectron2(one) == target), path)


def _written_name(target: object) -> str | None:
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    return f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else None


_CALLED = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial, Name)


def instantiate(cfg: Any) -> Any:
    """Make the objects that a config describes: each mapping with a ``_target_`` is a call of it with the other keys.

    Args:
        cfg: a config, or a part of one; lists and the arguments of calls are made first, in order. Other values, and
            mappings without ``_target_``, come back as they are.

    Returns:
        The result of the call; a plain list or tuple for a list or tuple.

    Raises:
        ConfigError: when a ``_target_`` is no callable that a config may name (see `allow_targets`).
    """
    if isinstance(cfg, (list, ListConfig)):
        return [instantiate(one) for one in cfg]
    if isinstance(cfg, TUPLES):
        return tuple(instantiate(one) for one in cfg)
    if isinstance(cfg, Name):  # within a tuple, say, which is not changed when a config is loaded
        found = find_target(cfg.path)
        return cfg if found is None else found
    if isinstance(cfg, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(cfg)):
        return OmegaConf.to_object(cfg)
    if not isinstance(cfg, Mapping) or "_target_" not in cfg:
        return cfg
    arguments = {str(key): instantiate(value) for key, value in cfg.items()}
    target = arguments.pop("_target_")
    if isinstance(target, str):
        target = locate(target)
    root = type(target).__module__.partition(".")[0]
    is_object = root in ("litepred", "torch") and not isinstance(target, _CALLED)  # such as a mapper, which reads files
    if not callable(target) or (is_object and not getattr(target, "is_lazy_function", False)):
        raise ConfigError(
            f"the _target_ of a config is a {type(target).__name__}: expected a class, a function, or the name of one"
        )
    try:
        return target(**arguments)
    except TypeError as error:
        if hasattr(error, "add_note"):
            error.add_note(f"while a lazy config called {name_of(target)} with {', '.join(arguments) or 'nothing'}")
        raise
