"""What the commands share: how they read their arguments, the model that they run, and small things to print."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import LitepredError
from ..files import as_stored, is_address

if TYPE_CHECKING:
    from torch import Tensor
    from tqdm import tqdm

    from ..predictor import Predictor

__all__ = [
    "CommandParser",
    "add_class_names",
    "add_model_arguments",
    "add_old_name",
    "check_checkpoint",
    "check_config",
    "check_file",
    "check_model_arguments",
    "check_output",
    "class_names",
    "count_types",
    "make_predictor",
    "megabytes",
    "positive",
    "progress_bar",
    "told_now_and_then",
]

T = TypeVar("T")
_LINES_EVERY_S = 10.0


class CommandParser(argparse.ArgumentParser):
    """The parser of a command. It answers an unknown option with the command's own usage and the nearest option."""

    def __init__(self, **options: Any) -> None:
        if "\n" in (options.get("description") or ""):  # it has line ends of its own, which argparse would undo
            options["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Read the arguments, and end with an error where some are left over, instead of leaving them to `main`."""
        found, unknown = super().parse_known_args(args, namespace)
        several = next((one for one in self._get_positional_actions() if one.nargs == "*"), None)
        if several and not any(one.startswith("-") and one != "--" for one in unknown):  # they stood behind an option
            behind = [one for one in unknown if one != "--"]
            setattr(found, several.dest, [*(getattr(found, several.dest) or ()), *behind])
            unknown = []
        if unknown:
            given, actions = unknown[0].partition("=")[0], self._option_string_actions
            known = [name for name in actions if actions[name].help is not argparse.SUPPRESS]
            near = difflib.get_close_matches(given, known, n=1)
            if len(given) == 2 and given[0] == "-":  # a letter, for which other programs have -o
                near = near or [name for name in known if name.startswith(f"-{given}")]
            advice = f", did you mean {' or '.join(near)}?" if near else ""
            if os.path.exists(unknown[0]):
                advice = f"; a file of that name comes as ./{unknown[0]}, or behind --"
            if re.fullmatch("--?(i|s|images?|input|source|files?|path)", given):
                plain = [action.metavar for action in self._get_positional_actions() if action.metavar == "IMAGE"]
                advice = "; images come without an option, as in photo.jpg" if plain else advice
            self.error(f"unrecognized arguments: {' '.join(unknown)}{advice}")
        return found, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the nearest command for a wrong one; what is an image goes to predict."""
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            near = difflib.get_close_matches(value, action.choices, n=1)
            advice = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(action.choices)}"
            if value == "help":
                advice = "did you mean --help?"
            if os.path.exists(value) and "predict" in action.choices:
                advice = f"did you mean litepred predict {value}?"
            self.error(f"{value!r} is no {str(action.metavar).lower()}: {advice}")
        super()._check_value(action, value)


def add_old_name(group: argparse._ActionsContainer, old: str, new: argparse.Action) -> None:
    """Let an option's former name go on working for one release, with a warning."""

    class Renamed(argparse.Action):
        def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
            told = f"{old} is called {new.option_strings[0]} now, and the old name goes with the next release"
            print(f"litepred: warning: {told}", file=sys.stderr)
            new(parser, namespace, values, option_string)

    kept: dict[str, Any] = {"nargs": new.nargs, "type": new.type, "choices": new.choices, "dest": new.dest}
    group.add_argument(old, action=Renamed, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **kept)


def positive(text: str) -> int:
    """Read a whole number above 0 from the command line."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} came: expected a whole number, 1 or more")
    return value


def add_model_arguments(parser: CommandParser, *, ways: bool = True) -> argparse._ArgumentGroup:
    """Add the options that choose a model, for `make_predictor`; return their group.

    Args:
        parser: of a command.
        ways: whether the command has the options ``--engine``, ``--precision`` and ``--tta``.
    """
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--config",
        metavar="YAML",
        help="config of the model, a file of litepred convert, a name in the zoo, or hf://owner/repository on the hub; "
        "default: the document-page model",
    )
    model.add_argument("--weights", metavar="FILE", help="checkpoint, instead of the config's MODEL.WEIGHTS")
    add_class_names(model)
    model.add_argument("--device", help="cpu, cuda or the like, instead of the config's MODEL.DEVICE")
    if ways:
        model.add_argument(
            "--engine",
            choices=("torch", "onnxruntime", "openvino"),
            help="what runs the model; default: torch, and onnxruntime for a file of litepred export",
        )
        model.add_argument(
            "--precision",
            choices=("float32", "bfloat16", "float16", "auto"),
            default="float32",
            help="precision of convolutions: less is faster on hardware that has it, auto takes the fastest; default: "
            "%(default)s",
        )
        model.add_argument(
            "--tta", action="store_true", help="test-time augmentation by the config's TEST.AUG: better, but far slower"
        )
    return model


def add_class_names(group: argparse._ActionsContainer) -> None:
    """Add the options on the classes of a model."""
    group.add_argument(
        "--class-names",
        metavar="NAMES",
        help="the model's classes in order: a,b,c, or a text file with a name a line, or the COCO JSON that it was "
        "trained on; default: what comes with the model, else the names of the config's data set, if it is well known",
    )
    group.add_argument(
        "--infer-num-classes", action="store_true", help="take the number of classes from the checkpoint"
    )


def class_names(given: str | None) -> list[str] | None:
    """Return the names that ``--class-names`` lists, or that are in its file.

    Raises:
        LitepredError: the file cannot be read, or has no names in it.
    """
    if given is None:
        return None
    given = as_stored(given)
    if not os.path.isfile(given):
        if given.lower().endswith((".txt", ".json", ".names")):
            check_file("--class-names", given)
        return [name.strip() for name in given.split(",")]
    try:
        text = Path(given).read_text(encoding="utf-8-sig")
        if not text.lstrip().startswith(("{", "[")):
            return [line.strip() for line in text.splitlines() if line.strip()]
        content = json.loads(text)
        if isinstance(content, dict):  # Detectron2 numbers classes in the order of COCO's ids
            content = [row["name"] for row in sorted(content["categories"], key=lambda row: row["id"])]
        return [str(name) for name in content]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LitepredError(
            f"--class-names {given!r} cannot be read: expected text, a name a line, or JSON with COCO's 'categories'"
        ) from error


def check_file(name: str, path: str | None) -> None:
    """Check, before any work is done, that a file is there which an option gives.

    Raises:
        LitepredError: it is not.
    """
    if path is not None and not os.path.exists(path):
        raise LitepredError(f"{name} is {path!r}, but there is no such file; the working folder is {os.getcwd()!r}")


def check_checkpoint(name: str) -> None:
    """Check, before torch is imported, that a checkpoint is there, unless its address is given.

    Raises:
        LitepredError: it is not.
    """
    if not is_address(name) and not os.path.exists(name) and not os.path.exists(name.partition("?")[0]):
        raise LitepredError(f"there is no checkpoint file {name}: the working folder is {os.getcwd()!r}")


def check_config(name: str) -> None:
    """Check, before torch is imported, that a config is a file or in the zoo.

    Raises:
        ConfigError: it is neither.
    """
    from .. import extensions, model_zoo

    if not os.path.exists(name) and not extensions.is_announced(name) and not model_zoo.is_known(name):
        raise model_zoo.missing_config(name)


def check_model_arguments(arguments: argparse.Namespace) -> None:
    """Check what can be checked of the options of `add_model_arguments` without importing torch, which takes seconds.

    Raises:
        LitepredError: a file is missing.
    """
    if arguments.config is not None:
        arguments.config = as_stored(arguments.config)
        check_config(arguments.config)
    if arguments.weights is not None:
        arguments.weights = as_stored(arguments.weights)
        check_checkpoint(arguments.weights)
    class_names(vars(arguments).get("class_names"))


def make_predictor(arguments: argparse.Namespace, **options: Any) -> Predictor:
    """Load the model that the options of `add_model_arguments` choose; ``options`` are passed on to `Predictor`."""
    from ..predictor import Predictor

    chosen = vars(arguments)
    names = ("device", "precision", "engine", "tta", "infer_num_classes")
    ways: dict[str, Any] = {name: chosen[name] for name in names if name in chosen}
    ways["class_names"] = class_names(arguments.class_names)
    return Predictor(arguments.config, weights=arguments.weights, **{**ways, **options})


def check_output(name: str, target: Path, suffixes: Sequence[str], force: bool) -> None:
    """Check, before any work is done, that a command may write its one file.

    Args:
        name: what the command's help calls the file.
        target: the file.
        suffixes: the endings that it may have.
        force: whether it may replace a file.

    Raises:
        LitepredError: it may not, or cannot.
    """
    if target.suffix not in suffixes:
        raise LitepredError(f"{name} is {str(target)!r}: expected a name that ends in {', '.join(suffixes)}")
    if not target.parent.is_dir():
        raise LitepredError(f"{name} is {str(target)!r}, but there is no folder {str(target.parent)!r}: make it first")
    if target.exists() and not (force and target.is_file()):
        advice = "choose another name" + (", or replace it with --force" if target.is_file() else "")
        raise LitepredError(f"{name} is {str(target)!r}, which is there already: {advice}")


def count_types(tensors: Iterable[Tensor]) -> dict[str, int]:
    """Return how many tensors there are of each element type, such as ``float32``, the most frequent first."""
    return dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors).most_common())


def megabytes(size: int) -> str:
    """Write a number of bytes as ``1.2 MB``."""
    return f"{size / 1e6:,.1f} MB"


def progress_bar(total: int | None, unit: str) -> tqdm:
    """Return a progress bar with rate and time left, on standard error, shown only where that is a terminal."""
    from tqdm import tqdm

    hidden = not sys.stderr.isatty()
    return tqdm(total=total, unit=unit, file=sys.stderr, disable=hidden, dynamic_ncols=True, smoothing=0.1)


def told_now_and_then(items: Iterable[T], total: int) -> Iterator[T]:
    """Pass items on, and every 10 seconds write a line ``[7/60]`` on standard error, unless it is a terminal."""
    start = last = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        if not sys.stderr.isatty() and time.monotonic() - last >= _LINES_EVERY_S:
            last = time.monotonic()
            left_s = (last - start) / number * (total - number)
            print(f"litepred: [{number}/{total}] {last - start:.0f} s, {left_s:.0f} s left", file=sys.stderr)
