"""What litepred changes in its process besides its own objects, all of it here, and how to forbid it.

- ``import litepred`` sets environment variables, unless they are set. Two let oneDNN, and ideep above it, keep what
  they prepared for the last 64 shapes of layers, and not for 1,024. That is enough for the next image of the same size.
  With images of many sizes, more would never be used again, and would only break up the heap. Both libraries read their
  variable once, at the first layer that they compute or the first `torch.set_num_threads`, so a program that comes to
  these before it imports litepred keeps torch's number.
- A third one lets torch ask for large tensors in pages of 2 MiB, where Linux gives such pages to those that ask: a map
  of 50 MiB then takes 25 of them instead of 13,000, which take as long to get as the map to compute.
- The first `Predictor` of a process lets glibc keep the memory of one image for the next, instead of returning it and
  asking for it again: up to 256 MiB of freed memory stay with the process, and only blocks above 32 MiB, the most that
  glibc takes for this limit, go back at once. Nothing is done where ``MALLOC_TRIM_THRESHOLD_``,
  ``MALLOC_MMAP_THRESHOLD_`` or ``GLIBC_TUNABLES`` is set, nor with other C libraries.
- The first use of a `Predictor` in a forked process sets torch to one thread there. The threads of OpenMP do not
  survive a fork, and torch would wait for them for ever. A forked process that uses no predictor is left alone; if it
  runs a model by itself, it has to call ``torch.set_num_threads(1)`` before.

``LITEPRED_KEEP_ENVIRONMENT=1`` forbids all of it. Three things more concern the whole process: ``Predictor(threads=…)``
sets torch's number of threads; Python's garbage collector pauses while a predictor is built; and where torch's default
dtype is another, it is float32 while a model is built.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping, MutableMapping

__all__ = ["prepare_process", "set_variables"]

_FORBIDS = "LITEPRED_KEEP_ENVIRONMENT"
_VARIABLES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
_HUGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
_HUGE_PAGES_FILE = "/sys/kernel/mm/transparent_hugepage/enabled"
_HEAP_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def set_variables(environ: MutableMapping[str, str]) -> None:
    """Set the variables in ``environ``, such as `os.environ`, where they are not set."""
    if not _is_forbidden(environ):
        for name, value in (_VARIABLES | (_HUGE_PAGES if _huge_pages_on_request() else {})).items():
            environ.setdefault(name, value)


def prepare_process(torch_process: int) -> None:
    """Set the limits of the heap, and the number of threads after a fork, once in each process.

    Args:
        torch_process: id of the process that imported torch, of which the present one may be a fork.
    """
    _prepare_process(os.getpid(), torch_process)


@functools.cache
def _prepare_process(process: int, torch_process: int) -> None:
    if _is_forbidden(os.environ):
        return
    if process != torch_process:
        import torch

        torch.set_num_threads(1)
    elif sys.platform == "linux" and not any(name in os.environ for name in _HEAP_VARIABLES):
        import ctypes  # where it is used alone: `import litepred` comes through this file

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_TRIM_THRESHOLD, 256 << 20)
            mallopt(_M_MMAP_THRESHOLD, 32 << 20)


def _huge_pages_on_request() -> bool:
    """Whether Linux gives huge pages to those that ask, and not to all or to nobody."""
    try:
        with open(_HUGE_PAGES_FILE, encoding="ascii") as file:
            return "[madvise]" in file.read()
    except OSError:
        return False


def _is_forbidden(environ: Mapping[str, str]) -> bool:
    return environ.get(_FORBIDS, "") not in ("", "0")
