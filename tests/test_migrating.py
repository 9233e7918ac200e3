"""What MIGRATING.md says is true: its Python runs, its commands too, and each line of its lists has a check."""

from __future__ import annotations

import importlib
import operator
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import litepred
from litepred.drop_in.names import MODULES, names_of

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "MIGRATING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))


def points(section):
    return re.findall(r"^- (.*?)(?=^- |\n\n|\Z)", SECTIONS[section], flags=re.MULTILINE | re.DOTALL)


def python(code, *words):
    done = subprocess.run(
        [sys.executable, *words, "-c", code], capture_output=True, text=True, cwd=ROOT, env=_with_package()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed():
    return python("\n".join(code for language, code in BLOCKS if language == "python"))


def test_the_python_runs(printed):
    assert "'text'" in printed
    assert "ShapeSpec(channels=64, height=None, width=None, stride=16)" in printed
    assert "GeneralizedRCNN.train() was called" in printed or "PanopticFPN.train() was called" in printed
    assert "detectron2.engine.DefaultTrainer is not in litepred" in printed


def test_the_command(tmp_path):
    (command,) = [code for language, code in BLOCKS if language == "bash"]
    (tmp_path / "demo.py").write_text("import sys, detectron2.engine; print(sys.argv)")
    words = command.split()
    assert words[:2] == ["litepred", "run"]
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, cwd=tmp_path, env=_with_package()
    )
    assert done.stdout.strip() == str(words[2:]), done.stderr


def _with_package():
    """The environment with this package, which is also taken where Detectron2 is installed."""
    return {
        **os.environ,
        "LITEPRED_REPLACE": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }


def test_how_many_lines_there_are_to_check():
    """A line that is added to a list needs a check here."""
    assert {section: len(points(section)) for section in SECTIONS} == {
        "What stays": 5,
        "What differs": 15,  # files, images and weights: tests/data, tests/checkpoint
        "Lazy configs": 0,
        "What is missing": 4,
    }


SPANS = {
    " ".join(span.split()) for span in re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", TEXT, flags=re.M | re.S))
}
# Endings, words of Python, arguments and the like, which no table has.
WORDS = {
    "(cfg, input_shape)", ".pkl", ".pth", "0.6", "L(Class)(…)", "anchor_matcher", "cfg.dump()", "cuda", "for", "if",
    "instances", "lvis", "model.train()", "output.ax", "panoptic_seg", "proposals", "python -m",
    "sem_seg", "_jitter", "_orig_mod.", "module.", "backbone.", "model.", "model_final.pth?prefix=modelTeacher",
    "_create_grayscale_image",
}  # fmt: skip
COMMANDS = {"predict", "evaluate", "export", "run", "zoo", "inspect", "convert", "benchmark", "densepose"}


def names_something(span):
    """Whether a text in code's type names a command, a setting, a file, a module, or what a module has."""
    if span.startswith("litepred "):
        return span.split()[1] in COMMANDS
    if "pip install" in span or "pytest -m" in span or span.startswith("litepred["):
        named = re.findall(r"\w+", span.partition("[")[2]) or [span.split()[-1]]
        return all(name in (ROOT / "pyproject.toml").read_text(encoding="utf-8") for name in named)
    if re.fullmatch(r"[A-Z0-9]+_[A-Z0-9_]+(=1)?", span):
        sources = (path.read_text(encoding="utf-8") for path in (ROOT / "litepred").rglob("*.py"))
        return any(f'"{span.removesuffix("=1")}"' in source for source in sources)
    if "/" in span:
        folders = [ROOT, ROOT / "litepred" / "drop_in" / "lazy" / "configs"]
        return any(any(folder.glob(span.replace("….py", "*.yaml").replace("…", "*"))) for folder in folders)
    name = span.partition("(")[0].lstrip("@")
    if name.isupper():
        return operator.attrgetter(name)(litepred.get_cfg()) is not None
    first, *rest = name.split(".")
    entries = [names_of(module) for module in MODULES]
    if any(first in module.split(".") for module in MODULES) or any(first in entry.absent for entry in entries):
        return not rest
    homes = [entry.homes[first] for entry in entries if first in entry.homes]
    return any(
        is_there(place, rest)
        for place in (*homes, f"litepred:{first}", f"builtins:{first}", f"functools:{first}", f"{first}:")
    )


def is_there(place, rest):
    module, _, original = place.partition(":")
    try:
        found = importlib.import_module(module)
        for part in (*filter(None, [original]), *rest):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return False
    return True


def test_every_name_leads_somewhere():
    assert [span for span in sorted(SPANS - WORDS) if not names_something(span)] == []
    assert WORDS <= SPANS
    home = names_of("detectron2.utils.visualizer").homes["Visualizer"]
    assert all(is_there(home, [name]) for name in ("_jitter", "_create_grayscale_image"))
    assert not names_something("DefaultPredictor.nothing")
    assert not names_something("litepred.nothing()")
    assert not names_something("NOTHING_OF_OURS=1")


def test_modules_that_stay():
    """The modules that are named have names; that configs gain no keys, results and custom parts: tests/drop_in."""
    named = re.findall(r"`(\w+)`", points("What stays")[0])
    there = {part for module in MODULES for part in module.split(".")[1:]}
    assert set(named) <= there


def test_strictness(tmp_path):
    model = torch.nn.Linear(2, 2)
    torch.save({"weight": torch.ones(2, 2)}, tmp_path / "half.pth")
    checkpointer = litepred.DetectionCheckpointer(model)
    with pytest.raises(litepred.CheckpointError):
        checkpointer.load(tmp_path / "half.pth")
    checkpointer.load(tmp_path / "half.pth", strict=False)
    assert model.weight.equal(torch.ones(2, 2))


def test_faster_models_take_no_weights(tmp_path):
    predictor = litepred.Predictor()
    torch.save(predictor.model.state_dict(), tmp_path / "w.pth")
    with pytest.raises(litepred.CheckpointError, match="exact=True"):
        litepred.DetectionCheckpointer(predictor.model).load(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("line", "modules"),
    [
        ("Training", ["detectron2.engine", "detectron2.solver", "detectron2.utils.events"]),
        ("Panoptic-DeepLab", ["detectron2.projects.panoptic_deeplab.panoptic_seg"]),
        ("Evaluators", ["detectron2.evaluation"]),
        ("Export", ["detectron2.export"]),
    ],
)
def test_what_is_missing_imports(line, modules):
    assert any(line in point for point in points("What is missing"))
    for module in modules:
        assert names_of(module).absent


def test_named_stand_ins_exist():
    absent = {name for module in MODULES for name in names_of(module).absent}
    assert {"EventStorage", "CityscapesInstanceEvaluator", "PascalVOCDetectionEvaluator"} <= absent


def test_several_processes():
    from litepred.drop_in.process import launch

    assert launch(lambda x: x + 1, 1, args=(2,)) == 3
    with pytest.raises(litepred.LitepredError, match="litepred runs one process"):
        launch(print, 2)
