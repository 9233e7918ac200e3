"""What the commands share: the model that they run, the files that they read and write, and what they print."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import LitepredError
from ..extensions import model_file_reader
from ..files import as_stored, check_writable, is_address
from .arguments import CommandParser, add

if TYPE_CHECKING:
    from torch import Tensor
    from tqdm import tqdm

    from ..data import Metadata
    from ..predictor import Predictor

__all__ = [
    "WAYS",
    "add_class_names",
    "add_model_arguments",
    "check_checkpoint",
    "check_config",
    "check_file",
    "check_model_arguments",
    "check_output",
    "class_names",
    "count_types",
    "fitting_metadata",
    "is_exported",
    "make_predictor",
    "megabytes",
    "opencv_failure",
    "print_json",
    "progress_bar",
    "say",
    "table",
    "told_now_and_then",
    "ways",
]

T = TypeVar("T")
_LINES_EVERY_S = 10.0
WAYS: dict[str, dict[str, Any]] = {  # of making a predictor: a name, and what `Predictor` takes
    "exact": {"exact": True},
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "compiled": {"compile": True},
    "compiled-bfloat16": {"compile": True, "precision": "bfloat16"},
    "onnxruntime": {"engine": "onnxruntime"},
    "openvino": {"engine": "openvino"},
    "openvino-bfloat16": {"engine": "openvino", "precision": "bfloat16"},
}


def say(text: object) -> None:
    """Write a line of litepred's own on standard error."""
    print(f"litepred: {text}", file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print what ``--json`` asks for; a number that is none (NaN) becomes null, since JSON lacks it."""

    def plain(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: plain(item) for key, item in one.items()}
        if isinstance(one, list):
            return [plain(item) for item in one]
        return None if isinstance(one, float) and math.isnan(one) else one

    print(json.dumps(plain(value), indent=2))


def table(rows: Sequence[Sequence[str]], right: bool = False) -> Iterator[str]:
    """Yield the lines of a table: its first column is flush left, and so are the others, unless ``right`` is given."""
    widths = [max(map(len, column)) for column in zip(*rows)]  # none, where there are no rows
    for first, *cells in rows:
        padded = [f"{cell:>{width}}" if right else f"{cell:<{width}}" for cell, width in zip(cells, widths[1:])]
        yield "  ".join([f"{first:<{widths[0]}}", *padded]).rstrip()


def add_model_arguments(parser: CommandParser, *, ways: bool = True) -> argparse._ArgumentGroup:
    """Add the options that choose a model, for `make_predictor`; return their group.

    Args:
        parser: of a command.
        ways: whether the command has the options ``--engine``, ``--precision`` and ``--tta``.
    """
    model = parser.add_argument_group("the model")
    told = "config of the model, a file of litepred convert, a name in the zoo, or hf://owner/repository on the hub"
    add(model, "--config YAML", f"{told}; default: the document-page model")
    add(model, "--weights FILE", "checkpoint, instead of the config's MODEL.WEIGHTS")
    add_class_names(model)
    add(model, "--device DEVICE", "cpu, cuda or the like, instead of the config's MODEL.DEVICE")
    if ways:
        told = "what runs the model; default: torch, and onnxruntime for a file of litepred export"
        add(model, "--engine torch|onnxruntime|openvino", told)
        told = "precision of convolutions: less is faster on hardware that has it, auto takes the fastest"
        add(model, "--precision float32|bfloat16|float16|auto", told, default="float32")
        add(model, "--tta", "test-time augmentation by the config's TEST.AUG: better, but far slower")
    return model


def add_class_names(group: argparse._ActionsContainer) -> None:
    """Add the options on the classes of a model."""
    add(
        group,
        "--class-names NAMES",
        "the model's classes in order: a,b,c, or a text file with a name a line, or the COCO JSON that it was "
        "trained on; default: what comes with the model, else the names of the config's data set, if it is well known",
    )
    add(group, "--infer-num-classes", "take the number of classes from the checkpoint")


def ways(text: str) -> list[str]:
    """Read names of `WAYS` with commas between them."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in WAYS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no way of running a model: expected {', '.join(WAYS)}")
    return names


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
        if re.search("[\ud800-\udfff]", given):
            raise LitepredError(f"--class-names {given!r} cannot be read: expected text in UTF-8")
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
            f"--class-names {given!r} cannot be read: expected UTF-8 text, a name a line, or JSON with 'categories'"
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


