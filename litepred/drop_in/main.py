"""A program in the place of ``__main__``, with the drop-in in front of its imports."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import LitepredError
from .finder import as_detectron2, is_to_replace

__all__ = ["load_program", "noted_program", "run_program"]

_PROGRAM = "_LITEPRED_RUN"  # environment: what the processes started by a program read in place of its __main__


def run_program(name: str, arguments: Sequence[str], *, as_module: bool = False, replace: bool = False) -> int:
    """Run a script or module as ``python NAME`` or ``python -m NAME`` does.

    ``sys.argv``, ``sys.path[0]`` and ``__main__`` are the program's own afterwards. An exception that it raises is
    printed as Python prints it; ``SystemExit`` is passed on.

    Args:
        name: the path of a script, or ``as_module`` the dotted name of a module or of a package with a ``__main__``.
        arguments: what the program finds in ``sys.argv[1:]``.
        as_module: whether to run it as ``python -m`` does.
        replace: whether to take the place of a Detectron2 that can be imported; see `as_detectron2`.

    Returns:
        The exit status, 0 or 1.

    Raises:
        LitepredError: there is no such script or module, or Detectron2 itself can be imported.
    """
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.getcwd() if as_module else os.path.dirname(os.path.realpath(name))
    as_detectron2(replace)
    program = {"name": name if as_module else os.path.abspath(name), "as_module": as_module, "replace": replace}
    try:
        code, facts = load_program(program)
    except SyntaxError as error:
        sys.excepthook(type(error), error.with_traceback(None), None)
        return 1
    sys.argv = [facts["__file__"] if as_module else name, *arguments]
    os.environ[_PROGRAM] = json.dumps(program)
    if is_to_replace():  # also in what the program starts as Python by its own
        folder = os.fspath(Path(__file__).with_name("children"))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    main = types.ModuleType("__main__")
    main.__dict__.update(facts)
    main.__spec__ = spec = _ProgramSpec("litepred.drop_in.spawned", None, origin=facts["__file__"])
    spec.parent = facts["__package__"]
    sys.modules["__main__"] = main
    try:
        exec(code, main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        trace = error.__traceback__.tb_next if error.__traceback__ is not None else None  # without our own frame
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


class _ProgramSpec(importlib.machinery.ModuleSpec):
    """What multiprocessing and relative imports ask of a program.

    Its ``name`` is that of the module which new processes run first, see there; its ``parent`` the program's package.
    """

    parent: str | None = None


def noted_program() -> dict[str, Any]:
    """Return what `run_program` noted about the program, in a process that the program started."""
    return json.loads(os.environ[_PROGRAM])


def load_program(program: dict[str, Any]) -> tuple[types.CodeType, dict[str, Any]]:
    """Compile a program as `run_program` noted it; returns the code, and where it is from as attributes of a module.

    Raises:
        LitepredError: there is no such script or module.
    """
    name: str = program["name"]
    if not program["as_module"]:
        try:
            source = Path(name).read_bytes()
        except OSError as error:
            raise LitepredError(f"the script {name!r} cannot be read: {error.strerror or error}") from None
        if b"\0" in source:
            raise LitepredError(f"the script {name!r} is no text: expected a Python program")
        facts = {"__file__": name, "__package__": None, "__cached__": None}
        return compile(source, name, "exec", dont_inherit=True), facts
    spec = _module_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = _module_spec(f"{name}.__main__")
    code = getattr(spec.loader, "get_code", lambda _: None)(spec.name) if spec is not None else None
    if spec is None or code is None:
        raise LitepredError(
            f"there is no module {name!r} that can be run, as python -m would: is its folder the one in use?"
        )
    return code, {"__file__": spec.origin, "__package__": spec.parent, "__cached__": spec.cached}


def _module_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        return None
