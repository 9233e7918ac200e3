"""Tracing through `TracingAdapter`: a traced model answers as the model, also for other images and sizes."""

from __future__ import annotations

import io

import pytest
import torch
from tiny_models import tiny_image, tiny_model

from litepred import Boxes, Instances, LitepredError
from litepred.drop_in.flatten import Schema, TracingAdapter, flatten_to_tuple
from litepred.structures import ROIMasks

ONE, TWO = torch.ones(2), torch.zeros(3)
OBJECTS = {
    "nothing": ([], 0),
    "a tensor": (ONE, 1),
    "a list": ([ONE, [TWO, []]], 2),
    "a tuple": ((ONE, (TWO,)), 2),
    "a mapping": ({"b": ONE, "a": [TWO]}, 2),
    "instances": (Instances((4, 5), scores=ONE, pred_boxes=Boxes(torch.eye(4)[:2])), 3),
    "masks in a list": ([ROIMasks(torch.ones(1, 2, 2))], 1),
}


def the_same(one, other):
    (values, schema), (others, other_schema) = flatten_to_tuple(one), flatten_to_tuple(other)
    return schema == other_schema and all(torch.equal(a, b) for a, b in zip(values, others, strict=True))


@pytest.mark.parametrize("kind", OBJECTS)
def test_there_and_back(kind):
    obj, number = OBJECTS[kind]
    values, schema = flatten_to_tuple(obj)
    assert len(values) == number
    back = schema(values)
    assert type(back) is type(obj)
    assert the_same(back, obj)
    if kind == "instances":
        assert back.image_size == (4, 5)


def test_a_size_that_is_a_tensor_is_kept():
    size = torch.tensor([4, 5])
    assert flatten_to_tuple(Instances(size))[0][-1] is size


def test_what_does_not_fit():
    _, schema = flatten_to_tuple([ONE, TWO])
    with pytest.raises(ValueError, match="1 values came for an object that was flattened to 2"):
        schema((ONE,))
    with pytest.raises(KeyError, match="the key 3: expected texts alone"):
        flatten_to_tuple({3: ONE})
    for use in (lambda: Schema.flatten(ONE), lambda: Schema()((ONE,))):
        with pytest.raises(NotImplementedError, match="Schema"):
            use()


def raw(model, image):
    return model.inference([{"image": image}], do_postprocess=False)[0]


def enlarged(model, image):
    return model([{"image": image, "height": image.shape[1] * 2, "width": image.shape[2] * 2}])[0]


MODELS = {
    "masks, pasted": ("fpn", {"MASK_ON": True}, enlarged),
    "keypoints": ("fpn", {"KEYPOINT_ON": True}, raw),
    "retinanet": ("retinanet", {}, raw),
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:To copy construct:UserWarning")
@pytest.mark.parametrize("kind", MODELS)
def test_a_traced_model(kind):
    family, changes, inference_func = MODELS[kind]
    model, image = tiny_model(family, **changes), tiny_image()
    adapter = TracingAdapter(model, image, inference_func)
    traced = torch.jit.trace(adapter, adapter.flattened_inputs, check_trace=False)
    if inference_func is enlarged:
        stored = io.BytesIO()
        torch.jit.save(traced, stored)
        stored.seek(0)
        traced = torch.jit.load(stored)
    like_the_model = adapter._create_wrapper(traced)
    for other in (tiny_image(seed=3), tiny_image(80, 70, seed=3)):
        expected, found = inference_func(model, other), like_the_model(other)
        (values, schema), (others, other_schema) = flatten_to_tuple(expected), flatten_to_tuple(found)
        assert schema == other_schema
        assert len(values[0]) > 0
        for one, traced_one in zip(values, others, strict=True):
            torch.testing.assert_close(traced_one, one, rtol=0, atol=1e-4)
    assert torch.compiler.is_compiling() is False  # nothing is left of what tracing changes


class Adder(torch.nn.Module):
    def forward(self, inputs, number=1):
        return {"sum": inputs["x"] + number}


def test_other_modules():
    adapter = TracingAdapter(Adder(), ({"x": ONE}, TWO[:1]))
    traced = torch.jit.trace(adapter, adapter.flattened_inputs)
    assert the_same(adapter.outputs_schema(traced(ONE, ONE[:1])), {"sum": ONE + 1})
    with pytest.raises(LitepredError, match="outputs are now of the structure"):
        adapter.inference_func = lambda model, *inputs: [ONE]
        adapter(ONE, ONE[:1])


def test_values_that_are_no_tensors():
    inputs = ({"x": ONE}, 2)
    with pytest.raises(ValueError, match="has a int among its values, 2: expected tensors alone"):
        TracingAdapter(Adder(), inputs)
    adapter = TracingAdapter(Adder(), inputs, allow_non_tensor=True)
    assert adapter.inputs_schema is None
    assert adapter(*adapter.flattened_inputs)[0].equal(ONE + 2)
    with pytest.raises(ValueError, match=r"pass adapter\.flattened_inputs"):
        adapter(TWO)
    with pytest.raises(ValueError, match="has a str among its values"):
        TracingAdapter(Adder(), {"x": ONE}, lambda model, inputs: "text")(ONE)
    with pytest.raises(ValueError, match="call the adapter first"):
        TracingAdapter(Adder(), {"x": ONE})._create_wrapper(print)({"x": ONE})
