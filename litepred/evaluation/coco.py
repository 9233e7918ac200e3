"""Average precision of boxes, masks and keypoints, which pycocotools computes.

Boxes that are found or annotated as rotated ones overlap as `pairwise_iou_rotated` says.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any
from unicodedata import normalize

import numpy as np
import torch

from ..data import Metadata
from ..data.coco import check_references, is_number, read_annotations
from ..errors import LitepredError, package, wording
from ..layers import pairwise_iou_rotated
from ..results import instances_to_coco_json
from ..results.files import plain_id
from ..structures import BoxMode

__all__ = [
    "COCOEvaluator",
    "category_ids",
    "check_masks",
    "check_output",
    "checked_tasks",
    "figures_of",
    "measure",
    "tasks_of",
]

_BOX_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_METRICS = {"bbox": _BOX_METRICS, "segm": _BOX_METRICS, "keypoints": ("AP", "AP50", "AP75", "APm", "APl")}
_FIELDS = {"segm": "segmentation", "keypoints": "keypoints"}
_RECORDS = {
    "images": ("id", "file_name"),
    "categories": ("id",),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd"),
}


class COCOEvaluator:
    """Average precision as Detectron2's evaluator of this name computes it: at most 100 instances count per image.

    Call ``process`` for each batch, then ``evaluate()``; ``reset()`` starts anew. The evaluator keeps the predictions'
    boxes, scores, keypoints, and masks as RLE.

    Args:
        annotations: path of a COCO file with ``images``, ``categories`` and ``annotations``.
        metadata: the data set's metadata. It is needed where the order of the model's classes is not that of the
            file's category ids; see `category_ids`. If it has names of classes, the categories' are held against them.
        kpt_oks_sigmas: a sigma for each keypoint, as in ``cfg.TEST.KEYPOINT_OKS_SIGMAS``; with none, COCO's are taken.
        num_classes: the model's number of classes, to check the file's categories against; ``None`` checks nothing.
        tasks: of ``bbox``, ``segm`` and ``keypoints``, those to measure; by default those that the predictions have.
        needs_annotations: whether a file is refused that lists images and categories alone, as those of test sets do.

    Attributes:
        coco: the annotations, as pycocotools' ``COCO``.
        has_annotations: whether the file has a list of them, so that there is something to measure.
        images: the images' records, dicts with ``id`` and ``file_name``, in the file's order.
        predictions: what was found so far, in the format of COCO's results.

    Raises:
        LitepredError: The file cannot be read, is no file of COCO's, contradicts itself, has more categories than the
            model has classes, or these in another order; or pycocotools is missing.
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        metadata: Metadata | None = None,
        *,
        kpt_oks_sigmas: Sequence[float] = (),
        num_classes: int | None = None,
        tasks: Sequence[str] | None = None,
        needs_annotations: bool = True,
    ) -> None:
        self._tasks = checked_tasks(tasks)
        content = read_annotations(annotations, _RECORDS, () if needs_annotations else ("annotations",))
        self.has_annotations = "annotations" in content
        content.setdefault("annotations", [])
        if self.has_annotations:
            check_references(content, repr(os.fspath(annotations)))
        self.images: list[dict[str, Any]] = content["images"]
        self.coco = _index(content)
        ids = category_ids(content["categories"], metadata)
        if num_classes is not None:
            _compare_classes(content["categories"], ids, num_classes)
        known = (metadata or Metadata()).get("thing_classes") or ()
        if num_classes in (None, len(known)):  # else these are names of another model's classes
            _compare_names(content["categories"], ids, metadata)
        names = {category["id"]: str(category.get("name", category["id"])) for category in content["categories"]}
        self.metadata = Metadata(
            thing_dataset_id_to_contiguous_id=ids, thing_classes=[names.get(one, str(one)) for one in ids]
        )
        self._sigmas = tuple(kpt_oks_sigmas)
        self._masks_checked = self._keypoints_checked = False
        self.reset()

    def reset(self) -> None:
        """Forget the predictions."""
        self.predictions: list[dict[str, Any]] = []
        self._images: set[int | str] = set()

    def process(self, inputs: Iterable[Mapping[str, Any]], outputs: Iterable[Mapping[str, Any]]) -> None:
        """Take in what a model found: for each image a dict with ``image_id``, and one with ``instances``.

        Raises:
            LitepredError: An output has no instances, or the annotations lack the image, a class, masks or keypoints.
        """
        for one, output in zip(inputs, outputs):
            image_id = plain_id(one["image_id"])
            check_output(output, image_id, self.coco.imgs)
            try:
                found = instances_to_coco_json(output["instances"], image_id, metadata=self.metadata)
            except ValueError as error:
                raise LitepredError(
                    f"{error}. The annotations have {len(self.metadata.thing_classes)} categories: are they of the "
                    "data set that the model was trained for?"
                ) from error
            wanted = tasks_of(found, self._tasks)
            if not self._masks_checked and "segm" in wanted:
                check_masks(self.coco.anns.values(), self.coco.imgs)
                self._masks_checked = True
            if not self._keypoints_checked and "keypoints" in wanted:
                self._check_keypoints(len(found[0]["keypoints"]))
            self.predictions += found
            self._images.add(image_id)

    def _check_keypoints(self, length: int) -> None:
        for one in self.coco.anns.values():
            points = one.get("keypoints")
            is_whole = isinstance(points, list) and len(points) == length
            if not is_whole or not all(is_number(value) and math.isfinite(value) for value in points):
                raise LitepredError(
                    f"the model finds {length // 3} keypoints, but an annotation of the image {one['image_id']!r} has "
                    f"{points!r:.100} as its keypoints: expected x, y and visibility of each"
                )
            one.setdefault("num_keypoints", sum(visibility > 0 for visibility in points[2::3]))
        self._keypoints_checked = True

    def evaluate(self, img_ids: Sequence[int | str] | None = None) -> dict[str, dict[str, float]]:
        """Compare with the annotations of the images ``img_ids``; by default of all in the file, predicted on or not.

        Returns:
            A dict of metrics for each of the tasks ``bbox``, ``segm`` and ``keypoints`` that the predictions have:
            ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl`` (small, medium, large; keypoints have no ``APs``), and
            ``AP-name`` for each class where there are several. They go from 0 to 100; a metric that cannot be computed
            is NaN. An empty dict, before anything was predicted.

        Raises:
            LitepredError: Predictions, annotations and sigmas have different numbers of keypoints.
        """
        if not self._images:
            return {}
        names = dict(zip(self.metadata.thing_dataset_id_to_contiguous_id, self.metadata.thing_classes))
        return {
            task: figures_of(measure(self.coco, self.predictions, task, img_ids, self._sigmas), task, names)
            for task in tasks_of(self.predictions, self._tasks)
        }


