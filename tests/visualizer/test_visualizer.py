import builtins
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from litepred import PolygonMasks, draw, show
from litepred.data import Metadata, MetadataCatalog
from litepred.errors import ImageError, LitepredError
from litepred.structures import BitMasks, Boxes, BoxMode, Instances
from litepred.visualizer import ColorMode, Visualizer, scale_to_look_at
from litepred.visualizer.labels import Labels

from .scenes import BOXES, HEIGHT, WIDTH, bitmasks, changed, image, instances, masks_as

METADATA = Metadata(thing_classes=["cat", "dog"], thing_colors=[(255, 0, 0), (0, 0, 255)])


class Rotated:
    def __init__(self, tensor):
        self.tensor = tensor

    def __len__(self):
        return len(self.tensor)


def visualizer(**options):
    return Visualizer(image(), METADATA, **options)


# instances


@pytest.mark.parametrize("mode", ColorMode)
@pytest.mark.parametrize("fields", [{}, {"pred_masks": bitmasks()[:0]}, {"pred_keypoints": torch.zeros(0, 17, 3)}])
def test_no_instances(mode, fields):
    picture = visualizer(instance_mode=mode).draw_instance_predictions(instances(0, **fields)).get_image()
    np.testing.assert_array_equal(picture, image())


@pytest.mark.parametrize("mode", ColorMode)
@pytest.mark.parametrize("form", ["bitmask", "float", "roi", "polygon", "rle"])
def test_every_mask_format_gives_the_same_picture(form, mode):
    expected = visualizer(instance_mode=mode).draw_instance_predictions(instances(pred_masks=bitmasks())).get_image()
    if form == "rle":
        pytest.importorskip("pycocotools")
        from litepred.structures import mask_to_rle

        masks = [mask_to_rle(mask) for mask in bitmasks()]
    else:
        masks = masks_as(form)
    picture = visualizer(instance_mode=mode).draw_instance_predictions(instances(pred_masks=masks)).get_image()
    # what is sampled at a box's corner pixels is below one half
    assert changed(picture, expected).sum() <= (12 if form == "roi" else 0)
    assert changed(picture, image())[40, 30]  # inside a mask


@pytest.mark.parametrize(
    "missing",
    [
        ("scores",),
        ("pred_classes",),
        ("pred_boxes",),
        ("pred_masks",),
        ("scores", "pred_classes"),
        ("pred_boxes", "pred_masks"),
        ("scores", "pred_classes", "pred_boxes"),
    ],
)
@pytest.mark.parametrize("mode", ColorMode)
def test_fields_missing(missing, mode):
    predictions = instances(pred_masks=bitmasks(), pred_keypoints=torch.tensor([[[30.0, 40.0, 0.9]]]).repeat(3, 1, 1))
    for name in missing:
        predictions.remove(name)
    picture = visualizer(instance_mode=mode).draw_instance_predictions(predictions).get_image()
    assert changed(picture, image()).any()


@pytest.mark.parametrize("classes", [[-1, 2, 10**6], [80, 81, 82]])
@pytest.mark.parametrize("mode", ColorMode)
def test_unknown_classes(classes, mode):
    predictions = instances(pred_classes=torch.tensor(classes), pred_masks=bitmasks())
    assert changed(visualizer(instance_mode=mode).draw_instance_predictions(predictions).get_image(), image()).any()


@pytest.mark.parametrize("metadata", [None, Metadata(), MetadataCatalog.get("coco_2017_val")])
def test_metadata(metadata):
    drawing = Visualizer(image(), metadata)
    assert changed(drawing.draw_instance_predictions(instances()).get_image(), image()).any()


