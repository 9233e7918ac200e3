"""Instances in the types of other packages, with masks of every format."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch

from litepred import ConfigError, ImageError, LitepredError, PolygonMasks
from litepred.results import crops, filter, to_coco, to_dataframe, to_dicts, to_supervision
from litepred.results.things import things
from litepred.structures import (
    BitMasks,
    Boxes,
    Instances,
    Origin,
    ROIMasks,
    RotatedBoxes,
    instance_mask,
    mask_to_polygons,
    mask_to_rle,
)

pytest.importorskip("pycocotools")
SIZE = (20, 30)
MASKS = torch.zeros(2, *SIZE, dtype=torch.bool)
MASKS[0, 3:12, 2:10] = True
MASKS[1] = True
FORMATS = {
    "bitmask": lambda: MASKS,
    "rle": lambda: [mask_to_rle(mask) for mask in MASKS],
    "polygon": lambda: [mask_to_polygons(mask) for mask in MASKS],
    "roi": lambda: ROIMasks(torch.ones(2, 28, 28)),
    "bitmasks": lambda: BitMasks(MASKS),
    "polygon masks": lambda: PolygonMasks([[[2.0, 3, 10, 3, 10, 12, 2, 12]], [[0.0, 0, 30, 0, 30, 20, 0, 20]]]),
}
every_format = pytest.mark.parametrize("masks", FORMATS.values(), ids=FORMATS)


def found(masks=None, **fields):
    one = Instances(
        SIZE,
        pred_boxes=Boxes(torch.tensor([[2.0, 3, 10, 12], [0, 0, 30, 20]])),
        scores=torch.tensor([0.9, 0.6]),
        pred_classes=torch.tensor([1, 0]),
        **fields,
    )
    if masks is not None:
        one.pred_masks = masks
    one._origin = Origin(["cat", "dog"])
    return one


class TestFilter:
    @every_format
    @pytest.mark.parametrize(
        ("arguments", "kept"),
        [
            ({}, [0, 1]),
            ({"score": 0.95}, []),
            ({"score": 0.7}, [0]),
            ({"score": {"dog": 0.95}}, [1]),
            ({"classes": ["cat"]}, [1]),
            ({"classes": 1}, [0]),
            ({"score": 0.7, "classes": ["cat"]}, []),
            ({"classes": ["b"], "metadata": ["a", "b"]}, [0]),
        ],
    )
    def test_what_is_kept(self, masks, arguments, kept):
        whole = found(masks())
        outputs = {"instances": whole, "sem_seg": 3}
        chosen = filter(outputs, **arguments)
        assert chosen["sem_seg"] == 3 and outputs["instances"] is whole
        assert torch.equal(chosen["instances"].scores, whole.scores[kept])
        for i, k in enumerate(kept):
            assert torch.equal(instance_mask(chosen["instances"], i), MASKS[k])
        assert torch.equal(filter(whole, **arguments).scores, whole.scores[kept])

    def test_a_panoptic_map_without_a_list_stays(self):
        outputs = {"instances": found(), "panoptic_seg": (torch.zeros(SIZE), None)}
        assert filter(outputs, score=0.7)["panoptic_seg"] is outputs["panoptic_seg"]

    def test_panoptic_segments_go_with_their_instances(self):
        ids = torch.zeros(SIZE, dtype=torch.int32)
        ids[3:12, 2:10], ids[12:], ids[0] = 1, 2, 3
        segments = [
            {"id": 1, "isthing": True, "category_id": 1, "instance_id": 0, "score": 0.9},
            {"id": 2, "isthing": True, "category_id": 0, "instance_id": 1, "score": 0.6},
            {"id": 3, "isthing": False, "category_id": 4, "area": 30},
        ]
        outputs = {"instances": found(), "panoptic_seg": (ids, segments)}
        chosen, kept = filter(outputs, classes=["cat"])["panoptic_seg"]
        assert kept == [{**segments[1], "instance_id": 0}, segments[2]]
        assert torch.equal(chosen, ids.where(ids != 1, 0)) and (ids == 1).any()
        assert filter(outputs)["panoptic_seg"] == (ids, segments)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"classes": ["cow"]}, "classes has 'cow', which is no class of this model: it has cat, dog, or 0 to 1"),
            ({"score": {"cow": 0.5}}, "threshold has 'cow'"),
            ({"score": 1.5}, "expected a number from 0 to 1"),
        ],
    )
    def test_what_is_refused(self, arguments, message):
        with pytest.raises(ConfigError, match=message):
            filter(found(), **arguments)


class TestCrops:
    IMAGE = np.arange(20 * 30 * 3, dtype=np.int64).reshape(20, 30, 3).astype(np.uint8)

    def test_none(self):
        assert crops(self.IMAGE, found()[:0]) == []

    @every_format
    def test_masked(self, masks):
        first, second = crops(self.IMAGE, {"instances": found(masks())}, masked=True)
        assert np.array_equal(first[..., :3], self.IMAGE[3:12, 2:10]) and (first[..., 3] == 255).all()
        assert np.array_equal(second[..., :3], self.IMAGE)

    def test_padding_ends_at_the_image(self):
        with pytest.raises(ConfigError, match=r"padding is 4\.0: expected a whole number"):
            crops(self.IMAGE, found(), padding=4.0)
        first, second = crops(self.IMAGE, found(), padding=np.int64(4))
        assert np.array_equal(first, self.IMAGE[0:16, 0:14])
        assert second.shape == (20, 30, 3)

    @pytest.mark.parametrize("shape", [(), (1,), (2,), (3,), (4,), (5,)])
    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    def test_bands(self, shape, dtype):
        """Gray becomes BGR and alpha goes, as ever; others stay."""
        image = np.random.default_rng(0).integers(0, 256, (*SIZE, *shape)).astype(dtype)
        expected = {(): np.dstack([image] * 3), (1,): np.dstack([image] * 3), (4,): image[..., :3]}.get(shape, image)
        assert np.array_equal(crops(image, found())[0], expected[3:12, 2:10])
        (cut, _) = crops(image, found(MASKS), masked=True)
        assert np.array_equal(cut[..., :-1], expected[3:12, 2:10]) and (cut[..., -1] == 255).all()

    def test_a_rotated_box_is_cut_upright(self):
        turned = Instances(SIZE, pred_boxes=RotatedBoxes(torch.tensor([[15.0, 10, 8, 4, 90]])))
        assert [one.shape for one in crops(self.IMAGE, turned)] == [(8, 4, 3)]

    @pytest.mark.parametrize(
        ("image", "masked", "error"), [(IMAGE[:5], False, ImageError), (IMAGE, True, LitepredError)]
    )
    def test_what_is_refused(self, image, masked, error):
        with pytest.raises(error, match="came with" if error is ImageError else "no pred_masks"):
            crops(image, found(), masked=masked)


@every_format
def test_names_and_coco(masks):
    assert [one["category"] for one in to_dicts(found(masks()))] == ["dog", "cat"]
    entries = to_coco(found(masks()), 7)
    assert [(one["image_id"], one["category_id"], one["segmentation"]["size"]) for one in entries] == [
        (7, 1, [20, 30]),
        (7, 0, [20, 30]),
    ]


@pytest.mark.parametrize(
    ("function", "package"), [(to_supervision, "supervision"), (to_dataframe, "pandas")], ids=["supervision", "pandas"]
)
def test_a_missing_package(function, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LitepredError, match=f"needs the package {package}: pip install"):
        function(found())


class TestSupervision:
    sv = property(lambda self: pytest.importorskip("supervision"))

    @every_format
    @pytest.mark.parametrize("number", [0, 2])
    def test_fields(self, masks, number):
        assert self.sv
        detections = to_supervision(found(masks(), track_ids=torch.tensor([4, -1]))[:number])
        assert np.array_equal(detections.xyxy, found().pred_boxes.tensor.numpy()[:number])
        assert np.array_equal(detections.mask, MASKS.numpy()[:number])
        assert detections.class_id.tolist() == [1, 0][:number]
        assert detections.tracker_id.tolist() == [4, -1][:number]
        assert detections.data["class_name"].tolist() == ["dog", "cat"][:number]

    def test_rotated_boxes(self):
        assert self.sv
        turned = Instances(
            SIZE,
            pred_boxes=RotatedBoxes(torch.tensor([[15.0, 10, 8, 4, 90], [15, 10, 8, 4, 0]])),
            scores=torch.ones(2),
            pred_classes=torch.zeros(2, dtype=torch.int64),
        )
        detections = to_supervision(turned)
        np.testing.assert_allclose(detections.xyxy, [[13, 6, 17, 14], [11, 8, 19, 12]], atol=1e-4)
        corners = detections.data["xyxyxyxy"]
        np.testing.assert_allclose(corners[1], [[11, 8], [19, 8], [19, 12], [11, 12]], atol=1e-4)
        np.testing.assert_allclose(corners[0], [[13, 14], [13, 6], [17, 6], [17, 14]], atol=1e-4)


def test_numbers_that_numpy_lacks():
    """Boxes and scores of bfloat16, here those that it holds exactly."""
    given = found()
    given.pred_boxes.tensor = given.pred_boxes.tensor.bfloat16()
    given.scores = torch.tensor([0.75, 0.5]).bfloat16()
    assert [one.corners[2].tolist() for one in things(given)] == [[10, 12], [30, 20]]
    if importlib.util.find_spec("pandas"):
        assert to_dataframe(given)[["score", "x2"]].to_numpy().tolist() == [[0.75, 10], [0.5, 30]]
    if importlib.util.find_spec("supervision"):
        assert to_supervision(given).confidence.tolist() == [0.75, 0.5]


class TestDataframe:
    @pytest.mark.parametrize("number", [0, 2])
    def test_columns(self, number):
        pytest.importorskip("pandas")
        frame = to_dataframe(found()[:number])
        assert list(frame.columns) == ["category_id", "category", "score", "x1", "y1", "x2", "y2"]
        assert [frame[name].dtype for name in ("category_id", "score", "x1")] == ["int64", "float64", "float32"]
        assert list(frame.category) == ["dog", "cat"][:number]
        assert list(frame.x2) == [10, 30][:number]

    @every_format
    def test_masks(self, masks):
        pytest.importorskip("pandas")
        for number in (0, 2):
            given = found(masks(), pred_keypoints=torch.ones(2, 1, 3), track_ids=torch.ones(2))[:number]
            assert list(to_dataframe(given, mask_format="rle").columns)[-3:] == ["mask", "keypoints", "track_id"]
        assert "mask" not in to_dataframe(found(masks()))
        assert [one["size"] for one in to_dataframe(found(masks()), mask_format="rle")["mask"]] == [[20, 30]] * 2

    def test_proposals_and_rotated_boxes(self):
        pytest.importorskip("pandas")
        proposals = Instances(SIZE, proposal_boxes=Boxes(torch.ones(1, 4)), objectness_logits=torch.ones(1))
        assert list(to_dataframe(proposals).columns) == ["objectness_logit", "x1", "y1", "x2", "y2"]
        turned = Instances(SIZE, pred_boxes=RotatedBoxes(torch.ones(1, 5)), scores=torch.ones(1))
        assert list(to_dataframe(turned).columns) == ["score", "x", "y", "width", "height", "angle"]
