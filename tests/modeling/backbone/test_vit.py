"""ViT and its simple pyramid: Detectron2's answers, the faster way, the config."""

import pytest
import torch
from tiny_models import tiny_cfg
from tiny_transformers import CASCADE, assert_answers, assert_same, digest, golden, layer_norm, noise, optimized

from litepred import get_cfg
from litepred.errors import ConfigError
from litepred.layers import ShapeSpec
from litepred.modeling import LastLevelMaxPool, SimpleFeaturePyramid, ViT, build_backbone, build_model
from litepred.modeling.backbone import transformer

TINY = {
    "img_size": 64,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 4,
    "num_heads": 2,
    "norm_layer": layer_norm,
    "drop_path_rate": 0.1,
    "use_rel_pos": True,
    "window_size": 3,
    "window_block_indexes": [0, 2],
    "residual_block_indexes": [1],
    "pretrain_img_size": 48,
}
FACTORS = (4.0, 2.0, 1.0, 0.5)


def build(factors=FACTORS, norm="LN", top_block=None, **changes):
    return golden(SimpleFeaturePyramid(ViT(**{**TINY, **changes}), "last_feat", 16, factors, top_block, norm))


def test_no_image():
    assert build()(noise(64, 64, number=0))["p3"].shape == (0, 16, 8, 8)


def test_detectron2s_answers():
    assert_answers(build(), "vit_answers.json", 1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 79), (17, 33)])  # 8 is no multiple of the windows' 3
@pytest.mark.parametrize("at_once", [1, 100, 2**21])
@pytest.mark.parametrize("large", [1, 2**18])
def test_the_faster_way(precision, height, width, at_once, large, monkeypatch):
    monkeypatch.setattr("litepred.optimize.is_fast", lambda precision, device: True)
    monkeypatch.setattr(transformer, "_WEIGHTS_AT_ONCE", at_once)
    monkeypatch.setattr(transformer, "_WEIGHTS_OF_LARGE", large)
    exact, x = build(), noise(height, width)
    wanted, fast = exact(x), optimized(exact, precision)
    assert_same(fast(x.to(getattr(torch, precision))), wanted, 1e-5 if precision == "float32" else 0.1)
    for i, one in enumerate(x):
        assert_same({k: v[i] for k, v in wanted.items()}, {k: v[0] for k, v in exact(one[None]).items()}, 1e-5)


def test_the_smallest_image():
    assert [tuple(f.shape) for f in build(factors=FACTORS[:3])(noise(8, 8)).values()][-1] == (2, 16, 1, 1)


@pytest.mark.parametrize("change", [{"use_rel_pos": False}, {"use_abs_pos": False}, {"qkv_bias": False}])
def test_parts_that_a_model_may_lack(change):
    (name,) = change
    part = {"use_rel_pos": "rel_pos", "use_abs_pos": "pos_embed", "qkv_bias": "qkv.bias"}[name]
    with_it, without = build(), build(**change)
    assert any(part in key for key in with_it.state_dict())
    assert not any(part in key for key in without.state_dict())
    x = noise(48, 48)
    assert not torch.allclose(with_it(x)["p3"], without(x)["p3"], atol=1e-2)


def test_a_window_as_large_as_the_image_is_the_whole_image():
    x = noise(24, 24)
    windows = golden(ViT(**{**TINY, "img_size": 24, "window_block_indexes": range(4)}))
    whole = golden(ViT(**{**TINY, "img_size": 24, "window_block_indexes": ()}))
    assert torch.equal(windows(x)["last_feat"], whole(x)["last_feat"])


def test_shapes():
    assert build(factors=FACTORS[1:], top_block=LastLevelMaxPool(), patch_size=16).output_shape() == {
        f"p{level}": ShapeSpec(channels=16, stride=2**level) for level in (3, 4, 5, 6)
    }
    assert ViT(**TINY).output_shape() == {"last_feat": ShapeSpec(channels=32, stride=8)}


@pytest.mark.parametrize("norm", ["LN", ""])
def test_convolutions_have_a_bias_only_without_a_norm(norm):
    state = build(norm=norm).state_dict()
    assert ("simfp_3.0.bias" in state) is (norm == "")
    assert ("simfp_3.0.norm.bias" in state) is (norm == "LN")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 3}, "NUM_HEADS is 3 for 32 channels: expected a divisor"),
        ({"depth": 0}, "MODEL.VIT.DEPTH is 0: expected a whole number, 1 or more"),
        ({"factors": (4.0, 1.0)}, "SCALE_FACTORS is .4.0, 1.0.: expected a run of 4.0, 2.0, 1.0, 0.5"),
        ({"factors": (8.0,)}, "SCALE_FACTORS"),
        ({"factors": ()}, "SCALE_FACTORS"),
    ],
)
def test_values_that_make_no_sense(changes, message):
    with pytest.raises(ConfigError, match=message):
        build(**changes)


def test_a_map_that_there_is_not():
    with pytest.raises(ConfigError, match="the map of a SimpleFeaturePyramid is"):
        SimpleFeaturePyramid(ViT(**TINY), "res4", 16, FACTORS)


def test_positions_of_no_square():
    with pytest.raises(ConfigError, match="pos_embed has 7 positions of patches: expected those of a square"):
        transformer.absolute_positions(torch.zeros(1, 8, 4), True, (2, 2))


BACKBONE = {"MODEL.BACKBONE.NAME": "build_vit_simple_fpn_backbone"}
HUGE = {
    "MODEL.VIT.EMBED_DIM": 1280,
    "MODEL.VIT.DEPTH": 32,
    "MODEL.VIT.NUM_HEADS": 16,
    "MODEL.VIT.WINDOW_BLOCK_INDEXES": [i for i in range(32) if i % 8 != 7],
}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [({"MODEL.VIT.DEPTH": 12}, (245, "146a61471ec7db6f")), ({**HUGE, **CASCADE}, (561, "59bda0f6de461a38"))],
    ids=["ViTDet-B", "Cascade ViTDet-H"],
)
def test_names_and_shapes_are_detectron2s(keys, expected):
    assert digest({**BACKBONE, **keys}) == expected


def test_from_a_config():
    assert "VIT" not in get_cfg().MODEL
    backbone = build_backbone(
        tiny_cfg(BACKBONE__NAME="build_vit_simple_fpn_backbone", VIT__EMBED_DIM=24, VIT__DEPTH=1, VIT__SQUARE_PAD=96)
    )
    assert list(backbone.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    assert backbone.padding_constraints == {"square_size": 96}
    assert backbone.net.blocks[0].norm1.eps == 1e-6


def test_a_config_that_names_the_backbone_alone_gets_the_defaults():
    cfg = tiny_cfg(BACKBONE__NAME="build_vit_simple_fpn_backbone")
    with torch.device("meta"):
        assert len(build_backbone(cfg).net.blocks) == 12
    assert "VIT" not in cfg.MODEL


def test_images_are_padded_to_the_square():
    cfg = tiny_cfg(BACKBONE__NAME="build_vit_simple_fpn_backbone", VIT__EMBED_DIM=24, VIT__DEPTH=1, VIT__SQUARE_PAD=96)
    model = build_model(cfg)
    images = [torch.zeros(3, 60, 96), torch.zeros(3, 90, 20)]
    assert [model.padded_size(image) for image in images] == [(96, 96)] * 2
    assert model.preprocess_image([{"image": image} for image in images]).tensor.shape == (2, 3, 96, 96)