@pytest.mark.parametrize(
    ("box", "seen"),
    [
        ([-50, -50, 20, 20], True),
        ([140, 100, 1e9, 1e9], True),
        ([-1e9, -1e9, 1e9, 1e9], False),  # around the picture: only its label is seen
        ([0, 0, 0, 0], True),
        ([WIDTH, HEIGHT, WIDTH, HEIGHT], False),
        ([-100, -100, -50, -50], None),
        ([500, 500, 600, 600], None),
        ([float("nan")] * 4, None),
        ([0, 0, float("inf"), float("inf")], True),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_boxes_that_leave_the_image(box, seen, scale):
    drawing = visualizer(scale=scale, labels=False)
    before = drawing.output.get_image()
    assert changed(drawing.overlay_instances(boxes=[box], labels=["a"]).get_image(), before).any() == bool(seen)
    labelled = visualizer(scale=scale).overlay_instances(boxes=[box], labels=["a"]).get_image()
    assert changed(labelled, before).any() == (seen is not None)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (5, 7)])
@pytest.mark.parametrize("mode", ColorMode)
def test_tiny_images(size, mode):
    predictions = instances(1, size, pred_masks=torch.ones(1, *size, dtype=torch.bool))
    predictions.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, size[1], size[0]]]))
    predictions.pred_keypoints = torch.tensor([[[0.5, 0.5, 1.0]]])
    drawing = Visualizer(image(*size), METADATA, instance_mode=mode)
    assert drawing.draw_instance_predictions(predictions).get_image().shape == (*size, 3)
    drawing.draw_sem_seg(torch.zeros(size, dtype=torch.long))
    drawing.draw_panoptic_seg(torch.ones(size), [{"id": 1, "category_id": 0, "isthing": True}])
    drawing.draw_text("text", (0, 0))
    assert drawing.output.get_image().shape == (*size, 3)


@pytest.mark.parametrize("scale", [0.5, 1, 2, 2.5])
def test_scale(scale):
    predictions = instances(pred_masks=bitmasks(), pred_keypoints=torch.rand(3, 4, 3) * 100)
    picture = visualizer(scale=scale).draw_instance_predictions(predictions).get_image()
    assert picture.shape == (HEIGHT * scale, WIDTH * scale, 3)
    mask = visualizer(scale=scale, opacity=1.0).overlay_instances(masks=bitmasks()[:1], assigned_colors=["lime"])
    inside = (mask.get_image() == (0, 255, 0)).all(axis=2)
    rows, columns = np.nonzero(inside)
    extent = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    np.testing.assert_allclose(extent / scale, BOXES[0], atol=1)


@pytest.mark.parametrize("colors", [[(255, 0, 0), (0, 0, 255)], None])
def test_colours_are_stable_per_class(colors):
    metadata = Metadata(thing_classes=["cat", "dog"])
    if colors:
        metadata.thing_colors = colors
    wanted = instances(pred_masks=bitmasks())
    one = Visualizer(image(), metadata, labels=False).draw_instance_predictions(wanted).get_image()
    two = Visualizer(image(), metadata, labels=False).draw_instance_predictions(wanted[1:]).get_image()
    np.testing.assert_array_equal(one[75:, 75:], two[75:, 75:])
    reordered = Visualizer(image(), metadata, labels=False).draw_instance_predictions(wanted[[2, 1, 0]]).get_image()
    np.testing.assert_array_equal(one, reordered)


def test_segmentation_gives_instances_of_a_class_shades():
    drawing = visualizer(instance_mode=ColorMode.SEGMENTATION, labels=False)
    masks = bitmasks([[0, 0, 40, 40], [60, 60, 100, 100]])
    same = Instances((HEIGHT, WIDTH), pred_classes=torch.tensor([0, 0]), pred_masks=masks)
    picture = drawing.draw_instance_predictions(same).get_image()
    assert picture[20, 20].tolist() != picture[80, 80].tolist()
    picture = visualizer(instance_mode=ColorMode.SEGMENTATION, labels=False)
    picture = picture.draw_instance_predictions(same, jittering=False).get_image()
    assert picture[20, 20].tolist() == picture[80, 80].tolist()


