"""``litepred evaluate``, as typed, on the pages that come with the tests."""

from __future__ import annotations

import json
import shutil
import sys
from types import SimpleNamespace

import pytest
from golden_answers import ASSETS
from PIL import Image

from litepred import MetadataCatalog, get_cfg
from litepred.cli import evaluate, main

pytest.importorskip("pycocotools")
ANNOTATED = ASSETS / "annotated"
FILES = ["--annotations", str(ANNOTATED / "instances.json"), "--panoptic-annotations", str(ANNOTATED / "panoptic.json")]


def test_the_default_model(capsys):
    assert main(["evaluate", "--images", str(ANNOTATED), *FILES, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["images"], facts["unreadable"]) == (4, 0)
    # as Detectron2's own evaluator counts the same predictions
    assert facts["results"]["bbox"]["AP"] == pytest.approx(73.88, abs=0.5)
    assert facts["results"]["segm"]["AP50"] == pytest.approx(100, abs=0.5)
    assert facts["results"]["bbox"]["AP-list"] is None
    assert facts["results"]["panoptic_seg"]["PQ"] == pytest.approx(90.6, abs=0.5)


def test_an_unreadable_image_is_told_and_the_rest_goes_on(tmp_path, capsys):
    for page in ANNOTATED.glob("page*.png"):
        shutil.copy(page, tmp_path)
    (tmp_path / "page2.png").write_text("no picture")
    (tmp_path / "page3.png").unlink()
    assert main(["evaluate", "--images", str(tmp_path), *FILES]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert [line.split()[0] for line in lines if line] == [
        *("AP", "box", "mask"), *("AP", "text", "title", "list", "table", "figure"), *("PQ", "all", "things", "stuff")
    ]  # fmt: skip
    assert err.count("litepred: error: ") == 1
    assert "2 of 4 images could not be read" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "nowhere", *FILES], "--images is 'nowhere', but there is no such folder"),
        (["--images", str(ANNOTATED)], "nothing to compare with"),
        (
            ["--images", str(ANNOTATED), "--annotations", "nowhere.json"],
            "--annotations is 'nowhere.json', but there is no",
        ),
        (["--images", str(ANNOTATED), "--annotations", str(ANNOTATED / "page1.png")], "are not JSON"),
    ],
)
def test_wrong_values_end_in_one_line(arguments, message, capsys):
    assert main(["evaluate", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("litepred: error: ")
    assert message in err


def test_without_pycocotools(monkeypatch, capsys):
    for name in ("pycocotools", "pycocotools.coco"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["evaluate", "--images", str(ANNOTATED), *FILES]) == 1
    assert "pip install 'litepred[coco]'" in capsys.readouterr().err


@pytest.mark.filterwarnings("error")
def test_names_of_a_data_set_with_other_classes_are_not_held_against_the_categories(tmp_path):
    """As of a model that was trained anew on few classes, whose config still names COCO."""
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    predictor = SimpleNamespace(cfg=cfg, metadata=MetadataCatalog.get("coco_2017_val"))
    names = ("bicycle", "car", "person")
    content = json.loads((ANNOTATED / "instances.json").read_text())
    content["categories"] = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    content["annotations"] = [{**one, "category_id": 1} for one in content["annotations"]]
    (tmp_path / "few.json").write_text(json.dumps(content))
    assert evaluate.average_precision(str(tmp_path / "few.json"), predictor).metadata.thing_classes == [*names]


def test_the_annotated_set_is_small():
    files = [path for path in ANNOTATED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    for path in ANNOTATED.glob("page*.png"):
        with Image.open(path) as picture:
            assert picture.size == (420, 540)


def test_images_of_one_file_of_annotations_alone(page_predictor, tmp_path, monkeypatch, capsys):
    """Each figure is that of its own file's images, and the other file's do not break the run off."""
    known = {}

    def answers(predictor, images, path_of, _):
        for one in images:
            known[one] = known.get(one) or predictor(path_of(one))
            yield one, None, known[one]

    monkeypatch.setattr(evaluate, "make_predictor", lambda _: page_predictor)
    monkeypatch.setattr(evaluate, "predict_files", answers)
    typed = ["evaluate", "--images", str(ANNOTATED), "--json"]
    alone = {}
    for name, option, kept in (
        ("instances", "--annotations", {1}),
        ("panoptic", "--panoptic-annotations", {2}),
    ):
        content = json.loads((ANNOTATED / f"{name}.json").read_text())
        images = [one for one in content["images"] if one["id"] in kept]
        annotations = [one for one in content["annotations"] if one["image_id"] in kept]
        (tmp_path / f"{name}.json").write_text(json.dumps({**content, "images": images, "annotations": annotations}))
        typed += [option, str(tmp_path / f"{name}.json")]
        folder = ["--panoptic-folder", str(ANNOTATED / "panoptic")]
        assert main([*typed[:4], option, str(tmp_path / f"{name}.json"), *folder]) == 0
        alone |= json.loads(capsys.readouterr().out)["results"]
    assert main([*typed, *folder]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"images": 2, "unreadable": 0, "results": alone}
    assert "--annotations has 1 images and --panoptic-annotations 1, not the same: each is measured on its own" in err
