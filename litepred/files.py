"""Files that are whole or absent."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``, with the same ending, and rename what was written there at the end.

    When the body raises (or is interrupted), the temporary file is deleted and ``path`` stays as it was.

    Raises:
        OSError: when the folder cannot be written, or ``path`` is a folder itself.
    """
    path = Path(path)
    if path.is_dir():  # told before the work instead of after it
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    # of a long name only the beginning, since names have a limit
    temporary = path.parent / f".{path.stem[:40]}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
