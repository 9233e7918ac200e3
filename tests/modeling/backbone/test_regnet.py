"""RegNets against the formula, written with torch's functions over the checkpoint's keys."""

import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import tiny_cfg
from torch.nn import functional as F

from litepred.errors import ConfigError
from litepred.layers import ShapeSpec
from litepred.modeling import build_backbone
from litepred.modeling.backbone import RegNet

TINY = {"depth": 3, "w_a": 6.0, "w_0": 8, "w_m": 2.0, "group_width": 4, "stem_width": 8}  # 1 of 8, 2 of 16


def build(**kwargs):
    backbone = RegNet(**{**TINY, "out_features": ["stem", "s1", "s2"], **kwargs}).requires_grad_(False).eval()
    fill_with_golden_weights(backbone)
    return backbone


def formula(state, x, group_width=4):
    """All features of the RegNet with the checkpoint entries ``state``."""

    def conv_norm(name, norm, x, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
        norms = {key: state[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")}
        return F.batch_norm(x, **norms)

    features = {"stem": conv_norm("stem.conv", "stem.bn", x, stride=2).relu()}
    x = features["stem"]
    blocks = sorted({tuple(key.split(".")[:2]) for key in state if key[0] == "s" and key[1].isdigit()})
    for stage, block in blocks:
        name, stride = f"{stage}.{block}", 2 if block == "b1" else 1
        width = state[f"{name}.f.a.weight"].shape[0]
        out = conv_norm(f"{name}.f.a", f"{name}.f.a_bn", x).relu()
        out = conv_norm(f"{name}.f.b", f"{name}.f.b_bn", out, stride, width // group_width).relu()
        if f"{name}.f.se.f_ex.0.weight" in state:
            squeezed = out.mean((2, 3), keepdim=True)
            for i, activation in ((0, torch.relu), (2, torch.sigmoid)):
                weight, bias = (state[f"{name}.f.se.f_ex.{i}.{leaf}"] for leaf in ("weight", "bias"))
                squeezed = activation(F.conv2d(squeezed, weight, bias))
            out = out * squeezed
        out = conv_norm(f"{name}.f.c", f"{name}.f.c_bn", out)
        shortcut = conv_norm(f"{name}.proj", f"{name}.bn", x, stride) if f"{name}.proj.weight" in state else x
        x = features[stage] = (shortcut + out).relu()
    return features


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 3), (32, 47)])
@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("se_ratio", [0.0, 0.25])
@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
def test_features_follow_the_formula(height, width, number, se_ratio, norm):
    backbone = build(se_ratio=se_ratio, norm=norm)
    x = torch.randn(number, 3, height, width, generator=torch.Generator().manual_seed(0))
    features, expected = backbone(x), formula(backbone.state_dict(), x)
    assert list(features) == ["stem", "s1", "s2"]
    for name, feature in features.items():
        torch.testing.assert_close(feature, expected[name], rtol=1e-4, atol=1e-5)


def test_shortcut_where_width_or_resolution_change():
    keys = build().state_dict()  # s1 halves the resolution alone, s2 doubles the width too
    assert [key for key in keys if "proj" in key] == ["s1.b1.proj.weight", "s2.b1.proj.weight"]


def test_shapes():
    assert build(out_features=["s2", "stem"]).output_shape() == {
        "s2": ShapeSpec(channels=16, stride=8),
        "stem": ShapeSpec(channels=8, stride=2),
    }


def test_arguments_as_detectron2_has_them():
    same = RegNet(**TINY, stride=2, bottleneck_ratio=1.0, activation_class=torch.nn.ReLU)
    assert list(same.output_shape()) == list(RegNet(**TINY).output_shape()) == ["s2"]
    for other in ({"stride": 1}, {"bottleneck_ratio": 0.5}, {"activation_class": torch.nn.SiLU}):
        with pytest.raises(ConfigError, match=f"{next(iter(other))}.*expected"):
            RegNet(**TINY, **other)


def test_unknown_feature():
    with pytest.raises(
        ConfigError, match=r"IN_FEATURES is \['s1', 'res2'\]: expected one or more of \['stem', 's1', 's2'\]"
    ):
        build(out_features=["s1", "res2"])


@pytest.mark.parametrize(
    ("letter", "blocks", "shapes"),
    [
        (
            "x",
            [2, 5, 14, 2],
            {"s1.b1.f.b.weight": (80, 40, 3, 3), "s4.b2.f.c.weight": (1360, 1360, 1, 1), "s3.b14.f.a_bn.bias": (560,)},
        ),
        (
            "y",
            [2, 6, 12, 2],
            {
                "s1.b1.f.b.weight": (128, 64, 3, 3),
                # a quarter of what enters the block, not of what leaves it
                "s1.b1.f.se.f_ex.0.weight": (8, 128, 1, 1),
                "s1.b2.f.se.f_ex.2.weight": (128, 32, 1, 1),
                "s4.b1.f.se.f_ex.0.bias": (128,),
                "s4.b1.proj.weight": (1088, 512, 1, 1),
            },
        ),
    ],
)
def test_from_a_config(letter, blocks, shapes):
    names = ["s1", "s2", "s3", "s4"]
    with torch.device("meta"):
        fpn = build_backbone(
            tiny_cfg("fpn", BACKBONE__NAME=f"build_regnet{letter}_4gf_dds_fpn_backbone", FPN__IN_FEATURES=names)
        )
    state = {key.removeprefix("bottom_up."): tuple(value.shape) for key, value in fpn.state_dict().items()}
    assert {key: state[key] for key in shapes} == shapes
    assert [len({key.split(".")[1] for key in state if key.startswith(f"{name}.")}) for name in names] == blocks
    assert any("f.se" in key for key in state) is (letter == "y")
    assert state["stem.conv.weight"] == (32, 3, 3, 3)
    assert list(fpn.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    assert fpn.size_divisibility == 32
