"""COCO's average precision of boxes, masks and keypoints, which pycocotools computes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import reprlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Metadata
from ..errors import LitepredError
from ..results import instances_to_coco_json

__all__ = ["COCOEvaluator", "category_ids", "read_annotations"]

_BOX_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_METRICS = {"bbox": _BOX_METRICS, "segm": _BOX_METRICS, "keypoints": ("AP", "AP50", "AP75", "APm", "APl")}
_RECORDS = {
    "images": ("id", "file_name"),
    "categories": ("id",),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd"),
}
_FIELDS = {"segm": "segmentation", "keypoints": "keypoints"}


class COCOEvaluator:
    """Average precision as Detectron2's evaluator of this name computes it: at most 100 instances count per image.

    Call ``process`` for each batch, then ``evaluate()``; ``reset()`` starts anew. The evaluator keeps the predictions'
    boxes, scores, run lengths and keypoints.

    Args:
        annotations: path of a COCO file with ``images``, ``categories`` and ``annotations``.
        metadata: the data set's metadata. It is needed where the order of the model's classes is not that of the
            file's category ids; see `category_ids`.
        kpt_oks_sigmas: a sigma for each keypoint, as in ``cfg.TEST.KEYPOINT_OKS_SIGMAS``; with none, COCO's are taken.

    Raises:
        LitepredError: The file cannot be read or is no file of COCO's, or pycocotools is missing.
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        metadata: Metadata | None = None,
        *,
        kpt_oks_sigmas: Sequence[float] = (),
    ) -> None:
        content = read_annotations(annotations, _RECORDS)
        _check_boxes(content["annotations"])
        self._coco = _index(content)
        ids = category_ids(content["categories"], metadata)
        names = {category["id"]: str(category.get("name", category["id"])) for category in content["categories"]}
        self.metadata = Metadata(
            thing_dataset_id_to_contiguous_id=ids, thing_classes=[names.get(one, str(one)) for one in ids]
        )
        self._sigmas = tuple(kpt_oks_sigmas)
        self._masks_checked = False
        self.reset()

    @property
    def images(self) -> list[dict[str, Any]]:
        """The images' records, dicts with ``id`` and ``file_name``, in the file's order."""
        return self._coco.dataset["images"]

    def reset(self) -> None:
        """Forget the predictions."""
        self._predictions: list[dict[str, Any]] = []
        self._images: set[int | str] = set()

    def process(self, inputs: Iterable[Mapping[str, Any]], outputs: Iterable[Mapping[str, Any]]) -> None:
        """Take in what a model found.

        Args:
            inputs: a dict with ``image_id`` for each image.
            outputs: a dict with ``instances`` for each image.

        Raises:
            LitepredError: An output has no instances, or the annotations lack the image, a class or masks.
        """
        for one, output in zip(inputs, outputs):
            if one["image_id"] not in self._coco.imgs:
                raise LitepredError(f"the annotations have no image {one['image_id']!r}")
            if "instances" not in output:
                raise LitepredError(
                    f"average precision is measured on instances, but this model finds {', '.join(output)}"
                )
            try:
                found = instances_to_coco_json(output["instances"], one["image_id"], metadata=self.metadata)
            except ValueError as error:
                raise LitepredError(
                    f"{error}. The annotations have {len(self.metadata.thing_classes)} categories: are they of the "
                    "data set that the model was trained for?"
                ) from error
            if not self._masks_checked and any("segmentation" in one for one in found):
                self._check_masks()
            self._predictions += found
            self._images.add(one["image_id"])

    def _check_masks(self) -> None:
        for one in self._coco.anns.values():
            image = self._coco.imgs.get(one["image_id"], {"height": 0, "width": 0})
            if not _is_shape(one.get("segmentation")) or "height" not in image or "width" not in image:
                raise LitepredError(
                    f"the model finds masks, but the annotation {one['id']!r} has {one.get('segmentation')!r:.100} as "
                    "its segmentation: expected polygons or run lengths, and images with height and width"
                )
        self._masks_checked = True

    def evaluate(self, img_ids: Sequence[int | str] | None = None) -> dict[str, dict[str, float]]:
        """Compare with the annotations.

        Args:
            img_ids: ids of the images that count. By default, all images of the file count, whether or not they were
                predicted on.

        Returns:
            A dict of metrics for each of the tasks ``bbox``, ``segm`` and ``keypoints`` that the predictions have:
            ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl`` (small, medium, large), and ``AP-name`` for each class
            where there are several. They go from 0 to 100; a metric that cannot be computed is NaN.

        Raises:
            LitepredError: Predictions, annotations and sigmas have different numbers of keypoints.
        """
        if not self._images:
            return {}
        tasks = ["bbox", *(task for task, field in _FIELDS.items() if any(field in one for one in self._predictions))]
        return {task: self._measure(task, img_ids) for task in tasks}

    def _measure(self, task: str, img_ids: Sequence[int | str] | None) -> dict[str, float]:
        from pycocotools.cocoeval import COCOeval

        metrics = _METRICS[task]
        if not self._predictions:
            return dict.fromkeys(metrics, float("nan"))
        # Whether a mask is small or large depends on its own area; pycocotools would take the box's if it were there.
        left_out = {"bbox"} if task == "segm" else set()
        entries = [{key: value for key, value in one.items() if key not in left_out} for one in self._predictions]
        with contextlib.redirect_stdout(io.StringIO()):
            measured = COCOeval(self._coco, self._coco.loadRes(entries), task)
            if img_ids is not None:
                measured.params.imgIds = list(img_ids)
            if task == "keypoints":
                self._check_keypoints(measured)
            measured.evaluate()
            measured.accumulate()
            measured.summarize()
        results = {
            metric: float(value * 100) if value >= 0 else float("nan") for metric, value in zip(metrics, measured.stats)
        }
        names = self.metadata.thing_classes
        if len(names) > 1:
            order = {one: place for place, one in enumerate(measured.params.catIds)}
            for dataset_id, name in zip(self.metadata.thing_dataset_id_to_contiguous_id, names):
                results[f"AP-{name}"] = _class_precision(measured.eval["precision"], order.get(dataset_id))
        return results

    def _check_keypoints(self, measured: Any) -> None:
        if self._sigmas:
            measured.params.kpt_oks_sigmas = np.array(self._sigmas)
        annotated = next((one["keypoints"] for one in self._coco.anns.values() if "keypoints" in one), None)
        if annotated is None:
            raise LitepredError("the model finds keypoints, but the annotations have none: take the keypoints' file")
        found, wanted = len(self._predictions[0]["keypoints"]) // 3, len(annotated) // 3
        sigmas = len(measured.params.kpt_oks_sigmas)
        if not found == wanted == sigmas:
            raise LitepredError(
                f"the model finds {found} keypoints, the annotations have {wanted}, and there are {sigmas} sigmas: "
                "expected the same number of each, set TEST.KEYPOINT_OKS_SIGMAS in the config"
            )


