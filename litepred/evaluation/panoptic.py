"""Panoptic quality (Kirillov et al., "Panoptic Segmentation", CVPR 2019), counted as COCO counts it.

A segment of the prediction matches one of the annotation when both have one class and an IoU above 1/2, which leaves at
most one match each. PQ is the sum of the matches' IoU over (matches + half of what is unmatched on either side); it is
SQ, the matches' mean IoU, times RQ, an F1 score. Pixels without annotation (void) count neither as union nor as found
wrongly, and neither do segments that lie for more than half in void or in a crowd of their class.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data import Metadata, dataset_ids
from ..errors import LitepredError
from ..results import rgb_to_id
from .coco import read_annotations

__all__ = ["ClassCounts", "PanopticEvaluator", "compare_segments", "panoptic_quality"]

_RECORDS = {
    "images": ("id", "file_name"),
    "categories": ("id", "name"),
    "annotations": ("image_id", "file_name", "segments_info"),
}

_VOID = 0


@dataclass
class ClassCounts:
    """The counts of one class.

    Attributes:
        iou: sum of the matches' IoU.
        matched: number of matches.
        found_wrongly: number of the prediction's segments without a match.
        missed: number of the annotation's segments without a match.
    """

    iou: float = 0.0
    matched: int = 0
    found_wrongly: int = 0
    missed: int = 0

    def quality(self) -> tuple[float, float, float]:
        """Return PQ, SQ and RQ from 0 to 1."""
        whole = self.matched + (self.found_wrongly + self.missed) / 2
        if not whole:
            return float("nan"), float("nan"), float("nan")
        sq = self.iou / self.matched if self.matched else 0.0
        return self.iou / whole, sq, self.matched / whole


def compare_segments(
    annotated: np.ndarray,
    annotated_segments: Sequence[Mapping[str, Any]],
    found: np.ndarray,
    found_segments: Sequence[Mapping[str, Any]],
    counts: dict[int, ClassCounts],
) -> None:
    """Count the segments of one image.

    Args:
        annotated: segment ids (H, W) of the annotation, 0 being void.
        annotated_segments: a dict for each segment, with ``id``, ``category_id`` and perhaps ``iscrowd`` and ``area``.
        found: segment ids (H, W) of the prediction.
        found_segments: a dict for each segment, with ``id`` and ``category_id``.
        counts: the counts of each category, which this function adds to.

    Raises:
        LitepredError: The sizes differ, or the prediction has an id or category that is not described.
    """
    if annotated.shape != found.shape:
        raise LitepredError(f"the annotation has {annotated.shape} pixels, but the prediction {found.shape}")
    truth = {segment["id"]: segment for segment in annotated_segments}
    guess = {segment["id"]: segment for segment in found_segments}
    step = int(found.max(initial=0)) + 1
    pairs, areas = np.unique(annotated.astype(np.int64) * step + found, return_counts=True)
    shared = {divmod(int(pair), step): int(area) for pair, area in zip(pairs, areas)}
    truth_area: Counter[int] = Counter()
    guess_area: Counter[int] = Counter()
    for (one, other), area in shared.items():
        truth_area[one] += area
        guess_area[other] += area
    unknown = [one for one in guess_area if one != _VOID and one not in guess]
    unknown += [one["category_id"] for one in found_segments if one["category_id"] not in counts]
    if unknown:
        raise LitepredError(f"the prediction has the segment or category {unknown[0]}, which is not described")
    for one, segment in truth.items():
        truth_area[one] = int(segment.get("area", truth_area[one]))

    matched: set[tuple[int, int]] = set()
    for (one, other), area in shared.items():
        if one not in truth or other not in guess or truth[one].get("iscrowd"):
            continue
        category = truth[one]["category_id"]
        union = truth_area[one] + guess_area[other] - area - shared.get((_VOID, other), 0)
        if guess[other]["category_id"] == category and area > union / 2:
            counts[category].iou += area / union
            counts[category].matched += 1
            matched.add((one, other))

    met, used = {one for one, _ in matched}, {other for _, other in matched}
    crowds: dict[int, int] = {}
    for one, segment in truth.items():
        if segment.get("iscrowd"):
            crowds[segment["category_id"]] = one
        elif one not in met:
            counts[segment["category_id"]].missed += 1
    for other, segment in guess.items():
        if other in used or other not in guess_area:
            continue
        ignored = shared.get((_VOID, other), 0)
        crowd = crowds.get(segment["category_id"])
        ignored += shared.get((crowd, other), 0) if crowd is not None else 0
        if ignored <= guess_area[other] / 2:
            counts[segment["category_id"]].found_wrongly += 1


def panoptic_quality(counts: Mapping[int, ClassCounts], things: Iterable[int]) -> dict[str, float]:
    """Average the qualities of the classes.

    Args:
        counts: the counts of each category.
        things: the categories that are things; the others are stuff.

    Returns:
        ``PQ``, ``SQ`` and ``RQ`` over all classes that occur, and the same with ``_th`` over things and ``_st`` over
        stuff. They go from 0 to 100; where no class occurs, they are NaN.
    """
    things = set(things)
    groups = {"": set(counts), "_th": things, "_st": set(counts) - things}
    results: dict[str, float] = {}
    for suffix, group in groups.items():
        rows = [quality for one in group if not np.isnan((quality := counts[one].quality())[0])]
        means = np.mean(rows, axis=0) * 100 if rows else np.full(3, np.nan)
        results.update((name + suffix, float(mean)) for name, mean in zip(("PQ", "SQ", "RQ"), means))
    return results


class PanopticEvaluator:
    """Panoptic quality of a model's ``panoptic_seg``; used like `COCOEvaluator`.

    Args:
        annotations: path of a COCO panoptic JSON file.
        folder: folder of the annotations' PNG files. By default it is beside the JSON file, with the same name but for
            the ending, as COCO has it; where there is none, it is the JSON file's own folder.
        metadata: the data set's metadata. The model's classes are mapped to the file's categories by the ids in it
            (``thing_dataset_id_to_contiguous_id``, ``stuff_dataset_id_to_contiguous_id``), else by their names.

    Attributes:
        images: the images' records, dicts with ``id`` and ``file_name``, in the file's order.

    Raises:
        LitepredError: The file cannot be read, is no such file, or has no category of the model's classes.
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        folder: str | os.PathLike[str] | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        path = Path(annotations)
        content = read_annotations(path, _RECORDS)
        self.images: list[dict[str, Any]] = content["images"]
        beside = path.with_suffix("")
        self._folder = Path(folder) if folder is not None else beside if beside.is_dir() else path.parent
        self._annotations = {one["image_id"]: one for one in content["annotations"]}
        self._categories = content["categories"]
        self._of_class = {
            is_thing: self._class_map(metadata or Metadata(), kind, is_thing)
            for kind, is_thing in (("thing", True), ("stuff", False))
        }
        self.reset()

    def _class_map(self, metadata: Metadata, kind: str, is_thing: bool) -> dict[int, int]:
        ids = {one["id"] for one in self._categories}
        known = dataset_ids(metadata, kind)
        if ids & set(known.values()):
            return known
        here = {one["name"]: one["id"] for one in self._categories if bool(one.get("isthing", 1)) is is_thing}
        names = metadata.get(f"{kind}_classes") or ()
        mapped = {label: here[name] for label, name in enumerate(names) if name in here}
        if here and not mapped:
            raise LitepredError(
                f"the panoptic annotations have the {kind} categories {', '.join(list(here)[:8])}, the model "
                f"{', '.join(list(names)[:8]) or 'no names'}: expected the same names, or metadata with "
                f"{kind}_dataset_id_to_contiguous_id"
            )
        return mapped

    def reset(self) -> None:
        """Forget the predictions."""
        self._counts = {one["id"]: ClassCounts() for one in self._categories}
        self._seen: set[int | str] = set()

    def process(self, inputs: Iterable[Mapping[str, Any]], outputs: Iterable[Mapping[str, Any]]) -> None:
        """Compare what a model found with the annotations, and keep the counts alone.

        Args:
            inputs: a dict with ``image_id`` for each image.
            outputs: a dict with ``panoptic_seg`` for each image.

        Raises:
            LitepredError: An output has no ``panoptic_seg``, or an annotation cannot be read or does not fit.
        """
        for one, output in zip(inputs, outputs):
            if "panoptic_seg" not in output:
                raise LitepredError(f"panoptic quality needs 'panoptic_seg', but this model finds {', '.join(output)}")
            if one["image_id"] not in self._annotations:
                raise LitepredError(f"the panoptic annotations have no image {one['image_id']!r}")
            annotation = self._annotations[one["image_id"]]
            ids, segments = output["panoptic_seg"]
            described = [
                {"id": segment["id"], "category_id": self._category(bool(segment["isthing"]), segment["category_id"])}
                for segment in segments
            ]
            truth = self._read(annotation["file_name"])
            compare_segments(truth, annotation["segments_info"], ids.cpu().numpy(), described, self._counts)
            self._seen.add(one["image_id"])

    def _category(self, is_thing: bool, label: int) -> int:
        mapped = self._of_class[is_thing]
        if label not in mapped:
            kind = "thing" if is_thing else "stuff"
            raise LitepredError(f"the model found {kind} of class {label}, which the panoptic annotations do not have")
        return mapped[label]

    def _read(self, file_name: str) -> np.ndarray:
        path = self._folder / file_name
        try:
            with Image.open(path) as image:
                return rgb_to_id(np.asarray(image.convert("RGB")))
        except OSError as error:
            raise LitepredError(f"the panoptic annotation {str(path)!r} cannot be read: {error}") from error

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return ``{"panoptic_seg": …}`` with the metrics of `panoptic_quality`, or ``{}`` before any image.

        Images that were not predicted on do not count. (COCO's own program refuses to go on without them.)
        """
        things = [one["id"] for one in self._categories if one.get("isthing", 1)]
        return {"panoptic_seg": panoptic_quality(self._counts, things)} if self._seen else {}
