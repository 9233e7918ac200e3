"""The catalog of data sets, those in COCO's JSON, and their records as a model's inputs."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_cfg

from litepred.data import MetadataCatalog
from litepred.drop_in.datasets import (
    DatasetCatalog,
    SizeMismatchError,
    build_augmentation,
    check_image_size,
    load_coco_json,
    load_coco_panoptic_json,
    load_lvis_json,
    register_coco_instances,
    register_coco_panoptic,
    register_coco_panoptic_separated,
    register_lvis_instances,
)
from litepred.drop_in.loaders import DatasetMapper
from litepred.drop_in.loaders import build_detection_test_loader as loader
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
def dataset_catalog():
    return type(DatasetCatalog)()


def test_dataset_catalog(dataset_catalog):
    assert "mine" not in dataset_catalog
    with pytest.raises(KeyError, match=r"mine.*register"):
        dataset_catalog.get("mine")
    with pytest.raises(AssertionError, match="cannot be called"):
        dataset_catalog.register("mine", [])
    records = [{"file_name": "a.png"}]
    dataset_catalog.register("mine", lambda: records)
    assert dataset_catalog.get("mine") is records
    assert dataset_catalog["mine"]() is records
    assert "mine" in dataset_catalog and dataset_catalog.list()[-1] == "mine"
    with pytest.raises(AssertionError, match="already registered"):
        dataset_catalog.register("mine", lambda: [])
    dataset_catalog.remove("mine")
    assert "mine" not in dataset_catalog
    with pytest.raises(KeyError):
        dataset_catalog.remove("mine")


def test_dataset_catalog_has_no_records_of_its_own(dataset_catalog):
    assert len(dataset_catalog) == 56 and "coco_2017_val" in dataset_catalog
    with pytest.raises(LitepredError, match=r"coco_2017_val.*ships no data sets"):
        dataset_catalog.get("coco_2017_val")
    dataset_catalog.remove("coco_2017_val")
    dataset_catalog.register("coco_2017_val", list)
    assert dataset_catalog.get("coco_2017_val") == []
    dataset_catalog.register("page_layout_val", list)  # its own users register it
    assert dataset_catalog.get("page_layout_val") == []


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


def one_annotation(folder, **changes):
    annotation = {"id": 1, "image_id": 3, "category_id": 4, "bbox": [1, 2, 3, 4], "iscrowd": 0, **changes}
    images = [{"id": 3, "file_name": "a.png", "height": 10, "width": 12}]
    content = {"images": images, "annotations": [annotation], "categories": [{"id": 4, "name": "four"}]}
    (folder / "one.json").write_text(json.dumps(content))
    return folder / "one.json"


@pytest.fixture
def forgotten():
    yield "coco_one"
    MetadataCatalog.data.pop("coco_one", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"category_id": 2}, "is of the category 2, which the file does not have: it has 4; correct it"),
        ({"category_id": "4"}, "is of the category '4', which .*; write ids as numbers everywhere"),
        ({"image_id": "3"}, "has image_id '3', which the file does not have: it has 3; write ids as numbers"),
        ({"bbox": []}, r"has the bbox \[\]: expected x, y, width, height"),
        ({"ignore": 1}, "has ignore 1: expected 0, and iscrowd of crowds"),
        ({"image_id": [3]}, r"has image_id \[3\]: expected a number or a text"),
    ],
)
def test_annotations_that_are_refused(changes, message, tmp_path, forgotten):
    with pytest.raises(LitepredError, match=message):
        load_coco_json(one_annotation(tmp_path, **changes), "", forgotten)


@pytest.mark.parametrize("name", ["set.json", "minival.json"])
def test_annotations_that_share_ids(name, tmp_path):
    content = {**CONTENT, "annotations": [{**one, "id": 1} for one in CONTENT["annotations"]]}
    (tmp_path / name).write_text(json.dumps(content))
    if name == "set.json":
        with pytest.raises(LitepredError, match="has 2 annotations with the id 1: expected one of its own for each"):
            load_coco_json(tmp_path / name, "")
        return
    with pytest.warns(UserWarning, match="has 2 annotations with the id 1"):
        records = load_coco_json(tmp_path / name, "")
    assert [len(one["annotations"]) for one in records] == [0, 2]


def test_many_annotations_of_images_that_are_not_listed(tmp_path):
    images = [{**CONTENT["images"][0], "id": number} for number in range(4000)]
    annotations = [{**CONTENT["annotations"][1], "id": number, "image_id": number} for number in range(24000)]
    (tmp_path / "set.json").write_text(json.dumps({**CONTENT, "images": images, "annotations": annotations}))
    start = time.process_time()
    with pytest.warns(
        UserWarning, match=r"20000 of 24000 annotations of .*set.json are of images that it does not list"
    ):
        assert len(load_coco_json(tmp_path / "set.json", "")) == 4000
    assert time.process_time() - start < 4


def test_polygons_that_enclose_nothing(tmp_path):
    with pytest.warns(UserWarning, match=r"1 annotations of .*one.json have no polygon of three points or more"):
        (record,) = load_coco_json(one_annotation(tmp_path, segmentation=[[1, 2, 3, 4], [1, 2, 3, 4, 5]]), "")
    assert record["annotations"] == []


def test_run_lengths_are_compressed(tmp_path):
    mask = pytest.importorskip("pycocotools.mask")
    runs = {"size": [10, 12], "counts": [20, 30, 70]}
    (record,) = load_coco_json(one_annotation(tmp_path, segmentation=runs), "")
    (annotation,) = record["annotations"]
    assert annotation["bbox_mode"] is BoxMode.XYWH_ABS
    assert isinstance(annotation["segmentation"]["counts"], bytes)
    assert mask.area(annotation["segmentation"]) == 30


@pytest.mark.parametrize(
    "changes", [{"segmentation": {}}, {"segmentation": None}, {"keypoints": None}, {"keypoints": []}]
)
def test_what_an_annotation_leaves_empty(changes, tmp_path):
    (record,) = load_coco_json(one_annotation(tmp_path, **changes), "")
    (annotation,) = record["annotations"]
    assert (annotation["bbox"], bool(annotation.get("segmentation"))) == ([1, 2, 3, 4], False)
    assert not annotation.get("keypoints")


def test_a_category_without_a_name(tmp_path, forgotten):
    (tmp_path / "set.json").write_text(json.dumps({**CONTENT, "categories": [{"id": 4}, {"id": 9, "name": "nine"}]}))
    with pytest.raises(LitepredError, match=r"is not a data set in COCO's format \(KeyError: 'name'\)"):
        load_coco_json(tmp_path / "set.json", "", forgotten)


def test_annotations_of_other_images_alone(tmp_path):
    """As in Detectron2: the records have no annotations, and the log says so."""
    with pytest.warns(UserWarning, match="1 of 1 annotations of .*one.json are of images that it does not list"):
        records = load_coco_json(one_annotation(tmp_path, image_id=9), "")
    assert [one["annotations"] for one in records] == [[]]


def test_run_lengths_that_are_none(tmp_path):
    pytest.importorskip("pycocotools.mask")
    runs = {"size": [10, 12], "counts": [20, -3, 70]}
    with pytest.raises(LitepredError, match="is not a data set in COCO's format"):
        load_coco_json(one_annotation(tmp_path, segmentation=runs), "")


def test_categories_that_share_an_id(tmp_path, forgotten):
    content = {**CONTENT, "categories": [{"id": 4, "name": "four"}, {"id": 4, "name": "nine"}]}
    (tmp_path / "set.json").write_text(json.dumps(content))
    with pytest.raises(LitepredError, match="has 2 categories with the id 4: expected one of its own for each"):
        load_coco_json(tmp_path / "set.json", "", forgotten)


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


@pytest.mark.parametrize(
    ("args", "by_name"), [((), ("cfg", "dataset_name", "mapper")), (("cfg", "dataset_name", "mapper"), ())]
)
def test_a_loader_with_a_mapper(registered, args, by_name):
    given = {"cfg": tiny_cfg(), "dataset_name": "coco_test", "mapper": lambda record: record["image_id"]}
    made = loader(*(given[name] for name in args), **{name: given[name] for name in by_name})
    assert list(made) == [[3], [7]]
    assert list(loader(given["cfg"], dataset=[5], mapper=str)) == [["5"]]


def test_a_loader_of_proposals(registered):
    cfg = tiny_cfg()
    cfg.DATASETS.TEST, cfg.DATASETS.PROPOSAL_FILES_TEST = ("coco_test",), ("p.pkl",)
    assert len(loader(cfg)) == 2
    cfg.MODEL.LOAD_PROPOSALS = True
    with pytest.raises(LitepredError, match=r"proposal_files is .*p.pkl.* does not read them"):
        loader(cfg)


def test_labels_are_read_and_resized_with_their_image(folder):
    labels = np.repeat(np.arange(10, dtype=np.uint8)[:, None], 12, axis=1)
    Image.fromarray(labels).save(folder / "labels.png")
    record = {"file_name": str(folder / "a.png"), "pan_seg_file_name": "pan.png", "annotations": []}
    cfg = tiny_cfg()
    cfg.INPUT.MIN_SIZE_TEST = 20
    found = DatasetMapper(cfg)({**record, "sem_seg_file_name": str(folder / "labels.png")})
    assert found["sem_seg"].tolist() == labels.repeat(2, axis=0).repeat(2, axis=1).tolist()
    assert (found["sem_seg"].dtype, found["image"].shape) == (torch.int64, (3, 20, 24))
    assert found.keys() == {"file_name", "pan_seg_file_name", "height", "width", "image", "sem_seg"}
    assert DatasetMapper(cfg)(record).keys() == found.keys() - {"sem_seg"}


def test_an_image_of_another_size(folder):
    record = {"file_name": str(folder / "a.png"), "height": 10, "width": 13}
    with pytest.raises(ImageError, match="its record says width 13"):
        DatasetMapper(tiny_cfg())(record)


def test_image_sizes():
    record = {}
    check_image_size(record, np.zeros((3, 4)))
    assert record == {"width": 4, "height": 3}
    with pytest.raises(ImageError, match="record says height 5"):
        check_image_size({"height": 5}, np.zeros((3, 4)))
    assert issubclass(SizeMismatchError, ValueError)


def test_the_augmentations_of_a_config():
    (resize,) = build_augmentation(tiny_cfg(), False)
    assert resize.get_transform(np.zeros((2000, 100))).new_h == tiny_cfg().INPUT.MAX_SIZE_TEST


@pytest.mark.parametrize("made", [DatasetMapper, build_augmentation])
def test_training_data(made):
    with pytest.raises(LitepredError, match="only infers: pass False"):
        made(tiny_cfg(), True)


@pytest.fixture
def forget():
    """Return a function that takes the name of a data set, which is removed in the end."""
    names = []
    yield lambda name: names.append(name) or name
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


PANOPTIC = {
    "annotations": [
        {
            "image_id": 5,
            "file_name": "a.png",
            "segments_info": [{"id": 1, "category_id": 9}, {"id": 2, "category_id": 4}],
        }
    ]
}
NUMBERS = {"thing_dataset_id_to_contiguous_id": {9: 0}, "stuff_dataset_id_to_contiguous_id": {4: 3}}


@pytest.fixture
def folders(tmp_path):
    """Return a file of panoptic annotations, one of boxes, and the folders of images and of labels."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    for folder, name in ((images, "a.jpg"), (labels, "a.png")):
        folder.mkdir()
        Image.new("L", (12, 10)).save(folder / name)
    (tmp_path / "panoptic.json").write_text(json.dumps(PANOPTIC), encoding="utf-8")
    content = {**CONTENT, "images": [{"id": 7, "file_name": "a.jpg", "height": 10, "width": 12}]}
    (tmp_path / "boxes.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "panoptic.json", tmp_path / "boxes.json", images, labels


def test_panoptic_records(folders, forget):
    panoptic, _, images, labels = folders
    register_coco_panoptic(forget("mine"), NUMBERS, str(images), str(labels), str(panoptic))
    (record,) = DatasetCatalog.get("mine")
    assert record == {
        "file_name": str(images / "a.jpg"),
        "image_id": 5,
        "pan_seg_file_name": str(labels / "a.png"),
        "segments_info": [
            {"id": 1, "category_id": 0, "isthing": True},
            {"id": 2, "category_id": 3, "isthing": False},
        ],
    }
    assert MetadataCatalog.get("mine").panoptic_root == str(labels)
    with pytest.raises(LitepredError, match=r"segments of the category 4, which the metadata do not number"):
        load_coco_panoptic_json(panoptic, images, labels, {**NUMBERS, "stuff_dataset_id_to_contiguous_id": {}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segments_info": [{"id": 1, "category_id": "4"}]}, "segments of the category '4', which the metadata do not"),
        (
            {"segments_info": [{"id": 1}]},
            "the image 5 has the segment .*expected a dict with an id, a category_id, and a",
        ),
        ({"segments_info": None}, "an annotation whose segments_info is None: expected a list"),
        ({"file_name": 7}, "an annotation whose file_name is 7: expected a text"),
        ({"image_id": "a"}, "has the image_id 'a': expected a number"),
        ({"image_id": 6}, "has 2 annotations with the image_id 6: expected one of its own for each"),
    ],
)
def test_panoptic_annotations_that_are_refused(changes, message, folders):
    panoptic, _, images, labels = folders
    (one,) = PANOPTIC["annotations"]
    panoptic.write_text(json.dumps({"annotations": [{**one, "image_id": 6}, {**one, **changes}]}))
    with pytest.raises(LitepredError, match=message):
        load_coco_panoptic_json(panoptic, images, labels, NUMBERS)


def test_instances_with_labels_of_stuff(folders, forget):
    panoptic, boxes, images, labels = folders
    for suffix in ("_separated", "_stuffonly"):
        forget(f"mine{suffix}")
    register_coco_panoptic_separated("mine", {}, str(images), "root", str(panoptic), str(labels), str(boxes))
    (whole,), (stuff,) = (DatasetCatalog.get(f"mine{suffix}") for suffix in ("_separated", "_stuffonly"))
    assert whole["sem_seg_file_name"] == stuff["sem_seg_file_name"] == str(labels / "a.png")
    assert len(whole["annotations"]) == 2
    assert MetadataCatalog.get("mine_stuffonly").evaluator_type == "sem_seg"


@pytest.mark.parametrize(("name", "number"), [("lvis_v1_mine", 4), ("lvis_v1_mine_cocofied", 4)])
def test_records_of_lvis(tmp_path, forget, name, number):
    image = {"id": 1, "height": 2, "width": 3, "coco_url": "http://x/val2017/a.jpg", "neg_category_ids": [8]}
    one = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [0, 0, 1, 1], "segmentation": [[0, 0, 1, 0, 1, 1]]}
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps({"images": [image], "annotations": [one], "categories": []}), encoding="utf-8")
    register_lvis_instances(forget(name), {}, path, "coco/")
    (record,) = DatasetCatalog.get(name)
    assert (record["file_name"], record["neg_category_ids"]) == (os.path.join("coco/val2017", "a.jpg"), [8])
    (annotation,) = record["annotations"]
    assert annotation["category_id"] == number
    assert len(MetadataCatalog.get(name).thing_classes) == (80 if "cocofied" in name else 1203)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image_id": 2}, None),  # LVIS's own reader leaves out what is of images that are not listed
        ({"image_id": "1"}, "has image_id '1', which the file does not have: it has 1; write ids as numbers"),
        ({"image_id": [1]}, r"has image_id \[1\]: expected a number or a text"),
        ({"id": 1}, "has 2 annotations with the id 1: expected one of its own for each"),
        ({"category_id": 12}, r"is of the category 12, which the file does not have: it has 1, 2, .*; correct it"),
        ({"segmentation": []}, r"has the segmentation \[\]: expected one or more polygons of three points or more"),
        ({"segmentation": [[0, 0, 1, 1]]}, r"has the segmentation \[\[0, 0, 1, 1\]\]: expected one or more polygons"),
    ],
)
def test_annotations_of_lvis_that_lead_nowhere(changes, told, tmp_path):
    image = {"id": 1, "height": 2, "width": 3, "coco_url": "http://x/val2017/a.jpg"}
    one = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [0, 0, 1, 1], "segmentation": [[0, 0, 1, 0, 1, 1]]}
    content = {"images": [image], "annotations": [one, {**one, "id": 2, **changes}], "categories": []}
    (tmp_path / "lvis.json").write_text(json.dumps(content))
    if told is None:
        with pytest.warns(UserWarning, match=r"1 of 2 annotations of .*lvis.json are of images that it does not list"):
            (record,) = load_lvis_json(tmp_path / "lvis.json", "coco/", "lvis_v1_cocofied")
        assert len(record["annotations"]) == 1
        return
    with pytest.raises(LitepredError, match=told):
        load_lvis_json(tmp_path / "lvis.json", "coco/", "lvis_v1_cocofied")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"id": 1}, "has 2 images with the id 1: expected one of its own for each"),
        ({"coco_url": None}, "an image whose coco_url is None: expected an address that ends in the image's folder"),
        ({"coco_url": "a.jpg"}, "an image whose coco_url is 'a.jpg': expected an address"),
    ],
)
def test_images_of_lvis_that_are_refused(changes, told, tmp_path):
    image = {"id": 1, "height": 2, "width": 3, "coco_url": "http://x/val2017/a.jpg"}
    content = {"images": [image, {**image, "id": 2, **changes}], "annotations": []}
    (tmp_path / "lvis.json").write_text(json.dumps(content))
    with pytest.raises(LitepredError, match=told):
        load_lvis_json(tmp_path / "lvis.json", "coco/")


def test_a_category_of_lvis_that_is_a_text(tmp_path):
    image = {"id": 1, "height": 2, "width": 3, "coco_url": "http://x/val2017/a.jpg"}
    one = {"image_id": 1, "category_id": "5", "bbox": [0, 0, 1, 1], "segmentation": [[0, 0, 1, 0, 1, 1]]}
    (tmp_path / "lvis.json").write_text(json.dumps({"images": [image], "annotations": [one]}))
    with pytest.raises(LitepredError, match="is of the category '5': expected a number"):
        load_lvis_json(tmp_path / "lvis.json", "coco/")
