"""What litepred changes in its process, what that does in a process that sets nothing itself, and how to forbid it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest
import torch

from litepred import environment
from litepred.environment import set_variables

OF_THE_HEAP = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallinfo2")
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
NAMES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
FORBIDS = "LITEPRED_KEEP_ENVIRONMENT"
KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, KEPT),
        (dict.fromkeys(NAMES, "1"), dict.fromkeys(NAMES, "1")),
        ({"LRU_CACHE_CAPACITY": "9", "HOME": "/"}, KEPT | {"LRU_CACHE_CAPACITY": "9", "HOME": "/"}),
        ({FORBIDS: ""}, KEPT | {FORBIDS: ""}),
        ({FORBIDS: "0"}, KEPT | {FORBIDS: "0"}),
        ({FORBIDS: "1"}, {FORBIDS: "1"}),
    ],
)
def test_variables(given, expected, monkeypatch):
    monkeypatch.setattr(environment, "_HUGE_PAGES_FILE", "")  # as on systems that have no such file
    set_variables(given)
    assert given == expected


@pytest.mark.parametrize(
    ("setting", "given", "expected"),
    [
        ("always [madvise] never\n", {}, KEPT | {HUGE_PAGES: "1"}),
        ("always [madvise] never\n", {HUGE_PAGES: "0"}, KEPT | {HUGE_PAGES: "0"}),
        ("always [madvise] never\n", {FORBIDS: "1"}, {FORBIDS: "1"}),
        ("[always] madvise never\n", {}, KEPT),
        ("always madvise [never]\n", {}, KEPT),
        ("", {}, KEPT),
    ],
)
def test_huge_pages_are_asked_for_where_that_matters(setting, given, expected, tmp_path, monkeypatch):
    (tmp_path / "enabled").write_text(setting)
    monkeypatch.setattr(environment, "_HUGE_PAGES_FILE", str(tmp_path / "enabled"))
    set_variables(given)
    assert given == expected


def number_from(code: str, **settings: str) -> int:
    """What a process prints that had none of the settings, but those given."""
    ours = (*NAMES, *OF_THE_HEAP, HUGE_PAGES, FORBIDS)
    environ = {name: value for name, value in os.environ.items() if name not in ours} | settings
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


SECOND_TIME = """
import resource
import os
import litepred, torch
from litepred.environment import prepare_process

prepare_process(os.getpid())  # as the first predictor does

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
    assert number_from(SECOND_TIME, **{HUGE_PAGES: "0"}) < 1000
    assert number_from(SECOND_TIME, **{HUGE_PAGES: "0", name: str(1 << 20)}) > 9 * 6144 / 2


LARGE_MAP = """
import resource
import litepred, torch

def use():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(24 << 20)  # of 96 MiB, more than glibc keeps
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(min(use() for _ in range(3)))
"""


@pytest.mark.skipif(not environment._huge_pages_on_request(), reason="this system does not give huge pages on request")
def test_large_maps_come_in_huge_pages():
    assert number_from(LARGE_MAP, **{HUGE_PAGES: "0"}) > 24576 / 2
    assert number_from(LARGE_MAP) < 24576 / 2  # of 48, unless memory is broken up


LIMITS_SET = """
import ctypes, os
from types import SimpleNamespace
import litepred.predictor

limits = []
ctypes.CDLL = lambda name: SimpleNamespace(mallopt=lambda number, size: limits.append(size))
{use}
print(len(limits))
"""
PREDICTOR = "litepred.predictor.Predictor()"


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has these limits")
@pytest.mark.parametrize(
    ("use", "settings", "number"),
    [
        ("", {}, 0),  # importing alone sets nothing
        (PREDICTOR, {}, 2),
        (f"{PREDICTOR}; {PREDICTOR}", {}, 2),
        (PREDICTOR, {FORBIDS: "1"}, 0),
        (PREDICTOR, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1000000"}, 0),
    ],
)
def test_the_first_predictor_sets_the_limits_of_the_heap(use, settings, number):
    assert number_from(LIMITS_SET.format(use=use), **settings) == number


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
    assert number_from(MANY_SHAPES, **{FORBIDS: "1"}) > 2_000_000
    assert number_from(MANY_SHAPES, ONEDNN_PRIMITIVE_CACHE_CAPACITY="1024", LRU_CACHE_CAPACITY="1024") > 2_000_000


# Prints how many threads torch has after the child's part, in a child that was forked when torch had used its threads.
FORKED = """
import os, sys
import numpy as np, torch
torch.set_num_threads(2)
import litepred
from litepred import Predictor
predictor = Predictor()
predictor(np.zeros((64, 64, 3), np.uint8))
torch.ones(500, 500) @ torch.ones(500, 500)
reading, writing = os.pipe()
if os.fork() == 0:
    {child}
    os.write(writing, str(torch.get_num_threads()).encode())
    os._exit(0)
os.wait()
print(os.read(reading, 9).decode(), file=sys.stderr if {parent} else sys.stdout)
print(torch.get_num_threads(), file=sys.stdout if {parent} else sys.stderr)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
@pytest.mark.parametrize(
    ("child", "settings", "threads"),
    [
        ("pass", {}, 2),
        ("predictor(np.zeros((64, 64, 3), np.uint8))", {}, 1),
        ("list(predictor.batch([np.zeros((64, 64, 3), np.uint8)]))", {}, 1),
        ("Predictor()", {}, 1),
        ("pass", {FORBIDS: "1"}, 2),
        ("from litepred.environment import prepare_process; prepare_process(os.getppid())", {}, 1),
        ("from litepred.environment import prepare_process; prepare_process(os.getppid())", {FORBIDS: "1"}, 2),
    ],
    ids=["no prediction", "predicts", "batch", "builds", "forbidden", "prepared", "prepared but forbidden"],
)
def test_only_a_forked_process_that_uses_a_predictor_has_one_thread(child, settings, threads):
    assert number_from(FORKED.format(child=child, parent=False), **settings) == threads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
def test_the_process_that_forks_keeps_its_threads():
    child = "predictor(np.zeros((64, 64, 3), np.uint8))"
    assert number_from(FORKED.format(child=child, parent=True)) == 2
