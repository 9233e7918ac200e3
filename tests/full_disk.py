"""A disk that gets full while a file is written."""

from __future__ import annotations

from contextlib import contextmanager

import pytest


@contextmanager
def disk_with_room_for(size: int):
    """Let no file of this process grow beyond ``size`` bytes."""
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