def check_output(output: Mapping[str, Any], image_id: Any, images: Mapping[Any, Mapping[str, Any]]) -> None:
    """Check that what a model found in an image can be measured on annotations, whose ``images`` are records by id.

    Raises:
        LitepredError: There are no instances, or the annotations lack the image or say another size.
    """
    if image_id not in images:
        raise LitepredError(f"the annotations have no image {image_id!r}")
    if "instances" not in output:
        raise LitepredError(f"average precision is measured on instances, but this model finds {', '.join(output)}")
    record = images[image_id]
    size_hw, told_hw = output["instances"].image_size, (record.get("height"), record.get("width"))
    if None not in told_hw and tuple(size_hw) != told_hw:
        raise LitepredError(
            f"the image {record.get('file_name', image_id)!r} has {size_hw[0]} × {size_hw[1]} pixels, but the "
            f"annotations say {told_hw[0]!r} × {told_hw[1]!r} (height × width): correct them"
        )


def check_masks(annotations: Iterable[Mapping[str, Any]], images: Mapping[Any, Mapping[str, Any]]) -> None:
    """Check that pycocotools can draw the segmentations of annotations of these ``images``, which are records by id.

    Raises:
        LitepredError: It cannot draw one.
    """
    for one in annotations:
        shape, image = one.get("segmentation"), images.get(one["image_id"])
        if image is not None and not _is_mask(shape, size := [image.get("height"), image.get("width")]):
            alone = wording("tasks=['bbox'] measures", "MODEL.MASK_ON: False in the config measures")
            raise LitepredError(
                f"the model finds masks, but an annotation of the image {one['image_id']!r} has {shape!r:.100} as "
                f"its segmentation: expected polygons or run lengths that fit the image's height and width, {size}; "
                f"{alone} boxes alone"
            )


def checked_tasks(tasks: Any, known: Sequence[str] = ("bbox", *_FIELDS)) -> list[str] | None:
    """Return the tasks that were asked for as a list; ``None`` where nothing came.

    Raises:
        LitepredError: One is not known.
    """
    if tasks is None:
        return None
    asked = list(tasks) if isinstance(tasks, Iterable) and not isinstance(tasks, str) else [tasks]
    if unknown := [task for task in asked if task not in known]:
        raise LitepredError(f"tasks has {unknown[0]!r}: expected some of {', '.join(known)}")
    return asked


