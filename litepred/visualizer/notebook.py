"""Instances as a notebook shows them: their picture, and a table."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from typing import Any

from ..data import Metadata, image_to_array
from ..errors import LitepredError
from ..structures import Instances
from ..structures.table import MOST_ROWS, caption, columns
from .visualizer import notebook_picture

__all__ = ["instances_html"]


def instances_html(instances: Instances, class_names: Sequence[str], image: Any) -> str | None:
    """Return a table of the first instances as HTML, and nothing where they have no field to show.

    Args:
        instances: with ``scores``, of which those above 0.5 are drawn.
        class_names: of the model's classes.
        image: that they are of, as a predictor takes it. There is no picture where it is ``None``, cannot be read any
            more, or has another size.
    """
    table = columns(instances, class_names)
    if not table:
        return None
    parts = ["" if image is None else _picture(instances, class_names, image), f"<p>{escape(caption(instances))}</p>"]
    if len(instances):
        cells = ["".join(f"<th>{escape(title)}</th>" for title in ("", *table))]
        cells += [
            f"<th>{i}</th>" + "".join(f"<td>{escape(text)}</td>" for text in row)
            for i, row in enumerate(zip(*table.values()))
        ]
        parts.append(f"<table>{''.join(f'<tr>{one}</tr>' for one in cells)}</table>")
    if len(instances) > MOST_ROWS:
        parts.append(f"<p>… and {len(instances) - MOST_ROWS} more</p>")
    return "".join(parts)


def _picture(instances: Instances, class_names: Sequence[str], image: Any) -> str:
    outputs: Any = {"proposals" if instances.has("proposal_boxes") else "instances": instances}
    metadata = Metadata(thing_classes=class_names) if class_names else None
    with suppress(LitepredError):  # a file that is gone
        array = image_to_array(image)
        if array.shape[:2] == instances.image_size:
            data = base64.b64encode(notebook_picture(array, outputs, metadata)._repr_png_()).decode("ascii")
            alt = escape(caption(instances))
            return f'<img alt="{alt}" style="max-width: 100%" src="data:image/png;base64,{data}">'
    return ""
