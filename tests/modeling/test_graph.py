"""What lies between a padded image and raw instances is one graph: it depends on shapes, never on values.

Here ``torch.compile`` takes it whole; the tests of exporting hold the same for every family.
"""

from __future__ import annotations

from functools import partialmethod

import pytest
import torch
from tiny_models import tiny_image, tiny_model
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.nn import functional as F

from litepred.layers import WinogradConv2d, batched_nms
from litepred.optimize import optimize
from litepred.structures import Instances
from litepred.structures.keypoints import heatmaps_to_keypoints

FAMILIES = {
    "mask": ("fpn", {"MASK_ON": True}),
    "keypoint": ("fpn", {"KEYPOINT_ON": True}),
    "cascade": ("cascade", {"MASK_ON": True}),
    "retinanet": ("retinanet", {}),
}
pytestmark = pytest.mark.skipif(
    tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 14), reason="older compilers were not tried"
)
SIZES = [(160, 224), (192, 192), (224, 160)]  # for all of which torch chooses the same kernels


@pytest.mark.parametrize(
    "family", [pytest.param(one, marks=[pytest.mark.long] * (one in ("keypoint", "cascade"))) for one in FAMILIES]
)
@torch.no_grad()
def test_one_graph_for_all_sizes(family):
    base, changes = FAMILIES[family]
    model = tiny_model(base, **changes)
    optimize(model)
    counter = CompileCounter()
    torch.compiler.reset()
    compiled = torch.compile(model.network, backend=counter, fullgraph=True, dynamic=True)
    for size in SIZES:
        images = model.preprocess_image([{"image": tiny_image(*size)}])
        with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
            found: Instances = compiled(images)["instances"][0]
        expected = model.network(images)["instances"][0]
        assert len(expected) > 1
        assert list(found.get_fields()) == list(expected.get_fields())
        for name, value in expected.get_fields().items():
            pair = [getattr(one, "tensor", one) for one in (found.get(name), value)]
            torch.testing.assert_close(*pair, atol=1e-4, rtol=1e-4)
    assert counter.frame_count == 1


@torch.no_grad()
def test_reduced_parts_are_compiled_once(monkeypatch):
    """What casts their inputs and answers is within their graphs: as many of them as in float32."""
    monkeypatch.setattr("litepred.optimize.is_fast", lambda *_: True)
    monkeypatch.setattr("litepred.optimize._replace", lambda *_: None)  # which would choose other layers in float32
    graphs = []
    for precision in ("float32", "bfloat16"):
        model, counter = tiny_model("fpn", MASK_ON=True, KEYPOINT_ON=True), CompileCounter()
        torch.compiler.reset()
        with monkeypatch.context() as patch:
            patch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=counter))
            optimize(model, precision, compile=True)
        for size in SIZES[:2]:
            assert len(model([{"image": tiny_image(*size)}])[0]["instances"]) > 1
        graphs.append(counter.frame_count)
    assert graphs[0] == graphs[1] > 0


def compiled(function):
    torch.compiler.reset()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        return torch.compile(function, backend="eager", fullgraph=True)


@pytest.mark.parametrize("number", [0, 1, 40])
def test_operators_of_graphs_are_the_functions(number):
    generator = torch.Generator().manual_seed(number)
    corners = torch.rand(number, 2, 2, generator=generator) * 40
    boxes = torch.cat([corners[:, 0], corners[:, 0] + corners[:, 1]], dim=1)
    scores, groups = torch.rand(number, generator=generator), torch.arange(number) % 3
    arguments = (boxes, scores, groups, 0.3, 3)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        assert compiled(batched_nms)(*arguments).equal(batched_nms(*arguments))
        maps = torch.rand(number, 2, 6, 6, generator=generator)
        assert compiled(heatmaps_to_keypoints)(maps, boxes).equal(heatmaps_to_keypoints(maps, boxes))


@torch.no_grad()
@pytest.mark.parametrize("activation", [None, F.relu_])
def test_winograds_transform_stays_in_one_graph(activation):
    layer = nn.Conv2d(128, 128, 3, padding=1)
    layer.activation = activation
    winograd = WinogradConv2d(layer)
    counter = CompileCounter()
    torch.compiler.reset()
    graph = torch.compile(nn.Sequential(winograd, winograd), backend=counter, fullgraph=True, dynamic=True)
    for size in ((2, 128, 9, 13), (3, 128, 16, 8)):
        x = torch.randn(size).contiguous(memory_format=torch.channels_last)
        found = graph(x)
        assert found.equal(winograd(winograd(x))) and found.is_contiguous(memory_format=torch.channels_last)
    assert counter.frame_count == 1
    torch.library.opcheck(torch.ops.litepred.winograd_conv2d.default, (x, winograd.weight, winograd.bias))
