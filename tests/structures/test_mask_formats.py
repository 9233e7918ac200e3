import sys

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from litepred import Boxes, Instances, LitepredError, PolygonMasks
from litepred.structures import (
    BitMasks,
    ROIMasks,
    instance_mask,
    mask_to_polygons,
    mask_to_rle,
    polygons_to_mask,
    rle_to_mask,
)

SMALL_MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


def ring() -> np.ndarray:
    canvas = np.zeros((60, 50), np.uint8)
    cv2.circle(canvas, (25, 30), 20, 1, -1)
    cv2.circle(canvas, (25, 30), 8, 0, -1)
    return canvas.astype(bool)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (3, 4)])
def test_nothing(shape):
    pytest.importorskip("pycocotools")
    empty = np.zeros(shape, bool)
    rle = mask_to_rle(empty)
    assert rle["size"] == list(shape)
    assert rle_to_mask(rle).shape == shape
    assert not rle_to_mask(rle).any()
    assert mask_to_polygons(empty) == []
    assert polygons_to_mask([], shape).shape == shape


@given(mask=SMALL_MASKS, margins=st.tuples(*[st.integers(0, 3)] * 4))
def test_rle_is_cocos_from_the_whole_mask_and_from_a_window(mask, margins):
    coco = pytest.importorskip("pycocotools.mask")
    top, bottom, left, right = margins
    whole = np.pad(mask, ((top, bottom), (left, right)))
    wanted = coco.encode(np.asfortranarray(whole.astype(np.uint8)))
    for rle in (mask_to_rle(torch.from_numpy(whole)), mask_to_rle(mask, whole.shape, (left, top))):
        assert rle == {"size": list(whole.shape), "counts": wanted["counts"].decode()}
        assert np.array_equal(rle_to_mask(rle), whole)


def test_uncompressed_run_lengths_are_read():
    pytest.importorskip("pycocotools")
    assert rle_to_mask({"size": [2, 2], "counts": [1, 2, 1]}).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("mask", [ring(), ~ring(), np.ones((4, 6), bool)], ids=["ring", "its inverse", "all"])
def test_polygons_round_trip(mask):
    polygons = mask_to_polygons(mask)
    assert all(value % 1 == 0.5 for polygon in polygons for value in polygon)
    assert np.array_equal(polygons_to_mask(polygons, mask.shape), mask)
    shifted = mask_to_polygons(mask, (100, 7))
    assert np.array_equal(np.array(shifted[0][::2]), np.array(polygons[0][::2]) + 100)


@pytest.mark.parametrize("function", [mask_to_rle, mask_to_polygons])
def test_a_mask_has_two_dimensions(function):
    with pytest.raises(ValueError, match=r"shape \(1, 2, 3\): expected \(height, width\)"):
        function(np.zeros((1, 2, 3), bool))


def test_without_pycocotools_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(LitepredError, match=r"pip install 'litepred\[coco\]'"):
        mask_to_rle(np.ones((2, 2), bool))


def test_the_mask_of_an_instance_in_every_format():
    pytest.importorskip("pycocotools")
    mask = torch.from_numpy(ring())
    boxes = Boxes([[0, 0, 1, 1], [5.0, 10, 46, 51]])
    soft = torch.nn.functional.interpolate(mask[None, None, 10:51, 5:46].float(), (28, 28), mode="bilinear")[0]
    for masks, wrong in (
        (torch.stack([~mask, mask]), 0),
        (np.stack([~mask, mask]), 0),
        (BitMasks(torch.stack([~mask, mask])), 0),
        ([mask_to_rle(~mask), mask_to_rle(mask)], 0),
        ([mask_to_polygons(~mask), mask_to_polygons(mask)], 0),
        (ROIMasks(soft.repeat(2, 1, 1)), 60),
    ):
        found = instance_mask(Instances((60, 50), pred_boxes=boxes, pred_masks=masks), 1)
        assert found.dtype == torch.bool
        assert int((found != mask).sum()) <= wrong


def test_polygons_of_annotations_are_joined():
    large, small = [1.0, 1, 9, 1, 9, 7, 1, 7], [3.0, 3, 5, 3, 5, 5, 3, 5]
    found = instance_mask(Instances((8, 10), pred_masks=PolygonMasks([[small], [large, small]])), 1)
    assert found.nonzero().min(dim=0).values.tolist() == [1, 1]
    assert int(found.sum()) == 6 * 8
