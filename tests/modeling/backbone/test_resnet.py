"""ResNets against the formula, written with torch's functions over the checkpoint's keys."""

import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import tiny_cfg
from torch import nn
from torch.nn import functional as F

from litepred.errors import ConfigError
from litepred.layers import ShapeSpec
from litepred.modeling import ResNet, build_backbone
from litepred.modeling.backbone import BasicBlock, BasicStem, BottleneckBlock

RGB = ShapeSpec(channels=3)
STAGES = ["res2", "res3", "res4", "res5"]


def build(**changes):
    changes = {"RESNETS__" + key: value for key, value in {"OUT_FEATURES": STAGES, **changes}.items()}
    backbone = build_backbone(tiny_cfg("c4", **changes)).requires_grad_(False)
    fill_with_golden_weights(backbone)
    return backbone


def images(height=64, width=45, number=1):
    return torch.randn(number, 3, height, width, generator=torch.Generator().manual_seed(0)) * 50


def conv_norm(state, name, x, stride=1, padding=0, dilation=1, groups=1):
    x = F.conv2d(x, state[f"{name}.weight"], None, stride, padding, dilation, groups)
    norm = {key: state[f"{name}.norm.{key}"] for key in ("running_mean", "running_var", "weight", "bias")}
    return F.batch_norm(x, **norm, eps=1e-5)


def formula(state, x, stride_in_1x1=True, groups=1, res5_dilation=1):
    """All features of the ResNet with the checkpoint entries ``state``."""
    features = {}
    x = F.max_pool2d(conv_norm(state, "stem.conv1", x, stride=2, padding=3).relu(), 3, 2, 1)
    features["stem"] = x
    for stage in STAGES:
        number = len({key.split(".")[1] for key in state if key.startswith(stage)})
        dilation = res5_dilation if stage == "res5" else 1
        for i in range(number):
            name = f"{stage}.{i}"
            stride = 2 if i == 0 and stage != "res2" and dilation == 1 else 1
            if f"{name}.conv3.weight" in state:
                first, second = (stride, 1) if stride_in_1x1 else (1, stride)
                out = conv_norm(state, f"{name}.conv1", x, first).relu()
                out = conv_norm(state, f"{name}.conv2", out, second, dilation, dilation, groups).relu()
                out = conv_norm(state, f"{name}.conv3", out)
            else:
                out = conv_norm(state, f"{name}.conv1", x, stride, 1).relu()
                out = conv_norm(state, f"{name}.conv2", out, 1, 1)
            shortcut = conv_norm(state, f"{name}.shortcut", x, stride) if f"{name}.shortcut.weight" in state else x
            x = (out + shortcut).relu()
        if number:
            features[stage] = x
    return features


