"""Detectron2's evaluators and the loop around them, on the measures of `litepred.evaluation`."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import evaluation
from ..config import CfgNode
from ..data import dataset_ids
from ..data.coco import read_annotations
from ..errors import LitepredError
from ..evaluation.coco import checked_tasks, figures_of, measure, tasks_of
from ..files import make_folder, whole_file
from ..results import plain, write_json
from ..structures import BoxMode
from .annotations import polygon_area
from .builtin import MetadataCatalog
from .datasets import DatasetCatalog
from .files import PathManager

_logger = logging.getLogger("detectron2.evaluation.testing")
_MAX_DETS = [1, 10, 100]  # instances of an image that count


class DatasetEvaluator:
    """What `inference_on_dataset` calls: `reset`, `process` for each batch, `evaluate` in the end."""

    def reset(self) -> None:
        """Forget what was processed."""

    def process(self, inputs: Any, outputs: Any) -> None:
        """Take in the inputs of a model and its outputs for them, one for each."""

    def evaluate(self) -> Any:
        """Return the figures, by task and name."""


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators as one."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator]) -> None:
        self._evaluators = list(evaluators)

    def reset(self) -> None:
        """Reset each."""
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        """Let each take them in."""
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, Any]:
        """Return the figures of all.

        Raises:
            LitepredError: two have figures of one name.
        """
        results: dict[str, Any] = {}
        for evaluator in self._evaluators:
            for task, figures in (evaluator.evaluate() or {}).items():
                if task in results:
                    raise LitepredError(f"two evaluators have figures that are called {task!r}: use one of them")
                results[task] = figures
        return results


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()


def inference_on_dataset(
    model: Any,
    data_loader: Iterable[Any],
    evaluator: DatasetEvaluator | Sequence[DatasetEvaluator] | None,
    callbacks: Mapping[str, Callable[[], Any]] | None = None,
) -> Any:
    """Run a model on all batches of a loader and return what the evaluator makes of its outputs.

    Args:
        model: called with each batch.
        data_loader: yields lists of inputs, such as that of ``build_detection_test_loader``.
        evaluator: one, or several; ``None`` to run the model alone.
        callbacks: functions that are called ``on_start``, ``before_inference``, ``after_inference`` and ``on_end``.
    """
    whole: Any = evaluator
    if evaluator is None or isinstance(evaluator, (list, tuple)):
        whole = DatasetEvaluators(evaluator or [])
    called = {**dict.fromkeys(("on_start", "before_inference", "after_inference", "on_end"), lambda: None)}
    called.update(callbacks or {})
    whole.reset()
    with torch.no_grad(), inference_context(model) if isinstance(model, nn.Module) else nullcontext():
        called["on_start"]()
        for inputs in data_loader:
            called["before_inference"]()
            outputs = model(inputs)
            called["after_inference"]()
            whole.process(inputs, outputs)
        called["on_end"]()
    return whole.evaluate() or {}


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log the main figures of each task as lines that a spreadsheet takes; those of single classes are left out."""
    for task, figures in results.items():
        if not isinstance(figures, Mapping):
            _logger.info("copypaste: %s=%s", task, figures)
            continue
        main = {name: value for name, value in figures.items() if "-" not in name}
        _logger.info("copypaste: Task: %s", task)
        _logger.info("copypaste: %s", ",".join(main))
        _logger.info("copypaste: %s", ",".join(f"{value:.4f}" for value in main.values()))


