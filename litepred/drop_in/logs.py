"""Logging as Detectron2's scripts set it up and use it."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FORMAT = "[%(asctime)s %(short_name)s]: %(levelname)s %(message)s"
_DATE = "%m/%d %H:%M:%S"
_calls: Counter[tuple[str, ...]] = Counter()
_last_logged: dict[tuple[str, ...], float] = {}


def setup_logger(
    output: str | os.PathLike[str] | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "detectron2",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """Let a logger write to standard output and to a file, and return it; a second call changes nothing.

    Args:
        output: a file that ends in ``.txt`` or ``.log``, or a folder that gets a ``log.txt``.
        distributed_rank: the number of this process. Only process 0 writes to standard output; each other process
            writes to a file with its number.
        color: not used; lines come without colours.
        name: the logger's name. The logger "detectron2" shows what litepred logs, too.
        abbrev_name: what stands for ``name`` in the lines; ``d2`` for ``detectron2``.
        enable_propagation: whether to pass records on to the loggers above.
        configure_stdout: whether to write to standard output.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = enable_propagation
    short_name = abbrev_name if abbrev_name is not None else "d2" if name == "detectron2" else name
    handlers: dict[str, logging.Handler] = {}
    if configure_stdout and distributed_rank == 0:
        handlers["stdout"] = logging.StreamHandler(sys.stdout)
    if output is not None:
        path = Path(output)
        if path.suffix not in (".txt", ".log"):
            path = path / "log.txt"
        if distributed_rank > 0:
            path = path.with_name(f"{path.name}.rank{distributed_rank}")
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers[os.path.abspath(path)] = logging.FileHandler(path, encoding="utf-8")

    def abbreviate(record: logging.LogRecord) -> bool:
        record.short_name = record.name.replace(name, short_name, 1)
        return True

    for target, handler in handlers.items():
        handler.set_name(f"litepred drop-in {name} {target}")
        handler.addFilter(abbreviate)
        handler.setFormatter(logging.Formatter(_FORMAT, _DATE))
        for one in (logger, logging.getLogger("litepred")) if name == "detectron2" else (logger,):
            if all(present.get_name() != handler.get_name() for present in one.handlers):
                one.addHandler(handler)
                one.setLevel(min(one.level or logging.INFO, logging.INFO))
    return logger


def _caller() -> tuple[str, tuple[str, ...]]:
    frame = sys._getframe(2)
    return frame.f_globals.get("__name__", "detectron2"), (frame.f_code.co_filename, str(frame.f_lineno))


def log_first_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None, key: Any = "caller") -> None:
    """Log a message at the first ``n`` calls that are the same, to the logger ``name`` or the calling module's.

    Calls are the same by ``key``: "caller" for their line of code, "message" for their text, or a tuple of both.
    """
    module, place = _caller()
    keys = (key,) if isinstance(key, str) else tuple(key)
    identity = (*(place if "caller" in keys else ()), *((msg,) if "message" in keys else ()))
    _calls[identity] += 1
    if _calls[identity] <= n:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log a message at every ``n``-th call from the same line, the first included."""
    module, place = _caller()
    _calls[place] += 1
    if n == 1 or _calls[place] % n == 1:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log a message from the same line at most once in ``n`` seconds."""
    module, place = _caller()
    now = time.monotonic()
    if now - _last_logged.get(place, -float("inf")) >= n:
        logging.getLogger(name or module).log(lvl, msg)
        _last_logged[place] = now


def _log_api_usage(identifier: str) -> None:
    """Do nothing: where Detectron2 may count who uses what, litepred does not."""


def create_small_table(small_dict: Mapping[str, Any]) -> str:
    """Return a dict of a few values as a table of Markdown: the names, and the values below them."""
    cells = [
        (str(name), f"{value:.3f}" if isinstance(value, float) else str(value)) for name, value in small_dict.items()
    ]
    widths = [max(map(len, cell)) for cell in cells]
    rows = [[text.center(width) for text, width in zip(row, widths)] for row in zip(*cells)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|".join(["", *(f":{'-' * width}:" for width in widths), ""]))
    return "\n".join(lines)
