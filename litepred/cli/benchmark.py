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
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, LitepredError
from ..extensions import model_file_reader
from ..files import check_targets
from .common import CommandParser, add_model_arguments, add_old_name, check_model_arguments, make_predictor, positive
from .doctor import chosen

if TYPE_CHECKING:
    import numpy as np

    from ..predictor import Predictor

__all__ = ["add_options", "run"]

_WAYS: dict[str, dict[str, Any]] = {
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
_COLUMNS = ("ready", "first", "read", "resize", "model", "total", "ratio")


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("image", nargs="?", metavar="IMAGE", help="image file; default: the example page")
    add_model_arguments(parser, ways=False)
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=_WAYS,
        metavar="WAY",
        help=f"ways of making the predictor, out of {', '.join(_WAYS)}; default: exact float32, and onnxruntime for a "
        "file of litepred export",
    )
    parser.add_argument("--runs", type=positive, default=5, help="measurements of each way; default: %(default)s")
    parser.add_argument("--threads", type=positive, help="threads of the processor to use; default: one per core")
    table = parser.add_argument("--table", metavar="FILE", help="write the table to this CSV file, too")
    add_old_name(parser, "--csv", table)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    from .. import __version__
    from ..data.images import image_size
    from ..default_model import example_page

    path = Path(arguments.image or example_page())
    image_size(path)  # which tells of a wrong one before the model is loaded
    check_model_arguments(arguments)
    exported = arguments.config is not None and model_file_reader(arguments.config) is not None
    ways = arguments.ways or (["onnxruntime"] if exported else ["exact", "float32"])
    if arguments.table:
        check_targets([path], [arguments.table])
        if not Path(arguments.table).parent.is_dir():
            raise LitepredError(f"--table is {arguments.table!r}, but there is no such folder: make it first")
    import torch

    from ..results import csv_table

    predictors: dict[str, Predictor] = {}
    measured: dict[str, dict[str, list[float]]] = {}
    for way in dict.fromkeys(ways):
        start = time.perf_counter()
        predictor = make_predictor(arguments, threads=arguments.threads, **_WAYS[way])
        ready_s = time.perf_counter() - start
        if predictor.precision == _WAYS[way].get("precision", "float32"):  # else a warning has said why
            predictors[way] = predictor
            measured[way] = {"ready": [ready_s], "first": [_measure(predictor, path)["total"]]}
    if not predictors:
        raise ConfigError(f"none of {', '.join(ways)} is fast on this device: add exact or float32 to --ways")
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
    height, width = _read(predictor, path).shape[:2]
    device = predictor.cfg.MODEL.DEVICE
    print(
        f"litepred {__version__}, torch {torch.__version__}; {device}, {torch.get_num_threads()} threads, {processor}; "
        f"{path.name}, {width} × {height} pixels"
    )
    print(f"{'':18}" + "".join(f"{column:>9}" for column in _COLUMNS))
    for way, parts in medians.items():
        print(f"{way:<18}" + "".join(f"{parts[column]:9.3f}" for column in _COLUMNS))
    for layer, told in chosen():
        print(f"{layer:<18} {told}")
    if arguments.table:
        with csv_table(arguments.table, ["way", *_COLUMNS]) as add_rows:
            add_rows({"way": way, **{c: f"{parts[c]:.6f}" for c in _COLUMNS}} for way, parts in medians.items())
        print(f"-> {arguments.table}", file=sys.stderr)
    return 0


def _read(predictor: Predictor, path: Path) -> np.ndarray:
    from ..data import image_to_array

    return image_to_array(path, len(predictor.cfg.MODEL.PIXEL_MEAN))


def _measure(predictor: Predictor, path: Path) -> dict[str, float]:
    """Predict on a file, and return how long the parts took, in seconds."""
    import torch

    def now() -> float:
        device = torch.device(predictor.cfg.MODEL.DEVICE).type
        getattr(torch, device).synchronize()  # torch.cuda's, or torch.mps's; torch.cpu's does nothing
        return time.perf_counter()

    start = now()
    image = _read(predictor, path)
    read = now()
    inputs = predictor.prepare(image)
    resized = now()
    predictor.run([inputs])
    end = now()
    return {"read": read - start, "resize": resized - read, "model": end - resized, "total": end - start}