def test_black_and_white_keeps_colour_in_masks_only():
    colourful = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colourful[:, :, 1] = 200
    predictions = Instances((HEIGHT, WIDTH), pred_masks=bitmasks()[:1])
    picture = Visualizer(colourful, instance_mode=ColorMode.IMAGE_BW, opacity=0.0).draw_instance_predictions(
        predictions
    )
    gray = np.ptp(picture.get_image().astype(int), axis=2) == 0
    inside = bitmasks()[0].numpy()
    assert gray[~inside].all()
    assert not gray[25:65, 15:55].any()


@pytest.mark.parametrize(("opacity", "expected"), [(0.0, 200), (0.5, 100), (1.0, 0)])
def test_opacity(opacity, expected):
    picture = visualizer(opacity=opacity, labels=False).overlay_instances(masks=bitmasks()[:1], assigned_colors=["k"])
    assert abs(int(picture.get_image()[45, 35, 0]) - expected) <= 1


@pytest.mark.parametrize("width", [1, 2, 5])
def test_line_width(width):
    picture = visualizer(line_width=width).overlay_instances(boxes=[[40, 40, 100, 100]], assigned_colors=["k"])
    assert (picture.get_image()[70] == 0).all(axis=1).sum() == 2 * width


# labels


def plates(drawing):
    return [(x, y, x + text.shape[1], y + text.shape[0]) for (x, y), text, *_ in drawing._labels.plates]


@pytest.mark.parametrize("number", [1, 5, 20])
def test_labels_are_inside_the_picture_and_apart_where_there_is_room(number):
    drawing = Visualizer(np.full((600, 800, 3), 255, np.uint8))
    rng = np.random.default_rng(number)
    corners = rng.uniform((-20, -20), (780, 580), (number, 2))
    drawing.overlay_instances(boxes=np.concatenate([corners, corners + 60], 1), labels=["a label"] * number)
    covered = np.zeros((600, 800), int)
    for x0, y0, x1, y1 in plates(drawing):
        assert 0 <= x0 < x1 <= 800
        assert 0 <= y0 < y1 <= 600
        covered[y0:y1, x0:x1] += 1
    assert len(plates(drawing)) == number
    assert covered.max() == 1


def test_the_label_of_a_small_instance_does_not_hide_it():
    drawing = visualizer()
    drawing.overlay_instances(boxes=[[80, 60, 88, 66]], labels=["small"])
    x0, y0, x1, y1 = plates(drawing)[0]
    assert min(x1, 88) <= max(x0, 80) or min(y1, 66) <= max(y0, 60)
    assert abs((x0 + x1) / 2 - 84) < 60
    assert abs((y0 + y1) / 2 - 63) < 30


def test_labels_of_masks_without_boxes_lie_in_them():
    drawing = visualizer()
    drawing.overlay_instances(masks=bitmasks()[1:2], labels=["dog"])
    x0, y0, x1, y1 = plates(drawing)[0]
    assert bitmasks()[1, y0:y1, x0:x1].all()


def test_a_long_label_is_written_smaller_and_a_longer_one_left_out():
    drawing = visualizer()
    drawing.overlay_instances(boxes=BOXES[:2], labels=["a name that is rather long", "a name that is too long" * 9])
    assert len(plates(drawing)) == 1


@pytest.mark.parametrize(("options", "text"), [({}, "dog 98%"), ({"scores": False}, "dog"), ({"labels": False}, None)])
def test_what_is_written(options, text, monkeypatch):
    written = []
    monkeypatch.setattr(Labels, "add", lambda self, text, *rest: written.append(text))
    predictions = instances(1, scores=torch.tensor([0.98]), pred_classes=torch.tensor([1]))
    visualizer(**options).draw_instance_predictions(predictions)
    assert written == ([text] if text else [])


def test_later_masks_do_not_hide_earlier_labels():
    drawing = visualizer(opacity=1.0)
    drawing.overlay_instances(boxes=[[80, 60, 88, 66]], labels=["first"])
    x0, y0, x1, y1 = plates(drawing)[0]
    label = drawing.output.get_image()[y0:y1, x0:x1]
    drawing.overlay_instances(masks=np.ones((1, HEIGHT, WIDTH)))
    np.testing.assert_array_equal(drawing.output.get_image()[y0:y1, x0:x1], label)


