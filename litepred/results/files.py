"""Files that hold lists or tables, written entry by entry; each appears whole or not at all."""

from __future__ import annotations

import codecs
import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import LitepredError
from ..files import whole_file

__all__ = ["CSV_COLUMNS", "TRACKED_COLUMNS", "Extend", "csv_table", "json_list", "plain", "plain_id", "write_json"]

CSV_COLUMNS = ("file", "frame", "category_id", "category", "score", "x1", "y1", "x2", "y2")
TRACKED_COLUMNS = (*CSV_COLUMNS, "track_id")
Extend = Callable[[Iterable[Any]], None]


def plain(value: Any) -> Any:
    """Return a number, an id or a list as Python has it, where it came as NumPy's or torch's, or as a path.

    Raises:
        LitepredError: it is something else.
    """
    if isinstance(value, (np.generic, np.ndarray, Tensor)):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, (bool, int, float, str, list, tuple, dict)):
        return value
    raise LitepredError(
        f"{value!r:.100} is a {type(value).__name__}, for which JSON has no form: expected numbers, texts, lists, dicts"
    )


def _json(content: Any) -> str:
    try:
        return json.dumps(content, default=plain)
    except TypeError:  # a key is NumPy's or torch's
        return json.dumps(_with_plain_keys(content), default=plain)


def _with_plain_keys(content: Any) -> Any:
    if isinstance(content, dict):
        found = {plain(key): _with_plain_keys(value) for key, value in content.items()}
        if wrong := [key for key in found if not (key is None or isinstance(key, (str, int, float)))]:
            raise LitepredError(f"{wrong[0]!r:.100} is no key that JSON has: expected a text or a number")
        return found
    return [_with_plain_keys(one) for one in content] if isinstance(content, (list, tuple)) else content


def plain_id(value: Any) -> Any:
    """Return the id of one image as Python has it, also out of the list or tensor that a loader of batches makes of it.

    Raises:
        LitepredError: it is several ids, or something that JSON has no form for.
    """
    found = plain(value)
    while isinstance(found, (list, tuple)) and len(found) == 1:
        found = found[0]
    if isinstance(found, (list, tuple, dict)):
        raise LitepredError(f"{value!r:.100} came as the id of an image: expected a number or a text for each image")
    return found


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
                file.write((separator + _json(entry)).encode())
                separator = ",\n"

        file.write(f"{{{json.dumps(key)}: [".encode() if key else b"[")
        yield extend
        file.write(b"\n]")
        for other, value in (rest or {}).items():
            file.write(f",\n{json.dumps(other)}: {_json(value)}".encode())
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


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write plain Python as JSON.

    Raises:
        WriteError: the file cannot be written.
    """
    with whole_file(path) as file:
        file.write(f"{_json(content)}\n".encode())
