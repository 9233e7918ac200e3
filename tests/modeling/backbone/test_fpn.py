"""Feature pyramids: the top-down path, the levels on top, the config."""

import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import tiny_cfg
from torch.nn import functional as F

from litepred.errors import ConfigError
from litepred.layers import ShapeSpec
from litepred.modeling import FPN, Backbone, build_backbone
from litepred.modeling.backbone import LastLevelMaxPool, LastLevelP6P7

CHANNELS = {"res2": 2, "res3": 3, "res4": 4, "res5": 5}
STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


class Maps(Backbone):
    """A backbone that returns prepared maps."""

    def __init__(self, names=tuple(CHANNELS), strides=None):
        super().__init__()
        self._out_features = list(names)
        self._out_feature_channels = CHANNELS
        self._out_feature_strides = strides or STRIDES

    def forward(self, x):
        random = torch.Generator().manual_seed(0)
        height, width = x.shape[-2:]
        return {
            name: torch.randn(len(x), CHANNELS[name], height // STRIDES[name], width // STRIDES[name], generator=random)
            for name in self._out_features
        }


def build(names=tuple(CHANNELS), **kwargs):
    fpn = FPN(Maps(), names, kwargs.pop("out_channels", 6), **kwargs).requires_grad_(False)
    fill_with_golden_weights(fpn)
    return fpn


def conv(state, name, x, **kwargs):
    x = F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **kwargs)
    if f"{name}.norm.weight" in state:
        x = F.group_norm(x, 32, state[f"{name}.norm.weight"], state[f"{name}.norm.bias"])
    return x


@pytest.mark.parametrize("fuse_type", ["sum", "avg"])
@pytest.mark.parametrize(("norm", "out_channels", "number"), [("", 6, 0), ("", 6, 1), ("", 6, 2), ("GN", 64, 2)])
@pytest.mark.parametrize("levels", [[2, 3, 4, 5], [3, 4, 5], [4], [2, 3]])
def test_top_down_path(fuse_type, norm, out_channels, number, levels):
    fpn = build([f"res{i}" for i in levels], fuse_type=fuse_type, norm=norm, out_channels=out_channels)
    x = torch.zeros(number, 3, 64, 128)
    maps, state = fpn.bottom_up(x), fpn.state_dict()
    outputs = fpn(x)
    assert list(outputs) == [f"p{i}" for i in levels]
    # The sum is carried down as it is before the output convolutions; enlarging repeats cells.
    merged = None
    for level in reversed(levels):
        lateral = conv(state, f"fpn_lateral{level}", maps[f"res{level}"])
        if merged is not None:
            lateral = lateral + merged.repeat_interleave(2, 2).repeat_interleave(2, 3)
            lateral = lateral / 2 if fuse_type == "avg" else lateral
        merged = lateral
        expected = conv(state, f"fpn_output{level}", merged, padding=1)
        torch.testing.assert_close(outputs[f"p{level}"], expected)
    assert ("fpn_lateral4.bias" in state) is ("fpn_output4.bias" in state) is (4 in levels and not norm)


def test_by_hand():
    fpn = FPN(Maps(["res4", "res5"]), ["res4", "res5"], 1).requires_grad_(False)
    for key, value in fpn.state_dict().items():
        value.zero_()
        if "output" in key and "weight" in key:
            value[0, 0, 1, 1] = 10  # ten times the cell itself
        elif "weight" in key:
            value.fill_(1)
    maps = {"res4": torch.arange(8.0).view(1, 1, 2, 4).expand(1, 4, 2, 4), "res5": torch.ones(1, 5, 1, 2)}
    maps["res5"][..., 1] = 2
    fpn.bottom_up.forward = lambda x: maps
    outputs = fpn(torch.zeros(1, 3, 32, 64))
    assert outputs["p5"].flatten().tolist() == [50, 100]
    # 4 channels of 0 … 7, and 5 or 10 from above, not smoothed between the cells and not times ten
    assert outputs["p4"][0, 0].tolist() == [[50, 90, 180, 220], [210, 250, 340, 380]]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (128, 224)])
