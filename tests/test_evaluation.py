"""Average precision and panoptic quality: perfect answers, wrong ones, and the rules about ids, keypoints and void."""

from __future__ import annotations

import json
import math
import shutil
import time
import warnings
from types import SimpleNamespace
from unicodedata import normalize

import numpy as np
import pytest
import torch
from golden_answers import ASSETS
from PIL import Image

from litepred.data import Metadata, MetadataCatalog
from litepred.errors import LitepredError
from litepred.evaluation import COCOEvaluator, PanopticEvaluator, category_ids, compare_segments, panoptic_quality
from litepred.evaluation.coco import _rotated_ious, _runs
from litepred.results import rgb_to_id
from litepred.structures import Boxes, Instances, RotatedBoxes, mask_to_rle, polygons_to_bitmask

pytest.importorskip("pycocotools")
ANNOTATED = ASSETS / "annotated"
ANNOTATIONS = ANNOTATED / "instances.json"
CONTENT = json.loads(ANNOTATIONS.read_text())
SIZE = (540, 420)


def answer(image_id: int, masks: bool = True, shift_px: float = 0.0) -> dict:
    """The annotations themselves as a prediction."""
    rows = [one for one in CONTENT["annotations"] if one["image_id"] == image_id]
    boxes = torch.tensor([one["bbox"] for one in rows], dtype=torch.float32)
    boxes[:, 2:] += boxes[:, :2]
    instances = Instances(SIZE, pred_boxes=Boxes(boxes + shift_px), scores=torch.ones(len(rows)))
    instances.pred_classes = torch.tensor([one["category_id"] - 1 for one in rows])
    if masks:
        drawn = [polygons_to_bitmask(one["segmentation"], *SIZE) for one in rows]
        instances.pred_masks = torch.stack([torch.from_numpy(one) for one in drawn])
    return {"instances": instances}


def evaluate(evaluator: COCOEvaluator, **how) -> dict:
    for image in evaluator.images:
        evaluator.process([{"image_id": image["id"]}], [answer(image["id"], **how)])
    return evaluator.evaluate()


def test_nothing_seen_and_nothing_found():
    evaluator = COCOEvaluator(ANNOTATIONS)
    assert evaluator.evaluate() == {}
    evaluator.process([{"image_id": 1}], [{"instances": answer(1)["instances"][:0]}])
    results = evaluator.evaluate()
    assert list(results) == ["bbox"]
    assert all(math.isnan(value) for value in results["bbox"].values())


def test_perfect_answers():
    results = evaluate(COCOEvaluator(ANNOTATIONS))
    assert list(results) == ["bbox", "segm"]
    for row in results.values():
        assert list(row)[:6] == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
        assert row["AP"] == row["AP-text"] == row["AP-table"] == pytest.approx(100)
        assert math.isnan(row["APs"])  # nothing annotated is small
        assert math.isnan(row["AP-list"])


def test_boxes_alone_and_shifted():
    results = evaluate(COCOEvaluator(ANNOTATIONS), masks=False, shift_px=8.0)
    assert list(results) == ["bbox"]
    assert 20 < results["bbox"]["AP"] < 90
    assert results["bbox"]["AP75"] < results["bbox"]["AP50"]


def test_images_without_a_prediction_count():
    evaluator = COCOEvaluator(ANNOTATIONS)
    evaluator.process([{"image_id": 1}], [answer(1)])
    assert evaluator.evaluate()["bbox"]["AP"] < 60
    assert evaluator.evaluate(img_ids=[1])["bbox"]["AP"] == pytest.approx(100)
    evaluator.reset()
    assert evaluator.evaluate() == {}


@pytest.mark.parametrize(
    ("ids", "metadata", "expected"),
    [
        ([], None, {}),
        ([5, 2, 9], None, {2: 0, 5: 1, 9: 2}),
        ([5, 2], Metadata(thing_dataset_id_to_contiguous_id={2: 1, 5: 0, 7: 2}), {2: 1, 5: 0, 7: 2}),
        ([0, 2], Metadata(thing_dataset_id_to_contiguous_id={2: 1, 5: 0}), {0: 0, 2: 1}),
        ([1, 90], MetadataCatalog.get("coco_2017_val"), {1: 0, 90: 79}),
    ],
)
def test_category_ids(ids, metadata, expected):
    assert category_ids([{"id": one} for one in ids], metadata).items() >= expected.items()


