"""What other processes run in the tests; here, because they import it by name."""

from __future__ import annotations

import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from tiny_models import tiny_cfg, tiny_image, tiny_model

from litepred import Predictor

SIZES = [(64, 96), (96, 64), (48, 48), (33, 71), (80, 50), (64, 65), (40, 90), (90, 40)]


def tiny_predictor(exact: bool = False, **kwargs: Any) -> Predictor:
    """Masks and keypoints on a pyramid."""
    changes = {"MASK_ON": True, "KEYPOINT_ON": True}
    cfg = tiny_cfg("fpn", **changes)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    return Predictor(cfg, weights=tiny_model("fpn", **changes).state_dict(), exact=exact, **kwargs)


def images() -> list[Any]:
    """One of each size."""
    return [tiny_image(*size, seed=i).permute(1, 2, 0).numpy() for i, size in enumerate(SIZES)]


def answer(outputs: dict[str, Any]) -> dict[str, Any]:
    """The instances as plain arrays."""
    found = outputs["instances"]
    return {
        "boxes": found.pred_boxes.tensor.numpy(),
        "scores": found.scores.numpy(),
        "classes": found.pred_classes.numpy(),
        "masks": found.pred_masks.numpy(),
        "keypoints": found.pred_keypoints.numpy(),
    }


def use_all_threads(predictor: Predictor) -> None:
    """Run the model on an image that is worth sharing between threads."""
    predictor.model([{"image": torch.zeros(3, 600, 600)}])


def predict_all(queue: Any, threads: int | None) -> None:
    """Build a predictor, and put its answers into the queue."""
    predictor = tiny_predictor(threads=threads)
    use_all_threads(predictor)
    queue.put([answer(predictor(image)) for image in images()])


def first_use_in_eight_threads() -> None:
    """Let eight threads of a process that has used nothing yet build a predictor each, and predict.

    Raises:
        AssertionError: their answers differ; or the interpreter can do without its lock, and has it on now.
    """
    together = threading.Barrier(8)

    def work(_: int) -> list[dict[str, Any]]:
        together.wait()
        predictor = tiny_predictor(threads=1)
        return [answer(predictor(image)) for image in images()[:3]]

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(work, range(8))
    assert all(len(one["boxes"]) for one in first)
    for answers in others:
        for one, other in zip(answers, first, strict=True):
            assert all(np.array_equal(value, other[name]) for name, value in one.items())
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert not sys._is_gil_enabled()  # type: ignore[attr-defined]
