"""Programs of projects that are built on Detectron2, unchanged (``python -m pytest -m projects``).

Each runs twice, with the same random weights: on Detectron2, and as ``python -m litepred run``. The numbers that its
models answer are compared. LITEPRED_PROJECTS names a folder with a checkout of each project, LITEPRED_DETECTRON2 a
checkout of Detectron2 that is built; without either, or where Detectron2's run lacks a package, a program is skipped.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_answers import BOX_PX, MASK_SHARE, SCORE
from projects.programs import PROGRAMS

FOLDER = os.environ.get("LITEPRED_PROJECTS", "")
DETECTRON2 = os.environ.get("LITEPRED_DETECTRON2", "")
HERE = Path(__file__).parent
PICTURE = HERE.parent / "assets" / "images" / "coffee.png"
# What projects import and do not call here, some of it compiled for CUDA.
ABSENT = "natten wandb adet._C mss gradio panopticapi panopticapi.utils"


def differences(ours: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Say where an answer leaves the tolerances of the stored answers; an empty list when nowhere."""
    if ours.keys() != wanted.keys():
        return [f"the keys {sorted(ours.keys() ^ wanted.keys())} are in one alone"]
    found = []
    rows = [key for key in wanted if key.startswith("instances.")]
    order = _order(ours, wanted) if "instances.scores" in rows else None
    for key, value in wanted.items():
        mine = ours[key]
        if not isinstance(value, np.ndarray):
            limit = SCORE if isinstance(value, float) else 0
            if key.endswith(".area"):  # of a segment
                limit = MASK_SHARE * wanted["panoptic_seg.0"].size
            is_other = mine != value if isinstance(value, str) else abs(mine - value) > limit
            found += [f"{key}: {mine} instead of {value}"] if is_other else []
            continue
        if mine.shape != value.shape:
            found.append(f"{key}: shape {mine.shape} instead of {value.shape}")
            continue
        mine = mine[order] if key in rows and order is not None else mine
        if value.dtype == bool or key in ("panoptic_seg.0", "sem_seg") or np.isin(value, (0, 1)).all():
            apart = (mine.argmax(0) != value.argmax(0)) if key == "sem_seg" else mine != value
            found += [f"{key}: {apart.mean():.4%} differ"] if apart.size and apart.mean() > MASK_SHARE else []
        elif value.size:
            apart = float(np.abs(mine.astype(float) - value).max())
            limit = BOX_PX if key == "instances.pred_boxes" else SCORE * max(1.0, float(np.abs(value).max()))
            found += [f"{key}: {apart} apart"] if apart > limit else []
    return found


def _order(ours: dict[str, Any], wanted: dict[str, Any]) -> Any:
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


def run(name: str, by: str, folder: Path) -> Any:
    """Run a program on Detectron2 or on litepred, and return what its models answered; or the lines of its failure."""
    program = PROGRAMS[name]
    checkout = Path(DETECTRON2 if program.checkout.startswith("/") else FOLDER, program.checkout.lstrip("/"))
    out = folder / by
    out.mkdir()
    # Detectron2's run makes the weights, as nothing is at the empty address, and litepred's reads them.
    made = folder / "weights.pth"
    places = {"picture": PICTURE, "out": out, "weights": made if by == "litepred" else ""}
    places |= {"pictures": folder / "pictures", "detectron2": DETECTRON2, "checkout": checkout}
    places["pictures"].mkdir(exist_ok=True)
    shutil.copy(PICTURE, places["pictures"])
    arguments = [one.format_map(places) for one in program.arguments]
    if program.code:
        arguments = [str(out / "program.py")]
        Path(arguments[0]).write_text(program.code.format_map(places), encoding="utf-8")
    path = [HERE / "preamble", *[DETECTRON2] * (by == "detectron2"), checkout]
    path += [checkout / one.format_map(places) for one in program.more]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [*path, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])),
        "LITEPRED_ABSENT": ABSENT + " MultiScaleDeformableAttention" * (by == "detectron2"),
        "LITEPRED_ANSWERS": str(out / "answers"),
        "LITEPRED_MAKES_WEIGHTS": str(made),
        "MPLBACKEND": "Agg",
    }
    how = ["-m", "litepred", "run", "--replace"] if by == "litepred" else []
    done = subprocess.run(
        [sys.executable, *how, *arguments], cwd=checkout, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        return done.stderr.splitlines()
    return pickle.loads((out / "answers").read_bytes())


@pytest.mark.projects
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_answers_as_on_detectron2(tmp_path, name):
    checkout = PROGRAMS[name].checkout
    if not FOLDER or not DETECTRON2 or not (checkout.startswith("/") or Path(FOLDER, checkout).is_dir()):
        pytest.skip(f"LITEPRED_PROJECTS has no {checkout}, or there is no LITEPRED_DETECTRON2")
    wanted = run(name, "detectron2", tmp_path)
    if isinstance(wanted[-1], str) and "ModuleNotFoundError" in wanted[-1]:
        pytest.skip(wanted[-1])
    assert isinstance(wanted[-1], dict), "\n".join(wanted[-20:])
    ours = run(name, "litepred", tmp_path)
    assert isinstance(ours[-1], dict), "\n".join(ours[-20:])
    assert [differences(*pair) for pair in zip(ours, wanted, strict=True)] == [[]] * len(wanted)
