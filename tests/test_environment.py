"""Settings of the libraries under torch, and what they do in a process that sets none itself."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from litepred.environment import set_defaults

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
OF_THE_HEAP = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
NAMES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY", "THP_MEM_ALLOC_ENABLE")
GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallinfo2")
KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
ASKING = {"THP_MEM_ALLOC_ENABLE": "1"}


@pytest.mark.parametrize(
    ("given", "huge_pages", "expected"),
    [
        ({}, None, KEPT),
        ({}, "always [madvise] never\n", KEPT | ASKING),
        ({}, "[always] madvise never\n", KEPT),
        ({}, "always madvise [never]\n", KEPT),
        (dict.fromkeys(NAMES, "0"), "always [madvise] never\n", dict.fromkeys(NAMES, "0")),
        ({"LRU_CACHE_CAPACITY": "9", "HOME": "/"}, None, KEPT | {"LRU_CACHE_CAPACITY": "9", "HOME": "/"}),
    ],
)
def test_defaults(given, huge_pages, expected, tmp_path):
    file = tmp_path / "enabled"
    if huge_pages is not None:
        file.write_text(huge_pages)
    set_defaults(given, file)
    assert given == expected


def number_from(code: str, **settings: str) -> int:
    """What a process prints that had none of the settings, but those given."""
    environ = {name: value for name, value in os.environ.items() if name not in (*NAMES, *OF_THE_HEAP)} | settings
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


LARGE_TENSOR = """
import resource
import litepred, torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(16 << 20)  # of 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[madvise]" not in HUGE_PAGES.read_text(), reason="huge pages are not there for who asks"
)
def test_large_tensors_have_huge_pages():
    small_pages = number_from(LARGE_TENSOR, THP_MEM_ALLOC_ENABLE="0")
    assert small_pages >= 64 * 256
    assert number_from(LARGE_TENSOR) < small_pages / 4  # the machine need not have one for each


SECOND_TIME = """
import resource
import litepred.predictor, torch

def use():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(2 << 20) for _ in range(12)]  # of 8 MiB each
    del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

use()
print(min(use() for _ in range(4)))
"""


@pytest.mark.skipif(not GLIBC, reason="glibc is tried")
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_the_memory_of_one_image_is_kept_for_the_next(name):
    """Without huge pages, for the count; the user's own limit of 1 MiB stands, and the memory is asked for again."""
    assert number_from(SECOND_TIME, THP_MEM_ALLOC_ENABLE="0") < 1000
    assert number_from(SECOND_TIME, THP_MEM_ALLOC_ENABLE="0", **{name: str(1 << 20)}) > 12 * 2048 / 2


MANY_SHAPES = """
import ctypes
import litepred, torch
from torch.nn.functional import conv2d

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (*"abcdefg", "used", "free", "top")]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Mallinfo
torch.set_num_threads(1)
weight = torch.ones(16, 16, 3, 3)

def convolve(widths):
    for width in widths:
        conv2d(torch.ones(1, 16, 8, width), weight)
    return mallinfo().used

with torch.no_grad():
    first = convolve(range(8, 408))
    print(convolve(range(408, 908)) - first)
"""


@pytest.mark.skipif(not (GLIBC and torch.backends.mkldnn.is_available()), reason="oneDNN and glibc are tried")
def test_layers_of_past_shapes_are_let_go():
    """Of 500 shapes more, nothing is kept; torch's own settings keep them all."""
    assert number_from(MANY_SHAPES) < 200_000
    assert number_from(MANY_SHAPES, ONEDNN_PRIMITIVE_CACHE_CAPACITY="1024", LRU_CACHE_CAPACITY="1024") > 2_000_000
