"""The examples that take a folder, a video, or a package of somebody else."""

from __future__ import annotations

import csv
import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden_answers import ASSETS

from litepred.data import VideoReader
from litepred.results import to_dicts

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
ANNOTATED = ASSETS / "annotated"


def run(name: str, *arguments: object, folder: Path) -> list[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").write_text("no picture")
    for number in (1, 2):
        (tmp_path / "in" / f"page{number}.png").write_bytes((ANNOTATED / f"page{number}.png").read_bytes())
    lines = run("folder.py", tmp_path / "in", tmp_path / "table.csv", folder=tmp_path)
    assert lines[0].startswith("left out: ")
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number in (1, 2):
        count = sum(row["file"] == f"page{number}.png" for row in rows)
        assert f"page{number}.png: {count} instances" in lines
        assert count


def test_video(tmp_path):
    lines = run("video.py", folder=tmp_path)
    assert len(lines) == 6
    with VideoReader(tmp_path / "litepred-output" / "video.mp4") as reader:
        assert reader.frame_count == 5
    lines = run("video.py", tmp_path / "litepred-output" / "scrolling.mp4", tmp_path / "seen.mp4", folder=tmp_path)
    assert lines[-1] == f"written: {tmp_path / 'seen.mp4'}"


def test_notebook(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # kept small: outputs are made by running it
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 5
    assert any("text     100%" in output.get("text", "") for output in outputs)


def test_supervision(tmp_path):
    pytest.importorskip("supervision")
    first, second = run("supervision_boxes.py", folder=tmp_path)
    assert "text" in first
    assert second == "picture: (990, 765, 3) uint8"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_help(path, monkeypatch, capsys):
    needed = {"ray_data.py": "ray", "supervision_boxes.py": "supervision"}
    if path.name in needed:
        pytest.importorskip(needed[path.name])
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name="__main__")
    assert stopped.value.code == 0
    assert f"usage: {path.name}" in capsys.readouterr().out


@pytest.mark.ray
def test_two_ray_actors_answer_like_a_serial_run(tmp_path, page_predictor, monkeypatch):
    ray = pytest.importorskip("ray")
    spec = importlib.util.spec_from_file_location("ray_data_example", EXAMPLES / "ray_data.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, example)
    spec.loader.exec_module(example)
    ray.cloudpickle.register_pickle_by_value(example)  # the actors' processes cannot import it by this name
    for number in (1, 2, 3, 4):
        (tmp_path / f"page{number}.png").write_bytes((ANNOTATED / f"page{number}.png").read_bytes())
    (tmp_path / "broken.png").write_text("no picture")
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        rows = example.predict_folder(tmp_path, actors=2).take_all()
    finally:
        ray.shutdown()
    (broken,) = (row for row in rows if row["error"])
    assert broken["file"] == str(tmp_path / "broken.png")
    found = sorted((row["file"], row["category"], row["score"], *row["box"]) for row in rows if not row["error"])
    expected = []
    for path in tmp_path.glob("page*.png"):
        for one in to_dicts(page_predictor(path)["instances"], page_predictor.metadata, mask_format="none"):
            if one["score"] >= 0.5:
                expected.append((str(path), one["category"], one["score"], *one["box"]))
    assert [one[:2] for one in found] == [one[:2] for one in sorted(expected)]
    ours, serial = (np.array([one[2:] for one in rows]) for rows in (found, sorted(expected)))
    np.testing.assert_allclose(ours[:, 0], serial[:, 0], atol=5e-4)
    np.testing.assert_allclose(ours[:, 1:], serial[:, 1:], atol=0.02)
