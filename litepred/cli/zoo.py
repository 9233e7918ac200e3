"""``litepred zoo``: which models there are by name."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import ConfigError, LitepredError
from .families import family_of_config

__all__ = ["add_parser"]

_DESCRIPTION = """\
List the models that litepred knows by name, with their family, what they find,
and where their checkpoint lies: in a file on this machine if it was downloaded,
else at its address; "none" where only the config was released.

A name is what Predictor("…"), --config and litepred convert take."""
_EPILOG = """\
examples:
  litepred zoo
  litepred zoo keypoint
  litepred zoo mask fpn 3x --json"""


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``litepred``."""
    zoo = commands.add_parser(
        "zoo",
        help="list the models that are known by name",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    zoo.add_argument("text", nargs="*", metavar="TEXT", help="only models whose line has all of these, in any case")
    zoo.add_argument("--json", action="store_true", help="print JSON instead of a table")
    zoo.set_defaults(run=_zoo)


def _zoo(arguments: argparse.Namespace) -> int:
    from .. import model_zoo

    rows = [row for row in map(_facts, model_zoo.list()) if _has(row, arguments.text)]
    if not rows:
        raise LitepredError(f"no model of the zoo has {' and '.join(map(repr, arguments.text))} in its line")
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    titles = {"name": "model", "family": "family", "task": "finds", "checkpoint": "checkpoint"}
    lines = [titles, *({**row, "checkpoint": row["checkpoint"] or "none"} for row in rows)]
    widths = {key: max(len(line[key]) for line in lines) for key in ("name", "family", "task")}
    for line in lines:
        print("  ".join([*(f"{line[key]:<{width}}" for key, width in widths.items()), line["checkpoint"]]))
    return 0


def _has(row: dict[str, Any], texts: list[str]) -> bool:
    line = " ".join(str(row[key]) for key in ("name", "family", "task")).lower()
    return all(text.lower() in line for text in texts)


def _facts(name: str) -> dict[str, Any]:
    from .. import model_zoo

    family = family_of_config(model_zoo.get_config(name))
    found = [head for head in family.heads if head != "proposals"] or family.heads
    return {"name": name, "family": family.name, "task": ", ".join(found), "checkpoint": _checkpoint(name)}


def _checkpoint(name: str) -> str | None:
    """Return the file of a downloaded checkpoint, else its address, else nothing."""
    from .. import model_zoo
    from ..checkpoint.download import cached_file

    try:
        address = model_zoo.get_checkpoint_url(name)
    except ConfigError:
        return None
    file = cached_file(address)
    return address if file is None else str(file)