def tasks_of(predictions: Sequence[Mapping[str, Any]], wanted: Sequence[str] | None = None) -> list[str]:
    """Return the tasks that predictions can be measured on: ``bbox`` always, and those whose field one has.

    With ``wanted``, only those that are among them.
    """
    tasks = ["bbox", *(task for task, field in _FIELDS.items() if any(field in one for one in predictions))]
    return tasks if wanted is None else [task for task in tasks if task in wanted]


def measure(
    coco: Any,
    predictions: Sequence[Mapping[str, Any]],
    task: str,
    img_ids: Sequence[int | str] | None = None,
    sigmas: Sequence[float] = (),
    cocoeval: Callable[..., Any] | None = None,
) -> Any:
    """Return the summarized ``COCOeval`` of predictions, ``None`` of none.

    Args:
        coco: the annotations, of ``pycocotools.coco.COCO``.
        predictions: in the format of COCO's results.
        task: "bbox", "segm" or "keypoints".
        img_ids: the images to look at, by default all.
        sigmas: one for each keypoint; with none, COCO's are taken.
        cocoeval: a class to take instead of pycocotools' ``COCOeval``.

    Raises:
        LitepredError: Predictions, annotations and sigmas have different numbers of keypoints.
    """
    from pycocotools.cocoeval import COCOeval

    if not predictions:
        return None
    # Whether a mask is small or large depends on its own area; pycocotools would take the box's if it were there.
    left_out = "bbox" if task == "segm" else None
    entries = [{key: value for key, value in one.items() if key != left_out} for one in predictions]
    with contextlib.redirect_stdout(io.StringIO()):
        measured = (cocoeval or COCOeval)(coco, coco.loadRes(entries), task)
        if img_ids is not None:
            measured.params.imgIds = list(img_ids)
        if task == "keypoints":
            _check_keypoints(measured, predictions, sigmas)
        if task == "bbox" and any(len(one.get("bbox", ())) == 5 for one in (predictions[0], *coco.anns.values())):
            measured.computeIoU = partial(_rotated_ious, measured)
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return measured


def figures_of(measured: Any, task: str, names: Mapping[int, str]) -> dict[str, float]:
    """Return the figures of a task, 0 to 100; see `COCOEvaluator.evaluate`.

    Args:
        measured: from `measure`; ``None`` for NaN everywhere.
        task: "bbox", "segm" or "keypoints".
        names: of the classes by their ids in the data set, in the order of the report.
    """
    metrics = _METRICS[task]
    if measured is None:
        return dict.fromkeys(metrics, float("nan"))
    results = dict(zip(metrics, np.where(measured.stats >= 0, measured.stats * 100, np.nan).tolist()))
    if len(names) > 1:
        places = {one: place for place, one in enumerate(measured.params.catIds)}
        for dataset_id, name in names.items():
            # of each IoU and recall, for any area, with the most instances per image; -1 where nothing is annotated
            values = measured.eval["precision"][:, :, places.get(dataset_id, []), 0, -1]
            values = values[values > -1]
            results[f"AP-{name}"] = float(values.mean() * 100) if values.size else float("nan")
    return results


def _check_keypoints(measured: Any, predictions: Sequence[Mapping[str, Any]], sigmas: Sequence[float]) -> None:
    if sigmas:
        measured.params.kpt_oks_sigmas = np.array(sigmas)
    annotated = next((one["keypoints"] for one in measured.cocoGt.anns.values() if "keypoints" in one), None)
    if annotated is None:
        raise LitepredError("the model finds keypoints, but the annotations have none: take the keypoints' file")
    found, wanted = len(predictions[0]["keypoints"]) // 3, len(annotated) // 3
    told = len(measured.params.kpt_oks_sigmas)
    if not found == wanted == told:
        raise LitepredError(
            f"the model finds {found} keypoints, the annotations have {wanted}, and there are {told} sigmas: "
            "expected the same number of each, set TEST.KEYPOINT_OKS_SIGMAS in the config"
        )


def _rotated_ious(measured: Any, image_id: int | str, category_id: int) -> Any:
    """Return how boxes found in an image overlap those annotated, as ``COCOeval.computeIoU`` does for upright ones."""
    found, annotated = (boxes[image_id, category_id] for boxes in (measured._dts, measured._gts))
    if not found or not annotated:
        return []
    found = sorted(found, key=lambda one: -one["score"])[: measured.params.maxDets[-1]]
    boxes = ([_centred(one["bbox"]) for one in some] for some in (found, annotated))
    return pairwise_iou_rotated(*(torch.tensor(some, dtype=torch.float32, device="cpu") for some in boxes)).numpy()


def _centred(box: Sequence[float]) -> Sequence[float]:
    """Return a rotated box as it is, and an upright one with its centre and an angle of 0."""
    return box if len(box) == 5 else BoxMode.convert(list(map(float, box)), BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS)


