"""Panoptic quality, that of Kirillov et al., "Panoptic Segmentation", CVPR 2019.

A segment of the prediction matches one of the annotation when both have one class and an IoU above 1/2, which leaves at
most one match each. PQ is the sum of the matches' IoU over (matches + half of what is unmatched on either side); it is
SQ, the matches' mean IoU, times RQ, an F1 score. Pixels without annotation (void) count neither as union nor as found
wrongly, and neither do segments that lie for more than half in void or in a crowd of their class.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from torch import Tensor

from ..data import Metadata, dataset_ids, open_image, segments_of
from ..data.coco import check_unique, is_number, read_annotations, tell_elsewhere
from ..errors import LitepredError
from ..files import as_stored
from ..results import rgb_to_id
from ..results.files import plain_id

__all__ = ["PanopticEvaluator", "check_segments", "compare_segments", "panoptic_quality"]

_PANOPTIC_RECORDS = {
    "images": ("id", "file_name"),
    "categories": ("id", "name"),
    "annotations": ("image_id", "file_name", "segments_info"),
}
_VOID = 0


def compare_segments(
    annotated: np.ndarray,
    annotated_segments: Sequence[Mapping[str, Any]],
    found: np.ndarray,
    found_segments: Sequence[Mapping[str, Any]],
    counts: Mapping[int, np.ndarray],
) -> None:
    """Add the segments of one image to the counts of the categories, which `panoptic_quality` takes.

    The annotation's and the prediction's segments are ids (H, W), 0 being void, and a dict for each with ``id`` and
    ``category_id``; those of the annotation may have ``iscrowd`` and ``area``, which is taken where it is told.

    Raises:
        LitepredError: The sizes differ, the annotation has none of its segments in its ids or a segment with less area
            than there, or the prediction has an id or category that is not described.
    """
    if annotated.shape != found.shape:
        raise LitepredError(f"the annotation has {annotated.shape} pixels, but the prediction {found.shape}")
    truth = {segment["id"]: segment for segment in annotated_segments}
    guess = {segment["id"]: segment for segment in found_segments}
    step = int(found.max(initial=0)) + 1
    pairs, areas = np.unique(annotated.astype(np.int64) * step + found, return_counts=True)
    shared = Counter({divmod(pair, step): area for pair, area in zip(pairs.tolist(), areas.tolist())})
    truth_area: Counter[int] = Counter()
    guess_area: Counter[int] = Counter()
    for (one, other), area in shared.items():
        truth_area[one] += area
        guess_area[other] += area
    if truth and not truth.keys() & truth_area.keys():
        raise LitepredError(
            "the annotation's picture has none of the segments that it describes: expected R + 256 G + 65536 B to be "
            "the id of a pixel's segment"
        )
    unknown = [one for one in guess_area if one != _VOID and one not in guess]
    unknown += [one["category_id"] for one in found_segments if one["category_id"] not in counts]
    if unknown:
        raise LitepredError(f"the prediction has the segment or category {unknown[0]}, which is not described")

    met, used = set(), set()
    for (one, other), area in shared.items():
        if one not in truth or other not in guess or truth[one].get("iscrowd"):
            continue
        category = truth[one]["category_id"]
        told = truth[one].get("area", truth_area[one])
        if not told >= area:  # as NaN is neither
            raise LitepredError(
                f"the annotations tell {told} pixels as the area of the segment {one}, which has {truth_area[one]} in "
                "its PNG: were the PNGs made larger later? Correct the areas, or leave them out"
            )
        union = told + guess_area[other] - area - shared[_VOID, other]
        if guess[other]["category_id"] == category and area > union / 2:
            counts[category][:2] += area / union, 1
            met.add(one)
            used.add(other)
    crowds = {segment["category_id"]: one for one, segment in truth.items() if segment.get("iscrowd")}
    for one, segment in truth.items():
        if one not in met and not segment.get("iscrowd"):
            counts[segment["category_id"]][3] += 1
    for other, segment in guess.items():
        ignored = shared[_VOID, other] + shared[crowds.get(segment["category_id"]), other]
        if other in guess_area and other not in used and ignored <= guess_area[other] / 2:
            counts[segment["category_id"]][2] += 1


def panoptic_quality(counts: Mapping[int, np.ndarray], things: Iterable[int]) -> dict[str, float]:
    """Average the qualities of the classes.

    Args:
        counts: for each category (4,): the sum of the matches' IoU, the number of matches, and the numbers of segments
            that were found wrongly and that were missed.
        things: the categories that are things; the others are stuff.

    Returns:
        ``PQ``, ``SQ`` and ``RQ`` over all classes that occur, and the same with ``_th`` over things and ``_st`` over
        stuff. They go from 0 to 100; where no class occurs, they are NaN.
    """
    things = set(things)
    results: dict[str, float] = {}
    for suffix, group in (("", set(counts)), ("_th", things), ("_st", set(counts) - things)):
        means = np.full(3, np.nan)
        occurring = [counts[one] for one in group if np.any(counts[one])]
        if occurring:
            iou, matched, found_wrongly, missed = np.transpose(occurring)
            whole = matched + (found_wrongly + missed) / 2
            means = np.stack([iou / whole, iou / np.maximum(matched, 1), matched / whole], axis=1).mean(axis=0) * 100
        results.update((name + suffix, float(mean)) for name, mean in zip(("PQ", "SQ", "RQ"), means))
    return results


def check_segments(
    annotations: Collection[Mapping[str, Any]],
    known: Collection[Any] | None = None,
    images: Iterable[Mapping[str, Any]] = (),
) -> None:
    """Check the annotations and images of a panoptic file, whose categories have the ids ``known``; ``None`` for any.

    Raises:
        LitepredError: A name is no text, an annotation has no list of segments, a segment has no id or no category that
            is known, or two of one annotation have the same id.
    """
    for kind, records, key, type_ in (
        ("image", images, "file_name", str),
        ("annotation", annotations, "file_name", str),
        ("annotation", annotations, "segments_info", list),
    ):
        for one in records:
            if not isinstance(one[key], type_):
                raise LitepredError(
                    f"the panoptic annotations have an {kind} whose {key} is {one[key]!r:.100}: expected a "
                    f"{'text' if type_ is str else 'list'}"
                )
    for one in annotations:
        who = f"the panoptic annotation of the image {one['image_id']!r}"
        for segment in one["segments_info"]:
            number = segment.get("category_id") if isinstance(segment, dict) else None
            is_known = isinstance(number, (int, str)) and (known is None or number in known)
            if not is_known or not is_number(segment.get("id")) or not is_number(segment.get("area", 0)):
                among = "" if known is None else " that is among the categories"
                raise LitepredError(
                    f"{who} has the segment {segment!r:.100}: expected a dict with an id, a category_id{among}, and a "
                    "number where it has an area"
                )
        check_unique(one["segments_info"], "id", "segments", who)


class PanopticEvaluator:
    """Panoptic quality of a model's ``panoptic_seg``; used like `COCOEvaluator`.

    Args:
        annotations: path of a COCO panoptic JSON file.
        folder: folder of the annotations' PNG files. By default it is beside the JSON file, with the same name but for
            the ending, as COCO has it; where there is none, it is the JSON file's own folder.
        metadata: the data set's metadata. The model's classes are mapped to the file's categories by the ids in it
            (``thing_dataset_id_to_contiguous_id``, ``stuff_dataset_id_to_contiguous_id``), else by their names.

    Attributes:
        images: the records of the images that have an annotation, dicts with ``id`` and ``file_name``, in the file's
            order. A warning tells of others, which do not count.

    Raises:
        LitepredError: The file cannot be read, is no such file, contradicts itself, or has no category of the model's
            classes.
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        folder: str | os.PathLike[str] | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        path = Path(annotations)
        content = read_annotations(path, _PANOPTIC_RECORDS)
        beside = path.with_suffix("")
        self._folder = Path(folder) if folder is not None else beside if beside.is_dir() else path.parent
        for kind, key in (("images", "id"), ("categories", "id"), ("annotations", "image_id")):
            check_unique(content[kind], key, kind, repr(str(path)))
        self._annotations = {one["image_id"]: one for one in content["annotations"]}
        self.images: list[dict[str, Any]] = [one for one in content["images"] if one["id"] in self._annotations]
        self._without = {one["id"] for one in content["images"]} - self._annotations.keys()
        if self._without:
            told = f"{len(self._without)} of {len(content['images'])} images of {str(path)!r} have no annotation"
            if not self.images:
                raise LitepredError(f"{told}: do the image_ids belong to another file?")
            warnings.warn(f"{told}, and do not count", stacklevel=2)
        tell_elsewhere(len(self._annotations) - len(self.images), len(self._annotations), repr(str(path)), stacklevel=3)
        self._categories = content["categories"]
        check_segments(content["annotations"], {one["id"] for one in self._categories}, self.images)
        self._metadata = metadata or Metadata()
        self._of_class = {kind: self._class_map(self._metadata, kind) for kind in ("thing", "stuff")}
        self.reset()

    def _class_map(self, metadata: Metadata, kind: str) -> dict[int, int]:
        ids = {one["id"] for one in self._categories}
        known = dataset_ids(metadata, kind)
        if ids & set(known.values()):
            return known
        is_thing = kind == "thing"
        some = [one for one in self._categories if bool(one.get("isthing", 1)) is is_thing]
        here = {normalize("NFC", str(one["name"])): one["id"] for one in some}
        names = [normalize("NFC", str(name)) for name in metadata.get(f"{kind}_classes") or ()]
        mapped = {label: here[name] for label, name in enumerate(names) if name in here}
        if here and not mapped:
            raise LitepredError(
                f"the panoptic annotations have the {kind} categories {', '.join(list(here)[:8])}, the model "
                f"{', '.join(names[:8]) or 'no names'}: expected the same names, or metadata with "
                f"{kind}_dataset_id_to_contiguous_id"
            )
        return mapped

    def reset(self) -> None:
        """Forget the predictions."""
        self._counts = {one["id"]: np.zeros(4) for one in self._categories}
        self._seen: set[int | str] = set()

    def process(self, inputs: Iterable[Mapping[str, Any]], outputs: Iterable[Mapping[str, Any]]) -> None:
        """Count what a model found: for each image a dict with ``image_id``, and one with ``panoptic_seg``.

        Raises:
            LitepredError: An output has no ``panoptic_seg``, or an annotation cannot be read or does not fit.
        """
        for one, output in zip(inputs, outputs):
            if "panoptic_seg" not in output:
                raise LitepredError(f"panoptic quality needs 'panoptic_seg', but this model finds {', '.join(output)}")
            image_id = plain_id(one["image_id"])
            if image_id in self._without:
                continue
            if image_id not in self._annotations:
                raise LitepredError(f"the panoptic annotations have no image {image_id!r}")
            annotation = self._annotations[image_id]
            ids, described = self.segments(*output["panoptic_seg"])
            path = as_stored(str(self._folder / annotation["file_name"]))
            try:
                with open_image(path) as image:
                    truth = rgb_to_id(np.asarray(image.convert("RGB")))
            except OSError as error:
                raise LitepredError(f"the panoptic annotation {path!r} cannot be read: {error}") from error
            compare_segments(truth, annotation["segments_info"], ids, described, self._counts)
            self._seen.add(image_id)

    def segments(
        self, panoptic_seg: Tensor, segments_info: Sequence[Mapping[str, Any]] | None
    ) -> tuple[np.ndarray, list[dict[str, int]]]:
        """Return a model's ``panoptic_seg`` as `compare_segments` takes it: ids, 0 being void, and facts of segments.

        Args:
            panoptic_seg: (H, W), the segment of each pixel.
            segments_info: dicts with ``id`` and ``category_id``, the class where there is ``isthing``, else the file's
                category. Without it, a pixel is class · ``metadata.label_divisor`` + instance, or -1 where it is void.

        Raises:
            LitepredError: A class is not among the file's categories, or the metadata have no ``label_divisor``.
        """
        ids, shift = panoptic_seg.cpu().numpy(), int(segments_info is None)  # whose void is -1
        found = segments_of(ids, segments_info, self._metadata)
        return ids + shift, [{"id": one["id"] + shift, "category_id": self._category(one)} for one in found]

    def _category(self, segment: Mapping[str, Any]) -> int:
        is_thing, label = segment.get("isthing"), segment["category_id"]
        if is_thing is None:
            return int(label)
        kind = "thing" if is_thing else "stuff"
        if label not in self._of_class[kind]:
            raise LitepredError(f"the model found {kind} of class {label}, which the panoptic annotations do not have")
        return self._of_class[kind][label]

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return ``{"panoptic_seg": …}`` with the metrics of `panoptic_quality`, or ``{}`` before any image.

        Images that were not predicted on do not count. (COCO's own program refuses to go on without them.)
        """
        things = [one["id"] for one in self._categories if one.get("isthing", 1)]
        return {"panoptic_seg": panoptic_quality(self._counts, things)} if self._seen else {}