def keypoint_file(tmp_path, visible: int = 2):
    points = [10.0, 10.0, visible, 40.0, 40.0, visible]
    row = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 60, 60], "area": 3600.0}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 100, "width": 100}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{**row, "keypoints": points, "num_keypoints": 2}],
    }
    (tmp_path / "points.json").write_text(json.dumps(content))
    return tmp_path / "points.json"


def person(points: list) -> dict:
    instances = Instances((100, 100), pred_boxes=Boxes(torch.tensor([[0.0, 0, 60, 60]])), scores=torch.ones(1))
    instances.pred_classes, instances.pred_keypoints = torch.zeros(1, dtype=torch.int64), torch.tensor([points])
    return {"instances": instances}


def test_keypoints(tmp_path):
    perfect = person([[10.5, 10.5, 1.0], [40.5, 40.5, 1.0]])  # COCO counts from the first pixel's centre
    evaluator = COCOEvaluator(keypoint_file(tmp_path), kpt_oks_sigmas=[0.01, 0.01])
    evaluator.process([{"image_id": 1}], [perfect])
    results = evaluator.evaluate()
    assert list(results) == ["bbox", "keypoints"]
    assert list(results["keypoints"]) == ["AP", "AP50", "AP75", "APm", "APl"]
    assert results["keypoints"]["AP"] == pytest.approx(100)
    for sigma, expected in ((0.001, 0.0), (1.0, 100.0)):  # a pixel off, to strict and to lenient sigmas
        evaluator = COCOEvaluator(keypoint_file(tmp_path), kpt_oks_sigmas=[sigma, sigma])
        evaluator.process([{"image_id": 1}], [person([[12.5, 10.5, 1.0], [42.5, 40.5, 1.0]])])
        assert evaluator.evaluate()["keypoints"]["AP"] == pytest.approx(expected)
    evaluator = COCOEvaluator(keypoint_file(tmp_path))
    evaluator.process([{"image_id": 1}], [perfect])
    with pytest.raises(LitepredError, match="finds 2 keypoints, the annotations have 2, and there are 17 sigmas"):
        evaluator.evaluate()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"num_keypoints": None}, None),
        ({"keypoints": None}, "has None as its keypoints: expected x, y and visibility of each"),
        ({"keypoints": None, "num_keypoints": None}, "the model finds 2 keypoints, but an annotation of the image 1"),
        ({"keypoints": [1, 2, 2]}, r"has \[1, 2, 2\] as its keypoints"),
        ({"keypoints": "x"}, "has 'x' as its keypoints"),
        ({"keypoints": [1, 2, 2, 1, 2, "x"]}, "as its keypoints: expected"),
        ({"keypoints": [1, 2, 2, math.nan, 2, 2]}, r"nan, 2, 2\] as its keypoints: expected"),
        ({"keypoints": [1, 2, 2, 1, math.inf, 2]}, r"inf, 2\] as its keypoints: expected"),
    ],
)
def test_annotations_without_keypoints_are_told_at_the_first_that_are_predicted(changes, told, tmp_path):
    file = keypoint_file(tmp_path)
    content = json.loads(file.read_text())
    first = content["annotations"][0]
    changed = {key: value for key, value in {**first, **changes}.items() if value is not None}
    file.write_text(json.dumps({**content, "annotations": [{**first, "id": 2}, changed]}))
    evaluator = COCOEvaluator(file, kpt_oks_sigmas=[0.01, 0.01])
    found = person([[10.5, 10.5, 1.0], [40.5, 40.5, 1.0]])
    if told:
        with pytest.raises(LitepredError, match=told):
            evaluator.process([{"image_id": 1}], [found])
        return
    evaluator.process([{"image_id": 1}], [found])
    assert [one["num_keypoints"] for one in evaluator.coco.anns.values()] == [2, 2]
    assert evaluator.evaluate()["keypoints"]["AP"] > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "are not JSON"),
        ("[]", "have no images, categories, annotations"),
        ('{"images": [], "categories": []}', "have no annotations"),
    ],
)
def test_files_that_are_not_cocos(content, message, tmp_path):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(LitepredError, match=message):
        COCOEvaluator(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("images", {"id": None}, r"among their images .*expected a dict with id, file_name"),
        ("categories", {"id": None}, r"among their categories .*expected a dict with id"),
        *(
            ("annotations", {key: None}, f"among their annotations .*expected a dict with .*{key}")
            for key in ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
        ),
        ("annotations", {"bbox": [1, 2, 3]}, r"has the bbox \[1, 2, 3\]: expected x, y, width, height"),
        ("annotations", {"bbox": "x"}, "has the bbox 'x': expected x, y, width, height"),
        *(
            (name, {"id": CONTENT[name][1]["id"]}, f"has 2 {name} with the id .*: expected one of its own for each")
            for name in ("images", "categories", "annotations")
        ),
        ("annotations", {"bbox": [1, 2, 3, math.nan]}, r"has the bbox \[1, 2, 3, nan\]: expected finite numbers"),
        ("annotations", {"bbox": [1, 2, -3, 4]}, "no width or height below 0"),
        (
            "annotations",
            {"category_id": 99},
            "has the category_id 99, which the file does not have: it has 1, 2.*correct",
        ),
        ("annotations", {"category_id": "1"}, "has the category_id '1', which .*; write ids as numbers everywhere"),
        ("annotations", {"category_id": [1]}, r"has the category_id \[1\]: expected a number or a text"),
        ("categories", {"id": "1"}, "has numbers and texts as ids of its categories: write them all as numbers"),
        ("images", {"id": "1"}, "has numbers and texts as ids of its images: write them all as numbers"),
        ("images", {"file_name": 7}, "has an image whose file_name is 7: expected a text"),
        ("annotations", {"bbox": [1, 2, 3, True]}, "expected x, y, width, height"),
        *(
            ("annotations", {"area": area}, f"has the area {area!r}: expected a number of pixels, 0 or more")
            for area in (-1, "7", math.nan)
        ),
        ("annotations", {"iscrowd": "0"}, "has the iscrowd '0': expected 0 or 1"),
        ("annotations", {"image_id": "1"}, "has the image_id '1', which .*; write ids as numbers everywhere"),
    ],
)
def test_records_that_are_damaged_are_refused_before_anything_is_predicted(name, change, message, tmp_path):
    changed = {key: value for key, value in {**CONTENT[name][0], **change}.items() if value is not None}
    (tmp_path / "a.json").write_text(json.dumps({**CONTENT, name: [changed, *CONTENT[name][1:]]}))
    with pytest.raises(LitepredError, match=message):
        COCOEvaluator(tmp_path / "a.json")


