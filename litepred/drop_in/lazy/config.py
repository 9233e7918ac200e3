"""`LazyConfig` and `LazyCall`: what programs that were written for Detectron2's lazy configs call."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf, SCMode
from omegaconf.errors import OmegaConfBaseException

from ...config.safe_yaml import DataLoader, parse_yaml
from ...errors import ConfigError
from ...files import whole_file
from ...layers import ShapeSpec
from .language import Files
from .targets import TUPLES, Name, find_target, name_of, register_target
from .values import FAILURES, as_config, checked_shape, lazy_call

__all__ = ["LazyCall", "LazyConfig", "get_config", "read_values"]

_CONFIGS = Path(__file__).parent / "configs"


class _ValueLoader(yaml.SafeLoader):
    """Reads the value of an override; in ``{a:1}`` the key ends at the colon, as Hydra has it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for i, (key, value) in enumerate(node.value):
            # YAML reads a word with nothing after it.
            is_word = value.value == "" and all(getattr(one, "style", "") is None for one in (key, value))
            if node.flow_style and is_word and key.value.find(":") > 0:
                name, _, text = key.value.partition(":")
                whole = yaml.ScalarNode("tag:yaml.org,2002:str", text)  # what begins with # is no comment
                node.value[i] = yaml.compose(name, type(self)), yaml.compose(text, type(self)) or whole
        return super().construct_mapping(node, deep)


