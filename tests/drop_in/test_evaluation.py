"""Evaluators and the loop around them, on a data set of two images and a model that knows the answers."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_answers import ASSETS
from PIL import Image

import litepred
from litepred import Boxes, Instances, get_cfg
from litepred.data import MetadataCatalog
from litepred.drop_in import evaluation
from litepred.drop_in.datasets import DatasetCatalog, register_coco_instances
from litepred.drop_in.files import PathHandler, PathManager
from litepred.drop_in.trainer import DefaultTrainer
from litepred.results import instances_to_coco_json, rgb_to_id
from litepred.structures import BoxMode, RotatedBoxes

pytest.importorskip("pycocotools")

BOXES = {1: [[10.0, 10, 50, 60], [5, 60, 40, 90]], 2: [[20.0, 20, 80, 70]]}
CLASSES = {1: [0, 1], 2: [1]}


def records():
    return [
        {
            "file_name": f"{image_id}.png",
            "image_id": image_id,
            "height": 100,
            "width": 90,
            "annotations": [
                {
                    "bbox": box,
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "category_id": label,
                    "segmentation": [[box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3]]],
                }
                for box, label in zip(boxes, CLASSES[image_id])
            ],
        }
        for image_id, boxes in BOXES.items()
    ]


def test_rotated_records():
    record = {"file_name": "1.png", "height": 50, "width": 60}
    box = {"bbox": [30, 20, 40, 10, 30], "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 0}
    DatasetCatalog.register("rotated", lambda: [{**record, "annotations": [box]}])
    MetadataCatalog.get("rotated").set(thing_classes=["ship"])
    try:
        (converted,) = evaluation.convert_to_coco_dict("rotated")["annotations"]
        evaluator = evaluation.COCOEvaluator("rotated")
    finally:
        DatasetCatalog.remove("rotated")
        MetadataCatalog.remove("rotated")
    assert (converted["bbox"], converted["area"]) == ([30, 20, 40, 10, 30], 400)
    found = Instances((50, 60), pred_boxes=RotatedBoxes([[30, 20, 40, 10, 30]]), scores=torch.ones(1))
    found.pred_classes = torch.tensor([0])
    evaluator.process([{"image_id": 0}], [{"instances": found}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)


@pytest.fixture
def name():
    DatasetCatalog.register("two_images", records)
    MetadataCatalog.get("two_images").set(thing_classes=["cat", "dog"])
    yield "two_images"
    DatasetCatalog.remove("two_images")
    MetadataCatalog.remove("two_images")


class Oracle(litepred.layers.InferenceModule):
    def __init__(self, shift=0.0):
        super().__init__()
        self.shift = shift

    def forward(self, inputs):
        found = []
        for one in inputs:
            instances = Instances((100, 90))
            instances.pred_boxes = Boxes(torch.tensor(BOXES[one["image_id"]]) + self.shift)
            instances.pred_classes = torch.tensor(CLASSES[one["image_id"]])
            instances.scores = torch.linspace(0.9, 0.8, len(instances.pred_classes))
            found.append({"instances": instances})
        return found


def loader():
    return [[{"image_id": 1}], [{"image_id": 2}]]


def test_the_sigmas_of_a_config_in_the_place_of_tasks(name):
    cfg = litepred.get_cfg()
    cfg.TEST.KEYPOINT_OKS_SIGMAS = [0.1, 0.2]
    evaluator = evaluation.COCOEvaluator(name, cfg, False)
    assert (evaluator._tasks, evaluator._kpt_oks_sigmas) == (None, [0.1, 0.2])
    assert evaluation.COCOEvaluator(name, cfg, kpt_oks_sigmas=[0.3])._kpt_oks_sigmas == [0.3]
    for other in (False, True, {"VERSION": 2}):  # ``distributed`` one place too early, another library's config
        assert evaluation.COCOEvaluator(name, other)._tasks is None
    with pytest.raises(litepred.LitepredError, match="tasks has 5: expected some of bbox, segm, keypoints"):
        evaluation.COCOEvaluator(name, 5)


def test_right_answers_are_worth_100(name, tmp_path, caplog):
    called = []
    evaluator = evaluation.COCOEvaluator(name, output_dir=tmp_path / "out")
    results = evaluation.inference_on_dataset(Oracle(), loader(), evaluator, {"on_end": lambda: called.append(1)})
    assert (results["bbox"]["AP"], results["bbox"]["AP-dog"], called) == (100.0, 100.0, [1])
    assert len(json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())) == 3
    saved = torch.load(tmp_path / "out" / "instances_predictions.pth", weights_only=True)
    assert [(one["image_id"], [found["category_id"] for found in one["instances"]]) for one in saved] == [
        (image_id, CLASSES[image_id]) for image_id in CLASSES
    ]
    assert evaluation.inference_on_dataset(Oracle(shift=30.0), loader(), [evaluator])["bbox"]["AP"] < 1
    assert evaluation.inference_on_dataset(Oracle(), loader(), None) == {}

    with caplog.at_level(logging.INFO):
        evaluation.print_csv_format(results)
    assert caplog.messages[:2] == ["copypaste: Task: bbox", "copypaste: AP,AP50,AP75,APs,APm,APl"]
    assert evaluation.flatten_results_dict({"a": {"b": 1}, "c": 2}) == {"a/b": 1, "c": 2}


def test_only_the_wanted_tasks(name):
    evaluator = evaluation.COCOEvaluator(name, ("segm",))
    assert evaluation.inference_on_dataset(Oracle(), loader(), evaluator) == {}
    for tasks in ({"segm"}, ["segm"], "segm"):
        assert evaluation.inference_on_dataset(Oracle(), loader(), evaluation.COCOEvaluator(name, tasks)) == {}
    for tasks in (["box"], {"bbox", "box"}, "box"):
        with pytest.raises(litepred.LitepredError, match="tasks has 'box': expected some of bbox, segm, keypoints"):
            evaluation.COCOEvaluator(name, tasks)
    with pytest.raises(litepred.LitepredError, match="max_dets_per_image is 300: litepred counts 100"):
        evaluation.COCOEvaluator(name, max_dets_per_image=300)


@pytest.mark.parametrize(
    ("tasks", "expected"), [(None, ["bbox"]), (("bbox", "segm"), ["bbox", "segm"]), (("keypoints",), ["keypoints"])]
)
def test_the_wanted_tasks_where_nothing_is_found(name, tasks, expected):
    evaluator = evaluation.COCOEvaluator(name, tasks)
    evaluator.process([{"image_id": 1}], [{"instances": Oracle()([{"image_id": 1}])[0]["instances"][:0]}])
    results = evaluator.evaluate()
    assert list(results) == expected
    assert all(np.isnan(value) for figures in results.values() for value in figures.values())


class Halved(evaluation.COCOEvaluator):
    """An evaluator as projects derive them: each of its three parts is replaced, or called."""

    def process(self, inputs, outputs):
        for one, output in zip(inputs, outputs):
            found = instances_to_coco_json(output["instances"].to(self._cpu_device), one["image_id"])
            self._predictions.append({"image_id": one["image_id"], "instances": found})

    def _eval_predictions(self, predictions, img_ids=None):
        self.tasks = self._tasks_from_predictions([entry for one in predictions for entry in one["instances"]])
        super()._eval_predictions(predictions, img_ids)

    def _derive_coco_results(self, coco_eval, iou_type, class_names=None):
        assert coco_eval.eval["precision"].shape[2] == len(class_names)
        return {"half": super()._derive_coco_results(coco_eval, iou_type)["AP"] / 2}


def test_an_evaluator_of_a_project(name):
    evaluator = Halved(name)
    assert evaluator.evaluate() == {}
    assert evaluation.inference_on_dataset(Oracle(), loader(), evaluator) == {"bbox": {"half": 50.0}}
    assert evaluator.tasks == ["bbox"]
    assert evaluator._predictions[0]["instances"][1]["category_id"] == 1
    evaluator._predictions[0]["instances"][1]["category_id"] = 2
    with pytest.raises(litepred.LitepredError, match="a prediction has the class 2, but the annotations have those of"):
        evaluator.evaluate()


def test_predictions_are_compared_with_coco_annotations(name):
    coco = evaluation.COCOEvaluator(name)._coco_api
    found = [{"image_id": 2, "category_id": 1, "bbox": [20.0, 20, 60, 50], "score": 0.9}]
    limits = [1, 10, 100]
    compared = evaluation._evaluate_predictions_on_coco(coco, found, "bbox", img_ids=[2], max_dets_per_image=limits)
    assert compared.stats[0] == pytest.approx(1)
    with pytest.raises(litepred.LitepredError, match=r"max_dets_per_image is .*300.*: litepred counts as COCO does"):
        evaluation._evaluate_predictions_on_coco(coco, found, "bbox", max_dets_per_image=[1, 10, 300])


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ([], None),
        ([["bbox", "AP", 40.0, 0.5]], None),
        ([["bbox", "AP", 41.0, 0.5]], "bbox/AP is 40.2, expected 41.0 within 0.5"),
        ([["bbox", "AP50", 41.0, 0.5]], "bbox/AP50 is None, expected 41.0"),
        ([["bbox", "APs", 41.0, 0.5]], "bbox/APs is nan, expected 41.0"),
    ],
)
def test_expected_results(expected, told, caplog):
    cfg = get_cfg()
    cfg.TEST.EXPECTED_RESULTS = expected
    results = {"bbox": {"AP": 40.2, "APs": float("nan")}}
    if told is None:
        assert evaluation.verify_results(cfg, results)
        return
    with pytest.raises(SystemExit) as error:
        evaluation.verify_results(cfg, results)
    assert error.value.code == 1
    assert told in caplog.text


def test_a_figure_that_is_no_table(caplog):
    with caplog.at_level(logging.INFO):
        evaluation.print_csv_format({"wF1": 0.5})
    assert caplog.messages == ["copypaste: wF1=0.5"]


def test_records_as_annotations(name, tmp_path):
    content = evaluation.convert_to_coco_dict(name)
    assert [one["id"] for one in content["images"]] == [1, 2]
    assert content["annotations"][0]["bbox"] == [10, 10, 40, 50]
    assert content["annotations"][0]["area"] == 2000
    assert content["categories"] == [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    (tmp_path / "kept.json").write_text("{}")
    evaluation.convert_to_coco_json(name, tmp_path / "kept.json")
    assert (tmp_path / "kept.json").read_text() == "{}"


def test_records_of_other_types(name, tmp_path):
    """Paths and NumPy's numbers, as a table of pandas gives them."""
    (one, *_) = records()
    other = {**one, "file_name": Path("a.png"), "image_id": np.int64(1)}
    other |= {key: np.int64(one[key]) for key in ("width", "height")}
    other["annotations"] = [{**a, "category_id": np.int64(a["category_id"])} for a in one["annotations"]]
    DatasetCatalog.register("of_numpy", lambda: [other])
    MetadataCatalog.get("of_numpy").set(thing_classes=["cat", "dog"])
    try:
        evaluation.convert_to_coco_json("of_numpy", tmp_path / "a.json")
    finally:
        DatasetCatalog.remove("of_numpy")
        MetadataCatalog.remove("of_numpy")
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["images"][0]["file_name"], content["images"][0]["width"]) == ("a.png", one["width"])


