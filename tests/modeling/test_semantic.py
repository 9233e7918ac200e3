"""Semantic segmentation: the head level by level, and the two interpolations."""

import math

import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import tiny_cfg, tiny_image, tiny_model
from torch.nn import functional as F

from litepred.errors import ConfigError
from litepred.layers import ShapeSpec
from litepred.modeling import SemSegFPNHead, build_model, build_sem_seg_head, sem_seg_postprocess
from litepred.modeling.semantic import enlarged_logits
from litepred.optimize import optimize

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}


def bilinear(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def build(strides=STRIDES, **kwargs):
    shapes = {name: ShapeSpec(channels=3, stride=stride) for name, stride in strides.items()}
    head = SemSegFPNHead(shapes, **{"num_classes": 5, "conv_dims": 32, "common_stride": 4, **kwargs})
    fill_with_golden_weights(head.requires_grad_(False))
    return head


@pytest.mark.parametrize("norm", ["", "GN"])
@pytest.mark.parametrize("common_stride", [4, 8])
@pytest.mark.parametrize("strides", [STRIDES, {"p5": 32, "p4": 16}, {"p3": 8}])
@pytest.mark.parametrize("images", [1, 2])
def test_head(norm, common_stride, strides, images):
    strides = {name: stride for name, stride in strides.items() if stride >= common_stride}
    head = build(strides, norm=norm, common_stride=common_stride)
    state = head.state_dict()
    random = torch.Generator().manual_seed(0)
    features = {name: torch.randn(images, 3, 64 // s, 32 // s, generator=random) for name, s in strides.items()}
    total = 0
    for name, stride in strides.items():
        x = features[name]
        for i in range(max(1, int(math.log2(stride / common_stride)))):
            prefix = f"{name}.{2 * i}"  # odd numbers enlarge
            x = F.conv2d(x, state[f"{prefix}.weight"], state.get(f"{prefix}.bias"), padding=1)
            assert (f"{prefix}.bias" in state) is not bool(norm)
            if norm:
                x = F.group_norm(x, 32, state[f"{prefix}.norm.weight"], state[f"{prefix}.norm.bias"])
            x = x.relu()
            if stride != common_stride:  # the level that is there already stays as it is
                x = bilinear(x, (2 * x.shape[2], 2 * x.shape[3]))
        assert x.shape[2:] == (64 // common_stride, 32 // common_stride)
        total = total + x
    expected = F.conv2d(total, state["predictor.weight"], state["predictor.bias"])
    torch.testing.assert_close(head.layers(features), expected, rtol=1e-4, atol=1e-4)
    logits, losses = head(features, targets="ignored")
    assert losses == {}
    torch.testing.assert_close(logits, bilinear(expected, (64, 32)), rtol=1e-4, atol=1e-4)
    assert head.in_features == sorted(strides)


def test_keys():
    keys = [key for key in build(norm="GN").state_dict() if key.endswith(("0.weight", "2.weight", "4.weight"))]
    assert keys == [f"{name}.weight" for name in ("p2.0", "p3.0", "p4.0", "p4.2", "p5.0", "p5.2", "p5.4")]


@pytest.mark.parametrize("names", [["p2", "p3", "p4", "p5"], ["p5", "p2"], ["p2", "p9"]])
def test_from_a_config(names):
    shapes = {name: ShapeSpec(channels=3, stride=stride) for name, stride in {**STRIDES, "p6": 64}.items()}
    head = build_sem_seg_head(tiny_cfg("semantic", SEM_SEG_HEAD__IN_FEATURES=names), shapes)
    assert head.in_features == [name for name in STRIDES if name in names]  # by stride; unknown ones are passed over
    assert head.predictor.weight.shape == (4, 8, 1, 1)


@pytest.mark.parametrize("names", [[], ["p9"]])
def test_no_features(names):
    with pytest.raises(ConfigError, match="IN_FEATURES names no feature map"):
        build_model(tiny_cfg("semantic", SEM_SEG_HEAD__IN_FEATURES=names))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 70), (64, 96), (90, 50)])
@pytest.mark.parametrize("wanted", [None, (33, 21), (128, 128)])
def test_enlarged_cut_and_enlarged_again(height, width, wanted):
    model = tiny_model("semantic")
    image = tiny_image(height, width)
    inputs = {"image": image, **({"height": wanted[0], "width": wanted[1]} if wanted else {})}
    (result,) = model([inputs])
    assert list(result) == ["sem_seg"]
    normalised = (image.float() - torch.tensor([103.53, 116.28, 123.675])[:, None, None])[None]
    padded = F.pad(normalised, (0, -width % 32, 0, -height % 32))
    low = model.sem_seg_head.layers(model.backbone(padded))
    cut = bilinear(low, padded.shape[2:])[:, :, :height, :width]
    expected = bilinear(cut, wanted or (height, width))[0]
    assert result["sem_seg"].dtype == torch.float32
    torch.testing.assert_close(result["sem_seg"], expected)
    if wanted == (128, 128) and height == 64:
        assert not torch.allclose(result["sem_seg"], bilinear(low, wanted)[0], atol=0.05)  # one step is not enough


def test_images_of_different_size():
    model = tiny_model("semantic")
    images = [tiny_image(64, 96), tiny_image(33, 40, seed=1)]
    results = model([{"image": images[0]}, {"image": images[1], "width": 80}])
    assert [tuple(r["sem_seg"].shape) for r in results] == [(4, 64, 96), (4, 33, 80)]
    torch.testing.assert_close(results[0]["sem_seg"], model([{"image": images[0]}])[0]["sem_seg"])


def hooked(head, change):
    def hook(module, inputs, output):
        handle.remove()  # the logits are enlarged afterwards
        return change(output[0]), {}

    handle = head.register_forward_hook(hook)


def patched(head, change):
    head.forward = lambda features, targets=None: (change(type(head).forward(head, features)[0]), {})


@pytest.mark.parametrize("family", ["semantic", "panoptic"])
@pytest.mark.parametrize("way", [hooked, patched])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_head_that_is_hooked_or_patched_is_called(family, way, precision, monkeypatch):
    monkeypatch.setattr("litepred.optimize.is_fast", lambda *_: True)
    model = tiny_model(family)
    optimize(model, precision)
    inputs = [{"image": tiny_image(40, 70), "height": 33, "width": 21}]
    (before,) = model(inputs)
    way(model.sem_seg_head, torch.neg)
    (after,) = model(inputs)
    torch.testing.assert_close(after["sem_seg"], -before["sem_seg"])


def test_a_hook_before_a_head_is_called():
    model, seen = tiny_model("semantic"), []
    model.sem_seg_head.register_forward_pre_hook(lambda module, inputs: seen.append(sorted(inputs[0])))
    (before,) = tiny_model("semantic")([{"image": tiny_image(40, 70)}])
    (after,) = model([{"image": tiny_image(40, 70)}])
    assert seen == [["p2", "p3", "p4", "p5", "p6"]]
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("number", [1, 3, 7, 8, 9, 11, 16, 19])
def test_classes_are_enlarged_a_few_at_a_time_to_the_same_bits(number):
    logits = torch.randn(2, number, 24, 32, generator=torch.Generator().manual_seed(0))
    inputs = [{"height": 61, "width": 90}, {"height": 200, "width": 150}]
    found = enlarged_logits(torch.nn.Identity(), {"sem_seg": logits}, inputs, [(24, 30), (20, 32)])
    for one, result, asked, size in zip(logits, found, inputs, [(24, 30), (20, 32)]):
        assert torch.equal(result, sem_seg_postprocess(one, size, asked["height"], asked["width"]))