def is_exported(config: str | None) -> bool:
    """Tell whether a model is a file of ``litepred export``."""
    return config is not None and model_file_reader(config) is not None


def make_predictor(arguments: argparse.Namespace, **options: Any) -> Predictor:
    """Load the model that the options of `add_model_arguments` choose.

    Args:
        arguments: those of the command.
        options: of `Predictor`, with its config as ``config``; they replace those of the same names in ``arguments``.
    """
    from ..predictor import Predictor

    names = ("config", "weights", "device", "precision", "engine", "tta", "infer_num_classes")
    choice = {name: value for name, value in vars(arguments).items() if name in names}
    choice = {**choice, "class_names": class_names(arguments.class_names), **options}
    config = choice.pop("config")
    if choice.get("engine") not in (None, "torch") and not is_exported(config):
        say(f"the model is exported for {choice['engine']} first, which takes a while; litepred export keeps the file")
    return Predictor(config, **choice)


def fitting_metadata(predictor: Predictor) -> Metadata:
    """Return a predictor's metadata, without the ids of a data set that has another number of classes than the model.

    There is a name for each of the model's classes then.
    """
    from ..data import Metadata, class_name, dataset_ids
    from ..resolve import class_kind

    metadata, (kind, number) = predictor.metadata, class_kind(predictor.cfg)
    ids, names = dataset_ids(metadata), metadata.get("thing_classes") or ()
    is_joint = len(names) > len(ids)  # where things and stuff are numbered together, names are of both
    stuff, stuff_number = dataset_ids(metadata, "stuff"), predictor.cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    lacks_stuff = bool(stuff) and "Panoptic" in predictor.cfg.MODEL.META_ARCHITECTURE
    lacks_stuff = lacks_stuff and not {*range(1, stuff_number)} <= stuff.keys()  # 0 stands for all things
    if kind != "thing_classes" or not ids or is_joint or (ids.keys() == {*range(number)} and not lacks_stuff):
        return metadata
    facts = {key: fact for key, fact in metadata.as_dict().items() if not key.endswith("_dataset_id_to_contiguous_id")}
    return Metadata(**{**facts, "thing_classes": [class_name(metadata, label) for label in range(number)]})


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
        other = "; litepred export writes ONNX files" if target.suffix == ".onnx" else ""
        if ".onnx" in suffixes and target.suffix in (".pth", ".pkl", ".safetensors"):
            other = "; litepred convert writes checkpoints"
        raise LitepredError(f"{name} is {str(target)!r}: expected a name that ends in {', '.join(suffixes)}{other}")
    if not target.parent.is_dir():
        raise LitepredError(f"{name} is {str(target)!r}, but there is no folder {str(target.parent)!r}: make it first")
    if target.exists() and not (force and target.is_file()):
        advice = "choose another name" + (", or replace it with --force" if target.is_file() else "")
        raise LitepredError(f"{name} is {str(target)!r}, which is there already: {advice}")
    check_writable(target)


def count_types(tensors: Iterable[Tensor]) -> dict[str, int]:
    """Return how many tensors there are of each element type, such as ``float32``, the most frequent first."""
    return dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors).most_common())


def megabytes(size: int) -> str:
    """Write a number of bytes as ``1.2 MB``."""
    return f"{size / 1e6:,.1f} MB"


def opencv_failure(error: ImportError) -> str:
    """Say what to do about an error that came of importing OpenCV; nothing about others."""
    frames = (frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__))
    if error.name != "cv2" and "cv2" not in frames:
        return ""
    return (
        f"OpenCV cannot be loaded ({error!s:.200}): install the libraries of the system that it needs (apt-get install "
        "libgl1 libglib2.0-0), or pip install opencv-python-headless in the place of opencv-python"
    )


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
            say(f"[{number}/{total}] {last - start:.0f} s, {left_s:.0f} s left")