def test_tasks_that_are_not_wanted_need_no_annotations(name):
    """A model of keypoints and masks is measured by its boxes on annotations that have nothing else."""

    class More(Oracle):
        def forward(self, inputs):
            found = super().forward(inputs)
            for one in found:
                one["instances"].pred_keypoints = torch.ones(len(one["instances"]), 17, 3)
            return found

    evaluator = evaluation.COCOEvaluator(name, ("bbox",))
    assert evaluation.inference_on_dataset(More(), loader(), evaluator)["bbox"]["AP"] == 100
    with pytest.raises(litepred.LitepredError, match="the model finds 17 keypoints, but"):
        evaluation.inference_on_dataset(More(), loader(), evaluation.COCOEvaluator(name))


def test_records_in_a_folder_that_is_not_there(name, tmp_path, caplog):
    evaluation.convert_to_coco_json(name, tmp_path / "new" / "a.json")
    evaluation.convert_to_coco_json(name, tmp_path / "new" / "a.json")
    assert "a.json is there already, and is kept" in caplog.text


def test_a_test_set_without_annotations(name, tmp_path, caplog):
    """Predictions are written for whoever has the annotations, and nothing is measured."""
    content = evaluation.convert_to_coco_dict(name)
    del content["annotations"]
    (tmp_path / "image_info.json").write_text(json.dumps(content))
    register_coco_instances("a_test_set", {}, f"there://{tmp_path}/image_info.json", tmp_path)
    PathManager.register_handler(There())
    try:
        evaluator = evaluation.COCOEvaluator("a_test_set", output_dir=tmp_path)
        assert evaluation.inference_on_dataset(Oracle(), loader(), evaluator) == {}
        assert len(DatasetCatalog.get("a_test_set")) == 2
    finally:
        DatasetCatalog.remove("a_test_set")
        MetadataCatalog.remove("a_test_set")
        del PathManager._handlers["there://"]
    assert len(json.loads((tmp_path / "coco_instances_results.json").read_text())) == 3
    assert "nothing is measured" in caplog.text