# overlay_instances


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"boxes": []},
        {"masks": [], "labels": []},
        {"boxes": BOXES},
        {"boxes": np.array(BOXES), "labels": ["a", "b", ""]},
        {"boxes": torch.tensor(BOXES), "masks": bitmasks()},
        {
            "boxes": Boxes(torch.tensor(BOXES)),
            "masks": BitMasks(bitmasks()),
            "assigned_colors": ["r", "#00f", (0, 1, 0)],
        },
        {"masks": PolygonMasks([[np.array([1.0, 1, 50, 1, 50, 50])]] * 3), "labels": [1, 2, 3]},
        {"masks": bitmasks().numpy() * 0, "labels": ["a", "b", "c"]},
        {"keypoints": np.ones((3, 17, 3)), "labels": ["a", "b", "c"]},
        {"boxes": Rotated(torch.tensor([[50.0, 50, 40, 20, 30], [500, 50, 40, 20, 30], [5, 5, 9, 9, -1800]]))},
        {"boxes": np.full((2, 5), np.nan), "labels": ["a", "b"]},
        {"boxes": BOXES, "labels": np.array(["a", "b", "c"]), "assigned_colors": np.eye(3)},
        {"boxes": np.ones((2, 5)), "labels": np.array(["a", "b"]), "assigned_colors": torch.eye(3)[:2]},
    ],
    ids=range(14),
)
def test_overlay_instances(given):
    picture = visualizer().overlay_instances(**given).get_image()
    assert picture.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    "given",
    [
        {"boxes": BOXES, "labels": ["a"]},
        {"boxes": BOXES, "masks": bitmasks()[:1]},
        {"masks": bitmasks(), "assigned_colors": ["r"]},
        {"boxes": np.zeros((2, 6))},
    ],
)
def test_overlay_instances_of_differing_numbers(given):
    with pytest.raises(ValueError, match="expected"):
        visualizer().overlay_instances(**given)


@pytest.mark.parametrize("angle", [0, 90, 45, -30, 1800])
def test_a_rotated_box(angle):
    picture = visualizer(line_width=3).draw_rotated_box_with_label((80, 60, 60, 30, angle), edge_color="k").get_image()
    dark = picture[:, :, 0] < 100
    turned = np.deg2rad(angle)
    for along, expected in ((30, True), (45, False)):  # the right side's middle, and outside it
        x, y = 80 + along * np.cos(turned), 60 - along * np.sin(turned)
        assert dark[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].any() == expected


# keypoints


def drawn(points, metadata):
    drawing = Visualizer(image(), metadata, line_width=1)
    return changed(drawing.draw_and_connect_keypoints(points).get_image(), image())


@pytest.mark.parametrize(
    ("metadata", "line"),
    [
        (None, False),
        (Metadata(keypoint_names=["a"]), False),
        (Metadata(keypoint_names=["a", "b"]), False),
        (Metadata(keypoint_names=["a", "b"], keypoint_connection_rules=[("a", "b", (0, 255, 0))]), True),
        (Metadata(keypoint_names=["a", "b"], keypoint_connection_rules=[("a", "c", (0, 255, 0))]), False),
        (
            Metadata(
                keypoint_names=np.array(["a", "b"]),
                keypoint_connection_rules=np.array([("a", "b", (0, 255, 0))], object),
            ),
            True,
        ),
    ],
)
def test_a_skeleton_where_the_metadata_name_one(metadata, line):
    mask = drawn([[20, 60, 1], [140, 60, 1]], metadata)
    assert mask[60, 20]
    assert mask[60, 140]
    assert mask[60, 80] == line


def test_a_persons_neck_and_spine():
    points = np.zeros((17, 3))
    points[[0, 5, 6, 11, 12]] = [[80, 10, 1], [110, 40, 1], [50, 40, 1], [100, 100, 1], [60, 100, 1]]
    mask = drawn(torch.tensor(points), MetadataCatalog.get("keypoints_coco_2017_val"))
    assert mask[25, 80]
    assert mask[70, 80]


