"""From a loaded model to one made for inference: the same modules by the same names, laid out for speed.

Norms are folded into the convolutions before them, maps travel in channels-last order, wide 3×3 convolutions go
through Winograd's transform on the CPU, linear layers through convolutions where those multiply faster, regions are
pooled as sums of rows, and heads compute only what is read. Answers differ from those of the model as it was by
rounding alone.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .choices import filled, is_faster
from .errors import ConfigError, wording
from .layers import FrozenBatchNorm2d, InferenceModule, PointwiseLinear, WinogradConv2d
from .layers.norm import ChannelsLastGroupNorm
from .modeling.roi_heads import FastRCNNConvFCHead, MaskRCNNConvUpsampleHead
from .modeling.roi_heads.mask_head import BaseMaskRCNNHead, mask_rcnn_inference
from .modeling.rpn import StandardRPNHead
from .modeling.semantic import is_called, is_strided
from .structures import Instances

__all__ = ["is_fast", "optimize"]

_ROWS_AT_ONCE = 64  # of a matrix whose columns are brought to another order: it may be most of a model's memory
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def optimize(model: nn.Module, precision: str = "float32", compile: bool = False) -> str:
    """Turn a loaded model, in place, into one that computes the same faster.

    The model's ``state_dict`` has other names and values afterwards, so that it no longer fits the model's checkpoint.
    A module of a class that litepred does not know stays as it is, but norms inside it are folded into convolutions,
    and weights are laid out anew. A module says two things itself: ``dense_parts`` names its submodules that convolve
    or multiply matrices, and ``exact`` becomes ``False`` in one that can compute faster to rounding the same.

    Args:
        model: in evaluation mode, on the device that it will run on.
        precision: "float32", or "bfloat16" or "float16" for convolutions and matrix products; boxes, scores and masks
            stay in float32. Where the processor has no fast path for it, a warning says so and float32 is kept. "auto"
            takes the one that is fastest here: `litepred.choices` finds out whether bfloat16 is on a processor.
        compile: let ``torch.compile`` fuse what lies between the convolutions; it compiles when first called.

    Returns:
        The precision in use.

    Raises:
        ConfigError: for another precision.
    """
    if precision not in ("auto", *_DTYPES):
        raise ConfigError(f"precision is {precision!r}: expected one of {', '.join(_DTYPES)}, auto")
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    if precision == "auto":
        precision = _faster_precision(device)
    elif precision != "float32" and not is_fast(precision, device):
        warnings.warn(
            f"this {'processor' if device.type == 'cpu' else 'device'} has no fast path for {precision}: "
            "computing in float32, which is faster here. Leave "
            + wording("precision='float32'", "--precision float32")
            + " to say so yourself.",
            stacklevel=3,
        )
        precision = "float32"
    for module in list(model.modules()):
        _fold_norms(module)
    _replace(model, _faster_head)
    on_cpu = device.type == "cpu"
    if on_cpu and precision == "float32":
        _replace(model, _faster_layer)
    ordered: set[int] = set()  # the weights that are in channels-last order, of which heads may share one
    for module in model.modules():
        _flatten_channels_last(module, ordered)
        if hasattr(module, "exact"):
            module.exact = False  # type: ignore[assignment]
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    if on_cpu and getattr(model, "mask_format", "") is None:
        model.mask_format = "bitmask"  # type: ignore[assignment]
    if precision != "float32":
        _reduce(model, _DTYPES[precision])
    if compile:
        for part in _dense_parts(model):
            part.compile(dynamic=True)
    model.optimized = True  # type: ignore[assignment]
    return precision


def compiling() -> AbstractContextManager[Any]:
    """Return a context in which compiled code takes the weights, as `optimize` has left them, for constants."""
    from torch._inductor import config  # which older versions of torch load only when asked to

    return config.patch(freezing=True)


def is_fast(precision: str, device: torch.device) -> bool:
    """Whether ``device`` multiplies matrices of this type faster than float32 ones."""
    if device.type == "cuda":
        return precision == "float16" or torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        names = {
            "bfloat16": ("_is_avx512_bf16_supported", "_is_amx_tile_supported"),
            "float16": ("_is_amx_fp16_supported",),
        }
        return any(getattr(torch.cpu, name, lambda: False)() for name in names[precision])
    return precision == "float16"


def _faster_precision(device: torch.device) -> str:
    if device.type != "cpu":
        return next((one for one in ("bfloat16", "float16") if is_fast(one, device)), "float32")
    bfloat16 = is_fast("bfloat16", device) and is_faster("bfloat16", "256→256", _convolve_in_both)
    return "bfloat16" if bfloat16 else "float32"


def _convolve_in_both() -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    conv = filled(nn.Conv2d(256, 256, 3, padding=1, device="meta")).to(memory_format=torch.channels_last)
    reduced = copy.deepcopy(conv).bfloat16()
    usual = WinogradConv2d(conv) if WinogradConv2d.suits(conv) else conv
    x = torch.ones(1, 256, 64, 64, dtype=torch.float32, device="cpu").contiguous(memory_format=torch.channels_last)
    x_reduced = x.bfloat16()
    return lambda: usual(x), lambda: reduced(x_reduced)


def _fold_norms(module: nn.Module) -> None:
    """Fold the norm of a convolution into it, and those of convolutions whose module lists them in ``norm_pairs``."""
    if isinstance(module, nn.Conv2d) and _is_batch_norm(getattr(module, "norm", None)):
        _fold(module, module.norm)
        module.norm = None  # type: ignore[assignment]
    for conv, norm in getattr(module, "norm_pairs", ()):
        if isinstance(getattr(module, conv), nn.Conv2d) and _is_batch_norm(getattr(module, norm, None)):
            _fold(getattr(module, conv), getattr(module, norm))
            setattr(module, norm, nn.Identity())


def _is_batch_norm(norm: Any) -> bool:
    return isinstance(norm, FrozenBatchNorm2d) or (isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None)


def _fold(conv: nn.Conv2d, norm: Any) -> None:
    """Fold in double precision, rounded once, and on the CPU, since MPS has no doubles."""
    scale = (norm.running_var.cpu().double() + norm.eps).rsqrt()
    shift = -norm.running_mean.cpu().double() * scale
    if norm.weight is not None:
        scale = scale * norm.weight.cpu().double()
        shift = shift * norm.weight.cpu().double() + norm.bias.cpu().double()
    if conv.bias is not None:
        shift = shift + conv.bias.cpu().double() * scale
    weight = conv.weight.data
    folded = weight.cpu()  # which is the weight itself where it is there already
    folded *= scale[:, None, None, None]
    weight.copy_(folded)
    conv.bias = nn.Parameter(shift.to(weight), requires_grad=False)


def _replace(model: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> None:
    """Put ``replacement(module)`` in the place of every module for which it is not ``None``."""
    places: dict[nn.Module, list[tuple[nn.Module, str]]] = {}
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child is not None:
                places.setdefault(child, []).append((parent, name))
    while places:  # what is replaced is freed before the next one is made
        child, parents = places.popitem()
        if (faster := replacement(child)) is not None:
            for parent, name in parents:
                setattr(parent, name, faster)


def _faster_head(module: nn.Module) -> nn.Module | None:
    if type(module) is StandardRPNHead:
        return _MergedRPNHead(module)
    if type(module) is MaskRCNNConvUpsampleHead:
        return _PredictedClassMaskHead(module)
    return None


def _faster_layer(module: nn.Module) -> nn.Module | None:
    if type(module) is nn.GroupNorm and module.affine:
        return ChannelsLastGroupNorm(module)
    if PointwiseLinear.suits(module):
        return PointwiseLinear(cast(nn.Linear, module))
    return WinogradConv2d(cast(nn.Conv2d, module)) if WinogradConv2d.suits(module) else None


class _MergedRPNHead(InferenceModule):
    """`StandardRPNHead` whose two predictors are one convolution, so that the map is read once."""

    def __init__(self, head: StandardRPNHead) -> None:
        super().__init__()
        self.conv = head.conv
        predictors = (head.objectness_logits, head.anchor_deltas)
        self.num_anchors = predictors[0].out_channels
        self.predictor = nn.Conv2d(predictors[0].in_channels, sum(p.out_channels for p in predictors), 1)
        self.predictor.weight = _constant(torch.cat([p.weight for p in predictors]))
        self.predictor.bias = _constant(torch.cat([cast(Tensor, p.bias) for p in predictors]))

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        predictions = [self._predict(self.conv(feature)) for feature in features]
        return [p[:, : self.num_anchors] for p in predictions], [p[:, self.num_anchors :] for p in predictions]

    def _predict(self, x: Tensor) -> Tensor:
        """Predict in float32, whatever the type of the map is.

        With results of the eight bits of bfloat16, neighbouring anchors would score the same and large boxes would move
        by pixels, so that other proposals would be kept. A second product therefore finds what the first was rounded
        by: addmm subtracts before it rounds.
        """
        if x.dtype.itemsize > 2:
            return self.predictor(x)
        n, _, height, width = x.shape
        pixels, weight = x.permute(0, 2, 3, 1).flatten(0, 2), self.predictor.weight.flatten(1).T  # (N·H·W, C), (C, 5A)
        rounded = pixels @ weight
        missing = torch.addmm(rounded, pixels, weight, beta=-1)
        predicted = rounded.float() + missing.float() + cast(Tensor, self.predictor.bias).float()
        return predicted.view(n, height, width, -1).permute(0, 3, 1, 2)


class _PredictedClassMaskHead(BaseMaskRCNNHead):
    """`MaskRCNNConvUpsampleHead` that predicts the mask of each instance's own class and of no other.

    A transposed convolution of 2 × 2 with stride 2 mixes no pixels, so it is a matrix product, and its pixels are put
    in their places only when one channel is left of them.
    """

    def __init__(self, head: MaskRCNNConvUpsampleHead) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(getattr(head, name) for name in head.conv_names))
        self.deconv = nn.Linear(head.deconv.in_channels, 4 * head.deconv.out_channels)
        self.deconv.weight = _constant(head.deconv.weight.permute(2, 3, 1, 0).flatten(0, 2))  # (2·2·C', C)
        self.deconv.bias = _constant(cast(Tensor, head.deconv.bias).repeat(4))
        self.predictor = nn.Linear(head.predictor.in_channels, head.predictor.out_channels)
        self.predictor.weight = _constant(head.predictor.weight.flatten(1))  # (K, C')
        self.predictor.bias = _constant(cast(Tensor, head.predictor.bias))

    def forward(self, x: Tensor, instances: list[Instances]) -> list[Instances]:
        x = self.convs(x).permute(0, 2, 3, 1)  # (D, S, S, C)
        d, height, width, _ = x.shape
        x = F.relu_(self.deconv(x)).view(d, height * width * 4, self.predictor.in_features)  # (D, S·S·2·2, C')
        classes = torch.cat([i.pred_classes for i in instances])
        if len(self.predictor.weight) == 1:
            classes = torch.zeros_like(classes)
        weight, bias = self.predictor.weight[classes], self.predictor.bias[classes]
        logits = torch.bmm(x, weight[:, :, None])[..., 0] + bias[:, None]
        logits = logits.view(d, height, width, 2, 2).transpose(2, 3).reshape(d, 1, 2 * height, 2 * width)
        mask_rcnn_inference(logits, instances)
        return instances


class _FlattenChannelsLast(nn.Module):
    """Flatten (R, C, H, W) with the channels innermost, as they lie in memory."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def _flatten_channels_last(head: nn.Module, ordered: set[int]) -> None:
    """Order the inputs of a box head's first fully connected layer as a channels-last map has them."""
    if type(head) is not FastRCNNConvFCHead or not head.fc_names or not isinstance(head.flatten, nn.Flatten):
        return
    first: Any = getattr(head, head.fc_names[0])
    of_this = () if id(first.weight) in ordered else first.weight.data.split(_ROWS_AT_ONCE)
    ordered.add(id(first.weight))
    for rows in of_this:  # (D', C·S·S), to (D', S·S·C) where they are
        rows.copy_(rows.unflatten(1, (head.flattened_channels, -1)).transpose(1, 2).flatten(1))
    head.add_module("flatten", _FlattenChannelsLast())


