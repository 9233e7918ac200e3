"""Detectron2's evaluators and the loop around them, on the measures of `litepred.evaluation`."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import evaluation
from ..data import dataset_ids
from ..errors import LitepredError
from ..files import whole_file
from ..structures import BoxMode
from .annotations import polygon_area
from .builtin import MetadataCatalog
from .datasets import DatasetCatalog

_logger = logging.getLogger("detectron2.evaluation.testing")


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


def print_csv_format(results: Mapping[str, Mapping[str, float]]) -> None:
    """Log the main figures of each task as lines that a spreadsheet takes; those of single classes are left out."""
    for task, figures in results.items():
        main = {name: value for name, value in figures.items() if "-" not in name}
        _logger.info("copypaste: Task: %s", task)
        _logger.info("copypaste: %s", ",".join(main))
        _logger.info("copypaste: %s", ",".join(f"{value:.4f}" for value in main.values()))


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested figures by names such as ``bbox/AP``."""
    flat: dict[str, Any] = {}
    for name, value in results.items():
        below = flatten_results_dict(value) if isinstance(value, Mapping) else None
        flat.update({name: value} if below is None else {f"{name}/{key}": one for key, one in below.items()})
    return flat


class _Measure(DatasetEvaluator):
    """An evaluator whose work one of `litepred.evaluation` does, its ``_measure``."""

    _measure: Any

    def reset(self) -> None:
        """Forget what was processed."""
        self._measure.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        """Take in a model's outputs for inputs that have an ``image_id``."""
        self._measure.process(inputs, outputs)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return the figures of each task, 0 to 100."""
        return self._measure.evaluate()


class COCOEvaluator(_Measure):
    """Average precision on a registered data set, also of rotated boxes; see `litepred.evaluation.COCOEvaluator`.

    Args:
        dataset_name: its metadata have ``json_file``; without one, the records of the catalog are the annotations.
        tasks: which of "bbox", "segm" and "keypoints" to report; by default those that the predictions have.
        distributed: has no effect, as there is one process.
        output_dir: folder for ``coco_instances_results.json``, the predictions; ``None`` writes none.
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
        metadata = MetadataCatalog.get(dataset_name)
        self._tasks = tasks if isinstance(tasks, (tuple, list)) else None  # a config, as old programs pass it, is none
        self._output_dir = output_dir
        path = metadata.get("json_file")
        if path is not None:
            self._measure = evaluation.COCOEvaluator(path, metadata, kpt_oks_sigmas=kpt_oks_sigmas)
        else:
            with tempfile.TemporaryDirectory() as folder:
                converted = Path(folder) / "annotations.json"
                convert_to_coco_json(dataset_name, converted)
                self._measure = evaluation.COCOEvaluator(converted, metadata, kpt_oks_sigmas=kpt_oks_sigmas)

    def evaluate(self, img_ids: Sequence[Any] | None = None) -> dict[str, dict[str, float]]:
        """Return the figures of each task, 0 to 100; ``img_ids`` are the images to look at, by default all."""
        if self._output_dir is not None:
            target = Path(self._output_dir) / "coco_instances_results.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as file:
                file.write(json.dumps(self._measure.predictions).encode())
        results = self._measure.evaluate(img_ids)
        return {task: figures for task, figures in results.items() if self._tasks is None or task in self._tasks}


class COCOPanopticEvaluator(_Measure):
    """Panoptic quality on a registered data set; see `litepred.evaluation.PanopticEvaluator`.

    Args:
        dataset_name: its metadata have ``panoptic_json`` and ``panoptic_root``.
        output_dir: must be ``None``: predictions are measured at once and not kept.
    """

    def __init__(self, dataset_name: str, output_dir: str | None = None) -> None:
        if output_dir is not None:
            raise LitepredError(f"output_dir is {output_dir!r}, but panoptic predictions are not written: leave it out")
        metadata = MetadataCatalog.get(dataset_name)
        self._measure = evaluation.PanopticEvaluator(metadata.panoptic_json, metadata.panoptic_root, metadata)


def convert_to_coco_json(dataset_name: str, output_file: str | os.PathLike[str], allow_cached: bool = True) -> None:
    """Write the records of a registered data set as a file in COCO's format; one that is there is kept if allowed."""
    if allow_cached and os.path.exists(output_file):
        return
    with whole_file(output_file) as file:
        file.write(json.dumps(convert_to_coco_dict(dataset_name)).encode())


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
            {"id": image_id, "width": record["width"], "height": record["height"], "file_name": record["file_name"]}
        )
        for one in record.get("annotations", ()):
            box = [float(side) for side in one["bbox"]]
            box = BoxMode.convert(box, one["bbox_mode"], BoxMode.XYWHA_ABS if len(box) == 5 else BoxMode.XYWH_ABS)
            shape = one.get("segmentation")
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": id_of.get(one["category_id"], one["category_id"]),
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