def _class_precision(precisions: np.ndarray, place: int | None) -> float:
    """Average over IoU and recall for one class, of any area, with the most instances per image."""
    if place is None:
        return float("nan")
    values = precisions[:, :, place, 0, -1]
    values = values[values > -1]
    return float(values.mean() * 100) if values.size else float("nan")


def category_ids(categories: Sequence[Mapping[str, Any]], metadata: Metadata | None = None) -> dict[int, int]:
    """Map a data set's category ids to a model's classes.

    Args:
        categories: the ``categories`` of an annotation file.
        metadata: the data set's metadata. Its ``thing_dataset_id_to_contiguous_id`` is returned if it has all these
            ids, as COCO's has for a file with a part of COCO's categories.

    Returns:
        The class by id. Without such metadata, the ids in ascending order are the classes 0, 1, 2 …
    """
    ids = sorted(category["id"] for category in categories)
    known = metadata.get("thing_dataset_id_to_contiguous_id") if metadata is not None else None
    if known and set(ids) <= set(known):
        return dict(known)
    return {one: label for label, one in enumerate(ids)}


def read_annotations(path: str | os.PathLike[str], records: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Read a JSON file of COCO's kind.

    Args:
        path: the file's path.
        records: the names of the lists that the file must have, and the keys that each dict in a list must have.

    Raises:
        LitepredError: The file cannot be read, or lacks a list or a key.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LitepredError(f"the annotations {str(path)!r} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise LitepredError(f"the annotations {str(path)!r} are not JSON: {error}") from error
    missing = [key for key in records if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise LitepredError(
            f"the annotations {str(path)!r} have no {', '.join(missing)}: "
            "expected a COCO file, such as instances_val2017.json"
        )
    for name, keys in records.items():
        for one in content[name]:
            if not isinstance(one, dict) or any(key not in one for key in keys):
                raise LitepredError(
                    f"the annotations {str(path)!r} have among their {name} {reprlib.repr(one)}: "
                    f"expected a dict with {', '.join(keys)}"
                )
    return content


def _check_boxes(annotations: Sequence[Mapping[str, Any]]) -> None:
    """Refuse ids and boxes that pycocotools would stumble over after the predictions, or count wrongly."""
    ids = {one["id"] for one in annotations}
    if len(ids) < len(annotations):
        raise LitepredError(f"{len(annotations)} annotations have {len(ids)} ids: expected one of its own for each")
    for one in annotations:
        box = one["bbox"]
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, (int, float)) for side in box):
            raise LitepredError(f"the annotation {one['id']!r} has the bbox {box!r:.100}: expected x, y, width, height")


def _is_shape(shape: Any) -> bool:
    """Tell whether pycocotools takes a segmentation for a mask, which is run lengths or polygons."""
    if isinstance(shape, dict):
        return "size" in shape and "counts" in shape
    return isinstance(shape, list) and bool(shape) and isinstance(shape[0], list) and len(shape[0]) > 4


def _index(content: dict[str, Any]) -> Any:
    try:
        from pycocotools.coco import COCO
    except ImportError as error:
        raise LitepredError(
            "average precision is computed by pycocotools, which is not installed: pip install 'litepred[coco]'"
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = content
        content.setdefault("info", {})  # loadRes asks for it
        coco.createIndex()
    return coco
