"""Tell what a checkpoint is.

That is its format and author, the model that its weights belong to, its
classes, whether a trainer's state lies beside the weights, and the name and
shape of every tensor.

No code in the file is run, and only what is needed of it is read. For a file
that is cut short, hostile or no checkpoint at all, the command says so and ends
with status 1.

With --scan it lists what other programs would import for the file instead, and
imports nothing of it. The status is 1 where a name is not one of a checkpoint,
or the file cannot be read to its end.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import is_address
from .arguments import CommandParser, add
from .common import check_checkpoint, check_config, count_types, megabytes, print_json

if TYPE_CHECKING:
    from torch import Tensor


__all__ = ["EPILOG", "add_options", "run"]

EPILOG = """\
examples:
  litepred inspect model_final.pth
  litepred inspect COCO-Detection/retinanet_R_50_FPN_3x --json
  litepred inspect --scan downloaded.pkl"""

_FORMATS = {
    "safetensors": "safetensors",
    "torch": "PyTorch (zip)",
    "torch-legacy": "PyTorch (before 1.6)",
    "pickle": "pickle",
    "config": "config, without weights",
}
_TRAINING = ("iteration", "epoch", "trainer", "optimizer", "scheduler", "lr_scheduler", "grad_scaler", "ema_state")
_NAMES_SHOWN = 12
_NUMBER = re.compile(r"(?<=\.)[0-9]{1,9}(?![^.])")  # a part of a dotted name that is a number


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    told = "checkpoint or its address, or a config: a YAML file or a name in the zoo"
    add(parser, "file FILE", told)
    add(parser, "--scan", "list the names that loading it with pickle would import")
    add(parser, "--json", "print all of it as JSON, for programs to read")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    if arguments.scan:
        return _scan(arguments.file, arguments.json)
    facts = _facts(arguments.file)
    if arguments.json:
        print_json(facts)
        return 0
    _print([*_page(facts), "", *_modules(facts["keys"])])
    return 0


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print("".join(letter if letter.isprintable() else "?" for letter in line))  # names come from the file


def _scan(name: str, as_json: bool) -> int:
    check_checkpoint(name)
    from ..checkpoint.scanner import scan_checkpoint

    scan = scan_checkpoint(name)
    if as_json:
        facts = {"read": sorted(scan.read), "refused": sorted(scan.refused), "problems": scan.problems}
        print_json({"file": name, "format": scan.format, **facts})
    else:
        rows = [("refused", one) for one in sorted(scan.refused)] + [("problem", one) for one in scan.problems]
        rows += [("read as data", one) for one in sorted(scan.read)]
        _print([f"{name}: {_FORMATS[scan.format]}", *(f"  {title:<14}{text}" for title, text in rows)])
    return int(bool(scan.refused or scan.problems))


def _facts(name: str) -> dict[str, Any]:
    """Collect what ``--json`` prints."""
    if _is_config(name):
        check_config(name)
    else:
        check_checkpoint(name)
    from ..checkpoint import read_checkpoint
    from ..checkpoint.bundle import CLASS_NAMES, CONFIG, read_class_names

    if _is_config(name):
        from ..resolve import named_config

        cfg = named_config(name)
        from ..modeling.build import build_skeleton

        return {"file": name, "format": "config", **_weight_facts(build_skeleton(cfg).state_dict())}
    checkpoint = read_checkpoint(name, numbers=False)
    entries = {str(key): value for key, value in checkpoint.extra.items()}
    entries.pop("__author__", None)
    return {
        "file": name,
        "format": checkpoint.format,
        "size_bytes": os.path.getsize(checkpoint.name),
        "author": checkpoint.author or None,
        "config": checkpoint.header.get(CONFIG),
        "class_names": read_class_names(checkpoint),
        "training_state": {key: _value(entries.pop(key)) for key in _TRAINING if key in entries},
        "other_entries": {key: _value(value) for key, value in entries.items() if key not in (CONFIG, CLASS_NAMES)},
        **_weight_facts(checkpoint.model),
    }


def _is_config(name: str) -> bool:
    """Tell configs from checkpoints: YAML files, and models of the zoo, whose names have no ending."""
    suffix = Path(name.partition("?")[0]).suffix
    return not is_address(name) and (suffix in (".yaml", ".yml") or not (suffix or os.path.exists(name)))


def _value(value: object) -> str | float:
    """Return a number, the beginning of a text, or the name of another type."""
    if isinstance(value, (int, float)):
        return value
    return value[:60] if isinstance(value, str) else type(value).__name__


def _weight_facts(state: Mapping[str, Tensor]) -> dict[str, Any]:
    from ..checkpoint.naming import from_torchvision
    from .architecture import recognise

    return {
        "model": asdict(recognise({key: tuple(value.shape) for key, value in from_torchvision(state).items()})),
        "tensors": len(state),
        "values": sum(value.numel() for value in state.values()),
        "types": count_types(state.values()),
        "keys": {
            key: {"shape": list(value.shape), "type": str(value.dtype).removeprefix("torch.")}
            for key, value in state.items()
        },
    }


def _page(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about the file as a whole."""
    model, names = facts["model"], facts.get("class_names") or []
    title = f"{facts['file']}: {_FORMATS[facts['format']]}"
    if "size_bytes" in facts:
        title += f", {megabytes(facts['size_bytes'])}"
    if facts.get("author"):
        title += f", by {facts['author']}"
    yield title
    types = ", ".join(f"{number} {name}" for name, number in facts["types"].items())
    name, architecture = model["name"] or "not recognised by its names", model["meta_architecture"]
    rows = {
        "model": f"{name} (MODEL.META_ARCHITECTURE {architecture})" if architecture else name,
        "backbone": model["backbone"],
        **model["heads"],
        "classes": ", ".join(f"{number} {kind}" for kind, number in model["classes"].items()),
        "names": ", ".join([*names[:_NAMES_SHOWN], "…"] if len(names) > _NAMES_SHOWN else names),
        "config": facts.get("config") and f"inside: --config {facts['file']} needs nothing else",
        "training": _listed(facts.get("training_state", {})),
        "also": _listed(facts.get("other_entries", {})),
        "tensors": f"{facts['tensors']} ({types}), {facts['values']:,} values",
    }
    yield from (f"  {title:<11}{text}" for title, text in rows.items() if text)