def test_panoptic_predictions_are_written(tmp_path):
    """Only where they are wanted, with the categories of the annotations' file."""
    given = ASSETS / "annotated" / "panoptic.json"
    content = json.loads(given.read_text())
    things = {i + 1: i for i in range(5)}
    MetadataCatalog.get("panoptic").set(
        panoptic_json=str(given),
        panoptic_root=str(given.with_suffix("")),
        thing_dataset_id_to_contiguous_id=things,
        stuff_dataset_id_to_contiguous_id={7: 1},
    )
    try:
        evaluator = evaluation.COCOPanopticEvaluator("panoptic", tmp_path / "out")
        silent = evaluation.COCOPanopticEvaluator("panoptic")
    finally:
        MetadataCatalog.remove("panoptic")
    (entry,) = (one for one in content["annotations"] if one["image_id"] == 1)
    with Image.open(given.with_suffix("") / entry["file_name"]) as picture:
        ids = torch.from_numpy(rgb_to_id(np.asarray(picture)))
    segments = [{"id": one["id"], "category_id": one["category_id"]} for one in entry["segments_info"]]
    described = [
        {"id": one["id"], "category_id": things.get(one["category_id"], 1), "isthing": one["category_id"] in things}
        for one in segments
    ]
    silent.process([{"image_id": 1}], [{"panoptic_seg": (ids, described)}])
    evaluator.process([{"image_id": 1, "file_name": "a/page1.jpg"}], [{"panoptic_seg": (ids, described)}])
    assert evaluator.evaluate() == silent.evaluate()
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    found = {"image_id": 1, "file_name": "page1.png", "segments_info": segments}
    assert written == {**content, "annotations": [found]}


