"""Files of lists: valid when empty, whole or absent."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from litepred.data import Metadata
from litepred.results import CSV_COLUMNS, csv_table, json_list, write_coco, write_csv, write_json
from litepred.structures import Boxes, Instances


def detections(count: int) -> Instances:
    boxes, labels = Boxes(torch.ones(count, 4)), torch.zeros(count, dtype=torch.int64)
    return Instances((9, 9), pred_boxes=boxes, scores=torch.ones(count), pred_classes=labels)


@pytest.mark.parametrize("counts", [[], [0], [2], [0, 2, 1]])
def test_coco_and_csv(counts, tmp_path):
    write_coco(tmp_path / "a.json", ((i, detections(count)) for i, count in enumerate(counts)))
    entries = json.loads((tmp_path / "a.json").read_text())
    assert [entry["image_id"] for entry in entries] == [i for i, count in enumerate(counts) for _ in range(count)]
    names = Metadata(thing_classes=["gräser, hoch"])
    write_csv(tmp_path / "a.csv", ((f"{i}.png", detections(count)) for i, count in enumerate(counts)), names)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
        assert len(rows) == sum(counts)
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()[0] == ",".join(CSV_COLUMNS)
    for row in rows[:1]:
        values = {"score": "1.0", "x1": "1.0", "y1": "1.0", "x2": "1.0", "y2": "1.0"}
        assert row == {"file": row["file"], "frame": "", "category_id": "0", "category": "gräser, hoch", **values}


def test_a_file_name_that_is_no_text(tmp_path):
    """As os.listdir gives it on Linux."""
    write_csv(tmp_path / "a.csv", [("bad\udcff.png", detections(1))])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()[1].startswith(r"bad\udcff.png,")


@pytest.mark.parametrize("entries", [[], [1], [{"a": "ü"}, None]])
def test_a_list_inside_an_object(entries, tmp_path):
    rest: dict = {"b": []}
    with json_list(tmp_path / "a.json", "list", rest) as extend:
        extend(entries)
        rest["b"].append(3)
    assert json.loads((tmp_path / "a.json").read_text()) == {"list": entries, "b": [3]}


@pytest.mark.parametrize("open_file", [json_list, csv_table])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_run_that_breaks_off_leaves_what_was_there(open_file, error, tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(error), open_file(tmp_path / "a"):
        raise error
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_plain_json(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1.5]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1.5]}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
