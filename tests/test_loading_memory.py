"""Loading keeps one copy of the weights, plus one of the file where that is a pickle of arrays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from litepred import DetectionCheckpointer, build_model, model_zoo

NAME = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
LOAD = """
import sys
from pathlib import Path
from litepred import Predictor, model_zoo

def kib(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))

Predictor()  # what a first predictor imports is not what this one loads
cfg = model_zoo.get_config(sys.argv[2])
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
before = kib("VmRSS")
predictor = Predictor(cfg, weights=sys.argv[1], device="cpu", exact=sys.argv[3] == "exact")
print((kib("VmHWM") - before) * 1024, sum(tensor.nbytes for tensor in predictor.model.state_dict().values()))
"""


@pytest.fixture(scope="module")
def checkpointer(tmp_path_factory):
    cfg = model_zoo.get_config(NAME)
    cfg.MODEL.DEVICE = "cpu"
    return DetectionCheckpointer(build_model(cfg), tmp_path_factory.mktemp("weights"))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
@pytest.mark.parametrize("kind", ["exact", "optimized"])
def test_peak_while_loading(checkpointer, suffix, kind):
    file = Path(checkpointer.save_dir) / f"model{suffix}"
    if not file.exists():
        checkpointer.save(file.name)
    command = [sys.executable, "-c", LOAD, str(file), NAME, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, weights = map(int, done.stdout.split())
    assert peak <= 1.5 * weights + (file.stat().st_size if suffix == ".pkl" else 0)