def _constant(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().contiguous(), requires_grad=False)


def _reduce(model: nn.Module, dtype: torch.dtype) -> None:
    """Convert the parts that convolve or multiply matrices; what goes in is converted, what comes out is float32.

    The backbone's maps stay as they are; the heads read them, and pooling converts them itself.
    """
    for part in _dense_parts(model):
        part.to(dtype)
        back = None if part is getattr(model, "backbone", None) else torch.float32
        # Not as hooks, which torch.compile leaves out of the part's graph and compiles anew for each kind of value.
        name = "layers" if is_strided(part) and not is_called(part) else "forward"  # which its owner calls
        setattr(part, name, partial(_converted, getattr(part, name), dtype, back))


def _dense_parts(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that do a model's convolutions and matrix products, as their owners name them.

    One that names parts itself is passed over for those.
    """
    for owner in model.modules():
        for name in getattr(owner, "dense_parts", ("backbone",) if owner is model else ()):
            part = getattr(owner, name, None)
            if isinstance(part, nn.ModuleList):
                yield from part
            elif isinstance(part, nn.Module) and not hasattr(part, "dense_parts"):
                yield part


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_cast(v, dtype) for v in value)
    if isinstance(value, dict):
        return {k: _cast(v, dtype) for k, v in value.items()}
    return value


def _converted(
    forward: Callable[..., Any], dtype: torch.dtype, back: torch.dtype | None, *args: Any, **kwargs: Any
) -> Any:
    """Call ``forward`` with arguments in ``dtype``, and return what it returns in ``back``, or as it is."""
    answer = forward(*_cast(args, dtype), **kwargs)
    return answer if back is None else _cast(answer, back)
