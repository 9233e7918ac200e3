"""Files that are whole or absent, and what is no file but an address."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["is_address", "whole_file"]

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")  # C:// is a drive of Windows


def is_address(name: str) -> bool:
    """Tell an address, such as ``https://host/model.pth``, from a path."""
    return _ADDRESS.match(name) is not None


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``, with the same ending, and rename what was written there at the end.

    When the body raises (or is interrupted), the temporary file is deleted and ``path`` stays as it was. Its name is
    short, so that there is room for it wherever there is for that of ``path``.

    Raises:
        OSError: when the folder cannot be written, or ``path`` is there and is no file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # told before the work instead of after it
        code, kind = (errno.EISDIR, "a folder") if path.is_dir() else (errno.EINVAL, "not a regular file")
        raise OSError(code, f"it is {kind}", str(path))
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
