"""Every door takes its own seeds; and, with the marker, a fuzzer tries each for a while (CONTRIBUTING.md)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("omegaconf")
pytest.importorskip("onnx")
from fuzz.harnesses import HARNESSES, attempt

SECONDS = os.environ.get("LITEPRED_FUZZ_SECONDS", "60")


@pytest.mark.parametrize("door", HARNESSES)
@pytest.mark.filterwarnings("ignore")
def test_seeds_are_let_in_or_refused(door, tmp_path):
    seeds = [seed for seed in HARNESSES[door].seeds() if len(seed) < 20_000]
    if door == "lazy":
        seeds = seeds[:10]  # the others are bombs, which tests/drop_in/lazy measures
    assert {attempt(door, seed, tmp_path) for seed in seeds} == {True, False}


def test_what_a_file_may_not_do_is_noticed(tmp_path, monkeypatch):
    harness = HARNESSES["image"]._replace(enter=lambda path: path.with_name("new").write_bytes(b""))
    monkeypatch.setitem(HARNESSES, "image", harness)
    with pytest.raises(RuntimeError, match=r"made litepred do this.*open"):
        attempt("image", b"x", tmp_path)


@pytest.mark.fuzz
@pytest.mark.parametrize("door", HARNESSES)
def test_fuzz(door, tmp_path):
    pytest.importorskip("atheris")
    run = Path(__file__).with_name("run.py")
    done = subprocess.run([sys.executable, run, door, SECONDS], capture_output=True, text=True, cwd=tmp_path)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told[-5000:]
    print(door, *re.findall(r"^#.*DONE.*$", told, re.MULTILINE))
