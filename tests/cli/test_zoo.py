"""``litepred zoo``, as typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from litepred import model_zoo
from litepred.cli import main, zoo
from litepred.cli.architecture import name_family
from litepred.config import CfgNode


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("LITEPRED_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "theirs"))
    return tmp_path


def rows(*texts: str, capsys: pytest.CaptureFixture[str]) -> dict[str, dict]:
    assert main(["zoo", *texts, "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_all_models_are_there(capsys):
    found = rows(capsys=capsys)
    assert list(found) == model_zoo.list()
    assert all(row["family"] and row["task"] for row in found.values())


@pytest.mark.parametrize(
    ("name", "family", "task"),
    [
        ("COCO-Detection/faster_rcnn_R_50_C4_1x", "Faster R-CNN", "boxes"),
        ("COCO-Detection/fast_rcnn_R_50_FPN_1x", "Fast R-CNN", "boxes"),
        ("COCO-Detection/retinanet_R_50_FPN_1x", "RetinaNet", "boxes"),
        ("COCO-Detection/rpn_R_50_C4_1x", "RPN", "proposals"),
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x", "Mask R-CNN", "boxes, masks"),
        ("COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x", "Keypoint R-CNN", "boxes, keypoints"),
        ("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x", "Panoptic FPN", "boxes, masks, stuff"),
        ("Misc/cascade_mask_rcnn_R_50_FPN_1x", "Cascade Mask R-CNN", "boxes, masks"),
        ("Misc/semantic_R_50_FPN_1x", "Semantic FPN", "stuff"),
    ],
)
def test_families(name, family, task, capsys):
    row = rows(name, capsys=capsys)[name]
    assert (row["family"], row["task"]) == (family, task)


def family_and_task(cfg: CfgNode) -> str:
    """What a config says of its model, as a line of the table has it."""
    model, kind = cfg.MODEL, cfg.MODEL.META_ARCHITECTURE
    has = {
        "proposals": model.PROPOSAL_GENERATOR.NAME != "PrecomputedProposals",
        "boxes": True,
        "masks": model.MASK_ON,
        "keypoints": model.KEYPOINT_ON,
        "surfaces": model.get("DENSEPOSE_ON", False),
        "stuff": kind == "PanopticFPN",
    }
    alone = {"RetinaNet": "boxes", "SemanticSegmentor": "stuff", "ProposalNetwork": "proposals"}
    heads = [alone[kind]] if kind in alone else [head for head, on in has.items() if on]
    kinds = {
        "masks": {"PointRendMaskHead": "PointRend", "ImplicitPointRendMaskHead": "Implicit PointRend"},
        "stuff": {
            "PointRendSemSegHead": "PointRend Semantic FPN",
            "DeepLabV3Head": "DeepLab v3",
            "DeepLabV3PlusHead": "DeepLab v3+",
        },
    }
    names = {"masks": model.ROI_MASK_HEAD.NAME, "stuff": model.SEM_SEG_HEAD.NAME}
    others = {head: kinds[head][name] for head, name in names.items() if name in kinds[head]}
    cascade = model.ROI_HEADS.NAME == "CascadeROIHeads"
    family, _ = name_family(heads, cascade=cascade, dense=kind == "RetinaNet", others=others)
    return f"{family}  {', '.join([head for head in heads if head != 'proposals'] or heads)}"


def test_the_table_of_families_is_what_the_configs_say():
    lines = [f"{name}  {family_and_task(model_zoo.get_config(name))}" for name in model_zoo.list()]
    table = Path(zoo.__file__).with_name("families.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line not in table] == []  # add these
    assert len(table) == len(lines)


def test_where_checkpoints_lie(empty_caches, capsys):
    name = "COCO-Detection/retinanet_R_50_FPN_1x"
    address = model_zoo.get_checkpoint_url(name)
    assert rows(name, capsys=capsys)[name]["checkpoint"] == address
    file = empty_caches / "ours" / "detectron2" / address.split("/detectron2/")[1]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    assert rows(name, capsys=capsys)[name]["checkpoint"] == str(file)
    assert (
        rows("LVISv1", "R_50", capsys=capsys)["LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x"]["checkpoint"] is None
    )


def test_the_table(capsys):
    assert main(["zoo", "KEYPOINT", "r_50", "1x", "detectron1"]) == 0
    title, line = capsys.readouterr().out.splitlines()
    assert title.split() == ["model", "family", "finds", "checkpoint"]
    assert line.startswith("Detectron1-Comparisons/keypoint_rcnn_R_50_FPN_1x  Keypoint R-CNN  boxes, keypoints  https:")


def test_no_such_model(capsys):
    assert main(["zoo", "yolo"]) == 1
    assert "no model of the zoo has 'yolo'" in capsys.readouterr().err


def test_it_imports_no_torch():
    code = "import sys; from litepred.cli import main; main(['zoo']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
