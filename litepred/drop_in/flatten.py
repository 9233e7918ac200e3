"""Tracing: what goes into a model and comes out of it as flat tuples of tensors, and the way back.

A schema is what `flatten_to_tuple` returns beside the tuple: called with such a tuple, it rebuilds the object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LitepredError
from ..structures import Boxes, Instances, ROIMasks
from .lazy.targets import locate, name_of
from .tracing import traced_sizes

Flat = tuple[Any, ...]


class Schema:
    """How an object was flattened. `flatten` returns the values and a schema, which turns them back when called."""

    @classmethod
    def flatten(cls, obj: Any) -> tuple[Flat, Schema]:
        """Return the object's values, and how to rebuild it."""
        raise NotImplementedError(f"{cls.__name__} has no flatten: define it")

    def __call__(self, values: Flat) -> Any:
        """Rebuild the object."""
        raise NotImplementedError(f"{type(self).__name__} cannot be called: define __call__")


@dataclass
class IdentitySchema(Schema):
    """Of what is a value itself."""

    @classmethod
    def flatten(cls, obj: Any) -> tuple[Flat, Schema]:
        """Return the values, and a schema."""
        return (obj,), cls()

    def __call__(self, values: Flat) -> Any:
        """Rebuild the object."""
        return values[0]


@dataclass
class ListSchema(Schema):
    """Of a list.

    Attributes:
        schemas: of its elements.
        sizes: how many values each of them has.
    """

    schemas: list[Schema]
    sizes: list[int]

    @classmethod
    def flatten(cls, obj: Any) -> tuple[Flat, Schema]:
        """Return the values, and a schema."""
        flat = [flatten_to_tuple(one) for one in obj]
        values = tuple(value for values, _ in flat for value in values)
        return values, cls([schema for _, schema in flat], [len(values) for values, _ in flat])

    def __call__(self, values: Flat) -> Any:
        """Rebuild the object."""
        *starts, end = accumulate(self.sizes, initial=0)
        if len(values) != end:
            raise ValueError(f"{len(values)} values came for an object that was flattened to {end}")
        parts = (values[start : start + size] for start, size in zip(starts, self.sizes))
        return [schema(part) for schema, part in zip(self.schemas, parts)]


@dataclass
class TupleSchema(ListSchema):
    """Of a tuple."""

    def __call__(self, values: Flat) -> Any:
        """Rebuild the object."""
        return tuple(super().__call__(values))


@dataclass
class DictSchema(ListSchema):
    """Of a mapping from texts, whose ``keys`` are in alphabetical order."""

    keys: list[str]

    @classmethod
    def flatten(cls, obj: Any) -> tuple[Flat, Schema]:
        """Return the values, and a schema."""
        wrong = [key for key in obj if not isinstance(key, str)]
        if wrong:
            raise KeyError(f"a mapping that is flattened has the key {wrong[0]!r}: expected texts alone")
        keys = sorted(obj)
        values, schema = ListSchema.flatten([obj[key] for key in keys])
        return values, cls(**vars(schema), keys=keys)

    def __call__(self, values: Flat) -> Any:
        """Rebuild the object."""
        return dict(zip(self.keys, super().__call__(values)))


@dataclass
class InstancesSchema(DictSchema):
    """Of `Instances`: their fields, and their size as the last value, a tensor."""

    @classmethod
    def flatten(cls, obj: Any) -> tuple[Flat, Schema]:
        """Return the values, and a schema."""
        values, schema = super().flatten(obj.get_fields())
        size = obj.image_size
        if not isinstance(size, Tensor):
            size = torch.stack([torch.as_tensor(side) for side in size])
        return (*values, size), schema

    def __call__(self, values: Flat) -> Any:
        """Rebuild the object."""
        size = values[-1] if torch.jit.is_tracing() else tuple(values[-1].tolist())
        return Instances(size, **super().__call__(values[:-1]))


