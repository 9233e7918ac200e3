"""Load a state dict into a model, whole or not at all, with a report that names every difference."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .hints import backbone_differs, explain_misfit, group_keys, number_hints, parts_only_in

__all__ = ["LoadReport", "check_state_dict", "load_into", "refuse_optimized"]

# A model takes its pixel mean and deviation from the config, never from a file.
_FROM_CONFIG = ("pixel_mean", "pixel_std")
_COUNTER = "num_batches_tracked"
_SHAPES_SHOWN = 40
_ALIGNMENT = 64  # bytes, of all that torch allocates on a CPU: how sums are rounded may depend on it
_UNUSED_ENDINGS = (*_FROM_CONFIG, _COUNTER, "fed_loss_cls_weights")


@dataclass(frozen=True)
class LoadReport:
    """How a state dict and a model differ; empty where they agree.

    Differences that change no prediction are left out: pixel statistics, cell anchors, batch counters, and statistics
    that a frozen norm goes without.

    Attributes:
        missing: names that the model has and the state dict lacks.
        unexpected: names that the state dict has and the model lacks.
        mismatched: (name, shape in the state dict, shape in the model) where both have it with different shapes.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()


def refuse_optimized(model: nn.Module) -> None:
    """Refuse a model whose weights no longer have a checkpoint's names and values.

    Raises:
        CheckpointError: when ``litepred.optimize`` has worked on the model.
    """
    if getattr(model, "optimized", False):
        raise CheckpointError(
            "this model was optimized when its Predictor was made: norms are folded into its weights, which no longer "
            "have the names and values of a checkpoint. Pass the weights to Predictor(cfg, weights=…), or keep the "
            "model as it is with Predictor(cfg, exact=True), or use build_model(cfg)."
        )


def check_state_dict(state: Mapping[Any, Any], source: str) -> None:
    """Check that a mapping is a state dict; messages call it ``source``.

    Raises:
        CheckpointError: its keys are not names, or its values not dense tensors of real numbers.
    """
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{source} has a {type(value).__name__} by the name of {key!r}: expected tensors by name, as "
                "model.state_dict() has them. Of a whole checkpoint pass the part with the weights, such as "
                "checkpoint['model']; arrays become tensors by torch.from_numpy"
            )
        if value.is_complex() or value.is_quantized or value.is_meta or value.layout is not torch.strided:
            raise CheckpointError(
                f"{source} has as {key} a tensor of {value.dtype} and {value.layout} on {value.device}: expected dense "
                "tensors of real numbers; .dequantize() or .to_dense() makes them"
            )


