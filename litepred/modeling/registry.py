"""Registries: the components that a model is built of, by the names that a config gives them."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from .. import extensions
from ..config import CfgNode
from ..errors import ConfigError

__all__ = ["Registry"]

Component = Callable[..., Any]  # a class or a function


class _UnknownComponentError(ConfigError, KeyError):
    """A name that no component was registered under; a KeyError too, as callers of registries expect."""

    __str__ = Exception.__str__  # KeyError would print the message in quotes


class Registry:
    """Components of one kind by name.

    Args:
        name: what error messages call the registry.
        config_key: the config key whose value names one of the components.
    """

    def __init__(self, name: str, config_key: str = "") -> None:
        self._name = name
        self._config_key = config_key
        self._components: dict[str, Component] = {}

    def register(self, component: Component | None = None) -> Component:
        """Register a class or function under its own name: ``@R.register()``, or ``R.register(component)``.

        Raises:
            ConfigError: Another component already has the name.
        """
        if component is None:
            return self.register
        name = component.__name__
        if self._components.setdefault(name, component) is not component:
            raise ConfigError(f"{name!r} is already registered in {self._name}: give the new component another name")
        return component

    def get(self, name: str) -> Component:
        """Return the component called ``name``, after importing its module if it was announced (see `extensions`).

        Raises:
            ConfigError: There is no such component; the error, which is a KeyError too, names the nearest ones.
        """
        if name not in self._components:
            extensions.import_component(name)
        if name in self._components:
            return self._components[name]
        if reason := extensions.refusal(name):
            raise _UnknownComponentError(f"{name!r} {reason}")
        near = difflib.get_close_matches(str(name), self._components, n=3) or sorted(self._components)
        where = f"{self._config_key} is {name!r}, but n" if self._config_key else "N"
        raise _UnknownComponentError(
            f"{where}othing of that name is registered in {self._name}: expected {', '.join(near) or '(it is empty)'}. "
            f"Register a component of your own with @{self._name}.register() before the model is built."
        )

    def build(self, cfg: CfgNode, *input_shape: Any, **by_name: Any) -> Any:
        """Build the component that ``cfg`` names, in evaluation mode.

        Args:
            cfg: a config that has the registry's ``config_key``.
            *input_shape: what the component is called with after ``cfg``, such as the shape of what it reads.
            **by_name: the same, by name.

        Raises:
            ConfigError: There is no such component, or its own values in ``cfg`` do not go together.
        """
        name: Any = functools.reduce(getattr, self._config_key.split("."), cfg)
        component = self.get(name)(cfg, *input_shape, **by_name)
        component.eval()  # not returned: a module of the user's may override train() and return nothing from it
        return component

    def __contains__(self, name: str) -> bool:
        return name in self._components

    def __iter__(self) -> Iterator[tuple[str, Component]]:
        return iter(self._components.items())

    def __repr__(self) -> str:
        return f"Registry {self._name}: {', '.join(self._components)}"
