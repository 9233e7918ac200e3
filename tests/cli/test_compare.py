"""``litepred compare``, as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_cfg, tiny_model

from litepred.cli import main
from litepred.cli.compare import differences
from litepred.errors import LitepredError
from litepred.structures import Boxes, Instances


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
    assert compare("photos/x.png", "--ways", "exact,float32", "--threshold", "0", "--json") == 0
    (figures,) = json.loads(capsys.readouterr().out).values()
    assert set(figures) == {"iou", "mask_iou", "score", "only_a", "only_b", "same_pixels"}
    assert len(figures["iou"]) == len(figures["score"]) > 0


def test_an_image_that_cannot_be_read_is_told_and_the_rest_goes_on(models, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(models)
    (tmp_path / "bad.png").write_text("no picture")
    assert compare(str(tmp_path / "bad.png"), "photos/x.png", "--ways", "exact,float32") == 1
    out, err = capsys.readouterr()
    assert out.startswith("photos/x.png: ")
    assert err.count("litepred: error: ") == 1
