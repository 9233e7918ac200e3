"""``PathManager``: files by path, and by address where a handler is registered for its prefix."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from typing import IO, Any

from .. import extensions
from ..checkpoint import resolve_path
from ..errors import LitepredError


def _on_this_machine(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method of `PathHandler` out of a function that takes a path of this machine."""
    return lambda self, path, *args, **kwargs: function(self._get_local_path(path), *args, **kwargs)


class PathHandler:
    """What `PathManager` asks about paths: as it is, about those of this machine.

    Derive from it for other prefixes, with the first two methods at least.
    """

    def _get_supported_prefixes(self) -> list[str]:
        raise NotImplementedError

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return os.fspath(path).removeprefix("file://")

    _open = _on_this_machine(open)
    _exists = _on_this_machine(os.path.exists)
    _isfile = _on_this_machine(os.path.isfile)
    _isdir = _on_this_machine(os.path.isdir)
    _ls = _on_this_machine(os.listdir)
    _mkdirs = _on_this_machine(partial(os.makedirs, exist_ok=True))
    _rm = _on_this_machine(os.remove)


class _DownloadHandler(PathHandler):
    """Addresses of Detectron2's own files, and of any other over HTTP, in litepred's cache of downloads."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["detectron2://", "catalog://", "https://", "http://"]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(resolve_path(path))

    def _open(self, path: str, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:
        if set(mode) - set("rbt"):
            raise LitepredError(f"{path} was to be opened with mode {mode!r}, but what was downloaded is only read")
        return open(self._get_local_path(path), mode, *args, **kwargs)


def _asked(method: str) -> Callable[..., Any]:
    """Make a method of the path manager that asks the handler of a path."""
    return lambda self, path, *args, **kwargs: getattr(self._handler(path), method)(path, *args, **kwargs)


class _PathManager:
    """The operations on files that Detectron2's scripts use; see ``iopath`` for the original.

    Args:
        for_weights: whether litepred is to ask it, too, where weights are that have an address of a registered handler.
    """

    def __init__(self, for_weights: bool = False) -> None:
        self._for_weights = for_weights
        downloads = _DownloadHandler()
        self._handlers: dict[str, Any] = {"": PathHandler()}  # by prefix; the longest that fits is asked
        self._handlers.update(dict.fromkeys(downloads._get_supported_prefixes(), downloads))

    def register_handler(self, handler: Any, allow_override: bool = False) -> None:
        """Ask ``handler`` about the paths that begin with one of its prefixes.

        Raises:
            KeyError: a prefix has a handler already.
        """
        prefixes = handler._get_supported_prefixes()
        taken = [prefix for prefix in prefixes if prefix in self._handlers]
        if taken and not allow_override:
            raise KeyError(f"{', '.join(taken)} already has a handler: pass allow_override=True to replace it")
        self._handlers.update(dict.fromkeys(prefixes, handler))
        if self._for_weights:
            kinds = (prefix.removesuffix("://") for prefix in prefixes if prefix.endswith("://"))
            extensions.announce(addresses=dict.fromkeys(kinds, f"{__name__}:fetch"))

    def _handler(self, path: str | os.PathLike[str]) -> Any:
        return self._handlers[max(filter(os.fspath(path).startswith, self._handlers), key=len)]

    open = _asked("_open")  # as the builtin does
    get_local_path = _asked("_get_local_path")  # of an address, its download
    exists, isfile, isdir = _asked("_exists"), _asked("_isfile"), _asked("_isdir")
    ls = _asked("_ls")  # the names in a folder
    mkdirs = _asked("_mkdirs")  # a folder and those above it, which may be there
    rm = _asked("_rm")  # a file

    def copy(self, src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        """Copy a file; return ``False`` where the target is there and is not to be overwritten."""
        target = self.get_local_path(dst_path)
        if os.path.exists(target) and not overwrite:
            return False
        shutil.copyfile(self.get_local_path(src_path), target)
        return True


PathManager = _PathManager(for_weights=True)


def fetch(address: str) -> extensions.ModelPlace:
    """Return the weights that an address of a registered handler leads to."""
    return extensions.ModelPlace(config=None, weights=os.fspath(PathManager.get_local_path(address)))
