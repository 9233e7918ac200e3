"""Data sets in COCO's JSON, and their records as a model's inputs."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from tiny_models import tiny_cfg

from litepred.data import DatasetCatalog, MetadataCatalog
from litepred.data.coco import load_coco_json, register_coco_instances
from litepred.data.loading import DatasetFromList, DatasetMapper, InferenceSampler, MapDataset
from litepred.data.loading import build_detection_test_loader as loader
from litepred.errors import ImageError, LitepredError
from litepred.structures import BoxMode

CONTENT = {
    "images": [
        {"id": 7, "file_name": "b.png", "height": 20, "width": 30},
        {"id": 3, "file_name": "a.png", "height": 10, "width": 12},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 9,
            "bbox": [1, 2, 3, 4],
            "iscrowd": 0,
            "segmentation": [[1, 2, 3, 2, 3, 4], [1, 1]],
            "keypoints": [1, 2, 2],
            "extra": "x",
        },
        {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0, 0, 1, 1], "iscrowd": 1, "segmentation": []},
    ],
    "categories": [{"id": 9, "name": "nine"}, {"id": 4, "name": "four"}],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set.json").write_text(json.dumps(CONTENT))
    for image in CONTENT["images"]:
        Image.new("RGB", (image["width"], image["height"]), (9, 8, 7)).save(tmp_path / image["file_name"])
    return tmp_path


@pytest.fixture
def registered(folder):
    register_coco_instances("coco_test", {"note": 1}, folder / "set.json", folder)
    yield folder
    DatasetCatalog.remove("coco_test")
    MetadataCatalog.remove("coco_test")


def test_records(folder):
    first, second = load_coco_json(folder / "set.json", "root", extra_annotation_keys=["extra"])
    assert (first["file_name"], first["annotations"], first["image_id"]) == ("root/a.png", [], 3)
    polygon, crowd = second["annotations"]
    assert polygon == {
        "iscrowd": 0,
        "bbox": [1, 2, 3, 4],
        "category_id": 9,
        "keypoints": [1.5, 2.5, 2],
        "extra": "x",
        "segmentation": [[1, 2, 3, 2, 3, 4]],
        "bbox_mode": BoxMode.XYWH_ABS,
    }
    assert "segmentation" not in crowd


def test_registered(registered):
    records = DatasetCatalog.get("coco_test")
    assert [one["category_id"] for one in records[1]["annotations"]] == [1, 0]
    metadata = MetadataCatalog.get("coco_test")
    assert metadata.thing_classes == ["four", "nine"]
    assert metadata.thing_dataset_id_to_contiguous_id == {4: 0, 9: 1}
    assert (metadata.note, metadata.evaluator_type) == (1, "coco")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": [{}]}', '{"images": 3}'])
def test_what_is_not_of_the_format(tmp_path, content):
    (tmp_path / "set.json").write_text(content)
    with pytest.raises(LitepredError, match="is not a data set in COCO's format"):
        load_coco_json(tmp_path / "set.json", "")


def test_no_file(tmp_path):
    with pytest.raises(LitepredError, match="is not a data set in COCO's format"):
        load_coco_json(tmp_path / "none.json", "")


def test_a_loader(registered):
    cfg = tiny_cfg()
    cfg.INPUT.MIN_SIZE_TEST = 20
    cfg.DATASETS.TEST = ("coco_test",)
    inputs = [one for (one,) in loader(cfg)]
    assert [one["image"].shape[1:] for one in inputs] == [(20, 24), (20, 30)]
    assert [(one["height"], one["width"]) for one in inputs] == [(10, 12), (20, 30)]
    assert "annotations" not in inputs[0]
    assert inputs[0]["image"][:, 0, 0].tolist() == [7, 8, 9]  # BGR


def test_a_loader_of_records():
    mapped = loader(dataset=[1, 2, 3], mapper=lambda one: one * 10, batch_size=2, sampler=InferenceSampler(3))
    assert list(mapped) == [[10, 20], [30]]
    for wrong in ({"dataset": [1]}, {}):
        with pytest.raises(LitepredError, match="takes a config, or records with mapper"):
            loader(**wrong)


def test_lists_and_maps():
    items = [{"a": 1}]
    assert DatasetFromList(items)[0] is not items[0]
    assert DatasetFromList(items, copy=False)[0] is items[0]
    assert [len(MapDataset(items, str)), MapDataset([1], str)[0]] == [1, "1"]


def test_an_image_of_another_size(folder):
    record = {"file_name": str(folder / "a.png"), "height": 10, "width": 13}
    with pytest.raises(ImageError, match="its record says width 13"):
        DatasetMapper(tiny_cfg())(record)


def test_training_data():
    with pytest.raises(LitepredError, match="only infers: pass False"):
        DatasetMapper(tiny_cfg(), True)