@pytest.mark.parametrize("score", [0.0, 0.05, float("nan")])
def test_keypoints_that_are_not_there(score):
    assert not drawn([[20, 60, score]], None).any()


@pytest.mark.parametrize("point", [[-1e9, 5, 1], [float("nan"), 5, 1], [float("inf"), 5, 1]])
def test_keypoints_outside(point):
    assert not drawn([point], None).any()


# segmentations

STUFF = Metadata(stuff_classes=["sky", "road"], stuff_colors=[(0, 0, 255), (255, 0, 0)], thing_classes=["cat"])
LABELS = np.zeros((HEIGHT, WIDTH), np.int64)
LABELS[60:] = 1


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy, lambda x: x.astype(np.uint8), lambda x: x.tolist()])
def test_semantic(convert):
    picture = Visualizer(image(), STUFF).draw_sem_seg(convert(LABELS), alpha=1.0).get_image()
    assert (picture[:50] == (0, 0, 255)).all(axis=2).mean() > 0.7
    assert (picture[70:] == (255, 0, 0)).all(axis=2).mean() > 0.7


@pytest.mark.parametrize("label", [-1, 2, 255])
def test_labels_without_a_class_are_left_out(label):
    picture = Visualizer(image(), STUFF).draw_sem_seg(np.full((HEIGHT, WIDTH), label)).get_image()
    np.testing.assert_array_equal(picture, image())


@pytest.mark.parametrize(("threshold", "seen"), [(None, True), (0, True), (16, True), (17, False)])
def test_small_parts_are_left_out(threshold, seen):
    mask = np.zeros((HEIGHT, WIDTH))
    mask[10:14, 10:14] = 1
    mask[60:80, 60:80] = 1
    picture = visualizer().draw_binary_mask(mask, "k", area_threshold=threshold).get_image()
    assert changed(picture, image())[12, 12] == seen
    assert changed(picture, image())[70, 70]


IDS = np.zeros((HEIGHT, WIDTH), np.int32)
IDS[:60], IDS[60:], IDS[80:100, 40:90] = 1, 2, 3
SEGMENTS = [
    {"id": 1, "isthing": False, "category_id": 0},
    {"id": 2, "isthing": False, "category_id": 1},
    {"id": 3, "isthing": True, "category_id": 0, "score": 0.9},
    {"id": 4, "isthing": True, "category_id": 0, "score": 0.9},  # without pixels
]


@pytest.mark.parametrize("mode", ColorMode)
@pytest.mark.parametrize("segments", [[], SEGMENTS[:2], SEGMENTS[2:], SEGMENTS, [{"id": 3, "category_id": 7}]])
def test_panoptic(mode, segments):
    drawing = Visualizer(image(), STUFF, instance_mode=mode)
    picture = drawing.draw_panoptic_seg_predictions(torch.from_numpy(IDS), segments).get_image()
    assert changed(picture, image()).any() == bool(segments)


def test_panoptic_of_numbers_that_tell_the_class():
    metadata = Metadata(**STUFF.as_dict(), label_divisor=1000, thing_dataset_id_to_contiguous_id={1: 1})
    ids = np.where(IDS == 1, -1, 1000 + IDS)
    picture = Visualizer(image(), metadata).draw_panoptic_seg(torch.from_numpy(ids), None).get_image()
    assert not changed(picture, image())[:50].any()
    assert changed(picture, image())[105:].all()


