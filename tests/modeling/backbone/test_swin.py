"""The Swin Transformer against a formula without windows and shifts: every token looks at those that it may see."""

from __future__ import annotations

import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import tiny_cfg
from torch import nn
from torch.nn import functional as F

from litepred import extensions
from litepred.config import get_cfg
from litepred.errors import ConfigError
from litepred.layers import ShapeSpec
from litepred.modeling import SwinTransformer, build_backbone

TINY = {"embed_dim": 8, "depths": (2, 1, 2), "num_heads": (1, 2, 4), "window_size": 4, "out_indices": (0, 1, 2)}


def build(**arguments):
    backbone = SwinTransformer(**TINY | arguments).requires_grad_(False)
    fill_with_golden_weights(backbone)
    return backbone


def with_exact(backbone, exact):
    """Let attention keep the reference's order of operations, or not."""
    for module in backbone.modules():
        if hasattr(module, "exact"):
            module.exact = exact
    return backbone


def attention(state, x, side, shift, heads, scale):
    """Attention in a map (H, W, C): a token sees those of its window, which begins ``shift`` after a multiple."""
    height, width, channels = x.shape
    rows, columns = ((torch.arange(length) - shift) % length for length in (height, width))
    place = torch.cartesian_prod(rows, columns)  # (H·W, 2), in the shifted map
    window, offset = place // side, place[:, None] - place + side - 1
    wrapped = place >= torch.tensor([height, width]) - shift
    linear = {name: (state[f"{name}.weight"], state.get(f"{name}.bias")) for name in ("qkv", "proj")}
    q, k, v = F.linear(x.view(-1, channels), *linear["qkv"]).view(-1, 3, heads, channels // heads).permute(1, 2, 0, 3)
    table = state["relative_position_bias_table"].view(2 * side - 1, 2 * side - 1, heads)
    logits = scale * q @ k.transpose(1, 2)
    logits += table[offset[..., 0].clamp(0, 2 * side - 2), offset[..., 1].clamp(0, 2 * side - 2)].permute(2, 0, 1)
    logits[:, (wrapped[:, None] != wrapped).any(-1)] -= 100
    logits[:, (window[:, None] != window).any(-1)] = -torch.inf
    x = (logits.softmax(-1) @ v).transpose(0, 1).reshape(-1, channels)
    return F.linear(x, *linear["proj"]).view(height, width, channels)


def formula(state, image, *, num_heads, window_size, depths, qk_scale=None, patch_size=4, **_):
    """All maps of one image (C, H, W)."""

    def part(start):
        return {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}

    def norm(name, x):
        weight = state.get(f"{name}.weight")
        return x if weight is None else F.layer_norm(x, weight.shape, weight, state[f"{name}.bias"])

    def padded(x, side):
        return F.pad(x, (0, 0, 0, -x.shape[1] % side, 0, -x.shape[0] % side))

    image = padded(image.permute(1, 2, 0), patch_size).permute(2, 0, 1)[None]
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    x = norm("patch_embed.norm", F.conv2d(image, weight, bias, stride=patch_size)[0].permute(1, 2, 0))
    if "absolute_pos_embed" in state:
        position = F.interpolate(state["absolute_pos_embed"], size=x.shape[:2], mode="bicubic")[0]
        x = x + position.permute(1, 2, 0)
    maps = {}
    for i, (depth, heads) in enumerate(zip(depths, num_heads)):
        height, width, channels = x.shape
        for j in range(depth):
            name = f"layers.{i}.blocks.{j}"
            block = part(f"{name}.")
            scale = qk_scale or (channels // heads) ** -0.5
            shift = window_size // 2 if j % 2 else 0
            y = padded(norm(f"{name}.norm1", x), window_size)
            x = x + attention(part(f"{name}.attn."), y, window_size, shift, heads, scale)[:height, :width]
            y = F.gelu(F.linear(norm(f"{name}.norm2", x), block["mlp.fc1.weight"], block["mlp.fc1.bias"]))
            x = x + F.linear(y, block["mlp.fc2.weight"], block["mlp.fc2.bias"])
        maps[f"p{i}"] = norm(f"norm{i}", x).permute(2, 0, 1)
        if i + 1 < len(depths):
            x = padded(x, 2)
            merged = torch.cat([x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]], dim=-1)
            name = f"layers.{i}.downsample"
            x = F.linear(norm(f"{name}.norm", merged), state[f"{name}.reduction.weight"])
    return maps


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("size", "arguments"),
    [
        ((1, 1), {}),
        ((64, 64), {}),
        ((37, 90), {}),
        ((61, 40), {"window_size": 5, "ape": True, "pretrain_img_size": 32, "mlp_ratio": 1.5}),
        ((30, 52), {"window_size": 1, "patch_norm": False, "qkv_bias": False, "qk_scale": 0.2, "patch_size": 2}),
    ],
)
@pytest.mark.parametrize("images", [0, 1, 2])
def test_maps_follow_the_formula(images, size, arguments, exact):
    backbone = with_exact(build(**arguments), exact)
    x = torch.randn(images, 3, *size, generator=torch.Generator().manual_seed(0))
    found = backbone(x)
    assert list(found) == ["p0", "p1", "p2"] and all(map_.is_contiguous() for map_ in found.values())
    for i in range(images):
        for name, expected in formula(backbone.state_dict(), x[i], **TINY | arguments).items():
            torch.testing.assert_close(found[name][i], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.3)])