def test_p6_takes_every_second_cell_of_p5(height, width):
    fpn = build(top_block=LastLevelMaxPool())
    outputs = fpn(torch.zeros(1, 3, height, width))
    assert list(outputs) == ["p2", "p3", "p4", "p5", "p6"]
    assert torch.equal(outputs["p6"], outputs["p5"][:, :, ::2, ::2])
    assert not [key for key in fpn.state_dict() if "top_block" in key]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 224)])
def test_p6_and_p7_come_from_res5(height, width):
    fpn = build(["res3", "res4", "res5"], top_block=LastLevelP6P7(5, 6))
    x = torch.zeros(1, 3, height, width)
    outputs, state = fpn(x), fpn.state_dict()
    assert list(outputs) == ["p3", "p4", "p5", "p6", "p7"]
    p6 = conv(state, "top_block.p6", fpn.bottom_up(x)["res5"], stride=2, padding=1)
    assert torch.equal(outputs["p6"], p6)
    assert (p6 < 0).any()  # no activation before it leaves
    assert torch.equal(outputs["p7"], conv(state, "top_block.p7", p6.relu(), stride=2, padding=1))


def test_a_top_block_may_read_a_level():
    outputs = build(["res4", "res5"], top_block=LastLevelP6P7(6, 6, "p5"))(torch.zeros(1, 3, 64, 64))
    assert list(outputs) == ["p4", "p5", "p6", "p7"]


@pytest.mark.parametrize(
    ("names", "top_block", "shapes", "divisibility"),
    [
        (["res2", "res3", "res4", "res5"], LastLevelMaxPool(), {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}, 32),
        (["res3", "res4", "res5"], LastLevelP6P7(5, 6), {"p3": 8, "p4": 16, "p5": 32, "p6": 64, "p7": 128}, 32),
        (["res2", "res3"], None, {"p2": 4, "p3": 8}, 8),
    ],
)
def test_shapes(names, top_block, shapes, divisibility):
    fpn = build(names, top_block=top_block)
    assert fpn.output_shape() == {name: ShapeSpec(channels=6, stride=stride) for name, stride in shapes.items()}
    assert fpn.size_divisibility == divisibility
    assert fpn.padding_constraints == {"square_size": 0}
    assert build(square_pad=64).padding_constraints == {"square_size": 64}


@pytest.mark.parametrize(
    ("names", "kwargs", "message"),
    [
        ([], {}, r"IN_FEATURES is \[\]: expected one or more of \['res2', 'res3', 'res4', 'res5'\]"),
        (["res2", "p3"], {}, r"IN_FEATURES is \['res2', 'p3'\]"),
        (["res2", "res4"], {}, r"strides .* are \[4, 16\]: expected each twice the one before"),
        (["res3", "res2"], {}, r"\[8, 4\]"),
        (["res2"], {"fuse_type": "max"}, "FUSE_TYPE is 'max': expected 'sum' or 'avg'"),
        (["res2"], {"norm": "XX"}, "unknown normalisation 'XX'"),
        (["res2", "res3"], {"top_block": LastLevelMaxPool()}, r"\['res2', 'res3'\].* made from p5: expected it among"),
    ],
)
def test_misfits(names, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        build(names, **kwargs)


@pytest.mark.parametrize("family", ["fpn", "retinanet"])
def test_from_a_config(family):
    fpn = build_backbone(tiny_cfg(family, FPN__NORM="BN", FPN__FUSE_TYPE="avg"))
    outputs = fpn(torch.zeros(1, 3, 64, 64))
    assert {name: tuple(f.shape[1:]) for name, f in outputs.items()} == {
        name: (16, -(-64 // shape.stride), -(-64 // shape.stride)) for name, shape in fpn.output_shape().items()
    }
    assert fpn._average
    keys = set(fpn.state_dict())
    assert {"bottom_up.stem.conv1.weight", "fpn_lateral5.norm.running_mean", "fpn_output5.weight"} <= keys
    assert "fpn_lateral5.bias" not in keys
    assert ("top_block.p7.bias" in keys) is (family == "retinanet")


def test_retinanet_needs_res5():
    names = ["res3", "res4"]
    with pytest.raises(ConfigError, match=r"p6 and p7 are made from is \['res5'\]: expected .* \['res3', 'res4'\]"):
        build_backbone(tiny_cfg("retinanet", RESNETS__OUT_FEATURES=names, FPN__IN_FEATURES=names))