# data sets


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"annotations": []},
        {"annotations": [{"bbox": [10, 10, 30, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, "iscrowd": 1}]},
        {"annotations": [{"bbox": [50, 50, 30, 40, 45], "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 5}]},
        {
            "annotations": [
                {
                    "bbox": [10, 10, 30, 40],
                    "bbox_mode": 0,
                    "category_id": 0,
                    "segmentation": [[10, 10, 30, 10, 30, 40]],
                    "keypoints": [15, 15, 2, 20, 20, 0],
                }
            ]
        },
        {"sem_seg": LABELS},
        {"pan_seg": IDS, "segments_info": SEGMENTS},
    ],
    ids=["nothing", "none", "boxes", "rotated", "everything", "semantic", "panoptic"],
)
def test_dataset_dict(record):
    picture = Visualizer(image(), STUFF).draw_dataset_dict(record).get_image()
    assert changed(picture, image()).any() == any(len(part) for part in record.values())


def test_dataset_dict_reads_files(tmp_path):
    Image.fromarray(LABELS.astype(np.uint8)).save(tmp_path / "semantic.png")
    ids = np.stack([IDS % 256, IDS // 256, IDS * 0], axis=2).astype(np.uint8)
    Image.fromarray(ids).save(tmp_path / "panoptic.png")
    files = {"sem_seg_file_name": tmp_path / "semantic.png"}, {"pan_seg_file_name": str(tmp_path / "panoptic.png")}
    arrays = {"sem_seg": LABELS}, {"pan_seg": IDS}
    for by_file, by_array in zip(files, arrays):
        expected = Visualizer(image(), STUFF).draw_dataset_dict({**by_array, "segments_info": SEGMENTS}).get_image()
        picture = Visualizer(image(), STUFF).draw_dataset_dict({**by_file, "segments_info": SEGMENTS}).get_image()
        np.testing.assert_array_equal(picture, expected)


# single marks


@pytest.mark.parametrize("alignment", ["left", "center", "right"])
@pytest.mark.parametrize("position", [(-50, -50), (80, 60), (500, 500)])
@pytest.mark.parametrize("rotation", [0, 30])
def test_text_stays_inside(alignment, position, rotation):
    options = {"horizontal_alignment": alignment, "rotation": rotation}
    picture = visualizer().draw_text("text", position, **options).get_image()
    amid = visualizer().draw_text("text", (WIDTH / 2, HEIGHT / 2), **options).get_image()
    assert changed(picture, image()).sum() == changed(amid, image()).sum() > 100


@pytest.mark.parametrize("style", ["-", "--", ":", "-.", "dashed"])
def test_line_styles(style):
    picture = visualizer(line_width=1).draw_line([0, 160], [60.5, 60.5], "k", style).get_image()
    share = (picture[60] < 100).all(axis=1).mean()
    assert share == 1 if style == "-" else 0.2 < share < 0.9
    assert changed(visualizer().draw_box((20, 20, 60, 60), line_style=style).get_image(), image()).any()


@pytest.mark.parametrize(
    "call",
    [
        lambda v: v.draw_line([0, 9], [0, 9], "k", "~"),
        lambda v: v.draw_text("a", (0, 0), horizontal_alignment="top"),
        lambda v: v.draw_box((0, 0, 9, 9), edge_color=(255, 0, 0)),
        lambda v: v.draw_binary_mask(np.ones((3, 3))),
    ],
    ids=["style", "alignment", "colour", "size"],
)
def test_wrong_arguments(call):
    with pytest.raises(ValueError, match="expected"):
        call(visualizer())


@pytest.mark.parametrize(
    "call",
    [
        lambda v: v.draw_text("text", (80, 60)),
        lambda v: v.draw_box((20, 20, 60, 60), alpha=0.3, edge_color="#ff00ff"),
        lambda v: v.draw_rotated_box_with_label((80, 60, 40, 20, 30), label="text"),
        lambda v: v.draw_circle((80, 60), (1, 0, 0), radius=5),
        lambda v: v.draw_polygon(np.array([[10, 10], [60, 10], [60, 60]]), "r", edge_color="b"),
        lambda v: v.draw_binary_mask(bitmasks()[0].numpy(), text="text"),
        lambda v: v.draw_soft_mask(bitmasks()[0].numpy() * 0.7, text="text"),
    ],
    ids=["text", "box", "rotated", "circle", "polygon", "mask", "soft"],
)
def test_marks_return_the_picture(call):
    drawing = visualizer()
    assert call(drawing) is drawing.get_output() is drawing.output
    assert changed(drawing.output.get_image(), image()).any()


@pytest.mark.parametrize("mask", [np.zeros((HEIGHT, WIDTH), np.float32), np.full((HEIGHT, WIDTH), np.nan)])
def test_an_empty_soft_mask(mask):
    np.testing.assert_array_equal(visualizer().draw_soft_mask(mask, "red", text="none").get_image(), image())


@pytest.mark.parametrize("name", ["absent.ttf", "test_visualizer.py", "."])
def test_what_is_no_font(name):
    path = Path(__file__).parent / name
    with pytest.raises(LitepredError, match=f"font={re.escape(repr(str(path)))} cannot be read .*TrueType"):
        visualizer(font=path)


@pytest.mark.parametrize("font_size_scale", [0.5, 1.0, 3.0])
def test_text_is_never_too_small_to_read(font_size_scale):
    drawing = visualizer(font_size_scale=font_size_scale)
    drawing.overlay_instances(boxes=BOXES[:1], labels=["a"])
    (_, y0, _, y1) = plates(drawing)[0]
    assert y1 - y0 >= 11 * max(font_size_scale, 1)


def test_no_image():
    with pytest.raises(ImageError, match="expected"):
        Visualizer(np.zeros((0, 0, 3)))


# one call

FLOOR = torch.zeros(HEIGHT, WIDTH, dtype=torch.int32)
FLOOR[80:] = 1
FLOOR_SEGMENTS = [{"id": 1, "isthing": False, "category_id": 0}]
LOGITS = torch.stack([FLOOR.float(), 1 - FLOOR.float()])


@pytest.mark.parametrize("mode", ColorMode)
@pytest.mark.parametrize(
    ("outputs", "seen"),
    [
        ({}, False),
        ({"instances": instances(0)}, False),
        ({"instances": instances()}, True),
        ({"instances": instances(pred_masks=bitmasks())}, True),
        ({"instances": Instances((HEIGHT, WIDTH), pred_boxes=Boxes(torch.tensor(BOXES)))}, True),
        ({"sem_seg": LOGITS}, True),
        ({"panoptic_seg": (FLOOR, FLOOR_SEGMENTS)}, True),
        ({"proposals": Instances((HEIGHT, WIDTH), proposal_boxes=Boxes(torch.tensor(BOXES)))}, True),
    ],
    ids=["nothing", "none", "boxes", "masks", "no scores", "semantic", "panoptic", "proposals"],
)
def test_draw(outputs, seen, mode):
    picture = draw(image(), outputs, instance_mode=mode)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert changed(picture, image()).any() == seen


def test_what_else_a_model_returns_is_not_drawn():
    """And a panoptic map may come without a list of its segments."""
    outputs = {"instances": Instances((9, 9)), "caption": "a cat", "count": 3, "embeddings": torch.zeros(2, 256)}
    image = np.full((9, 9, 3), 90, np.uint8)
    assert draw(image, outputs).shape[2] == 3
    ids = torch.zeros(9, 9, dtype=torch.int32)
    metadata = Metadata(label_divisor=1000, thing_dataset_id_to_contiguous_id={}, stuff_classes=["sky"])
    assert draw(image, {**outputs, "panoptic_seg": (ids, None)}, metadata).shape[2] == 3
    assert draw(image, {**outputs, "panoptic_seg": (ids, [{"id": 1, "category_id": 0}])}, metadata).shape[2] == 3


def test_stuff_is_tinted_behind_instances():
    outputs = {"instances": instances(), "sem_seg": LOGITS, "panoptic_seg": (FLOOR, FLOOR_SEGMENTS)}
    difference = changed(draw(image(), outputs), draw(image(), {"instances": instances()}))
    assert difference[115].all()
    assert not difference[:60, :70].any()


@pytest.mark.parametrize(("threshold", "number"), [(0.95, 0), (0.85, 1), (0.0, 3)])
def test_threshold(threshold, number):
    kept = instances()[:number]
    np.testing.assert_array_equal(
        draw(image(), {"instances": instances()}, threshold=threshold), draw(image(), {"instances": kept}, threshold=0)
    )


def test_images_are_bgr():
    red_in_bgr = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    red_in_bgr[:, :, 2] = 255
    metadata = Metadata(thing_classes=["cat"], thing_colors=[(0, 0, 255)])
    picture = draw(red_in_bgr, {"instances": instances(1)}, metadata, labels=False)
    assert picture[100, 100].tolist() == [0, 0, 255]
    assert picture[40, 10].tolist() == [255, 0, 0]  # the box's side


@pytest.mark.parametrize(
    "options", [{"line_width": 4}, {"opacity": 0.9}, {"labels": False}, {"scores": False}, {"font_size_scale": 2}]
)
def test_options(options):
    outputs = {"instances": instances(pred_masks=bitmasks())}
    assert changed(draw(image(), outputs, **options), draw(image(), outputs)).any()


@pytest.mark.parametrize(
    ("size_hw", "factor"),
    [
        ((48, 64), 10),
        ((155, 120), 4),
        ((239, 300), 3),
        ((240, 300), 1),
        ((1080, 1920), 1),
        ((1, 1), 480),
        ((4, 900), 1),
    ],
)
def test_small_images_are_enlarged_to_be_looked_at(size_hw, factor):
    assert scale_to_look_at(size_hw) == factor
    assert factor == 1 or 480 <= min(size_hw) * factor <= 1600


@pytest.mark.parametrize("size_hw", [(48, 64), (155, 120), (200, 230)])
def test_labels_of_small_pictures_leave_two_thirds_free_and_hide_none(size_hw):
    height, width = size_hw
    boxes = [[x, y, x + width / 3, y + height / 3] for x in range(0, width, 20) for y in range(0, height, 16)]
    scene = Instances(size_hw, pred_boxes=Boxes(torch.tensor(boxes)), scores=torch.linspace(0.5, 1, len(boxes)))
    scene.pred_classes = torch.zeros(len(boxes), dtype=torch.int64)
    drawing = Visualizer(np.full((height, width, 3), 255, np.uint8), Metadata(thing_classes=["title"]))
    drawing.draw_instance_predictions(scene)
    taken = np.zeros(size_hw, int)
    for (x, y), pixels, *_ in drawing._labels.plates:
        taken[y : y + pixels.shape[0], x : x + pixels.shape[1]] += 1
    assert taken.max() == 1
    assert taken.sum() <= height * width / 3


def test_scale_and_gray():
    assert draw(image()[:, :, 0], {"instances": instances()}, scale=2).shape == (2 * HEIGHT, 2 * WIDTH, 3)


@pytest.fixture
def notebook(monkeypatch):
    """A stand-in for IPython that keeps what is displayed."""
    shown = []
    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: "a shell"
    display.display = shown.append
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


@pytest.mark.parametrize(
    ("size", "expected"),
    [((HEIGHT, WIDTH), (4 * WIDTH, 4 * HEIGHT)), ((300, 400), (400, 300)), ((100, 3200), (1600, 50))],
)
def test_show(notebook, tmp_path, size, expected):
    assert show(image(*size), {"instances": instances(0, size)}) is None
    (tmp_path / "shown.png").write_bytes(notebook[0]._repr_png_())
    with Image.open(tmp_path / "shown.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == expected
    assert len(notebook) == 1


def test_show_outside_a_notebook(notebook):
    sys.modules["IPython"].get_ipython = lambda: None
    with pytest.raises(LitepredError, match="for notebooks"):
        show(image(), {})
    assert notebook == []


def test_show_without_ipython(monkeypatch):
    original = builtins.__import__

    def without(name, *rest):
        if name.startswith("IPython"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LitepredError, match="pip install ipython"):
        show(image(), {})
