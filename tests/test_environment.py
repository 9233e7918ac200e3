"""Settings of the libraries under torch, and what they do in a process that sets none itself."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest
import torch

from litepred.environment import set_defaults

OF_THE_HEAP = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallinfo2")
NAMES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, KEPT),
        (dict.fromkeys(NAMES, "1"), dict.fromkeys(NAMES, "1")),
        ({"LRU_CACHE_CAPACITY": "9", "HOME": "/"}, KEPT | {"LRU_CACHE_CAPACITY": "9", "HOME": "/"}),
    ],
)
def test_defaults(given, expected):
    set_defaults(given)
    assert given == expected


def number_from(code: str, **settings: str) -> int:
    """What a process prints that had none of the settings, but those given."""
    environ = {name: value for name, value in os.environ.items() if name not in (*NAMES, *OF_THE_HEAP)} | settings
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


SECOND_TIME = """
import resource
import litepred.predictor, torch

def use():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(6 << 20) for _ in range(9)]  # of 24 MiB each
    del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

use()
print(min(use() for _ in range(4)))
"""


@pytest.mark.skipif(not GLIBC, reason="glibc is tried")
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_the_memory_of_one_image_is_kept_for_the_next(name):
    """The user's own limit of 1 MiB stands, and the memory is asked for again at each use."""
    assert number_from(SECOND_TIME) < 1000
    assert number_from(SECOND_TIME, **{name: str(1 << 20)}) > 9 * 6144 / 2


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
