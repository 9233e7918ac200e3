"""Settings of the libraries under torch, read once, before its first tensor: a smaller process, fewer page faults."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

__all__ = ["set_defaults"]

# oneDNN, and ideep above it, each hold on to what they prepared for the last 1,024 shapes of layers. An image has 50 to
# 100; with images of ever other sizes the rest is dead, and its small pieces break up the heap between the maps.
_LAYERS_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128", "LRU_CACHE_CAPACITY": "128"}
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def set_defaults(environ: MutableMapping[str, str], huge_pages: Path = _HUGE_PAGES) -> None:
    """Set what the user has not set.

    Args:
        environ: to change, as `os.environ`.
        huge_pages: Linux's file that tells who gets pages of 2 MiB. Where they are given to those who ask, torch is
            told to ask: a large map then takes a fault for 512 small pages.
    """
    for name, value in _LAYERS_KEPT.items():
        environ.setdefault(name, value)
    with suppress(OSError):  # none outside Linux
        if "[madvise]" in huge_pages.read_text():
            environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
