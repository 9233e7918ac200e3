"""``litepred inspect``, as typed."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from golden_answers import ASSETS
from tiny_models import tiny_cfg
from torch import Tensor

from litepred.checkpoint.bundle import bundle_texts
from litepred.checkpoint.writers import write_checkpoint
from litepred.cli import main
from litepred.modeling.build import build_skeleton

WEIGHTS = ASSETS.parent.parent / "weights"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def state(family: str = "fpn", dtype: torch.dtype = torch.float32, **changes) -> dict[str, Tensor]:
    shapes = build_skeleton(tiny_cfg(family, **changes)).state_dict()
    return {key: torch.zeros(value.shape, dtype=dtype) for key, value in shapes.items()}


def inspect(file: object, capsys: pytest.CaptureFixture[str]) -> dict:
    assert main(["inspect", str(file), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def page(file: object, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["inspect", str(file)]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_page(folder, capsys):
    write_checkpoint(
        folder / "model.safetensors", state(MASK_ON=True), {"__author__": "me", "iteration": 7, "note": "x"},
        bundle_texts("MODEL: {}\n", ["a", "b", "c"]),
    )  # fmt: skip
    lines = page("model.safetensors", capsys)
    number, values = len(state(MASK_ON=True)), sum(value.numel() for value in state(MASK_ON=True).values())
    size = f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f}"
    assert lines[:12] == [
        f"model.safetensors: safetensors, {size} MB, by me",
        "  model      Mask R-CNN (MODEL.META_ARCHITECTURE GeneralizedRCNN)",
        "  backbone   ResNet-50 of width 4, FrozenBN, FPN of 16 channels",
        "  proposals  RPN of 3 anchors per cell",
        "  boxes      1 fc",
        "  masks      1 conv, 1 deconv",
        "  classes    3 things",
        "  names      a, b, c",
        "  config     inside: --config model.safetensors needs nothing else",
        "  training   iteration (7)",
        "  also       note (x)",
        f"  tensors    {number} ({number} float32), {values:,} values",
    ]
    modules = [line.split("  ", 1) for line in lines[13:]]
    assert [name for name, _ in modules][:3] == [
        "backbone.bottom_up.res2.0.conv1",
        "backbone.bottom_up.res2.{0-2}.conv1.norm",
        "backbone.bottom_up.res2.{0-2}.conv2",
    ]
    by_name = {name.strip(): text.strip() for name, text in modules}
    assert by_name["backbone.bottom_up.stem.conv1"] == "weight (8, 3, 7, 7)"
    assert by_name["backbone.bottom_up.res4.{0-5}.conv3.norm"] == "weight, bias, running_mean, running_var (64)"
    assert by_name["backbone.bottom_up.res4.{1-5}.conv1"] == "weight (16, 64, 1, 1)"
    assert by_name["roi_heads.box_predictor.cls_score"] == "weight (4, 16)  bias (4)"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["a"], ["  a ()"]),
        (["m.10.w", "m.9.w", "m.2.w", "m.1.w"], ["m.{1-2, 9-10}  w ()"]),
        (["m.0.b", "m.0.weight"], ["m.0  weight, b ()"]),
        (["m.0.w", "m.1.w", "m.1.b"], ["m.0  w ()", "m.1  b, w ()"]),
        (["m1.w", "m2.w"], ["m1  w ()", "m2  w ()"]),
        (["m.\x1b[31m\n.w"], ["m.?[31m?  w ()"]),
        (["m.²³.w", "m." + "9" * 5000 + ".w"], None),
    ],
)
def test_keys_by_module(keys, expected, folder, capsys):
    torch.save({key: torch.tensor(0.0) for key in keys}, folder / "x.pth")
    lines = page("x.pth", capsys)
    assert lines[1] == "  model      not recognised by its names"
    assert lines[4:] == expected or expected is None


@pytest.mark.parametrize(
    ("family", "changes", "model", "classes"),
    [
        ("c4", {}, "Faster R-CNN", {"things": 3}),
        ("cascade", {}, "Cascade R-CNN", {"things": 3}),
        ("proposals", {}, "RPN", {}),
        ("precomputed", {}, "Fast R-CNN", {"things": 3}),
        ("retinanet", {}, "RetinaNet", {"things": 3}),
        ("semantic", {}, "Semantic FPN", {"stuff": 4}),
        ("panoptic", {}, "Panoptic FPN", {"things": 3, "stuff": 4}),
        ("fpn", {"KEYPOINT_ON": True}, "Keypoint R-CNN", {"things": 3}),
    ],
)
def test_families(family, changes, model, classes, folder, capsys):
    """A config of the model tells the same as its checkpoint."""
    cfg = tiny_cfg(family, **changes)
    (folder / "config.yaml").write_text(cfg.dump())
    torch.save({"model": state(family, **changes)}, folder / "model.pth")
    found, described = inspect("model.pth", capsys), inspect("config.yaml", capsys)
    assert (found["model"]["name"], found["model"]["classes"]) == (model, classes)
    assert found["model"]["meta_architecture"] == cfg.MODEL.META_ARCHITECTURE
    shared = ("model", "tensors", "values", "types", "keys")
    assert [found[fact] for fact in shared] == [described[fact] for fact in shared]
    assert described["format"] == "config"


def as_pkl(weights, file):
    arrays = {key: value.numpy() for key, value in weights.items()}
    file.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}))


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda w, f: write_checkpoint(f.with_suffix(".safetensors"), w, {}), {"format": "safetensors"}),
        (lambda w, f: torch.save(w, f), {"format": "torch"}),
        (lambda w, f: torch.save(w, f, _use_new_zipfile_serialization=False), {"format": "torch-legacy"}),
        (as_pkl, {"format": "pickle", "author": "Detectron2 Model Zoo"}),
        (
            lambda w, f: torch.save(
                {"model": {f"module.{key}": value for key, value in w.items()}, "iteration": 9, "optimizer": {}}, f
            ),
            {"format": "torch", "training_state": {"iteration": 9, "optimizer": "dict"}},
        ),
        (lambda w, f: torch.save({"state_dict": w, "arch": "x"}, f), {"other_entries": {"arch": "x"}}),
    ],
)
def test_formats(write, expected, folder, capsys):
    weights = state(dtype=torch.float16)
    write(weights, folder / "model.pth")
    (file,) = folder.iterdir()
    facts = inspect(file, capsys)
    assert facts.items() >= expected.items()
    assert facts["size_bytes"] == file.stat().st_size
    assert facts["types"] == {"float16": len(weights)}
    assert facts["keys"] == {key: {"shape": list(w.shape), "type": "float16"} for key, w in weights.items()}
    assert facts["class_names"] is None


def test_a_name_with_a_query(folder, capsys):
    torch.save({"a": torch.zeros(2)}, folder / "model.pth")
    assert inspect("model.pth?dl=1", capsys)["size_bytes"] == (folder / "model.pth").stat().st_size


@pytest.mark.parametrize("name", ["COCO-Detection/retinanet_R_50_FPN_3x", WEIGHTS / "page_layout.yaml"])
def test_configs(name, capsys):
    lines = page(name, capsys)
    assert lines[0] == f"{name}: config, without weights"
    assert lines[1].split()[1] in ("RetinaNet", "Panoptic")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no checkpoint file broken.pth"),
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (pickle.dumps({"model": Hostile()}), "system"),
        (lambda folder: (WEIGHTS / "page_layout.safetensors").read_bytes()[:100_000], "cut short"),
        (lambda folder: (WEIGHTS / "page_layout.safetensors").read_bytes()[:20], "cut short"),
    ],
)
def test_broken_files(content, message, folder, capsys):
    if content is not None:
        (folder / "broken.pth").write_bytes(content(folder) if callable(content) else content)
    for options in ([], ["--json"]):
        assert main(["inspect", "broken.pth", *options]) == 1
        captured = capsys.readouterr()
        assert captured.err.startswith("litepred: error: ")
        assert message in captured.err
        assert captured.out == ""
    assert not (folder / "ran").exists()


def test_large_files_are_not_read(folder, capsys):
    """A file of 4 GB, nearly all of it a hole in the disk, costs next to nothing."""
    resource = pytest.importorskip("resource")
    size = 1 << 32
    header = json.dumps({"a.weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    header += b" " * (-len(header) % 8)
    with (folder / "large.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    with (folder / "cut.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(7 + len(header) + size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(["inspect", str(folder / "cut.safetensors")]) == 1
    assert "its tensors have 4,294,967,296 bytes where there are 4,294,967,295" in capsys.readouterr().err
    assert page("large.safetensors", capsys)[-1] == "a  weight (1073741824)"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 * before
