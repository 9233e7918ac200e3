"""The config object: a tree of settings with attribute access, merged from files, lists and other configs."""

from __future__ import annotations

import ast
import copy
import functools
import os
import reprlib
from collections.abc import Container, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

import yaml

from .. import extensions
from ..errors import ConfigError, wording
from .safe_yaml import parse_yaml, read_yaml_with_base
from .trees import dotted_items, nested
from .upgrade import RENAMED, upgrade

__all__ = ["CN", "CfgNode", "get_cfg", "read_defaults", "unknown_settings", "without_others"]

_LEAF_TYPES = (tuple, list, str, int, float, bool, type(None))
_MAX_LITERAL_LENGTH = 10_000  # longer text could exhaust the stack of Python's parser


class UnknownKeyError(ConfigError, KeyError):
    """A key that the config does not define; a KeyError too, as callers of Detectron2's configs expect."""

    __str__ = Exception.__str__  # KeyError would show the repr of its message


class CfgNode(dict[str, Any]):
    """A section of a config, with every key as an attribute.

    Merging checks each key and value before it changes anything, so that a merge that fails leaves the config as it
    was. For a key that exists: a mapping merges into a section; lists and tuples take the type of the default
    (outermost level only); an int becomes a float where the default is one; ``None`` fits every value and is replaced
    by every value; anything else must have exactly the type of the default. Text is read as a Python literal where it
    is one (``"(1, 2)"`` is a tuple, ``"1e-3"`` a float), and kept as text otherwise. A key that does not exist is an
    error, unless ``set_new_allowed(True)`` was called, or an extension, such as DensePose, announced its section: the
    section is then added first, with its defaults (see `litepred.extensions`).

    A ``CfgNode`` of yacs may stand in place of a section.

    Args:
        init_dict: initial content, which is copied; nested dictionaries become sections.
        key_list: the names leading to this section, for messages.
        new_allowed: whether merging may add keys.
    """

    def __init__(
        self, init_dict: dict[str, Any] | None = None, key_list: Sequence[str] = (), new_allowed: bool = False
    ) -> None:
        super().__init__()
        self.__dict__.update(_frozen=False, _new_allowed=new_allowed)
        for key, value in (init_dict or {}).items():
            path = (*(key_list or ()), str(key))
            is_leaf = not isinstance(value, dict)
            self[key] = copy.deepcopy(_checked(".".join(path), value)) if is_leaf else type(self)(value, path)

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name.startswith("__"):  # asked for by copy and pickle
            raise AttributeError(name)
        close = get_close_matches(name.upper(), [key for key in self if isinstance(key, str)], n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {reprlib.repr(sorted(map(str, self)))}"
        raise AttributeError(f"this section of the config has no {name!r}; {hint}")

    def __setattr__(self, name: str, value: Any) -> None:
        if self._frozen:
            raise AttributeError(f"{name} cannot be set, since the config is frozen: call defrost() first")
        self[name] = value if _is_section(value) else _checked(name, value)

    def __str__(self) -> str:
        return self.dump()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({super().__repr__()})"

    def freeze(self) -> None:
        """Make setting an attribute, in this section or below, an ``AttributeError``; merging stays possible."""
        self.__dict__["_frozen"] = True
        for section in filter(_is_section, self.values()):
            section.freeze()

    def defrost(self) -> None:
        """Undo `freeze`."""
        self.__dict__["_frozen"] = False
        for section in filter(_is_section, self.values()):
            section.defrost()

    def is_frozen(self) -> bool:
        """Tell whether `freeze` was called."""
        return self._frozen

    def set_new_allowed(self, is_new_allowed: bool) -> None:
        """Say whether merging may add keys, to this section and those below."""
        self.__dict__["_new_allowed"] = is_new_allowed
        for section in filter(_is_section, self.values()):
            section.set_new_allowed(is_new_allowed)

    def is_new_allowed(self) -> bool:
        """Tell whether merging may add keys to this section."""
        return self._new_allowed

    def clone(self) -> CfgNode:
        """Return a copy that shares nothing with this config; the copy of a frozen one is frozen."""
        return copy.deepcopy(self)

    def dump(self, **kwargs: Any) -> str:
        """Return the config as YAML; ``kwargs`` go to PyYAML's ``safe_dump``."""
        return yaml.safe_dump(_plain(self), **kwargs)

    def merge_from_file(self, cfg_filename: str | os.PathLike[str], allow_unsafe: bool = False) -> None:
        """Merge a YAML file, and the files that its ``_BASE_`` names, into this config.

        Files of older format versions are upgraded. No file can run code, so ``allow_unsafe`` makes no difference.

        Raises:
            ConfigError: A file cannot be read, or a key or value does not fit; nothing is merged then. An unknown key
                is a ``KeyError`` too.
        """
        loaded = read_yaml_with_base(cfg_filename)
        source = os.fsdecode(cfg_filename)
        if "VERSION" in self:
            loaded = upgrade(loaded, source, self.get("MODEL", {}).get("META_ARCHITECTURE", ""))
        if "MODEL" in self and len(loaded) > 1 and not self.is_new_allowed() and not loaded.keys() & self.keys():
            raise UnknownKeyError(
                f"{source} is no config of Detectron2: it has {', '.join(map(str, [*loaded][:4]))[:80]}, and expected "
                "are keys such as MODEL and INPUT, as in the config.yaml that training wrote"
            )
        try:
            self._merge(loaded)
        except ConfigError as error:
            raise type(error)(f"{source}: {error}") from None

    def merge_from_other_cfg(self, cfg_other: dict[str, Any]) -> None:
        """Merge another config, or a plain nested dictionary, into this one, which shares no value with it afterwards.

        Raises:
            ConfigError: A key or value does not fit; nothing is merged then. An unknown key is a ``KeyError`` too.
        """
        if not isinstance(cfg_other, dict):
            raise ConfigError(f"merge_from_other_cfg takes a CfgNode, got {type(cfg_other).__name__}")
        self._merge(cfg_other)

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Merge a list of dotted keys, each followed by its value, such as ``["MODEL.DEVICE", "cpu"]``; later ones win.

        Raises:
            ConfigError: The list has odd length, or a key or value does not fit; nothing is merged then. An unknown
                key is a ``KeyError`` too.
        """
        if not isinstance(cfg_list, (list, tuple)) or len(cfg_list) % 2:
            raise ConfigError(f"expected a list KEY, value, KEY, value, ... of even length, got {cfg_list!r}")
        pairs = ((str(key), value) for key, value in zip(cfg_list[0::2], cfg_list[1::2]))
        self._merge(nested(pairs, "the list of keys and values"))

    @classmethod
    def load_yaml_with_base(cls, filename: str | os.PathLike[str], allow_unsafe: bool = False) -> dict[str, Any]:
        """Read a YAML file as `read_yaml_with_base` does; ``allow_unsafe`` makes no difference."""
        return read_yaml_with_base(filename)

    @classmethod
    def load_cfg(cls, cfg_file_obj_or_str: str | bytes | IO[str] | IO[bytes]) -> CfgNode:
        """Return a config of the keys in a YAML text or an open YAML file, and of no others.

        Raises:
            ConfigError: It is no YAML mapping.
        """
        content = cfg_file_obj_or_str if isinstance(cfg_file_obj_or_str, (str, bytes)) else cfg_file_obj_or_str.read()
        return cls(parse_yaml(content, str(getattr(cfg_file_obj_or_str, "name", "<text>"))))

    def _merge(self, changes: dict[str, Any]) -> None:
        if "_BASE_" in changes:
            raise ConfigError("_BASE_ has a meaning in files only; merge the file that it names instead")
        additions = []
        if "VERSION" in self:  # a whole config
            missing = dict(dotted_items(changes)).keys() - dict(dotted_items(self)).keys()
            additions = extensions.config_functions(missing)
        for target in [self.clone(), self] if additions else []:  # an error is raised before this config is changed
            for add in additions:
                add(target)
            list(target._planned(changes, target, ()))
        for section, key, value in list(self._planned(changes, self, ())):
            section[key] = value

    def _planned(
        self, changes: dict[str, Any], section: CfgNode, path: tuple[str, ...]
    ) -> Iterator[tuple[CfgNode, str, Any]]:
        """Yield (section, key, checked value) for each value that would change in or below a section."""
        for key, value in changes.items():
            names, value = (*path, str(key)), _decode(value)
            full_key = ".".join(names)
            if key in section and isinstance(value, dict) and _is_section(section[key]):
                yield from self._planned(value, section[key], names)
            elif key in section:
                yield section, key, _coerce(value, section[key], full_key)
            elif not section.is_new_allowed():
                # What is in a section says more about what was meant.
                raise _unknown_key(next(dotted_items({full_key: value}))[0], [known for known, _ in dotted_items(self)])
            elif isinstance(value, dict):
                added = type(self)(value, names)
                added.set_new_allowed(True)
                yield section, key, added
            else:
                yield section, key, copy.deepcopy(_checked(full_key, value))


CN = CfgNode


def get_cfg() -> CfgNode:
    """Return a new config with every key of Detectron2 at its default, which shares nothing with other configs."""
    return CfgNode(read_defaults())


@functools.cache
def read_defaults() -> dict[str, Any]:
    """Return every key with its default, as ``defaults.yaml`` has them; always the same dictionary, to be copied."""
    return _DefaultsLoader((Path(__file__).parent / "defaults.yaml").read_bytes()).get_single_data()


class _DefaultsLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A loader for litepred's own file, ten times as fast as that for files of users, where PyYAML has it in C."""


_DefaultsLoader.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


def unknown_settings(cfg: CfgNode) -> list[str]:
    """Return a sentence for each key that litepred's own models cannot know, in the sections that they read.

    A section as a whole that is not known is somebody's own, and left alone.
    """
    strange = dict(dotted_items(cfg)).keys() - dict(dotted_items(read_defaults())).keys()
    if not strange:  # as nearly always
        return []
    known = dict(dotted_items(_whole(strange)))
    return [
        f"the config has a key {key}, which nothing reads. {_advice(key, [*known])}"
        for key in sorted(strange - known.keys())
        if key.partition(".")[0] in ("MODEL", "INPUT", "TEST", "DATASETS")
        and isinstance(known.get(key.rpartition(".")[0]), dict)
        and not isinstance(dict(dotted_items(cfg))[key], dict)
    ]


def without_others(cfg: CfgNode) -> tuple[CfgNode, list[str]]:
    """Return a copy of a config that `get_cfg` merges, and the keys that are left out of it for that.

    They are neither Detectron2's nor in a section that was announced.
    """
    cfg = cfg.clone()
    left_out: list[str] = []

    def prune(section: CfgNode, known: CfgNode, prefix: str) -> None:
        for key, value in list(section.items()):
            if key not in known and not known.is_new_allowed():
                left_out.append(f"{prefix}{key}")
                del section[key]
            elif _is_section(value) and _is_section(known.get(key)):
                prune(value, known[key], f"{prefix}{key}.")

    prune(cfg, _whole(dict(dotted_items(cfg))), "")
    return cfg, left_out


def _whole(keys: Container[str]) -> CfgNode:
    """Return a new config, with the announced sections that are among some dotted keys."""
    whole = get_cfg()
    for add in extensions.config_functions(keys):
        add(whole)
    return whole


def _unknown_key(full_key: str, known: list[str]) -> UnknownKeyError:
    return UnknownKeyError(
        f"unknown config key {full_key}. {_advice(full_key, known)} If a project of your own defines it, add it to the "
        "config first" + wording(", or call cfg.set_new_allowed(True) before merging", "")
    )


def _advice(full_key: str, known: list[str]) -> str:
    """Name the keys most like a wrong one: those of its name in other sections, else any."""
    if full_key in RENAMED:
        return f"It is the old name of {RENAMED[full_key]}."
    wrong = full_key.upper()
    namesakes = [key for key in known if key.rpartition(".")[2] == wrong.rpartition(".")[2]]
    close = get_close_matches(wrong, namesakes, n=2, cutoff=0) or get_close_matches(wrong, known, n=1)
    return f"Did you mean {' or '.join(close)}?" if close else "No key of the config resembles it."


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) and hasattr(value, "freeze")  # a CfgNode of litepred's, or of yacs'


