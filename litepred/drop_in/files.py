"""``PathManager``: files by path, and by address where a handler is registered for its prefix."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO, Any

from ..checkpoint import resolve_path
from ..errors import LitepredError

__all__ = ["PathHandler", "PathManager"]

AnyPath = str | os.PathLike[str]


class PathHandler:
    """What `PathManager` asks about paths: as it is, about those of this machine.

    Derive from it for other prefixes, with the first two methods at least.
    """

    def _get_supported_prefixes(self) -> list[str]:
        raise NotImplementedError

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return os.fspath(path).removeprefix("file://")

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        return open(self._get_local_path(path), mode, buffering, **kwargs)

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return os.path.exists(self._get_local_path(path))

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return os.path.isfile(self._get_local_path(path))

    def _isdir(self, path: str, **kwargs: Any) -> bool:
        return os.path.isdir(self._get_local_path(path))

    def _ls(self, path: str, **kwargs: Any) -> list[str]:
        return os.listdir(self._get_local_path(path))

    def _mkdirs(self, path: str, **kwargs: Any) -> None:
        os.makedirs(self._get_local_path(path), exist_ok=True)

    def _rm(self, path: str, **kwargs: Any) -> None:
        os.remove(self._get_local_path(path))


class _DownloadHandler(PathHandler):
    """Addresses of Detectron2's own files, and of any other over HTTP, in litepred's cache of downloads."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["detectron2://", "catalog://", "https://", "http://"]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(resolve_path(path))

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        if set(mode) - set("rbt"):
            raise LitepredError(f"{path} was to be opened with mode {mode!r}, but what was downloaded is only read")
        return super()._open(path, mode, buffering, **kwargs)


class _PathManager:
    """The operations on files that Detectron2's scripts use; see ``iopath`` for the original."""

    def __init__(self) -> None:
        self._handlers: dict[str, Any] = {"": PathHandler()}  # by prefix; the longest that fits is asked
        self.register_handler(_DownloadHandler())

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

    def _handler(self, path: AnyPath) -> Any:
        return self._handlers[max(filter(os.fspath(path).startswith, self._handlers), key=len)]

    def open(self, path: AnyPath, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        """Open a file as the builtin ``open`` does."""
        return self._handler(path)._open(path, mode, buffering, **kwargs)

    def get_local_path(self, path: AnyPath, force: bool = False, **kwargs: Any) -> str:
        """Return the path on this machine, downloading where it is an address."""
        return self._handler(path)._get_local_path(path, force=force, **kwargs)

    def exists(self, path: AnyPath) -> bool:
        """Tell whether there is such a file or folder."""
        return self._handler(path)._exists(path)

    def isfile(self, path: AnyPath) -> bool:
        """Tell whether it is a file."""
        return self._handler(path)._isfile(path)

    def isdir(self, path: AnyPath) -> bool:
        """Tell whether it is a folder."""
        return self._handler(path)._isdir(path)

    def ls(self, path: AnyPath) -> list[str]:
        """List what a folder holds."""
        return self._handler(path)._ls(path)

    def mkdirs(self, path: AnyPath) -> None:
        """Make a folder and those above it; it may be there."""
        self._handler(path)._mkdirs(path)

    def rm(self, path: AnyPath) -> None:
        """Delete a file."""
        self._handler(path)._rm(path)

    def copy(self, src_path: AnyPath, dst_path: AnyPath, overwrite: bool = False) -> bool:
        """Copy a file; return ``False`` where the target is there and is not to be overwritten."""
        target = Path(self.get_local_path(dst_path))
        if target.exists() and not overwrite:
            return False
        shutil.copyfile(self.get_local_path(src_path), target)
        return True


PathManager = _PathManager()
