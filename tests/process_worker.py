"""What other processes run in the tests; here, because they import it by name."""

from __future__ import annotations

from typing import Any

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
