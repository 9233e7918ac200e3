"""A model made for inference answers as the one that it was made of."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from golden_answers import ASSETS
from tiny_models import FAMILIES, golden, tiny_cfg, tiny_image
from torch.overrides import TorchFunctionMode

from litepred import Boxes, ConfigError, Instances, Predictor, build_model, model_zoo, pairwise_iou
from litepred import optimize as optimize_module
from litepred.layers import ShapeSpec, WinogradConv2d, get_norm, paste_masks_in_image
from litepred.layers.paste import paste_masks_in_windows
from litepred.modeling import without_random_init
from litepred.modeling.roi_heads import FastRCNNConvFCHead
from litepred.optimize import optimize
from litepred.structures import instance_mask


@pytest.fixture
def fast_everywhere(monkeypatch):
    monkeypatch.setattr(optimize_module, "is_fast", lambda precision, device: True)


HEADS = {
    "fpn": {"MASK_ON": True, "KEYPOINT_ON": True},
    "c4": {"MASK_ON": True},
    "cascade": {"MASK_ON": True},
    "densepose": {
        "FPN__OUT_CHANNELS": 32,
        "ROI_DENSEPOSE_HEAD__NAME": "DensePoseDeepLabHead",
        "ROI_DENSEPOSE_HEAD__DECODER_NUM_CLASSES": 32,
        "ROI_DENSEPOSE_HEAD__DECODER_NORM": "BN",
        "ROI_DENSEPOSE_HEAD__DEEPLAB__NONLOCAL_ON": 1,
        "ROI_DENSEPOSE_HEAD__UV_CONFIDENCE__ENABLED": True,
        "ROI_DENSEPOSE_HEAD__UV_CONFIDENCE__TYPE": "indep_aniso",
        "ROI_DENSEPOSE_HEAD__SEGM_CONFIDENCE__ENABLED": True,
    },
}


def config(family: str):
    return tiny_cfg(family, **HEADS.get(family, {}))


def tiny_model(family: str) -> torch.nn.Module:
    return golden(config(family))


def inputs(family: str) -> list[dict]:
    one = {"image": tiny_image(), "height": 100, "width": 150}
    if family == "precomputed":
        one["proposals"] = Instances(
            tuple(one["image"].shape[1:]), proposal_boxes=Boxes([[5.0, 5, 60, 60], [40, 10, 120, 90]])
        )
    return [one]


def tensors(outputs: dict) -> dict[str, torch.Tensor]:
    found = {}
    for kind in ("instances", "proposals"):
        if kind in outputs:
            for name, value in outputs[kind].get_fields().items():
                if name == "pred_densepose":
                    found |= {of: maps for of, maps in vars(value).items() if maps is not None}
                else:
                    found[name] = value.tensor if isinstance(value, Boxes) else value
    if "sem_seg" in outputs:
        found["sem_seg"] = outputs["sem_seg"]
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_the_same(family):
    model = tiny_model(family)
    wanted = tensors(model(inputs(family))[0])
    assert optimize(model) == "float32"
    found = tensors(model(inputs(family))[0])
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision_convolves_in_it_and_answers_in_float32(family, precision, fast_everywhere):
    model = tiny_model(family)
    wanted = tensors(model(inputs(family))[0])
    assert optimize(model, precision) == precision
    dtype = getattr(torch, precision)
    assert {p.dtype for p in model.backbone.parameters()} == {dtype}
    found = tensors(model(inputs(family))[0])
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert value.dtype == wanted[name].dtype
        assert torch.isfinite(value.float()).all()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_rpn_predicts_in_float32(precision, fast_everywhere):
    model = tiny_model("fpn")
    optimize(model, precision)
    head = model.proposal_generator.rpn_head
    x = torch.randn(2, head.predictor.in_channels, 7, 9, dtype=getattr(torch, precision))
    found = torch.cat([maps[0] for maps in head([x])], dim=1)
    wanted = copy.deepcopy(head.predictor).float()(head.conv(x).float())
    assert found.shape == wanted.shape
    scale = float(wanted.abs().max())
    assert float((found - wanted).abs().max()) < 1e-5 * scale
    assert float((wanted.to(x.dtype).float() - wanted).abs().max()) > 1e-4 * scale  # what rounding would do


def test_box_heads_that_share_a_weight():
    shape = ShapeSpec(channels=3, height=4, width=5)
    heads = torch.nn.ModuleList(FastRCNNConvFCHead(shape, conv_dims=[], fc_dims=[6]) for _ in range(2)).eval()
    heads[1].fc1 = heads[0].fc1
    heads.append(FastRCNNConvFCHead(shape, conv_dims=[], fc_dims=[6]))
    heads[2].fc1.weight = heads[0].fc1.weight
    x = torch.rand(7, 3, 4, 5)
    before = [head(x) for head in heads]
    optimize(heads)
    for head, wanted in zip(heads, before):
        torch.testing.assert_close(head(x.contiguous(memory_format=torch.channels_last)), wanted)


@pytest.mark.parametrize("norm", ["BN", "SyncBN", "FrozenBN", "LN", ""])
def test_norms_are_folded_where_they_can_be(norm):
    model = golden(tiny_cfg("fpn", RESNETS__NORM=norm, FPN__NORM=norm))
    x = torch.randn(1, 3, 64, 96)
    wanted = model.backbone(x)
    optimize(model)
    names = {type(m).__name__ for m in model.modules()}
    assert not names & {"BatchNorm2d", "FrozenBatchNorm2d"}
    assert ("LayerNorm2d" in names) == (norm == "LN")
    for name, value in model.backbone(x).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-4 * float(wanted[name].abs().max()))


def test_group_norms_keep_their_precision():
    norm = get_norm("GN", 64)
    torch.nn.init.normal_(norm.weight)
    model = torch.nn.Sequential(norm)
    x = (torch.randn(2, 64, 130, 140) * 3 + 5).contiguous(memory_format=torch.channels_last)
    exact = copy.deepcopy(model).double()(x.double())
    optimize(model)
    assert float((model(x) - exact).abs().max()) < 5e-6
    assert float((norm(x) - exact).abs().max()) > 5e-6  # torch's own, which it takes the place of


@pytest.mark.parametrize(
    "name", ["new_baselines/mask_rcnn_regnety_4gf_dds_FPN_100ep_LSJ", "Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5"]
)
def test_no_batch_norm_is_left_in_any_backbone(name, monkeypatch):
    monkeypatch.setenv("LITEPRED_CHOICES", "winograd=yes")
    cfg = model_zoo.get_config(name)
    cfg.MODEL.DEVICE = "cpu"
    with without_random_init():
        model = build_model(cfg)
    optimize(model)
    assert not [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d) or "BatchNorm" in type(m).__name__]
    assert any(isinstance(m, WinogradConv2d) for m in model.modules())


def test_components_of_a_user_stay_theirs():
    model = tiny_model("fpn")

    class OwnHead(type(model.roi_heads.mask_head)):
        def layers(self, x):
            return super().layers(x) * 0

    model.roi_heads.mask_head.__class__ = OwnHead
    optimize(model)
    assert type(model.roi_heads.mask_head) is OwnHead
    result = model([{"image": tiny_image()}])[0]["instances"]
    assert result.pred_masks.any()  # sigmoid(0) is 0.5: inside


@pytest.mark.parametrize("precision", ["float64", "fp16", ""])
def test_an_unknown_precision(precision):
    with pytest.raises(ConfigError, match="expected one of float32, bfloat16, float16, auto"):
        optimize(tiny_model("fpn"), precision)


def test_a_processor_without_a_fast_path_says_so_and_computes_in_float32(monkeypatch):
    monkeypatch.setattr(optimize_module, "is_fast", lambda precision, device: False)
    model = tiny_model("fpn")
    with pytest.warns(UserWarning, match="no fast path for bfloat16: computing in float32") as caught:
        assert optimize(model, "bfloat16") == "float32"
    assert len(caught) == 1
    assert {p.dtype for p in model.parameters()} == {torch.float32}


class WithoutDoubles(TorchFunctionMode):
    """The meta device as one that has no float64, as MPS has none, and from which tensors can be copied."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.cpu:
            return torch.ones_like(args[0], device="cpu")
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and (result.device.type, result.dtype) == ("meta", torch.float64):
            raise TypeError("this device has no float64")
        return result


