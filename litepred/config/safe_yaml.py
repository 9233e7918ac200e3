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

from ..errors import ConfigError, wording
from ..files import as_stored, is_address
from .expressions import numbers_of
from .trees import merged_mappings

__all__ = ["DataLoader", "parse_yaml", "read_yaml_with_base"]

_MAX_LENGTH = 1_000_000
_MAX_NODES = 50_000
_MAX_DEPTH = 64
_MAX_FILES = 100
_MAX_NUMBER_LENGTH = 200

_TAG = "tag:yaml.org,2002:"
_NUMBERS = (f"{_TAG}int", f"{_TAG}float")
# What a dumper writes of a CfgNode: its items, and facts about the object, which do not belong to the config.
_PARTS_OF_A_NODE = {"dictitems", "state", "_frozen", "_new_allowed", "__immutable__", "__new_allowed__"}
_PARTS_OF_A_NODE |= {"__renamed_keys__", "__deprecated_keys__"}


def _refusal(problem: str, node_or_event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node_or_event.start_mark)


class DataLoader(yaml.SafeLoader):
    """A safe loader with bounds, which also reads the tags of Detectron2's own files."""

    _composed = 0  # values so far

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._budget = iter(range(_MAX_NODES))  # of values that expressions compute

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one value, unless there are too many."""
        self._composed += 1
        if self._composed > _MAX_NODES:
            raise _refusal(f"more than {_MAX_NODES} values", self.peek_event())
        return super().compose_node(parent, index)

    def compose_document(self) -> yaml.Node | None:
        """Compose a document, and measure it with its aliases expanded."""
        document = super().compose_document()
        _measure(document, {})
        return document

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
        if not isinstance(items, dict) or not parts.keys() <= _PARTS_OF_A_NODE:
            raise _refusal("a dumped CfgNode may hold 'dictitems' and 'state' only", node)
        return items

    def _read_expression(self, node: yaml.Node) -> list[Any]:
        """Read an expression as the list of numbers that it stands for, such as the anchors of RetinaNet."""
        texts = [argument.value for argument in node.value if isinstance(argument, yaml.ScalarNode)]
        if len(node.value) != 1 or len(texts) != 1:
            return self._refuse(node)
        try:
            return numbers_of(texts[0], self._budget)
        except ValueError:
            return self._refuse(node)

    def _refuse(self, node: yaml.Node) -> Any:
        raise _refusal(
            f"the tag {node.tag.replace(_TAG, '!!')} is refused: litepred reads a config as data and never runs "
            "what it names. Write the plain value in its place"
            + wording("; for a whole config, save it with cfg.dump()", ""),
            node,
        )


def _measure(node: yaml.Node | None, known: dict[yaml.Node | None, tuple[int, int] | None]) -> tuple[int, int]:
    """Return how many values and levels a node has once its aliases expand, or refuse it."""
    if node not in known:
        known[node] = None  # until what is below is measured
        below = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            below = [one for pair in node.value for one in pair]
        extents = [_measure(one, known) for one in below]
        known[node] = 1 + sum(size for size, _ in extents), 1 + max((level for _, level in extents), default=0)
    extent = known[node]
    if extent is None:
        raise _refusal("an alias of this value stands inside it", node)
    if extent[0] > _MAX_NODES:
        raise _refusal(f"more than {_MAX_NODES} values once its aliases expand", node)
    if extent[1] > _MAX_DEPTH:
        raise _refusal(f"nested deeper than {_MAX_DEPTH} levels once its aliases expand", node)
    if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and len(node.value) > _MAX_NUMBER_LENGTH:
        raise _refusal(f"a number of {len(node.value)} characters", node)
    return extent


DataLoader.add_constructor(f"{_TAG}python/tuple", DataLoader._read_tuple)
DataLoader.add_constructor(f"{_TAG}python/object/apply:eval", DataLoader._read_expression)
DataLoader.add_multi_constructor(f"{_TAG}python/object/new:", DataLoader._read_instance)
DataLoader.add_multi_constructor(f"{_TAG}python/object:", DataLoader._read_instance)
DataLoader.add_constructor(None, DataLoader._refuse)


def parse_yaml(content: str | bytes, source: str, loader: type[DataLoader] = DataLoader) -> dict[Any, Any]:
    """Parse one YAML config, text or UTF-8, into plain Python values, without ever running code from it.

    ``!!python/tuple``, dumped ``CfgNode`` objects and expressions that are lists of numbers (see `numbers_of`) are read
    as a tuple, a dictionary and numbers. Messages call the config ``source``; a ``loader`` may read more tags.

    Raises:
        ConfigError: The content is empty, binary, not YAML or not a mapping, holds another tag, or is absurdly large
            or nested.
    """
    if source.endswith(".py"):
        raise ConfigError(
            f"{source} is a Python file, and here a config is YAML. "
            + wording(
                "litepred.LazyConfig.load(path) reads a lazy config, without running it, and "
                "litepred.instantiate(cfg.model) builds its model",
                "Expected is the config.yaml that training wrote beside the checkpoint",
            )
        )
    if len(content) > _MAX_LENGTH:
        raise ConfigError(f"{source}: larger than {_MAX_LENGTH} characters, which no config is; is it a checkpoint?")
    try:
        loaded = loader(content.decode("utf-8-sig") if isinstance(content, bytes) else content).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        problem = ": ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{source}{where}: {problem}") from error
    except UnicodeDecodeError:
        raise ConfigError(
            f"{source}: not a text file; expected YAML. The path of a checkpoint goes to "
            + wording("cfg.MODEL.WEIGHTS", "--weights")
        ) from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{source}: not a YAML config: {error}") from error
    except RecursionError:
        raise ConfigError(f"{source}: nested deeper than a config") from None
    if loaded is None:
        raise ConfigError(f"{source}: the file is empty; expected a YAML mapping (KEY: value)")
    if not isinstance(loaded, dict):
        raise ConfigError(f"{source}: expected a YAML mapping (KEY: value), got a {type(loaded).__name__}")
    return loaded


def read_yaml_with_base(path: str | os.PathLike[str]) -> dict[Any, Any]:
    """Read a YAML config, merged over the files that its ``_BASE_`` names, as a plain dictionary without ``_BASE_``.

    ``_BASE_`` is a path or a list of paths, later ones winning; a relative one is looked up beside the file naming it.
    ``~`` is expanded in all paths. Mappings merge; anything else replaces.

    Raises:
        ConfigError: A file is missing or cannot be read as a config, or the ``_BASE_`` entries run in a circle.
    """
    return _read_chain(_local_path(path), (), iter(range(_MAX_FILES)))


def _read_chain(path: Path, chain: tuple[str, ...], budget: Iterator[int]) -> dict[Any, Any]:
    if next(budget, None) is None:
        raise ConfigError(f"{path}: more than {_MAX_FILES} files are named by _BASE_")
    path = Path(as_stored(str(path)))
    if not os.path.isfile(path):  # Path.is_file raises where a folder may not be entered
        problem = "is not a file" if os.path.exists(path) else "does not exist"
        raise ConfigError(f"config {path} {problem}; expected the path of a YAML file")
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_LENGTH + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
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


def _local_path(path: str | os.PathLike[str]) -> Path:
    text = os.path.expanduser(os.fsdecode(path))
    if is_address(text):
        raise ConfigError(f"{text}: configs are read from disk only; download it and give the path of the copy")
    return Path(text)
