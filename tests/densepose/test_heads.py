from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from litepred.config import CfgNode, get_cfg
from litepred.densepose import add_densepose_config
from litepred.densepose.heads import (
    DensePoseChartPredictor,
    DensePoseChartWithConfidencePredictor,
    DensePoseDeepLabHead,
    DensePoseV1ConvXHead,
    _NonLocalBlock,
)


def cfg(**changes: object) -> CfgNode:
    """Return a config with small heads; ``A__B`` is the key ``A.B`` of the section of DensePose's heads."""
    cfg = get_cfg()
    add_densepose_config(cfg)
    small = {"CONV_HEAD_DIM": 64, "NUM_STACKED_CONVS": 2, "DEEPLAB__NORM": ""}
    for key, value in (small | changes).items():
        cfg.merge_from_list([f"MODEL.ROI_DENSEPOSE_HEAD.{key.replace('__', '.')}", value])
    return cfg


HEADS = {
    "plain": (
        lambda: DensePoseV1ConvXHead(cfg(), 64),
        {"body_conv_fcn1.weight", "body_conv_fcn1.bias"},
    ),
    "deeplab": (
        lambda: DensePoseDeepLabHead(cfg(DEEPLAB__NORM="GN"), 64),
        {"body_conv_fcn1.weight", "body_conv_fcn1.norm.weight", "body_conv_fcn1.norm.bias"},
    ),
    "deeplab without norm": (
        lambda: DensePoseDeepLabHead(cfg(), 64),
        {"body_conv_fcn1.weight", "body_conv_fcn1.bias"},
    ),
}


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("kind", HEADS)
def test_heads(kind, number):
    build, first = HEADS[kind]
    head = build().requires_grad_(False)
    out = head(torch.randn(number, 64, 9, 9))
    assert tuple(out.shape) == (number, 64, 9, 9) and head.n_out_channels == 64
    assert number == 0 or float(out.min()) == 0  # ends in a ReLU
    assert {key for key in head.state_dict() if key.startswith("body_conv_fcn1.")} == first


def test_names_in_the_pyramid():
    head = DensePoseDeepLabHead(cfg(NUM_STACKED_CONVS=1, DEEPLAB__NORM="GN", DEEPLAB__NONLOCAL_ON=1), 32)
    keys = {key for key in head.state_dict() if not key.startswith("body") and not key.endswith("bias")}
    assert keys == {
        *(f"ASPP.convs.{i}.{j}.weight" for i in range(4) for j in (0, 1)),
        *("ASPP.convs.4.1.weight", "ASPP.convs.4.2.weight", "ASPP.project.0.weight"),
        *(f"NLBlock.{name}.weight" for name in ("theta", "g.0", "phi.0", "W.0", "W.1")),
    }


def test_the_widest_ring_sees_the_centre_alone():
    head = DensePoseDeepLabHead(cfg(NUM_STACKED_CONVS=1), 32).requires_grad_(False)
    x, ring = torch.randn(1, 32, 28, 28), head.ASPP.convs[3][0]
    torch.testing.assert_close(ring(x), F.conv2d(x, ring.weight[:, :, 1:2, 1:2]), rtol=1e-4, atol=1e-5)


def test_each_cell_looks_at_all():
    torch.manual_seed(0)
    block = _NonLocalBlock(32).requires_grad_(False)
    x = torch.randn(2, 32, 6, 6)
    theta, phi, g = block.theta(x), F.max_pool2d(block.phi[0](x), 2), F.max_pool2d(block.g[0](x), 2)
    seen = torch.zeros_like(theta)
    for y in range(6):
        for z in range(6):
            weights = torch.einsum("nc,nchw->nhw", theta[:, :, y, z], phi).flatten(1).softmax(1)
            seen[:, :, y, z] = (g.flatten(2) * weights[:, None]).sum(2)
    torch.testing.assert_close(block(x), block.W(seen) + x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize(
    ("options", "maps"),
    [
        ({}, set()),
        ({"UV_CONFIDENCE__ENABLED": True, "UV_CONFIDENCE__TYPE": "iid_iso"}, {"sigma_2"}),
        (
            {"UV_CONFIDENCE__ENABLED": True, "UV_CONFIDENCE__TYPE": "indep_aniso"},
            {"sigma_2", "kappa_u", "kappa_v"},
        ),
        ({"SEGM_CONFIDENCE__ENABLED": True}, {"fine_segm_confidence", "coarse_segm_confidence"}),
    ],
)
def test_confidences(options, maps, number):
    torch.manual_seed(0)
    predictor = DensePoseChartWithConfidencePredictor(cfg(**options), 16).requires_grad_(False)
    output = predictor(torch.randn(number, 16, 7, 7))
    always = {"coarse_segm", "fine_segm", "u", "v"}
    there = {name: value for name, value in vars(output).items() if value is not None}
    assert there.keys() == always | maps
    channels = {name: 2 if name == "coarse_segm" else 1 if "confidence" in name else 25 for name in there}
    assert {name: tuple(value.shape) for name, value in there.items()} == {
        name: (number, channel, 28, 28) for name, channel in channels.items()
    }


def test_confidences_of_coordinates_are_raw_and_those_of_segmentation_are_multiplied_in():
    torch.manual_seed(0)
    options = {"UV_CONFIDENCE__ENABLED": True, "SEGM_CONFIDENCE__ENABLED": True, "SEGM_CONFIDENCE__EPSILON": 0.5}
    sure = DensePoseChartWithConfidencePredictor(cfg(**options), 16).requires_grad_(False)
    plain = DensePoseChartPredictor(cfg(), 16).requires_grad_(False)
    plain.load_state_dict({key: value for key, value in sure.state_dict().items() if key in plain.state_dict()})
    x = torch.randn(2, 16, 7, 7)
    with_confidence, without = sure(x), plain(x)
    assert float(with_confidence.sigma_2.min()) < 0
    assert float(with_confidence.fine_segm_confidence.min()) > 0.5
    assert torch.equal(with_confidence.fine_segm, without.fine_segm * with_confidence.fine_segm_confidence)
    assert torch.equal(with_confidence.coarse_segm, without.coarse_segm * with_confidence.coarse_segm_confidence)
    assert torch.equal(with_confidence.u, without.u)


def test_predictors_have_the_same_names_without_confidences():
    plain, other = DensePoseChartPredictor(cfg(), 16), DensePoseChartWithConfidencePredictor(cfg(), 16)
    assert list(plain.state_dict()) == list(other.state_dict())
    assert {key.split(".")[0] for key in plain.state_dict()} == {
        *("ann_index_lowres", "index_uv_lowres", "u_lowres", "v_lowres")
    }
