"""Settings of the libraries under torch, for memory that stays flat and fewer page faults.

How many layers are kept is read once, at the first layer of oneDNN or the first `torch.set_num_threads` in a thread. A
program that comes to these before it imports litepred keeps torch's own number.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, MutableMapping

__all__ = ["keep_heap", "set_defaults"]

# oneDNN, and ideep above it, each hold on to what they prepared for the last 1,024 shapes of layers. 64 are enough for
# the next image of the same size; with images of ever other sizes the rest is dead, and its small pieces break up the
# heap between the maps of later images.
_LAYERS_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
_OF_THE_HEAP = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")  # what users set
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def set_defaults(environ: MutableMapping[str, str]) -> None:
    """Set what the user has not set in ``environ``, as `os.environ`."""
    for name, value in _LAYERS_KEPT.items():
        environ.setdefault(name, value)


def keep_heap(environ: Mapping[str, str]) -> None:
    """Let glibc keep the memory of one image for the next, where it would return it and ask for it again.

    Up to 256 MiB of freed heap stay with the process; blocks above 32 MiB, the most that glibc takes for this limit,
    come from the system, and go back to it. Nothing is done where the user has set one of these limits, nor with other
    C libraries.
    """
    if sys.platform == "linux" and not any(name in environ for name in _OF_THE_HEAP):
        import ctypes  # where it is used alone: `import litepred` comes through this file

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_TRIM_THRESHOLD, 256 << 20)
            mallopt(_M_MMAP_THRESHOLD, 32 << 20)
