"""torchvision's operators, by its library alone: the same bits, and torchvision itself for what the library lacks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import torchvision
from torchvision import ops

from litepred.layers import operators
from litepred.layers.operators import clip_boxes_to_image, deform_conv2d, nms_within_groups, roi_align


def random_boxes(number: int) -> torch.Tensor:
    corners = torch.rand(number, 2) * 300
    return torch.cat([corners, corners + torch.rand(number, 2) * 120], dim=1)


@pytest.fixture(autouse=True)
def no_torchvision(request, monkeypatch):
    """Let the library compute: a call of torchvision's own function fails."""
    torch.manual_seed(0)
    if "whole" not in request.node.name:
        for name in ("batched_nms", "roi_align", "deform_conv2d"):
            monkeypatch.setattr(torchvision.ops, name, None)


@pytest.mark.parametrize("number", [0, 1, 7, 1000, 1001, 3000])
@pytest.mark.parametrize("groups", [1, 5, 80])
@pytest.mark.parametrize("tied", [False, True])
def test_suppression(number, groups, tied):
    boxes, scores = random_boxes(number), torch.rand(number)
    scores = (scores * 10).round() / 10 if tied else scores
    group = torch.randint(groups, (number,))
    found = nms_within_groups(boxes, scores, group, 0.5)
    assert torch.equal(found, ops.boxes.batched_nms(boxes, scores, group, 0.5))
    assert found.dtype == torch.int64


@pytest.mark.parametrize("number", [0, 1, 40])
@pytest.mark.parametrize(("size", "sampling_ratio", "aligned"), [((7, 7), 0, True), ((3, 5), 2, False)])
def test_pooling(number, size, sampling_ratio, aligned):
    x, rois = torch.rand(2, 5, 40, 60), torch.cat([torch.randint(2, (number, 1)), random_boxes(number)], dim=1)
    found = roi_align(x, rois, size, 0.125, sampling_ratio, aligned)
    assert torch.equal(
        found, sys.modules["torchvision.ops.roi_align"].roi_align(x, rois, size, 0.125, sampling_ratio, aligned)
    )
    assert found.shape == (number, 5, *size)


@pytest.mark.parametrize("images", [0, 2])
@pytest.mark.parametrize("with_mask", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
def test_deformable_convolution(images, with_mask, with_bias):
    x, offset = torch.rand(images, 8, 12, 10), torch.randn(images, 2 * 2 * 9, 6, 5)
    mask = torch.rand(images, 2 * 9, 6, 5) if with_mask else None
    weight, bias = torch.randn(4, 4, 3, 3), torch.randn(4) if with_bias else None
    arguments = (x, offset, weight, bias, (2, 2), (1, 1), (1, 1), mask)
    assert torch.equal(deform_conv2d(*arguments), sys.modules["torchvision.ops.deform_conv"].deform_conv2d(*arguments))


@pytest.mark.parametrize("shape", [(0, 4), (6, 4), (3, 5, 4)])
def test_clipping(shape):
    boxes = torch.randn(shape) * 300
    boxes[..., :1] = torch.nan
    found = clip_boxes_to_image(boxes, (90, 120))
    assert torch.equal(found.nan_to_num(-1), ops.clip_boxes_to_image(boxes, (90, 120)).nan_to_num(-1))


def test_whole_torchvision_where_there_are_gradients():
    x = torch.rand(1, 2, 9, 9, requires_grad=True)
    roi_align(x, torch.tensor([[0.0, 1, 1, 8, 8]]), (3, 3), 1.0, 0, True).sum().backward()
    assert x.grad.sum() == pytest.approx(18, rel=1e-4)


@pytest.mark.parametrize("on", [True, False])
def test_whole_torchvision_where_its_library_is_not_found(on, monkeypatch):
    monkeypatch.setattr(operators, "_is_loaded", lambda: on)
    called = []
    batched_nms = torchvision.ops.batched_nms
    monkeypatch.setattr(torchvision.ops, "batched_nms", lambda *given: called.append(1) or batched_nms(*given))
    assert nms_within_groups(random_boxes(3), torch.rand(3), torch.arange(3), 0.5).tolist()
    assert bool(called) is not on


def test_a_whole_prediction_imports_neither_torchvision_nor_the_compiler():
    """What is tried once on a new machine is left out: older torches import sympy for it."""
    program = "import sys, litepred; litepred.Predictor()(litepred.example_page()); print(*sys.modules)"
    environment = {**os.environ, "LITEPRED_CHOICES": "winograd=yes,linear=no"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert not {"torchvision", "torch._dynamo", "sympy"} & set(done.stdout.split())
