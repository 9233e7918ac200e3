"""Every format that a mask comes in gives the same window."""

import numpy as np
import pytest
import torch

from litepred import PolygonMasks
from litepred.structures import BitMasks, Boxes, ROIMasks, mask_to_polygons, mask_to_rle
from litepred.visualizer import GenericMask
from litepred.visualizer.masks import as_masks, as_numpy

HEIGHT, WIDTH = 12, 20
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[3:9, 5:15] = True
HOLED = MASK.copy()
HOLED[5:7, 8:12] = False
SQUARE = [5.0, 3.0, 15.0, 3.0, 15.0, 9.0, 5.0, 9.0]


@pytest.mark.parametrize(
    "masks",
    [
        [],
        torch.zeros(0, HEIGHT, WIDTH, dtype=torch.bool),
        BitMasks(torch.zeros(0, HEIGHT, WIDTH)),
        PolygonMasks([]),
        ROIMasks(torch.zeros(0, 28, 28)),
    ],
    ids=lambda masks: type(masks).__name__,
)
def test_no_masks(masks):
    assert as_masks(masks, (HEIGHT, WIDTH), np.zeros((0, 4))) == []


@pytest.mark.parametrize(
    "masks",
    [
        torch.from_numpy(MASK[None]),
        torch.from_numpy(MASK[None]).to(torch.bfloat16),
        MASK[None].astype(np.float32),
        [MASK.astype(np.uint8)],
        [np.asfortranarray(MASK)],
        MASK[None, ::-1, ::-1][:, ::-1, ::-1],
        BitMasks(MASK[None]),
        PolygonMasks([[np.array(SQUARE)]]),
        [[SQUARE]],
        [[np.array(SQUARE).reshape(-1, 2)]],
        [mask_to_rle(MASK)],
        [{"size": [HEIGHT, WIDTH], "counts": [63, *[6, 6] * 9, 6, 63]}],
        [GenericMask(MASK, HEIGHT, WIDTH)],
        ROIMasks(torch.ones(1, 28, 28)),
    ],
    ids=range(14),
)
def test_formats(masks):
    (mask,) = as_masks(masks, (HEIGHT, WIDTH), np.array([[5.0, 3.0, 15.0, 9.0]]))
    np.testing.assert_array_equal(mask.mask, MASK)
    x, y, inside = mask.window
    assert (x, y, inside.shape) == (5, 3, (6, 10))
    assert mask.bbox().tolist() == [5, 3, 15, 9]
    assert mask.area() == 60
    assert not mask.has_holes
    assert mask.polygons


@pytest.mark.parametrize(
    ("mask", "polygons", "has_holes"), [(MASK, 1, False), (HOLED.astype(np.uint8), 2, True), (MASK & False, 0, False)]
)
def test_a_mask_of_the_image_turns_others_to_polygons_and_back(mask, polygons, has_holes):
    of_image = GenericMask([], HEIGHT, WIDTH)
    found, holes = of_image.mask_to_polygons(mask)
    assert ([len(one) % 2 for one in found], holes) == ([0] * polygons, has_holes)
    assert of_image.mask_to_polygons(np.pad(mask, 3))[1] is has_holes
    filled = of_image.polygons_to_mask([SQUARE] * polygons)
    assert (filled.dtype, filled.tolist()) == (np.uint8, (MASK & bool(polygons)).astype(int).tolist())
    assert of_image.area() == 0


@pytest.mark.parametrize("even_odd", [True, False])
def test_a_polygon_in_another_is_a_hole_or_not(even_odd):
    mask = GenericMask(mask_to_polygons(HOLED), HEIGHT, WIDTH, even_odd=even_odd)
    assert mask.has_holes is even_odd
    if even_odd:
        np.testing.assert_array_equal(mask.mask, HOLED)


@pytest.mark.parametrize(
    "mask",
    [np.zeros((HEIGHT, WIDTH)), [], [[]], [[1.0, 2.0, 3.0, 4.0]], mask_to_rle(np.zeros((HEIGHT, WIDTH)))],
    ids=["pixels", "no polygon", "no point", "two points", "rle"],
)
def test_an_empty_mask(mask):
    mask = GenericMask(mask, HEIGHT, WIDTH)
    assert mask.area() == 0
    assert mask.mask.shape == (HEIGHT, WIDTH)
    assert not mask.has_holes
    assert mask.bbox()[2:].tolist() == mask.bbox()[:2].tolist()


@pytest.mark.parametrize(
    ("polygon", "area"),
    [
        ([-10, -10, 30, -10, 30, 30, -10, 30], HEIGHT * WIDTH),
        ([-10, -10, -5, -10, -5, -5], 0),
        ([100, 100, 120, 100, 120, 120], 0),
        ([15, 3, 1e6, 3, 1e6, 9, 15, 9], 30),
    ],
)
def test_polygons_that_leave_the_image(polygon, area):
    assert GenericMask([polygon], HEIGHT, WIDTH).area() == area


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH - 1), (1, HEIGHT, WIDTH)])
def test_a_mask_of_another_size(shape):
    with pytest.raises(ValueError, match=r"expected the image's \(12, 20\)"):
        GenericMask(np.zeros(shape), HEIGHT, WIDTH)


def test_roi_masks_without_boxes():
    with pytest.raises(ValueError, match="need pred_boxes"):
        as_masks(ROIMasks(torch.ones(1, 28, 28)), (HEIGHT, WIDTH))


@pytest.mark.parametrize("values", [[[0, 0, 1, 1]], Boxes([[0, 0, 1, 1]]), torch.tensor([[0, 0, 1, 1]])])
def test_as_numpy(values):
    assert as_numpy(values).tolist() == [[0, 0, 1, 1]]
