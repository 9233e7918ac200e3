"""The language that lazy configs are written in: a small part of Python, evaluated here and never run.

A file is parsed, and its syntax tree evaluated node by node. What has no rule below does not exist: no attribute of a
Python object can be reached, no module imported, nothing called but what `functions` lists, a few methods of lists,
dictionaries and text, and functions that the files define themselves. Imported names are data (see `Name`).
Every step and every value costs something, and what all files of one config may cost together is bounded.
"""

from __future__ import annotations

import ast
import operator
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ...errors import ConfigError
from .targets import Name, find_target
from .values import (
    COST_IN_A_CONFIG,
    FAILURES,
    MAPPINGS,
    MAX_BITS,
    MAX_DEPTH,
    PLAIN,
    SEQUENCES,
    WITH_LENGTH,
    Budget,
    LazyImportError,
    as_config,
    checked_key,
    checked_number,
    checked_text,
    lazy_call,
    shown,
)

__all__ = ["Files", "Function", "LazyTarget", "Scope"]

_LONG_CHAIN = re.compile(rb"(?:\.[\s\\]*\w+[\s\\]*){64}")  # Python's parser takes memory for its length squared
_FORMAT = re.compile(r"[<>^+ -]?0?\d{0,2}(\.\d{1,2})?[bdefgnosxX%]?")
_CONFIG_FOLDERS = {"config", "configs", "conf"}

_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_METHODS: dict[tuple[type, ...], set[str]] = {
    MAPPINGS: {"clear", "copy", "get", "items", "keys", "pop", "setdefault", "update", "values"},
    (list, ListConfig): {"append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse"},
    (tuple,): {"count", "index"},
    (str,): {"endswith", "lower", "lstrip", "removeprefix", "removesuffix", "rstrip", "split", "startswith", "strip"},
}


class _Return(Exception):
    """A function of a config returns; the value is the argument."""


class Files(Budget):
    """The files of one config: a file, and those that it imports.

    Args:
        get_config: the function that returns a config of the zoo by its name.
    """

    def __init__(self, get_config: Callable[[str], Any]) -> None:
        super().__init__()
        self.get_config = get_config
        self._open: list[Path] = []

    def read(self, path: Path) -> dict[str, Any]:
        """Evaluate a file and return its names with their values.

        Raises:
            ConfigError: with the file and the line, when it cannot be read, or says something that is not part of the
                language.
        """
        source = self.content(path)
        path = path.resolve()
        if path in self._open:
            raise ConfigError(f"configs import each other in a circle: {' -> '.join(map(str, [*self._open, path]))}")
        if _LONG_CHAIN.search(source):
            raise ConfigError(f"{path}: 64 attributes or more in a row, which no config has")
        try:
            tree = ast.parse(source, str(path))
        except SyntaxError as error:
            raise ConfigError(f"{path}, line {error.lineno}: not Python: {error.msg}") from None
        except (ValueError, MemoryError, RecursionError) as error:
            raise ConfigError(f"{path}: not Python that can be parsed: {error or 'nested too deep'}") from None
        scope = Scope(self, path)
        self._open.append(path)
        try:
            scope.run(tree.body)
        except _Return:
            raise ConfigError(f"{path}: a return outside of a function") from None
        finally:
            self._open.pop()
        return scope.values

    def import_relative(self, origin: Path, module: str, level: int) -> dict[str, Any]:
        """Return the names of a file that another one imports as ``from ..module import name``."""
        if not module:
            raise LazyImportError(f"{origin}: relative import of a directory; a config imports from configs")
        folder = origin.parents[min(level, len(origin.parents)) - 1]
        path = folder.joinpath(*module.split(".")).with_suffix(".py")
        if not os.path.isfile(path):
            raise LazyImportError(f"{origin} cannot import from {module}: {path} does not exist")
        return self.read(path)

    def import_absolute(self, origin: Path, module: str) -> dict[str, Any] | None:
        """Return the names of a config file, if ``module`` is its path from a folder above the importing one."""
        parts = module.split(".")
        if not _CONFIG_FOLDERS & {*parts[:-1]}:
            return None
        places = (folder.joinpath(*parts).with_suffix(".py") for folder in origin.parents if parts[0] != folder.name)
        path = next((place for place in places if os.path.isfile(place)), None)
        return None if path is None else self.read(path)


