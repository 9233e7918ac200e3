"""Instances as plain Python and as COCO's entries, files of lists, and pictures of numbers."""

from __future__ import annotations

import copy
import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from litepred import PolygonMasks
from litepred.data import Metadata
from litepred.errors import ConfigError, LitepredError
from litepred.results import (
    CSV_COLUMNS,
    csv_table,
    describe,
    id_to_rgb,
    instances_to_coco_json,
    json_list,
    panoptic_annotation,
    panoptic_categories,
    rgb_to_id,
    to_dicts,
    write_coco,
    write_csv,
    write_json,
    write_labels,
    write_panoptic,
)
from litepred.structures import (
    BitMasks,
    Boxes,
    Instances,
    ROIMasks,
    RotatedBoxes,
    mask_to_polygons,
    mask_to_rle,
    rle_to_mask,
)

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
    "bitmasks": lambda: BitMasks(BITMASKS),
    "polygon masks": lambda: PolygonMasks([[[2.0, 3, 10, 3, 10, 12, 2, 12]], [[0.0, 0, 30, 0, 30, 20, 0, 20]]]),
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


def test_rotated_boxes(tmp_path):
    box = [10.0, 12, 8, 4, 30]
    labels = {"scores": torch.tensor([0.5]), "pred_classes": torch.tensor([0])}
    instances = Instances(SIZE, pred_boxes=RotatedBoxes([box]), **labels)
    (entry,), (plain,) = instances_to_coco_json(instances, 1), to_dicts(instances)
    assert entry["bbox"] == plain["box"] == box
    with pytest.raises(LitepredError, match="CSV has no column for the angle"):
        write_csv(tmp_path / "boxes.csv", [("a.png", instances)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", MASK_FORMATS)
def test_masks_of_any_format(kind):
    results = instances_to_coco_json(detections(pred_masks=MASK_FORMATS[kind]()), "a")
    for result, mask in zip(results, BITMASKS):
        theirs = coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
        assert result["segmentation"] == {"size": [20, 30], "counts": theirs["counts"].decode()}
    json.dumps(results)
    outlines = instances_to_coco_json(detections(pred_masks=MASK_FORMATS[kind]()), "a", mask_format="polygon")
    assert [one["segmentation"] for one in outlines] == [mask_to_polygons(mask) for mask in BITMASKS]
    json.dumps(outlines)
    assert "segmentation" not in instances_to_coco_json(detections(pred_masks=BITMASKS), "a", mask_format="none")[0]


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
    "write", [lambda i: instances_to_coco_json(i, 1, mask_format="png"), lambda i: to_dicts(i, mask_format="")]
)
def test_an_unknown_way_to_write_masks(write):
    with pytest.raises(ValueError, match="expected one of rle, polygon, none"):
        write(detections())


def test_all_that_was_found():
    metadata = Metadata(thing_classes=["cat"], stuff_classes=["sky", "sea"])
    assert describe({}) == {}
    assert describe({"instances": detections(0)}) == {"instances": []}
    logits = torch.tensor([[[2.0, 1, 0]], [[1.0, 2, 3]]])
    stuff = [{"category_id": i, "category": name, "area": area} for i, name, area in ((0, "sky", 1), (1, "sea", 2))]
    assert describe({"sem_seg": logits}, metadata) == {"stuff": stuff}
    segments = [{"id": 1, "isthing": True, "category_id": 0}, {"id": 2, "isthing": False, "category_id": 1}]
    told = describe({"panoptic_seg": (torch.zeros(1, 3), segments), "sem_seg": logits}, metadata)
    assert told == {"segments": [{**segments[0], "category": "cat"}, {**segments[1], "category": "sea"}]}


def test_a_panoptic_map_without_a_list(tmp_path):
    ids = torch.tensor([[-1, 0, 1001]])
    metadata = Metadata(label_divisor=1000, thing_dataset_id_to_contiguous_id={7: 1}, thing_classes=["-", "cat"])
    found = [{"id": 0, "category_id": 0, "isthing": False}, {"id": 1001, "category_id": 1, "isthing": True}]
    told = describe({"panoptic_seg": (ids, None)}, metadata)["segments"]
    assert told == [one | {"category": name} for one, name in zip(found, ("class_0", "cat"))]
    infos = panoptic_annotation((ids, None), 5, "a.png", metadata)["segments_info"]
    assert [(one["id"], one["category_id"], one["area"]) for one in infos] == [(1, 2, 1), (1002, 7, 1)]
    write_panoptic(tmp_path / "a.png", (ids, None))
    with Image.open(tmp_path / "a.png") as image:
        assert rgb_to_id(np.asarray(image)).tolist() == [[0, 1, 1002]]
    with pytest.raises(LitepredError, match="needs metadata with label_divisor"):
        describe({"panoptic_seg": (ids, None)})


def test_plain_dicts():
    instances = detections(pred_masks=BITMASKS, pred_keypoints=torch.ones(2, 1, 3))
    first, _ = to_dicts(instances, Metadata(thing_classes=["cat", "dog"]), mask_format="rle")
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


# files of lists


def alike(count: int) -> Instances:
    boxes, labels = Boxes(torch.ones(count, 4)), torch.zeros(count, dtype=torch.int64)
    return Instances((9, 9), pred_boxes=boxes, scores=torch.ones(count), pred_classes=labels)


@pytest.mark.parametrize("counts", [[], [0], [2], [0, 2, 1]])
def test_coco_and_csv(counts, tmp_path):
    write_coco(tmp_path / "a.json", ((i, alike(count)) for i, count in enumerate(counts)))
    entries = json.loads((tmp_path / "a.json").read_text())
    assert [entry["image_id"] for entry in entries] == [i for i, count in enumerate(counts) for _ in range(count)]
    names = Metadata(thing_classes=["gräser, hoch"])
    write_csv(tmp_path / "a.csv", ((f"{i}.png", alike(count)) for i, count in enumerate(counts)), names)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
        assert len(rows) == sum(counts)
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()[0] == ",".join(CSV_COLUMNS)
    for row in rows[:1]:
        values = {"score": "1.0", "x1": "1.0", "y1": "1.0", "x2": "1.0", "y2": "1.0"}
        assert row == {"file": row["file"], "frame": "", "category_id": "0", "category": "gräser, hoch", **values}


def test_a_file_whose_name_is_no_text(tmp_path):
    name = b"scan-\xe9.png".decode("utf-8", "surrogateescape")  # as Python reads it from a folder
    write_csv(tmp_path / "a.csv", [(name, alike(1))])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()[1].startswith("scan-\\udce9.png,")


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
    with pytest.raises(LitepredError):
        write_json(tmp_path / "a.json", object())
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_keys_of_numpy(tmp_path):
    counts = dict(zip(*np.unique([7, 7, 9], return_counts=True)))
    write_json(tmp_path / "a.json", [counts, {torch.tensor(1): {np.str_("b"): np.bool_(True)}}])
    assert json.loads((tmp_path / "a.json").read_text()) == [{"7": 2, "9": 1}, {"1": {"b": True}}]
    with pytest.raises(LitepredError, match=r"\(1, 2\) is no key that JSON has"):
        write_json(tmp_path / "a.json", {(1, 2): 3})


# pictures of numbers


@pytest.mark.parametrize("ids", [np.zeros((0, 0), np.int64), [[0, 1, 255, 256]], [[65535, 65536, (1 << 24) - 1]]])
def test_ids_and_colours(ids):
    ids = np.array(ids)
    assert np.array_equal(rgb_to_id(id_to_rgb(ids)), ids)
    assert np.array_equal(rgb_to_id(torch.as_tensor(id_to_rgb(torch.as_tensor(ids)))), ids)


@pytest.mark.parametrize("steps", [1, -1])
@pytest.mark.parametrize("order", ["<i4", ">i4"])
@pytest.mark.parametrize("write", [write_labels, write_panoptic])
def test_ids_of_any_array(write, order, steps, tmp_path):
    ids = np.arange(12, dtype=order).reshape(3, 4)
    write(tmp_path / "a.png", ids[::steps, ::steps])
    write(tmp_path / "b.png", torch.tensor(np.ascontiguousarray(ids[::steps, ::steps], np.int32)))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


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
    for kind in ("thing", "stuff"):
        fewer = Metadata(**{f"{kind}_dataset_id_to_contiguous_id": {17: 0}})
        with pytest.raises(ConfigError, match=f"a {kind} has the class 1, but {kind}_.* leads to 1 classes: pass"):
            panoptic_annotation((ids, segments), 5, "", fewer)
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


IDS = [np.int64(7), np.array(7), torch.tensor(7), np.uint8(7), torch.tensor([7]), np.array([[7]]), [7]]


@pytest.mark.parametrize("image_id", IDS, ids=repr)
def test_ids_of_numpy_and_torch(image_id, tmp_path):
    write_coco(tmp_path / "a.json", [(image_id, detections())])
    assert [one["image_id"] for one in json.loads((tmp_path / "a.json").read_text())] == [7, 7]
    write_csv(tmp_path / "a.csv", [(image_id, detections())])
    assert [line[:2] for line in (tmp_path / "a.csv").read_text().splitlines()[1:]] == ["7,", "7,"]
    write_json(tmp_path / "b.json", {"id": np.int64(7), "path": tmp_path, "box": np.ones(2, np.float32)})
    assert json.loads((tmp_path / "b.json").read_text()) == {"id": 7, "path": str(tmp_path), "box": [1, 1]}
    seg = torch.zeros(4, 4, dtype=torch.int32), []
    assert json.dumps(panoptic_annotation(seg, image_id, "a.png")).startswith('{"image_id": 7')


@pytest.mark.parametrize("image_id", [torch.tensor([7, 8]), np.zeros((2, 2)), [], [7, 8], {"id": 7}], ids=repr)
def test_several_ids_are_none(image_id):
    seg = torch.zeros(4, 4, dtype=torch.int32), []
    for write in (
        lambda: instances_to_coco_json(detections(), image_id),
        lambda: panoptic_annotation(seg, image_id, ""),
    ):
        with pytest.raises(LitepredError, match="came as the id of an image: expected a number or a text for each"):
            write()


@pytest.mark.parametrize("value", [{1, 2}, object(), 1j])
def test_values_that_json_has_no_form_for(value, tmp_path):
    with pytest.raises(LitepredError, match="for which JSON has no form: expected numbers"):
        write_json(tmp_path / "a.json", {"id": value})
    with pytest.raises(LitepredError, match="for which JSON has no form: expected numbers"):
        write_coco(tmp_path / "a.json", [(value, detections())])
    assert not any(tmp_path.iterdir())
