"""Evaluators that only Detectron2's scripts ask for: of semantic segmentation, and of LVIS.

H × W pixels, K classes.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch

from ..data import open_image
from ..data.coco import check_references, is_number, read_annotations
from ..errors import LitepredError, package
from ..evaluation.coco import check_masks, check_output, checked_tasks, tasks_of
from ..files import make_folder, whole_file
from ..results import instances_to_coco_json, write_json
from ..results.files import plain_id
from ..structures import mask_to_rle
from .builtin import MetadataCatalog
from .datasets import DatasetCatalog
from .evaluation import DatasetEvaluator, save_predictions, with_categories
from .files import PathManager

_BOUNDARY_OF_DIAGONAL = 0.02  # how thick a boundary is
_LVIS_RECORDS = {
    "images": ("id",),
    "categories": ("id",),
    "annotations": ("id", "image_id", "category_id", "bbox", "area"),
}
_LVIS_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf")

_logger = logging.getLogger("detectron2.evaluation")


def load_image_into_numpy_array(filename: str, dtype: Any = None) -> np.ndarray:
    """Read an image file as it is, such as a PNG of labels (H, W), and return it in another type of numbers."""
    with open_image(PathManager.get_local_path(filename)) as image:
        return np.array(image, dtype=dtype)


class SemSegEvaluator(DatasetEvaluator):
    """IoU and accuracy of the classes of pixels on a registered data set.

    Args:
        dataset_name: its records have ``file_name`` and ``sem_seg_file_name``, and its metadata ``stuff_classes`` and
            ``ignore_label``.
        distributed: has no effect, as there is one process.
        output_dir: folder for ``sem_seg_predictions.json`` and ``sem_seg_evaluation.pth``; ``None`` writes none.
        sem_seg_loading_fn: reads a file of labels as an array (H, W) of type ``dtype``.
        num_classes: must be the number of ``stuff_classes``, if it is given.
        ignore_label: that of pixels without annotation, instead of the metadata's.

    Raises:
        LitepredError: ``num_classes`` is another number.
    """

    def __init__(
        self,
        dataset_name: str,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        sem_seg_loading_fn: Callable[..., np.ndarray] = load_image_into_numpy_array,
        num_classes: int | None = None,
        ignore_label: int | None = None,
    ) -> None:
        metadata = MetadataCatalog.get(dataset_name)
        self.input_file_to_gt_file = {
            one["file_name"]: one["sem_seg_file_name"] for one in DatasetCatalog.get(dataset_name)
        }
        self._dataset_name, self._output_dir, self._distributed = dataset_name, output_dir, distributed
        self._cpu_device = torch.device("cpu")
        self.sem_seg_loading_fn = sem_seg_loading_fn
        self._class_names = metadata.stuff_classes
        self._num_classes = len(self._class_names)
        if num_classes not in (None, self._num_classes):
            raise LitepredError(f"num_classes is {num_classes}, but {dataset_name!r} has {self._num_classes} classes")
        self._ignore_label = metadata.ignore_label if ignore_label is None else ignore_label
        numbers = metadata.get("stuff_dataset_id_to_contiguous_id")
        self._contiguous_id_to_dataset_id = numbers and {number: one for one, number in numbers.items()}
        self._compute_boundary_iou = self._num_classes < 255  # OpenCV erodes labels of 8 bits
        self.reset()

    def reset(self) -> None:
        """Forget what was processed."""
        shape = (self._num_classes + 1, self._num_classes + 1)  # found × annotated, those without annotation last
        self._conf_matrix, self._b_conf_matrix = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self._predictions: list[dict[str, Any]] = []

    def process(self, inputs: Iterable[Mapping[str, Any]], outputs: Iterable[Mapping[str, Any]]) -> None:
        """Take in a model's ``sem_seg``, (K, H, W) logits, for inputs that have the ``file_name`` of a record.

        Raises:
            LitepredError: there is no such record, or its labels have another size or are no classes.
        """
        for one, output in zip(inputs, outputs):
            name, found = one["file_name"], output["sem_seg"].argmax(dim=0).cpu().numpy().astype(int)
            if name not in self.input_file_to_gt_file:
                raise LitepredError(f"{self._dataset_name!r} has no record of {name!r}: its records have other files")
            truth = np.array(self.sem_seg_loading_fn(self.input_file_to_gt_file[name], dtype=int))
            truth[truth == self._ignore_label] = self._num_classes
            if truth.shape != found.shape or truth.min() < 0 or max(truth.max(), found.max()) > self._num_classes:
                raise LitepredError(
                    f"{self.input_file_to_gt_file[name]} has {truth.shape} labels from {truth.min()} to {truth.max()}, "
                    f"the model found {found.shape} up to {found.max()}: expected the same size and the "
                    f"{self._num_classes} classes of {self._dataset_name!r}, or {self._ignore_label} for none"
                )
            self._conf_matrix += self._counts(found, truth)
            if self._compute_boundary_iou:
                self._b_conf_matrix += self._counts(*map(self._mask_to_boundary, (found, truth)))
            if self._output_dir is not None:
                self._predictions += self.encode_json_sem_seg(found, name)

    def _counts(self, found: np.ndarray, truth: np.ndarray) -> np.ndarray:
        size = self._num_classes + 1
        pairs = size * found.astype(int).ravel() + truth.astype(int).ravel()
        return np.bincount(pairs, minlength=size * size).reshape(size, size)

    def _mask_to_boundary(self, mask: np.ndarray, dilation_ratio: float = _BOUNDARY_OF_DIAGONAL) -> np.ndarray:
        """Return labels (H, W) less what is left of them when they are eroded, in 8 bits as Detectron2 computes it."""
        labels = mask.astype(np.uint8)
        rounds = max(1, round(dilation_ratio * float(np.sqrt(labels.shape[0] ** 2 + labels.shape[1] ** 2))))
        padded = cv2.copyMakeBorder(labels, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        return labels - cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=rounds)[1:-1, 1:-1]

    def encode_json_sem_seg(self, sem_seg: np.ndarray, input_file_name: str) -> list[dict[str, Any]]:
        """Return the regions of each label of (H, W) as entries of COCO's results format."""
        ids = self._contiguous_id_to_dataset_id
        entries = []
        for label in np.unique(sem_seg).tolist():
            if ids and label not in ids:
                raise LitepredError(f"the class {label} is not in the metadata of {self._dataset_name!r}")
            shape = mask_to_rle(sem_seg == label)
            number = ids[label] if ids else label
            entries.append({"file_name": input_file_name, "category_id": number, "segmentation": shape})
        return entries

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return ``{"sem_seg": …}`` with figures from 0 to 100, NaN where there is nothing to measure.

        They are ``mIoU``, ``fwIoU`` (weighted by the classes' areas), ``mACC`` and ``pACC`` (the accuracy of classes
        and of pixels), and of each class ``IoU-name``, ``BoundaryIoU-name``, the lesser of both, and ``ACC-name``.
        """
        iou, accuracy, areas, right = _overlaps(self._conf_matrix)
        iou[areas == 0] = np.nan  # of a class that is not annotated
        with np.errstate(invalid="ignore"):
            weighted = iou * (areas / areas.sum())
            figures = {"mIoU": 100 * _mean(iou), "fwIoU": 100 * weighted[~np.isnan(weighted)].sum()}
            boundary = _overlaps(self._b_conf_matrix)[0]
            for name, one, other in zip(self._class_names, iou, boundary):
                figures[f"IoU-{name}"] = 100 * one
                if self._compute_boundary_iou:
                    figures[f"BoundaryIoU-{name}"] = 100 * other
                    figures[f"min(IoU, B-Iou)-{name}"] = 100 * min(one, other)
            figures |= {"mACC": 100 * _mean(accuracy), "pACC": 100 * right.sum() / areas.sum()}
        figures |= {f"ACC-{name}": 100 * one for name, one in zip(self._class_names, accuracy)}
        results = {"sem_seg": {name: float(value) for name, value in figures.items()}}
        if self._output_dir is not None:
            folder = make_folder(self._output_dir)
            write_json(folder / "sem_seg_predictions.json", self._predictions)
            with whole_file(folder / "sem_seg_evaluation.pth") as file:
                torch.save(results["sem_seg"], file)
        _logger.info(results)
        return results


def _overlaps(counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return IoU and accuracy of each class, NaN where it is nowhere, and its annotated and rightly found pixels."""
    right = counts.diagonal()[:-1].astype(float)
    annotated, found = (counts[:-1, :-1].sum(axis=axis).astype(float) for axis in (0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / (annotated + found - right), right / annotated, annotated, right


def _mean(values: np.ndarray) -> Any:
    known = values[~np.isnan(values)]
    return known.sum() / len(known) if len(known) else np.nan


class LVISEvaluator(DatasetEvaluator):
    """Average precision as LVIS measures it, by the package ``lvis``.

    Args:
        dataset_name: its metadata have ``json_file``.
        tasks: which of "bbox" and "segm" to report; by default those that the predictions have.
        distributed: has no effect, as there is one process.
        output_dir: folder for the predictions, ``lvis_instances_results.json`` and ``instances_predictions.pth``;
            ``None`` writes none.
        max_dets_per_image: how many instances of an image count, by default 300.

    Raises:
        LitepredError: the package is missing, or the file cannot be read, is none of LVIS's or contradicts itself.
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: Any = None,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        max_dets_per_image: int | None = None,
    ) -> None:
        # old programs pass a config in its place, or ``distributed``
        self._tasks = None if isinstance(tasks, (Mapping, bool)) else checked_tasks(tasks, ("bbox", "segm"))
        self._distributed, self._output_dir = distributed, output_dir
        self._max_dets_per_image = 300 if max_dets_per_image is None else max_dets_per_image
        self._metadata = MetadataCatalog.get(dataset_name)
        self._lvis_api = _lvis_of(PathManager.get_local_path(self._metadata.json_file))
        self._do_evaluation = bool(self._lvis_api.anns)  # the annotations of test sets are not public
        self._masks_checked = False
        self.reset()

    def reset(self) -> None:
        """Forget what was processed."""
        self._predictions: list[dict[str, Any]] = []

    def process(self, inputs: Iterable[Mapping[str, Any]], outputs: Iterable[Mapping[str, Any]]) -> None:
        """Take in a model's ``instances`` for inputs that have an ``image_id``.

        Raises:
            LitepredError: an output has none, or the annotations lack the image or masks, or say another size.
        """
        for one, output in zip(inputs, outputs):
            image_id = plain_id(one["image_id"])
            check_output(output, image_id, self._lvis_api.imgs)
            found = instances_to_coco_json(output["instances"], image_id)
            if not self._masks_checked and "segm" in tasks_of(found, self._tasks):
                check_masks(self._lvis_api.anns.values(), self._lvis_api.imgs)
                self._masks_checked = True
            self._predictions.append({"image_id": image_id, "instances": found})

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return the figures of each task, 0 to 100: ``AP``, ``AP50``, ``AP75``, and those by size and frequency.

        Without annotations, as those of a test set, the predictions are written and nothing is returned.
        """
        if not self._predictions:
            return {}
        if self._output_dir is not None:
            save_predictions(self._output_dir, self._predictions)
        found = deepcopy([entry for one in self._predictions for entry in one["instances"]])
        tasks = self._tasks or ("bbox", "segm")[: 2 if any("segmentation" in one for one in found) else 1]
        numbers = self._metadata.get("thing_dataset_id_to_contiguous_id")
        id_of = {number: one for one, number in (numbers or {}).items()}
        # LVIS counts from 1
        found = with_categories(found, id_of or {one["category_id"]: one["category_id"] + 1 for one in found})
        if self._output_dir is not None:
            write_json(make_folder(self._output_dir) / "lvis_instances_results.json", found)
        return {task: self._measure(found, task) for task in sorted(tasks)} if self._do_evaluation else {}

    def _measure(self, found: Sequence[Mapping[str, Any]], task: str) -> dict[str, float]:
        if not found:
            return dict.fromkeys(_LVIS_METRICS, float("nan"))
        # Whether a mask is small or large depends on its own area; lvis would take the box's if it were there.
        left_out = "bbox" if task == "segm" else None
        entries = [{key: value for key, value in one.items() if key != left_out} for one in found]
        lvis = _lvis()
        results = lvis.LVISResults(self._lvis_api, entries, max_dets=self._max_dets_per_image)
        measured = lvis.LVISEval(self._lvis_api, results, task)
        measured.run()
        figures = measured.get_results()
        return {name: float(figures[name] * 100) for name in _LVIS_METRICS}


def _lvis_of(path: str) -> Any:
    """Return a file's annotations as the package's ``LVIS``, numbered from 1: it takes a 0 for one that was missed."""
    content = read_annotations(path, _LVIS_RECORDS, ("annotations",))
    annotations = content.setdefault("annotations", [])
    if annotations:
        check_references(content, repr(path))
        for one in content["categories"]:
            if not is_number(one["id"]) or one.get("frequency") not in ("r", "c", "f"):
                raise LitepredError(
                    f"{path!r} has the category {one!r:.100}: expected a number as its id, and 'r', 'c' or 'f' as its "
                    "frequency"
                )
    none: dict[str, Any] = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    content["images"] = [none | one for one in content["images"]]
    content["annotations"] = [{**one, "id": number} for number, one in enumerate(annotations, 1)]
    kind = _lvis().LVIS
    annotated = kind.__new__(kind)  # which otherwise reads a file itself
    annotated.logger, annotated.dataset = logging.getLogger(kind.__module__), content
    annotated._create_index()
    return annotated


def _lvis() -> Any:
    """Import lvis, whose last release asks NumPy for a name that NumPy 1.24 has dropped."""
    package("lvis.eval", "computing LVIS's precision", "lvis").np = SimpleNamespace(**vars(np) | {"float": float})
    return sys.modules["lvis"]
