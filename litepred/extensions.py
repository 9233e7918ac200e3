"""The hook for parts of models and configs that live outside litepred's core, in a room of its own or in your package.

A package announces what it has without importing it. Its modules are imported when a config first names a part.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Container, Mapping
from typing import Any

__all__ = ["announce", "config_functions", "import_component", "refusal"]

_COMPONENTS: dict[str, str] = {}
_CONFIG_SECTIONS: dict[str, str] = {}
_REFUSED: dict[str, str] = {}


def announce(
    components: Mapping[str, str] | None = None,
    config_sections: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
) -> None:
    """Tell litepred which parts a package has.

    Args:
        components: for each name that a config may give, such as in ``MODEL.ROI_HEADS.NAME``, the module that registers
            it when it is imported.
        config_sections: for each dotted key, such as "MODEL.MY_HEAD", the function that adds the section with its
            defaults to a config, as "package.module:function". It is called when a whole config without the section
            is merged with one that has it.
        refused: for each name that no registry has, the reason, as the rest of a sentence that begins with the name.
    """
    _COMPONENTS.update(components or {})
    _CONFIG_SECTIONS.update(config_sections or {})
    _REFUSED.update(refused or {})


def import_component(name: str) -> None:
    """Import the module that registers a component, where one was announced."""
    if name in _COMPONENTS:
        importlib.import_module(_COMPONENTS[name])


def refusal(name: str) -> str | None:
    """Return the reason for which a component is refused, where one was announced."""
    return _REFUSED.get(name)


def config_functions(keys: Container[str]) -> list[Callable[[Any], None]]:
    """Return the functions that add the announced config sections that are among some dotted keys."""
    paths = [path.split(":") for key, path in _CONFIG_SECTIONS.items() if key in keys]
    return [getattr(importlib.import_module(module), function) for module, function in paths]
