"""The answer to ``import detectron2`` once `as_detectron2` was called; names are looked up when they are used."""

from __future__ import annotations

import difflib
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import operator
import os
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import LitepredError
from .names import ABSENT, MODULES, VERSION, names_of, stand_in

__all__ = ["as_detectron2", "is_to_replace"]

_PACKAGE = Path(__file__).resolve().parent.parent
_DISTRIBUTION = "detectron2"
_ROOTS = {module.partition(".")[0] for module in MODULES}


def is_to_replace() -> bool:
    """Tell whether the environment variable LITEPRED_REPLACE says what ``replace=True`` does."""
    return os.environ.get("LITEPRED_REPLACE", "") not in ("", "0")


class _NoModuleError(LitepredError, ModuleNotFoundError):
    """A module was imported that the table does not have."""


class _NoNameError(LitepredError, AttributeError):
    """A name was asked for that its module does not have in the table."""


def as_detectron2(replace: bool = False) -> None:
    """Let every later ``import detectron2…`` of this process find litepred.

    ``importlib.metadata.version("detectron2")`` answers too, with the version whose API this is. Calling it again
    changes nothing.

    Args:
        replace: take the place of a Detectron2 that is installed, or that lies in a folder which Python searches
            first; and of the ``densepose`` and ``apply_net`` of its DensePose project. ``LITEPRED_REPLACE=1`` in the
            environment does so too.

    Raises:
        LitepredError: Detectron2 itself can be imported and ``replace`` is false, or it was imported already.
    """
    replace = replace or is_to_replace()
    present = next((finder for finder in sys.meta_path if isinstance(finder, _Finder)), None)
    if present is not None:
        present.replace |= replace
        return
    if _DISTRIBUTION in sys.modules:
        raise LitepredError(
            f"detectron2 is already imported from {getattr(sys.modules[_DISTRIBUTION], '__file__', None)}: call "
            "litepred.as_detectron2() before the first import of it"
        )
    real = _elsewhere(_DISTRIBUTION)
    if real is not None and not replace:
        raise LitepredError(
            f"Detectron2 itself can be imported, from {real.origin}: litepred.as_detectron2(replace=True), or "
            "litepred run --replace, puts litepred in its place; or remove it from there"
        )
    sys.meta_path.insert(0, _Finder(replace))


def _elsewhere(name: str) -> importlib.machinery.ModuleSpec | None:
    """Find a top-level module as Python would without the drop-in; a mere folder of that name does not count."""
    for finder in sys.meta_path:
        find_spec = None if isinstance(finder, _Finder) else getattr(finder, "find_spec", None)
        spec = find_spec(name, None) if find_spec is not None else None
        if spec is not None:
            return spec if spec.origin is not None else None
    return None


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """A finder and loader in one, for ``sys.meta_path``."""

    def __init__(self, replace: bool) -> None:
        self.replace = replace

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module of the table.

        Raises:
            ImportError: it would be part of a module of the table, but is none; the message has what there is.
        """
        root = fullname.partition(".")[0]
        is_optional = root in _ROOTS and root != _DISTRIBUTION and not self.replace
        if is_optional and not isinstance(sys.modules.get(root), _DropInModule) and _elsewhere(root) is not None:
            return None  # another package of that name is there, with submodules of its own
        if fullname not in MODULES:
            parent, _, name = fullname.rpartition(".")
            if parent in MODULES:
                raise _NoModuleError(_missing(parent, name))
            return None
        folder = _PACKAGE.joinpath(*fullname.split(".")[1:])  # where resources such as model_zoo/configs are
        folder = folder if folder.is_dir() else _PACKAGE
        return importlib.util.spec_from_file_location(
            fullname, folder / "__init__.py", loader=self, submodule_search_locations=[str(folder)]
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Make the module, still without any of its names."""
        return _DropInModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Give the package its version; all else is found when it is asked for."""
        if module.__name__ == _DISTRIBUTION:
            module.__version__ = VERSION  # type: ignore[attr-defined]

    def get_resource_reader(self, fullname: str) -> Any:
        """Return what ``importlib.resources`` asks for the files beside a module."""
        folder = Path(sys.modules[fullname].__path__[0])
        return types.SimpleNamespace(files=lambda: folder)

    def find_distributions(self, context: Any = None) -> Iterator[importlib.metadata.Distribution]:
        """Yield the distribution that ``importlib.metadata`` is asked for."""
        name = getattr(context, "name", None)
        if name is None or name.lower() == _DISTRIBUTION:
            yield _Distribution()


class _Distribution(importlib.metadata.Distribution):
    """``detectron2`` as ``importlib.metadata`` sees it."""

    def read_text(self, filename: str) -> str | None:
        """Return what a file of the distribution's metadata says; ``None`` where there is no such file."""
        return {
            "METADATA": f"Metadata-Version: 2.1\nName: {_DISTRIBUTION}\nVersion: {VERSION}\nSummary: litepred\n",
            "top_level.txt": f"{_DISTRIBUTION}\n",
            "INSTALLER": "litepred\n",
        }.get(filename)

    def locate_file(self, path: Any) -> Any:
        """Return where a file of the distribution would be."""
        return _PACKAGE.parent / path


class _DropInModule(types.ModuleType):
    """A module of the table: a name is imported from its home when it is asked for, and kept."""

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return [name for name in names_of(self.__name__).homes if not name.startswith("_")]
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        names, full_name = names_of(self.__name__), f"{self.__name__}.{name}"
        if name in names.homes:
            home, _, original = names.homes[name].partition(":")
            found = importlib.import_module(home)
            value: Any = operator.attrgetter(original)(found) if original else found
        elif name in names.absent:
            value = stand_in(full_name, f"is not in litepred: {ABSENT[names.absent[name]]}")
            if name.endswith("_REGISTRY"):  # in which a program may register what it wants
                from ..modeling import Registry

                value = Registry(name)
        elif full_name in MODULES:
            value = importlib.import_module(full_name)
        else:
            raise _NoNameError(_missing(self.__name__, name))
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep a name, such as the function ``engine.launch``, when Python sets the submodule that is called so."""
        names = names_of(self.__name__)
        if not (isinstance(value, _DropInModule) and (name in names.homes or name in names.absent)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        names = names_of(self.__name__)
        return sorted({*names.homes, *names.absent, *_submodules(self.__name__)})


def _submodules(name: str) -> list[str]:
    return [module[len(name) + 1 :] for module in MODULES if module.rpartition(".")[0] == name]


def _missing(module: str, name: str) -> str:
    names = [*names_of(module).homes, *names_of(module).absent, *_submodules(module)]
    near = difflib.get_close_matches(name, names, n=3)
    return f"Detectron2 has no {name!r} in {module}" + (f": did you mean {' or '.join(near)}?" if near else "")
