"""Programs of projects that are built on Detectron2, unchanged (``python -m pytest -m projects``).

Each runs twice, with the same random weights: on Detectron2, and as ``python -m litepred run``. The numbers that its
models answer are compared. LITEPRED_PROJECTS names a folder with a checkout of each project, LITEPRED_DETECTRON2 a
checkout of Detectron2 that is built; without either, or where a package that the project needs is not installed, the
program is skipped.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_answers import BOX_PX, MASK_SHARE, SCORE

FOLDER = os.environ.get("LITEPRED_PROJECTS", "")
DETECTRON2 = os.environ.get("LITEPRED_DETECTRON2", "")
HERE = Path(__file__).parent
PICTURE = HERE.parent / "assets" / "images" / "coffee.png"

SMALL = ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "256", "INPUT.MAX_SIZE_TEST", "400"]
FEW = ["TEST.DETECTIONS_PER_IMAGE", "10"]
ALL = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]


def demo(folder: str, config: str, *more: str, script: str = "demo.py", threshold: bool = True, opts: Any = ()) -> Any:
    """Return the folder and the arguments of a demo.py as most projects have it."""
    given = ["--config-file", config, "--input", "{picture}", "--output", "{out}"]
    given += ["--confidence-threshold", "0.0"] * threshold
    return folder, [script, *given, *more, "--opts", "MODEL.WEIGHTS", "{weights}", *SMALL, *FEW, *opts]


PROGRAMS = {}


def differences(ours: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Say where an answer leaves the tolerances of the stored answers; an empty list when nowhere."""
    if ours.keys() != wanted.keys():
        return [f"the keys {sorted(ours.keys() ^ wanted.keys())} are in one alone"]
    found = []
    rows = [key for key in wanted if key.startswith("instances.")]
    order = _order(ours, wanted, found) if "instances.scores" in rows else None
    for key, value in wanted.items():
        mine = ours[key]
        if not isinstance(value, np.ndarray):
            found += [f"{key}: {mine} instead of {value}"] if mine != value else []
            continue
        if mine.shape != value.shape:
            found.append(f"{key}: shape {mine.shape} instead of {value.shape}")
            continue
        mine = mine[order] if key in rows and order is not None else mine
        if value.dtype == bool or key in ("panoptic_seg.0", "sem_seg"):
            apart = (mine.argmax(0) != value.argmax(0)) if key == "sem_seg" else mine != value
            found += [f"{key}: {apart.mean():.4%} differ"] if apart.size and apart.mean() > MASK_SHARE else []
        elif value.size:
            apart = float(np.abs(mine.astype(float) - value).max())
            limit = BOX_PX if key == "instances.pred_boxes" else SCORE * max(1.0, float(np.abs(value).max()))
            found += [f"{key}: {apart} apart"] if apart > limit else []
    return found


def _order(ours: dict[str, Any], wanted: dict[str, Any], found: list[str]) -> Any:
    """Match instances, which may stand in another order where their scores are nearly equal."""

    def facts(answer: dict[str, Any]) -> np.ndarray:
        columns = [
            answer[key].reshape(count, -1) for key in ("instances.scores", "instances.pred_boxes") if key in answer
        ]
        return np.concatenate(columns, axis=1).astype(float)

    count = len(wanted["instances.scores"])
    if len(ours["instances.scores"]) != count or not count:
        return None
    mine, theirs, free, order = facts(ours), facts(wanted), np.ones(count, bool), []
    for i in range(count):
        apart = np.abs(mine - theirs[i]).max(axis=1) + 1e9 * ~free
        for key in ("instances.pred_classes", "instances.pred_masks"):
            if key in wanted:
                apart += (ours[key] != wanted[key][i]).reshape(count, -1).mean(axis=1)
        order.append(int(apart.argmin()))
        free[order[-1]] = False
    return order


@pytest.mark.projects
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_answers_as_on_detectron2(tmp_path, name):
    folder, arguments, *more = PROGRAMS[name]
    checkout = Path(DETECTRON2 if folder.startswith("/") else FOLDER, folder.lstrip("/"))
    if not FOLDER or not DETECTRON2 or not checkout.is_dir():
        pytest.skip(f"LITEPRED_PROJECTS has no {folder}, or there is no LITEPRED_DETECTRON2")
    answers = {}
    for by in ("detectron2", "litepred"):
        out = tmp_path / by
        out.mkdir()
        places = {"picture": PICTURE, "out": out / "picture.png", "weights": tmp_path / "weights.pth"}
        given = [one.format_map(places) if by == "litepred" or one != "{weights}" else "" for one in arguments]
        path = [HERE / "preamble", *[DETECTRON2] * (by == "detectron2"), *map(str, [checkout, *more])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [*path, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])),
            "LITEPRED_ABSENT": "natten wandb adet._C " + "MultiScaleDeformableAttention" * (by == "detectron2"),
            "LITEPRED_ANSWERS": str(out / "answers"),
            "LITEPRED_MAKES_WEIGHTS": str(places["weights"]),
            "MPLBACKEND": "Agg",
        }
        run = ["-m", "litepred", "run", "--replace"] if by == "litepred" else []
        done = subprocess.run(
            [sys.executable, *run, *given], cwd=checkout, env=environment, capture_output=True, text=True
        )
        if "ModuleNotFoundError" in done.stderr and by == "detectron2":
            pytest.skip(done.stderr.splitlines()[-1])
        assert done.returncode == 0, f"{by}: {done.stderr[-2000:]}"
        answers[by] = pickle.loads((out / "answers").read_bytes())
    assert len(answers["litepred"]) == len(answers["detectron2"]) > 0
    for ours, wanted in zip(answers["litepred"], answers["detectron2"]):
        assert differences(ours, wanted) == []