def assert_same(features, expected):
    for name, feature in features.items():
        torch.testing.assert_close(feature, expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        ({}, {}),
        ({"STRIDE_IN_1X1": False}, {"stride_in_1x1": False}),
        ({"NUM_GROUPS": 2}, {"groups": 2}),
        ({"NUM_GROUPS": 2, "STRIDE_IN_1X1": False}, {"groups": 2, "stride_in_1x1": False}),
        ({"RES5_DILATION": 2}, {"res5_dilation": 2}),
        ({"NORM": "BN"}, {}),
        ({"DEPTH": 18}, {}),
        ({"DEPTH": 34}, {}),
        ({"DEPTH": 34, "STRIDE_IN_1X1": False}, {}),  # basic blocks have no 1×1 to put it on
    ],
    ids=str,
)
def test_features_follow_the_formula(changes, arguments):
    backbone = build(**changes, OUT_FEATURES=["stem", *STAGES])
    x = images()
    features = backbone(x)
    assert list(features) == ["stem", *STAGES]
    assert_same(features, formula(backbone.state_dict(), x, **arguments))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2), (31, 33)])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_small_images(height, width, number):
    backbone = build(DEPTH=18)
    x = images(height, width, number)
    features = backbone(x)
    assert features["res5"].shape == (number, 128, -(-height // 32), -(-width // 32))
    assert_same(features, formula(backbone.state_dict(), x))


def test_the_place_of_the_stride_shows_in_nothing_but_numbers():
    one, other = build(), build(STRIDE_IN_1X1=False)
    assert {k: v.shape for k, v in one.state_dict().items()} == {k: v.shape for k, v in other.state_dict().items()}
    x = images()
    assert one(x)["res5"].shape == other(x)["res5"].shape
    assert not torch.allclose(one(x)["res5"], other(x)["res5"], rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [(18, [2, 2, 2, 2]), (34, [3, 4, 6, 3]), (50, [3, 4, 6, 3]), (101, [3, 4, 23, 3]), (152, [3, 8, 36, 3])],
)
def test_blocks_and_channels(depth, blocks):
    with torch.device("meta"):
        backbone = build_backbone(
            tiny_cfg("c4", RESNETS__DEPTH=depth, RESNETS__OUT_FEATURES=STAGES, RESNETS__NUM_GROUPS=1 + (depth > 34))
        )
    assert [len(getattr(backbone, stage)) for stage in STAGES] == blocks
    shapes = {key: tuple(value.shape) for key, value in backbone.state_dict().items()}
    shortcuts = [key for key in shapes if key.endswith("shortcut.weight")]
    stages_with_shortcut = STAGES if depth > 34 else STAGES[1:]
    if depth > 34:  # only a block that changes the number of channels has one
        assert shapes["res2.0.shortcut.weight"] == (16, 8, 1, 1)
        assert shapes["res4.1.conv2.weight"] == (2 * 4 * 4, 4 * 4, 3, 3)  # width 2 groups · 4, doubled twice
        assert shortcuts == [f"{stage}.0.shortcut.weight" for stage in stages_with_shortcut]
    else:  # STEM_OUT_CHANNELS 8 is not RES2_OUT_CHANNELS 16, as it is in a real ResNet-18
        assert shortcuts == [f"{stage}.0.shortcut.weight" for stage in STAGES]
        assert shapes["res4.1.conv2.weight"] == (64, 64, 3, 3)
    assert not [key for key in shapes if "conv" in key and key.endswith(".bias") and "norm" not in key]


def test_no_shortcut_where_channels_stay():
    keys = build(DEPTH=18, RES2_OUT_CHANNELS=8).state_dict()
    assert [key for key in keys if key.endswith("shortcut.weight")] == [f"res{i}.0.shortcut.weight" for i in (3, 4, 5)]


@pytest.mark.parametrize(
    ("wanted", "built"),
    [
        (["stem"], []),
        (["res2"], ["res2"]),
        (["res4"], ["res2", "res3", "res4"]),
        (["res5", "stem", "res3"], STAGES),
    ],
)
def test_out_features(wanted, built):
    backbone = build(OUT_FEATURES=wanted)
    stride = {"stem": 4, "res2": 4, "res3": 8, "res4": 16, "res5": 32}
    channels = {"stem": 8, "res2": 16, "res3": 32, "res4": 64, "res5": 128}
    assert backbone.stage_names == built
    assert backbone.output_shape() == {n: ShapeSpec(channels=channels[n], stride=stride[n]) for n in wanted}
    features = backbone(images())
    assert sorted(features) == sorted(wanted)
    for name, feature in features.items():
        assert feature.shape == (1, channels[name], 64 // stride[name], -(-45 // stride[name]))


def test_no_padding_is_asked_for():
    backbone = build(OUT_FEATURES=["res2"])
    assert backbone.size_divisibility == 0
    assert backbone.padding_constraints == {}


def test_dilated_res5_keeps_the_stride_of_res4():
    backbone = build(RES5_DILATION=2)
    assert backbone.output_shape()["res5"].stride == 16
    convs = [block.conv2 for block in backbone.res5]
    assert [(conv.stride, conv.dilation, conv.padding) for conv in convs] == [((1, 1), (2, 2), (2, 2))] * 3
    assert {block.conv2.dilation for stage in (backbone.res2, backbone.res3, backbone.res4) for block in stage} == {
        (1, 1)
    }


@pytest.mark.parametrize(
    ("name", "extra"), [("FrozenBN", []), ("BN", ["num_batches_tracked"]), ("SyncBN", ["num_batches_tracked"])]
)
def test_keys_of_norms(name, extra):
    keys = [key for key in build(NORM=name, OUT_FEATURES=["stem"]).state_dict() if "norm" in key]
    assert keys == [f"stem.conv1.norm.{k}" for k in ["weight", "bias", "running_mean", "running_var", *extra]]


@pytest.mark.parametrize(("modulated", "per_group"), [(False, 18), (True, 27)])
@pytest.mark.parametrize("groups", [1, 2])
def test_deformable_keys(modulated, per_group, groups):
    flags = {"DEFORM_ON_PER_STAGE": [False, True, False, True], "DEFORM_MODULATED": modulated}
    backbone = build(**flags, DEFORM_NUM_GROUPS=groups)
    state = backbone.state_dict()
    offsets = [key for key in state if "conv2_offset" in key]
    blocks = [f"res3.{i}" for i in range(4)] + [f"res5.{i}" for i in range(3)]
    assert offsets == [f"{block}.conv2_offset.{leaf}" for block in blocks for leaf in ("weight", "bias")]
    assert state["res3.0.conv2_offset.weight"].shape == (per_group * groups, 8, 3, 3)
    assert "res3.0.conv2.bias" not in state
    assert "res3.0.conv2.norm.weight" in state
    assert backbone(images())["res5"].shape == (1, 128, 2, 2)


@pytest.mark.parametrize("stride_in_1x1", [True, False])
def test_deformable_without_offsets_is_plain(stride_in_1x1):
    backbone = build(DEFORM_ON_PER_STAGE=[False, True, True, True], STRIDE_IN_1X1=stride_in_1x1)
    for key, value in backbone.state_dict().items():
        if "conv2_offset" in key:
            value.zero_()
    x = images()
    assert_same(backbone(x), formula(backbone.state_dict(), x, stride_in_1x1=stride_in_1x1))


@pytest.mark.parametrize(("version", "mask"), [("v1", 1.0), ("v2", 0.5)])
def test_deformable_with_an_offset_by_hand(version, mask):
    block = BottleneckBlock(4, 4, bottleneck_channels=4, norm="", deform=version).requires_grad_(False)
    block.conv2_offset.weight.zero_()
    block.conv2_offset.bias.zero_()[:18:2] = 1  # dy of every tap: one row down
    x = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    hidden = F.conv2d(x, block.conv1.weight).relu()
    lowered = F.pad(hidden, (1, 1, 1, 2))[:, :, 1:]
    out = F.conv2d(lowered, block.conv2.weight).relu() * mask  # logits 0 weigh every tap by one half
    expected = (F.conv2d(out, block.conv3.weight) + x).relu()
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DEPTH": 77}, r"DEPTH is 77: expected one of \[18, 34, 50, 101, 152\]"),
        ({"OUT_FEATURES": []}, r"OUT_FEATURES is \[\]: expected one or more of \['stem', 'res2', .*'res5'\]"),
        ({"OUT_FEATURES": ["res6"]}, r"\['res6'\]: expected one or more of \['stem', 'res2', 'res3', 'res4', 'res5'\]"),
        ({"OUT_FEATURES": ["res2", "p2"]}, r"OUT_FEATURES is \['res2', 'p2'\]"),
        ({"RES5_DILATION": 3}, "RES5_DILATION is 3: expected 1 or 2"),
        ({"DEPTH": 18, "NUM_GROUPS": 2}, "NUM_GROUPS is 2.*DEPTH 18 need 1"),
        ({"DEPTH": 34, "RES5_DILATION": 2}, "RES5_DILATION is 2.*DEPTH 34 need 1"),
        ({"DEPTH": 18, "DEFORM_ON_PER_STAGE": [False, True, False, False]}, "DEFORM_ON_PER_STAGE is True.*need False"),
        ({"NORM": "nonsense"}, "unknown normalisation 'nonsense'"),
    ],
)
def test_misfits(changes, message):
    with pytest.raises(ConfigError, match=message):
        build(**changes)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 3, 32, 32), (32, 32)])