def verify_results(cfg: CfgNode, results: Mapping[str, Mapping[str, float]]) -> bool:
    """Compare figures with ``cfg.TEST.EXPECTED_RESULTS``, rows of a task, a figure's name, its value and a tolerance.

    Returns:
        True.

    Raises:
        SystemExit: a figure is missing, or further from its value; the log says which.
    """
    apart = [
        f"{task}/{name} is {results[task].get(name)}, expected {value} within {tolerance}"
        for task, name, value, tolerance in cfg.TEST.EXPECTED_RESULTS
        if not abs(results[task].get(name, float("nan")) - value) <= tolerance
    ]
    if apart:
        _logger.error("TEST.EXPECTED_RESULTS do not hold: %s", "; ".join(apart))
        sys.exit(1)
    if cfg.TEST.EXPECTED_RESULTS:
        _logger.info("TEST.EXPECTED_RESULTS hold.")
    return True


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested figures by names such as ``bbox/AP``."""
    flat: dict[str, Any] = {}
    for name, value in results.items():
        below = flatten_results_dict(value) if isinstance(value, Mapping) else None
        flat.update({name: value} if below is None else {f"{name}/{key}": one for key, one in below.items()})
    return flat


class COCOEvaluator(DatasetEvaluator):
    """Average precision on a registered data set, also of rotated boxes; see `litepred.evaluation.COCOEvaluator`.

    A subclass may replace `process`, `_eval_predictions` and `_derive_coco_results`, and finds in ``_predictions`` a
    dict per image, with ``image_id`` and ``instances``: entries of COCO's results format, with the model's numbers of
    classes.

    Args:
        dataset_name: its metadata have ``json_file``; without one, the records of the catalog are the annotations.
        tasks: which of "bbox", "segm" and "keypoints" to report; by default those that the predictions have.
        distributed: has no effect, as there is one process.
        output_dir: folder for the predictions, ``coco_instances_results.json`` and ``instances_predictions.pth``, which
            is ``_predictions``; ``None`` writes none.
        max_dets_per_image: 100 or ``None``.
        use_fast_impl: has no effect.
        kpt_oks_sigmas: a sigma for each keypoint; with none, COCO's.
        allow_cached_coco: has no effect.

    Raises:
        LitepredError: there are no annotations, ``max_dets_per_image`` is another number, or pycocotools is missing.
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: Any = None,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        max_dets_per_image: int | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
    ) -> None:
        if max_dets_per_image not in (None, 100):
            raise LitepredError(
                f"max_dets_per_image is {max_dets_per_image}: litepred counts 100 per image, as COCO does"
            )
        self._logger = logging.getLogger("detectron2.evaluation.coco_evaluation")
        if isinstance(tasks, CfgNode):
            kpt_oks_sigmas = kpt_oks_sigmas or tasks.TEST.KEYPOINT_OKS_SIGMAS
        # old programs pass a config in its place, or ``distributed``
        self._tasks = None if isinstance(tasks, (Mapping, bool)) else checked_tasks(tasks)
        self._distributed, self._output_dir, self._use_fast_impl = distributed, output_dir, False
        self._max_dets_per_image, self._kpt_oks_sigmas = _MAX_DETS, kpt_oks_sigmas
        self._cpu_device = torch.device("cpu")
        self._metadata = metadata = MetadataCatalog.get(dataset_name)
        path = metadata.get("json_file")
        if path is not None:
            path = PathManager.get_local_path(path)
            self._measure = evaluation.COCOEvaluator(path, metadata, tasks=self._tasks, needs_annotations=False)
        else:
            with tempfile.TemporaryDirectory() as folder:
                converted = Path(folder) / "annotations.json"
                convert_to_coco_json(dataset_name, converted)
                self._measure = evaluation.COCOEvaluator(converted, metadata, tasks=self._tasks)
        self._coco_api, self._do_evaluation = self._measure.coco, self._measure.has_annotations
        self._number_of = self._measure.metadata.thing_dataset_id_to_contiguous_id
        self.reset()

    def reset(self) -> None:
        """Forget what was processed."""
        self._predictions: list[dict[str, Any]] = []
        self._results: dict[str, Any] = {}

    def process(self, inputs: Any, outputs: Any) -> None:
        """Take in a model's ``instances`` for inputs that have an ``image_id``.

        Raises:
            LitepredError: an output has none, or the annotations lack the image, a class or masks.
        """
        for one, output in zip(inputs, outputs):
            self._measure.reset()
            self._measure.process([one], [output])
            found = with_categories(self._measure.predictions, self._number_of)
            self._predictions.append({"image_id": one["image_id"], "instances": found})

    def evaluate(self, img_ids: Sequence[Any] | None = None) -> dict[str, Any]:
        """Return the figures of each task, 0 to 100; ``img_ids`` are the images to look at, by default all."""
        if not self._predictions:
            self._logger.warning("there is nothing to measure, as no image was processed")
            return {}
        if self._output_dir is not None:
            save_predictions(self._output_dir, self._predictions)
        self._results = {}
        self._eval_predictions(self._predictions, img_ids=img_ids)
        return deepcopy(self._results)

    def _tasks_from_predictions(self, predictions: Sequence[Mapping[str, Any]]) -> list[str]:
        return tasks_of(predictions)

    def _eval_predictions(self, predictions: Sequence[Mapping[str, Any]], img_ids: Sequence[Any] | None = None) -> None:
        """Write predictions, which are such as ``_predictions``, where they are wanted, and measure them."""
        id_of = {number: one for one, number in self._number_of.items()}
        found = with_categories([entry for one in predictions for entry in one["instances"]], id_of)
        if self._output_dir is not None:
            write_json(make_folder(self._output_dir) / "coco_instances_results.json", found)
        if not self._do_evaluation:
            self._logger.warning("the annotations list images alone, as a test set's do: nothing is measured")
            return
        tasks = self._tasks_from_predictions(found)
        if self._tasks is not None:  # where nothing is found, nothing tells which tasks there are
            tasks = [task for task in tasks if task in self._tasks] if found else list(self._tasks)
        for task in tasks:
            measured = measure(self._coco_api, found, task, img_ids, self._kpt_oks_sigmas)
            names = self._measure.metadata.thing_classes
            self._results[task] = self._derive_coco_results(measured, task, class_names=names)

    def _derive_coco_results(
        self, coco_eval: Any, iou_type: str, class_names: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Return the figures of a ``COCOeval`` by name, NaN of ``None``; those of classes where names come for them."""
        return figures_of(coco_eval, iou_type, dict(zip(self._number_of, class_names or ())))


def save_predictions(folder: str | os.PathLike[str], predictions: Sequence[Mapping[str, Any]]) -> None:
    """Write the predictions on each image as ``instances_predictions.pth``, for ``torch.load``."""
    with whole_file(make_folder(folder) / "instances_predictions.pth") as file:
        torch.save(predictions, file)


def with_categories(entries: Sequence[Mapping[str, Any]], numbers: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return entries with the category that each has in ``numbers``."""
    unknown = next((one["category_id"] for one in entries if one["category_id"] not in numbers), None)
    if unknown is not None:
        raise LitepredError(f"a prediction has the class {unknown}, but the annotations have those of {len(numbers)}")
    return [{**one, "category_id": numbers[one["category_id"]]} for one in entries]


def _evaluate_predictions_on_coco(
    coco_gt: Any,
    coco_results: Sequence[Mapping[str, Any]],
    iou_type: str,
    kpt_oks_sigmas: Sequence[float] | None = None,
    cocoeval_fn: Callable[..., Any] | None = None,
    img_ids: Sequence[Any] | None = None,
    max_dets_per_image: Sequence[int] | None = None,
) -> Any:
    """Return the summarized ``COCOeval`` of predictions, as evaluators of other projects ask for it.

    Args:
        coco_gt: the annotations, of ``pycocotools.coco.COCO``.
        coco_results: the predictions, one or more, in the format of COCO's results.
        iou_type: "bbox", "segm" or "keypoints".
        kpt_oks_sigmas: a sigma for each keypoint; with none, COCO's.
        cocoeval_fn: a class to take instead of pycocotools' ``COCOeval``.
        img_ids: the images to look at, by default all.
        max_dets_per_image: 1, 10 and 100, or ``None``.

    Raises:
        LitepredError: ``max_dets_per_image`` has other numbers.
    """
    if max_dets_per_image is not None and list(max_dets_per_image) != _MAX_DETS:
        raise LitepredError(f"max_dets_per_image is {max_dets_per_image}: litepred counts as COCO does, {_MAX_DETS}")
    return measure(coco_gt, coco_results, iou_type, img_ids, kpt_oks_sigmas or (), cocoeval_fn)


class COCOPanopticEvaluator(DatasetEvaluator):
    """Panoptic quality on a registered data set; see `litepred.evaluation.PanopticEvaluator`.

    Args:
        dataset_name: its metadata have ``panoptic_json`` and ``panoptic_root``.
        output_dir: folder for ``predictions.json``, the annotations' file with the segments that were found, without
            their pictures; ``None`` writes none.
    """

    def __init__(self, dataset_name: str, output_dir: str | os.PathLike[str] | None = None) -> None:
        metadata = MetadataCatalog.get(dataset_name)
        file, folder = (PathManager.get_local_path(path) for path in (metadata.panoptic_json, metadata.panoptic_root))
        self._measure = evaluation.PanopticEvaluator(file, folder, metadata)
        self._file, self._output_dir = file, output_dir
        self.reset()

    def reset(self) -> None:
        """Forget what was processed."""
        self._predictions: list[dict[str, Any]] = []
        self._measure.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        """Take in a model's outputs for inputs that have an ``image_id`` and a ``file_name``."""
        self._measure.process(inputs, outputs)
        for one, output in zip(inputs if self._output_dir is not None else (), outputs):
            name, (_, segments) = Path(one["file_name"]), self._measure.segments(*output["panoptic_seg"])
            facts = {"image_id": one["image_id"], "file_name": f"{name.stem}.png", "segments_info": segments}
            self._predictions.append(facts)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Write the predictions where they are wanted, and return the figures, 0 to 100."""
        if self._output_dir is not None:
            content = read_annotations(self._file, {"annotations": ()}) | {"annotations": self._predictions}
            write_json(make_folder(self._output_dir) / "predictions.json", content)
        return self._measure.evaluate()


def convert_to_coco_json(dataset_name: str, output_file: str | os.PathLike[str], allow_cached: bool = True) -> None:
    """Write the records of a registered data set as a file in COCO's format; one that is there is kept if allowed."""
    if allow_cached and os.path.exists(output_file):
        logging.getLogger("detectron2.data.datasets.coco").warning("%s is there already, and is kept", output_file)
        return
    make_folder(os.path.dirname(output_file) or ".")
    write_json(output_file, convert_to_coco_dict(dataset_name))


def convert_to_coco_dict(dataset_name: str) -> dict[str, Any]:
    """Return the records of a registered data set in COCO's format: images, annotations and categories.

    Its categories are the data set's classes by their ids in it, or else by their numbers.
    """
    metadata = MetadataCatalog.get(dataset_name)
    id_of = dataset_ids(metadata)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record in DatasetCatalog.get(dataset_name):
        image_id = record.get("image_id", len(images))
        images.append(
            {
                "id": plain(image_id),
                "width": int(record["width"]),
                "height": int(record["height"]),
                "file_name": str(record["file_name"]),
            }
        )
        for one in record.get("annotations", ()):
            box = [float(side) for side in one["bbox"]]
            box = BoxMode.convert(box, one["bbox_mode"], BoxMode.XYWHA_ABS if len(box) == 5 else BoxMode.XYWH_ABS)
            shape = one.get("segmentation")
            annotation = {
                "id": len(annotations) + 1,
                "image_id": plain(image_id),
                "category_id": int(id_of.get(one["category_id"], one["category_id"])),
                "bbox": [round(side, 3) for side in box],
                "area": _area(shape) if shape else float(box[2] * box[3]),
                "iscrowd": int(one.get("iscrowd", 0)),
            }
            if shape:
                is_packed = isinstance(shape, dict) and isinstance(shape["counts"], bytes)
                annotation["segmentation"] = {**shape, "counts": shape["counts"].decode()} if is_packed else shape
            if "keypoints" in one:
                points = np.asarray(one["keypoints"], float).reshape(-1, 3)
                # Records count from the corners of pixels, COCO's files from their centres.
                annotation["keypoints"] = (points - [0.5, 0.5, 0]).ravel().tolist()
                annotation["num_keypoints"] = int((points[:, 2] > 0).sum())
            annotations.append(annotation)
    categories = [{"id": id_of.get(n, n), "name": name} for n, name in enumerate(metadata.thing_classes)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _area(shape: Any) -> float:
    """Return the area of polygons, lists of x0 y0 x1 y1 …, or of run lengths, in pixels."""
    if isinstance(shape, dict):
        from pycocotools import mask

        return float(mask.area(shape))
    return sum(polygon_area(np.asarray(polygon, float)) for polygon in shape)
