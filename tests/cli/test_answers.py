"""``litepred predict --workers``: the same files as one process writes, and no process or half a file left behind."""

from __future__ import annotations

import argparse
import errno
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from golden_answers import ASSETS
from PIL import Image
from tiny_models import tiny_cfg, tiny_model

from litepred.cli import answers, main
from litepred.cli.answers import Workers, _Worker
from litepred.cli.arguments import CommandParser
from litepred.cli.outputs import name_items
from litepred.cli.predict import add_options
from litepred.errors import ImageError, LitepredError

PAGE = ASSETS / "page_layout" / "skimage_page.png"


def parsed(*arguments: str) -> argparse.Namespace:
    parser = CommandParser()
    add_options(parser)
    return parser.parse_args(arguments)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def one_thread(monkeypatch):
    """Workers that have one thread each, however many cores there are, and this process as well."""
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Six images, of which one is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    with Image.open(PAGE) as page:
        for i in range(5):
            page.crop((i, 2 * i, page.width, page.height)).save(tmp_path / "scans" / f"{i}.png")
    (tmp_path / "scans" / "2.jpg").write_text("no picture")
    return tmp_path


def test_the_page_model_writes_the_same_files(scans, one_thread, capsys):
    told = []
    for workers in ("1", "2"):
        shutil.rmtree("out", ignore_errors=True)
        options = ["--output", "out", "--save-json", "--csv", "out/t.csv", "--coco", "out/c.json", "--threshold", "0.3"]
        options += ["--format", "yolo,labelme,cvat,label-studio,geojson", "--workers", workers]
        assert main(["predict", "scans", *options]) == 1
        streams = capsys.readouterr()
        assert streams.err.count("2.jpg") == 1
        assert streams.err.endswith("1 could not be read\n")
        told.append(([line.partition(" in ")[0] for line in streams.out.splitlines()], files(Path("out"))))
    assert told[0] == told[1]
    assert len(told[0][0]) == 5
    assert len(json.loads(told[0][1]["c.json"])) > 20
    assert not multiprocessing.active_children()


def test_a_panoptic_model_writes_the_same_files(scans, one_thread):
    cfg = tiny_cfg("panoptic")
    torch.save(tiny_model("panoptic").state_dict(), "m.pth")
    Path("m.yaml").write_text(cfg.dump())
    found = []
    for workers in ("1", "2"):
        options = ["--output", "out", "--panoptic", "out/p", "--labels", "out/l", "--config", "m.yaml"]
        options += ["--weights", "m.pth", "--workers", workers, "--threshold", "0", "--no-save-images", "--save-json"]
        shutil.rmtree("out", ignore_errors=True)
        assert main(["predict", "scans/0.png", "scans/1.png", "scans/3.png", *options]) == 0
        found.append(files(Path("out")))
    assert found[0] == found[1]
    assert {"p/0.png", "p/panoptic.json", "l/3.png", "1.json"} <= found[0].keys()


def test_a_model_that_cannot_be_loaded_is_told_once(scans, capsys):
    torch.save(tiny_model().state_dict(), "m.pth")
    Path("m.yaml").write_text(tiny_cfg(ROI_HEADS__NUM_CLASSES=7).dump())
    assert main(["predict", "scans", "--config", "m.yaml", "--weights", "m.pth", "--workers", "2"]) == 1
    told = capsys.readouterr().err
    assert told.count("error") == 1
    assert "m.pth" in told
    assert "--infer-num-classes" in told
    assert not multiprocessing.active_children()


def test_no_memory_that_processes_share(scans, monkeypatch, capsys):
    """As where there is no /dev/shm."""

    def without(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(answers, "ProcessPoolExecutor", without)
    assert main(["predict", "scans/0.png", "scans/1.png", "--workers", "2"]) == 1
    told = "--workers 2 needs memory that processes share, which this machine does not give (Function not implemented)"
    assert f"litepred: error: {told}: leave it out" in capsys.readouterr().err


def test_large_images_by_tiles(scans, one_thread):
    found = []
    for workers in ("1", "2"):
        shutil.rmtree("out", ignore_errors=True)
        options = ["--tile", "160", "--batch-size", "2", "--no-save-images", "--coco", "c.json", "--workers", workers]
        assert main(["predict", "scans/0.png", "scans/1.png", *options]) == 0
        found.append(Path("c.json").read_bytes())
    assert found[0] == found[1]


def test_an_error_ends_the_others_in_the_middle(scans):
    """Nobody waits for what they are at, and nothing half-written stays."""
    items = name_items([f"scans/{i}.png" for i in (0, 1, 3, 4)] * 20)
    with pytest.raises(ZeroDivisionError), Workers(parsed("scans", "--output", "out"), {}, 2) as workers:
        Path("out").mkdir()
        next(iter(workers.answers(items)))
        raise ZeroDivisionError
    assert not multiprocessing.active_children()
    written = list(Path("out").iterdir())
    assert 0 < len(written) < len(items)
    assert not [path for path in written if ".tmp" in path.name]


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is of POSIX")
def test_a_process_that_is_killed(scans):
    items = name_items([f"scans/{i}.png" for i in (0, 1)])
    with Workers(parsed("scans", "--no-save-images"), {}, 2) as workers:
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(LitepredError, match="a process of --workers ended before its work was done"):
            list(workers.answers(items))
    assert not multiprocessing.active_children()


def test_what_the_model_of_a_process_refuses_is_told_with_its_file(scans, monkeypatch):
    worker = _Worker(parsed("scans", "--output", "out"), {}, torch.get_num_threads())

    def refuse(inputs):
        raise ImageError("too wide")

    monkeypatch.setattr(worker.predictor, "run", refuse)
    (item,) = name_items(["scans/0.png"])
    with pytest.raises(ImageError, match=r"^'scans.0\.png': too wide$"):
        worker.answer(item)
