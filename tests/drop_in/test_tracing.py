"""``torch.jit.trace`` of parts, without `TracingAdapter`: what was traced takes other numbers of boxes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from litepred.drop_in.adapters import find_top_rpn_proposals
from litepred.drop_in.tracing import patch_builtin_len
from litepred.layers import ShapeSpec
from litepred.modeling import Box2BoxTransform, FastRCNNOutputLayers, ROIPooler
from litepred.structures import Boxes, Instances

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")


class Called(nn.Module):
    """A module whose ``forward`` is a function of its part and tensors."""

    def __init__(self, part, function):
        super().__init__()
        self.part, self.function = part, function

    def forward(self, *tensors):
        return self.function(self.part, *tensors)


def boxes(number, side=90.0):
    corners = torch.rand(number, 4, generator=torch.Generator().manual_seed(number)) * side / 2 + 1
    return torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], dim=1)


def predicted(method):
    def call(layers, values, proposals):
        given = Instances((90, 90), proposal_boxes=Boxes(proposals))
        return getattr(layers, method)((values, values), [given])[0]

    return call


LAYERS = {"box2box_transform": Box2BoxTransform((1, 1, 1, 1)), "num_classes": 5}


@pytest.mark.parametrize(("method", "width"), [("predict_boxes", 20), ("predict_probs", 6)])
def test_predictions(method, width):
    model = Called(FastRCNNOutputLayers(ShapeSpec(channels=8), **LAYERS), predicted(method))
    with patch_builtin_len():
        traced = torch.jit.trace(model, (torch.rand(9, width), boxes(9)))
    for number in (1, 4, 20):
        values = torch.rand(number, width)
        torch.testing.assert_close(traced(values, boxes(number)), model(values, boxes(number)))


def test_pooling():
    pooler = ROIPooler(output_size=3, scales=(1 / 4, 1 / 8), sampling_ratio=0, pooler_type="ROIAlignV2")
    model = Called(pooler, lambda pooler, fine, coarse, rois: pooler([fine, coarse], [Boxes(rois)]))
    maps = torch.rand(1, 2, 24, 24), torch.rand(1, 2, 12, 12)
    traced = torch.jit.trace(model, (*maps, boxes(5)))
    for number in (1, 3, 11):
        torch.testing.assert_close(traced(*maps, boxes(number)), model(*maps, boxes(number)))


def test_proposals():
    def propose(candidates, logits, size):
        (found,) = find_top_rpn_proposals([candidates], [logits], [size], 0.7, 30, 8, 0.0)
        return found.proposal_boxes.tensor, found.objectness_logits

    traced = torch.jit.trace(propose, (boxes(50)[None], torch.rand(1, 50), torch.tensor([60, 70])))
    for number, size in ((20, (60, 70)), (90, (40, 50)), (1, (90, 90))):
        candidates, logits = boxes(number)[None], torch.rand(1, number)
        for ours, wanted in zip(traced(candidates, logits, torch.tensor(size)), propose(candidates, logits, size)):
            torch.testing.assert_close(ours, wanted)


def test_modules_of_a_program(monkeypatch):
    with patch_builtin_len([__name__]):
        traced = torch.jit.trace(lambda x: x.new_zeros(len(x)), torch.rand(3, 2))
    assert len(traced(torch.rand(7, 2))) == 7
    assert "len" not in globals()