def written(folder, **changes):
    (folder / "a.json").write_text(json.dumps({**CONTENT, **changes}))
    return folder / "a.json"


def test_no_categories(tmp_path):
    with pytest.raises(LitepredError, match="has no categories: expected one for each class"):
        COCOEvaluator(written(tmp_path, categories=[]))


@pytest.mark.parametrize("first", [0, "a"])
def test_an_annotation_may_have_any_id(first, tmp_path):
    """pycocotools takes the annotation 0 for one that was missed."""
    annotations = [{**CONTENT["annotations"][0], "id": first}, *CONTENT["annotations"][1:]]
    assert evaluate(COCOEvaluator(written(tmp_path, annotations=annotations)))["bbox"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"bbox": [5, 5, 0, 9]}, r"1 of \d+ annotations .* have a bbox without area"),
        ({"bbox": [9000, 5, 9, 9]}, r"1 of \d+ annotations .* have a bbox that leaves its image"),
        ({"bbox": [300, 300, 400, 500]}, "have a bbox that leaves its image: is it x, y, width, height"),
    ],
)
def test_boxes_that_nothing_can_match_are_told(changes, told, tmp_path):
    annotations = [{**CONTENT["annotations"][0], **changes}, *CONTENT["annotations"][1:]]
    with pytest.warns(UserWarning, match=told):
        COCOEvaluator(written(tmp_path, annotations=annotations))


@pytest.mark.parametrize("annotations", [[], [{**one, "iscrowd": 1} for one in CONTENT["annotations"]]])
def test_nothing_that_counts_is_told(annotations, tmp_path):
    with pytest.warns(UserWarning, match="has no annotation that counts, but for crowds: no AP"):
        COCOEvaluator(written(tmp_path, annotations=annotations))


