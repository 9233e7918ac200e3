"""Layers and functions that custom parts are made of."""

import pytest
import torch
import torchvision.ops

from litepred.drop_in.adapters import (
    ROIAlign,
    batched_nms,
    move_device_like,
    shapes_to_tensor,
)


@pytest.mark.usefixtures("drop_in")
def test_functions_on_tensors():
    from detectron2.layers import nonzero_tuple

    one = torch.ones(2)
    assert [index.tolist() for index in nonzero_tuple(torch.tensor([[0, 1], [1, 0]]))] == [[0, 1], [1, 0]]
    assert [index.tolist() for index in nonzero_tuple(torch.tensor(3))] == [[0]]
    assert shapes_to_tensor([1, 2]).dtype == torch.int64
    assert move_device_like(one, one) is one


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_is_torchvisions(count, aligned):
    maps = torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[0, 2.0, 3, 20, 18], [1, 0, 0, 31, 23], [1, -9, 5, 7, 40]])[:count]
    layer = ROIAlign((4, 5), 0.5, 2) if aligned else ROIAlign((4, 5), 0.5, 2, aligned=False)
    assert layer(maps, rois.double()).equal(torchvision.ops.roi_align(maps, rois, (4, 5), 0.5, 2, aligned))
    assert repr(layer) == f"ROIAlign(output_size=(4, 5), spatial_scale=0.5, sampling_ratio=2, aligned={aligned})"


@pytest.mark.parametrize("count", [0, 20])
def test_boxes_of_half_precision_are_suppressed_in_float32(count):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(count, 4, generator=generator) * 60
    boxes[:, 2:] += boxes[:, :2] + 1
    scores, classes = torch.rand(count, generator=generator), torch.zeros(count, dtype=torch.int64)
    expected = torchvision.ops.batched_nms(boxes.half().float(), scores, classes, 0.5)
    assert batched_nms(boxes.half(), scores, classes, 0.5).equal(expected)
