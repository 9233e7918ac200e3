"""The documentation is true: its Python runs, its commands are commands, and its reference has every public name."""

from __future__ import annotations

import importlib
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import HubServer, point_at
from PIL import Image
from process_worker import images
from tiny_models import tiny_cfg, tiny_model

import litepred
from litepred.cli import main
from litepred.cli.main import _COMMANDS
from litepred.data import video_file

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
INCLUDED = re.compile(r'--8<-- "(.*)"')


def blocks(page, language):
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def model():
    """Config, weights and their file, of a model with masks, small enough for many pages."""
    cfg = tiny_cfg("fpn", MASK_ON=True)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    cfg.DATASETS.TEST = ()
    file = io.BytesIO()
    torch.save({"model": dict(tiny_model("fpn", MASK_ON=True).state_dict())}, file)
    return cfg.dump().encode(), file.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch, model):
    """What the pages speak of: a model, photos, a video, and a repository on the hub."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_bytes(model[0])
    (tmp_path / "model_final.pth").write_bytes(model[1])
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "photos/1.jpg", "photos/2.jpg"):
        Image.fromarray(images()[0]).save(tmp_path / name)
    with video_file(tmp_path / "clip.mp4", 10.0, (64, 96)) as add:
        for _ in range(2):
            add(images()[0])
    server = HubServer()
    server.repos["me/models"] = {"invoices/config.yaml": model[0], "invoices/model_final.pth": model[1]}
    point_at(server, tmp_path / "cache", monkeypatch)
    yield tmp_path
    server.shutdown()
    server.server_close()


SLOW = dict.fromkeys(["export.md", "large_images.md", "results.md"], pytest.mark.long)


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=SLOW.get(page, ())) for page in PAGES if blocks(page, "python")]
)
def test_python_runs(page, folder):
    namespace: dict = {}
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), namespace)
    if page == "pictures.md":
        files = folder / "picture.png", DOCS / "pictures" / "picture.png"
        made, shown = (np.asarray(Image.open(path), float) for path in files)
        assert made.shape == shown.shape
        assert np.abs(made - shown).mean() < 1  # scores may be a percent off on another processor
    if page == "images.md":
        assert len(namespace["by_path"]["instances"]) == len(namespace["by_file"]["instances"]) > 0
    if page == "serving.md":
        assert namespace["answer"]["instances"]


def commands():
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                typed = shlex.split(line, comments=True)
                if typed and typed[0] == "litepred":
                    yield typed[1:]


def test_commands_are_commands(monkeypatch, capsys):
    for command in _COMMANDS:
        monkeypatch.setattr(command, "run", lambda arguments: 0)
    typed = list(commands())
    assert len(typed) > 15
    for one in typed:
        assert main(one) == 0, capsys.readouterr().err


def test_the_reference_has_every_public_name():
    listed = [name for page in PAGES for name in re.findall(r"^::: ([\w.]+)", (DOCS / page).read_text(), re.MULTILINE)]
    assert len(listed) == len(set(listed))
    there = []
    for name in listed:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            home, _, own = name.rpartition(".")
            there.append(getattr(importlib.import_module(home), own))
        else:
            there += [getattr(module, own) for own in getattr(module, "__all__", ())]
    missing = [name for name in litepred.__all__ if not any(getattr(litepred, name) is one for one in there)]
    assert missing == []
    assert {f"litepred.{name}" for name in litepred._MODULES} <= set(listed)


def test_every_page_is_in_llms_txt():
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\((.*?)\)", text)) == PAGES


def test_what_is_included_is_there():
    included = [name for page in PAGES for name in INCLUDED.findall((DOCS / page).read_text(encoding="utf-8"))]
    assert sorted(included) == ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "MIGRATING.md", "SECURITY.md"]
    assert all((ROOT / name).is_file() for name in included)
