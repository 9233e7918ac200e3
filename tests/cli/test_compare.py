"""``litepred compare``, as typed."""

from __future__ import annotations

import argparse
import json
from types import SimpleNamespace
from unicodedata import normalize

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_cfg, tiny_model

from litepred.cli import main
from litepred.cli.compare import _choices, _named, _names, differences
from litepred.data import Metadata
from litepred.errors import LitepredError
from litepred.structures import Boxes, Instances, boxes_of


def found(*rows: tuple[str, float, list[float]], masks: bool = False) -> dict:
    """What a model found: for each instance its class, score and box, and its mask if asked for: its whole box."""
    boxes = torch.tensor([box for *_, box in rows]).reshape(-1, 4)
    instances = Instances((20, 20), pred_boxes=Boxes(boxes), scores=torch.tensor([score for _, score, _ in rows]))
    if masks:
        y, x = torch.arange(20)[:, None], torch.arange(20)[None]
        inside = [(x >= a) & (y >= b) & (x < c) & (y < d) for a, b, c, d in boxes.tolist()]
        instances.pred_masks = torch.stack(inside) if inside else torch.zeros(0, 20, 20, dtype=torch.bool)
    return {"instances": instances, "categories": [name for name, *_ in rows]}


A, NEAR, FAR = [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [10.0, 10.0, 20.0, 20.0]


@pytest.mark.parametrize(
    ("one", "other", "ious", "scores", "only_a", "only_b"),
    [
        ([], [], [], [], [], []),
        ([("cat", 0.9, A)], [], [], [], ["cat"], []),
        ([], [("cat", 0.9, A)], [], [], [], ["cat"]),
        ([("cat", 0.9, A)], [("cat", 0.8, A)], [1.0], [0.1], [], []),
        ([("cat", 0.9, A)], [("cat", 0.8, NEAR)], [0.9], [0.1], [], []),
        ([("cat", 0.9, A)], [("dog", 0.8, A)], [], [], ["cat"], ["dog"]),
        ([("cat", 0.9, A)], [("cat", 0.8, FAR)], [], [], ["cat"], ["cat"]),
        ([("cat", 0.9, A), ("cat", 0.7, NEAR)], [("cat", 0.8, NEAR)], [1.0], [-0.1], ["cat"], []),  # the likest is one
        ([("cat", 0.6, A)], [("cat", 0.4, A)], [1.0], [0.2], [], []),  # one of the two scores enough
        ([("cat", 0.4, A)], [("cat", 0.4, A)], [], [], [], []),
        ([("cat", 0.4, A)], [], [], [], [], []),
    ],
)
def test_instances_are_paired(one, other, ious, scores, only_a, only_b):
    told = differences(found(*one), found(*other), 0.5, 0.5)
    assert told["iou"] == pytest.approx(ious)
    assert told["score"] == pytest.approx(scores, abs=1e-6)
    assert [row["category"] for row in told["only_a"]] == only_a
    assert [row["category"] for row in told["only_b"]] == only_b
    assert "mask_iou" not in told


def test_masks_and_labels():
    one, other = found(("cat", 0.9, A), masks=True), found(("cat", 0.9, NEAR), masks=True)
    one["labels"], other["labels"] = torch.zeros(4, 4), torch.tensor([[0, 0, 0, 1.0]] * 4)
    told = differences(one, other, 0.5, 0.5)
    assert told["mask_iou"] == pytest.approx([0.9])
    assert told["same_pixels"] == [0.75]
    with pytest.raises(LitepredError, match="nothing of one kind"):
        differences(found(), {"labels": one["labels"]}, 0.5, 0.5)


TURNED = [10.0, 10.0, 12.0, 4.0, 30.0]


@pytest.mark.parametrize(
    ("one", "other", "ious"),
    [
        ([], [], []),
        ([], [TURNED], []),
        ([TURNED], [TURNED], [1.0]),
        ([TURNED], [[*TURNED[:4], -60.0]], []),
        ([[5.0, 5.0, 10.0, 10.0, 90.0]], [A], [1.0]),  # a model of rotated boxes and one of upright ones
        ([NEAR], [[5.0, 5.0, 10.0, 10.0, 0.0]], [0.9]),
    ],
)
def test_rotated_boxes(one, other, ious):
    def rotated(rows):
        boxes = boxes_of(torch.tensor(rows).reshape(-1, len(rows[0]) if rows else 5))
        instances = Instances((20, 20), pred_boxes=boxes, scores=torch.full((len(rows),), 0.9))
        return {"instances": instances, "categories": ["ship"] * len(rows)}

    told = differences(rotated(one), rotated(other), 0.5, 0.5)
    assert told["iou"] == pytest.approx(ious, abs=1e-5)
    assert [len(told["only_a"]), len(told["only_b"])] == [len(one) - len(ious), len(other) - len(ious)]


@pytest.mark.parametrize(
    ("one", "other", "same", "told"),
    [
        ((), (), [0, 1], False),
        (("cat", "dog"), (), [0, 1], False),
        ((), ("cat", "dog"), [0, 1], False),
        (("cat", "dog"), ("cat", "dog"), [0, 1], False),
        (("cat", "dog"), ("dog", "cat"), [1, 0], False),
        (("cat", "dog"), ("dog", "cow"), [None, 0], False),
        (("cat", normalize("NFC", "é")), (normalize("NFD", "é"), "cat"), [1, 0], False),
        (("cat", normalize("NFC", "é")), (normalize("NFD", "é"), "dog"), [None, 0], False),
        (("cat", "dog"), ("Katze", "Hund"), [0, 1], True),
    ],
)
def test_classes_are_one_by_name_or_by_number(one, other, same, told, capsys):
    """``same`` is the class of B that each class of A is."""
    facts = [Metadata(**({"thing_classes": list(names)} if names else {})) for names in (one, other)]
    known = _names([SimpleNamespace(metadata=metadata) for metadata in facts])
    found = {"instances": Instances((9, 9), pred_classes=torch.arange(2))}
    ours, theirs = (_named(found, metadata)["categories"] for metadata in known)
    assert [theirs.index(name) if name in theirs else None for name in ours] == same
    assert ("no name of a class in common" in capsys.readouterr().err) is told


RELEASED, NO_WEIGHTS = "COCO-Detection/faster_rcnn_R_50_FPN_3x", "Misc/semantic_R_50_FPN_1x"


@pytest.mark.parametrize(
    ("one", "other", "weights", "expected"),
    [
        ("é.yaml", "b.yaml", None, [None, None]),
        ("é.yaml", "b.yaml", "a.pth", ["a.pth", "a.pth"]),
        ("é.yaml", "b.yaml", "a.pth,", ["a.pth", None]),
        ("é.yaml", "b.onnx", "a.pth", ["a.pth", None]),
        ("é.yaml", RELEASED, "a.pth", ["a.pth", None]),
        (f"{RELEASED}.yaml", "é.yaml", "a.pth", [None, "a.pth"]),
        ("é.yaml", "hf://me/model", "a.pth", ["a.pth", None]),
        ("é.yaml", NO_WEIGHTS, "a.pth", ["a.pth", "a.pth"]),
        ("é.yaml", RELEASED, "a.pth,b.pth", ["a.pth", "b.pth"]),
        (RELEASED, "hf://me/model", "a.pth", None),
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_weights_go_to_models_that_lack_them(one, other, weights, expected, form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (normalize("NFC", "é.yaml"), "b.yaml", "b.onnx", "a.pth", "b.pth"):
        (tmp_path / name).write_text("")
    arguments = argparse.Namespace(A=normalize(form, one), B=other, weights=weights, ways=None)
    if expected is None:
        with pytest.raises(LitepredError, match="A and B have theirs with them: leave it out"):
            _choices(arguments)
        return
    choices = _choices(arguments)
    assert [choice["weights"] for choice in choices] == expected
    assert [choice["config"] for choice in choices] == [normalize("NFC", one), other]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    cfg = tiny_cfg("panoptic")
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.DATASETS.TEST = ()
    (folder / "config.yaml").write_text(cfg.dump())
    torch.save({"model": dict(tiny_model("panoptic").state_dict())}, folder / "a.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (folder / "photos").mkdir()
    for name in ("x", "y"):
        Image.fromarray(pixels).save(folder / "photos" / f"{name}.png")
    return folder


def compare(*typed: str) -> int:
    return main(["compare", "config.yaml", "config.yaml", "--weights", "a.pth", "--device", "cpu", *typed])


def test_two_ways_of_running_a_model(models, monkeypatch, capsys):
    monkeypatch.chdir(models)
    assert compare("photos", "--ways", "exact,float32", "--threshold", "0") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["photos/x.png", "photos/y.png", "all 2"]
    for line in lines:
        assert "IoU of boxes 1.000 in the median" in line
        assert "IoU of masks " in line
        assert "0 by A alone, 0 by B alone" in line
        assert "100.00% of pixels have one label" in line


def test_json(models, monkeypatch, capsys):
    monkeypatch.chdir(models)
    assert compare("photos/x.png", "--ways", "exact", "--ways", "float32", "--threshold", "0", "--json") == 0
    (figures,) = json.loads(capsys.readouterr().out).values()
    assert set(figures) == {"iou", "mask_iou", "score", "only_a", "only_b", "same_pixels"}
    assert len(figures["iou"]) == len(figures["score"]) > 0


def test_files_of_a_folder_that_are_not_read_are_named(models, monkeypatch, capsys, tmp_path):
    (tmp_path / "a.tga").write_bytes(b"")
    monkeypatch.chdir(models)
    assert compare(str(tmp_path), "--ways", "exact,float32") == 1
    assert "1 files of folders are not read: a.tga" in capsys.readouterr().err


def test_an_image_that_cannot_be_read_is_told_and_the_rest_goes_on(models, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(models)
    (tmp_path / "bad.png").write_text("no picture")
    assert compare(str(tmp_path / "bad.png"), "photos/x.png", "--ways", "exact,float32") == 1
    out, err = capsys.readouterr()
    assert out.startswith("photos/x.png: ")
    assert err.count("litepred: error: ") == 1
