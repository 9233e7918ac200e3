"""Reads YAML configs as plain data, and never runs code from them.

Files that Detectron2 wrote or ships carry a few ``!!python/...`` tags. The four below are read as the data that they
stand for; any other is refused. Size, nesting and the expansion of aliases are bounded, so that a hostile file ends in
an error instead of filling the memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from ..files import is_address

__all__ = ["merged_mappings", "parse_yaml", "read_yaml_with_base"]

_MAX_LENGTH = 1_000_000
_MAX_NODES = 50_000
_MAX_DEPTH = 64
_MAX_FILES = 100
_MAX_NUMBER_LENGTH = 200

_TAG = "tag:yaml.org,2002:"
# What a dumper writes of a CfgNode: its items, and facts about the object, which do not belong to the config.
_FACTS = ("__immutable__", "__new_allowed__", "__renamed_keys__", "__deprecated_keys__", "_frozen", "_new_allowed")
_PARTS_OF_A_NODE = ("dictitems", "state", *_FACTS)
_RETINANET_SIZES = "[[x,x*2**(1.0/3),x*2**(2.0/3)]forxin[32,64,128,256,512]]"


def _refusal(problem: str, node_or_event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node_or_event.start_mark)


class _DataLoader(yaml.SafeLoader):
    """A safe loader with bounds, which also reads the tags of Detectron2's own files.

    Values and levels are counted while they are composed, and an alias counts as much as what it stands for.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._size = 0  # values so far
        self._level = 0  # of the node that is composed
        self._deepest = 0  # level within that node
        self._extents: dict[yaml.Node | None, tuple[int, int]] = {}  # values and levels of each node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event, size_before, deepest_before = self.peek_event(), self._size, self._deepest
        self._level += 1
        self._count(event, values=1, levels=1)
        node = super().compose_node(parent, index)
        if not isinstance(event, yaml.AliasEvent):
            self._extents[node] = self._size - size_before, self._deepest - self._level + 1
        elif node in self._extents:
            size, levels = self._extents[node]
            self._count(event, size - 1, levels)
        else:
            raise _refusal(f"the alias *{event.anchor} stands inside the value that it names", event)
        self._deepest = max(self._deepest, deepest_before)
        self._level -= 1
        return node

    def _count(self, event: yaml.Event, values: int, levels: int) -> None:
        self._size += values
        self._deepest = self._level + levels - 1
        if self._size > _MAX_NODES:
            raise _refusal(f"more than {_MAX_NODES} values once its aliases expand", event)
        if self._deepest > _MAX_DEPTH:
            raise _refusal(f"nested deeper than {_MAX_DEPTH} levels once its aliases expand", event)

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if node.tag in (f"{_TAG}int", f"{_TAG}float") and len(node.value) > _MAX_NUMBER_LENGTH:
            raise _refusal(f"a number of {len(node.value)} characters", node)
        return node

    def _read_tuple(self, node: yaml.Node) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise _refusal("!!python/tuple needs a list", node)
        return tuple(self.construct_sequence(node, deep=True))

    def _read_instance(self, name: str, node: yaml.Node) -> dict[Any, Any]:
        """Read a dumped CfgNode of any package as the dictionary of its items."""
        if name.rpartition(".")[2] != "CfgNode" or not isinstance(node, yaml.MappingNode):
            return self._refuse(node)
        parts = self.construct_mapping(node, deep=True)
        items = parts.get("dictitems", {})
        if not isinstance(items, dict) or any(key not in _PARTS_OF_A_NODE for key in parts):
            raise _refusal("a dumped CfgNode may hold 'dictitems' and 'state' only", node)
        return items

    def _read_call(self, node: yaml.Node) -> list[list[float]]:
        """Read the one expression found in Detectron2's own files as the numbers that it stands for."""
        arguments = node.value if isinstance(node, yaml.SequenceNode) else []
        if len(arguments) == 1 and isinstance(arguments[0], yaml.ScalarNode):
            text = arguments[0].value
            if "".join(text.split()) == _RETINANET_SIZES:
                return [[s, s * 2 ** (1 / 3), s * 2 ** (2 / 3)] for s in (32, 64, 128, 256, 512)]
        return self._refuse(node)

    def _refuse(self, node: yaml.Node) -> Any:
        raise _refusal(
            f"the tag {node.tag.replace(_TAG, '!!')} is refused: litepred reads a config as data and never runs "
            "what it names. Write the plain value in its place; for a whole config, save it with cfg.dump()",
            node,
        )


_DataLoader.add_constructor(f"{_TAG}python/tuple", _DataLoader._read_tuple)
_DataLoader.add_constructor(f"{_TAG}python/object/apply:eval", _DataLoader._read_call)
_DataLoader.add_multi_constructor(f"{_TAG}python/object/new:", _DataLoader._read_instance)
_DataLoader.add_multi_constructor(f"{_TAG}python/object:", _DataLoader._read_instance)
_DataLoader.add_constructor(None, _DataLoader._refuse)


