"""Panoptic quality, on segments small enough to count by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from golden_answers import ASSETS
from PIL import Image

from litepred.data import Metadata, MetadataCatalog
from litepred.errors import LitepredError
from litepred.evaluation import PanopticEvaluator, panoptic_quality
from litepred.evaluation.panoptic import ClassCounts, compare_segments
from litepred.results import rgb_to_id

ANNOTATED = ASSETS / "annotated"


def row(text: str) -> np.ndarray:
    """One line of pixels: a digit is the segment's id, a dot is void."""
    return np.array([[0 if letter == "." else int(letter) for letter in text]])


def segments(*pairs, crowd: tuple = ()) -> list[dict]:
    return [{"id": one, "category_id": category, "iscrowd": int(one in crowd)} for one, category in pairs]


@pytest.mark.parametrize(
    ("annotated", "truth", "found", "guess", "expected"),
    [
        ("....", [], "....", [], {}),
        ("1111", segments((1, 7)), "1111", segments((1, 7)), {7: (1.0, 1, 0, 0)}),
        ("1111", segments((1, 7)), "....", [], {7: (0, 0, 0, 1)}),
        ("....2222", segments((2, 7)), "11111111", segments((1, 7)), {7: (1.0, 1, 0, 0)}),  # void is no union
        ("1111", segments((1, 7)), "2222", segments((2, 8)), {7: (0, 0, 0, 1), 8: (0, 0, 1, 0)}),
        ("1111", segments((1, 7)), "2233", segments((2, 7), (3, 7)), {7: (0, 0, 2, 1)}),  # IoU 1/2 is not enough
        ("1111", segments((1, 7)), "2223", segments((2, 7), (3, 7)), {7: (0.75, 1, 1, 0)}),
        ("...1", segments((1, 8)), "2222", segments((2, 7)), {8: (0, 0, 0, 1)}),  # mostly in void
        ("..11", segments((1, 8)), "2222", segments((2, 7)), {7: (0, 0, 1, 0), 8: (0, 0, 0, 1)}),  # half is not more
        ("1111", segments((1, 7), crowd=(1,)), "2233", segments((2, 7), (3, 8)), {8: (0, 0, 1, 0)}),
        ("1122", segments((1, 7), (2, 8), crowd=(1,)), "3333", segments((3, 8)), {8: (0, 0, 1, 1)}),
    ],
)  # fmt: skip
def test_counts(annotated, truth, found, guess, expected):
    counts = {7: ClassCounts(), 8: ClassCounts()}
    compare_segments(row(annotated), truth, row(found), guess, counts)
    came = {key: (one.iou, one.matched, one.found_wrongly, one.missed) for key, one in counts.items()}
    assert {key: value for key, value in came.items() if any(value)} == expected


def test_quality():
    counts = {1: ClassCounts(1.5, 2, 1, 1), 2: ClassCounts(0.0, 0, 1, 0), 3: ClassCounts()}
    figures = panoptic_quality(counts, things=[1])
    assert {key: figures[key + "_th"] for key in ("PQ", "SQ", "RQ")} == pytest.approx(
        {"PQ": 50, "SQ": 75, "RQ": 200 / 3}
    )
    assert (figures["PQ_st"], figures["SQ_st"], figures["RQ_st"]) == (0, 0, 0)
    assert figures["PQ"] == pytest.approx(25)  # class 3 does not occur
    assert all(math.isnan(value) for value in panoptic_quality({}, []).values())


@pytest.mark.parametrize(
    ("found", "guess", "message"),
    [
        (np.zeros((2, 2), int), [], r"has \(1, 4\) pixels, but the prediction \(2, 2\)"),
        (row("5555"), [], "has the segment or category 5"),
        (row("5555"), segments((5, 9)), "has the segment or category 9"),
    ],
)
def test_predictions_that_cannot_be_compared(found, guess, message):
    with pytest.raises(LitepredError, match=message):
        compare_segments(row("1111"), segments((1, 7)), found, guess, {7: ClassCounts()})


def perfect(image_id: int) -> dict:
    content = json.loads((ANNOTATED / "panoptic.json").read_text())
    entry = next(one for one in content["annotations"] if one["image_id"] == image_id)
    with Image.open(ANNOTATED / "panoptic" / entry["file_name"]) as picture:
        ids = torch.from_numpy(rgb_to_id(np.asarray(picture)))
    classes = {**{i + 1: (True, i) for i in range(5)}, 7: (False, 1)}  # page is the second stuff class
    described = [
        {"id": one["id"], "isthing": is_thing, "category_id": label}
        for one in entry["segments_info"]
        for is_thing, label in [classes[one["category_id"]]]
    ]
    return {"panoptic_seg": (ids, described)}


def test_perfect_answers():
    evaluator = PanopticEvaluator(ANNOTATED / "panoptic.json", metadata=MetadataCatalog.get("page_layout_val"))
    assert evaluator.evaluate() == {}
    for image in evaluator.images:
        evaluator.process([{"image_id": image["id"]}], [perfect(image["id"])])
    assert set(evaluator.evaluate()["panoptic_seg"].values()) == {100.0}
    assert len(evaluator.evaluate()["panoptic_seg"]) == 9


def test_classes_by_the_data_sets_ids():
    ids = {
        "thing_dataset_id_to_contiguous_id": {i + 1: i for i in range(5)},
        "stuff_dataset_id_to_contiguous_id": {7: 1},
    }
    evaluator = PanopticEvaluator(ANNOTATED / "panoptic.json", ANNOTATED / "panoptic", Metadata(**ids))
    evaluator.process([{"image_id": 1}], [perfect(1)])
    assert evaluator.evaluate()["panoptic_seg"]["PQ"] == 100


def test_what_does_not_fit(tmp_path):
    with pytest.raises(LitepredError, match="the model no names"):
        PanopticEvaluator(ANNOTATED / "panoptic.json")
    with pytest.raises(LitepredError, match="the model cat: expected the same names"):
        PanopticEvaluator(ANNOTATED / "panoptic.json", metadata=Metadata(thing_classes=["cat"]))
    names = MetadataCatalog.get("page_layout_val")
    evaluator = PanopticEvaluator(ANNOTATED / "panoptic.json", tmp_path, names)
    with pytest.raises(LitepredError, match=r"annotation .*page1.png' cannot be read"):
        evaluator.process([{"image_id": 1}], [perfect(1)])
    with pytest.raises(LitepredError, match="have no image 99"):
        evaluator.process([{"image_id": 99}], [perfect(1)])
    with pytest.raises(LitepredError, match="this model finds instances"):
        evaluator.process([{"image_id": 1}], [{"instances": None}])
    outputs = perfect(1)
    outputs["panoptic_seg"][1][0].update(isthing=False, category_id=0)
    with pytest.raises(LitepredError, match="found stuff of class 0, which the panoptic annotations do not have"):
        evaluator.process([{"image_id": 1}], [outputs])
