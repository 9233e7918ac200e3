"""Masks pasted into images, against a plain loop over pixels."""

import numpy as np
import pytest
import torch

from litepred.layers import paste_masks_in_image
from litepred.structures import Boxes


def random_masks(number, side=4):
    return torch.rand(number, side, side, generator=torch.Generator().manual_seed(0))


def paste_by_definition(mask, box, height, width):
    """Sample an (M, M) mask, stretched over its box, at each pixel's centre; it is zero outside.

    Like Detectron2 on a CPU, look no farther than one pixel around the box. What lies beyond is below one half.
    """
    mask, side = mask.double().numpy(), len(mask)
    x1, y1, x2, y2 = (float(v) for v in box)
    image = np.zeros((height, width))
    for row, column in np.ndindex(height, width):
        if not (np.floor(y1) - 1 <= row < np.ceil(y2) + 1 and np.floor(x1) - 1 <= column < np.ceil(x2) + 1):
            continue
        y = (row + 0.5 - y1) / (y2 - y1) * side - 0.5
        x = (column + 0.5 - x1) / (x2 - x1) * side - 0.5
        for i in (int(np.floor(y)), int(np.floor(y)) + 1):
            for j in (int(np.floor(x)), int(np.floor(x)) + 1):
                if 0 <= i < side and 0 <= j < side:
                    image[row, column] += mask[i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return image


@pytest.mark.parametrize(("threshold", "dtype"), [(0.5, torch.bool), (-1, torch.uint8)])
@pytest.mark.parametrize("size", [(0, 0), (1, 1), (5, 7)])
def test_no_masks(threshold, dtype, size):
    pasted = paste_masks_in_image(torch.zeros(0, 28, 28), Boxes([]), size, threshold)
    assert pasted.shape == (0, *size)
    assert pasted.dtype == dtype


BOXES = {
    "whole image": (0, 0, 9, 6),
    "fraction of a pixel": (3.2, 2.1, 3.7, 2.9),
    "over every side": (-3.3, -2.2, 12.4, 9.1),
    "over the left": (-4.5, 1.5, 3.25, 4.5),
    "larger than its mask": (1.25, 0.5, 8.75, 5.9),
    "outside": (20, 20, 25, 25),
    "left of the image": (-9, 0, -4, 6),
    "touching the border": (9, 0, 12, 6),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize("side", [1, 4])
def test_by_definition(box, side):
    masks, boxes = random_masks(1, side), torch.tensor([box], dtype=torch.float32)
    expected = paste_by_definition(masks[0], box, 6, 9)
    soft = paste_masks_in_image(masks, boxes, (6, 9), -1)
    assert soft.dtype == torch.uint8
    assert np.abs(soft[0].numpy() - np.floor(expected * 255)).max() <= 1
    for threshold in (0.25, 0.5):
        hard = paste_masks_in_image(masks, boxes, (6, 9), threshold)
        assert hard.dtype == torch.bool
        sure = np.abs(expected - threshold) > 1e-5
        assert np.array_equal(hard[0].numpy()[sure], (expected >= threshold)[sure])


def test_a_pixel_at_the_threshold_belongs():
    box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    masks = torch.tensor([[[0.5, 0.5 - 1e-6], [1.0, 0.0]]])  # one cell on each pixel
    assert paste_masks_in_image(masks, box, (2, 2)).tolist() == [[[True, False], [True, False]]]


def test_masks_fade_at_their_border():
    # One cell of probability 1 on 4 × 4 pixels: centres at 1/8, 3/8 … of the box are 3/8 and 1/8 of a cell off, so that
    # a corner keeps 0.625², an edge 0.625 · 0.875 and the middle 0.875².
    soft = paste_masks_in_image(torch.ones(1, 1, 1), torch.tensor([[0.0, 0.0, 4.0, 4.0]]), (4, 4), -1)[0]
    corner, edge, middle = int(0.625**2 * 255), int(0.625 * 0.875 * 255), int(0.875**2 * 255)
    assert soft.tolist() == [
        [corner, edge, edge, corner],
        [edge, middle, middle, edge],
        [edge, middle, middle, edge],
        [corner, edge, edge, corner],
    ]


@pytest.mark.parametrize("box", [(2, 2, 2, 4), (2.5, 1, 2.5, 1), (4, 4, 2, 2)], ids=["flat", "point", "inverted"])
def test_boxes_without_area_do_not_disturb_the_others(box):
    masks = torch.ones(2, 4, 4)
    boxes = torch.tensor([box, (0, 0, 6, 6)], dtype=torch.float32)
    pasted = paste_masks_in_image(masks, boxes, (6, 6))
    assert not pasted[0].any()
    assert pasted[1, 1:5, 1:5].all()


def test_bool_masks_and_both_kinds_of_boxes():
    masks = torch.tensor([[[True, False], [True, True]]])
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    for given in (boxes, Boxes(boxes)):
        assert torch.equal(paste_masks_in_image(masks, given, (2, 2)), masks)


@pytest.mark.parametrize(
    ("masks", "boxes", "message"),
    [
        (torch.zeros(1, 4, 5), torch.zeros(1, 4), "square"),
        (torch.zeros(4, 4), torch.zeros(1, 4), "square"),
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 4), "square"),
        (torch.zeros(2, 4, 4), torch.zeros(1, 4), "2 masks came with 1 boxes"),
        (torch.zeros(0, 4, 4), torch.zeros(1, 4), "0 masks came with 1 boxes"),
    ],
)
def test_misfits(masks, boxes, message):
    with pytest.raises(ValueError, match=message):
        paste_masks_in_image(masks, boxes, (5, 5))
