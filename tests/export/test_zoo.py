"""Every model of the zoo as an ONNX file (``python -m pytest -m exports``): with random weights, on one small image.

PointRend's models are refused; all others are exported, once for all those that are the same but for their training.

Each is exported by a process of its own, so that its memory is given back. ``LITEPRED_EXPORTS=FILE`` keeps a line about
each model that passes, and another run with it leaves those out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from zoo_export import graph_of

from litepred import model_zoo

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

_NAMES: dict[str, str] = {}  # of the first model with a graph
_PASSED = Path(os.environ.get("LITEPRED_EXPORTS", os.devnull))


@pytest.mark.exports
@pytest.mark.parametrize("name", model_zoo.list())
def test_it_is_exported(name, tmp_path):
    if _PASSED.exists() and any(line.startswith(f"{name} ") for line in _PASSED.read_text("utf-8").splitlines()):
        pytest.skip(f"{_PASSED} says that it passed")
    if (first := _NAMES.setdefault(graph_of(name), name)) != name:
        pytest.skip(f"{first} has the same graph and weights")
    program = Path(__file__).parents[1] / "zoo_export.py"
    done = subprocess.run(
        [sys.executable, program, name, tmp_path / "model.onnx"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if name.startswith("PointRend/"):
        assert "PointRend" in done.stderr and "cannot be exported: it chooses points by what" in done.stderr
        return
    assert done.returncode == 0, done.stderr[-3000:]
    with _PASSED.open("a", encoding="utf-8") as file:
        file.write(f"{name} {done.stdout}")
