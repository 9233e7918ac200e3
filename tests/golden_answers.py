"""Detectron2's stored answers, and how close ours must be to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ASSETS = Path(__file__).parent / "assets"
GOLDENS = ASSETS / "goldens"

BOX_PX, SCORE, MASK_SHARE, KEYPOINT_PX = 0.02, 5e-4, 2e-4, 0.05


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def image(name: str) -> np.ndarray:
    array = cv2.imread(str(ASSETS / "images" / f"{name}.png"))
    assert array is not None
    return array


def differences(outputs: dict[str, Any], golden: dict[str, np.ndarray], prefix: str = "") -> list[str]:
    """Say where a prediction leaves the tolerances of Detectron2's; an empty list when nowhere."""
    found: list[str] = []
    if f"{prefix}instances.pred_boxes" in golden:
        found += _instance_differences(outputs["instances"].to("cpu"), golden, f"{prefix}instances.")
    if f"{prefix}proposals.proposal_boxes" in golden:
        found += _proposal_differences(outputs["proposals"].to("cpu"), golden, f"{prefix}proposals.")
    if f"{prefix}sem_seg.argmax" in golden:
        ours, wanted = outputs["sem_seg"].cpu().numpy(), golden[f"{prefix}sem_seg.argmax"]
        if list(ours.shape) != golden[f"{prefix}sem_seg.shape"].tolist():
            return [*found, f"sem_seg has shape {ours.shape}"]
        wrong = float((ours.argmax(0) != wanted).mean())
        apart = float(np.abs(ours[:, ::16, ::16] - golden[f"{prefix}sem_seg.sample"]).max())
        found += [f"sem_seg: {wrong:.4%} of the pixels have another class"] if wrong > MASK_SHARE else []
        found += [f"sem_seg: logits are up to {apart} apart"] if apart > 1e-2 else []
    if f"{prefix}panoptic_seg.ids" in golden:
        found += _panoptic_differences(*outputs["panoptic_seg"], golden, f"{prefix}panoptic_seg.")
    return found


def _instance_differences(ours: Any, golden: dict[str, np.ndarray], prefix: str) -> list[str]:
    boxes, scores = golden[f"{prefix}pred_boxes"], golden[f"{prefix}scores"]
    classes = golden[f"{prefix}pred_classes"]
    if len(ours) != len(boxes):
        return [f"{len(ours)} instances instead of {len(boxes)}"]
    our_boxes, our_scores, our_classes = (
        ours.pred_boxes.tensor.numpy(),
        ours.scores.numpy(),
        ours.pred_classes.numpy(),
    )
    masks = None
    if f"{prefix}pred_masks" in golden:
        shape = golden[f"{prefix}pred_masks.shape"]
        masks = np.unpackbits(golden[f"{prefix}pred_masks"], axis=-1)[..., : shape[-1]].astype(bool)
        assert masks.shape == tuple(shape)
        if tuple(ours.pred_masks.shape) != masks.shape:
            return [f"masks of shape {tuple(ours.pred_masks.shape)} instead of {masks.shape}"]
    found, free = [], np.ones(len(ours), bool)
    for i in range(len(boxes)):
        apart = np.abs(our_boxes - boxes[i]).max(axis=1)
        near = (our_classes == classes[i]) & (apart <= BOX_PX) & (np.abs(our_scores - scores[i]) <= SCORE) & free
        if not near.any():
            same = our_classes == classes[i]
            closest = apart[same].min() if same.any() else None
            found.append(
                f"no match for instance {i} of class {classes[i]}: the nearest of its class is {closest} px off"
            )
            continue
        j = int(np.flatnonzero(near)[apart[near].argmin()])
        free[j] = False
        if masks is not None:
            wrong = float((ours.pred_masks[j].numpy() != masks[i]).mean())
            found += [f"instance {i}: {wrong:.4%} of its mask differs"] if wrong > MASK_SHARE else []
        if f"{prefix}pred_keypoints" in golden:
            wanted, points = golden[f"{prefix}pred_keypoints"][i], ours.pred_keypoints[j].numpy()
            off = float(np.abs(points[:, :2] - wanted[:, :2]).max())
            found += [f"instance {i}: a keypoint is {off} px off"] if off > KEYPOINT_PX else []
            off = float(np.abs(points[:, 2] - wanted[:, 2]).max())
            found += [f"instance {i}: a keypoint's score is {off} off"] if off > SCORE else []
    return found


def _proposal_differences(ours: Any, golden: dict[str, np.ndarray], prefix: str) -> list[str]:
    boxes = golden[f"{prefix}proposal_boxes"]
    if len(ours) != len(boxes):
        return [f"{len(ours)} proposals instead of {len(boxes)}"]
    apart = np.abs(ours.proposal_boxes.tensor.numpy()[None] - boxes[:, None]).max(axis=2)  # (golden, ours)
    logits = np.abs(ours.objectness_logits.numpy()[None] - golden[f"{prefix}objectness_logits"][:, None])
    missing = int(((apart > BOX_PX) | (logits > 1e-3)).all(axis=1).sum())
    return [f"{missing} of {len(boxes)} proposals have no match"] if missing else []


def _panoptic_differences(ids: Any, segments: Any, golden: dict[str, np.ndarray], prefix: str) -> list[str]:
    wanted = json.loads(str(golden[f"{prefix}segments_info"]))
    found = []
    if len(segments) != len(wanted):
        return [f"{len(segments)} panoptic segments instead of {len(wanted)}"]
    for ours, theirs in zip(segments, wanted):
        if list(ours) != list(theirs):
            found.append(f"segment {theirs['id']} has keys {list(ours)} instead of {list(theirs)}")
        for key, value in theirs.items():
            # two instances of nearly equal score may stand in another order
            slack = {"score": SCORE, "area": MASK_SHARE * golden[f"{prefix}ids"].size}.get(key, 0)
            if abs(ours[key] - value) > slack:
                found.append(f"segment {theirs['id']}: {key} is {ours[key]} instead of {value}")
    wrong = float((ids.cpu().numpy() != golden[f"{prefix}ids"]).mean())
    return [*found, f"{wrong:.4%} of the panoptic pixels differ"] if wrong > MASK_SHARE else found
