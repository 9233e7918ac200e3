"""Instances in the types of other packages, as pictures of their own, and fewer of them.

N instances of one image of H × W pixels, with masks in any format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from ..data import ImageLike, Metadata, class_name, image_to_array
from ..errors import ImageError, LitepredError, package, whole_number
from ..selection import Selection
from ..structures import Boxes, BoxMode, Instances, Outputs, SegmentInfo, instance_mask
from ..structures.boxes import as_numpy
from .instances import columns_of, found_in, named

__all__ = ["crops", "filter", "to_dataframe", "to_supervision"]

Found = TypeVar("Found", Instances, Outputs)

_TYPES = {"category_id": np.int64, "score": np.float64, "objectness_logit": np.float64}  # of columns


def filter(
    instances: Found,
    score: float | Mapping[str | int, float] | None = None,
    classes: Iterable[str | int] | None = None,
    metadata: Metadata | None = None,
) -> Found:
    """Keep the instances above a score and of some classes; a whole answer is returned as a copy that has these alone.

    In the copy the panoptic segments of the others are gone, too: their pixels are 0, of no segment.

    Args:
        instances: what a predictor returned, or the instances in it.
        score: what their scores must exceed, or that for each class; classes that are left out have no limit.
        classes: names or numbers of the classes that count.
        metadata: gives the names, where the instances do not know them.

    Raises:
        ConfigError: a score is not from 0 to 1, or there is no such class.
        LitepredError: the answer has no instances.
    """
    found = found_in(instances, "instances")
    selection = Selection.of(named(found, metadata), score, classes)
    if selection is None:
        return cast(Found, {**instances, "instances": found} if isinstance(instances, Mapping) else found)
    numbered = Instances(found.image_size, scores=found.scores, pred_classes=found.pred_classes)
    numbered.row = torch.arange(len(found), device=found.scores.device)
    rows = selection.apply(numbered).row
    if not isinstance(instances, Mapping):
        return found[rows]
    answer: Any = {**instances, "instances": found[rows]}
    if "panoptic_seg" in answer and answer["panoptic_seg"][1] is not None:
        answer["panoptic_seg"] = _segments_of(answer["panoptic_seg"], rows.tolist())
    return cast(Found, answer)


def _segments_of(panoptic: tuple[Tensor, list[SegmentInfo]], rows: list[int]) -> tuple[Tensor, list[SegmentInfo]]:
    """Return segments without the things of other instances than ``rows``, whose pixels belong to none then."""
    ids, segments = panoptic
    kept: list[Any] = []
    numbers = {row: i for i, row in enumerate(rows)}
    for segment in segments:
        number = segment.get("instance_id")
        if number is None or number in numbers:
            kept.append(segment if number is None else {**segment, "instance_id": numbers[number]})
    gone = {one["id"] for one in segments} - {one["id"] for one in kept}
    if gone:
        ids = ids.masked_fill(torch.isin(ids, torch.tensor(sorted(gone), device=ids.device)), 0)
    return ids, kept


def crops(
    image: ImageLike, instances: Instances | Outputs, *, padding: int = 0, masked: bool = False
) -> list[np.ndarray]:
    """Cut the instances out of their image.

    Args:
        image: as `Predictor` takes it.
        instances: what was found in it, with boxes, of which rotated ones count with the upright boxes around them.
        padding: pixels around each box, as far as the image has them.
        masked: whether each crop gets its mask as a fourth channel, 255 in the mask and 0 elsewhere.

    Returns:
        For each instance (h, w, 3) uint8, BGR, or (h, w, 4), BGRA; an empty array for an empty box. An array of 2, 5
        or more bands keeps them, and a mask comes behind them.

    Raises:
        ConfigError: ``padding`` is no whole number.
        ImageError: ``image`` is no image, or of another size.
        LitepredError: masks are wanted, and the instances have none.
    """
    found: Instances = found_in(instances, "instances").to("cpu")
    bands = 3  # into which gray is repeated, and of which alpha is none
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[:2] == found.image_size:
        bands = 3 if image.shape[2] in (1, 4) else image.shape[2]
    array = image_to_array(image, bands)
    if array.shape[:2] != found.image_size:
        raise ImageError(f"an image of {array.shape[:2]} pixels came with instances of {found.image_size}: same sizes")
    if masked and not found.has("pred_masks"):
        raise LitepredError("masked=True came, but the instances have no pred_masks: leave it out")
    cut = []
    corners, padding = upright(found), whole_number("padding", padding, least=None)
    low = (corners[:, :2].floor().long() - padding).clamp(min=0)
    high = corners[:, 2:].ceil().long() + padding
    for i, (x0, y0, x1, y1) in enumerate(torch.cat([low, high], dim=1).tolist()):
        pixels = array[y0 : max(y0, y1), x0 : max(x0, x1)]
        if masked:
            mask = instance_mask(found, i).numpy()[y0 : max(y0, y1), x0 : max(x0, x1)]
            pixels = np.dstack([pixels, mask.astype(np.uint8) * 255])
        cut.append(np.ascontiguousarray(pixels))
    return cut


def upright(instances: Instances) -> torch.Tensor:
    """Return corners (N, 4) of the boxes, of rotated ones those of the upright boxes around them."""
    boxes = instances.pred_boxes.tensor
    if boxes.shape[1] == 4:
        return boxes
    corners = BoxMode.convert(boxes, BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)
    return Boxes(corners).clipped(instances.image_size).tensor


def to_supervision(instances: Instances | Outputs, metadata: Metadata | None = None) -> Any:
    """Return instances as supervision's ``Detections``, with the names of their classes in ``data["class_name"]``.

    Masks become (N, H, W) bool; ``track_ids`` become ``tracker_id``, and rotated boxes ``data["xyxyxyxy"]`` as well.

    Raises:
        LitepredError: the package supervision is missing (the extra ``supervision``), or there are no instances.
    """
    supervision = package("supervision", "to_supervision()", "'litepred[supervision]'")
    found: Instances = found_in(instances, "instances").to("cpu")
    known = named(found, metadata)
    masks = None
    if found.has("pred_masks"):
        masks = np.zeros((len(found), *found.image_size), bool)
        for i in range(len(found)):
            masks[i] = instance_mask(found, i).numpy()
    data: dict[str, Any] = {"class_name": np.array([class_name(known, i) for i in found.pred_classes.tolist()], str)}
    boxes = found.pred_boxes.tensor
    if boxes.shape[1] == 5:
        data[supervision.config.ORIENTED_BOX_COORDINATES] = as_numpy(rotated_corners(boxes))
    return supervision.Detections(
        xyxy=as_numpy(upright(found)),
        mask=masks,
        confidence=as_numpy(found.scores),
        class_id=found.pred_classes.numpy(),
        tracker_id=found.track_ids.numpy() if found.has("track_ids") else None,
        data=data,
    )


def rotated_corners(boxes: torch.Tensor) -> torch.Tensor:
    """Return the corners (N, 4, 2) of rotated boxes (N, 5): centre, width, height, degrees counter-clockwise."""
    angle = torch.deg2rad(boxes[:, 4])[:, None]
    x = boxes[:, 2:3] * boxes.new_tensor([-0.5, 0.5, 0.5, -0.5])
    y = boxes[:, 3:4] * boxes.new_tensor([-0.5, -0.5, 0.5, 0.5])
    turned = torch.stack([x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()], dim=2)
    return turned + boxes[:, None, :2]


def to_dataframe(instances: Instances | Outputs, metadata: Metadata | None = None, mask_format: str = "none") -> Any:
    """Return a pandas ``DataFrame`` with a row per instance or proposal.

    Its columns are those of `to_dicts`, also where nothing was found, but the box is ``x1``, ``y1``, ``x2`` and ``y2``,
    or ``x``, ``y``, ``width``, ``height`` and ``angle`` of rotated ones. Masks are left out, unless ``mask_format`` is
    "polygon" or "rle".

    Raises:
        LitepredError: pandas is missing.
        ValueError: for another ``mask_format``.
    """
    pandas = package("pandas", "to_dataframe()", "pandas")
    found: Instances = found_in(instances, "instances", "proposals").to("cpu")
    columns: dict[str, Any] = {}
    for key, values in columns_of(found, metadata, mask_format).items():
        if key == "box":
            boxes = as_numpy(found.pred_boxes if found.has("pred_boxes") else found.proposal_boxes)
            titles = ("x1", "y1", "x2", "y2") if boxes.shape[1] == 4 else ("x", "y", "width", "height", "angle")
            columns.update(zip(titles, boxes.T))
        else:
            columns[key] = np.array(values, _TYPES[key]) if key in _TYPES else values
    return pandas.DataFrame(columns)