def test_what_cannot_be_meant(tmp_path):
    fractions = [{**one, "bbox": [0.1, 0.2, 0.3, 0.4]} for one in CONTENT["annotations"]]
    with pytest.raises(LitepredError, match=r"no box of .* is larger than a pixel: expected .* in pixels"):
        COCOEvaluator(written(tmp_path, annotations=fractions))
    with pytest.warns(UserWarning, match=r"has several images of one file, such as 'x.png'"):
        COCOEvaluator(written(tmp_path, images=[{**one, "file_name": "x.png"} for one in CONTENT["images"]]))


def test_annotations_of_images_that_are_not_listed(tmp_path):
    with pytest.warns(UserWarning, match=r"\d of \d+ annotations of .*a.json' are of images that it does not list"):
        COCOEvaluator(written(tmp_path, images=CONTENT["images"][:2]))
    elsewhere = [{**one, "id": 9000 + one["id"]} for one in CONTENT["images"]]
    with pytest.raises(LitepredError, match="do the image_ids belong to another file"):
        COCOEvaluator(written(tmp_path, images=elsewhere))


def test_categories_are_held_against_the_model(tmp_path):
    number = len(CONTENT["categories"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        COCOEvaluator(ANNOTATIONS, num_classes=number)
    background = written(tmp_path, categories=[{"id": 0, "name": "background"}, *CONTENT["categories"]])
    message = rf"{number + 1} categories \(0 'background', 1 .*, but the model has {number} classes: take out"
    with pytest.raises(LitepredError, match=message):
        COCOEvaluator(background, num_classes=number)
    with pytest.warns(UserWarning, match=f"has {number + 2} classes: the categories are taken for the first"):
        COCOEvaluator(ANNOTATIONS, num_classes=number + 2)


NAMES = [one["name"] for one in CONTENT["categories"]]


@pytest.mark.parametrize(
    ("categories", "classes", "refused", "told"),
    [
        (NAMES, (), None, None),
        (NAMES, NAMES, None, None),
        (NAMES, [*NAMES, "formula"], None, None),
        ([normalize("NFD", "é"), *NAMES[1:]], [normalize("NFC", "é"), *NAMES[1:]], None, None),
        ([None] * 5, NAMES, None, None),
        (NAMES, NAMES[::-1], "category 0 is 'text', but the model's class 0 is 'figure': list all of the", None),
        (NAMES, [*NAMES[:3], "figure", "table"], "category 3 is 'table', but the model's class 3 is 'figure'", None),
        (NAMES, ["formula", *NAMES], "category 0 is 'text', but the model's class 0 is 'formula'", None),
        (NAMES, ["a", "b", "c", "d", "e"], None, "category 0 is 'text', but the model's class 0 is 'a': are the cat"),
        (
            NAMES,
            [*NAMES[1:], "e"],
            None,
            "category 1 is 'title', but the model's class 1 is 'list': are the categories",
        ),
        (["x", "x", "list", "table", "figure"], (), None, "has several categories of one name, such as 'x'"),
    ],
)
def test_names_of_categories_are_held_against_the_models(categories, classes, refused, told, tmp_path):
    rows = [{**one, "name": name} for one, name in zip(CONTENT["categories"], categories)]
    rows = [{key: value for key, value in one.items() if value is not None} for one in rows]
    file, metadata = written(tmp_path, categories=rows[::-1]), Metadata(thing_classes=list(classes))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if refused:
            with pytest.raises(LitepredError, match=refused):
                COCOEvaluator(file, metadata)
        else:
            COCOEvaluator(file, metadata)
    assert [told in str(one.message) for one in caught] == ([True] if told else [])


def test_names_of_categories_that_the_data_set_numbers_are_its_own_matter():
    ids = {one["id"]: 4 - label for label, one in enumerate(CONTENT["categories"])}
    COCOEvaluator(ANNOTATIONS, Metadata(thing_classes=NAMES, thing_dataset_id_to_contiguous_id=ids))


def test_annotations_that_share_ids(tmp_path):
    """Those that were released do."""
    annotations = [{**one, "id": 1} for one in CONTENT["annotations"]]
    file = written(tmp_path, annotations=annotations).rename(tmp_path / "minival.json")
    with pytest.warns(UserWarning, match=r"has 16 annotations with the id 1"):
        evaluator = COCOEvaluator(file)
    assert evaluate(evaluator)["bbox"]["AP"] == pytest.approx(100)


def test_many_annotations_of_images_that_are_not_listed(tmp_path):
    images = [{**CONTENT["images"][0], "id": number, "file_name": str(number)} for number in range(4000)]
    annotations = [{**CONTENT["annotations"][0], "id": number, "image_id": number - 1} for number in range(1, 24000)]
    file, start = written(tmp_path, images=images, annotations=annotations), time.process_time()
    with pytest.warns(UserWarning, match="19999 of 23999 annotations"):
        COCOEvaluator(file)
    assert time.process_time() - start < 4


def test_an_image_of_another_size(tmp_path):
    images = [{**one, "height": 2 * one["height"]} for one in CONTENT["images"]]
    evaluator = COCOEvaluator(written(tmp_path, images=images))
    with pytest.raises(LitepredError, match="has 540 × 420 pixels, but the annotations say 1080 × 420"):
        evaluator.process([{"image_id": 1}], [answer(1)])
    bare = [{key: one[key] for key in ("id", "file_name")} for one in CONTENT["images"]]
    COCOEvaluator(written(tmp_path, images=bare)).process([{"image_id": 1}], [answer(1, masks=False)])


@pytest.mark.parametrize("image_id", [np.int64(1), torch.tensor(1), np.array(1), torch.tensor([1])], ids=repr)
def test_ids_of_numpy_and_torch(image_id):
    evaluator = COCOEvaluator(ANNOTATIONS)
    evaluator.process([{"image_id": image_id}], [answer(1)])
    assert {type(one["image_id"]) for one in evaluator.predictions} == {int}
    of_segments = PanopticEvaluator(ANNOTATED / "panoptic.json", metadata=MetadataCatalog.get("page_layout_val"))
    of_segments.process([{"image_id": image_id}], [perfect(1)])
    assert of_segments.evaluate()
    for one in (evaluator, of_segments):
        with pytest.raises(LitepredError, match="came as the id of an image: expected a number or a text for each"):
            one.process([{"image_id": torch.tensor([1, 2])}], [answer(1) | perfect(1)])


POLYGON = [1, 2, 30, 2, 30, 40]


@pytest.mark.parametrize(
    "segmentation",
    [
        *(None, [], "x", [[1, 2, 3]], {"size": [9, 9]}),
        *([[*POLYGON, value, 5]] for value in (math.nan, math.inf, 1e9, -1e9, "7", None)),
        *([POLYGON, later] for later in (7, "x", None, [[1, 2]], [1, 2, 3, math.nan, 5, 6])),
        *({"size": list(size), "counts": "PPYo1"} for size in (SIZE[::-1], (*SIZE, 1), "x")),
        *({"size": list(SIZE), "counts": runs} for runs in (None, 7, ["x"], [540 * 420 + 1, -1], [540], [math.nan])),
        *(
            {"size": list(SIZE), "counts": text}
            for text in ("", "0", "PPYo1", "é", "\ud800", "o", "o" * 99 + "0", "Rn1")
        ),
    ],
)
def test_annotations_without_masks_are_told_at_the_first_predicted_mask(segmentation, tmp_path):
    first = {**CONTENT["annotations"][0], "segmentation": segmentation}
    content = {**CONTENT, "annotations": [first, *CONTENT["annotations"][1:]]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    evaluator = COCOEvaluator(tmp_path / "a.json")
    evaluator.process([{"image_id": 1}], [answer(1, masks=False)])
    with pytest.raises(LitepredError, match="expected polygons or run lengths"):
        evaluator.process([{"image_id": 1}], [answer(1)])


@pytest.mark.parametrize(
    "segmentation",
    [
        [[*POLYGON, -40, 900]],
        [POLYGON, [1, 2, 3, 4]],
        {"size": list(SIZE), "counts": [540 * 420]},
        {"size": list(SIZE), "counts": [9, 9, 540 * 420 - 18]},
        mask_to_rle(polygons_to_bitmask([POLYGON], *SIZE)),
    ],
)
def test_masks_that_pycocotools_draws(segmentation, tmp_path):
    first = {**CONTENT["annotations"][0], "segmentation": segmentation}
    elsewhere = {**first, "id": 99, "image_id": 99, "segmentation": None}  # of an image that is not listed
    with pytest.warns(UserWarning, match="1 of 17 annotations"):
        evaluator = COCOEvaluator(written(tmp_path, annotations=[first, *CONTENT["annotations"][1:], elsewhere]))
    evaluator.process([{"image_id": 1}], [answer(1)])
    assert evaluator.evaluate()["segm"]["AP"] > 0


@pytest.mark.parametrize("size", [(1, 1), (9, 7), (3000, 2000)])
@pytest.mark.parametrize("density", [0.0, 1e-5, 0.01, 0.5, 1.0])
def test_run_lengths_of_text(density, size):
    mask = np.random.default_rng(0).random(size) < density
    pixels = np.concatenate([[False], mask.T.ravel(), [not mask[-1, -1]]])  # runs begin with one of background
    expected = np.diff(np.flatnonzero(np.diff(pixels)), prepend=0).tolist()
    assert _runs(mask_to_rle(mask)["counts"]) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], float("nan")),
        ([[30, 20, 40, 10, 30]], 100.0),
        ([[30, 20, 10, 40, 120]], 100.0),  # the same box, a quarter turned
        ([[30, 20, 40, 10, -30]], 0.0),
        ([[30, 20, 40, 10, 0], [30, 20, 40, 10, 30]], 50.0),
    ],
)
def test_rotated_boxes(found, expected, tmp_path):
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [30, 20, 40, 10, 30], "area": 400, "iscrowd": 0}
    content = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1}], "annotations": [box]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    evaluator = COCOEvaluator(tmp_path / "a.json")
    instances = Instances((50, 60), pred_boxes=RotatedBoxes(torch.tensor(found, dtype=torch.float32).view(-1, 5)))
    instances.scores = 1 - torch.arange(len(found)) / 10
    instances.pred_classes = torch.zeros(len(found), dtype=torch.int64)
    evaluator.process([{"image_id": 1}], [{"instances": instances}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("box", "expected"), [([10.0, 15, 50, 25], 100.0), ([28.0, 5, 32, 35], 0.0), ([100.0, 100, 104, 109], 0.0)]
)
def test_upright_boxes_are_measured_on_rotated_annotations(box, expected, tmp_path):
    row = {"image_id": 1, "category_id": 1, "area": 400, "iscrowd": 0}
    rows = [{**row, "id": 1, "bbox": [30, 20, 40, 10, 0]}]
    content = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1}], "annotations": rows}
    (tmp_path / "a.json").write_text(json.dumps(content))
    evaluator = COCOEvaluator(tmp_path / "a.json")
    instances = Instances((150, 160), pred_boxes=Boxes(torch.tensor([box])), scores=torch.ones(1))
    instances.pred_classes = torch.zeros(1, dtype=torch.int64)
    evaluator.process([{"image_id": 1}], [{"instances": instances}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(expected)


def test_upright_boxes_against_rotated_annotations():
    found, annotated = [{"bbox": [10.0, 20, 40, 10], "score": 0.5}], [{"bbox": [30.0, 25, 40, 10, 0]}]
    measured = SimpleNamespace(_dts={(1, 2): found}, _gts={(1, 2): annotated}, params=SimpleNamespace(maxDets=[100]))
    assert _rotated_ious(measured, 1, 2).tolist() == [[pytest.approx(1.0)]]


def test_outputs_that_cannot_be_measured():
    evaluator = COCOEvaluator(ANNOTATIONS)
    with pytest.raises(LitepredError, match="the annotations have no image 99"):
        evaluator.process([{"image_id": 99}], [answer(1)])
    with pytest.raises(LitepredError, match="this model finds sem_seg"):
        evaluator.process([{"image_id": 1}], [{"sem_seg": torch.zeros(1, 2, 2)}])
    foreign = answer(1)
    foreign["instances"].pred_classes += 40
    with pytest.raises(LitepredError, match="annotations have 5 categories"):
        evaluator.process([{"image_id": 1}], [foreign])


# panoptic quality, on segments small enough to count by hand


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
    counts = {7: np.zeros(4), 8: np.zeros(4)}
    compare_segments(row(annotated), truth, row(found), guess, counts)
    assert {key: tuple(one) for key, one in counts.items() if any(one)} == expected


def test_areas_are_those_that_the_annotation_tells():
    """As panopticapi has it: the areas of some files are those of polygons."""
    counts = {7: np.zeros(4)}
    compare_segments(row("1111"), [{"id": 1, "category_id": 7, "area": 5}], row("222."), segments((2, 7)), counts)
    assert tuple(counts[7]) == (0.6, 1, 0, 0)


@pytest.mark.parametrize("area", [0, 1, -4])
def test_an_area_that_the_picture_contradicts_is_refused(area):
    truth = [{"id": 1, "category_id": 7, "area": area}]
    with pytest.raises(LitepredError, match=rf"tell {area} pixels as the area of the segment 1, which has 4 in its"):
        compare_segments(row("1111"), truth, row("2222"), segments((2, 7)), {7: np.zeros(4)})


def test_quality():
    counts = {key: np.array(one) for key, one in {1: (1.5, 2, 1, 1), 2: (0, 0, 1, 0), 3: (0, 0, 0, 0)}.items()}
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
        compare_segments(row("1111"), segments((1, 7)), found, guess, {7: np.zeros(4)})


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


def test_perfect_panoptic_answers():
    evaluator = PanopticEvaluator(ANNOTATED / "panoptic.json", metadata=MetadataCatalog.get("page_layout_val"))
    assert evaluator.evaluate() == {}
    for image in evaluator.images:
        evaluator.process([{"image_id": image["id"]}], [perfect(image["id"])])
    assert set(evaluator.evaluate()["panoptic_seg"].values()) == {100.0}
    assert len(evaluator.evaluate()["panoptic_seg"]) == 9


def by_divisor(image_id: int) -> dict:
    """The perfect answer as a model gives it that describes no segments: class · 1000 + instance, -1 for void."""
    ids, described = perfect(image_id)["panoptic_seg"]
    found = torch.full_like(ids, -1)
    for one in described:
        found[ids == one["id"]] = one["category_id"] * 1000 + one["id"] if one["isthing"] else 6000
    return {"panoptic_seg": (found, None)}


def by_category(image_id: int) -> dict:
    """The perfect answer with the file's own categories, and without ``isthing``."""
    ids, _ = perfect(image_id)["panoptic_seg"]
    entry = next(one for one in PANOPTIC["annotations"] if one["image_id"] == image_id)
    return {
        "panoptic_seg": (ids, [{"id": one["id"], "category_id": one["category_id"]} for one in entry["segments_info"]])
    }


@pytest.mark.parametrize("answer", [perfect, by_divisor, by_category])
def test_the_forms_of_panoptic_answers(answer):
    ids = {
        "thing_dataset_id_to_contiguous_id": {i + 1: i for i in range(5)},
        "stuff_dataset_id_to_contiguous_id": {7: 6 if answer is by_divisor else 1},
    }
    metadata = Metadata(label_divisor=1000, **ids)
    evaluator = PanopticEvaluator(ANNOTATED / "panoptic.json", metadata=metadata)
    outputs = answer(1)
    before = outputs["panoptic_seg"][0].clone()
    evaluator.process([{"image_id": 1}], [outputs])
    assert torch.equal(outputs["panoptic_seg"][0], before)
    assert evaluator.evaluate()["panoptic_seg"]["PQ"] == 100


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
    with pytest.raises(LitepredError, match="without segments_info, which needs metadata with label_divisor"):
        evaluator.process([{"image_id": 1}], [by_divisor(1)])
    outputs = perfect(1)
    outputs["panoptic_seg"][1][0].update(isthing=False, category_id=0)
    with pytest.raises(LitepredError, match="found stuff of class 0, which the panoptic annotations do not have"):
        evaluator.process([{"image_id": 1}], [outputs])


PANOPTIC = json.loads((ANNOTATED / "panoptic.json").read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": PANOPTIC["annotations"][1]["image_id"]}, "has 2 annotations with the image_id 2: expected one"),
        ({"segments_info": [{"id": 1, "category_id": 99}]}, "the image 1 has the segment .*99}: expected a dict with"),
        ({"segments_info": [{"category_id": PANOPTIC["categories"][0]["id"]}]}, "expected a dict with an id"),
        ({"segments_info": [7]}, "the image 1 has the segment 7: expected a dict"),
        ({"segments_info": [{"id": [1], "category_id": 1}]}, r"the segment \{'id': \[1\].*expected a dict with an id"),
        ({"segments_info": [{"id": 1, "category_id": 1, "area": "9"}]}, "the segment .*expected a dict with an id"),
        (
            {"segments_info": [{"id": 5, "category_id": 1}] * 2},
            "the image 1 has 2 segments with the id 5: expected one",
        ),
        ({"segments_info": None}, "an annotation whose segments_info is None: expected a list"),
        ({"file_name": 7}, "an annotation whose file_name is 7: expected a text"),
    ],
)
def test_panoptic_annotations_that_contradict_themselves(change, message, tmp_path):
    annotations = [{**PANOPTIC["annotations"][0], **change}, *PANOPTIC["annotations"][1:]]
    (tmp_path / "a.json").write_text(json.dumps({**PANOPTIC, "annotations": annotations}))
    with pytest.raises(LitepredError, match=message):
        PanopticEvaluator(tmp_path / "a.json", metadata=MetadataCatalog.get("page_layout_val"))


def test_a_panoptic_image_whose_name_is_a_number(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({**PANOPTIC, "images": [{**PANOPTIC["images"][0], "file_name": 7}]}))
    with (
        pytest.warns(UserWarning),
        pytest.raises(LitepredError, match="an image whose file_name is 7: expected a text"),
    ):
        PanopticEvaluator(tmp_path / "a.json", metadata=MetadataCatalog.get("page_layout_val"))


def test_panoptic_annotations_of_images_that_are_not_listed(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({**PANOPTIC, "images": PANOPTIC["images"][:1]}))
    with pytest.warns(UserWarning, match=r"3 of 4 annotations of .*a.json' are of images that it does not list"):
        PanopticEvaluator(tmp_path / "a.json", metadata=MetadataCatalog.get("page_layout_val"))


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_panoptic_classes_are_one_in_either_form(form, other, tmp_path):
    first, *rest = PANOPTIC["categories"]
    categories = [{**first, "name": normalize(form, "é")}, *rest]
    (tmp_path / "a.json").write_text(json.dumps({**PANOPTIC, "categories": categories}))
    facts = MetadataCatalog.get("page_layout_val").as_dict()
    names = [normalize(other, "é"), *facts["thing_classes"][1:]]
    metadata = Metadata(thing_classes=names, stuff_classes=facts["stuff_classes"])
    evaluator = PanopticEvaluator(tmp_path / "a.json", ANNOTATED / "panoptic", metadata)
    evaluator.process([{"image_id": 1}], [perfect(1)])
    assert evaluator.evaluate()["panoptic_seg"]["PQ"] == 100


def test_images_without_a_panoptic_annotation_do_not_count(tmp_path):
    names = MetadataCatalog.get("page_layout_val")
    (tmp_path / "a.json").write_text(json.dumps({**PANOPTIC, "annotations": PANOPTIC["annotations"][1:]}))
    with pytest.warns(UserWarning, match=r"1 of 4 images of .*a.json' have no annotation, and do not count"):
        evaluator = PanopticEvaluator(tmp_path / "a.json", ANNOTATED / "panoptic", names)
    assert [one["id"] for one in evaluator.images] == [2, 3, 4]
    evaluator.process([{"image_id": 1}], [perfect(1)])
    assert evaluator.evaluate() == {}
    elsewhere = [{**one, "image_id": 9000 + one["image_id"]} for one in PANOPTIC["annotations"]]
    (tmp_path / "a.json").write_text(json.dumps({**PANOPTIC, "annotations": elsewhere}))
    with pytest.raises(LitepredError, match=r"4 of 4 images .* have no annotation: do the image_ids belong to another"):
        PanopticEvaluator(tmp_path / "a.json", ANNOTATED / "panoptic", names)


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_picture_whose_name_is_in_the_other_form(form, other, tmp_path):
    first = {**PANOPTIC["annotations"][0], "file_name": normalize(other, "é.png")}
    (tmp_path / "a.json").write_text(json.dumps({**PANOPTIC, "images": PANOPTIC["images"][:1], "annotations": [first]}))
    shutil.copy(ANNOTATED / "panoptic" / "page1.png", tmp_path / normalize(form, "é.png"))
    evaluator = PanopticEvaluator(tmp_path / "a.json", tmp_path, MetadataCatalog.get("page_layout_val"))
    evaluator.process([{"image_id": 1}], [perfect(1)])
    assert evaluator.evaluate()["panoptic_seg"]["PQ"] == 100


def test_a_picture_of_other_segments():
    ids = np.full((2, 2), 65793)  # gray in place of an id's bytes
    with pytest.raises(LitepredError, match="picture has none of the segments that it describes"):
        compare_segments(ids, [{"id": 1, "category_id": 1}], np.zeros((2, 2), int), [], {1: np.zeros(4)})
