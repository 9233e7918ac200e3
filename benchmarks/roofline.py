"""How near a predictor comes to the limit of this machine, and where the rest of its time goes.

    python benchmarks/roofline.py                        # every family, some minutes on two cores
    python benchmarks/roofline.py --rows mask retinanet  # some of them

The limit is the time of a family's convolutions and matrix products alone, if each ran at the rate that this machine
reaches in the same process for a large one: torch's own convolution of 3×3 and of 1×1, and its matrix product. The
share is that time over the time of the whole answer, file to dict. It can be above 1, since Winograd's transform needs
fewer operations than the convolution that it takes the place of. The CSV has the parts: reading, resizing, backbone,
heads, and output, which is everything after the heads. Weights and images are those of ``benchmarks/run.py``.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from run import ENVIRONMENT, HERE, ROWS, processor, result_file, versions, write_model

FAMILIES = [key for key, (_, contenders) in ROWS.items() if contenders[0] == "Detectron2" and "engines" not in key]
PARTS = {  # of a model, by the names of its methods; the time of one inside another is the inner one's
    "backbone": ("backbone",),
    "proposals": ("proposal_generator",),
    "semantic": ("sem_seg_head",),
    "dense heads": ("head",),
    "box heads": ("roi_heads._forward_box",),
    "masks, keypoints": ("roi_heads.forward_with_given_boxes",),
    "output": ("postprocess",),
}
COLUMNS = ["model", "total s", "share", "limit s", "GFLOP", "GFLOP/s of the whole", "conv 3×3 GFLOP/s"]
COLUMNS += ["conv 1×1 GFLOP/s", "product GFLOP/s", *[f"{part} s" for part in ("read", "resize", *PARTS)]]


def rates() -> dict[str, float]:
    """Return what this machine reaches, in 10⁹ floating-point operations a second."""
    import torch

    def channels_last(layer: Any) -> Any:
        return layer.requires_grad_(False).to(memory_format=torch.channels_last)

    x = torch.rand(1, 256, 100, 152).to(memory_format=torch.channels_last)
    wide, narrow = (channels_last(torch.nn.Conv2d(256, 256, k, padding=k // 2)) for k in (3, 1))
    a, b = torch.rand(1000, 4096), torch.rand(1024, 4096)
    pixels = x.shape[2] * x.shape[3]
    ways: dict[str, tuple[Callable[[], Any], float]] = {
        "conv 3×3": (lambda: wide(x), 2 * 9 * 256**2 * pixels),
        "conv 1×1": (lambda: narrow(x), 2 * 256**2 * pixels),
        "product": (lambda: torch.nn.functional.linear(a, b), 2 * 1000 * 4096 * 1024),
    }
    return {name: operations / 1e9 / least_time(way) for name, (way, operations) in ways.items()}


def least_time(way: Callable[[], Any], tries: int = 7) -> float:
    """Return the least of several times, in seconds: the rate is a limit, which other programs only lower."""
    way()
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
    return min(times)


def operations(folder: Path, image: Any) -> dict[str, float]:
    """Count the floating-point operations of one image, in 10⁹: of wide and of 1×1 convolutions, and of products."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

    from litepred import Predictor

    narrow = 0

    def convolution(x_shape: Any, w_shape: Any, *others: Any, out_shape: Any = None, **_: Any) -> int:
        nonlocal narrow
        count = conv_flop_count(x_shape, w_shape, out_shape, transposed=others[4])
        narrow += count if tuple(w_shape[2:]) == (1, 1) else 0
        return count

    predictor = Predictor(folder / "config.yaml", weights=folder / "model.pth", device="cpu", exact=True)
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution: convolution}) as counter:
        predictor(image)
    counts = counter.get_flop_counts()["Global"]
    convolved = sum(count for kind, count in counts.items() if "convolution" in str(kind))
    return {
        "conv 3×3": (convolved - narrow) / 1e9,
        "conv 1×1": narrow / 1e9,
        "product": (sum(counts.values()) - convolved) / 1e9,
    }


