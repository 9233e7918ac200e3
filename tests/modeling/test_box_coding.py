"""Box deltas: by hand, and against torchvision, whose bits are the same."""

import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder

from litepred.modeling.box_coding import Box2BoxTransform, Box2BoxTransformLinear

CLAMP = math.log(1000 / 16)


@pytest.mark.parametrize("classes", [0, 1, 3])
@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (10, 10, 5, 5)])
def test_no_boxes(classes, weights):
    decoded = Box2BoxTransform(weights).apply_deltas(torch.zeros(0, 4 * classes), torch.zeros(0, 4))
    assert decoded.shape == (0, 4 * classes)
    assert decoded.dtype == torch.float32


@pytest.mark.parametrize(
    ("weights", "deltas", "expected"),
    [
        ((1, 1, 1, 1), [0, 0, 0, 0], [10, 20, 14, 28]),  # of 4 × 8 around (12, 24)
        ((1, 1, 1, 1), [0.5, 0.25, 0, 0], [12, 22, 16, 30]),  # centre + (0.5 · 4, 0.25 · 8)
        ((2, 4, 1, 1), [0.5, 0.25, 0, 0], [11, 20.5, 15, 28.5]),
        ((1, 1, 1, 1), [0, 0, math.log(2), math.log(3)], [8, 12, 16, 36]),
        ((1, 1, 5, 10), [0, 0, 5 * math.log(2), 10 * math.log(3)], [8, 12, 16, 36]),
        ((1, 1, 1, 1), [0, 0, 99, 0], [12 - 125, 20, 12 + 125, 28]),  # 4 · 1000 / 16 is 250 wide
        ((1, 1, 1, 1), [0, 0, 0, 99], [10, 24 - 250, 14, 24 + 250]),
        ((1, 1, 1, 1), [0, 0, -99, -99], [12, 24, 12, 24]),  # only the upper end is clamped
        ((1, 1, 1, 1), [0, 0, 0, 0, 1, 0, 0, 0], [10, 20, 14, 28, 14, 20, 18, 28]),  # two classes, side by side
    ],
)
def test_by_hand(weights, deltas, expected):
    box = torch.tensor([[10.0, 20, 14, 28]])
    decoded = Box2BoxTransform(weights).apply_deltas(torch.tensor([deltas], dtype=torch.float32), box)
    assert decoded[0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("by_size", "deltas", "expected"),
    [
        (True, [], []),
        (True, [0.5, 0.25, 1, 2], [10, 22, 16, 40]),  # around (12, 24), in sides of 4 × 8
        (False, [0.5, 0.25, 1, 2], [11.5, 23.75, 13, 26]),
        (True, [-1, 1, 0, -9, 1, 0, 0, 0], [12, 16, 12, 24, 8, 24, 12, 24]),  # below 0 is 0; two boxes
    ],
)
def test_distances_by_hand(by_size, deltas, expected):
    box = torch.tensor([[10.0, 20, 14, 28]])
    decoded = Box2BoxTransformLinear(by_size).apply_deltas(torch.tensor([deltas], dtype=torch.float32), box)
    assert decoded[0].tolist() == expected


def test_another_clamp():
    decoded = Box2BoxTransform((1, 1, 1, 1), scale_clamp=0).apply_deltas(
        torch.tensor([[0.0, 0, 9, -9]]), torch.tensor([[0.0, 0, 2, 2]])
    )
    assert decoded[0].tolist() == pytest.approx([0, 1 - math.exp(-9), 2, 1 + math.exp(-9)])


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0), (30, 30, 15, 15)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_same_bits_as_torchvision(weights, dtype):
    random = torch.Generator().manual_seed(0)
    corners = torch.rand(50, 4, generator=random) * 100
    boxes = torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], dim=1)
    deltas = (torch.randn(50, 12, generator=random) * 8).to(dtype)
    decoded = Box2BoxTransform(weights).apply_deltas(deltas, boxes.to(dtype))
    assert decoded.dtype == torch.float32  # also for half deltas
    expected = BoxCoder(weights, CLAMP).decode_single(deltas.float(), boxes.to(dtype).float())
    assert torch.equal(decoded, expected)


def test_its_inputs_stay_and_its_form_shows_the_weights():
    deltas, box = torch.ones(1, 4), torch.tensor([[0.0, 0, 2, 2]])
    transform = Box2BoxTransform([1, 2, 3, 4])
    transform.apply_deltas(deltas, box)
    assert (deltas.tolist(), box.tolist()) == ([[1, 1, 1, 1]], [[0, 0, 2, 2]])
    assert repr(transform) == "Box2BoxTransform(weights=(1.0, 2.0, 3.0, 4.0))"
