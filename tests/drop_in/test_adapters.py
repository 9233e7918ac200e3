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


@pytest.mark.usefixtures("drop_in")
def test_a_deformable_block_of_ones_own_backbone():
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import Backbone
    from detectron2.modeling.backbone.resnet import DeformBottleneckBlock, ResNet

    class Two(Backbone):
        def __init__(self, modulated):
            super().__init__()
            options = {"bottleneck_channels": 4, "norm": "BN", "deform_modulated": modulated, "deform_num_groups": 2}
            self.blocks = torch.nn.Sequential(
                *ResNet.make_stage(
                    DeformBottleneckBlock, 2, stride_per_block=[2, 1], in_channels=8, out_channels=16, **options
                )
            )

        def forward(self, x):
            return {"two": self.blocks(x)}

        def output_shape(self):
            return {"two": ShapeSpec(channels=16, stride=2)}

    for modulated, channels in ((False, 36), (True, 54)):
        model = Two(modulated).eval()
        first = model.blocks[0]
        assert first.conv2_offset.weight.shape == (channels, 4, 3, 3)
        assert (first.stride, first.out_channels, first.deform_modulated) == (2, 16, modulated)
        assert first.freeze() is first
        assert not any(parameter.requires_grad for parameter in first.parameters())
        assert type(first.conv2.norm).__name__ == "FrozenBatchNorm2d"
        assert model(torch.rand(1, 8, 10, 12))["two"].shape == (1, 16, 5, 6)