def test_other_types(dtype, tolerance, exact):
    x = torch.randn(1, 3, 40, 24, generator=torch.Generator().manual_seed(0))
    expected = build()(x)["p2"]
    found = with_exact(build().to(dtype), exact)(x.to(dtype))["p2"]
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)


def test_wanted_maps_alone():
    backbone = build(out_indices=(2, 0))
    assert list(backbone(torch.zeros(1, 3, 32, 32))) == ["p0", "p2"]
    assert backbone.output_shape() == {
        "p2": ShapeSpec(channels=32, stride=16),
        "p0": ShapeSpec(channels=8, stride=4),
    }
    assert "norm1.weight" not in backbone.state_dict()


def test_arguments_of_training_change_nothing():
    arguments = {"drop_rate": 0.5, "attn_drop_rate": 0.5, "drop_path_rate": 0.9, "frozen_stages": 2}
    x = torch.ones(1, 3, 16, 16)
    assert torch.equal(build(**arguments, use_checkpoint=True)(x)["p2"], build()(x)["p2"])


def test_another_norm():
    assert not [key for key in build(norm_layer=lambda _: nn.Identity()).state_dict() if "norm" in key]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": (1, 2)}, r"NUM_HEADS is \[1, 2\]: expected one number for each of the 3 stages"),
        ({"num_heads": (1, 3, 4)}, r"NUM_HEADS is \[1, 3, 4\]: .* which are \[8, 16, 32\]"),
        ({"out_indices": ()}, r"OUT_INDICES is \[\]: expected one or more of 0 to 2"),
        ({"out_indices": (0, 3)}, r"OUT_INDICES is \[0, 3\]"),
    ],
)
def test_settings_that_do_not_go_together(arguments, message):
    with pytest.raises(ConfigError, match=rf"MODEL\.SWIN\.{message}"):
        build(**arguments)


def test_from_a_config():
    assert "SWIN" not in get_cfg().MODEL
    cfg = tiny_cfg("fpn", BACKBONE__NAME="build_swin_fpn_backbone", FPN__IN_FEATURES=["p0", "p1", "p2", "p3"])
    cfg.merge_from_list(["MODEL.SWIN.WINDOW_SIZE", 5, "MODEL.SWIN.SQUARE_PAD", 64, "MODEL.PIXEL_MEAN", [0.0]])
    with torch.device("meta"):
        fpn = build_backbone(cfg)
    state = {key.removeprefix("bottom_up."): tuple(value.shape) for key, value in fpn.state_dict().items()}
    assert state["patch_embed.proj.weight"] == (96, 1, 4, 4)
    assert state["layers.2.blocks.5.attn.relative_position_bias_table"] == (81, 12)
    assert state["layers.0.downsample.reduction.weight"] == (192, 384)
    assert list(fpn.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    assert (fpn.size_divisibility, fpn.padding_constraints) == (32, {"square_size": 64})


def test_every_key_of_the_section_is_an_argument():
    (add,) = extensions.config_functions({"MODEL.SWIN"})
    cfg = get_cfg()
    add(cfg)
    arguments = {key.lower(): value for key, value in cfg.MODEL.SWIN.items() if key != "SQUARE_PAD"}
    with torch.device("meta"):
        found, expected = SwinTransformer(**arguments).state_dict(), SwinTransformer().state_dict()
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}