def time_parts(model: Any, spent: dict[str, float]) -> None:
    """Let the parts of a model add the time that they take to ``spent``."""
    running: list[str] = []

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            running.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                running.pop()
                elapsed = time.perf_counter() - start
                spent[part] += elapsed
                if running:  # which is inside of another one
                    spent[running[-1]] -= elapsed

        return call

    for part, paths in PARTS.items():
        for path in paths:
            *owners, name = path.split(".")
            owner = model
            for one in owners:
                owner = getattr(owner, one, None)
            target = getattr(owner, name, None)
            if target is None:
                continue
            if hasattr(target, "forward"):
                owner, name, target = target, "forward", target.forward
            setattr(owner, name, timed(part, target))


def measure(key: str, runs: int) -> dict[str, Any]:
    """Measure a family in this process; returns a row of the table."""
    from litepred import Predictor, read_image

    page = key.startswith("page")
    path = HERE.parent / ("weights/example_page.png" if page else "tests/assets/images/coffee.png")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(ROWS[key][0], folder)
        counted = operations(folder, read_image(path))
        predictor = Predictor(folder / "config.yaml", weights=folder / "model.pth", device="cpu")
    predictor(path)
    spent: dict[str, float] = defaultdict(float)
    time_parts(predictor.model, spent)
    measured: dict[str, list[float]] = defaultdict(list)
    best: dict[str, float] = {}
    for _ in range(runs):
        for kind, rate in rates().items():
            best[kind] = max(rate, best.get(kind, 0.0))
        spent.clear()
        start = time.perf_counter()
        image = read_image(path)
        read = time.perf_counter()
        inputs = predictor.prepare(image)
        resized = time.perf_counter()
        predictor.run([inputs])
        measured["total"].append(time.perf_counter() - start)
        for part, seconds in {"read": read - start, "resize": resized - read, **spent}.items():
            measured[part].append(seconds)
    total = statistics.median(measured["total"])
    limit = sum(counted[kind] / best[kind] for kind in counted)
    row = {"model": ROWS[key][0], "total s": total, "limit s": limit, "share": limit / total}
    row |= {"GFLOP": sum(counted.values()), "GFLOP/s of the whole": sum(counted.values()) / total}
    row |= {f"{kind} GFLOP/s": rate for kind, rate in best.items()}
    return row | {f"{part} s": statistics.median(measured[part] or [0.0]) for part in ("read", "resize", *PARTS)}


def main() -> None:
    """Measure each family in a process of its own; print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--rows", nargs="+", choices=FAMILIES, default=FAMILIES, metavar="ROW", help="default: all")
    parser.add_argument("--runs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder of the CSV; default: %(default)s")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        import_module("litepred")  # first, as in a user's script
        import torch

        torch.set_num_threads(arguments.threads)
        csv.DictWriter(sys.stdout, COLUMNS).writerow(measure(arguments.rows[0], arguments.runs))
        return
    hardware = f"{processor()} {arguments.threads} threads"
    print(f"{hardware}; {versions().replace('_', ', ')}\n{'total s':>50}{'limit s':>9}{'share':>9}  parts in s")
    rows = []
    for key in arguments.rows:
        command = [sys.executable, __file__, "--one", "--rows", key, "--runs", str(arguments.runs)]
        done = subprocess.run(
            [*command, "--threads", str(arguments.threads)],
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            check=True,
        )
        row = dict(zip(COLUMNS, next(csv.reader(done.stdout.splitlines()[-1:]))))
        told = [
            f"{part} {float(row[f'{part} s']):.3f}" for part in ("read", "resize", *PARTS) if float(row[f"{part} s"])
        ]
        figures = "".join(f"{float(row[name]):9.3f}" for name in ("total s", "limit s", "share"))
        print(f"{row['model'][-41:]:<41}{figures}  {', '.join(told)}", flush=True)
        rows.append({name: value if name == "model" else f"{float(value):.4f}" for name, value in row.items()})
    target = result_file(arguments.output, hardware, "roofline_")
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    print(f"\n{target}")


if __name__ == "__main__":
    main()
