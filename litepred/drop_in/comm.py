"""The questions that scripts ask about distributed runs, answered for the single process that litepred runs in."""

from __future__ import annotations

from typing import Any

__all__ = ["all_gather", "gather", "get_rank", "get_world_size", "is_main_process", "synchronize"]


def get_world_size() -> int:
    """Return the number of processes, of all or of this machine: 1."""
    return 1


def get_rank() -> int:
    """Return the number of this process, among all or on this machine: 0."""
    return 0


def is_main_process() -> bool:
    """Tell whether this is process 0: it is."""
    return True


def synchronize() -> None:
    """Wait for nobody."""


def all_gather(data: Any, group: Any = None) -> list[Any]:
    """Return what each process passed, which is ``data`` alone."""
    return [data]


def gather(data: Any, dst: int = 0, group: Any = None) -> list[Any]:
    """Return what each process passed, which is ``data`` alone."""
    return [data]