_TAG = "tag:yaml.org,2002:"
_OTHERWISE = {f"{_TAG}{kind}" for kind in ("bool", "float", "int", "null", "timestamp")}
_ValueLoader.yaml_implicit_resolvers = {
    first: [one for one in resolvers if one[0] not in _OTHERWISE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_ValueLoader.add_implicit_resolver(f"{_TAG}bool", re.compile("(?i)(true|false)$"), list("tTfF"))
_ValueLoader.add_implicit_resolver(f"{_TAG}null", re.compile("(?i)null$|$"), ["n", "N", ""])
_ValueLoader.add_implicit_resolver(f"{_TAG}int", re.compile(r"[-+]?(0|[1-9][\d_]*)$"), list("-+0123456789"))
_FLOAT = r"(?i)[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*|\d[\d_]*(?=e))(e[-+]?\d+)?$|[-+]?(inf|nan)$"
_ValueLoader.add_implicit_resolver(f"{_TAG}float", re.compile(_FLOAT), list("-+.0123456789iInN"))


class LazyCall:
    """``LazyCall(f)(a=1)`` is the config of the call ``f(a=1)``, which `instantiate` makes.

    Args:
        target: a class or function, or the dotted name of one, or a config that describes a call which returns one.

    Raises:
        TypeError: when it is something else.
    """

    is_lazy_function = True

    def __init__(self, target: Any) -> None:
        if not (callable(target) or isinstance(target, (str, Mapping))):
            raise TypeError(f"the target of a LazyCall is {target!r}: expected a class, a function, or the name of one")
        if callable(target):
            register_target(target)
        self._target = target

    def __call__(self, **kwargs: Any) -> DictConfig:
        """Return the config of the call with these arguments."""
        is_dataclass = hasattr(self._target, "__dataclass_fields__")  # which omegaconf would take for a schema
        return lazy_call(name_of(self._target) if is_dataclass else self._target, kwargs)


class LazyConfig:
    """Reads, changes and writes lazy configs; the functions are those of Detectron2's class of this name."""

    @staticmethod
    def load(filename: str | os.PathLike[str], keys: str | Sequence[str] | None = None) -> Any:
        """Read a lazy config, a Python or YAML file, as data.

        Args:
            filename: its path.
            keys: the name of one value of the file, or several.

        Returns:
            The named value, or a tuple of them; without ``keys`` a config of all the file's public names whose values
            are dictionaries, lists or configs.

        Raises:
            ConfigError: when the file cannot be read, or says what is not part of the language of configs.
        """
        path = Path(os.path.expanduser(os.fsdecode(filename)))
        if path.suffix not in (".py", ".yaml", ".yml"):
            raise ConfigError(f"{path} is no config: expected a Python or YAML file, which ends in .py, .yaml or .yml")
        try:
            result = read_values(path, keys, Files(get_config))
            for one in result if isinstance(result, tuple) else (result,):
                _find_targets(one)
        except ConfigError:
            raise
        except (*FAILURES, OmegaConfBaseException) as error:
            raise ConfigError(
                f"{path}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            ) from error
        return result

    @staticmethod
    def load_rel(filename: str, keys: str | Sequence[str] | None = None) -> Any:
        """Read a lazy config as `load` does; its path is seen from the file of the calling program."""
        caller = inspect.stack()[1].filename
        return LazyConfig.load(Path(caller).parent / filename, keys)

    @staticmethod
    def save(cfg: Any, filename: str | os.PathLike[str]) -> None:
        """Write a config as YAML, with each target by its name; Detectron2 reads the file as well.

        Raises:
            ConfigError: when a value cannot be written, such as a lambda; nothing is written then.
            WriteError: when the file cannot be written.
        """
        try:
            container = _with_names(
                OmegaConf.to_container(cfg, resolve=False, structured_config_mode=SCMode.INSTANTIATE)
            )
            text = yaml.dump(
                container, Dumper=_Dumper, default_flow_style=None, allow_unicode=True, width=9999, sort_keys=True
            )
        except ConfigError as error:
            raise ConfigError(f"the config cannot be written as YAML: {error}") from None
        with whole_file(filename) as file:
            file.write(text.encode())

    @staticmethod
    def apply_overrides(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
        """Change values of a config in place.

        Args:
            cfg: the config.
            overrides: texts such as ``"model.roi_heads.num_classes=3"``; a value is read as YAML, but numbers, true,
                false and null as Hydra writes them: ``1e-4`` is a number, and ``no`` is a text.

        Returns:
            The same config.

        Raises:
            ConfigError: when a text is no override; nothing is changed then.
            KeyError: when a key leads through a value that is no config.
        """
        changes = []
        for override in overrides:
            key, equals, text = override.partition("=")
            key = key.lstrip("+")
            if not equals or not key or key.startswith("~"):
                raise ConfigError(f"{override!r} is no override: expected key=value (a key cannot be deleted)")
            try:
                changes.append((key, yaml.load(text, _ValueLoader)))
            except yaml.YAMLError as error:
                raise ConfigError(f"the value of {override!r} is not YAML: {error}") from error
        for key, _ in changes:
            parts = key.split(".")
            for i in range(1, len(parts)):
                before = OmegaConf.select(cfg, ".".join(parts[:i]), default=None)
                if before is not None and not OmegaConf.is_config(before):
                    raise KeyError(f"{key} cannot be set: {'.'.join(parts[:i])} is {before!r:.50}, which is no config")
        for key, value in changes:
            OmegaConf.update(cfg, key, value, merge=True)
        return cfg

    @staticmethod
    def to_py(cfg: Any, prefix: str = "cfg.") -> str:
        """Return a config as text like Python, for reading; formatted by black where it is installed.

        Args:
            cfg: the config.
            prefix: what stands before every name.
        """
        container = OmegaConf.to_container(cfg, resolve=True)
        text = "\n".join(_assignments(container, prefix) if isinstance(container, dict) else [_expression(container)])
        try:
            black = importlib.import_module("black")

            return black.format_str(text, mode=black.Mode())
        except (ImportError, ValueError):  # black's InvalidInput is a ValueError
            return text


def get_config(name: str, trained: bool = False) -> Any:
    """Return a config of Detectron2's zoo by its path below ``configs/``.

    Args:
        name: such as ``common/models/mask_rcnn_fpn.py`` or ``COCO-Detection/retinanet_R_50_FPN_1x.py``, which are lazy
            configs, or a name of `litepred.model_zoo` that does not end in .py, which is a `CfgNode`.
        trained: put the address of the released checkpoint into it.

    Raises:
        ConfigError: when there is no such config, or no checkpoint of it where one is asked for.
    """
    from ... import model_zoo

    path = _CONFIGS / f"{name.removesuffix('.py')}.yaml"
    if not name.endswith(".py") or ".." in path.parts or not path.is_file():
        cfg = model_zoo.get_config(name, trained)
        if name.endswith(".py"):
            raise ConfigError(f"{name!r} is no lazy config of the zoo: {name[:-3]!r} is the name of a CfgNode of it")
        return cfg
    cfg = read_values(path, None, Files(get_config))
    _find_targets(cfg, of_texts=True)
    if trained:
        cfg.train.init_checkpoint = model_zoo.get_checkpoint_url(name)
    return cfg


def read_values(path: Path, keys: str | Sequence[str] | None, files: Files) -> Any:
    """Return what `LazyConfig.load` does of a file, with names in the place of the objects that they stand for."""
    if path.suffix == ".py":
        values = files.read(path)
        kinds = (dict, DictConfig, ListConfig)
        public = {key: one for key, one in values.items() if isinstance(one, kinds) and not key.startswith("_")}
    else:
        values = public = _read_yaml(path, files)
    if keys is None:
        files.measure(public)
        return as_config({key: as_config(one) for key, one in public.items()})
    wanted = [keys] if isinstance(keys, str) else keys
    if missing := [key for key in wanted if key not in values]:
        raise ConfigError(f"{path} has no {', '.join(map(repr, missing))}: it has {', '.join(map(str, values))}")
    files.measure([values[key] for key in wanted])
    found = tuple(as_config(values[key]) for key in wanted)
    return found[0] if isinstance(keys, str) else found


def _read_yaml(path: Path, files: Files) -> dict[Any, Any]:
    content = parse_yaml(files.content(path), str(path), _Loader)
    base = content.pop("_BASE_", None)
    files.measure(content)
    if base is None:
        return content
    if isinstance(base, dict):  # each key from a file of its own, where it is called so or otherwise
        below = {name: _read_yaml(path.parent / file, files)[key] for name, (file, key) in base.items()}
    else:
        below = _read_yaml(path.parent / str(base), files)
    return dict(OmegaConf.merge(as_config(below), as_config(content)))


def _with_names(value: Any) -> Any:
    """Return a copy of plain data in which each ``_target_`` is text."""
    if isinstance(value, list):
        return [_with_names(one) for one in value]
    if not isinstance(value, dict):
        return value
    named = {key: _with_names(one) for key, one in value.items()}
    if callable(named.get("_target_")):
        named["_target_"] = name_of(named["_target_"])
    return named


def _find_targets(cfg: Any, of_texts: bool = False) -> None:
    """Put the objects that a config may reach in the place of their names, also where a ``_target_`` is text."""
    if isinstance(cfg, TUPLES):
        for one in cfg:
            _find_targets(one, of_texts)
    if not isinstance(cfg, (DictConfig, ListConfig)):
        return
    for key in range(len(cfg)) if isinstance(cfg, ListConfig) else list(cfg):
        if OmegaConf.is_interpolation(cfg, key) or OmegaConf.is_missing(cfg, key):
            continue
        value = cfg[key]
        if isinstance(value, Name) or (of_texts and key == "_target_" and isinstance(value, str)):
            path = value.path if isinstance(value, Name) else value
            found = find_target(path)
            cfg[key] = Name(path) if found is None else path if hasattr(found, "__dataclass_fields__") else found
        _find_targets(value, of_texts)


class _Loader(DataLoader):
    """A loader of plain data, and of the names and calls of `partial` that configs are written with."""

    def read_name(self, path: str, node: yaml.Node) -> Any:
        return Name(path)

    def read_shape(self, node: yaml.MappingNode) -> ShapeSpec:
        facts = {str(key): value for key, value in self.construct_mapping(node, deep=True).items()}
        return checked_shape(ShapeSpec(**facts))

    def read_partial(self, node: yaml.MappingNode) -> functools.partial[Any]:
        function, args, kwargs, _ = self.construct_mapping(node, deep=True)["state"]
        found = find_target(function.path)
        return functools.partial(function if found is None else found, *args, **(kwargs or {}))


class _Dumper(yaml.SafeDumper):
    """A dumper of plain data, and of what a config holds besides."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def write_name(self, target: Any) -> yaml.Node:
        return self.represent_scalar(f"{_TAG}name:{name_of(target)}", "")

    def write_shape(self, shape: ShapeSpec) -> yaml.Node:
        return self.represent_mapping(f"{_TAG}object:{_SHAPES[0]}", vars(shape))

    def write_partial(self, partial: functools.partial[Any]) -> yaml.Node:
        state = (partial.func, partial.args, partial.keywords, None)
        return self.represent_mapping(f"{_TAG}object/apply:functools.partial", {"args": [partial.func], "state": state})

    def write_tuple(self, values: tuple[Any, ...]) -> yaml.Node:
        return self.represent_sequence(f"{_TAG}tuple", values)


_TAG = "tag:yaml.org,2002:python/"
_SHAPES = (
    "detectron2.layers.shape_spec.ShapeSpec",
    "detectron2.layers.ShapeSpec",
    "litepred.layers.shape_spec.ShapeSpec",
)
_Loader.add_multi_constructor(f"{_TAG}name:", _Loader.read_name)
for _shape in _SHAPES:
    _Loader.add_constructor(f"{_TAG}object:{_shape}", _Loader.read_shape)
_Loader.add_constructor(f"{_TAG}object/apply:functools.partial", _Loader.read_partial)
_Dumper.add_representer(ShapeSpec, _Dumper.write_shape)
_Dumper.add_representer(functools.partial, _Dumper.write_partial)
_Dumper.add_representer(tuple, _Dumper.write_tuple)
_Dumper.add_multi_representer(object, _Dumper.write_name)


def _assignments(values: dict[Any, Any], prefix: str) -> list[str]:
    """Return lines such as ``cfg.model.depth=12``, sorted by key; a described call is one line."""
    lines = []
    for key, value in sorted(values.items()):
        is_section = isinstance(value, dict) and "_target_" not in value
        lines += _assignments(value, f"{prefix}{key}.") if is_section else [f"{prefix}{key}={_expression(value)}"]
    return lines


def _expression(value: Any) -> str:
    if isinstance(value, dict) and "_target_" in value:
        target = value["_target_"]
        arguments = (f"{key}={_expression(one)}" for key, one in sorted(value.items()) if key != "_target_")
        called = (
            target if isinstance(target, str) else _expression(target) if isinstance(target, dict) else name_of(target)
        )
        return f"{called}({', '.join(arguments)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_expression(one)}" for key, one in sorted(value.items())) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_expression, value))}]"
    return repr(value)
