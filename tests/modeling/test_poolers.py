"""Regions out of feature maps: which level, which samples, in which order."""

import pytest
import torch
from torchvision.ops import roi_align
from torchvision.ops.poolers import LevelMapper

from litepred.errors import ConfigError, LitepredError
from litepred.modeling import ROIPooler
from litepred.modeling.poolers import assign_boxes_to_levels
from litepred.structures import Boxes

SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]  # p2 … p5


def square(side, x=0.0, y=0.0):
    return [x, y, x + side, y + side]


def maps(images=1, channels=2, side=64):
    random = torch.Generator().manual_seed(0)
    return [torch.randn(images, channels, side >> i, side >> i, generator=random) for i in range(4)]


@pytest.mark.parametrize(
    ("box", "level"),
    [
        (square(0), 0),
        ([5, 5, 5, 90], 0),
        (square(1), 0),
        (square(111.9), 0),
        (square(112), 1),
        (square(223.9999), 1),
        (square(224), 2),
        (square(447.99), 2),
        (square(448), 3),
        (square(9999), 3),
        ([0, 0, 448, 112], 2),  # the area decides
    ],
)
def test_levels(box, level):
    boxes = [Boxes([]), Boxes([box])]
    assert assign_boxes_to_levels(boxes, 2, 5, 224, 4).tolist() == [level]
    assert assign_boxes_to_levels(boxes, 3, 5, 224, 4).tolist() == [max(level - 1, 0)]  # 224 stays on p4


def test_no_boxes_no_levels():
    assert assign_boxes_to_levels([Boxes([])], 2, 5, 224, 4).tolist() == []


def test_torchvision_assigns_boxes_at_a_boundary_otherwise():
    box = torch.tensor([square(223.9999)])
    assert LevelMapper(2, 5)([box]).item() == 2  # its epsilon is 1e-6, not 1e-8
    assert assign_boxes_to_levels([Boxes(box)], 2, 5, 224, 4).item() == 1


@pytest.mark.parametrize("pooler_type", ["ROIAlignV2", "ROIAlign"])
@pytest.mark.parametrize("levels", [1, 4])
@pytest.mark.parametrize("images", [1, 2])
def test_no_boxes(pooler_type, levels, images):
    pooler = ROIPooler(7, SCALES[:levels], 0, pooler_type)
    assert pooler(maps(images)[:levels], [Boxes([])] * images).shape == (0, 2, 7, 7)


