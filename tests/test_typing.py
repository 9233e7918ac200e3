"""What a type checker tells a user: README's first lines pass, and the answer's fields have their types."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIVE_LINES, MORE_LINES = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)[:2]
INSTANCES = "litepred.structures.instances.Instances"
TYPES = {
    'outputs["instances"]': INSTANCES,
    'outputs["sem_seg"]': "torch._tensor.Tensor",
    'outputs["panoptic_seg"][1][0]["category_id"]': "int",
    'outputs["proposals"]': INSTANCES,
    'next(predictor.batch(["image.png"]))["instances"]': INSTANCES,
    'isinstance(next(predictor.batch([lambda: "image.png"], return_errors=True)), ImageError)': "bool",
}
SCRIPTS = {
    "five_lines.py": FIVE_LINES,
    "more_lines.py": FIVE_LINES + MORE_LINES,
    "types.py": "from litepred import ImageError, Predictor\npredictor = Predictor()\noutputs = predictor('a.png')\n"
    + "".join(f"reveal_type({expression})\n" for expression in TYPES),
    "mistakes.py": "from litepred import Predictor\nPredictor(3)\nPredictor()(None)\nPredictor()('a')['instance']\n",
}

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="mypy is missing: python -m pip install '.[dev]'"
)


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, list[str]]:
    """What ``mypy --strict`` says about each of a user's scripts."""
    folder = tmp_path_factory.mktemp("scripts")
    for name, code in SCRIPTS.items():
        (folder / f"user_{name}").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *(f"user_{name}" for name in SCRIPTS)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    return {name: [line for line in lines if line.startswith(f"user_{name}")] for name in SCRIPTS}


@pytest.mark.parametrize("name", ["five_lines.py", "more_lines.py"])
def test_readmes_lines_pass(name, said):
    assert said[name] == []


def test_the_types_of_an_answer(said):
    revealed = [line.split("Revealed type is ")[1].strip('"') for line in said["types.py"]]
    assert [text.removeprefix("builtins.") for text in revealed] == list(TYPES.values())


def test_mistakes_are_told(said):
    assert [line.split(":")[1] for line in said["mistakes.py"] if ": error:" in line] == ["2", "3", "4"]
