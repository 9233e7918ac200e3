import numpy as np
import pytest
import torch

from litepred.data import Metadata
from litepred.structures import Boxes, Instances, RotatedBoxes
from litepred.visualizer import ColorMode, VideoVisualizer, Visualizer

from .scenes import HEIGHT, WIDTH, bitmasks, changed, image

LEFT, RIGHT = [10.0, 40.0, 50.0, 80.0], [90.0, 40.0, 130.0, 80.0]


def moved(box, by):
    return [box[0] + by, box[1], box[2] + by, box[3]]


def frame(boxes, classes=None, **fields):
    tensor = torch.tensor(boxes).reshape(-1, 4)
    return Instances(
        (HEIGHT, WIDTH), pred_boxes=Boxes(tensor), pred_classes=torch.tensor(classes or [0] * len(boxes)), **fields
    )


@pytest.fixture
def colors(monkeypatch):
    """The colours given to the instances of each frame."""
    given = []
    original = Visualizer.overlay_instances

    def record(self, **arguments):
        given.append(arguments["assigned_colors"])
        return original(self, **arguments)

    monkeypatch.setattr(Visualizer, "overlay_instances", record)
    return given


@pytest.mark.parametrize("names", [np.array(["cat", "dog"]), iter(["cat", "dog"]), {0: "cat", 1: "dog"}, None])
def test_names_in_other_types(names):
    video = VideoVisualizer(names)
    for _ in range(2):
        video.draw_instance_predictions(image(), frame([LEFT], [1]))
    assert video.metadata.get("thing_classes") == (None if names is None else ["cat", "dog"])


def test_no_instances(colors):
    video = VideoVisualizer(Metadata())
    for _ in range(2):
        np.testing.assert_array_equal(video.draw_instance_predictions(image(), frame([])).get_image(), image())


def test_colours_follow_rotated_ones(colors):
    video = VideoVisualizer(Metadata())
    left, right = [30.0, 60, 40, 20, 30], [110.0, 60, 40, 20, -60]
    for boxes in ([left, right], [], [right, left]):
        found = Instances((HEIGHT, WIDTH), pred_boxes=RotatedBoxes(boxes), pred_classes=torch.zeros(len(boxes)))
        video.draw_instance_predictions(image(), found)
    assert colors[0] == colors[2][::-1]


def test_colours_follow_the_instances(colors):
    video = VideoVisualizer(Metadata())
    for step in range(6):  # the second frame on, in another order
        boxes = [moved(LEFT, 4 * step), moved(RIGHT, -2 * step)]
        video.draw_instance_predictions(image(), frame(boxes[:: 1 if step % 2 else -1]))
    first, second = colors[0]
    assert first != second
    assert colors == [[first, second], [second, first]] * 3


@pytest.mark.parametrize(
    ("boxes", "classes", "kept"),
    [
        ([LEFT], [0], True),
        ([LEFT], [1], False),  # another class
        ([moved(LEFT, 39)], [0], False),  # hardly overlaps
        ([moved(LEFT, 5), LEFT], [0, 0], False),  # the better match gets it
    ],
)
def test_what_counts_as_the_same(colors, boxes, classes, kept):
    video = VideoVisualizer(Metadata())
    video.draw_instance_predictions(image(), frame([LEFT]))
    video.draw_instance_predictions(image(), frame(boxes, classes))
    assert (colors[1][0] == colors[0][0]) == kept
    assert (colors[1][-1] == colors[0][0]) == (kept or len(boxes) == 2)


@pytest.mark.parametrize(("missed", "kept"), [(1, True), (7, True), (8, False)])
def test_an_instance_may_be_missed_for_some_frames(colors, missed, kept):
    video = VideoVisualizer(Metadata())
    video.draw_instance_predictions(image(), frame([LEFT]))
    for _ in range(missed):
        video.draw_instance_predictions(image(), frame([RIGHT]))
    video.draw_instance_predictions(image(), frame([LEFT]))
    assert (colors[-1] == colors[0]) == kept


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({"COLOR": [(1, 0, 0), (0, 1, 0)]}, [(1, 0, 0), (0, 1, 0)]), ({"ID": [7, 9]}, None)],
)
def test_colours_and_numbers_of_ones_own_tracker(colors, fields, expected):
    video = VideoVisualizer(Metadata())
    for boxes in ([LEFT, RIGHT], [RIGHT, LEFT]):
        video.draw_instance_predictions(image(), frame(boxes, **fields))
    assert colors[0] == colors[1]
    assert expected is None or colors[0] == expected
    assert colors[0][0] != colors[0][1]


@pytest.mark.parametrize("mode", ColorMode)
def test_masks_and_keypoints_without_boxes(mode):
    video = VideoVisualizer(Metadata(), mode)
    for predictions in (
        Instances((HEIGHT, WIDTH), pred_masks=bitmasks()),
        Instances((HEIGHT, WIDTH), pred_keypoints=torch.full((2, 3, 3), 20.0)),
    ):
        assert changed(video.draw_instance_predictions(image(), predictions).get_image(), image()).any()


def test_panoptic_things_keep_their_colours(colors):
    video = VideoVisualizer(Metadata(thing_classes=["cat"], stuff_classes=["sky"]))
    for step in range(3):
        ids = np.zeros((HEIGHT, WIDTH), np.int32)
        ids[40:80, 20 + step : 60 + step], ids[40:80, 100:140] = (1, 2) if step != 1 else (2, 1)
        segments = [{"id": i, "isthing": True, "category_id": 0} for i in (1, 2)]
        video.draw_panoptic_seg_predictions(image(), torch.from_numpy(ids), segments)
    assert colors[1] == colors[0][::-1]
    assert colors[2] == colors[0]


def test_semantic():
    labels = np.zeros((HEIGHT, WIDTH), np.int64)
    picture = VideoVisualizer(Metadata(stuff_classes=["sky"])).draw_sem_seg(image(), labels).get_image()
    assert changed(picture, image()).all()
