"""How long it takes from files to a ready predictor, and how much memory; beside Detectron2 where it is importable.

    python benchmarks/ready.py --model COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x --runs 5

Each run is a process of its own that has imported torch and torchvision before the clock starts. Contenders alternate;
the table shows medians. Memory is the process's peak less what it had before, as a share of file and model together.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

RUN = """
import json, sys, threading, time, warnings
import torch, torchvision
warnings.simplefilter("ignore")
config, weights = sys.argv[1:]

def resident():
    with open("/proc/self/status") as status:
        return {{line.split()[0]: int(line.split()[1]) for line in status if line.startswith("VmRSS")}}["VmRSS:"] / 1024

before = peak = resident()
watching = True

def watch():
    global peak
    while watching:
        peak = max(peak, resident())
        time.sleep(0.002)

watcher = threading.Thread(target=watch)
watcher.start()
start = time.perf_counter()
{load}
elapsed = time.perf_counter() - start
watching = False
watcher.join()
print(json.dumps({{"s": elapsed, "MiB": peak - before}}))
"""

CONTENDERS = {
    "litepred": "from litepred import Predictor\nPredictor(config, weights=weights, device='cpu')",
    "Detectron2": (
        "from detectron2.config import get_cfg\nfrom detectron2.engine import DefaultPredictor\ncfg = get_cfg()\n"
        "cfg.merge_from_file(config)\ncfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = weights, 'cpu'\nDefaultPredictor(cfg)"
    ),
}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x", help="name in the zoo")
    parser.add_argument("--runs", type=int, default=5, help="runs of each contender")
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("memory is read from /proc: this benchmark runs on Linux")

    from litepred import DetectionCheckpointer, build_model, model_zoo

    with tempfile.TemporaryDirectory() as folder:
        cfg = model_zoo.get_config(arguments.model)
        cfg.MODEL.DEVICE = "cpu"
        config = Path(folder) / "config.yaml"
        config.write_text(cfg.dump())
        model = build_model(cfg)
        size_mib = sum(tensor.nbytes for tensor in model.state_dict().values()) / 2**20
        checkpointer = DetectionCheckpointer(model, folder)
        print(f"{arguments.model}, {size_mib:.0f} MiB of weights, {arguments.runs} runs each, medians")
        print(f"{'file':>13} {'':>10} {'seconds':>8} {'MiB':>6} {'of file + model':>16}")
        for suffix in (".pth", ".pkl", ".safetensors"):
            checkpointer.save(f"model{suffix}")
            measure(config, Path(folder) / f"model{suffix}", size_mib, arguments.runs)


def measure(config: Path, weights: Path, size_mib: float, runs: int) -> None:
    """Run all contenders on one file, in turn, and print a row for each."""
    names = [name for name in CONTENDERS if find_spec(name.lower())]
    if weights.suffix == ".safetensors":
        names = ["litepred"]  # Detectron2 has no reader for it
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(runs):
        for name in names:
            command = [sys.executable, "-c", RUN.format(load=CONTENDERS[name]), str(config), str(weights)]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            results[name].append(json.loads(printed.splitlines()[-1]))
    for name, figures in results.items():
        seconds = statistics.median(f["s"] for f in figures)
        memory = statistics.median(f["MiB"] for f in figures)
        share = memory / (size_mib + weights.stat().st_size / 2**20)
        print(f"{weights.suffix:>13} {name:>10} {seconds:8.2f} {memory:6.0f} {share:15.2f}x")


if __name__ == "__main__":
    main()
