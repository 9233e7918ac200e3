"""The mask branch: layers, and which channel becomes the mask."""

import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import tiny_cfg
from torch.nn import functional as F

from litepred.layers import ShapeSpec
from litepred.modeling import BaseMaskRCNNHead, MaskRCNNConvUpsampleHead, build_mask_head
from litepred.modeling.roi_heads import mask_rcnn_inference
from litepred.structures import Instances

POOLED = ShapeSpec(channels=3, height=4, width=4)


def build(conv_dims=(5, 6), norm="", num_classes=2):
    head = MaskRCNNConvUpsampleHead(POOLED, num_classes=num_classes, conv_dims=conv_dims, conv_norm=norm)
    fill_with_golden_weights(head.eval().requires_grad_(False))
    return head


def instances(*classes):
    return [Instances((9, 9), pred_classes=torch.tensor(c, dtype=torch.int64)) for c in classes]


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("norm", ["", "BN"])
@pytest.mark.parametrize("conv_dims", [(6,), (5, 6), (5, 4, 6)])
def test_layers(rows, norm, conv_dims):
    head = build(conv_dims, norm)
    state = head.state_dict()
    x = torch.randn(rows, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = x
    for i in range(1, len(conv_dims)):
        assert (f"mask_fcn{i}.bias" in state) is not bool(norm)
        expected = F.conv2d(expected, state[f"mask_fcn{i}.weight"], state.get(f"mask_fcn{i}.bias"), padding=1)
        if norm:
            norms = {k: state[f"mask_fcn{i}.norm.{k}"] for k in ("running_mean", "running_var", "weight", "bias")}
            expected = F.batch_norm(expected, **norms)
        expected = expected.relu()
    weight, bias = state["deconv.weight"], state["deconv.bias"]  # (in, out, 2, 2): each cell becomes four
    blocks = torch.einsum("nihw,ioab->nohawb", expected, weight).reshape(rows, conv_dims[-1], 8, 8)
    expected = (blocks + bias[:, None, None]).relu()
    expected = F.conv2d(expected, state["predictor.weight"], state["predictor.bias"])
    torch.testing.assert_close(head.layers(x), expected, rtol=1e-4, atol=1e-5)
    assert weight.shape == (conv_dims[-2] if len(conv_dims) > 1 else 3, 6, 2, 2)


@pytest.mark.parametrize("classes", [[[]], [[], []], [[1]], [[0, 2, 1], [], [2]]])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_mask_of_the_predicted_class(classes, channels):
    number = sum(len(c) for c in classes)
    logits = torch.randn(number, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    results = instances(*classes)
    mask_rcnn_inference(logits, results)
    row = 0
    for labels, result in zip(classes, results):
        assert result.pred_masks.shape == (len(labels), 1, 8, 8)
        for label, mask in zip(labels, result.pred_masks):
            logit = logits[row, label if channels > 1 else 0]
            torch.testing.assert_close(mask[0], 1 / (1 + torch.exp(-logit)))
            row += 1


def test_forward_sets_the_masks():
    head, given = build(), instances([1], [0, 1])
    x = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    results = head(x, given)
    assert [a is b for a, b in zip(results, given)] == [True, True]
    logits = head.layers(x)
    wanted = torch.stack([logits[0, 1], logits[1, 0], logits[2, 1]])[:, None].sigmoid()
    assert torch.equal(torch.cat([r.pred_masks for r in results]), wanted)


@pytest.mark.parametrize(("agnostic", "channels"), [(False, 3), (True, 1)])
def test_from_a_config(agnostic, channels):
    changes = {"NUM_CONV": 2, "CONV_DIM": 8, "NORM": "BN", "CLS_AGNOSTIC_MASK": agnostic}
    head = build_mask_head(tiny_cfg(**{f"ROI_MASK_HEAD__{key}": value for key, value in changes.items()}), POOLED)
    shapes = {key: tuple(value.shape) for key, value in head.state_dict().items() if value.ndim > 1}
    assert shapes == {
        "mask_fcn1.weight": (8, 3, 3, 3),
        "mask_fcn2.weight": (8, 8, 3, 3),
        "deconv.weight": (8, 8, 2, 2),
        "predictor.weight": (channels, 8, 1, 1),
    }


def test_a_head_without_layers():
    with pytest.raises(NotImplementedError):
        BaseMaskRCNNHead()(torch.zeros(0, 3, 4, 4), [])
