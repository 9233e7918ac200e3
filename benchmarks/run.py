"""How fast litepred is, beside Detectron2, torchvision and ONNX Runtime, as far as they can be imported.

    python benchmarks/run.py                        # everything, some half an hour on two cores
    python benchmarks/run.py --rows mask page       # some rows only
    PYTHONPATH=detectron2 python benchmarks/run.py  # beside a checkout of Detectron2, built or not

Contenders run in processes of their own with the same weights, image and threads, and take turns; the table shows
medians, and the ratio to the first contender of each row. The CSV has every figure, and keeps those of rows that a run
leaves out. Weights are those of the tests, which need no download and give every model its full number of detections.
The networks see the photograph at 800 × 1,200 pixels (height × width) and the page at 745 × 576.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ENVIRONMENT = dict(os.environ)  # of every contender: without what litepred sets when it is imported
OURS = ("litepred", "litepred exact")
ALL_OURS = ("litepred", "litepred compiled", "litepred bfloat16", "litepred bfloat16 compiled", "litepred exact")
MASK = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
ROWS: dict[str, tuple[str, tuple[str, ...]]] = {  # key: model, contenders, of which the first is the measure
    "mask": (MASK, ("Detectron2", *ALL_OURS)),
    "page": ("the default page model", ("Detectron2", *ALL_OURS)),
    "c4": ("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x", ("Detectron2", *OURS)),
    "dc5": ("COCO-InstanceSegmentation/mask_rcnn_R_101_DC5_3x", ("Detectron2", *OURS)),
    "keypoint": ("COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x", ("Detectron2", *OURS)),
    "retinanet": ("COCO-Detection/retinanet_R_50_FPN_3x", ("Detectron2", *OURS)),
    "panoptic": ("COCO-PanopticSegmentation/panoptic_fpn_R_50_3x", ("Detectron2", *OURS)),
    "cascade": ("Misc/cascade_mask_rcnn_R_50_FPN_3x", ("Detectron2", *OURS)),
    "torchvision": ("torchvision/maskrcnn_resnet50_fpn", ("torchvision", "litepred from torchvision")),
    "backbone": (
        MASK,
        ("ONNX Runtime backbone", "litepred backbone", "litepred backbone compiled", "litepred backbone bfloat16"),
    ),
}
ENGINES = ("ONNX Runtime", "ONNX Runtime int8", "OpenVINO", "OpenVINO bfloat16", "OpenVINO int8")
ON_ENGINES = tuple(f"litepred on {engine}" for engine in ENGINES)
ROWS["engines"] = (MASK, ("Detectron2", "litepred", "litepred bfloat16", *ON_ENGINES))
ROWS["page-engines"] = ("the default page model", ("Detectron2", "litepred", "litepred bfloat16", *ON_ENGINES))
# What computes nothing, and is to answer within half a second.
ROWS["commands"] = (
    "the command litepred",
    ("--help", "zoo retinanet", "predict --treshold 1", "predict nothere.png", "evaluate --images nothere"),
)
NEEDS = {
    "Detectron2": "detectron2",
    "ONNX Runtime backbone": "onnxruntime",
    **{contender: "openvino" if "OpenVINO" in contender else "onnxruntime" for contender in ON_ENGINES},
}
BATCH_SIZES, BATCH_IMAGES = (1, 4), 8


class Worker:
    """A contender's process."""

    def __init__(self, contender: str, folder: Path, image: Path, threads: int) -> None:
        command = [sys.executable, str(HERE / "contenders.py"), contender, str(folder), str(image), str(threads)]
        environment = ENVIRONMENT | {"OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.ready = self._answer()

    def _answer(self) -> dict[str, float]:
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise SystemExit(f"a contender stopped with status {self.process.wait()}: see above")
        answer: dict[str, float] = json.loads(line)
        return answer

    def ask(self, order: str) -> dict[str, float]:
        """Let it do something, and return what it measured."""
        print(order, file=self.process.stdin, flush=True)
        return self._answer()

    def stop(self) -> None:
        """End the process."""
        self.process.communicate()


def write_model(name: str, folder: Path) -> None:
    """Write the config and the checkpoint that all contenders of a row read."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    import torch
    from golden_weights import fill_with_golden_weights

    from litepred import DetectionCheckpointer, build_model, default_model, model_zoo

    if name.startswith("torchvision/"):
        from torchvision.models.detection import maskrcnn_resnet50_fpn

        model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
        fill_with_golden_weights(model)
        torch.save(model.state_dict(), folder / "model.pth")
        return
    page = name.startswith("the default")
    cfg = default_model.default_config() if page else model_zoo.get_config(name)
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    if page:
        DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    else:
        fill_with_golden_weights(model, cfg.MODEL.PIXEL_STD[0])
    DetectionCheckpointer(model, folder).save("model.pth")
    cfg.MODEL.WEIGHTS = ""
    (folder / "config.yaml").write_text(cfg.dump())


def measure_row(key: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure a model with all of its contenders that are here; returns a record per contender and measure."""
    name, contenders = ROWS[key]
    if key == "commands":
        return measure_commands(name, contenders, arguments.runs)
    present = [c for c in contenders if c not in NEEDS or find_spec(NEEDS[c])]
    if missing := [c for c in contenders if c not in present]:
        print(f"{name}: without {', '.join(missing)}, which cannot be imported", file=sys.stderr)
    image = arguments.image or HERE.parent / (
        "weights/example_page.png" if key.startswith("page") else "tests/assets/images/coffee.png"
    )
    measured: dict[str, dict[str, list[float]]] = {c: defaultdict(list) for c in present}

    def note(contender: str, figures: dict[str, float]) -> None:
        for measure, value in figures.items():
            measured[contender][measure].append(value)

    with tempfile.TemporaryDirectory() as folder:
        write_model(name, Path(folder))
        shutil.copy(image, Path(folder) / "calibration.png")
        workers: dict[str, Worker] = {}
        for start in range(arguments.starts):  # those of the last round stay
            for contender in present:
                if "compiled" in contender and start:
                    continue
                if contender in workers:
                    workers[contender].stop()
                workers[contender] = Worker(contender, Path(folder), image, arguments.threads)
                note(contender, workers[contender].ready)
        for _ in range(arguments.runs):
            for contender in present:
                note(contender, workers[contender].ask("run"))
        if key in ("mask", "page"):
            for size in BATCH_SIZES:
                for contender in present:
                    note(contender, workers[contender].ask(f"batch {BATCH_IMAGES} {size}"))
        for worker in workers.values():
            worker.stop()
    return [record for c in present for record in records(name, c, present[0], measured)]


def measure_commands(name: str, commands: tuple[str, ...], runs: int) -> list[dict[str, Any]]:
    """Measure how long commands take from their start to their end."""
    measured: dict[str, dict[str, list[float]]] = {command: defaultdict(list) for command in commands}
    for _ in range(runs):
        for command in commands:
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "litepred", *command.split()], capture_output=True, env=ENVIRONMENT)
            measured[command]["command s"].append(time.perf_counter() - start)
    return [record for command in commands for record in records(name, command, commands[0], measured)]


