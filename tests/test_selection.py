"""What a call chooses is what the model would have found with such limits, and no other call is touched by it."""

from __future__ import annotations

import threading
from enum import Enum

import numpy as np
import pytest
import torch
from tiny_models import golden, tiny_cfg, tiny_image

from litepred import ConfigError, Predictor
from litepred.data import Metadata, video_file
from litepred.selection import Selection, class_number
from litepred.structures import Boxes, Instances


class Kind(Enum):
    FIRST = "cat"
    SECOND = "dog"
    OTHER = "ant"


class Size(Enum):
    SMALL = 1
    LARGE = 2


FAMILIES = ["fpn", "c4", "cascade", "retinanet", "panoptic", "rotated"]


@pytest.fixture(scope="module", params=FAMILIES)
def predictor(request):
    return tiny_predictor(request.param)


def tiny_predictor(family, **options):
    changes = {"MASK_ON": True} if family in ("fpn", "c4") else {}
    cfg = tiny_cfg(family, **changes, RETINANET__TOPK_CANDIDATES_TEST=100_000)
    cfg.INPUT.MIN_SIZE_TEST = 64
    weights = {name: value for name, value in golden(cfg).state_dict().items() if not name.startswith("pixel_")}
    return Predictor(cfg, weights=weights, exact=True, class_names=["cat", "dog", "cow"], **options)


def image():
    return tiny_image().permute(1, 2, 0).numpy()


def limited(predictor, threshold, most):
    """The same model with other limits for good, as a config would set them."""
    cfg = predictor.cfg.clone()
    cfg.defrost()
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = cfg.MODEL.RETINANET.SCORE_THRESH_TEST = threshold
    cfg.TEST.DETECTIONS_PER_IMAGE = most
    return Predictor(cfg, weights=predictor.model.state_dict(), exact=True)


def assert_same(one, other):
    assert one["instances"].get_fields().keys() == other["instances"].get_fields().keys()
    for name, value in one["instances"].get_fields().items():
        ours, theirs = (getattr(v, "tensor", v) for v in (value, other["instances"].get(name)))
        assert torch.equal(ours, theirs), name
    if "panoptic_seg" in one:
        assert torch.equal(one["panoptic_seg"][0], other["panoptic_seg"][0])
        assert one["panoptic_seg"][1] == other["panoptic_seg"][1]


@pytest.mark.parametrize(("threshold", "most"), [(0.01, 100), (0.25, 3)])
def test_as_a_model_with_such_limits(predictor, threshold, most):
    expected = limited(predictor, threshold, most)(image())
    before = predictor(image())
    found = predictor(image(), threshold=threshold, max_detections=most)
    assert_same(found, expected)
    assert_same(predictor(image()), before)
    (found,) = predictor.batch([image()], threshold=threshold, max_detections=most)
    assert_same(found, expected)


def test_classes_of_an_iterator_count_for_every_image(predictor, tmp_path):
    expected = predictor(image(), threshold=0.0, classes=["cat", "dog"])
    assert len(expected["instances"])
    for found in predictor.batch([image(), image()], threshold=0.0, classes=map(str.strip, ["cat", " dog"])):
        assert_same(found, expected)
    with video_file(tmp_path / "film.mp4", 10, image().shape[:2]) as add_frame:
        for _ in range(2):
            add_frame(image())
    chosen = iter(["cat", "dog"])
    found = [one.outputs for one in predictor.stream(tmp_path / "film.mp4", threshold=0.0, classes=chosen)]
    assert [len(one["instances"]) > 0 for one in found] == [True, True]


@pytest.mark.parametrize("chosen", [["dog"], [1], ["cat", 2], []])
def test_classes_fill_the_places_of_others(predictor, chosen):
    every = predictor(image(), threshold=0.0, max_detections=10_000)["instances"]
    numbers = [class_number(one, predictor.metadata) for one in chosen]
    expected = every[torch.isin(every.pred_classes, torch.tensor(numbers))][:4]
    found = predictor(image(), threshold=0.0, classes=chosen, max_detections=4)["instances"]
    assert bool(len(found)) == bool(chosen)  # boxes of RetinaNet may lie outside of the image
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor[: len(found)])
    assert torch.equal(found.pred_classes, expected.pred_classes[: len(found)])


def test_a_threshold_for_each_class(predictor):
    every = predictor(image(), threshold=0.0, max_detections=10_000)["instances"]
    own = next(part.test_score_thresh for part in predictor.model.modules() if hasattr(part, "test_score_thresh"))
    limits = torch.tensor([own, 0.05, 1.0])  # the config's own is another
    expected = every[every.scores > limits[every.pred_classes]]
    found = predictor(image(), threshold={"dog": 0.05, 2: 1.0}, max_detections=10_000)["instances"]
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)


def test_agnostic_nms(predictor):
    plain = predictor(image(), threshold=0.05, max_detections=1000)["instances"]
    found = predictor(image(), threshold=0.05, max_detections=1000, agnostic_nms=True)
    single = found["instances"]
    assert 0 < len(single) < len(plain)
    again = Instances(single.image_size, **single.get_fields())
    again.pred_classes = torch.zeros_like(single.pred_classes)
    assert torch.equal(Selection(None, {}, None, True, None).apply(again).scores, single.scores)  # none overlap
    segments = [one for one in found.get("panoptic_seg", (None, []))[1] if one["isthing"]]
    assert all(segment["score"] == single.scores[segment["instance_id"]] for segment in segments)
    (first,) = predictor(image(), threshold=0.05, max_detections=1, agnostic_nms=True)["instances"].scores.tolist()
    assert first == plain.scores[0]