@pytest.mark.parametrize("family", FAMILIES)
def test_a_device_without_doubles(family):
    cfg = config(family)
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    with WithoutDoubles():
        optimize(model)
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}


def test_an_optimized_model_is_pickled_and_copied():
    model = tiny_model("panoptic")
    optimize(model)
    wanted = tensors(model(inputs("panoptic"))[0])
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert all(torch.equal(value, wanted[name]) for name, value in tensors(other(inputs("panoptic"))[0]).items())


def test_masks_pasted_in_windows_are_those_pasted_by_the_grid():
    torch.manual_seed(0)
    masks, corners = torch.rand(50, 28, 28), torch.rand(50, 2) * 120 - 20
    boxes = torch.cat([corners, corners + torch.rand(50, 2) * 90 + 0.5], dim=1)
    one, other = (paste(masks, boxes, (90, 110)) for paste in (paste_masks_in_image, paste_masks_in_windows))
    assert one.shape == other.shape == (50, 90, 110)
    assert int((one != other).sum()) <= 2
    assert one.any()


class TestPredictor:
    @pytest.mark.parametrize("family", ["fpn", "panoptic"])
    @pytest.mark.parametrize("mask_format", ["roi", "rle", "polygon"])
    def test_masks_in_other_formats_are_the_same_masks(self, family, mask_format):
        pytest.importorskip("pycocotools")
        state = tiny_model(family).state_dict()
        image = tiny_image().permute(1, 2, 0).numpy().astype(np.uint8)
        plain, other = (
            Predictor(config(family), weights=state, mask_format=m)(image) for m in ("bitmask", mask_format)
        )
        assert len(plain["instances"]) == len(other["instances"]) > 0
        for i in range(len(plain["instances"])):
            wrong = plain["instances"].pred_masks[i] != instance_mask(other["instances"], i)
            assert int(wrong.sum()) <= 4  # parts of one or two pixels have no outline
        if family == "panoptic":
            assert plain["panoptic_seg"][1] == other["panoptic_seg"][1] or mask_format == "polygon"
        some = other["instances"][plain["instances"].scores > 2]
        assert len(some) == len(some.pred_masks) == 0

    @pytest.mark.parametrize(
        ("family", "options", "message"),
        [
            ("fpn", {"mask_format": "png"}, "expected one of bitmask, roi, rle, polygon"),
            ("retinanet", {"mask_format": "rle"}, "RetinaNet has no masks"),
            ("fpn", {"exact": True, "precision": "bfloat16"}, "drop one or the other"),
            ("fpn", {"exact": True, "compile": True}, "drop one or the other"),
        ],
    )
    def test_what_does_not_go_together(self, family, options, message):
        with pytest.raises(ConfigError, match=message):
            Predictor(config(family), weights=tiny_model(family).state_dict(), **options)

    def test_exact_keeps_every_module(self):
        model = tiny_model("fpn")
        predictor = Predictor(config("fpn"), weights=model.state_dict(), exact=True)
        assert predictor.model.state_dict().keys() == model.state_dict().keys()
        assert torch.equal(
            predictor.model(inputs("fpn"))[0]["instances"].pred_boxes.tensor,
            model(inputs("fpn"))[0]["instances"].pred_boxes.tensor,
        )

    def test_threads(self):
        before = torch.get_num_threads()
        try:
            Predictor(config("fpn"), weights=tiny_model("fpn").state_dict(), threads=1)
            assert torch.get_num_threads() == 1
        finally:
            torch.set_num_threads(before)

    def test_it_pickles(self):
        predictor = Predictor(config("fpn"), weights=tiny_model("fpn").state_dict())
        image = tiny_image().permute(1, 2, 0).numpy().astype(np.uint8)
        other = pickle.loads(pickle.dumps(predictor))
        assert torch.equal(other(image)["instances"].scores, predictor(image)["instances"].scores)


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_on_cuda(family, precision):
    model = tiny_model(family)
    wanted = tensors(model(inputs(family))[0])
    model = model.to("cuda")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimize(model, precision)
    found = tensors(model(inputs(family))[0])
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert value.device.type == "cuda"
        if precision == "float32":
            torch.testing.assert_close(value.cpu(), wanted[name], rtol=1e-3, atol=1e-2)


@pytest.mark.skipif(
    not optimize_module.is_fast("bfloat16", torch.device("cpu")), reason="this processor has no fast bfloat16"
)
def test_what_bfloat16_costs_on_pages():
    """At least 97 % of float32's instances above 0.5 are found again: of the same class, and where they were."""
    pages = sorted([*(ASSETS / "page_layout").glob("*.png"), *(ASSETS / "annotated").glob("page*.png")])
    full, reduced = Predictor(), Predictor(precision="bfloat16")
    assert reduced.precision == "bfloat16"
    found = wanted = 0
    for page in pages:
        one, other = full(page)["instances"], reduced(page)["instances"]
        one = one[one.scores > 0.5]
        overlap = pairwise_iou(one.pred_boxes, other.pred_boxes)
        overlap[one.pred_classes[:, None] != other.pred_classes] = 0
        found, wanted = found + int((overlap.amax(dim=1) >= 0.9).sum()), wanted + len(one)
    assert wanted > 70
    assert found >= 0.97 * wanted
