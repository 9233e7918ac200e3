"""``litepred benchmark``: how fast a model is on this machine, in each way that a predictor can be made."""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, LitepredError
from ..files import whole_file

if TYPE_CHECKING:
    from ..predictor import Predictor

__all__ = ["add_parser"]

_DESCRIPTION = """\
Measure how fast a model is on this machine and image. Each way of making the
predictor is made ready and tried once; then they take turns, and the table
shows medians in seconds:

  ready   from the files to a predictor, compilation included
  first   the first prediction
  read    from the file to an array
  resize  to what the model takes
  model   to the answers in the image's size
  total   of the three
  ratio   how many times faster than the first row"""
_WAYS: dict[str, dict[str, Any]] = {
    "exact": {"exact": True},
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "compiled": {"compile": True},
    "compiled-bfloat16": {"compile": True, "precision": "bfloat16"},
}
_COLUMNS = ("ready", "first", "read", "resize", "model", "total", "ratio")


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``litepred``."""
    benchmark = commands.add_parser(
        "benchmark",
        help="measure how fast a model is here",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    benchmark.add_argument("image", nargs="?", metavar="IMAGE", help="default: the example page")
    benchmark.add_argument("--config", metavar="YAML", help="as litepred predict takes it; default: the page model")
    benchmark.add_argument("--weights", metavar="FILE", help="checkpoint, instead of the config's MODEL.WEIGHTS")
    benchmark.add_argument("--device", help="such as cpu or cuda, instead of the config's MODEL.DEVICE")
    benchmark.add_argument(
        "--ways",
        nargs="+",
        choices=_WAYS,
        default=["exact", "float32"],
        metavar="WAY",
        help=f"of making the predictor, out of {', '.join(_WAYS)}; default: exact float32",
    )
    benchmark.add_argument("--runs", type=_positive, default=5, help="of each way; default: %(default)s")
    benchmark.add_argument("--threads", type=_positive, help="of the processor; default: one per core")
    benchmark.add_argument("--csv", metavar="FILE", help="write the table there, too")
    benchmark.set_defaults(run=_benchmark)


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of times: expected 1 or more")
    return value


def _benchmark(arguments: argparse.Namespace) -> int:
    import torch

    from .. import __version__
    from ..data import read_image
    from ..default_model import example_page
    from ..predictor import Predictor

    path = Path(arguments.image or example_page())
    if arguments.csv and not Path(arguments.csv).parent.is_dir():
        raise LitepredError(f"--csv is {arguments.csv!r}, but there is no such folder: make it first")
    height, width = read_image(path).shape[:2]
    ways: dict[str, Predictor] = {}
    measured: dict[str, dict[str, list[float]]] = {}
    for way in dict.fromkeys(arguments.ways):
        start = time.perf_counter()
        predictor = Predictor(
            arguments.config,
            weights=arguments.weights,
            device=arguments.device,
            threads=arguments.threads,
            **_WAYS[way],
        )
        ready_s = time.perf_counter() - start
        if predictor.precision != _WAYS[way].get("precision", "float32"):  # a warning has said why
            continue
        ways[way], measured[way] = predictor, {"ready": [ready_s], "first": [_measure(predictor, path)["total"]]}
    if not ways:
        raise ConfigError(f"none of {', '.join(arguments.ways)} is fast on this device: add exact or float32 to --ways")
    for _ in range(arguments.runs):
        for way, predictor in ways.items():
            for part, elapsed_s in _measure(predictor, path).items():
                measured[way].setdefault(part, []).append(elapsed_s)

    predictor = next(iter(ways.values()))
    medians = {
        way: {part: statistics.median(values) for part, values in parts.items()} for way, parts in measured.items()
    }
    reference = next(iter(medians.values()))["total"]
    for parts in medians.values():
        parts["ratio"] = reference / parts["total"]
    processor = torch.backends.cpu.get_cpu_capability()
    where = f"{predictor.model.device}, {torch.get_num_threads()} threads, {processor}"
    print(f"litepred {__version__}, torch {torch.__version__}; {where}; {path.name}, {width} × {height} pixels")
    print(f"{'':18}" + "".join(f"{column:>9}" for column in _COLUMNS))
    for way, parts in medians.items():
        print(f"{way:<18}" + "".join(f"{parts[column]:9.3f}" for column in _COLUMNS))
    if arguments.csv:
        table = io.StringIO(newline="")
        rows = csv.writer(table)
        rows.writerow(["way", *_COLUMNS])
        rows.writerows([way, *(f"{parts[column]:.6f}" for column in _COLUMNS)] for way, parts in medians.items())
        with whole_file(arguments.csv) as file:
            file.write(table.getvalue().encode())
        print(f"-> {arguments.csv}", file=sys.stderr)
    return 0


def _measure(predictor: Predictor, path: Path) -> dict[str, float]:
    """Predict on a file, and return how long the parts took, in seconds."""
    import torch

    from ..data import read_image

    def now() -> float:
        device = torch.device(predictor.cfg.MODEL.DEVICE).type
        getattr(torch, device).synchronize()  # torch.cuda's, or torch.mps's; torch.cpu's does nothing
        return time.perf_counter()

    start = now()
    image = read_image(path)
    read = now()
    inputs = predictor.prepare(image)
    resized = now()
    predictor.run([inputs])
    end = now()
    return {"read": read - start, "resize": resized - read, "model": end - resized, "total": end - start}