def load_into(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    strict: bool = True,
    source: str = "the checkpoint",
    counts_follow: str = "",
    adopt: bool = False,
) -> LoadReport:
    """Copy a state dict into a model, cast to the model's types (float16 to float32), and return how they differ.

    Frozen norms without statistics in the state dict get mean 0 and variance 1, as Detectron2 gives them. A warning
    names the keys that the model does not use, and the setting that they hint at.

    Args:
        model: any module, on any device.
        state: name to tensor.
        strict: raise if a key is missing or mis-shaped, or if the backbones differ in depth, and leave the model as it
            is. Otherwise copy what fits and warn about the rest.
        source: what to call the state dict in messages.
        counts_follow: how a user of the caller asks for the checkpoint's numbers of classes, such as
            ``infer_num_classes=True``. The error names it where nothing but these numbers differs. It then leaves out
            the advice about ``strict``, which such a caller does not have.
        adopt: let the model keep tensors of ``state`` in place of its own, where nothing needs to be cast or moved, so
            that they are in memory once. The caller must not use ``state`` afterwards.

    Raises:
        CheckpointError: ``strict`` is true and the state dict does not fit, and the message says what likely happened;
            ``state`` is not a state dict of floating-point weights; or `Predictor` has optimized the model.
    """
    refuse_optimized(model)
    check_state_dict(state, source)
    known = model.state_dict(keep_vars=True) if adopt else model.state_dict()
    targets = {key: value for key, value in known.items() if isinstance(value, Tensor)}
    for key, target in targets.items():
        if key in state and key not in _FROM_CONFIG and target.dtype.is_floating_point > state[key].is_floating_point():
            raise CheckpointError(
                f"{source} has {state[key].dtype} as {key}, where the model has {target.dtype}: expected "
                "floating-point weights. Nothing was loaded; if they were quantized, export them before that"
            )
    defaults = {key: 0.0 if key.endswith("mean") else 1.0 for key in _frozen_statistics(model) if key not in state}
    optional = defaults.keys() | {key for key in targets if key in _FROM_CONFIG or key.endswith(_COUNTER)}
    report = LoadReport(
        missing=tuple(key for key in targets if key not in state and key not in optional),
        unexpected=tuple(key for key in state if key not in targets and not _is_unused(key)),
        mismatched=tuple(
            (key, tuple(state[key].shape), tuple(target.shape))
            for key, target in targets.items()
            if key in state and key not in optional and state[key].shape != target.shape
        ),
    )
    checkpoint_shapes = {key: tuple(value.shape) for key, value in state.items() if not _is_unused(key)}
    model_shapes = {key: tuple(value.shape) for key, value in targets.items()}
    misfit = warning = ""
    if report.missing or report.mismatched or backbone_differs(checkpoint_shapes, model_shapes):
        misfit = _describe(report, explain_misfit(checkpoint_shapes, model_shapes, report.missing))
    if misfit and strict:
        advice = "\nTo load what fits all the same, pass strict=False; expect wrong predictions then."
        if counts_follow:
            counts = number_hints(checkpoint_shapes, model_shapes)
            alone = counts and not report.missing and not backbone_differs(checkpoint_shapes, model_shapes)
            advice = f"\nTo take the number of classes from the checkpoint, pass {counts_follow}." if alone else ""
        raise CheckpointError(f"{source} does not fit the model; nothing was loaded.\n{misfit}{advice}")
    replaceable = {id(tensor) for tensor in itertools.chain(model.parameters(), model.buffers())} if adopt else set()
    adopted: set[int] = set()
    with torch.no_grad():
        for key, target in targets.items():
            if key in defaults:
                target.fill_(defaults[key])
            elif key in state and key not in _FROM_CONFIG and state[key].shape == target.shape:
                value = state[key].detach()
                if id(target) in replaceable and value.data_ptr() not in adopted and _can_replace(value, target):
                    target.data = value
                    adopted.add(value.data_ptr())
                else:
                    target.copy_(value)
    if misfit:
        warning = f"fits the model only in part: what fits was loaded, and predictions will be wrong.\n{misfit}"
    elif report.unexpected:
        settings = ", ".join(part.on for part in parts_only_in(report.unexpected, model_shapes))
        hint = f"; they hint at {settings}" if settings else ""
        keys = "\n  ".join(group_keys(report.unexpected))
        warning = f"has {len(report.unexpected)} keys that the model does not use{hint}:\n  {keys}"
    if warning:
        warnings.warn(f"{source} {warning}", UserWarning, stacklevel=2)
    return report


def _can_replace(value: Tensor, target: Tensor) -> bool:
    """Whether a tensor is like another and as well placed in memory as one that torch has made."""
    return (
        (value.dtype, value.device, value.stride()) == (target.dtype, target.device, target.stride())
        and value.nbytes == value.untyped_storage().nbytes()
        and value.data_ptr() % _ALIGNMENT == 0
    )


def _is_unused(key: str) -> bool:
    return key.endswith(_UNUSED_ENDINGS) or "anchor_generator.cell_anchors." in key


def _frozen_statistics(model: nn.Module) -> set[str]:
    """Return the names of the statistics of frozen norms, which are the norms whose scale is not a parameter."""
    names: set[str] = set()
    for prefix, module in model.named_modules(remove_duplicate=False):
        buffers = {name for name, _ in module.named_buffers(recurse=False)}
        if {"weight", "running_mean", "running_var"} <= buffers:
            names |= {f"{prefix}.{name}".lstrip(".") for name in ("running_mean", "running_var")}
    return names


def _describe(report: LoadReport, causes: list[str]) -> str:
    shapes = [f"{key}: checkpoint {file}, model {model}" for key, file, model in report.mismatched]
    if len(shapes) > _SHAPES_SHOWN:
        shapes[_SHAPES_SHOWN:] = [f"... and {len(shapes) - _SHAPES_SHOWN} more"]
    sections = {
        "What likely happened:": causes,
        f"Missing in the checkpoint ({len(report.missing)} keys):": group_keys(report.missing),
        f"Of another shape ({len(report.mismatched)} keys):": shapes,
        f"Not used by the model ({len(report.unexpected)} keys):": group_keys(report.unexpected),
    }
    return "\n".join("\n  ".join([title, *lines]) for title, lines in sections.items() if lines)
