"""Two ways of computing the same: which one is taken, how long that is remembered, and how it is decided beforehand."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import torch

from litepred import choices
from litepred.choices import Timing, is_faster, pin
from litepred.errors import ConfigError
from litepred.layers import Conv2d, WinogradConv2d
from litepred.optimize import optimize


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LITEPRED_CACHE", str(tmp_path))
    monkeypatch.delenv("LITEPRED_CHOICES", raising=False)
    monkeypatch.setattr(choices, "_measured", {})
    monkeypatch.setattr(choices, "_pinned", None)
    monkeypatch.setattr(choices, "_is_free", lambda *_: True)  # what sleeps has no processor: see the tests of that
    return tmp_path / "choices"


def sleeping(*seconds: float):
    """Return what makes two ways that take so long, and a list of how often each was tried."""
    tried = [0, 0]

    def way(i: int) -> None:
        tried[i] += 1
        time.sleep(seconds[i])

    return lambda: (lambda: way(0), lambda: way(1)), tried


def never():
    raise AssertionError("it was measured")


@pytest.mark.parametrize(
    ("usual_s", "other_s", "faster"), [(0.02, 0.001, True), (0.001, 0.02, False), (0.01, 0.01, False)]
)
def test_the_faster_way_is_taken_and_remembered(usual_s, other_s, faster, cache, monkeypatch):
    assert choices.choices() == {}
    make, tried = sleeping(usual_s, other_s)
    assert is_faster("winograd", "8→8", make) is faster
    assert tried == [8, 8]
    assert is_faster("winograd", "8→8", never) is faster
    monkeypatch.setattr(choices, "_measured", {})  # as in another process
    assert is_faster("winograd", "8→8", never) is faster
    (told,) = choices.choices().values()
    assert told.usual_ms >= 1e3 * usual_s and told.other_ms >= 1e3 * other_s and told.taken is faster
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    ("had_ms", "threads", "free"), [(190, 2, True), (110, 2, False), (110, 1, True), (0, 1, False)]
)
def test_what_a_disturbed_process_is(had_ms, threads, free, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert choices._is_free(100, had_ms) is free


def test_disturbed_tries_are_repeated_by_later_processes_and_the_least_times_count(cache, monkeypatch):
    monkeypatch.setattr(choices, "_is_free", lambda spent_ms, had_ms: had_ms > spent_ms)  # never, for what sleeps
    make, _ = sleeping(0.01, 0.05)
    assert not is_faster("winograd", "8→8", make)
    assert not is_faster("winograd", "8→8", never)  # settled within a process
    for other_s, faster in ((0.03, False), (0.002, True), (0.05, True), (0.05, True)):
        monkeypatch.setattr(choices, "_measured", {})  # as in another process
        assert is_faster("winograd", "8→8", sleeping(0.01, other_s)[0]) is faster
    monkeypatch.setattr(choices, "_measured", {})
    assert is_faster("winograd", "8→8", never)  # the last of the tries holds
    (told,) = choices.choices().values()
    assert told.is_settled and told.busy_tries == 5 and told.other_ms < 5


def test_one_try_without_disturbance_is_enough(monkeypatch):
    monkeypatch.setattr(choices, "_is_free", lambda *_: False)
    assert not is_faster("winograd", "8→8", sleeping(0.001, 0.01)[0])
    monkeypatch.setattr(choices, "_measured", {})
    monkeypatch.setattr(choices, "_is_free", lambda *_: True)
    assert is_faster("winograd", "8→8", sleeping(0.01, 0.001)[0]) is False  # its least time was 1 ms, before
    monkeypatch.setattr(choices, "_measured", {})
    assert not is_faster("winograd", "8→8", never)
    assert choices.choices()["winograd 8→8"].busy_tries == 0


def test_slow_layers_are_tried_less_often():
    make, tried = sleeping(0.11, 0.11)
    assert not is_faster("winograd", "8→8", make)
    assert tried == [3, 3]


@pytest.mark.parametrize("what", ["layer", "threads", "processor", "instructions"])
def test_what_else_is_measured_anew(what, monkeypatch):
    make, tried = sleeping(0.001, 0)
    assert is_faster("winograd", "8→8", make)
    if what == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 31)
    elif what == "processor":
        monkeypatch.setattr(choices, "processor", lambda: "another")
    elif what == "instructions":
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert is_faster("winograd", "8→16" if what == "layer" else "8→8", make)
    assert tried == [16, 16]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        '{"winograd 8→8": [1]}',
        '{"winograd 8→8": [1, 2, false]}',  # of a version that did not look for disturbances
        '{"winograd 8→8": ["a", "b", true, 0]}',
    ],
)
def test_a_damaged_file_is_measured_anew(text, cache, monkeypatch):
    assert is_faster("winograd", "8→8", sleeping(0.001, 0)[0])
    (file,) = cache.iterdir()
    file.write_text(text, encoding="utf-8")
    monkeypatch.setattr(choices, "_measured", {})
    make, tried = sleeping(0.001, 0)
    assert is_faster("winograd", "8→8", make)
    assert tried == [8, 8]
    assert list(json.loads(file.read_text(encoding="utf-8"))) == ["winograd 8→8"]


def test_of_two_processes_that_measure_at_once_the_first_one_decides(cache):
    def meanwhile():
        cache.mkdir()
        rows = {"winograd 8→8": Timing(1.0, 9.0, False), "winograd 8→16": Timing(9.0, 1.0, True)}
        (cache / choices._file_name()).write_text(json.dumps(rows), encoding="utf-8")
        return sleeping(0.001, 0)[0]()

    assert not is_faster("winograd", "8→8", meanwhile)
    assert is_faster("winograd", "8→16", never)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LITEPRED_CACHE", str(tmp_path / "file"))
    assert is_faster("winograd", "8→8", sleeping(0.001, 0)[0])
    assert is_faster("winograd", "8→8", never)


@pytest.mark.parametrize(
    ("text", "winograd", "linear"),
    [
        ("usual", False, False),
        ("winograd=yes,linear=no", True, False),
        (" linear = yes , winograd = no ", False, True),
        ("linear=yes", None, True),
        ("", None, None),
    ],
)
@pytest.mark.parametrize("by", ["variable", "pin"])
def test_choosing_without_measuring(text, winograd, linear, by, monkeypatch):
    if by == "variable":
        monkeypatch.setenv("LITEPRED_CHOICES", text)
    else:
        monkeypatch.setenv("LITEPRED_CHOICES", "winograd=yes,linear=yes")
        pin(text)
    for kind, wanted in (("winograd", winograd), ("linear", linear)):
        make, tried = sleeping(0.001, 0)
        assert is_faster(kind, "8→8", make) is (True if wanted is None else wanted)
        assert bool(sum(tried)) is (wanted is None)


def test_the_variable_holds_again_after_a_pin(monkeypatch):
    monkeypatch.setenv("LITEPRED_CHOICES", "usual")
    pin("winograd=yes")
    assert choices.choices() == {"winograd": True}
    pin(None)
    assert choices.choices() == {"winograd": False, "linear": False, "bfloat16": False}


@pytest.mark.parametrize("text", ["fast", "winograd", "winograd=1", "winograd=yes;linear=no", "sparse=yes"])
def test_a_choice_that_cannot_be_read(text, monkeypatch):
    with pytest.raises(ConfigError, match=r"LITEPRED_CHOICES has .*: expected 'usual', or some of winograd, linear"):
        pin(text)
    monkeypatch.setenv("LITEPRED_CHOICES", text)
    with pytest.raises(ConfigError, match="LITEPRED_CHOICES"):
        is_faster("winograd", "8→8", never)


def test_trying_leaves_random_numbers_and_the_default_dtype_alone(cache):
    torch.set_default_dtype(torch.float64)
    try:
        state = torch.get_rng_state()
        WinogradConv2d.suits(Conv2d(128, 128, 3, padding=1, device="meta"))
        assert torch.equal(torch.get_rng_state(), state)
        assert len(choices.choices()) == 1
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("fast", "faster", "precision"), [(True, True, "bfloat16"), (True, False, "float32"), (False, True, "float32")]
)
def test_the_automatic_precision(fast, faster, precision, monkeypatch):
    monkeypatch.setattr("litepred.optimize.is_fast", lambda *_: fast)
    pin(f"winograd=no,linear=no,bfloat16={'yes' if faster else 'no'}")
    assert optimize(torch.nn.Sequential(Conv2d(3, 3, 1)).eval(), "auto") == precision


@pytest.mark.parametrize(
    ("told", "capabilities", "expected"),
    [
        ("", None, False),
        ("", {}, False),
        ("flags: avx2", {"avx2": True, "avx512_vnni": False}, False),
        ("flags: avx2 avx512_vnni", None, True),
        ("flags: avx2 avx_vnni", {}, True),
        ("Intel64 Family 6", {"avx512_vnni": True}, True),
        ("Intel64 Family 6", {"avx_vnni": True, "avx512_vnni": False}, True),
    ],
)
def test_products_of_eight_bits(told, capabilities, expected, monkeypatch):
    monkeypatch.setattr(choices, "processor", lambda: told)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    if capabilities is None:  # as in older versions
        monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert choices.has_vnni() is expected


def test_another_process_chooses_the_same(tmp_path):
    program = """
import torch
from litepred.layers import Conv2d, WinogradConv2d
torch.set_num_threads(2)
from litepred import choices
choices._is_free = lambda *_: True  # else a busy machine would make the second process try again
print(WinogradConv2d.suits(Conv2d(128, 128, 3, padding=1)))
print(choices.choices())
"""
    told = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout for _ in range(2)]
    assert told[0] == told[1] and "winograd 128→128" in told[0]