@pytest.mark.parametrize("pooler_type", ["ROIAlignV2", "ROIAlign"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_each_box_from_its_level_in_its_place(pooler_type, ratio):
    features = maps(images=2)
    box_lists = [
        Boxes([square(224), square(10, 3), square(0, 5, 5)]),
        Boxes([square(8, 1, 2), square(112), square(500), square(223)]),
    ]
    levels = [2, 0, 0, 0, 1, 3, 1]
    pooled = ROIPooler((3, 5), SCALES, ratio, pooler_type)(features, box_lists)
    assert pooled.shape == (7, 2, 3, 5)
    rows = [[i, *box] for i, boxes in enumerate(box_lists) for box in boxes.tensor.tolist()]
    for row, level, result in zip(rows, levels, pooled):
        rois = torch.tensor([row])
        expected = roi_align(features[level], rois, (3, 5), SCALES[level], ratio, pooler_type == "ROIAlignV2")
        assert torch.equal(result, expected[0])


@pytest.mark.parametrize("pooler_type", ["ROIAlignV2", "ROIAlign"])
def test_accelerators_pool_the_same_without_waiting(pooler_type):
    features = maps(images=2)
    rois = torch.tensor([[0, *square(224)], [0, *square(10, 3)], [1, *square(500)], [1, 3, 3, 3, 3], [0, *square(120)]])
    pooler = ROIPooler((3, 5), SCALES, 0, pooler_type)
    level = assign_boxes_to_levels([Boxes(rois[:, 1:])], 2, 5, 224, 4)
    order = rois[:, 0].argsort(stable=True)
    expected = pooler(features, [Boxes(rois[rois[:, 0] == i, 1:]) for i in range(2)])
    assert pooler._pool_each_level_whole(features, rois, level)[order].equal(expected)
    assert pooler._pool_each_level_whole(features, rois[:0], level[:0]).shape == (0, 2, 3, 5)


@pytest.mark.parametrize("scale", SCALES)
def test_one_map_takes_boxes_of_every_size(scale):
    feature = maps()[0]
    boxes = Boxes([square(1), square(200), square(500)])
    rois = torch.cat([torch.zeros(3, 1), boxes.tensor], dim=1)
    pooled = ROIPooler(2, [scale], 0, "ROIAlignV2")([feature], [boxes])
    assert torch.equal(pooled, roi_align(feature, rois, 2, scale, 0, True))


@pytest.mark.parametrize(
    ("pooler_type", "box", "expected"),
    [
        ("ROIAlignV2", [2, 2, 4, 4], 22 + 5.5),  # one sample, at x = y = 3; cell i has its centre at i + 1/2
        ("ROIAlign", [2, 2, 4, 4], 33),  # half a cell to the right and down
        ("ROIAlignV2", [3, 3, 3, 3], 27.5),  # no area, but still a place to sample
        ("ROIAlign", [3, 3, 3, 3], 38.5),  # sides count as at least one cell
    ],
)
def test_by_hand(pooler_type, box, expected):
    index = torch.arange(8.0)
    feature = (10 * index[:, None] + index)[None, None]  # 10 y + x
    pooled = ROIPooler(1, [1.0], 1, pooler_type)([feature], [Boxes([box])])
    assert pooled.item() == expected


def test_adaptive_sampling_of_a_box_without_area_is_zero():
    assert ROIPooler(1, [1.0], 0, "ROIAlignV2")([torch.ones(1, 1, 8, 8)], [Boxes([[3, 3, 3, 3]])]).item() == 0


def test_dtype_of_the_maps():
    features = [feature.double() for feature in maps()]
    assert ROIPooler(2, SCALES, 0, "ROIAlignV2")(features, [Boxes([square(10)])]).dtype == torch.float64


def test_no_images():
    assert ROIPooler(7, [1 / 4], 0, "ROIAlignV2")([torch.zeros(0, 3, 8, 8)], []).shape == (0, 3, 7, 7)


@pytest.mark.parametrize(
    ("scales", "pooler_type", "message"),
    [
        (
            [1 / 4],
            "ROIAlignTilted",
            "POOLER_TYPE is 'ROIAlignTilted': expected one of ROIAlignV2, .*, ROIAlignRotated$",
        ),
        ([1 / 4], "", "POOLER_TYPE is ''"),
        ([1 / 4], "ROIPool", "POOLER_TYPE is 'ROIPool': expected one of"),
        ([1 / 5], "ROIAlign", "powers of 1/2"),
        ([1 / 4, 1 / 16], "ROIAlign", "powers of 1/2"),
        ([1 / 8, 1 / 4], "ROIAlign", "powers of 1/2"),
    ],
)
def test_misfits(scales, pooler_type, message):
    with pytest.raises(ConfigError, match=message):
        ROIPooler(7, scales, 0, pooler_type)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_exact_or_to_rounding(exact, ratio):
    features, boxes = maps(images=2), [Boxes([square(224), square(10, 3)]), Boxes([square(112)])]
    pooler = ROIPooler((3, 5), SCALES, ratio, "ROIAlignV2")
    wanted = pooler(features, boxes)
    pooler.exact = exact
    found = pooler(features, boxes)
    assert torch.equal(found, wanted) == exact
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("exact", [True, False])
def test_only_a_faster_pooler_keeps_channels_last(exact):
    """In that order the layers after it round otherwise."""
    features = [feature.to(memory_format=torch.channels_last) for feature in maps()]
    pooler = ROIPooler(3, SCALES, 0, "ROIAlignV2")
    pooler.exact = exact
    assert pooler(features, [Boxes([square(50)])]).is_contiguous() == exact


@pytest.mark.parametrize("size", [0, -1, None, 1.5, (7, 0)])
def test_sizes_of_no_map(size):
    with pytest.raises(ConfigError, match=r"POOLER_RESOLUTION is .*expected a whole number, 1 or more"):
        ROIPooler(size, [1 / 4], 0, "ROIAlignV2")


@pytest.mark.parametrize(
    ("number_of_maps", "box_lists"), [(4, []), (4, [Boxes([])] * 2), (3, [Boxes([])]), (0, [Boxes([])])]
)
def test_as_many_maps_and_images_as_announced(number_of_maps, box_lists):
    with pytest.raises(LitepredError, match="expected 4 maps, and one list of boxes per image"):
        ROIPooler(7, SCALES, 0, "ROIAlignV2")(maps()[:number_of_maps], box_lists)
