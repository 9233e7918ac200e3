"""Write a checkpoint anew, in the format that the ending of OUT names.

  .safetensors  One file with weights, config and class names, which is all that
                Predictor("model.safetensors") needs. It can hold no code.
  .pth, .pkl    The weights as Detectron2 loads them, without a trainer's state.

IN is a checkpoint of any kind that litepred reads, the address of one, or the
name of a model of the zoo. With a config, the weights must fit its model.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CheckpointError, ConfigError, LitepredError
from ..files import check_targets, is_address
from .arguments import CommandParser, add
from .common import (
    add_class_names,
    check_checkpoint,
    check_config,
    check_model_arguments,
    check_output,
    class_names,
    count_types,
    megabytes,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ..checkpoint import Checkpoint
    from ..config import CfgNode

__all__ = ["EPILOG", "add_conversion", "add_options", "run"]

EPILOG = """\
examples:
  litepred convert model_final.pth model.safetensors --config config.yaml
  litepred convert COCO-Detection/retinanet_R_50_FPN_3x retinanet.safetensors
  litepred convert model.safetensors model_final.pth"""


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    written = add_conversion(parser, "target OUT", "file to write, whole or not at all")
    add(written, "--force", "replace OUT if it is there")


def add_conversion(parser: CommandParser, target: str, told: str) -> argparse._ArgumentGroup:
    """Add the checkpoint, its model and where it goes, as `add` declares that; return the group of what is written."""
    add(parser, "source IN", "checkpoint to read")
    add(parser, target, told)
    model = parser.add_argument_group("the model")
    add(model, "--config YAML", "config of the model, or its name in the zoo; default: what comes with IN")
    add_class_names(model)
    written = parser.add_argument_group("what is written")
    add(written, "--half", "store in float16: half the size, and slightly rounded")
    return written


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    target = Path(arguments.target)
    check_output("OUT", target, (".pth", ".pkl", ".safetensors"), arguments.force)
    arguments.weights = None
    check_model_arguments(arguments)
    source, cfg = _source(arguments.source)
    from ..checkpoint import load_into, named_for, read_checkpoint
    from ..checkpoint.bundle import CONFIG, bundle_texts
    from ..checkpoint.naming import HEURISTICS
    from ..checkpoint.writers import write_checkpoint
    from ..modeling.build import build_skeleton
    from ..resolve import set_class_counts

    if arguments.class_names is not None and target.suffix != ".safetensors":
        raise LitepredError(f"a {target.suffix} file has no place for class names: leave --class-names out")
    checkpoint = read_checkpoint(source)
    check_targets([checkpoint.name], [target])
    cfg = _config(arguments.config, checkpoint) or cfg
    state = checkpoint.model
    entries: dict[str, str | bool] = {"__author__": "litepred"}
    if cfg is not None:
        if arguments.infer_num_classes:
            set_class_counts(cfg, checkpoint)
        model = build_skeleton(cfg)
        state = named_for(model, checkpoint)
        load_into(model, state, source=source, counts_follow="--infer-num-classes")
    elif checkpoint.matching_heuristics:
        entries[HEURISTICS] = True  # their full names are not known without a model
    if arguments.half:
        state = {key: _half(key, value) for key, value in state.items()}
    names, header = None, {}
    if target.suffix == ".safetensors":
        names = _class_names(arguments.class_names, checkpoint, cfg)
        header = bundle_texts(None if cfg is None else _portable(cfg), names)
    write_checkpoint(target, state, entries, header)
    types = ", ".join(f"{number} {name}" for name, number in count_types(state.values()).items())
    told = [f"{target}: {megabytes(target.stat().st_size)}", f"{len(state)} tensors ({types})"]
    inside = []
    if CONFIG in header:
        inside.append("the config")
    if names:
        inside.append(f"{len(names)} class names")
    if inside:
        told.append(f"with {' and '.join(inside)}")
    if target.suffix == ".safetensors" and CONFIG not in header:
        told.append("no config in it")
    print(", ".join(told))
    return 0


def _source(name: str) -> tuple[str, CfgNode | None]:
    """Return the checkpoint's path or address, and the config that a model of the zoo or of the hub brings along."""
    from .. import extensions

    if (place := extensions.model_place(name)) is not None:
        from ..resolve import named_config

        cfg = named_config(place.config) if place.config and place.weights else None
        return place.weights or place.config or name, cfg
    if is_address(name) or os.path.exists(name) or Path(name.partition("?")[0]).suffix not in ("", ".yaml"):
        check_checkpoint(name)
        return name, None
    check_config(name)
    from ..resolve import named_config

    cfg = named_config(name, trained=True)
    return cfg.MODEL.WEIGHTS, cfg


def _config(given: str | None, checkpoint: Checkpoint) -> CfgNode | None:
    """Read the config that is given, else the one in the checkpoint; torchvision's models have one each."""
    from ..checkpoint.naming import is_torchvision
    from ..resolve import embedded_config, named_config, torchvision_config

    if given is not None:
        return named_config(given)
    embedded = embedded_config(checkpoint)
    if embedded is None and is_torchvision(checkpoint.model):
        return torchvision_config(checkpoint.model)
    return embedded


def _half(key: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    half = value.half()
    if not half.isinf().equal(value.isinf()):
        raise CheckpointError(
            f"{key} has the value {value.abs().max():g}, but float16 ends at 65504: convert without --half"
        )
    return half


def _class_names(given: str | None, checkpoint: Checkpoint, cfg: CfgNode | None) -> list[str] | None:
    from ..checkpoint.bundle import read_class_names
    from ..resolve import class_kind, class_metadata, known_names

    names = read_class_names(checkpoint) if given is None else class_names(given)
    if cfg is None or cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork":
        return names
    number = class_kind(cfg)[1]
    if names is not None and len(names) != number:
        raise ConfigError(
            f"there are {len(names)} class names ({', '.join(names)[:60]}), but the config's model has {number} "
            "classes: pass a name for each with --class-names"
        )
    return known_names(cfg, class_metadata(cfg, None)) if names is None else names


def _portable(cfg: CfgNode) -> str:
    """Write a config as YAML, without the path that the weights had on this machine."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = ""
    return cfg.dump()