def records(
    model: str, contender: str, reference: str, measured: dict[str, dict[str, list[float]]]
) -> list[dict[str, Any]]:
    """Sum a contender's figures up: medians, and ratios of which more is better."""
    found = []
    for measure, values in measured[contender].items():
        value = max(values) if measure.startswith("peak") else statistics.median(values)
        base = measured[reference].get(measure)
        ratio = ""
        if base:
            base_value = max(base) if measure.startswith("peak") else statistics.median(base)
            better_is_more = measure.startswith("images/s")
            if value and base_value:
                ratio = f"{value / base_value if better_is_more else base_value / value:.3f}"
        found.append(
            {
                "model": model,
                "contender": contender,
                "measure": measure,
                "median": f"{value:.4f}",
                "least": f"{min(values):.4f}",
                "most": f"{max(values):.4f}",
                "runs": len(values),
                "ratio": ratio,
                "to": reference,
            }
        )
    return found


def show(rows: list[dict[str, Any]]) -> None:
    """Print a model's table: a line per contender, a column per measure, with the ratio beside the total."""
    if not rows:
        return
    measures = list(dict.fromkeys(r["measure"] for r in rows))
    print(f"\n{rows[0]['model']} (ratios: how many times better than {rows[0]['to']})")
    widths = [max(len(m), 15) for m in measures]
    print(" " * 27 + "".join(f"{m:>{w + 2}}" for m, w in zip(measures, widths)))
    for contender in dict.fromkeys(r["contender"] for r in rows):
        cells = []
        for measure, width in zip(measures, widths):
            record = next((r for r in rows if (r["contender"], r["measure"]) == (contender, measure)), None)
            text = f"{float(record['median']):.3f} ({record['ratio'] or '-'})" if record else ""
            cells.append(f"{text:>{width + 2}}")
        print(f"{contender:<27}" + "".join(cells), flush=True)


def processor() -> str:
    """Return the processor's name as far as the system tells it, with its fastest instructions."""
    import torch

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())):
        name = found[1]
    bf16 = (
        getattr(torch.cpu, "_is_avx512_bf16_supported", bool)() or getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    )
    return f"{name} {torch.backends.cpu.get_cpu_capability()}{' BF16' if bf16 else ''}"


def versions() -> str:
    """Return the versions of what was compared, for a file name."""
    parts = [f"python-{platform.python_version()}"]
    for package in ("litepred", "torch", "torchvision", "onnxruntime"):
        try:
            parts.append(f"{package}-{version(package).split('+')[0]}")
        except PackageNotFoundError:
            continue
    return "_".join(parts)


def result_file(folder: Path, hardware: str, prefix: str = "") -> Path:
    """Return the CSV of this machine and these versions, in a folder that is made where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w.+-]+", "-", hardware).strip("-")
    return folder / f"{prefix}{name}_{versions()}.csv"


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], epilog=f"rows: {', '.join(ROWS)}", allow_abbrev=False
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help="default: all")
    parser.add_argument(
        "--runs", type=int, default=7, help="of each contender in its steady state; default: %(default)s"
    )
    parser.add_argument("--starts", type=int, default=3, help="fresh processes of each contender; default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--image", type=Path, help="default: a photograph, and a page for the page model")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder of the CSV; default: %(default)s")
    arguments = parser.parse_args()

    hardware = f"{processor()} {arguments.threads} threads"
    print(f"{hardware}; {versions().replace('_', ', ')}")
    everything: list[dict[str, Any]] = []
    for key in arguments.rows:
        rows = measure_row(key, arguments)
        show(rows)
        everything += [{"row": key, **one} for one in rows]
    target = result_file(arguments.output, hardware)
    if target.exists():  # rows that were not measured now stay
        with target.open(newline="") as file:
            everything = [r for r in csv.DictReader(file) if r["row"] not in arguments.rows] + everything
    partial = target.with_suffix(".part")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, everything[0].keys())
        writer.writeheader()
        writer.writerows(everything)
    partial.replace(target)
    print(f"\n{target}")


if __name__ == "__main__":
    main()
