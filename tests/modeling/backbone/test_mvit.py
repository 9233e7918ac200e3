"""MViT v2: Detectron2's answers, the faster way, the config."""

import pytest
import torch
from tiny_models import tiny_cfg
from tiny_transformers import CASCADE, assert_answers, assert_same, digest, golden, layer_norm, noise, optimized

from litepred import get_cfg
from litepred.errors import ConfigError
from litepred.layers import ShapeSpec
from litepred.modeling import MViT, build_backbone
from litepred.modeling.backbone import transformer

TINY = {
    "img_size": 64,
    "embed_dim": 8,
    "depth": 6,
    "num_heads": 1,
    "last_block_indexes": (0, 2, 4, 5),
    "adaptive_window_size": 8,
    "adaptive_kv_stride": 4,
    "norm_layer": layer_norm,
    "drop_path_rate": 0.1,
    "use_abs_pos": True,
    "pretrain_img_size": 32,
}
SCALES = ["scale2", "scale3", "scale4", "scale5"]


def build(**changes):
    return golden(MViT(**{**TINY, **changes}))


def test_detectron2s_answers():
    assert_answers(build(), "mvit_answers.json", 1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160), (32, 64)])
@pytest.mark.parametrize("at_once", [1, 100, 2**21])
@pytest.mark.parametrize("large", [1, 2**18])
def test_the_faster_way(precision, height, width, at_once, large, monkeypatch):
    monkeypatch.setattr("litepred.optimize.is_fast", lambda precision, device: True)
    monkeypatch.setattr(transformer, "_WEIGHTS_AT_ONCE", at_once)
    monkeypatch.setattr(transformer, "_WEIGHTS_OF_LARGE", large)
    exact, x = build(), noise(height, width)
    fast = optimized(exact, precision)
    assert_same(fast(x.to(getattr(torch, precision))), exact(x), 1e-5 if precision == "float32" else 0.1)


@pytest.mark.parametrize(
    "change", [{"use_rel_pos": False}, {"use_abs_pos": False}, {"qkv_bias": False}, {"residual_pooling": False}]
)
def test_parts_that_a_model_may_lack(change):
    (name,) = change
    part = {"use_rel_pos": "rel_pos", "use_abs_pos": "pos_embed", "qkv_bias": "qkv.bias", "residual_pooling": "none"}
    with_it, without = build(), build(**change)
    assert not any(part[name] in key for key in without.state_dict())
    x = noise(64, 64)
    assert not torch.allclose(with_it(x)["scale5"], without(x)["scale5"], atol=1e-2)


def test_shapes():
    backbone = build(out_features=["scale3", "scale5"])
    assert backbone.output_shape() == {
        "scale3": ShapeSpec(channels=16, stride=8),
        "scale5": ShapeSpec(channels=64, stride=32),
    }
    assert list(backbone(noise(64, 64))) == ["scale3", "scale5"]
    assert not any("scale2_norm" in key or "scale4_norm" in key for key in backbone.state_dict())


@pytest.mark.parametrize("wanted", [[], ["scale2", "res5"]])
def test_unknown_feature(wanted):
    with pytest.raises(ConfigError, match=r"OUT_FEATURES is .*: expected one or more of \['scale2'"):
        build(out_features=wanted)


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (6, 6), (8, 2), (2, 8), (5, 3)])
def test_relative_positions(queries, keys):
    longest = max(queries, keys)
    table = torch.arange(2.0 * longest - 1)[:, None]
    found = transformer.relative_positions(queries, keys, table)[..., 0]
    for i in range(queries):  # both axes are stretched to the longer one
        for j in range(keys):
            distance = i * max(keys / queries, 1) - j * max(queries / keys, 1)
            assert found[i, j] == int(distance + (keys - 1) * max(queries / keys, 1))


BACKBONE = {"MODEL.BACKBONE.NAME": "build_mvit_fpn_backbone", "MODEL.FPN.IN_FEATURES": SCALES}
PLAIN = {
    "MODEL.FPN.NORM": "",
    "MODEL.RPN.CONV_DIMS": [-1],
    "MODEL.ROI_BOX_HEAD.NUM_CONV": 0,
    "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
    "MODEL.ROI_MASK_HEAD.NORM": "",
}
BASE = {"MODEL.MVIT.DEPTH": 24, "MODEL.MVIT.LAST_BLOCK_INDEXES": [1, 4, 20, 23]}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({**PLAIN, "MODEL.MVIT.DEPTH": 10}, (288, "1386db2226af4288")),
        ({**BASE, **CASCADE}, (670, "215caeca59bbe384")),
    ],
    ids=["MViTv2-T", "Cascade MViTv2-B"],
)
def test_names_and_shapes_are_detectron2s(keys, expected):
    assert digest({**BACKBONE, **keys}) == expected


def test_from_a_config():
    assert "MVIT" not in get_cfg().MODEL
    changes = {"MVIT__EMBED_DIM": 8, "MVIT__SQUARE_PAD": 64, "FPN__IN_FEATURES": SCALES}
    with torch.device("meta"):
        backbone = build_backbone(tiny_cfg(BACKBONE__NAME="build_mvit_fpn_backbone", **changes))
    assert list(backbone.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    assert backbone.padding_constraints == {"square_size": 64}
    assert backbone.size_divisibility == 32
