"""Instances as plain Python and as COCO's entries."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from litepred.data import Metadata
from litepred.results import instances_to_coco_json, to_dicts
from litepred.structures import Boxes, Instances, ROIMasks, mask_to_polygons, mask_to_rle, rle_to_mask

coco_mask = pytest.importorskip("pycocotools.mask")
SIZE = (20, 30)


def square(x0: int, y0: int, x1: int, y1: int) -> torch.Tensor:
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


BITMASKS = torch.stack([square(2, 3, 10, 12), square(0, 0, 30, 20)])
MASK_FORMATS = {
    "bitmask": lambda: BITMASKS,
    "uint8": lambda: BITMASKS.to(torch.uint8),
    "rle": lambda: [mask_to_rle(mask) for mask in BITMASKS],
    "rle of bytes": lambda: [coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in BITMASKS],
    "rle, uncompressed": lambda: [{"size": list(SIZE), "counts": runs(mask)} for mask in BITMASKS],
    "polygon": lambda: [mask_to_polygons(mask) for mask in BITMASKS],
    "roi": lambda: ROIMasks(torch.ones(2, 28, 28)),
}


def runs(mask: torch.Tensor) -> list[int]:
    values = mask.numpy().ravel(order="F").astype(int)
    ends = np.flatnonzero(np.diff(values, prepend=0))
    return np.diff(ends, prepend=0, append=values.size).tolist()


def detections(count: int = 2, **fields) -> Instances:
    instances = Instances(SIZE)
    instances.pred_boxes = Boxes(torch.tensor([[2.0, 3.0, 10.0, 12.0], [0.0, 0.0, 30.0, 20.0]])[:count])
    instances.scores = torch.tensor([0.75, 0.5])[:count]
    instances.pred_classes = torch.tensor([1, 0])[:count]
    for name, value in fields.items():
        instances.set(name, value[:count])
    return instances


@pytest.mark.parametrize("fields", [{}, {"pred_masks": BITMASKS, "pred_keypoints": torch.ones(2, 4, 3)}])
def test_nothing_found(fields):
    assert instances_to_coco_json(detections(0, **fields), 1) == []
    assert to_dicts(detections(0, **fields)) == []
    assert to_dicts(Instances(SIZE)) == []


def test_boxes():
    assert instances_to_coco_json(detections(), 7) == [
        {"image_id": 7, "category_id": 1, "bbox": [2.0, 3.0, 8.0, 9.0], "score": 0.75},
        {"image_id": 7, "category_id": 0, "bbox": [0.0, 0.0, 30.0, 20.0], "score": 0.5},
    ]


@pytest.mark.parametrize("kind", MASK_FORMATS)
def test_masks_of_any_format(kind):
    results = instances_to_coco_json(detections(pred_masks=MASK_FORMATS[kind]()), "a")
    for result, mask in zip(results, BITMASKS):
        theirs = coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
        assert result["segmentation"] == {"size": [20, 30], "counts": theirs["counts"].decode()}
    json.dumps(results)
    outlines = instances_to_coco_json(detections(pred_masks=MASK_FORMATS[kind]()), "a", masks="polygon")
    assert [one["segmentation"] for one in outlines] == [mask_to_polygons(mask) for mask in BITMASKS]
    json.dumps(outlines)
    assert "segmentation" not in instances_to_coco_json(detections(pred_masks=BITMASKS), "a", masks="none")[0]


def test_keypoints_count_from_the_first_pixels_centre():
    instances = detections(pred_keypoints=torch.arange(12.0).reshape(2, 2, 3))
    before = copy.deepcopy(instances.pred_keypoints)
    first, second = instances_to_coco_json(instances, 1)
    assert first["keypoints"] == [-0.5, 0.5, 2.0, 2.5, 3.5, 5.0]
    assert second["keypoints"] == [5.5, 6.5, 8.0, 8.5, 9.5, 11.0]
    assert torch.equal(instances.pred_keypoints, before)


def test_categories_get_the_data_sets_ids():
    metadata = Metadata(thing_dataset_id_to_contiguous_id={90: 0, 1: 1})
    assert [one["category_id"] for one in instances_to_coco_json(detections(), 1, metadata=metadata)] == [1, 90]
    assert [one["category_id"] for one in instances_to_coco_json(detections(), 1, metadata=Metadata())] == [1, 0]
    with pytest.raises(ValueError, match=r"class 1, but .* leads to 1 classes"):
        instances_to_coco_json(detections(), 1, metadata=Metadata(thing_dataset_id_to_contiguous_id={3: 0}))


@pytest.mark.parametrize(
    "write", [lambda i: instances_to_coco_json(i, 1, masks="png"), lambda i: to_dicts(i, masks="")]
)
def test_an_unknown_way_to_write_masks(write):
    with pytest.raises(ValueError, match="expected one of rle, polygon, none"):
        write(detections())


def test_plain_dicts():
    instances = detections(pred_masks=BITMASKS, pred_keypoints=torch.ones(2, 1, 3))
    first, _ = to_dicts(instances, Metadata(thing_classes=["cat", "dog"]), masks="rle")
    assert {**first, "mask": rle_to_mask(first["mask"]).sum()} == {
        "category_id": 1,
        "category": "dog",
        "score": 0.75,
        "box": [2.0, 3.0, 10.0, 12.0],
        "mask": 72,
        "keypoints": [[1.0, 1.0, 1.0]],
    }
    assert to_dicts(instances)[0]["category"] == "class_1"
    assert to_dicts(instances)[0]["mask"] == mask_to_polygons(BITMASKS[0])


def test_proposals():
    proposals = Instances(SIZE, proposal_boxes=Boxes(torch.ones(1, 4)), objectness_logits=torch.tensor([2.0]))
    assert to_dicts(proposals) == [{"box": [1.0, 1.0, 1.0, 1.0], "objectness_logit": 2.0}]
