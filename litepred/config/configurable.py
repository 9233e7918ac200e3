"""Constructors that take either a config or plain arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from .node import CfgNode

__all__ = ["configurable"]


def configurable(
    init_func: Callable[..., Any] | None = None, *, from_config: Callable[..., dict[str, Any]] | None = None
) -> Callable[..., Any]:
    """Let an ``__init__`` or a function be called with a config in place of its arguments.

    On an ``__init__`` it stands without arguments, and the class has a classmethod ``from_config(cls, cfg, ...)`` that
    returns the keyword arguments of ``__init__``. A call whose first positional argument, or whose ``cfg=``, is a
    ``CfgNode`` goes through ``from_config``; keyword arguments that ``from_config`` does not take override what it
    returned. Any other call is plain. On a function it works the same way with the given ``from_config``, which is also
    an attribute of the result.

    Args:
        init_func: the ``__init__`` of a class.
        from_config: for a function, the function that translates ``(cfg, ...)`` to its keyword arguments.

    Returns:
        The decorated callable, or the decorator.

    Raises:
        TypeError: It decorates something else, or (when called) ``from_config`` is not a classmethod, does not take
            ``cfg`` first or does not return a dictionary.
        AttributeError: When called: the class has no ``from_config``.
    """
    if init_func is not None:
        if not inspect.isfunction(init_func) or init_func.__name__ != "__init__" or from_config is not None:
            raise TypeError("@configurable decorates an __init__; on a function write @configurable(from_config=...)")
        return _configurable_init(init_func)
    if from_config is None:
        return configurable
    if not callable(from_config):
        raise TypeError(f"from_config takes a function, got {type(from_config).__name__}")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return _call(function, from_config, args, kwargs)

        wrapped.from_config = from_config  # type: ignore[attr-defined]
        return wrapped

    return decorate


def _configurable_init(init_func: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init_func)
    def wrapped(self: object, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        translate = getattr(cls, "from_config", None)
        if translate is None:
            raise AttributeError(f"{cls.__name__}.__init__ is @configurable: the class needs a from_config classmethod")
        if not inspect.ismethod(translate):
            raise TypeError(f"{cls.__name__}.from_config must be a classmethod; decorate it with @classmethod")
        _call(functools.partial(init_func, self), translate, args, kwargs)

    return wrapped


def _call(
    function: Callable[..., Any],
    translate: Callable[..., dict[str, Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    if not isinstance(args[0] if args else kwargs.get("cfg"), CfgNode):
        return function(*args, **kwargs)
    parameters = inspect.signature(translate).parameters
    name = getattr(translate, "__qualname__", repr(translate))
    if next(iter(parameters), None) != "cfg":
        raise TypeError(f"{name} must take 'cfg' as its first argument, it takes ({', '.join(parameters)})")
    takes_any = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values())
    taken = {key: value for key, value in kwargs.items() if takes_any or key in parameters}
    explicit = translate(*args, **taken)
    if not isinstance(explicit, dict):
        raise TypeError(f"{name} must return a dictionary of arguments, got {type(explicit).__name__}")
    return function(**{**explicit, **{key: value for key, value in kwargs.items() if key not in taken}})
