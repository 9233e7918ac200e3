"""Keys and functions of DeepLab and PointRend that other projects import."""

from __future__ import annotations

import pytest
import torch

from litepred import Boxes, get_cfg
from litepred.drop_in import projects


@pytest.mark.parametrize(
    ("add", "key", "value"),
    [
        (projects.add_deeplab_config, "ASPP_DILATIONS", [6, 12, 18]),
        (projects.add_panoptic_deeplab_config, "HEAD_CHANNELS", 256),
        (projects.add_panoptic_deeplab_config, "ASPP_CHANNELS", 256),
    ],
)
def test_keys_of_the_semantic_head(add, key, value):
    cfg = get_cfg()
    assert key not in cfg.MODEL.SEM_SEG_HEAD
    add(cfg)
    assert cfg.MODEL.SEM_SEG_HEAD[key] == value
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 54
    assert "ASPP_CHANNELS" not in get_cfg().MODEL.SEM_SEG_HEAD


def test_keys_of_pointrend():
    cfg = get_cfg()
    projects.add_pointrend_config(cfg)
    assert cfg.MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS == 28 * 28
    cfg.merge_from_list(["MODEL.POINT_HEAD.IN_FEATURES", ["p3"], "MODEL.ROI_MASK_HEAD.POINT_HEAD_ON", True])
    assert cfg.MODEL.POINT_HEAD.IN_FEATURES == ("p3",)


def test_points_of_a_map_that_is_linear():
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    maps = torch.stack([columns, rows])[None]  # each cell says where it is
    grid = projects.generate_regular_grid_point_coords(1, 2, "cpu")
    assert grid.tolist() == [[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]]
    sampled = projects.point_sample(maps, grid, align_corners=False)
    expected = grid[0].T * torch.tensor([[6.0], [4.0]]) - 0.5
    torch.testing.assert_close(sampled[0], expected)
    assert projects.point_sample(maps, grid.view(1, 2, 2, 2), align_corners=False).shape == (1, 2, 2, 2)


def test_uncertain_cells():
    uncertainty = torch.zeros(1, 1, 2, 3)
    uncertainty[0, 0, 1, 2], uncertainty[0, 0, 0, 1] = 2, 1
    index, points = projects.get_uncertain_point_coords_on_grid(uncertainty, 2)
    assert index.tolist() == [[5, 1]]
    torch.testing.assert_close(points, torch.tensor([[[5 / 6, 0.75], [0.5, 0.25]]]))
    assert projects.get_uncertain_point_coords_on_grid(uncertainty, 99)[0].shape == (1, 6)


def test_points_of_boxes():
    boxes = [Boxes(torch.tensor([[0.0, 0, 8, 8]])), Boxes(torch.tensor([[8.0, 0, 16, 8], [0, 0, 4, 4]]))]
    maps = torch.arange(2.0)[:, None, None, None].expand(2, 1, 4, 8)  # the number of the image
    centres = torch.full((3, 1, 2), 0.5)
    features, points = projects.point_sample_fine_grained_features([maps, maps], [0.5, 0.5], boxes, centres)
    assert features[:, :, 0].tolist() == [[0, 0], [1, 1], [1, 1]]
    assert points[:, 0].tolist() == [[4, 4], [12, 4], [2, 2]]


def test_attention_to_a_few_points_of_maps():
    """Against the definition: each query's sum over levels and points of weight times the map there."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor([[3, 4], [2, 2]])
    starts, n, heads, channels, queries, points = torch.tensor([0, 12]), 2, 2, 3, 5, 4
    value = torch.randn(n, 16, heads, channels, generator=generator)
    where = torch.rand(n, queries, heads, 2, points, 2, generator=generator) * 1.4 - 0.2  # some outside
    weights = torch.rand(n, queries, heads, 2, points, generator=generator)
    expected = torch.zeros(n, queries, heads, channels)
    for i, q, m, level, k in torch.cartesian_prod(*map(torch.arange, (n, queries, heads, 2, points))).tolist():
        height, width = shapes[level].tolist()
        cells = value[i, starts[level] : starts[level] + height * width, m].T.view(1, channels, height, width)
        at = where[i, q, m, level, k].view(1, 1, 1, 2) * 2 - 1
        sampled = torch.nn.functional.grid_sample(cells, at, align_corners=False)[0, :, 0, 0]
        expected[i, q, m] += weights[i, q, m, level, k] * sampled
    found = projects.ms_deform_attn_forward(value, shapes, starts, where, weights, 64)
    torch.testing.assert_close(found, expected.flatten(2))
