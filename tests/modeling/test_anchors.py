"""Anchors: their shapes, their order over the map, their config."""

import math

import pytest
import torch
from tiny_models import tiny_cfg

from litepred.errors import ConfigError
from litepred.layers import ShapeSpec
from litepred.modeling import DefaultAnchorGenerator, build_anchor_generator, build_model


def generator(sizes=((32,),), ratios=((1.0,),), strides=(4,), offset=0.0):
    return DefaultAnchorGenerator(sizes=sizes, aspect_ratios=ratios, strides=strides, offset=offset)


def test_sizes_outside_ratios_inside_and_no_rounding():
    (cell,) = generator(sizes=[[32, 64]], ratios=[[0.5, 1.0, 2.0]]).cell_anchors
    expected = []
    for size in (32, 64):
        for ratio in (0.5, 1.0, 2.0):  # height / width
            width, height = size / math.sqrt(ratio), size * math.sqrt(ratio)
            expected.append([-width / 2, -height / 2, width / 2, height / 2])
    assert cell.dtype == torch.float32
    torch.testing.assert_close(cell, torch.tensor(expected), rtol=1e-7, atol=0)
    # by hand: 22.627 × 11.314, where torchvision rounds to 23 × 11
    assert cell[0].tolist() == pytest.approx([-22.627417, -11.3137085, 22.627417, 11.3137085])
    assert cell[1].tolist() == [-16, -16, 16, 16]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3), (3, 2)])
@pytest.mark.parametrize("offset", [0.0, 0.5])
@pytest.mark.parametrize("stride", [1, 16])
def test_rows_then_columns_then_anchors(height, width, offset, stride):
    anchors = generator([[2, 4]], [[1.0, 4.0]], [stride], offset)
    (boxes,) = anchors([torch.zeros(2, 7, height, width)])
    expected = []
    for y in range(height):
        for x in range(width):
            for size in (2, 4):
                for ratio in (1, 4):
                    half_width, half_height = size / math.sqrt(ratio) / 2, size * math.sqrt(ratio) / 2
                    centre_x, centre_y = (x + offset) * stride, (y + offset) * stride
                    expected.append([centre_x - half_width, centre_y - half_height])
                    expected[-1] += [centre_x + half_width, centre_y + half_height]
    assert boxes.tensor.tolist() == expected  # exact: all of it is in binary fractions
    assert boxes.tensor.shape == (height * width * 4, 4)


def test_the_default_centre_is_the_corner_of_the_cell():
    (boxes,) = build_anchor_generator(tiny_cfg(ANCHOR_GENERATOR__SIZES=[[2]]), [ShapeSpec(stride=8)])(
        [torch.zeros(1, 1, 1, 2)]
    )
    assert boxes.get_centers().tolist() == [[0, 0]] * 3 + [[8, 0]] * 3


@pytest.mark.parametrize(
    ("sizes", "ratios", "expected"),
    [
        ([[8]], [[1.0]], [[8], [8], [8]]),
        ([[8], [16], [32]], [[1.0]], [[8], [16], [32]]),
        ([8, 16], [[1.0]], [[8, 16], [8, 16], [8, 16]]),  # a flat list is for all levels
        ([[8, 16]], [1.0], [[8, 16], [8, 16], [8, 16]]),
        (((8,),), ((1.0,), (1.0,), (1.0,)), [[8], [8], [8]]),
    ],
)
def test_lists_are_spread_over_levels(sizes, ratios, expected):
    anchors = generator(sizes, ratios, [4, 8, 16])
    assert [(level[:, 2] - level[:, 0]).tolist() for level in anchors.cell_anchors] == expected
    assert anchors.num_anchors == anchors.num_cell_anchors == [len(level) for level in expected]
    assert anchors.box_dim == 4
    maps = [torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1)]
    assert [len(boxes) for boxes in anchors(maps)] == [16 * len(expected[0]), 4 * len(expected[1]), len(expected[2])]


def test_nothing_is_saved():
    assert generator().state_dict() == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": []}, r"SIZES is \[\] for 1 feature maps: expected numbers above 0, in one list"),
        ({"ratios": []}, r"ASPECT_RATIOS is \[\] for 1 feature maps"),
        ({"sizes": [[1], [2]]}, r"SIZES is \[\[1\], \[2\]\] for 1 feature maps: .* or in 1 lists"),
        ({"sizes": [[1], [2]], "strides": (4, 8, 16)}, r"SIZES is .* for 3 feature maps: .* or in 3 lists"),
        ({"ratios": [[1.0], [2.0]], "strides": (4, 8, 16)}, r"ASPECT_RATIOS is .* for 3 feature maps"),
        ({"sizes": [[None]]}, r"SIZES is \[\[None\]\]"),
        ({"sizes": [[float("nan")]]}, r"SIZES is \[\[nan\]\]"),
        ({"offset": None}, "OFFSET is None: expected a number"),
        ({"offset": 1.0}, r"OFFSET is 1\.0"),
        ({"offset": -0.1}, r"OFFSET is -0\.1"),
    ],
)
def test_misfits(changes, message):
    with pytest.raises(ConfigError, match=message):
        generator(**changes)


@pytest.mark.parametrize(
    ("family", "sizes"), [("fpn", [[8], [16], [32, 40], [64], [128]]), ("retinanet", [[8], [16, 20], [32], [64], [99]])]
)
def test_a_shared_head_needs_as_many_anchors_on_each_level(family, sizes):
    with pytest.raises(ConfigError, match=r"levels \[3, (3, 6|6, 3), 3, 3\] anchors per cell"):
        build_model(tiny_cfg(family, ANCHOR_GENERATOR__SIZES=sizes))