class There(PathHandler):
    """Files by an address of a project's own."""

    def _get_supported_prefixes(self):
        return ["there://"]

    def _get_local_path(self, path, **_):
        return path.removeprefix("there://")


class Constant(evaluation.DatasetEvaluator):
    def __init__(self, task):
        self.task, self.seen = task, 0

    def process(self, inputs, outputs):
        self.seen += len(inputs)

    def evaluate(self):
        return {self.task: {"seen": self.seen}}


def test_several_evaluators():
    both = [Constant("a"), Constant("b")]
    assert evaluation.inference_on_dataset(Oracle(), loader(), both) == {"a": {"seen": 2}, "b": {"seen": 2}}
    with pytest.raises(litepred.LitepredError, match="two evaluators have figures that are called 'a'"):
        evaluation.inference_on_dataset(Oracle(), loader(), [Constant("a"), Constant("a")])


def test_a_trainer_tests(name, monkeypatch):
    cfg = get_cfg()
    cfg.DATASETS.TEST = (name,)
    with pytest.raises(litepred.LitepredError, match="only infers"):
        DefaultTrainer(cfg)
    with pytest.raises(NotImplementedError, match="DefaultTrainer has no build_evaluator"):
        DefaultTrainer.test(cfg, Oracle())

    class Trainer(DefaultTrainer):
        @classmethod
        def build_test_loader(cls, cfg, dataset_name):
            return loader()

        @classmethod
        def build_evaluator(cls, cfg, dataset_name):
            return evaluation.COCOEvaluator(dataset_name)

    assert Trainer.test(cfg, Oracle())["bbox"]["AP"] == 100.0
    with pytest.raises(litepred.LitepredError, match="2 evaluators came for 1 data sets"):
        Trainer.test(cfg, Oracle(), [Constant("a"), Constant("b")])
    with pytest.raises(litepred.LitepredError, match="build_train_loader is not in litepred"):
        Trainer.build_train_loader(cfg)
