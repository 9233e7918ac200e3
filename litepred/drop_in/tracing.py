"""``torch.jit.trace`` of litepred's modules: sizes are traced as numbers, where Python would make constants of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import batched_nms


def _length(obj: Any) -> Any:
    return obj.__len__()  # which for a tensor, unlike len(), is its traced size


def _least(*given: Any) -> Any:
    numbers = given if len(given) > 1 else list(given[0])
    if not any(isinstance(one, Tensor) for one in numbers):
        return min(numbers)
    return torch.stack([torch.as_tensor(one) for one in numbers]).min()


def _clip(boxes: Tensor, size_hw: Any) -> Tensor:
    height, width = (torch.as_tensor(side, dtype=boxes.dtype) for side in size_hw)
    sides = torch.stack([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), sides)


def _suppress(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, num_groups: int) -> Tensor:
    return batched_nms(boxes, scores, groups, iou_threshold)


def _output_size(inputs: Mapping[str, Any], image_size: Any) -> tuple[Any, Any]:
    return inputs.get("height", image_size[0]), inputs.get("width", image_size[1])


def _paste(masks: Tensor, boxes: Tensor, size_hw: Any, threshold: float = 0.5, *_: Any) -> Tensor:
    """Paste masks (N, M, M) into boxes (N, 4) over the whole image, as the number of pixels must not decide a way."""
    grids = []
    for axis, side in enumerate(reversed(size_hw)):  # x, then y
        start, end = boxes[:, axis, None], boxes[:, axis + 2, None]
        grids.append((torch.arange(side, device=boxes.device) + 0.5 - start) / (end - start) * 2 - 1)  # (N, side)
    x, y = torch.broadcast_tensors(grids[0][:, None, :], grids[1][:, :, None])  # (N, H, W)
    sampled = F.grid_sample(masks[:, None].float(), torch.stack([x, y], dim=3), align_corners=False)
    return sampled[:, 0] >= threshold


_TRACED = {
    "batched_nms": _suppress,
    "clip_boxes_to_image": _clip,
    "output_size": _output_size,
    "paste_masks_in_image": _paste,
    "paste_masks_in_windows": _paste,
}


@contextmanager
def patch_builtin_len(modules: Sequence[str] = ()) -> Iterator[None]:
    """Let litepred's modules compute with sizes that are traced, where Python's functions would make constants of them.

    Besides, they take those ways that do not depend on values, as in a graph that is compiled.

    Args:
        modules: names of other modules whose ``len`` is to do so.
    """
    rooms = tuple(f"litepred.{room}." for room in ("densepose", "drop_in.adapters", "layers", "modeling", "structures"))
    with ExitStack() as stack:
        stack.enter_context(patch("torch.compiler.is_compiling", torch.jit.is_tracing))
        for name, module in list(sys.modules.items()):
            if f"{name}.".startswith(rooms):
                named: dict[str, Any] = {key: new for key, new in _TRACED.items() if key in vars(module)}
                stack.enter_context(patch.multiple(module, create=True, len=_length, min=_least, **named))
            elif name in modules:
                stack.enter_context(patch.object(module, "len", _length, create=True))
        yield


def traced_sizes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function run under `patch_builtin_len` when it is traced."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with patch_builtin_len() if torch.jit.is_tracing() else nullcontext():
            return function(*args, **kwargs)

    return wrapper