def _compare_classes(categories: Sequence[Mapping[str, Any]], ids: Mapping[int, int], num_classes: int) -> None:
    """Refuse more categories than classes, whose numbers would all be off, and tell of fewer."""
    listed = sorted((one["id"], one.get("name", "")) for one in categories)
    some = ", ".join(f"{one} {name!r}" for one, name in listed[:8]) + (" …" if len(listed) > 8 else "")
    told = f"the annotations have {len(listed)} categories ({some}), but the model has {num_classes} classes"
    if len(ids) > num_classes:
        raise LitepredError(
            f"{told}: take out those that it was not trained on, such as a category 0 for the background or for all"
        )
    if len(ids) < num_classes:
        warnings.warn(
            f"{told}: the categories are taken for the first of them, in the order of their ids", stacklevel=3
        )


def _compare_names(categories: Sequence[Mapping[str, Any]], ids: Mapping[int, int], metadata: Metadata | None) -> None:
    """Where ids are numbered by their order, refuse the model's classes in another one, and tell of other classes."""
    listed = [one.get("name", "") for one in sorted(categories, key=itemgetter("id"))]
    known = metadata.get("thing_classes") if metadata is not None else None
    theirs, ours = ([normalize("NFC", str(name)) for name in names] for names in (listed, known or ()))
    shared = set(theirs) & set(ours)
    unlike = (i for i, pair in enumerate(zip(theirs, ours)) if pair[0] != pair[1] and (not shared or pair[0] in shared))
    place = next(unlike, None)
    if place is None or not any(theirs) or ids != category_ids(categories, None):
        return
    told = (
        f"in the order of ids, the annotations' category {place} is {theirs[place]!r}, "
        f"but the model's class {place} is {ours[place]!r}"
    )
    if shared == set(theirs):
        name = wording("give the predictor its class_names", "give the model's names by --class-names")
        raise LitepredError(f"{told}: list all of the model's classes as categories, in its order, or {name}")
    warnings.warn(f"{told}: are the categories the model's classes, in its order?", stacklevel=3)


def _is_mask(shape: Any, size: list[Any]) -> bool:
    """Tell whether pycocotools can draw an annotation's segmentation on an image of this height and width."""
    if not all(map(is_number, size)):
        return False
    if isinstance(shape, dict):
        counts: Any = shape.get("counts")
        runs = _runs(counts) if isinstance(counts, str) else counts
        are_numbers = isinstance(runs, list) and all(is_number(run) and run >= 0 and run % 1 == 0 for run in runs)
        return shape.get("size") == size and are_numbers and sum(runs) == size[0] * size[1]
    if not isinstance(shape, list) or not shape or not all(isinstance(one, list) for one in shape):
        return False
    # It allocates by the length of edges, and waits for ever for runs that end before their image does.
    return len(shape[0]) > 4 and all(is_number(one) and abs(one) <= 10 * max(size) for some in shape for one in some)


def _runs(text: str) -> list[int]:
    """Return the lengths of runs that COCO's text stands for; none where it is no such text.

    A character has five bits, the lowest first, and a sixth that says whether the number goes on; the last of a number
    has its sign. From the fourth run on, a number is the difference to the run before the last one.
    """
    codes = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] > 31:
        return []
    ends = np.flatnonzero(codes < 32)
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > 7:  # more than 32 bits, which no run has
        return []
    starts = ends - lengths + 1
    bits = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes & 31) << bits, starts) - (codes[ends] // 16 << 5 * lengths)
    for turn in (runs[1::2], runs[2::2]):
        turn[:] = turn.cumsum()
    return runs.tolist()


def category_ids(categories: Sequence[Mapping[str, Any]], metadata: Metadata | None = None) -> dict[int, int]:
    """Map the ids of an annotation file's ``categories`` to a model's classes.

    Where ``thing_dataset_id_to_contiguous_id`` of the data set's metadata has all these ids, as COCO's has for a file
    with a part of COCO's categories, it is returned. Otherwise the ids in ascending order are the classes 0, 1, 2 …
    """
    ids = sorted(category["id"] for category in categories)
    known = metadata.get("thing_dataset_id_to_contiguous_id") if metadata is not None else None
    if known and set(ids) <= set(known):
        return dict(known)
    return {one: label for label, one in enumerate(ids)}


def _index(content: dict[str, Any]) -> Any:
    coco = package("pycocotools.coco", "computing average precision", "'litepred[coco]'").COCO()
    # It takes an annotation with the id 0 for one that was missed, and computes with texts.
    numbered = [{**one, "id": number} for number, one in enumerate(content["annotations"], 1)]
    coco.dataset = content = {**content, "annotations": numbered}
    content.setdefault("info", {})  # loadRes asks for it
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