class Function:
    """A function or lambda that a file defines.

    Called from outside, such as by a model that is being built, it may make the components that it names.
    """

    is_lazy_function = True

    def __init__(self, scope: Scope, name: str, node: ast.FunctionDef | ast.Lambda) -> None:
        arguments = node.args
        if arguments.vararg or arguments.kwarg or arguments.posonlyargs or getattr(node, "decorator_list", None):
            raise ValueError(f"{name} is a function with decorators, * or /: expected plain arguments")
        self._scope, self._node = scope, node
        self.__name__ = self.__qualname__ = name
        self._names = [one.arg for one in (*arguments.args, *arguments.kwonlyargs)]
        self._positional = len(arguments.args)
        given = arguments.args[len(arguments.args) - len(arguments.defaults) :]
        defaults = [*zip(given, arguments.defaults), *zip(arguments.kwonlyargs, arguments.kw_defaults)]
        self._defaults = {one.arg: scope.evaluate(default) for one, default in defaults if default is not None}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the function's body, with a budget of its own."""
        scope = self._scope
        return self.call(Scope(Files(scope.files.get_config), scope.path, scope, may_build=True), args, kwargs)

    def call(self, scope: Scope, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Any:
        """Evaluate the function's body in a new scope.

        Raises:
            TypeError: when the arguments are not those of the function.
        """
        args = list(args)
        given = dict(zip(self._names, args))
        if len(args) > self._positional or given.keys() & kwargs.keys() or not {*self._names} >= kwargs.keys():
            raise TypeError(f"{self.__name__} takes the arguments {', '.join(self._names)}")
        scope.values.update({**self._defaults, **given, **kwargs})
        if missing := [name for name in self._names if name not in scope.values]:
            raise TypeError(f"{self.__name__} was called without {', '.join(missing)}")
        if isinstance(self._node, ast.Lambda):
            return scope.evaluate(self._node.body)
        try:
            scope.run(self._node.body)
        except _Return as returned:
            return returned.args[0]
        return None

    def __deepcopy__(self, memo: dict[int, Any]) -> Function:
        return self


class Scope:
    """The names of a file, a function or a comprehension, and the rules by which their statements are evaluated.

    Args:
        files: the files that are read together.
        path: the file whose text is evaluated.
        outer: the scope whose names can be read as well.
        may_build: whether a component may be called, and not only described by a `LazyCall`.
    """

    def __init__(self, files: Files, path: Path, outer: Scope | None = None, may_build: bool = False) -> None:
        self.files, self.path, self._outer, self._may_build = files, path, outer, may_build
        self.values: dict[str, Any] = {}
        self._depth: int = outer._depth + 1 if outer is not None else 0

    def run(self, statements: Iterable[ast.stmt]) -> None:
        """Evaluate statements in order.

        Raises:
            ConfigError: with the line of the statement that is not part of the language, or that fails.
        """
        for statement in statements:
            try:
                self.files.charge()
                self._rule(statement)(statement)
            except (ConfigError, _Return):
                raise
            except FAILURES as error:
                raise ConfigError(f"{self.path}, line {statement.lineno}: {_explained(error)}") from error
            except OmegaConfBaseException as error:
                raise ConfigError(f"{self.path}, line {statement.lineno}: {str(error).splitlines()[0]}") from error

    def evaluate(self, node: ast.expr) -> Any:
        """Return the value of an expression."""
        self.files.charge()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"an expression is nested deeper than {MAX_DEPTH} levels")
        try:
            value = self._rule(node)(node)
        finally:
            self._depth -= 1
        return self._checked(value)

    def _checked(self, value: Any) -> Any:
        if isinstance(value, str):
            self.files.charge(len(value) // 16)
            return checked_text(value)
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise ValueError(f"a number of {value.bit_length()} bits is larger than a config's")
        return value

    def _rule(self, node: ast.AST) -> Callable[[Any], Any]:
        rule = getattr(self, f"_on_{type(node).__name__}", None)
        if rule is None:
            raise ValueError(
                f"a {type(node).__name__} is not part of the language of configs, which litepred reads without running "
                "them: write the value that it computes, or build that part of the config in your program"
            )
        return rule

    # Statements

    def _on_Import(self, node: ast.Import) -> None:
        self.files.charge(len(node.names))
        for alias in node.names:
            self.values[alias.asname or alias.name.partition(".")[0]] = Name(
                alias.name if alias.asname else alias.name.partition(".")[0]
            )

    def _on_ImportFrom(self, node: ast.ImportFrom) -> None:
        if any(alias.name == "*" for alias in node.names):
            raise ValueError("import * is not part of the language of configs: import each name")
        module = node.module or ""
        if node.level:
            found: dict[str, Any] | None = self.files.import_relative(self.path, module, node.level)
        else:
            found = self.files.import_absolute(self.path, module)
        self.files.charge(len(node.names))
        for alias in node.names:
            if found is None:
                value: Any = Name(f"{module}.{alias.name}")
            elif alias.name in found:
                if isinstance(found[alias.name], (dict, list)):
                    self.files.measure(found[alias.name])
                value = as_config(found[alias.name])
            else:
                raise LazyImportError(f"{self.path}, line {node.lineno}: there is no {alias.name!r} in {module}")
            self.values[alias.asname or alias.name] = value

    def _on_Assign(self, node: ast.Assign) -> None:
        value = self.evaluate(node.value)
        for target in node.targets:
            self._assign(target, value)

    def _on_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign(node.target, self.evaluate(node.value))

    def _on_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.values[node.target.id] = self._operate(node.op, self._find(node.target.id), self.evaluate(node.value))
        else:
            place, key = self._place(node.target)
            self._set(place, key, self._operate(node.op, self._get(place, key), self.evaluate(node.value)))

    def _on_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                del self.values[target.id]
            else:
                place, key = self._place(target)
                self.files.charge(len(_changeable(place)))
                del place[checked_key(key)]

    def _on_Expr(self, node: ast.Expr) -> None:
        self.evaluate(node.value)

    def _on_Pass(self, node: ast.Pass) -> None:
        pass

    def _on_Assert(self, node: ast.Assert) -> None:
        if not self.evaluate(node.test):
            raise ValueError(f"the assertion {ast.unparse(node.test)!r:.100} does not hold")

    def _on_If(self, node: ast.If) -> None:
        self.run(node.body if self.evaluate(node.test) else node.orelse)

    def _on_For(self, node: ast.For) -> None:
        for one in self.iterate(self.evaluate(node.iter)):
            self._assign(node.target, one)
            self.run(node.body)
        self.run(node.orelse)

    def _on_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.values[node.name] = Function(self, node.name, node)

    def _on_Return(self, node: ast.Return) -> None:
        raise _Return(None if node.value is None else self.evaluate(node.value))

    # Expressions

    def _on_Constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, PLAIN):
            raise ValueError(f"{shown(node.value)} is no value of a config")
        return node.value

    def _on_JoinedStr(self, node: ast.JoinedStr) -> str:
        return "".join([str(self.evaluate(part)) for part in node.values])

    def _on_FormattedValue(self, node: ast.FormattedValue) -> str:
        value = self.evaluate(node.value)
        layout = "" if node.format_spec is None else self.evaluate(node.format_spec)
        if not isinstance(value, PLAIN) or not _FORMAT.fullmatch(layout):
            raise ValueError("an f-string of a config can show text and numbers, with a short format such as :.2f")
        return format(repr(value) if node.conversion == ord("r") else value, layout)

    def _on_Name(self, node: ast.Name) -> Any:
        return self._find(node.id)

    def _on_Attribute(self, node: ast.Attribute) -> Any:
        return self._get(self.evaluate(node.value), node.attr, is_attribute=True)

    def _on_Subscript(self, node: ast.Subscript) -> Any:
        return self._get(self.evaluate(node.value), self.evaluate(node.slice))

    def _on_Slice(self, node: ast.Slice) -> slice:
        return slice(*(None if one is None else self.evaluate(one) for one in (node.lower, node.upper, node.step)))

    def _on_List(self, node: ast.List) -> list[Any]:
        return list(self._elements(node.elts))

    def _on_Tuple(self, node: ast.Tuple) -> tuple[Any, ...]:
        return tuple(self._elements(node.elts))

    def _on_Dict(self, node: ast.Dict) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values):
            if key is None:
                found.update(self.mapping(self.evaluate(value)))
            else:
                found[checked_key(self.evaluate(key))] = self.evaluate(value)
        return found

    def _on_ListComp(self, node: ast.ListComp | ast.GeneratorExp) -> list[Any]:
        return [scope.evaluate(node.elt) for scope in self._loops(node.generators)]

    _on_GeneratorExp = _on_ListComp

    def _on_DictComp(self, node: ast.DictComp) -> dict[Any, Any]:
        loops = self._loops(node.generators)
        return {checked_key(scope.evaluate(node.key)): scope.evaluate(node.value) for scope in loops}

    def _on_BinOp(self, node: ast.BinOp) -> Any:
        return self._operate(node.op, self.evaluate(node.left), self.evaluate(node.right))

    def _on_UnaryOp(self, node: ast.UnaryOp) -> Any:
        return self._operate(node.op, self.evaluate(node.operand))

    def _on_BoolOp(self, node: ast.BoolOp) -> Any:
        stops_at = isinstance(node.op, ast.Or)
        for one in node.values:
            value = self.evaluate(one)
            if bool(value) is stops_at:
                break
        return value

    def _on_Compare(self, node: ast.Compare) -> bool:
        left = self.evaluate(node.left)
        for kind, one in zip(node.ops, node.comparators):
            right = self.evaluate(one)
            if not self._operate(kind, left, right):
                return False
            left = right
        return True

    def _on_IfExp(self, node: ast.IfExp) -> Any:
        return self.evaluate(node.body if self.evaluate(node.test) else node.orelse)

    def _on_Lambda(self, node: ast.Lambda) -> Function:
        return Function(self, "<lambda>", node)

    def _on_Call(self, node: ast.Call) -> Any:
        args = list(self._elements(node.args))
        kwargs: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.evaluate(keyword.value)
            kwargs.update(self.mapping(value) if keyword.arg is None else {keyword.arg: value})
        if isinstance(node.func, ast.Attribute):
            owner = self.evaluate(node.func.value)
            if not isinstance(owner, Name):
                return self._call_method(owner, node.func.attr, args, kwargs)
            function: Any = self._get(owner, node.func.attr, is_attribute=True)
        else:
            function = self.evaluate(node.func)
        return self._call(function, args, kwargs)

    # What the rules share

    def _find(self, name: str) -> Any:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope._outer
        from .functions import FUNCTIONS

        if f"builtins.{name}" in FUNCTIONS:
            return Name(f"builtins.{name}")
        raise LookupError(f"{name!r} is not defined, or is no function that a config may call")

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.values[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            values = list(self.iterate(value))
            if len(values) != len(target.elts):
                raise ValueError(f"{len(values)} values are assigned to {len(target.elts)} names")
            for one, part in zip(target.elts, values):
                self._assign(one, part)
        else:
            self._set(*self._place(target), value)

    def _place(self, target: ast.expr) -> tuple[Any, Any]:
        """Return what an attribute or an index is taken of, and the key."""
        if isinstance(target, ast.Attribute):
            return self.evaluate(target.value), target.attr
        if isinstance(target, ast.Subscript):
            return self.evaluate(target.value), self.evaluate(target.slice)
        raise ValueError(f"a config may not assign to a {type(target).__name__}")

    def _get(self, place: Any, key: Any, is_attribute: bool = False) -> Any:
        if isinstance(place, Name) and is_attribute:
            return Name(f"{place.path}.{key}")
        readable = (DictConfig,) if is_attribute else (*MAPPINGS, *SEQUENCES, str)
        if not isinstance(place, readable):
            raise TypeError(f"a config may not read {shown(key)} of a {type(place).__name__}")
        if not isinstance(key, (*PLAIN, slice)):
            raise TypeError(f"{shown(key)} is no key of a config: expected text or a number")
        found: Any = cast("Any", place)[key]
        self.files.charge(len(found) if isinstance(key, slice) else 1)
        return found

    def _set(self, place: Any, key: Any, value: Any) -> None:
        if isinstance(place, (DictConfig, ListConfig)):
            self.files.measure(value)
            self.files.charge(COST_IN_A_CONFIG)
        _changeable(place)[checked_key(key)] = value

    def _elements(self, nodes: Iterable[ast.expr]) -> Iterator[Any]:
        for node in nodes:
            if isinstance(node, ast.Starred):
                yield from self.iterate(self.evaluate(node.value))
            else:
                yield self.evaluate(node)

    def _loops(self, generators: list[ast.comprehension]) -> Iterator[Scope]:
        """Yield a scope, with the loops' variables, for each round of a comprehension."""
        scope = Scope(self.files, self.path, self, self._may_build)

        def loop(i: int) -> Iterator[Scope]:
            if i == len(generators):
                yield scope
                return
            for one in self.iterate(scope.evaluate(generators[i].iter)):
                scope._assign(generators[i].target, one)
                if all(scope.evaluate(condition) for condition in generators[i].ifs):
                    yield from loop(i + 1)

        return loop(0)

    def iterate(self, value: Any) -> Iterator[Any]:
        """Yield the elements of a sequence, or the keys of a mapping, each at a cost."""
        if not isinstance(value, (*SEQUENCES, *MAPPINGS, MappingView, str)):
            raise TypeError(f"a {type(value).__name__} is nothing to iterate over")
        for one in cast("Iterable[Any]", value):
            self.files.charge()
            yield one

    def mapping(self, value: Any) -> dict[str, Any]:
        """Return a copy of a mapping."""
        if not isinstance(value, MAPPINGS):
            raise TypeError(f"a {type(value).__name__} stands behind **: expected a dict")
        self.files.charge(len(value))
        return dict(value)

    def add(self, a: Any, b: Any) -> Any:
        """Return the sum of two values of a config."""
        return self._operate(ast.Add(), a, b)

    def _operate(self, kind: ast.AST, *values: Any) -> Any:
        operate = _OPERATORS.get(type(kind))
        if operate is None:
            raise ValueError(f"the operator {type(kind).__name__} is not part of the language of configs")
        if names := [one for one in values if isinstance(one, (Name, Function))]:
            raise TypeError(
                f"{getattr(names[0], 'path', 'a function')} is only named here: nothing is computed with it"
            )
        if isinstance(kind, (ast.Mult, ast.Add)):
            counts = [len(one) for one in values if isinstance(one, WITH_LENGTH)]
            times = max((one for one in values if isinstance(one, int)), default=1) if isinstance(kind, ast.Mult) else 1
            self.files.charge(sum(counts) * max(1, times))
        elif isinstance(kind, (ast.Pow, ast.Sub, ast.Div, ast.FloorDiv, ast.Mod)):
            base, other = map(checked_number, values)  # "%d" % x could ask for any length
            if isinstance(kind, ast.Pow) and isinstance(base, int) and base.bit_length() * abs(other) > 10 * MAX_BITS:
                raise ValueError("a power is larger than a config's numbers")
        elif not isinstance(kind, (ast.Not, ast.Is, ast.IsNot)):
            is_lookup = isinstance(kind, (ast.In, ast.NotIn)) and isinstance(values[0], PLAIN)
            for one in values:
                if OmegaConf.is_config(one) and not (is_lookup and one is values[1]):
                    raise TypeError("a config can be looked up in with `in`, and not be compared")
                if isinstance(one, (range, DictConfig, ListConfig)):
                    self.files.charge(len(one))
                elif not isinstance(one, PLAIN):
                    self.files.measure(one)
        result = self._checked(operate(*values))
        if not isinstance(result, (*PLAIN, *SEQUENCES, *MAPPINGS)):
            raise TypeError(f"the result is a {type(result).__name__}, which is no value of a config")
        return result

    def _call(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if isinstance(function, Function):
            inner = Scope(self.files, function._scope.path, function._scope, self._may_build)
            inner._depth = self._depth + 1
            return function.call(inner, args, kwargs)
        if isinstance(function, LazyTarget):
            if args:
                raise TypeError("L(target)(…) takes arguments by keyword only")
            self.files.measure(kwargs)
            return lazy_call(function.target, kwargs)
        if not isinstance(function, Name):
            raise TypeError(f"a {type(function).__name__} cannot be called")
        from .functions import FUNCTIONS

        if known := FUNCTIONS.get(function.path):
            return known(self, *args, **kwargs)
        target = find_target(function.path) if self._may_build else None
        if target is not None:
            return target(*args, **kwargs)
        raise TypeError(
            f"{function.path.removeprefix('builtins.')} cannot be called while a config is read: describe the call as "
            "L(target)(…), where L is LazyCall"
        )

    def _call_method(self, owner: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if not any(isinstance(owner, kinds) and name in names for kinds, names in _METHODS.items()):
            raise TypeError(f"a config may not call {name!r} of a {type(owner).__name__}")
        self.files.measure([args, kwargs])
        self.files.charge(len(owner))
        return getattr(owner, name)(*args, **kwargs)


class LazyTarget:
    """What ``L(target)`` is before it is called, where ``L`` is `LazyCall`."""

    def __init__(self, target: Any) -> None:
        self.target = target


def _changeable(place: Any) -> Any:
    if not isinstance(place, (list, ListConfig, *MAPPINGS)):
        raise TypeError(f"a config may not change a {type(place).__name__}")
    return place


def _explained(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no key {error}"
    return str(error) or type(error).__name__