def test_a_batch_is_needed(shape):
    with pytest.raises(ValueError, match=r"expected a batch, \(N, C, H, W\)"):
        build(OUT_FEATURES=["stem"])(torch.zeros(shape))


def test_from_plain_arguments():
    stages = [
        ResNet.make_stage(BasicBlock, 2, in_channels=4, out_channels=4, first_stride=1, norm=nn.BatchNorm2d),
        [BasicBlock(4, 6, stride=2, norm=""), BasicBlock(6, 6, norm="")],
    ]
    backbone = ResNet(BasicStem(1, 4, ""), stages, out_features=["res2", "res3"])
    assert backbone.output_shape() == {"res2": ShapeSpec(4, stride=4), "res3": ShapeSpec(6, stride=8)}
    assert {name: tuple(f.shape) for name, f in backbone(torch.zeros(2, 1, 16, 16)).items()} == {
        "res2": (2, 4, 4, 4),
        "res3": (2, 6, 2, 2),
    }
    assert "res2.0.conv1.norm.num_batches_tracked" in backbone.state_dict()


class TestMakingStages:
    @pytest.mark.parametrize("depth", [18, 50])
    def test_default_stages(self, depth):
        stages = ResNet.make_default_stages(depth, norm="FrozenBN")
        assert [[block.stride for block in stage][:2] for stage in stages] == [[1, 1], [2, 1], [2, 1], [2, 1]]
        backbone = ResNet(BasicStem(3, 64, "FrozenBN"), stages, out_features=["res3"])
        assert not hasattr(backbone, "res4")
        assert backbone.freeze(2).output_shape()["res3"].stride == 8

    def test_the_last_stage_is_the_default(self):
        stages = [ResNet.make_stage(BasicBlock, 1, in_channels=4, out_channels=4, norm="")]
        assert list(ResNet(BasicStem(3, 4, ""), stages).output_shape()) == ["res2"]
        assert list(ResNet(BasicStem(3, 4, ""), []).output_shape()) == ["stem"]

    @pytest.mark.parametrize("kwargs", [{"first_stride": 2}, {"stride_per_block": [2, 1]}])
    def test_strides(self, kwargs):
        stage = ResNet.make_stage(BasicBlock, 2, in_channels=4, out_channels=8, norm="", **kwargs)
        assert [(block.in_channels, block.stride) for block in stage] == [(4, 2), (8, 1)]

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: ResNet.make_default_stages(19), "DEPTH is 19: expected one of"),
            (
                lambda: ResNet.make_stage(BasicBlock, 2, in_channels=4, out_channels=4, stride_per_block=[1]),
                "1 values as stride_per_block for 2 blocks",
            ),
            (lambda: ResNet(BasicStem(), [], 1000), "without a classifier"),
        ],
    )
    def test_what_cannot_be_made(self, make, message):
        with pytest.raises(ConfigError, match=message):
            make()
