"""Instances as a short table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .instances import Instances

__all__ = ["MOST_ROWS", "as_text", "caption", "columns"]

MOST_ROWS = 20
_BOX_TITLES = {4: ("x1", "y1", "x2", "y2"), 5: ("x", "y", "width", "height", "angle")}
_SHOWN = ("pred_classes", "track_ids", "scores", "objectness_logits", "pred_boxes", "proposal_boxes")


def columns(instances: Instances, class_names: Sequence[str]) -> dict[str, list[str]]:
    """Return the table's columns by title, each with the texts of at most `MOST_ROWS` instances.

    There are none where no field is among those that models set.
    """
    found: dict[str, list[str]] = {}
    first = {name: value[:MOST_ROWS] for name, value in instances.get_fields().items() if name in _SHOWN}
    if "pred_classes" in first:
        labels = first["pred_classes"].tolist()
        found["class"] = [class_names[i] if 0 <= i < len(class_names) else f"class_{i}" for i in labels]
    if "track_ids" in first:
        found["track"] = [str(i) if i >= 0 else "" for i in first["track_ids"].tolist()]
    for name, title in (("scores", "score"), ("objectness_logits", "objectness")):
        if name in first:
            found[title] = [f"{value:.3f}" for value in first[name].tolist()]
    for name in ("pred_boxes", "proposal_boxes"):
        if name in first:
            boxes = first[name].tensor
            for i, title in enumerate(_BOX_TITLES[boxes.shape[1]]):
                found[title] = [f"{value:.1f}" for value in boxes[:, i].tolist()]
    return found


def caption(instances: Instances) -> str:
    """Say how many instances there are, in what an image, and with which fields besides those of the table."""
    height, width = instances.image_size
    others = [name for name in instances.get_fields() if name not in _SHOWN]
    noun = "proposal" if instances.has("proposal_boxes") else "instance"
    told = f"{len(instances)} {noun}{'' if len(instances) == 1 else 's'} in {height} × {width} pixels"
    return f"{told}, with {', '.join(others)}" if others else told


def as_text(instances: Instances, class_names: Sequence[str]) -> str:
    """Return a line about the instances, a table of the first, and how many more there are; "" where none is known."""
    table = columns(instances, class_names)
    if not table:
        return ""
    lines = [caption(instances)]
    if len(instances):
        table = {"": [str(i) for i in range(len(next(iter(table.values()))))], **table}
        cells = []
        for title, texts in table.items():
            width = max(map(len, (title, *texts)))
            aligned = str.ljust if title == "class" else str.rjust
            cells.append([aligned(text, width) for text in (title, *texts)])
        lines += ["  ".join(row).rstrip() for row in zip(*cells)]
    if len(instances) > MOST_ROWS:
        lines.append(f"… and {len(instances) - MOST_ROWS} more")
    return "\n".join(lines)
