"""``litepred benchmark``, as typed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import tiny_cfg, tiny_model

from litepred import DetectionCheckpointer
from litepred import optimize as optimize_module
from litepred.cli import main
from litepred.modeling import build_model

COLUMNS = ["ready", "first", "read", "resize", "model", "total", "ratio"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LITEPRED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LITEPRED_CHOICES", "usual")
    (tmp_path / "config.yaml").write_text(tiny_cfg("fpn", MASK_ON=True).dump())
    DetectionCheckpointer(tiny_model("fpn", MASK_ON=True), tmp_path).save("model.pth")
    Image.fromarray(np.full((40, 60, 3), 128, np.uint8)).save("image.png")
    return tmp_path


def benchmark(*arguments: str) -> int:
    model = ["--config", "config.yaml", "--weights", "model.pth", "--runs", "2"]
    return main(["benchmark", "image.png", *model, *arguments])


def test_the_table_and_its_file(folder, capsys):
    assert benchmark("--ways", "float32,exact", "--table", "table.csv") == 0
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert title.endswith("image.png, 60 × 40 pixels")
    assert head.split() == COLUMNS
    rows, chosen = rows[:2], rows[2:]
    assert [row.split()[0] for row in rows] == ["float32", "exact"]
    assert chosen[0] == "winograd           not taken, as was asked for"
    assert rows[0].split()[-1] == "1.000"
    with (folder / "table.csv").open(newline="") as file:
        head, *stored = csv.reader(file)
    assert head == ["way", *COLUMNS]
    for row, (way, *values) in zip(rows, stored):
        figures = dict(zip(COLUMNS, map(float, values)))
        assert row.split()[0] == way
        assert all(value > 0 for value in figures.values())
        assert figures["model"] < figures["total"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "0"], "argument --runs: '0' came: expected a whole number, 1 or more"),
        (["--threads", "two"], "argument --threads: 'two' came: expected a whole number"),
        (["--ways", "float64"], "'float64' is no way of running a model: expected exact, "),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit):
        benchmark(*arguments)
    assert message in capsys.readouterr().err


def test_a_way_that_is_not_fast_here_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(optimize_module, "is_fast", lambda precision, device: False)
    assert benchmark("--ways", "exact,bfloat16") == 0
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()[2:] if "taken" not in line] == ["exact"]
    assert "no fast path for bfloat16" in printed.err
    assert benchmark("--ways", "bfloat16") == 1
    assert "add exact or float32 to --ways" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("csv", "message"),
    [("nowhere/table.csv", "there is no such folder"), ("./image.png", "is both read and written")],
)
def test_a_table_that_cannot_be_written(csv, message, folder, capsys):
    before = (folder / "image.png").read_bytes()
    assert benchmark("--table", csv) == 1
    assert message in capsys.readouterr().err
    assert (folder / "image.png").read_bytes() == before


def test_a_model_of_five_bands(folder, capsys):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite("image.tif", np.zeros((40, 60, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    options = {"MODEL.PIXEL_MEAN": [100.0] * 5, "MODEL.PIXEL_STD": [1.0] * 5}
    cfg = tiny_cfg("fpn")
    cfg.merge_from_list([part for option in options.items() for part in option])
    Path("five.yaml").write_text(cfg.dump())
    DetectionCheckpointer(build_model(cfg), folder).save("five.pth")
    model = ["--config", "five.yaml", "--weights", "five.pth"]
    assert main(["benchmark", "image.tif", *model, "--runs", "1", "--ways", "float32"]) == 0
    assert "image.tif, 60 × 40 pixels" in capsys.readouterr().out
    assert main(["benchmark", "nowhere.tif", *model]) == 1
    assert "there is no file 'nowhere.tif'" in capsys.readouterr().err


def test_an_image_that_is_none(folder, capsys):
    (folder / "image.png").write_text("no image")
    assert benchmark() == 1
    assert "image.png" in capsys.readouterr().err
