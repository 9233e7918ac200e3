"""What is found in videos gets numbers that last."""

from __future__ import annotations

import csv
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from litepred import LitepredError, Predictor
from litepred.cli import main
from litepred.data import video_file
from litepred.results import TRACKED_COLUMNS, csv_rows, to_dicts, write_csv
from litepred.structures import Boxes, Instances
from litepred.tracking import Tracker
from litepred.visualizer import VideoVisualizer

SIZE = (60, 80)


def seen(*corners, score=0.9):
    boxes = torch.tensor([[x, y, x + 10.0, y + 10] for x, y in corners]).reshape(-1, 4)
    number = len(corners)
    one = Instances(SIZE, pred_boxes=Boxes(boxes), scores=torch.full((number,), score))
    one.pred_classes = torch.zeros(number, dtype=torch.int64)
    return {"instances": one, "other": 3}


class Numbering:
    """A tracker that leaves out the second of what it gets, and returns the rest in another order."""

    def update(self, detections):
        kept = detections[[i for i in range(len(detections)) if i != 1][::-1]]
        kept.tracker_id = np.arange(len(kept)) + 5
        return kept


def test_rows_of_the_tracker_find_their_instances():
    pytest.importorskip("supervision")
    track = Tracker(Numbering())
    assert track(seen())["instances"].track_ids.tolist() == []
    before = seen((0, 0), (20, 0), (40, 0))
    after = track(before)
    assert after["instances"].track_ids.tolist() == [6, -1, 5] and after["other"] == 3
    assert not before["instances"].has("track_ids")


def test_bytetrack():
    pytest.importorskip("trackers")
    track = Tracker(fps=10)
    frames = [seen(), *(seen((x, 5), (60 - x, 40)) for x in range(0, 30, 3)), seen()]
    ids = [track(one, index / 10)["instances"].track_ids.tolist() for index, one in enumerate(frames)]
    assert ids[0] == ids[-1] == []
    assert {len(one) for one in ids[1:-1]} == {2}
    first, second = ids[5]
    assert first != second and min(ids[5]) >= 0
    assert all(one == [first, second] for one in ids[5:-1])


@pytest.mark.parametrize(
    ("tracker", "outputs", "message"),
    [
        (SimpleNamespace(), {}, "expected True, or a tracker that has a method update"),
        (Numbering(), {"sem_seg": 1}, "this model finds sem_seg and no instances"),
    ],
)
def test_what_is_refused(tracker, outputs, message):
    with pytest.raises(LitepredError, match=message):
        Tracker(tracker)(outputs)


@pytest.fixture
def clip(tmp_path):
    with video_file(tmp_path / "clip.mp4", 10, (64, 64)) as add:
        for _ in range(3):
            add(np.zeros((64, 64, 3), np.uint8))
    return str(tmp_path / "clip.mp4")


def test_without_the_package(monkeypatch, page_predictor, clip):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(LitepredError, match=r"track=True needs the package trackers.*'litepred\[track\]'"):
        page_predictor.stream(clip, track=True)


def test_stream_and_command(monkeypatch, page_predictor, clip, tmp_path, capsys):
    pytest.importorskip("trackers")
    places = iter(range(1000))
    monkeypatch.setattr(Predictor, "run", lambda self, inputs, **way: [seen((next(places), 5)) for _ in inputs])
    ids = [one.outputs["instances"].track_ids.tolist() for one in page_predictor.stream(clip, track=True)]
    assert len(ids) == 3 and ids[1] == ids[2] and ids[2][0] >= 0
    monkeypatch.chdir(tmp_path)
    assert main(["predict", clip, "--track", "--csv", "seen.csv", "--save-json"]) == 0
    with open("seen.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and rows[1]["track_id"] == rows[2]["track_id"] != ""
    entries = json.loads((tmp_path / "litepred-output" / "clip.json").read_text())
    assert str(entries[2]["instances"][0]["track_id"]) == rows[2]["track_id"]


def test_files(tmp_path):
    outputs = seen((0, 0), (20, 0))
    outputs["instances"].track_ids = torch.tensor([4, -1])
    assert [one["track_id"] for one in to_dicts(outputs)] == [4, None]
    assert [one["track_id"] for one in csv_rows(outputs, "a")] == [4, None]
    write_csv(tmp_path / "a.csv", [("a", outputs)])
    first, *lines = (tmp_path / "a.csv").read_text().splitlines()
    assert first == ",".join(TRACKED_COLUMNS) and [line.rpartition(",")[2] for line in lines] == ["4", ""]
    write_csv(tmp_path / "b.csv", [("a", seen((0, 0)))])
    assert (tmp_path / "b.csv").read_text().splitlines()[0] == ",".join(TRACKED_COLUMNS[:-1])
    for mixed in ([("a", outputs), ("b", seen((0, 0)))], [("b", seen((0, 0))), ("a", outputs)]):
        with pytest.raises(LitepredError, match="unlike those before: write tracked instances and others into two"):
            write_csv(tmp_path / "c.csv", mixed)
    assert not (tmp_path / "c.csv").exists()


def test_pictures():
    frame = np.zeros((*SIZE, 3), np.uint8)

    def drawn(*ids):
        found = seen((5, 20), (40, 20))["instances"]
        found.track_ids = torch.tensor(ids)
        return VideoVisualizer().draw_instance_predictions(frame, found).get_image()

    assert not np.array_equal(drawn(1, 2), drawn(2, 1))
    assert np.array_equal(drawn(1, -1), drawn(1, -1))
    gray = drawn(-1, -1)
    assert (gray.max(2) == gray.min(2)).mean() > 0.95