@dataclass
class TensorWrapSchema(Schema):
    """Of a class that holds one tensor, such as `Boxes`, by the class's name."""

    class_name: str

    @classmethod
    def flatten(cls, obj: Any) -> tuple[Flat, Schema]:
        """Return the values, and a schema."""
        return (obj.tensor,), cls(name_of(type(obj)))

    def __call__(self, values: Flat) -> Any:
        """Rebuild the object."""
        return locate(self.class_name)(values[0])


_SCHEMAS: tuple[tuple[Any, type[Schema]], ...] = (
    (list, ListSchema),
    (tuple, TupleSchema),
    (Mapping, DictSchema),
    (Instances, InstancesSchema),
    ((Boxes, ROIMasks), TensorWrapSchema),
    (object, IdentitySchema),
)


def flatten_to_tuple(obj: Any) -> tuple[Flat, Schema]:
    """Return the values of an object, nested in lists, tuples, mappings and `Instances` or not, and its schema."""
    return next(schema for kind, schema in _SCHEMAS if isinstance(obj, kind)).flatten(obj)


class TracingAdapter(nn.Module):
    """A model whose inputs and outputs are tuples of tensors, as ``torch.jit.trace`` takes them.

    Args:
        model: the model.
        inputs: an argument of it, or a tuple of arguments.
        inference_func: called with the model and its arguments, by default to call the model with them.
        allow_non_tensor: whether values may be something else than tensors; they are left out, and nothing is rebuilt.

    Attributes:
        flattened_inputs: the inputs as a tuple of tensors.
        inputs_schema: rebuilds inputs; ``None`` where there were other values.
        outputs_schema: rebuilds outputs, after the first call.

    Raises:
        ValueError: the inputs have values that are no tensors.
    """

    outputs_schema: Schema | None = None

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        inference_func: Callable[..., Any] | None = None,
        allow_non_tensor: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.allow_non_tensor = model, allow_non_tensor
        self.inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self.inference_func = inference_func or (lambda model, *inputs: model(*inputs))
        self.training = model.training
        self.flattened_inputs, self.inputs_schema = self._tensors(self.inputs)

    def _tensors(self, obj: Any) -> tuple[tuple[Tensor, ...], Schema | None]:
        values, schema = flatten_to_tuple(obj)
        tensors = tuple(value for value in values if isinstance(value, Tensor))
        if len(tensors) == len(values):
            return tensors, schema
        if not self.allow_non_tensor:
            other = next(value for value in values if not isinstance(value, Tensor))
            raise ValueError(
                f"what is traced has a {type(other).__name__} among its values, {other!r:.60}: expected tensors alone, "
                "or allow_non_tensor=True to leave out what is none"
            )
        return tensors, None

    @torch.no_grad()
    def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
        """Call the model with the inputs that ``args`` are flattened from, and return its flattened outputs.

        Raises:
            LitepredError: the outputs are of another structure than before.
            ValueError: the outputs have values that are no tensors, or other inputs came for those that had some.
        """
        if self.inputs_schema is None and any(one is not other for one, other in zip(args, self.flattened_inputs)):
            raise ValueError("inputs that have more than tensors cannot be exchanged: pass adapter.flattened_inputs")
        inputs = self.inputs if self.inputs_schema is None else self.inputs_schema(args)
        outputs, schema = self._tensors(traced_sizes(self.inference_func)(self.model, *inputs))
        if self.outputs_schema is None:
            self.outputs_schema = schema
        elif schema != self.outputs_schema:
            raise LitepredError(f"the model's outputs are now of the structure {schema}, before {self.outputs_schema}")
        return outputs

    def _create_wrapper(self, traced_model: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function like the model, which calls a traced one."""

        def wrapper(*args: Any) -> Any:
            if self.outputs_schema is None:
                raise ValueError("the outputs cannot be rebuilt: call the adapter first, with tensors alone")
            return self.outputs_schema(traced_model(*flatten_to_tuple(args)[0]))

        return wrapper
