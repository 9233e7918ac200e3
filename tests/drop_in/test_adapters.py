"""Layers and functions that custom parts are made of."""

import pytest
import torch
import torchvision.ops
from torch.nn import functional as F

from litepred.drop_in.adapters import (
    ASPP,
    DepthwiseSeparableConv2d,
    ROIAlign,
    batched_nms,
    move_device_like,
    shapes_to_tensor,
)
from litepred.errors import ConfigError


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


@pytest.mark.parametrize("pooled", [None, (4, 3)])
@pytest.mark.parametrize("separable", [False, True])
def test_a_map_at_several_dilations(pooled, separable):
    options = {"norm": "", "activation": F.relu, "pool_kernel_size": pooled}
    aspp = ASPP(3, 2, [1, 2, 3], use_depthwise_separable_conv=separable, **options).requires_grad_(False)
    x = torch.randn(1, 3, 4, 6, generator=torch.Generator().manual_seed(0))

    def conv(name, x, padding=0, groups=1):
        weight, bias = (aspp.get_parameter(f"{name}.{leaf}") for leaf in ("weight", "bias"))
        return F.conv2d(x, weight, bias, 1, padding, max(1, padding), groups).relu()

    seen = [conv("convs.0", x)]
    for i in (1, 2, 3):
        if separable:
            seen.append(conv(f"convs.{i}.pointwise", conv(f"convs.{i}.depthwise", x, i, groups=3)))
        else:
            seen.append(conv(f"convs.{i}", x, i))
    pool = x.mean((2, 3), keepdim=True) if pooled is None else F.avg_pool2d(x, pooled, stride=1)
    seen.append(F.interpolate(conv("convs.4.1", pool), size=(4, 6), mode="bilinear"))
    torch.testing.assert_close(aspp(x), conv("project", torch.cat(seen, dim=1)))
    if pooled:
        with pytest.raises(ValueError, match=r"a map of \(4, 4\) cells: expected multiples of \(4, 3\)"):
            aspp(x[:, :, :, :4])


def test_three_dilations():
    with pytest.raises(ConfigError, match="ASPP got 2 dilations: expected 3"):
        ASPP(3, 2, [1, 2], norm="", activation=None)
    assert DepthwiseSeparableConv2d(2, 4, norm1="BN").depthwise.bias is None
