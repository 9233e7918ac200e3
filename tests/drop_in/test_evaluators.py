"""Semantic segmentation and LVIS, on a few images, with the figures that Detectron2 02b5c4e gives for the same."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from litepred import Boxes, Instances, LitepredError
from litepred.data import MetadataCatalog
from litepred.drop_in import evaluators
from litepred.drop_in.datasets import DatasetCatalog, load_sem_seg

CLASSES = ["sky", "road", "tree", "ship"]
CATEGORIES = [{"id": i + 1, "name": f"c{i}", "frequency": "rcf"[i % 3]} for i in range(4)]


def labels(image: int) -> np.ndarray:
    """Stripes of three classes, none in the first rows, and the last class nowhere."""
    y, x = np.mgrid[: 40 + 5 * image, :50]
    truth = (x // 7 + y // 9) % 3
    truth[:4] = 255
    return truth.astype(np.uint8)


def logits(image: int) -> torch.Tensor:
    """What a model says that sees the stripes shifted, and the last class in a corner."""
    y, x = np.mgrid[: 40 + 5 * image, :50]
    found = ((x + 2) // 7 + (y + 1) // 9) % 3
    found[-6:, -6:] = 3
    return torch.nn.functional.one_hot(torch.from_numpy(found), 4).permute(2, 0, 1).float()


@pytest.fixture
def segments(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for i in range(2):
        (tmp_path / "images" / f"{i}.jpg").touch()
        Image.fromarray(labels(i)).save(tmp_path / "labels" / f"{i}.png")
    DatasetCatalog.register("stripes", lambda: load_sem_seg(str(tmp_path / "labels"), str(tmp_path / "images")))
    MetadataCatalog.get("stripes").set(stuff_classes=CLASSES, ignore_label=255)
    yield str(tmp_path / "images")
    DatasetCatalog.remove("stripes")
    MetadataCatalog.remove("stripes")


def evaluated(folder, **options):
    evaluator = evaluators.SemSegEvaluator("stripes", **options)
    for i in range(2):
        evaluator.process([{"file_name": f"{folder}/{i}.jpg"}], [{"sem_seg": logits(i)}])
    return evaluator.evaluate()["sem_seg"]


SEM_SEG = {
    "mIoU": 46.13489565,
    "fwIoU": 46.13188289,
    "IoU-sky": 46.77790564,
    "BoundaryIoU-sky": 59.81675393,
    "min(IoU, B-Iou)-sky": 46.77790564,
    "IoU-road": 45.58659218,
    "BoundaryIoU-road": 8.53122252,
    "min(IoU, B-Iou)-road": 8.53122252,
    "IoU-tree": 46.04018913,
    "BoundaryIoU-tree": 6.64857531,
    "min(IoU, B-Iou)-tree": 6.64857531,
    "BoundaryIoU-ship": 0.0,
    "mACC": 62.56020807,
    "pACC": 62.54545455,
    "ACC-sky": 62.92569659,
    "ACC-road": 61.67800454,
    "ACC-tree": 63.07692308,
}


class TestSemSeg:
    def test_figures(self, segments, tmp_path):
        figures = evaluated(segments, output_dir=tmp_path / "out")
        assert {name: value for name, value in figures.items() if not math.isnan(value)} == pytest.approx(SEM_SEG)
        assert [name for name, value in figures.items() if math.isnan(value)] == [
            "IoU-ship",
            "min(IoU, B-Iou)-ship",
            "ACC-ship",
        ]
        written = json.loads((tmp_path / "out" / "sem_seg_predictions.json").read_text())
        assert [one["category_id"] for one in written] == [0, 1, 2, 3] * 2
        assert torch.load(tmp_path / "out" / "sem_seg_evaluation.pth")["pACC"] == figures["pACC"]

    def test_nothing(self, segments):
        figures = evaluators.SemSegEvaluator("stripes").evaluate()["sem_seg"]
        assert figures["fwIoU"] == 0
        assert math.isnan(figures["mIoU"])

    def test_ids_of_the_data_set(self, segments):
        MetadataCatalog.get("stripes").set(stuff_dataset_id_to_contiguous_id={10: 0, 11: 1, 12: 2})
        evaluator = evaluators.SemSegEvaluator("stripes", num_classes=4, ignore_label=254)
        entries = evaluator.encode_json_sem_seg(np.array([[0, 2]]), "a.jpg")
        assert [(one["file_name"], one["category_id"]) for one in entries] == [("a.jpg", 10), ("a.jpg", 12)]
        with pytest.raises(LitepredError, match="the class 3 is not in the metadata of 'stripes'"):
            evaluator.encode_json_sem_seg(np.array([[3]]), "a.jpg")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"file_name": "b.jpg"}, "'stripes' has no record of 'b.jpg'"),
            ({"sem_seg": torch.zeros(4, 9, 9)}, r"has \(40, 50\) labels from 0 to 4, the model found \(9, 9\) up to 0"),
            ({"sem_seg": torch.eye(9)[:, 5].view(9, 1, 1).expand(9, 40, 50)}, "the model found .* up to 5"),
        ],
    )
    def test_what_does_not_fit(self, segments, change, message):
        one = {"file_name": f"{segments}/0.jpg", "sem_seg": logits(0), **change}
        with pytest.raises(LitepredError, match=message):
            evaluators.SemSegEvaluator("stripes").process([one], [one])
        with pytest.raises(LitepredError, match="num_classes is 9, but 'stripes' has 4 classes"):
            evaluators.SemSegEvaluator("stripes", num_classes=9)


def test_pairs(tmp_path, caplog):
    for name in ("a.jpg", "a.png", "b.jpg"):
        (tmp_path / name).touch()
    (record,) = load_sem_seg(str(tmp_path), str(tmp_path))
    assert record == {"file_name": str(tmp_path / "a.jpg"), "sem_seg_file_name": str(tmp_path / "a.png")}
    assert "2 images and 1 files of labels make 1 pairs" in caplog.text
    with pytest.raises(LitepredError, match=r"no file of .* that ends in gif has labels of its name, ending in png"):
        load_sem_seg(str(tmp_path), str(tmp_path), image_ext="gif")


def boxes(image: int) -> list[list[int]]:
    return [[10 * j + 3 * image, 12 * j, 10 * j + 30 + 9 * image, 12 * j + 40] for j in range(4)]


def instances(image: int) -> Instances:
    """Each box a little off, of the right class but for the last one, and with its mask."""
    corners = torch.tensor(boxes(image), dtype=torch.float32) + torch.arange(4.0)[:, None]
    masks = torch.zeros(4, 100, 100, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, corners.int().tolist()):
        mask[y0:y1, x0 : x1 - 4] = True
    scores, classes = torch.tensor([0.9, 0.6, 0.7, 0.8]), torch.tensor([0, 1, 2, 0])
    return Instances((100, 100), pred_boxes=Boxes(corners), pred_masks=masks, scores=scores, pred_classes=classes)


LVIS = {
    "bbox": {
        "AP": 65.0,
        "AP50": 75.0,
        "AP75": 75.0,
        "APs": -100.0,
        "APm": 65.0,
        "APl": -100.0,
        "APr": 50.0,
        "APc": 90.0,
        "APf": 70.0,
    },
    "segm": {
        "AP": 56.26237624,
        "AP50": 75.0,
        "AP75": 75.0,
        "APs": -100.0,
        "APm": 56.26237624,
        "APl": -100.0,
        "APr": 41.26237624,
        "APc": 72.52475248,
        "APf": 70.0,
    },
}


class TestLVIS:
    @pytest.fixture
    def name(self, tmp_path):
        facts = {"height": 100, "width": 100, "neg_category_ids": [1, 4], "not_exhaustive_category_ids": []}
        annotations = [
            {
                "id": 10 * i + j + 1,
                "image_id": i,
                "category_id": j + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
            }
            for i in (1, 2)
            for j, (x0, y0, x1, y1) in enumerate(boxes(i))
        ]
        images = [{"id": i, "coco_url": f"http://host/val2017/{i}.jpg", **facts} for i in (1, 2)]
        content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
        (tmp_path / "lvis.json").write_text(json.dumps(content))
        MetadataCatalog.get("two_of_lvis").set(json_file=str(tmp_path / "lvis.json"))
        yield "two_of_lvis"
        MetadataCatalog.remove("two_of_lvis")

    def test_figures(self, name, tmp_path):
        pytest.importorskip("lvis")
        evaluator = evaluators.LVISEvaluator(name, output_dir=tmp_path / "out")
        assert evaluator.evaluate() == {}
        for i in (1, 2):
            evaluator.process([{"image_id": i}], [{"instances": instances(i)}])
        results = evaluator.evaluate()
        assert results.keys() == LVIS.keys()
        assert torch.load(tmp_path / "out" / "instances_predictions.pth", weights_only=True) == evaluator._predictions
        for task, figures in results.items():
            assert figures == pytest.approx(LVIS[task])
        written = json.loads((tmp_path / "out" / "lvis_instances_results.json").read_text())
        assert [one["category_id"] for one in written] == [1, 2, 3, 1] * 2
        evaluator.reset()
        evaluator.process([{"image_id": 1}], [{"instances": instances(1)[[]]}])
        assert math.isnan(evaluator.evaluate()["bbox"]["AP"])

    def test_ids_of_the_data_set_and_a_task(self, name):
        pytest.importorskip("lvis")
        MetadataCatalog.get(name).set(thing_dataset_id_to_contiguous_id={1: 0, 2: 1, 3: 2, 4: 3})
        evaluator = evaluators.LVISEvaluator(name, ("bbox",), max_dets_per_image=4)
        for i in (1, 2):
            evaluator.process([{"image_id": i}], [{"instances": instances(i)}])
        assert evaluator.evaluate() == {"bbox": pytest.approx(LVIS["bbox"])}
        with pytest.raises(LitepredError, match=r"measured on instances, but this model finds sem_seg"):
            evaluator.process([{"image_id": 1}], [{"sem_seg": None}])
        with pytest.raises(LitepredError, match="the annotations have no image 9"):
            evaluator.process([{"image_id": 9}], [{"instances": instances(1)}])
        small = Instances((50, 100), **instances(1)[:0].get_fields())
        with pytest.raises(LitepredError, match=r"the image 1 has 50 × 100 pixels, but the annotations say 100 × 100"):
            evaluator.process([{"image_id": 1}], [{"instances": small}])

    def test_an_annotation_may_have_any_id(self, name, tmp_path):
        """The package takes the annotation 0 for one that was missed."""
        pytest.importorskip("lvis")
        content = json.loads((tmp_path / "lvis.json").read_text())
        for i, one in enumerate(content["annotations"]):
            one["id"] = i
        (tmp_path / "lvis.json").write_text(json.dumps(content))
        evaluator = evaluators.LVISEvaluator(name)
        for i in (1, 2):
            evaluator.process([{"image_id": i}], [{"instances": instances(i)}])
        assert evaluator.evaluate()["bbox"] == pytest.approx(LVIS["bbox"])

    def test_masks_that_cannot_be_drawn(self, name, tmp_path):
        pytest.importorskip("lvis")
        content = json.loads((tmp_path / "lvis.json").read_text())
        content["annotations"][0]["segmentation"] = {"size": [100, 100], "counts": "0"}
        (tmp_path / "lvis.json").write_text(json.dumps(content))
        with pytest.raises(LitepredError, match="the model finds masks, but an annotation of the image 1 has"):
            evaluators.LVISEvaluator(name).process([{"image_id": 1}], [{"instances": instances(1)}])

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (None, "the annotations .*lvis.json' cannot be read"),
            ("{", "the annotations .*lvis.json' are not JSON"),
            ({"images": [{"id": "1"}, {"id": "2"}]}, "has the image_id 1, which .*; write ids as numbers everywhere"),
            ({"images": [{"id": 1}, {"id": 1}]}, "has 2 images with the id 1: expected one of its own for each"),
            ({"categories": [{**one, "id": str(one["id"])} for one in CATEGORIES]}, "has the category_id 1, which the"),
            (
                {"categories": [{**one, "frequency": "x"} for one in CATEGORIES]},
                "the category .*and 'r', 'c' or 'f' as",
            ),
            ({"images": []}, "8 of 8 annotations .* does not list: do the image_ids belong to another file"),
        ],
    )
    def test_files_that_are_refused(self, name, changes, message, tmp_path):
        path = tmp_path / "lvis.json"
        content = json.loads(path.read_text())
        path.unlink()
        if changes is not None:
            path.write_text(changes if isinstance(changes, str) else json.dumps({**content, **changes}))
        with pytest.raises(LitepredError, match=message):
            evaluators.LVISEvaluator(name)

    def test_without_its_package(self, name, monkeypatch):
        monkeypatch.setitem(sys.modules, "lvis.eval", None)
        monkeypatch.setitem(sys.modules, "lvis", None)
        with pytest.raises(LitepredError, match="computing LVIS's precision needs the package lvis: pip install lvis"):
            evaluators.LVISEvaluator(name)
