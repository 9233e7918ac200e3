"""The questions that scripts ask about distributed runs, answered for the single process that litepred runs in."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "all_gather",
    "gather",
    "get_local_rank",
    "get_local_size",
    "get_rank",
    "get_world_size",
    "is_main_process",
    "reduce_dict",
    "shared_random_seed",
    "synchronize",
]


def get_world_size() -> int:
    """Return the number of processes: 1."""
    return 1


def get_rank() -> int:
    """Return the number of this process: 0."""
    return 0


def get_local_rank() -> int:
    """Return the number of this process on its machine: 0."""
    return 0


def get_local_size() -> int:
    """Return the number of processes on this machine: 1."""
    return 1


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


def shared_random_seed() -> int:
    """Draw a seed below 2³¹ with NumPy's global generator."""
    return int(np.random.randint(2**31))


def reduce_dict(input_dict: dict[str, Any], average: bool = True) -> dict[str, Any]:
    """Return the values of all processes summed or averaged, which are those that came."""
    return input_dict
