"""``litepred export``, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from exported_families import IMAGES
from tiny_models import golden, tiny_cfg

from litepred import LitepredError, Predictor, WriteError
from litepred.cli import main

PAGE = Path(__file__).parent.parent.parent / "weights" / "example_page.png"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["export"], "the following arguments are required: OUT.onnx"),
        (["export", "model.pth"], "expected a name that ends in .onnx"),
        (["export", "nowhere/model.onnx"], "there is no folder 'nowhere'"),
        (["export", "there.onnx"], "which is there already: choose another name, or replace it with --force"),
        (["export", "model.onnx", "--int8"], "expected a folder with some ten to a hundred images"),
        (["export", "model.onnx", "--calibrate", "."], "are for --int8"),
        (["export", "model.onnx", "--int8", "--half", "--calibrate", "."], "--half and --int8 were given: choose one"),
        (["export", "model.onnx", "--int8", "--calibrate", "empty"], "has no image in it to quantise on"),
        (
            ["export", "model.onnx", "--int8", "--calibrate", "empty"],
            "litepred: 1 files of folders are not read: a.tga\nlitepred: subfolders are not read: more\n",
        ),
        (["export", "model.onnx", "--size", "0", "5"], "expected a whole number, 1 or more"),
        (["export", "nothere.yaml", "model.onnx"], "there is no file 'nothere.yaml'"),
    ],
)
def test_mistakes(typed, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_bytes(b"")
    (tmp_path / "empty" / "more").mkdir(parents=True)
    (tmp_path / "empty" / "a.tga").write_bytes(b"")
    try:
        assert main(typed) == 1
    except SystemExit as error:
        assert error.code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "model.onnx").exists()


_BOX = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [10, 10, 50, 40], "area": 2000, "iscrowd": 0}


@pytest.mark.parametrize(
    ("family", "record", "options", "told"),
    [
        ("retinanet", {}, [], "the annotations have 4 categories"),
        ("retinanet", {"file_name": "missing.png"}, [], "missing.png"),
        ("retinanet", {"file_name": "damaged.png"}, [], "damaged.png"),
        ("retinanet", {}, ["--size", "64", "64"], "is resized to 800 × 1000, but the file is to take 64 × 64 alone"),
        ("four classes", {"height": 12, "width": 15}, [], "the annotations say 12 × 15 (height × width): correct them"),
        ("four classes", {}, [], "finds masks, but an annotation of the image 0 has None as its segmentation"),
        ("semantic", {}, [], "measured on instances, but this model finds sem_seg"),
    ],
)
def test_images_and_annotations_are_held_against_the_model_before_it_is_exported(
    family, record, options, told, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("pycocotools")
    monkeypatch.chdir(tmp_path)
    changes = {"MASK_ON": True, "ROI_HEADS__NUM_CLASSES": 4, "ROI_HEADS__SCORE_THRESH_TEST": 0.0}
    cfg = tiny_cfg("fpn", **changes) if family == "four classes" else tiny_cfg(family)
    Path("config.yaml").write_text(cfg.dump())
    Path("images").mkdir()
    cv2.imwrite("images/0.png", IMAGES[0])
    Path("images/damaged.png").write_bytes(Path("images/0.png").read_bytes()[:200])
    images, categories = [{"id": 0, "file_name": "0.png", **record}], [{"id": i} for i in range(4)]
    Path("boxes.json").write_text(json.dumps({"images": images, "annotations": [_BOX], "categories": categories}))
    typed = ["export", "config.yaml", "out.onnx", "--int8", "--calibrate", "images", "--annotations", "boxes.json"]
    monkeypatch.setattr("litepred.export.onnx_file.check_export", lambda *_: None)  # which has tests of its own
    monkeypatch.setattr("litepred.export.export_onnx", lambda *_, **__: pytest.fail("it is exported"))
    assert main([*typed, *options]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--opset", "3"], "opset (--opset) is 3: expected 18 to"),
        (["--check", "images/damaged.png"], "damaged.png"),
        (["--check", "images/0.png"], "cannot write 'out.onnx': Read-only file system"),
    ],
)
def test_what_cannot_be_exported_is_told_before_anything_is_measured(options, told, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pycocotools")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("litepred.export.onnx_file._LEAST_TORCH", (0,))
    monkeypatch.setattr("litepred.cli.export.average_precision", lambda *_: pytest.fail("it is measured"))
    if "Read-only" in told:
        monkeypatch.setattr("litepred.cli.common.check_writable", read_only)
    Path("config.yaml").write_text(tiny_cfg("retinanet").dump())
    Path("images").mkdir()
    cv2.imwrite("images/0.png", IMAGES[0])
    Path("images/damaged.png").write_bytes(Path("images/0.png").read_bytes()[:200])
    Path("boxes.json").write_text(
        json.dumps({"images": [{"id": 0, "file_name": "0.png"}], "annotations": [], "categories": [{"id": 1}]})
    )
    typed = ["export", "config.yaml", "out.onnx", "--int8", "--calibrate", "images", "--annotations", "boxes.json"]
    assert main([*typed, *options]) == 1
    assert told in capsys.readouterr().err


def read_only(path):
    raise WriteError(f"cannot write {str(path)!r}: Read-only file system")


@pytest.mark.long
def test_from_checkpoint_to_int8(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("pycocotools")
    monkeypatch.chdir(tmp_path)
    cfg = tiny_cfg("retinanet")
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 160, 256
    Path("config.yaml").write_text(cfg.dump())
    import torch

    torch.save({"model": golden(cfg).state_dict()}, "model.pth")
    Path("images").mkdir()
    images = []
    for i, image in enumerate(IMAGES):
        cv2.imwrite(f"images/{i}.png", image)
        images.append({"id": i, "file_name": f"{i}.png", "height": image.shape[0], "width": image.shape[1]})
    categories = [{"id": i, "name": str(i)} for i in (1, 2, 3)]
    Path("boxes.json").write_text(json.dumps({"images": images, "annotations": [_BOX], "categories": categories}))
    typed = ["export", "config.yaml", "out.onnx", "--weights", "model.pth", "--int8", "--calibrate", "images"]
    assert main([*typed, "--annotations", "boxes.json", "--check", "images/0.png"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in told] == ["AP before", "in float", "out.onnx", "AP after"]
    assert Predictor("out.onnx").engine == "onnxruntime"
    assert main(["predict", "images", "--config", "out.onnx", "--output", "pictures"]) == 0
    assert len(list(Path("pictures").iterdir())) == 3
    with pytest.raises(LitepredError, match="engine"):
        Predictor("out.onnx", engine="torch")
