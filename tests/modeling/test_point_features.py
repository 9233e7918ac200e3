"""Maps at points."""

from __future__ import annotations

import pytest
import torch

from litepred import Boxes, modeling


def test_points_of_a_map_that_is_linear():
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    maps = torch.stack([columns, rows])[None]  # each cell says where it is
    grid = modeling.generate_regular_grid_point_coords(1, 2, "cpu")
    assert grid.tolist() == [[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]]
    sampled = modeling.point_sample(maps, grid, align_corners=False)
    expected = grid[0].T * torch.tensor([[6.0], [4.0]]) - 0.5
    torch.testing.assert_close(sampled[0], expected)
    assert modeling.point_sample(maps, grid.view(1, 2, 2, 2), align_corners=False).shape == (1, 2, 2, 2)


def test_uncertain_cells():
    uncertainty = torch.zeros(1, 1, 2, 3)
    uncertainty[0, 0, 1, 2], uncertainty[0, 0, 0, 1] = 2, 1
    index, points = modeling.get_uncertain_point_coords_on_grid(uncertainty, 2)
    assert index.tolist() == [[5, 1]]
    torch.testing.assert_close(points, torch.tensor([[[5 / 6, 0.75], [0.5, 0.25]]]))
    assert modeling.get_uncertain_point_coords_on_grid(uncertainty, 99)[0].shape == (1, 6)


def test_points_of_boxes():
    boxes = [Boxes(torch.tensor([[0.0, 0, 8, 8]])), Boxes(torch.tensor([[8.0, 0, 16, 8], [0, 0, 4, 4]]))]
    maps = torch.arange(2.0)[:, None, None, None].expand(2, 1, 4, 8)  # the number of the image
    centres = torch.full((3, 1, 2), 0.5)
    features, points = modeling.point_sample_fine_grained_features([maps, maps], [0.5, 0.5], boxes, centres)
    assert features[:, :, 0].tolist() == [[0, 0], [1, 1], [1, 1]]
    assert points[:, 0].tolist() == [[4, 4], [12, 4], [2, 2]]


@pytest.mark.parametrize("number", [0, 2])
def test_only_uncertain_cells_are_predicted_anew(number):
    logits = torch.tensor([[-4.0, 4.0], [-4.0, 4.0]]).expand(number, 1, 2, 2)
    asked = []

    def predict(points):
        asked.append(points)
        return torch.full((number, 1, points.shape[1]), 9.0)

    finer = modeling.subdivide(logits, 2, 8, lambda x: -x.abs(), predict)
    assert finer.shape == (number, 1, 8, 8) and [points.shape for points in asked] == [(number, 8, 2)] * 2
    if number:
        doubled = torch.tensor([-4.0, 9, 9, 4]).expand(4, 4)[
            None, None
        ]  # the two columns in the middle are the uncertain ones
        wanted = torch.nn.functional.interpolate(doubled, scale_factor=2, mode="bilinear")
        assert set(asked[0][0, :, 0].tolist()) == {0.375, 0.625}
        changed = finer[0] != wanted[0]
        assert int(changed.sum()) == 8 and set(finer[0][changed].tolist()) == {9.0}
    assert modeling.subdivide(logits, 0, 8, lambda x: x, predict).equal(logits)