@pytest.mark.parametrize("predictor", ["fpn", "retinanet"], indirect=True)
def test_other_threads_keep_their_limits(predictor):
    choices = [{}, {"threshold": 0.01}, {"threshold": 0.9}, {"classes": ["cat"]}]
    expected = [predictor(image(), **choice) for choice in choices]
    wrong = []

    def work(choice, answer):
        for _ in range(2):
            try:
                assert_same(predictor(image(), **choice), answer)
            except AssertionError as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(choices, expected)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_augmented_images():
    cfg = tiny_cfg("fpn", MASK_ON=True)
    cfg.TEST.AUG.MIN_SIZES = (64, 80)
    model = golden(cfg)
    predictor = Predictor(cfg, weights=model.state_dict(), exact=True, tta=True)
    plain = predictor(image())["instances"]
    more = predictor(image(), threshold=0.01, max_detections=40)["instances"]
    assert len(plain) == 10 < len(more) <= 40
    assert torch.equal(predictor(image())["instances"].scores, plain.scores)


@pytest.mark.parametrize("predictor", ["fpn"], indirect=True)
@pytest.mark.parametrize("number", [np.array, torch.tensor, lambda value: np.array(value)[()]])
def test_numbers_of_numpy_and_torch(predictor, number):
    plain = {"threshold": 0.125, "classes": 1, "max_detections": 3}
    expected = predictor(image(), **plain)
    assert len(expected["instances"])
    for name, value in plain.items():
        assert_same(predictor(image(), **{**plain, name: number(value)}), expected)
    assert_same(predictor(image(), **{**plain, "classes": [number(1)], "threshold": {1: number(0.125)}}), expected)
    assert_same(predictor(image(), **{**plain, "classes": number([1, 1])}), expected)


@pytest.mark.parametrize("predictor", ["fpn"], indirect=True)
@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"threshold": 2}, "threshold is 2: expected a number from 0 to 1"),
        ({"threshold": {"cat": "a"}}, "threshold is 'a'"),
        ({"threshold": {"cot": 0.5}}, "threshold has 'cot', which is no class of this model: it has cow, cat …"),
        ({"classes": ["cat", "ca"]}, "classes has 'ca'"),
        ({"classes": [3]}, "classes has 3, which is no class of this model: it has cat, dog, cow, or 0 to 2"),
        ({"classes": [-1]}, "classes has -1"),
        ({"classes": 1.0}, r"classes has 1\.0, which is no class of this model"),
        ({"classes": Kind.OTHER}, "classes has 'ant', which is no class of this model"),
        ({"max_detections": -1}, "max_detections is -1: expected a whole number, 0 or more"),
        ({"max_detections": 2.0}, "max_detections is 2.0"),
        ({"threshold": np.float32(2)}, r"threshold is 2\.0: expected a number from 0 to 1"),
        ({"threshold": np.array([0.5, 0.5])}, "threshold is array"),
    ],
)
def test_what_is_refused_at_once(predictor, choice, message):
    for ask in (lambda: predictor(image(), **choice), lambda: predictor.batch([], **choice)):
        with pytest.raises(ConfigError, match=message):
            ask()


@pytest.mark.parametrize("predictor", ["fpn"], indirect=True)
def test_a_name_of_no_argument(predictor):
    with pytest.raises(ConfigError, match="treshold came, but a call takes threshold, classes"):
        predictor(image(), treshold=0.5)


def test_a_model_without_instances():
    predictor = tiny_predictor("proposals")
    assert len(predictor(image(), threshold=0.5)["proposals"]) == len(predictor(image())["proposals"])
    with pytest.raises(ConfigError, match="classes came, but this model finds proposals and no instances"):
        predictor(image(), classes=[1])


def test_classes_without_names():
    assert class_number("7", None) == class_number(7, None) == 7
    with pytest.raises(ConfigError, match="its classes are not known: name them with class_names, or give"):
        class_number("cat", None)


def test_members_of_an_enumeration():
    assert class_number(Kind.SECOND, Metadata(thing_classes=Kind)) == 1
    assert class_number(Kind.SECOND, Metadata(thing_classes=["cat", "dog"])) == 1
    assert class_number(Size.SMALL, Metadata(thing_classes=Size)) == 0
    assert Selection.of(Metadata(thing_classes=Kind), classes=Kind.SECOND).classes == {1}
    assert Selection.of(Metadata(thing_classes=Kind), classes=Kind).classes == {0, 1, 2}


def test_apply_on_none():
    none = Instances((5, 5), pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0), pred_classes=torch.zeros(0))
    assert len(Selection(0.5, {0: 0.1}, frozenset([1]), True, 3).apply(none)) == 0


@pytest.mark.parametrize("classes", [1, np.int64(1), np.array(1), torch.tensor(1), torch.tensor([1]), [np.int64(1)]])
def test_a_class_by_its_number_alone(classes):
    assert Selection.of({}, classes=classes, num_classes=3).classes == frozenset({1})
