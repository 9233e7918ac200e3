"""Turn instances into plain Python: lists, dicts, numbers and text, which any JSON writer takes.

N instances of one image, K keypoints of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import Metadata, class_name, dataset_ids
from ..structures import Instances
from ..structures.mask_formats import instance_mask, mask_to_polygons, mask_to_rle

__all__ = ["MASKS", "instances_to_coco_json", "to_dicts"]

MASKS = ("rle", "polygon", "none")


def instances_to_coco_json(
    instances: Instances, img_id: int | str, *, masks: str = "rle", metadata: Metadata | None = None
) -> list[dict[str, Any]]:
    """Return instances as the entries of COCO's results format, which pycocotools' ``loadRes`` takes.

    Args:
        instances: with ``pred_boxes``, ``scores`` and ``pred_classes``, and perhaps ``pred_masks`` in any format and
            ``pred_keypoints`` (N, K, 3). They are not changed.
        img_id: the image's id, for every entry.
        masks: "rle" (needs pycocotools); "polygon" for outlines, which cannot show holes and which ``loadRes`` does
            not take; or "none".
        metadata: with ``thing_dataset_id_to_contiguous_id``, categories get the data set's own ids; otherwise, as in
            Detectron2's function of this name, they are the model's, from 0.

    Returns:
        A dict per instance: ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in pixels), ``score``,
        ``segmentation`` (``{"size", "counts"}`` with ``counts`` as text, or a list of x0 y0 x1 y1 …), and
        ``keypoints`` (x0 y0 score0 x1 …, 0 being the centre of the first pixel, as COCO counts).

    Raises:
        LitepredError: run lengths are wanted and pycocotools is missing.
        ValueError: for other ``masks``, or a class that the metadata have no id for.
    """
    _check_masks(masks)
    if not len(instances):
        return []
    instances = instances.to("cpu")
    boxes = instances.pred_boxes.tensor.detach().clone()
    boxes[:, 2:] -= boxes[:, :2]
    classes = _category_ids(instances.pred_classes.tolist(), metadata)
    results: list[dict[str, Any]] = [
        {"image_id": img_id, "category_id": label, "bbox": box, "score": score}
        for label, box, score in zip(classes, boxes.tolist(), instances.scores.tolist())
    ]
    if instances.has("pred_masks") and masks != "none":
        write = _rle if masks == "rle" else _polygons
        for i, result in enumerate(results):
            result["segmentation"] = write(instances, i)
    if instances.has("pred_keypoints"):
        keypoints = instances.pred_keypoints.detach().clone()
        keypoints[:, :, :2] -= 0.5
        for result, points in zip(results, keypoints.flatten(1).tolist()):
            result["keypoints"] = points
    return results


def to_dicts(instances: Instances, metadata: Metadata | None = None, masks: str = "polygon") -> list[dict[str, Any]]:
    """Return a plain dict for each instance or proposal.

    Args:
        instances: what a model returned; the dicts have what its fields tell.
        metadata: gives the classes their names.
        masks: "polygon", "rle" (needs pycocotools) or "none".

    Returns:
        Per instance ``category_id`` (the model's, from 0), ``category``, ``score``, ``box`` (x1, y1, x2, y2 in pixels),
        ``mask`` (a list of outlines x0 y0 x1 y1 …, or run lengths), ``keypoints`` (K lists x, y, score); of proposals
        ``box`` and ``objectness_logit``.

    Raises:
        LitepredError: run lengths are wanted and pycocotools is missing.
        ValueError: for other ``masks``.
    """
    _check_masks(masks)
    metadata = metadata or Metadata()
    instances = instances.to("cpu")
    count = len(instances) if instances.get_fields() else 0
    rows: list[dict[str, Any]] = [{} for _ in range(count)]

    def add(key: str, values: list[Any]) -> None:
        for row, value in zip(rows, values):
            row[key] = value

    if instances.has("pred_classes"):
        labels = instances.pred_classes.tolist()
        add("category_id", labels)
        add("category", [class_name(metadata, label) for label in labels])
    for field, key in (("scores", "score"), ("objectness_logits", "objectness_logit")):
        if instances.has(field):
            add(key, instances.get(field).tolist())
    for field in ("pred_boxes", "proposal_boxes"):
        if instances.has(field):
            add("box", instances.get(field).tensor.tolist())
    if instances.has("pred_masks") and masks != "none":
        write = _rle if masks == "rle" else _polygons
        add("mask", [write(instances, i) for i in range(count)])
    if instances.has("pred_keypoints"):
        add("keypoints", instances.pred_keypoints.tolist())
    return rows


def _check_masks(masks: str) -> None:
    if masks not in MASKS:
        raise ValueError(f"masks is {masks!r}: expected one of {', '.join(MASKS)}")


def _category_ids(labels: list[int], metadata: Metadata | None) -> list[int]:
    ids = dataset_ids(metadata)
    unknown = [label for label in labels if label not in ids]
    if ids and unknown:
        raise ValueError(
            f"an instance has the class {min(unknown)}, but thing_dataset_id_to_contiguous_id of the metadata leads to "
            f"{len(ids)} classes: pass the metadata of the data set that the model was trained on, or none"
        )
    return [ids.get(label, label) for label in labels]


def _rle(instances: Instances, index: int) -> dict[str, Any]:
    mask = instances.pred_masks[index] if isinstance(instances.pred_masks, list) else None
    if isinstance(mask, dict) and isinstance(mask["counts"], (str, bytes)):  # compressed already
        counts = mask["counts"]
        return {"size": list(mask["size"]), "counts": counts if isinstance(counts, str) else counts.decode("ascii")}
    return mask_to_rle(instance_mask(instances, index))


def _polygons(instances: Instances, index: int) -> list[list[float]]:
    mask = instances.pred_masks[index] if isinstance(instances.pred_masks, list) else None
    if isinstance(mask, list):
        return [np.asarray(polygon).tolist() for polygon in mask]
    return mask_to_polygons(instance_mask(instances, index))
