"""Measure how fast a model is on this machine and image.

Each way of making the predictor is made ready and tried once; then they take
turns, and the table shows medians in seconds:

  ready   make the predictor from its files, compilation included
  first   predict for the first time
  read    read the image file
  resize  resize the image to what the model takes
  model   run the model, up to answers in the image's own size
  total   read, resize and model together
  ratio   how many times faster than the first row
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, LitepredError
from ..files import check_targets
from .arguments import CommandParser, add, add_old_name, positive, target
from .common import WAYS, add_model_arguments, check_model_arguments, is_exported, make_predictor, say, table, ways
from .doctor import chosen as chosen_layers
from .inputs import images_or_page, missing_file

if TYPE_CHECKING:
    from ..predictor import Predictor

__all__ = ["EPILOG", "add_options", "run"]

EPILOG = """\
examples:
  litepred benchmark photo.jpg
  litepred benchmark --config config.yaml --weights model_final.pth photo.jpg
  litepred benchmark --ways exact,float32,bfloat16,openvino --table speed.csv"""
_COLUMNS = ("ready", "first", "read", "resize", "model", "total", "ratio")


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    add(parser, "image IMAGE", "image file; default: the example page", nargs="?")
    add_model_arguments(parser, ways=False)
    how = parser.add_argument_group("how it is measured")
    told = "default: exact,float32, and onnxruntime for a file of litepred export"
    add(
        how,
        "--ways WAYS",
        f"ways of making the predictor: a,b,c of {', '.join(WAYS)}; {told}",
        type=ways,
        action="extend",
    )
    add(how, "--runs N", "measurements of each way", type=positive, default=5)
    add(how, "--threads N", "threads of the processor to use; default: one per core", type=positive)
    written = parser.add_argument_group("what is written")
    add_old_name(written, "--csv", add(written, "--table FILE", "write the table to this CSV file, too", type=target))


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    if arguments.image in WAYS:
        raise LitepredError(f"{arguments.image!r} came as the image: what --ways takes has commas between, as in a,b")
    (name,) = images_or_page([arguments.image] if arguments.image else [])
    if not os.path.exists(name):
        raise missing_file(name)
    from .. import __version__
    from ..data.images import image_size

    path = Path(name)
    image_size(path)  # which tells of a wrong one before the model is loaded
    check_model_arguments(arguments)
    chosen = arguments.ways or (["onnxruntime"] if is_exported(arguments.config) else ["exact", "float32"])
    if arguments.table:
        check_targets([path], [arguments.table])
        if not arguments.table.parent.is_dir():
            raise LitepredError(f"--table is {str(arguments.table)!r}, but there is no such folder: make it first")
    import torch

    from ..results import csv_table

    predictors: dict[str, Predictor] = {}
    measured: dict[str, dict[str, list[float]]] = {}
    for way in dict.fromkeys(chosen):
        start = time.perf_counter()
        predictor = make_predictor(arguments, threads=arguments.threads, **WAYS[way])
        ready_s = time.perf_counter() - start
        if predictor.precision == WAYS[way].get("precision", "float32"):  # else a warning has said why
            predictors[way] = predictor
            measured[way] = {"ready": [ready_s], "first": [_measure(predictor, path)["total"]]}
    if not predictors:
        raise ConfigError(f"none of {', '.join(chosen)} is fast on this device: add exact or float32 to --ways")
    for _ in range(arguments.runs):
        for way, predictor in predictors.items():
            for part, elapsed_s in _measure(predictor, path).items():
                measured[way].setdefault(part, []).append(elapsed_s)

    medians = {
        way: {part: statistics.median(values) for part, values in parts.items()} for way, parts in measured.items()
    }
    reference = next(iter(medians.values()))["total"]
    for parts in medians.values():
        parts["ratio"] = reference / parts["total"]
    processor = torch.backends.cpu.get_cpu_capability()
    predictor = next(iter(predictors.values()))
    height, width = predictor.read(path).shape[:2]
    device = predictor.cfg.MODEL.DEVICE
    print(
        f"litepred {__version__}, torch {torch.__version__}; {device}, {torch.get_num_threads()} threads, {processor}; "
        f"{path.name}, {width} × {height} pixels"
    )
    rows = [[way, *(f"{parts[column]:.3f}" for column in _COLUMNS)] for way, parts in medians.items()]
    print("\n".join(table([["", *_COLUMNS], *rows], right=True)))
    for layer, told in chosen_layers():
        print(f"{layer:<18} {told}")
    if arguments.table:
        with csv_table(arguments.table, ["way", *_COLUMNS]) as add_rows:
            add_rows({"way": way, **{c: f"{parts[c]:.6f}" for c in _COLUMNS}} for way, parts in medians.items())
        say(f"-> {arguments.table}")
    return 0


def _measure(predictor: Predictor, path: Path) -> dict[str, float]:
    """Predict on a file, and return how long the parts took, in seconds."""
    import torch

    def now() -> float:
        device = torch.device(predictor.cfg.MODEL.DEVICE).type
        getattr(torch, device).synchronize()  # torch.cuda's, or torch.mps's; torch.cpu's does nothing
        return time.perf_counter()

    start = now()
    image = predictor.read(path)
    read = now()
    inputs = predictor.prepare(image)
    resized = now()
    predictor.run([inputs])
    end = now()
    return {"read": read - start, "resize": resized - read, "model": end - resized, "total": end - start}
