"""Panoptic and label pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from litepred.data import Metadata
from litepred.results import (
    id_to_rgb,
    panoptic_annotation,
    panoptic_categories,
    rgb_to_id,
    write_labels,
    write_panoptic,
)


@pytest.mark.parametrize("ids", [np.zeros((0, 0), np.int64), [[0, 1, 255, 256]], [[65535, 65536, (1 << 24) - 1]]])
def test_ids_and_colours(ids):
    ids = np.array(ids)
    assert np.array_equal(rgb_to_id(id_to_rgb(ids)), ids)


def test_colours_are_cocos():
    assert id_to_rgb(np.array([[1 + 2 * 256 + 3 * 65536]])).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("wrong", [-1, 1 << 24])
def test_ids_that_no_colour_holds(wrong):
    with pytest.raises(ValueError, match="a colour holds 0 to"):
        id_to_rgb(np.array([[wrong]]))


def test_the_panoptic_png(tmp_path):
    ids = torch.arange(300, dtype=torch.int32).reshape(3, 100)
    write_panoptic(tmp_path / "a.png", ids)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "RGB"
        assert np.array_equal(rgb_to_id(np.asarray(picture)), ids.numpy())


def test_segments():
    ids = torch.zeros(4, 6, dtype=torch.int32)
    ids[1:3, 2:5], ids[3] = 1, 2
    segments = [
        {"id": 1, "isthing": True, "category_id": 1, "score": 0.5, "instance_id": 0},
        {"id": 2, "isthing": False, "category_id": 1, "area": 6},
    ]
    names = Metadata(thing_classes=["cat", "dog"], stuff_classes=["things", "sky"])
    entry = panoptic_annotation((ids, segments), 5, "a.png", names)
    thing = {"id": 1, "category_id": 1, "isthing": True, "area": 6, "bbox": [2, 1, 3, 2], "iscrowd": 0, "score": 0.5}
    stuff = {"id": 2, "category_id": 3, "isthing": False, "area": 6, "bbox": [0, 3, 6, 1], "iscrowd": 0}
    assert entry == {"image_id": 5, "file_name": "a.png", "segments_info": [thing, stuff]}
    assert [(one["id"], one["name"], one["isthing"]) for one in panoptic_categories(names)] == [
        (0, "cat", 1),
        (1, "dog", 1),
        (2, "things", 0),
        (3, "sky", 0),
    ]
    known = Metadata(thing_dataset_id_to_contiguous_id={17: 0, 18: 1}, stuff_dataset_id_to_contiguous_id={90: 1, 0: 0})
    assert [one["category_id"] for one in panoptic_annotation((ids, segments), 5, "", known)["segments_info"]] == [
        18,
        90,
    ]
    unnamed = panoptic_annotation((ids, segments), 5, "")["segments_info"]
    assert [one["category_id"] for one in unnamed] == [1, 1001]
    assert panoptic_annotation((ids, []), 5, "a.png")["segments_info"] == []


@pytest.mark.parametrize(
    ("sem_seg", "mode", "values"),
    [
        (torch.eye(3)[:, :, None], "L", [[0], [1], [2]]),
        (torch.zeros(300, 1, 2), "L", [[0, 0]]),
        (np.array([[0, 255]]), "L", [[0, 255]]),
        (np.array([[0, 256], [65535, 1]]), "I;16", [[0, 256], [65535, 1]]),
    ],
)
def test_labels(sem_seg, mode, values, tmp_path):
    write_labels(tmp_path / "a.png", sem_seg)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode.replace("I;16", "I") == mode.replace("I;16", "I")  # Pillow before 10.3 reads it as I
        assert np.asarray(picture).tolist() == values
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("wrong", [np.array([[70000]]), np.array([[-1]]), np.zeros((2, 2)), np.zeros(3, int)])
def test_what_is_no_labels(wrong, tmp_path):
    with pytest.raises(ValueError, match=r"expected logits|a PNG holds"):
        write_labels(tmp_path / "a.png", wrong)
    assert list(tmp_path.iterdir()) == []
