"""What Detectron2 knows of data sets by itself; the digests are of its own lists."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest

import litepred
from litepred.drop_in import builtin, lvis
from litepred.drop_in.datasets import DatasetCatalog

DIGESTS = {
    "ADE20K_SEM_SEG_CATEGORIES": "78a9e17744d1b6c0",
    "CITYSCAPES_CATEGORIES": "f125b508bb4a123e",
    "COCO_CATEGORIES": "ee7864e693fe97a8",
    "COCO_PERSON_KEYPOINT_FLIP_MAP": "60c4ca1266375567",
    "COCO_PERSON_KEYPOINT_NAMES": "da3c8d067bed21ec",
    "KEYPOINT_CONNECTION_RULES": "0cff646d3c2d784b",
    "coco": "92f5a3d5a1e9b94b",
    "coco_panoptic_separated": "6231e2ec96ee2dfe",
    "coco_panoptic_standard": "55dfe1959d17a119",
    "coco_person": "8641bef9b5c1801b",
    "cityscapes": "fcf93f8e8e410300",
}


def digest(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", [name for name in DIGESTS if name.isupper()])
def test_lists(name):
    assert digest(getattr(builtin, name)) == DIGESTS[name]


@pytest.mark.parametrize("name", [name for name in DIGESTS if name.islower()])
def test_metadata(name):
    assert digest(builtin._get_builtin_metadata(name)) == DIGESTS[name]


def test_metadata_of_nothing():
    with pytest.raises(KeyError, match="no built-in metadata of 'coca': expected one of coco"):
        builtin._get_builtin_metadata("coca")


@pytest.mark.parametrize(
    ("name", "number"), [("lvis_v1_train", 1203), ("lvis_v0.5_val", 1230), ("lvis_v0.5_val_cocofied", 80)]
)
def test_lvis(name, number):
    assert len(builtin.get_lvis_instances_meta(name)["thing_classes"]) == number


def test_lvis_of_no_version():
    with pytest.raises(ValueError, match="'my_tools' does not tell a version of LVIS"):
        builtin.get_lvis_instances_meta("my_tools")


@pytest.mark.parametrize(
    ("categories", "expected"),
    [(lvis.LVIS_V1_CATEGORIES, "781562e6d17219d9"), (lvis.LVIS_V0_5_CATEGORIES, "f4b44c4677686996")],
)
def test_categories_of_lvis(categories, expected):
    assert digest(categories) == expected


def test_where_files_are():
    metadata = builtin.MetadataCatalog.get("coco_2017_train")
    assert metadata.image_root == os.path.join("datasets", "coco/train2017")
    assert metadata.json_file == os.path.join("datasets", "coco/annotations/instances_train2017.json")


def test_registering_them_again():
    builtin.register_all(builtin._root)
    with pytest.raises(litepred.LitepredError, match="set DETECTRON2_DATASETS to the folder before"):
        builtin.register_all("elsewhere")


def test_records_of_a_known_data_set(tmp_path):
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 4, "width": 6}],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in numbered()],
    }
    (tmp_path / "coco" / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    code = (
        "import litepred; litepred.as_detectron2()\n"
        "from detectron2.data import DatasetCatalog\nprint(DatasetCatalog.get('coco_2017_val')[0]['file_name'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "DETECTRON2_DATASETS": str(tmp_path)},
    )
    assert done.stdout.strip().endswith(os.path.join("coco/val2017", "a.jpg")), done.stderr


def numbered():
    facts = builtin._get_builtin_metadata("coco")
    return [(i, facts["thing_classes"][n]) for i, n in facts["thing_dataset_id_to_contiguous_id"].items()]


def test_records_that_are_not_there():
    with pytest.raises(KeyError, match=r"no records of 'coco_2017_val' \(.*instances_val2017.json does not exist\)"):
        DatasetCatalog.get("coco_2017_val")
