from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_models import golden, tiny_cfg, tiny_image

from litepred.checkpoint.writers import write_checkpoint
from litepred.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    cfg = tiny_cfg("densepose")
    Path("c.yaml").write_text(cfg.dump(), encoding="utf-8")
    write_checkpoint(Path("m.pkl"), golden(cfg).state_dict(), {})
    Path("photos").mkdir()
    Image.fromarray(tiny_image().permute(1, 2, 0).numpy()).save("photos/a.png")
    return tmp_path


def test_show(folder, capsys):
    assert main(["densepose", "show", "c.yaml", "m.pkl", "photos", "dp_segm", "--min_score", "0.2"]) == 0
    assert capsys.readouterr().out == f"{Path('photos', 'a.png')} -> outputres.0001.png\n"
    assert Path("outputres.0001.png").is_file()


def test_dump(folder, capsys):
    assert main(["densepose", "dump", "c.yaml", "m.pkl", "photos/a.png", "--output", "out/r.pkl"]) == 0
    assert capsys.readouterr().out == "photos/a.png -> out/r.pkl\n"
    assert Path("out/r.pkl").is_file()


def test_a_file_that_is_no_image_is_left_out(folder, capsys):
    shutil.copy("c.yaml", "photos/0.yaml")
    assert main(["densepose", "show", "c.yaml", "m.pkl", "photos", "bbox", "--output", "p.png"]) == 1
    printed = capsys.readouterr()
    assert printed.out.endswith("a.png -> p.0001.png\n")
    assert "0.yaml' is no image" in printed.err and printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "usage: litepred densepose"),
        (["show", "c.yaml"], 2, "usage: litepred densepose show"),
        (["show", "c.yaml", "m.pkl", "dp_segm"], 1, "litepred: error: no <input> was given"),
        (["show", "c.yaml", "m.pkl", "photos", "dp_seg"], 1, "cannot draw 'dp_seg'"),
        (["dump", "DensePose/densepose_rcnn_R_50", "m.pkl", "photos"], 1, "densepose_rcnn_R_50_FPN_s1x"),
    ],
)
def test_mistakes(folder, capsys, arguments, status, says):
    try:
        assert main(["densepose", *arguments]) == status
    except SystemExit as stopped:
        assert stopped.code == status
    assert says in capsys.readouterr().err
