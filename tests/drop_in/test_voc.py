"""Data sets in the layout of Pascal VOC."""

from __future__ import annotations

import pytest

from litepred.data import MetadataCatalog
from litepred.drop_in import voc
from litepred.drop_in.datasets import DatasetCatalog
from litepred.errors import LitepredError
from litepred.structures import BoxMode

XML = """<annotation><size><width>30</width><height>20</height></size>{}</annotation>"""
CAT = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>3</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object>"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "ImageSets" / "Main" / "empty.txt").write_text("")
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_text("000001\n000002\n")
    (tmp_path / "Annotations" / "000001.xml").write_text(XML.format(""))
    (tmp_path / "Annotations" / "000002.xml").write_text(XML.format(CAT))
    return tmp_path


def test_registered(folder):
    for split in ("empty", "test"):
        voc.register_pascal_voc(f"animals_{split}", str(folder), split, 2007, ("dog", "cat"))
    try:
        assert DatasetCatalog.get("animals_empty") == []
        bare, one = DatasetCatalog.get("animals_test")
        metadata = MetadataCatalog.get("animals_test").as_dict()
        with pytest.raises(AssertionError, match="'animals_test' is already registered"):
            voc.register_pascal_voc("animals_test", str(folder), "test", 2007)
    finally:
        for split in ("empty", "test"):
            DatasetCatalog.remove(f"animals_{split}")
            MetadataCatalog.remove(f"animals_{split}")
    assert bare["annotations"] == []
    assert one == {
        "file_name": str(folder / "JPEGImages" / "000002.jpg"),
        "image_id": "000002",
        "height": 20,
        "width": 30,
        "annotations": [{"category_id": 1, "bbox": [0, 2, 30, 20], "bbox_mode": BoxMode.XYXY_ABS}],
    }
    facts = {"thing_classes": ["dog", "cat"], "dirname": str(folder), "year": 2007, "split": "test"}
    assert facts.items() <= metadata.items()
    assert len(voc.CLASS_NAMES) == 20


@pytest.mark.parametrize(
    ("split", "content", "told"),
    [
        ("other", "", "the list of images .*other.txt' cannot be read"),
        ("test", None, "the annotations .*000002.xml' cannot be read"),
        ("test", "", "are not Pascal VOC's .*expected XML with the size"),
        ("test", XML.format("<object/>"), "are not Pascal VOC's .*expected XML with the size"),
        ("test", XML.format(CAT.replace("cat", "cow")), "have an object 'cow': expected one of cat"),
    ],
)
def test_what_cannot_be_read(folder, split, content, told):
    path = folder / "Annotations" / "000002.xml"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(LitepredError, match=told):
        voc.load_voc_instances(str(folder), split, ["cat"])
