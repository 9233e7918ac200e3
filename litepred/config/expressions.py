"""Lists of numbers that a config writes as a Python expression, computed here and never run."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["numbers_of"]

_MAX_LENGTH = 1000  # characters of the expression
_MAX_NUMBER = 2.0**53
_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: lambda base, power: float(base) ** power,
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {"int": int, "float": float, "round": round}


def numbers_of(text: str, budget: Iterator[Any]) -> list[Any]:
    """Compute an expression such as ``[int(x * 0.1 * 512) for x in range(5, 21)]``.

    It may have numbers, lists, arithmetic, ``int``, ``float``, ``round``, and comprehensions with one loop over a range
    or a list; a power is a float. For each value on the way, those within lists included, one is taken off ``budget``.

    Raises:
        ValueError: It has something else in it, its numbers are too large, or the budget is used up.
    """
    try:
        result = _value(ast.parse(text[:_MAX_LENGTH].strip(), mode="eval").body, {}, budget)
    except (ArithmeticError, LookupError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"{text!r:.100} is no list of numbers") from error
    if not isinstance(result, list):
        raise ValueError(f"{text!r:.100} is no list of numbers")
    return result


def _value(node: ast.AST, names: Mapping[str, Any], budget: Iterator[Any]) -> Any:
    result: Any
    match node:
        case ast.Constant(value=int() | float() as result):
            pass
        case ast.Name(id=name):
            result = names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            result = -_value(operand, names, budget)
        case ast.BinOp(left=left, op=kind, right=right):
            values = _value(left, names, budget), _value(right, names, budget)
            if not all(isinstance(one, (int, float)) for one in values):
                raise TypeError("arithmetic is for numbers")
            result = _OPERATORS[type(kind)](*values)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            result = _FUNCTIONS[name](_value(argument, names, budget))
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            result = [_value(one, names, budget) for one in elements]
        case ast.ListComp(elt=element, generators=[ast.comprehension(target=ast.Name(id=name), iter=over, ifs=[])]):
            result = [_value(element, {**names, name: one}, budget) for one in _loop(over, names, budget)]
        case _:
            raise TypeError(f"{type(node).__name__} is not computed")
    _spend(result, budget)
    return result


def _spend(value: Any, budget: Iterator[Any]) -> None:
    """Pay for a value and all within it: a name may stand for a list, in more places than one."""
    if next(budget, None) is None or (not isinstance(value, list) and abs(value) > _MAX_NUMBER):
        raise OverflowError("too many numbers, or too large")
    for one in value if isinstance(value, list) else ():
        _spend(one, budget)


def _loop(over: ast.AST, names: Mapping[str, Any], budget: Iterator[Any]) -> Any:
    match over:
        case ast.Call(func=ast.Name(id="range"), args=ends, keywords=[]):
            return range(*(_value(end, names, budget) for end in ends))
    return _value(over, names, budget)