@pytest.mark.usefixtures("drop_in")
@pytest.mark.parametrize("size", [3, (3, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_rotated_regions_are_pooled(size, dtype):
    from detectron2.layers import ROIAlignRotated, roi_align_rotated

    x, rois = torch.rand(1, 2, 8, 8).to(dtype), torch.tensor([[0, 8.0, 8, 8, 4, 30]], dtype=dtype)
    expected = roi_align_rotated(x.float(), rois.float(), (3, 3), 0.5, 2).to(dtype)
    assert ROIAlignRotated(size, 0.5, 2)(x, rois).equal(expected)


@pytest.mark.usefixtures("drop_in")
def test_rotated_models_by_detectron2s_names():
    from detectron2.modeling import roi_heads
    from detectron2.modeling.anchor_generator import RotatedAnchorGenerator
    from detectron2.modeling.proposal_generator.rrpn import RRPN, find_top_rrpn_proposals
    from detectron2.modeling.roi_heads.rotated_fast_rcnn import RotatedFastRCNNOutputLayers, fast_rcnn_inference_rotated

    from litepred import modeling

    assert (RRPN, RotatedAnchorGenerator) == (modeling.RRPN, modeling.RotatedAnchorGenerator)
    assert issubclass(RotatedFastRCNNOutputLayers, roi_heads.FastRCNNOutputLayers)
    assert roi_heads.RROIHeads is modeling.RROIHeads
    boxes = torch.tensor([[[8.0, 8, 8, 4, 30], [8, 8, 8, 4, 31], [20, 8, 8, 4, 390]]])
    (proposals,) = find_top_rrpn_proposals([boxes], [torch.tensor([[1.0, 2, 0]])], [(30, 30)], 0.7, 3, 2, 0.0, False)
    assert proposals.proposal_boxes.tensor.tolist() == [[8, 8, 8, 4, 31], [20, 8, 8, 4, 30]]
    ((found,), (rows,)) = fast_rcnn_inference_rotated(
        [boxes[0]], [torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])], [(30, 30)], 0.5, 0.5, 10
    )
    assert (found.pred_boxes.tensor.tolist(), rows.tolist()) == ([[8, 8, 8, 4, 30]], [0])


@pytest.mark.usefixtures("drop_in")
@pytest.mark.parametrize(("size", "side", "padded"), [((4, 6), 2, (4, 6)), ((5, 6), 4, (8, 8)), ((1, 1), 3, (3, 3))])
def test_windows(size, side, padded):
    from detectron2.modeling.backbone.utils import window_partition, window_unpartition

    x = torch.arange(2 * size[0] * size[1] * 3.0).view(2, *size, 3)
    windows, padded_size = window_partition(x, side)
    assert padded_size == padded
    assert windows.shape == (2 * padded[0] * padded[1] // side**2, side, side, 3)
    assert window_unpartition(windows, side, padded_size, size).equal(x)


@pytest.mark.usefixtures("drop_in")
def test_relative_positions_are_added():
    from detectron2.modeling.backbone.utils import add_decomposed_rel_pos, get_rel_pos

    random = torch.Generator().manual_seed(0)
    attention, q = torch.randn(2, 6, 4, generator=random), torch.randn(2, 6, 5, generator=random)
    by_height, by_width = torch.randn(3, 5, generator=random), torch.randn(5, 5, generator=random)
    added = add_decomposed_rel_pos(attention, q, by_height, by_width, (2, 3), (2, 2)) - attention
    rows, columns = get_rel_pos(2, 2, by_height), get_rel_pos(3, 2, by_width)
    for i in range(6):
        for j in range(4):
            wanted = (q[:, i] * (rows[i // 3, j // 2] + columns[i % 3, j % 2])).sum(dim=1)
            torch.testing.assert_close(added[:, i, j], wanted)


@pytest.mark.usefixtures("drop_in")
def test_dense_predictions_by_anchor():
    from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K

    x = torch.arange(2 * 6 * 2 * 3).view(2, 6, 2, 3)
    rows = permute_to_N_HWA_K(x, 2)  # three anchors in a cell, two numbers each
    assert rows.shape == (2, 18, 2)
    assert rows[1, 3 * 4 + 2].tolist() == x[1, 4:6, 1, 1].tolist()


@pytest.mark.usefixtures("drop_in")
def test_what_names_lead_to():
    from detectron2.model_zoo.model_zoo import instantiate
    from detectron2.modeling.proposal_generator.proposal_utils import _is_tracing
    from detectron2.utils.logger import create_small_table
    from detectron2.utils.tracing import assert_fx_safe, is_fx_tracing

    assert callable(instantiate)
    assert (_is_tracing(), is_fx_tracing()) == (False, False)
    assert_fx_safe(True, "")
    with pytest.raises(AssertionError, match="no"):
        assert_fx_safe(False, "no")
    assert create_small_table({"AP": 1.25, "number": 3}).splitlines() == [
        "|   AP  | number |",
        "|:-----:|:------:|",
        "| 1.250 |   3    |",
    ]


@pytest.mark.usefixtures("drop_in")
@pytest.mark.parametrize("count", [0, 30])
def test_a_pooler_of_ones_own(count):
    from detectron2.modeling.poolers import (
        ROIPooler,
        _create_zeros,
        assign_boxes_to_levels,
        convert_boxes_to_pooler_format,
    )
    from detectron2.structures import Boxes

    class Own(ROIPooler):
        def forward(self, x, box_lists):
            if not box_lists:
                return _create_zeros(None, x[0].shape[1], *self.output_size, x[0])
            rois = convert_boxes_to_pooler_format(box_lists)
            limits = (self.min_level, self.max_level, self.canonical_box_size, self.canonical_level)
            levels = assign_boxes_to_levels(box_lists, *limits)
            pooled = _create_zeros(rois, x[0].shape[1], *self.output_size, x[0])
            for level, pool in enumerate(self.level_poolers):
                pooled[levels == level] = pool(x[level], rois[levels == level])
            return pooled

    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(2, 3, side, side, generator=generator) for side in (64, 32, 16)]
    corners = torch.rand(2, count, 4, generator=generator) * 250
    boxes = [Boxes(torch.cat([one[:, :2], one[:, :2] + one[:, 2:]], dim=1)) for one in corners]
    arguments = {"output_size": 3, "scales": (1 / 4, 1 / 8, 1 / 16), "sampling_ratio": 2, "pooler_type": "ROIAlignV2"}
    assert torch.equal(Own(**arguments)(maps, boxes), ROIPooler(**arguments)(maps, boxes))
    assert Own(**arguments)([one[:0] for one in maps], []).shape == (0, 3, 3, 3)
