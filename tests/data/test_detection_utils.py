"""Records and annotations: changed with their image, and as instances."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from PIL import Image

from litepred.config import get_cfg
from litepred.data import detection_utils as utils
from litepred.data.transforms import CropTransform, HFlipTransform, TransformList
from litepred.errors import ImageError
from litepred.structures import BitMasks, BoxMode, PolygonMasks, RotatedBoxes, mask_to_rle

ANNOTATION = {
    "bbox": [10, 10, 20, 30],
    "bbox_mode": BoxMode.XYWH_ABS,
    "category_id": 3,
    "segmentation": [[10, 10, 30, 10, 30, 40]],
    "keypoints": [12, 13, 2, 25, 20, 1, 0, 0, 0],
}
SIZE = (50, 60)
FLIP = TransformList([HFlipTransform(60)])


class TestTransforming:
    def test_a_flip(self):
        found = utils.transform_instance_annotations(
            copy.deepcopy(ANNOTATION), FLIP, SIZE, keypoint_hflip_indices=[1, 0, 2]
        )
        assert found["bbox"].tolist() == [30, 10, 50, 40]
        assert found["bbox_mode"] == BoxMode.XYXY_ABS
        assert found["segmentation"][0].tolist() == [50, 10, 30, 10, 30, 40]
        assert found["keypoints"].tolist() == [[35, 20, 1], [48, 13, 2], [0, 0, 0]]

    def test_a_crop(self):
        found = utils.transform_instance_annotations(copy.deepcopy(ANNOTATION), [CropTransform(20, 20, 5, 6)], (6, 5))
        assert found["bbox"].tolist() == [0, 0, 5, 6]
        assert found["keypoints"].tolist() == [[0, 0, 0], [5, 0, 1], [0, 0, 0]]

    def test_run_lengths(self):
        mask = np.zeros(SIZE, bool)
        mask[:10, :20] = True
        annotation = {**ANNOTATION, "segmentation": mask_to_rle(mask)}
        del annotation["keypoints"]
        found = utils.transform_instance_annotations(annotation, FLIP, SIZE)
        assert (found["segmentation"] == mask[:, ::-1]).all()

    def test_what_is_no_segmentation(self):
        with pytest.raises(ValueError, match="expected a list of polygons, or run lengths"):
            utils.transform_instance_annotations({**ANNOTATION, "segmentation": "x"}, FLIP, SIZE)

    @pytest.mark.parametrize("indices", [None, [0, 1]])
    def test_flipped_keypoints_need_indices(self, indices):
        with pytest.raises(ValueError, match="expected an index for each"):
            utils.transform_keypoint_annotations(ANNOTATION["keypoints"], FLIP, SIZE, indices)


class TestInstances:
    @pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
    def test_none(self, mask_format):
        found = utils.annotations_to_instances([], SIZE, mask_format)
        assert len(found) == 0
        assert sorted(found.get_fields()) == ["gt_boxes", "gt_classes"]

    @pytest.mark.parametrize(("mask_format", "kind"), [("polygon", PolygonMasks), ("bitmask", BitMasks)])
    def test_some(self, mask_format, kind):
        found = utils.annotations_to_instances([ANNOTATION, ANNOTATION], SIZE, mask_format)
        assert found.gt_boxes.tensor[0].tolist() == [10, 10, 30, 40]
        assert found.gt_classes.tolist() == [3, 3]
        assert isinstance(found.gt_masks, kind)
        assert found.gt_keypoints.tensor.shape == (2, 3, 3)

    def test_bitmasks_of_any_kind(self):
        mask = np.zeros(SIZE, np.uint8)
        mask[:5] = 1
        annotations = [{**ANNOTATION, "segmentation": one} for one in (mask, mask_to_rle(mask.astype(bool)))]
        found = utils.annotations_to_instances(annotations, SIZE, "bitmask")
        assert found.gt_masks.tensor[0].equal(found.gt_masks.tensor[1])

    @pytest.mark.parametrize(("mask_format", "segmentation"), [("rle", [[1, 2, 3, 4, 5, 6]]), ("bitmask", "x")])
    def test_other_formats(self, mask_format, segmentation):
        with pytest.raises(ValueError, match="expected"):
            utils.annotations_to_instances([{**ANNOTATION, "segmentation": segmentation}], SIZE, mask_format)

    def test_rotated(self):
        found = utils.annotations_to_instances_rotated([{"bbox": [5, 5, 4, 2, 30], "category_id": 1}], SIZE)
        assert isinstance(found.gt_boxes, RotatedBoxes)

    def test_empty_ones_are_left_out(self):
        nothing = {**ANNOTATION, "bbox": [1, 1, 0, 5]}
        found = utils.annotations_to_instances([ANNOTATION, nothing], SIZE)
        kept, mask = utils.filter_empty_instances(found, return_mask=True)
        assert len(kept) == len(utils.filter_empty_instances(found, by_mask=False)) == 1
        assert mask.tolist() == [True, False]
        assert len(utils.filter_empty_instances(found, by_box=False)) == 2


def test_mirrored_keypoints():
    indices = utils.create_keypoint_hflip_indices(["keypoints_coco_2017_train"])
    assert indices == utils.create_keypoint_hflip_indices("keypoints_coco_2017_val")
    assert indices[:5] == [0, 2, 1, 4, 3]


@pytest.mark.parametrize(("crop", "size"), [((10, 10), (15, 15)), ((60, 10), (50, 60))])
def test_a_crop_that_does_not_fit(crop, size):
    with pytest.raises(AssertionError, match="expected both inside of it"):
        utils.gen_crop_transform_with_instance(crop, size, ANNOTATION)


def test_a_crop_around_an_instance():
    for _ in range(10):
        crop = utils.gen_crop_transform_with_instance((10, 12), SIZE, ANNOTATION)
        assert crop.x0 <= 20 <= crop.x0 + crop.w
        assert crop.y0 <= 25 <= crop.y0 + crop.h
        assert 0 <= crop.x0 <= 60 - 12


def test_image_sizes():
    record = {}
    utils.check_image_size(record, np.zeros((3, 4)))
    assert record == {"width": 4, "height": 3}
    with pytest.raises(ImageError, match="record says height 5"):
        utils.check_image_size({"height": 5}, np.zeros((3, 4)))
    assert issubclass(utils.SizeMismatchError, ValueError)


@pytest.mark.parametrize("format", ["RGB", "BGR", "L", "YUV-BT.601"])
def test_orders_of_channels(format):
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4).repeat(3).reshape(3, 4, 3)
    array = utils.convert_PIL_to_numpy(Image.fromarray(gray), format)
    assert utils.convert_image_to_rgb(array, format) == pytest.approx(gray, abs=0.01)
    assert array.ndim == 3


@pytest.mark.parametrize(
    ("is_train", "flip", "number"), [(False, "horizontal", 1), (True, "none", 1), (True, "vertical", 2)]
)
def test_the_augmentations_of_a_config(is_train, flip, number):
    cfg = get_cfg()
    cfg.INPUT.RANDOM_FLIP = flip
    found = utils.build_augmentation(cfg, is_train)
    assert len(found) == number
    assert found[0].get_transform(np.zeros((80, 100))).new_h == 800
