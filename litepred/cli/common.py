"""What the commands share: how they read their arguments, the model that they run, and small things to print."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LitepredError

if TYPE_CHECKING:
    from torch import Tensor
    from tqdm import tqdm

    from ..predictor import Predictor

__all__ = [
    "CommandParser",
    "add_model_arguments",
    "check_output",
    "count_types",
    "make_predictor",
    "megabytes",
    "positive",
    "progress_bar",
]


class CommandParser(argparse.ArgumentParser):
    """The parser of a command. It answers an unknown option with the command's own usage and the nearest option."""

    def __init__(self, **options: Any) -> None:
        if "\n" in (options.get("description") or ""):  # it has line ends of its own, which argparse would undo
            options["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Read the arguments, and end with an error where some are left over, instead of leaving them to `main`."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = difflib.get_close_matches(unknown[0].partition("=")[0], self._option_string_actions, n=1)
            advice = f", did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{advice}")
        return found, unknown


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
        help="config of the model, a file of litepred convert, or a name in the zoo; default: the document-page model",
    )
    model.add_argument("--weights", metavar="FILE", help="checkpoint, instead of the config's MODEL.WEIGHTS")
    model.add_argument("--device", help="cpu, cuda or the like, instead of the config's MODEL.DEVICE")
    if ways:
        model.add_argument(
            "--engine",
            choices=("torch", "onnxruntime", "openvino"),
            help="what runs the model; default: torch, and onnxruntime for a file of litepred export",
        )
        model.add_argument(
            "--precision",
            choices=("float32", "bfloat16", "float16"),
            default="float32",
            help="precision of convolutions: less is faster on hardware that has it; default: %(default)s",
        )
        model.add_argument(
            "--tta", action="store_true", help="test-time augmentation by the config's TEST.AUG: better, but far slower"
        )
    return model


def make_predictor(arguments: argparse.Namespace, **options: Any) -> Predictor:
    """Load the model that the options of `add_model_arguments` choose; ``options`` are passed on to `Predictor`."""
    from ..predictor import Predictor

    chosen = vars(arguments)
    ways = {name: chosen[name] for name in ("precision", "engine", "tta") if name in chosen}
    return Predictor(arguments.config, weights=arguments.weights, device=arguments.device, **ways, **options)


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
