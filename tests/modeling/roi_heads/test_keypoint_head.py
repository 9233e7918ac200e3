"""The keypoint branch: layers, and the reading of heatmaps."""

import math

import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import tiny_cfg
from torch.nn import functional as F

from litepred.layers import ShapeSpec
from litepred.modeling import BaseKeypointRCNNHead, KRCNNConvDeconvUpsampleHead, build_keypoint_head
from litepred.modeling.roi_heads import keypoint_rcnn_inference
from litepred.structures import Boxes, Instances

POOLED = ShapeSpec(channels=3, height=4, width=4)


def instances(*boxes):
    return [Instances((99, 99), pred_boxes=Boxes(b)) for b in boxes]


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("conv_dims", [(5,), (5, 6)])
def test_layers(rows, conv_dims):
    head = KRCNNConvDeconvUpsampleHead(POOLED, num_keypoints=2, conv_dims=conv_dims).requires_grad_(False)
    fill_with_golden_weights(head)
    state = head.state_dict()
    assert list(state) == [
        f"{name}.{leaf}"
        for name in [f"conv_fcn{i + 1}" for i in range(len(conv_dims))] + ["score_lowres"]
        for leaf in ("weight", "bias")
    ]
    x = torch.randn(rows, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    hidden = x
    for i in range(1, len(conv_dims) + 1):
        hidden = F.conv2d(hidden, state[f"conv_fcn{i}.weight"], state[f"conv_fcn{i}.bias"], padding=1).relu()
    # A transposed convolution of kernel 4, stride 2 and padding 1: each cell adds to 4 × 4 cells, the rim is cut off.
    weight, bias = state["score_lowres.weight"], state["score_lowres.bias"]
    canvas = torch.zeros(rows, 2, 10, 10)
    for y in range(4):
        for x_ in range(4):
            added = torch.einsum("ni,ioab->noab", hidden[:, :, y, x_], weight)
            canvas[:, :, 2 * y : 2 * y + 4, 2 * x_ : 2 * x_ + 4] += added
    low = canvas[:, :, 1:-1, 1:-1] + bias[:, None, None]
    assert rows == 0 or (low < 0).any()  # no activation follows
    expected = F.interpolate(low, (16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(head.layers(x), expected, rtol=1e-4, atol=1e-5)


def test_no_detections():
    results = instances([], [])
    keypoint_rcnn_inference(torch.zeros(0, 17, 56, 56), results)
    for result in results:
        assert result.pred_keypoints.shape == (0, 17, 3)
        assert result.pred_keypoint_heatmaps.shape == (0, 17, 56, 56)


@pytest.mark.parametrize(
    "boxes",
    [
        [[[10, 20, 26, 36]]],  # as many pixels as cells
        [[[10.25, 20.5, 33.5, 51.125], [0, 0, 5, 7]], [], [[3, 3, 40, 9]]],
        [[[5, 5, 5, 5]]],  # a side counts as one pixel at least
    ],
)
def test_by_definition(boxes):
    number = sum(len(b) for b in boxes)
    logits = torch.randn(number, 2, 16, 16, generator=torch.Generator().manual_seed(0)) * 3
    results = instances(*boxes)
    keypoint_rcnn_inference(logits, results)
    row = 0
    for image, result in zip(boxes, results):
        assert list(result.get_fields()) == ["pred_boxes", "pred_keypoints", "pred_keypoint_heatmaps"]
        assert torch.equal(result.pred_keypoint_heatmaps, logits[row : row + len(image)])
        for (x1, y1, x2, y2), points in zip(image, result.pred_keypoints):
            width, height = max(x2 - x1, 1), max(y2 - y1, 1)
            pixels = math.ceil(height), math.ceil(width)
            large = F.interpolate(logits[row][None], pixels, mode="bicubic", align_corners=False)[0]
            for k, (x, y, score) in enumerate(points.tolist()):
                peak = large[k].max()
                column, line = (large[k] == peak).nonzero()[0].flip(0).tolist()
                assert x == pytest.approx(x1 + (column + 0.5) * width / pixels[1], abs=1e-4)
                assert y == pytest.approx(y1 + (line + 0.5) * height / pixels[0], abs=1e-4)
                # a softmax of the enlarged map's peak over the small map: neither map's own softmax
                assert score == pytest.approx(1 / (logits[row, k] - peak).exp().sum().item(), rel=1e-4)
            row += 1


def test_a_score_may_exceed_one():
    logits = torch.full((1, 1, 4, 4), -50.0)
    logits[0, 0, 1:3, 1:3] = torch.tensor([[10.0, 10.0], [10.0, 9.0]])  # bicubic enlarging overshoots
    (result,) = results = instances([[0, 0, 40, 40]])
    keypoint_rcnn_inference(logits, results)
    assert result.pred_keypoints[0, 0, 2] > 1


def test_from_a_config():
    cfg = tiny_cfg(ROI_KEYPOINT_HEAD__CONV_DIMS=(5, 6), ROI_KEYPOINT_HEAD__NUM_KEYPOINTS=7)
    head = build_keypoint_head(cfg, POOLED)
    assert head.state_dict()["conv_fcn2.weight"].shape == (6, 5, 3, 3)
    assert head.state_dict()["score_lowres.weight"].shape == (6, 7, 4, 4)
    assert head.num_keypoints == 7
    assert head(torch.zeros(1, 3, 4, 4), instances([[0, 0, 5, 5]]))[0].pred_keypoints.shape == (1, 7, 3)


def test_a_head_without_layers():
    with pytest.raises(NotImplementedError):
        BaseKeypointRCNNHead(num_keypoints=1)(torch.zeros(0, 3, 4, 4), [])