def parse_yaml(content: str | bytes, source: str) -> dict[Any, Any]:
    """Parse one YAML config without ever running code from it.

    Args:
        content: YAML, as text or in UTF-8; ``!!python/tuple``, dumped ``CfgNode`` objects and the anchor sizes of
            Detectron2's ``Base-RetinaNet.yaml`` are read as a tuple, a dictionary and numbers.
        source: what error messages call the config, such as the file's path.

    Returns:
        The mapping that the config is, with plain Python values.

    Raises:
        ConfigError: The content is empty, binary, not YAML or not a mapping, holds another tag, or is absurdly large
            or nested.
    """
    if len(content) > _MAX_LENGTH:
        raise ConfigError(f"{source}: larger than {_MAX_LENGTH} characters, which no config is; is it a checkpoint?")
    try:
        loaded = _DataLoader(content.decode("utf-8-sig") if isinstance(content, bytes) else content).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        problem = ": ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{source}{where}: {problem}") from error
    except UnicodeDecodeError:
        raise ConfigError(
            f"{source}: not a text file; expected YAML. The path of a checkpoint goes to cfg.MODEL.WEIGHTS"
        ) from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{source}: not a YAML config: {error}") from error
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply for a config") from None
    if loaded is None:
        raise ConfigError(f"{source}: the file is empty; expected a YAML mapping such as cfg.dump() writes")
    if not isinstance(loaded, dict):
        raise ConfigError(f"{source}: expected a YAML mapping (KEY: value), got a {type(loaded).__name__}")
    return loaded


def read_yaml_with_base(path: str | os.PathLike[str]) -> dict[Any, Any]:
    """Read a YAML config, merged over the files that its ``_BASE_`` names.

    ``_BASE_`` is a path or a list of paths, later ones winning; a relative one is looked up beside the file naming it.
    Mappings merge; anything else replaces.

    Args:
        path: the file; ``~`` is expanded.

    Returns:
        A plain dictionary without ``_BASE_``.

    Raises:
        ConfigError: A file is missing or cannot be read as a config, or the ``_BASE_`` entries run in a circle.
    """
    return _read_chain(_local_path(path), (), iter(range(_MAX_FILES)))


def _read_chain(path: Path, chain: tuple[str, ...], budget: Iterator[int]) -> dict[Any, Any]:
    if next(budget, None) is None:
        raise ConfigError(f"{path}: more than {_MAX_FILES} files are named by _BASE_")
    content = _read_file(path)
    real = os.path.realpath(path)
    if real in chain:
        raise ConfigError("_BASE_ runs in a circle: " + " -> ".join((*chain, real)))
    loaded = parse_yaml(content, str(path))
    bases = loaded.pop("_BASE_", [])
    merged: dict[Any, Any] = {}
    for base in bases if isinstance(bases, (list, tuple)) else [bases]:
        if not isinstance(base, str):
            raise ConfigError(f"{path}: _BASE_ takes a path or a list of paths, got {base!r}")
        base_path = path.parent / _local_path(base)
        merged = merged_mappings(merged, _read_chain(base_path, (*chain, real), budget), str(path))
    return merged_mappings(merged, loaded, str(path))


def merged_mappings(base: dict[Any, Any], child: dict[Any, Any], source: str) -> dict[Any, Any]:
    """Lay a nested mapping over another: mappings merge, anything else replaces.

    Args:
        base: the mapping below; it is left as it is.
        child: the mapping that wins.
        source: what an error message calls the child's origin.

    Returns:
        A new dictionary. No mapping in it is one of the child's, which may hold the same one twice (a YAML alias).

    Raises:
        ConfigError: The child has a mapping where the base has a plain value.
    """
    merged = dict(base)
    for key, value in child.items():
        if isinstance(value, dict):
            below = merged.get(key, {})
            if not isinstance(below, dict):
                raise ConfigError(f"{source}: {key!r} is a section here, but was set to {below!r} before")
            value = merged_mappings(below, value, source)
        merged[key] = value
    return merged


def _local_path(path: str | os.PathLike[str]) -> Path:
    try:
        text = os.path.expanduser(os.fsdecode(path))
    except TypeError:
        raise ConfigError(f"a config file is named by a str or a path, got {type(path).__name__}") from None
    if is_address(text):
        raise ConfigError(f"{text}: configs are read from disk only; download it and give the path of the copy")
    return Path(text)


def _read_file(path: Path) -> bytes:
    if path.suffix == ".py":
        raise ConfigError(f"{path}: litepred never runs a Python file as a config; save it as YAML with cfg.dump()")
    if not os.path.isfile(path):  # Path.is_file raises where a folder may not be entered
        problem = "is not a file" if os.path.exists(path) else "does not exist"
        raise ConfigError(f"config {path} {problem}; expected the path of a YAML file")
    try:
        with path.open("rb") as file:
            return file.read(_MAX_LENGTH + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