def _plain(value: Any) -> Any:
    return {key: _plain(below) for key, below in value.items()} if _is_section(value) else value


def _decode(value: Any) -> Any:
    """Read text as the Python literal that it may be; ``literal_eval`` never calls anything."""
    if not isinstance(value, str) or len(value) > _MAX_LITERAL_LENGTH:
        return value
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value
    return literal if type(literal) in (*_LEAF_TYPES, dict) else value


def _checked(full_key: str, value: Any) -> Any:
    if type(value) not in _LEAF_TYPES:
        raise ConfigError(
            f"{full_key} got {reprlib.repr(value)} of type {type(value).__name__}; a config holds str, int, float, "
            "bool, None, list, tuple and CfgNode only. Convert it first, such as with str() or float()"
        )
    return value


def _coerce(value: Any, current: Any, full_key: str) -> Any:
    """Copy a value, converted to the type of the one that it replaces where nothing is lost by it."""
    wanted, got = type(current), type(value)
    if _is_section(current):
        raise ConfigError(f"{full_key} is a section of the config and takes a mapping, got {reprlib.repr(value)}")
    if got in _LEAF_TYPES:
        if got is wanted or value is None or current is None:
            return copy.deepcopy(value)
        if {got, wanted} == {tuple, list}:
            return wanted(copy.deepcopy(value))
        if got is int and wanted is float and abs(value) < 2**1023:
            return float(value)
    shown = f"a section ({reprlib.repr(value)})" if isinstance(value, dict) else f"{got.__name__} {value!r:.100}"
    advice = " To keep it as text, quote it twice, as in \"'1'\"." if wanted is str else ""
    raise ConfigError(f"{full_key} takes {wanted.__name__} (now {current!r:.100}), got {shown}.{advice}")