def _listed(entries: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} ({value})" for key, value in entries.items())


def _modules(keys: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each module and its tensors; modules that differ only in a number share one."""
    modules: dict[str, dict[str, list[str]]] = {}
    for key in sorted(keys, key=_order):
        module, _, leaf = key.rpartition(".")
        shape = f"({', '.join(map(str, keys[key]['shape']))})"
        modules.setdefault(module, {}).setdefault(shape, []).append(leaf)
    alike: dict[tuple[str, str], list[int]] = {}
    for module, leaves in modules.items():
        number = _NUMBER.search(module)
        pattern = module if number is None else f"{module[: number.start()]}{{}}{module[number.end() :]}"
        text = "  ".join(f"{', '.join(names)} {shape}" for shape, names in leaves.items())
        alike.setdefault((pattern, text), []).append(int(number[0]) if number else 0)
    names = [pattern.replace("{}", _ranges(numbers)) for (pattern, _), numbers in alike.items()]
    width = min(max(map(len, names)), 60)
    yield from (f"{name:<{width}}  {text}" for name, (_, text) in zip(names, alike))


def _order(key: str) -> tuple[list[tuple[int, str]], bool, bool, str]:
    """Return a sort key: by module, whose numbers count as numbers, with its weight and its bias first."""
    module, _, leaf = key.rpartition(".")
    parts = [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"([0-9]{1,9})", module)]
    return parts, leaf != "weight", leaf != "bias", leaf


def _ranges(numbers: list[int]) -> str:
    """Write ascending numbers as ``{0-2, 5}``, or a single one as it is."""
    distances = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])  # which are the same in a run
    runs = [[number for _, number in run] for _, run in distances]
    texts = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return texts if len(numbers) == 1 else f"{{{texts}}}"
