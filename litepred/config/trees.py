"""Nested mappings and the dotted keys of what is in them, such as ``MODEL.WEIGHTS``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import ConfigError

__all__ = ["dotted_items", "merged_mappings", "nested"]


def dotted_items(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of everything in a tree, each section after what is in it."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from dotted_items(value, f"{prefix}{key}.")
        yield f"{prefix}{key}", value


def nested(items: Iterable[tuple[str, Any]], source: str) -> dict[str, Any]:
    """Build the tree that has each value under its dotted key; of two values for one key, the later one wins."""
    tree: dict[str, Any] = {}
    for key, value in items:
        for name in reversed(key.split(".")):
            value = {name: value}
        tree = merged_mappings(tree, value, source)
    return tree


def merged_mappings(base: dict[Any, Any], child: dict[Any, Any], source: str) -> dict[Any, Any]:
    """Lay a nested mapping over another in a new one: mappings merge, anything else of the child replaces.

    No mapping in the result is one of the child's, which may hold the same one twice (a YAML alias).

    Raises:
        ConfigError: The child, which messages call ``source``, has a mapping where the base has a plain value.
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
