"""Write lists of results entry by entry, so that a run over any number of images needs the memory of one."""

from __future__ import annotations

import codecs
import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..data import Metadata
from ..files import whole_file
from ..structures import Instances
from .plain import instances_to_coco_json, to_dicts

__all__ = ["CSV_COLUMNS", "csv_rows", "csv_table", "json_list", "write_coco", "write_csv", "write_json"]

CSV_COLUMNS = ("file", "frame", "category_id", "category", "score", "x1", "y1", "x2", "y2")
Extend = Callable[[Iterable[Any]], None]


@contextmanager
def json_list(path: str | os.PathLike[str], key: str = "", rest: Mapping[str, Any] | None = None) -> Iterator[Extend]:
    """Open a JSON file that holds a list, in a ``with`` block, and give the function that adds entries.

    The file appears at the end of the block, whole, and not at all when the block raises.

    Args:
        path: path of the file.
        key: key of the list, if the file is to be an object with the list in it.
        rest: the other keys of that object; it is read at the end, so that it can be filled meanwhile.

    Raises:
        WriteError: the file cannot be written.
    """
    with whole_file(path) as file:
        separator = "\n"

        def extend(entries: Iterable[Any]) -> None:
            nonlocal separator
            for entry in entries:
                file.write((separator + json.dumps(entry)).encode())
                separator = ",\n"

        file.write(f"{{{json.dumps(key)}: [".encode() if key else b"[")
        yield extend
        file.write(b"\n]")
        for other, value in (rest or {}).items():
            file.write(f",\n{json.dumps(other)}: {json.dumps(value)}".encode())
        file.write(b"}\n" if key else b"\n")


@contextmanager
def csv_table(path: str | os.PathLike[str], columns: Sequence[str] = CSV_COLUMNS) -> Iterator[Extend]:
    """Open a CSV file with a line of titles, in a ``with`` block, and give the function that adds rows, as dicts.

    The file appears at the end of the block, whole, and not at all when the block raises.

    Raises:
        WriteError: the file cannot be written.
    """
    with whole_file(path) as file:
        text = codecs.getwriter("utf-8")(file, "backslashreplace")  # names of files may hold what is no text
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        yield writer.writerows


def csv_rows(
    instances: Instances, file: str, metadata: Metadata | None = None, frame: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a row of `CSV_COLUMNS` per instance, its box in pixels; a proposal's score is its objectness logit."""
    for row in to_dicts(instances, metadata, masks="none"):
        x1, y1, x2, y2 = row["box"]
        yield {
            "file": file,
            "frame": "" if frame is None else frame,
            "category_id": row.get("category_id", ""),
            "category": row.get("category", ""),
            "score": row.get("score", row.get("objectness_logit", "")),
            **{"x1": x1, "y1": y1, "x2": x2, "y2": y2},
        }


def write_coco(
    path: str | os.PathLike[str],
    results: Iterable[tuple[int | str, Instances]],
    metadata: Metadata | None = None,
    masks: str = "rle",
) -> None:
    """Write COCO's results file, the list that pycocotools' ``loadRes`` takes.

    Args:
        path: path of the file.
        results: pairs of image id and instances, taken one at a time.
        metadata: gives the categories their ids; see `instances_to_coco_json`.
        masks: "rle", "polygon" or "none".

    Raises:
        WriteError: the file cannot be written.
        LitepredError: run lengths are wanted and pycocotools is missing.
    """
    with json_list(path) as extend:
        for image_id, instances in results:
            extend(instances_to_coco_json(instances, image_id, masks=masks, metadata=metadata))


def write_csv(
    path: str | os.PathLike[str], results: Iterable[tuple[str, Instances]], metadata: Metadata | None = None
) -> None:
    """Write instances as CSV: a line of titles, and a line for each.

    Args:
        path: path of the file.
        results: pairs of file name and instances, taken one at a time.
        metadata: gives the classes their names.

    Raises:
        WriteError: the file cannot be written.
    """
    with csv_table(path) as extend:
        for name, instances in results:
            extend(csv_rows(instances, name, metadata))


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write plain Python as JSON.

    Raises:
        WriteError: the file cannot be written.
    """
    with whole_file(path) as file:
        file.write(f"{json.dumps(content)}\n".encode())
