"""The layers between a pooled box and its predictors."""

import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import tiny_cfg
from torch.nn import functional as F

from litepred.errors import ConfigError
from litepred.layers import ShapeSpec
from litepred.modeling import FastRCNNConvFCHead, build_box_head

POOLED = ShapeSpec(channels=3, height=4, width=5)


def build(conv_dims, fc_dims, norm=""):
    head = FastRCNNConvFCHead(POOLED, conv_dims=conv_dims, fc_dims=fc_dims, conv_norm=norm).eval()
    fill_with_golden_weights(head.requires_grad_(False))
    return head


@pytest.mark.parametrize("rows", [0, 1, 4])
@pytest.mark.parametrize("norm", ["", "BN"])
@pytest.mark.parametrize(
    ("conv_dims", "fc_dims", "output"),
    [
        ([], [6], ShapeSpec(channels=6)),
        ([], [6, 7], ShapeSpec(channels=7)),
        ([2, 6], [], ShapeSpec(channels=6, height=4, width=5)),
        ([2], [6, 7], ShapeSpec(channels=7)),
    ],
)
def test_layers(rows, norm, conv_dims, fc_dims, output):
    head = build(conv_dims, fc_dims, norm)
    state = head.state_dict()
    x = torch.randn(rows, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = x
    for i in range(1, len(conv_dims) + 1):
        expected = F.conv2d(expected, state[f"conv{i}.weight"], state.get(f"conv{i}.bias"), padding=1)
        assert (f"conv{i}.bias" in state) is not bool(norm)
        if norm:
            norms = {key: state[f"conv{i}.norm.{key}"] for key in ("running_mean", "running_var", "weight", "bias")}
            expected = F.batch_norm(expected, **norms)
        expected = expected.relu()
    for i in range(1, len(fc_dims) + 1):
        expected = expected.reshape(rows, state[f"fc{i}.weight"].shape[1])  # channel, row, column
        expected = F.linear(expected, state[f"fc{i}.weight"], state[f"fc{i}.bias"]).relu()
    torch.testing.assert_close(head(x), expected)
    assert head.output_shape == output


def test_flattened_channel_first():
    head = FastRCNNConvFCHead(POOLED, conv_dims=[], fc_dims=[1]).requires_grad_(False)
    head.fc1.bias.zero_()
    head.fc1.weight.zero_()[0, 1 * 20 + 2 * 5 + 3] = 1
    x = torch.zeros(1, 3, 4, 5)
    x[0, 1, 2, 3] = 7
    assert head(x).item() == 7


def test_its_input_is_left_as_it_is():
    x = -torch.ones(1, 3, 4, 5)
    build([2], [6])(x)
    assert (x == -1).all()


def test_layers_are_needed():
    with pytest.raises(ConfigError, match="NUM_CONV 0 and NUM_FC 0"):
        build([], [])


def test_from_a_config():
    changes = {"NUM_CONV": 2, "CONV_DIM": 8, "NUM_FC": 2, "FC_DIM": 9, "NORM": "BN"}
    head = build_box_head(tiny_cfg(**{f"ROI_BOX_HEAD__{key}": value for key, value in changes.items()}), POOLED)
    shapes = {key: tuple(value.shape) for key, value in head.state_dict().items() if value.ndim > 1}
    assert shapes == {
        "conv1.weight": (8, 3, 3, 3),
        "conv2.weight": (8, 8, 3, 3),
        "fc1.weight": (9, 8 * 4 * 5),
        "fc2.weight": (9, 9),
    }
    assert "conv1.norm.num_batches_tracked" in head.state_dict()
