"""A pretended accelerator, to see on the CPU that tensors of two devices never meet, and what the host waits for.

Its tensors say that their device is ``meta``, which torch knows everywhere, and hold their numbers on the CPU.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
_HOST_READS = {  # the host waits until the accelerator has computed a value, or the size of the answer
    "aten::_local_scalar_dense",
    "aten::is_nonzero",
    "aten::equal",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::unique_dim_consecutive",
    "aten::repeat_interleave",
    "aten::bincount",
    "torchvision::nms",
}


class MixedDevicesError(AssertionError):
    """An operator got tensors of both devices."""


class _OnDevice(Tensor):
    """A tensor of the pretended accelerator."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> _OnDevice:
        wrapper = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        wrapper.held = held
        return wrapper

    def __repr__(self) -> str:  # type: ignore[override]
        return f"on the pretended device: {self.held!r}"

    def tolist(self) -> Any:
        """Read the values, which the host has to wait for."""
        if PretendedDevice.current:
            PretendedDevice.current.waits["tolist"] += 1
        return self.held.tolist()

    def new_tensor(self, data: Any, *, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
        """Send values from the host, which waits until they have arrived."""
        here = torch.tensor(data, dtype=dtype or self.dtype)
        return here if device is not None and torch.device(device) != DEVICE else here.to(DEVICE)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        raise AssertionError(f"{func} ran outside PretendedDevice")


class PretendedDevice(TorchDispatchMode):
    """While it is entered, the device ``meta`` holds numbers, and is kept apart from the CPU.

    Attributes:
        waits: how often each operator made the host wait.
    """

    current: PretendedDevice | None = None

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __enter__(self):  # type: ignore[no-untyped-def]
        PretendedDevice.current = self
        return super().__enter__()

    def __exit__(self, *exception):  # type: ignore[no-untyped-def]
        PretendedDevice.current = None
        return super().__exit__(*exception)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = dict(kwargs or {})
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        here = [value for value in tensors if isinstance(value, _OnDevice)]
        name = func.name().partition(".")[0]
        target = kwargs.get("device")
        if name == "aten::copy_":
            to_device = isinstance(args[0], _OnDevice)
            self._note_transfer(args[1], to_device, any(args[2:]) or kwargs.get("non_blocking", False))
        elif name == "aten::_to_copy":
            to_device = (args[0].device if target is None else target) == DEVICE
            self._note_transfer(args[0], to_device, kwargs.get("non_blocking", False))
        elif here and any(value.dim() and not isinstance(value, _OnDevice) for value in tensors):
            kinds = [
                f"{'device' if isinstance(value, _OnDevice) else 'host'} {tuple(value.shape)}" for value in tensors
            ]
            raise MixedDevicesError(f"{func} got tensors of both devices: {', '.join(kinds)}")
        else:
            to_device = bool(here) if target is None else target == DEVICE
            if here and (name in _HOST_READS or self._indexes_by_mask(name, args)):
                self.waits[name] += 1
        if target is not None and target == DEVICE:
            kwargs["device"] = torch.device("cpu")
        held_args, held_kwargs = tree_map(lambda value: getattr(value, "held", value), (args, kwargs))
        result = func(*held_args, **held_kwargs)
        if not to_device:
            return result
        mutated = {id(value.held): value for value in here}

        def on_device(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return mutated[id(value)] if id(value) in mutated else _OnDevice(value)

        return tree_map(on_device, result)

    def _note_transfer(self, source: Tensor, to_device: bool, non_blocking: bool) -> None:
        if to_device != isinstance(source, _OnDevice) and not non_blocking:
            self.waits["to the device" if to_device else "to the host"] += 1

    @staticmethod
    def _indexes_by_mask(name: str, args: tuple[Any, ...]) -> bool:
        if name not in ("aten::index", "aten::index_put_", "aten::index_put"):
            return False
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
