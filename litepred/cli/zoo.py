"""List the models that litepred knows by name.

A line has a model's family, what it finds, and where its checkpoint lies: in a
file on this machine if it was downloaded, else at its address; "none" where
only the config was released.

A name is what Predictor("…"), --config and litepred convert take.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ..errors import ConfigError, LitepredError
from ..files import read_rows
from .arguments import CommandParser, add
from .common import print_json, table

__all__ = ["EPILOG", "add_options", "run"]

EPILOG = """\
examples:
  litepred zoo
  litepred zoo keypoint
  litepred zoo mask fpn 3x --json"""


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    add(parser, "text TEXT", "only models whose line has all of these, in any case, with hyphens or not", nargs="*")
    add(parser, "--json", "print JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    from .. import model_zoo

    known = {name: told for name, *told in read_rows(Path(__file__).with_name("families.txt"))}  # as in the configs
    rows: list[tuple[str, str, str, str | None]] = []
    for name in model_zoo.list():
        family, finds = known[name]
        line = _plain(f"{name} {family} {finds}")
        if all(_plain(text) in line for text in arguments.text):
            rows.append((name, family, finds, _checkpoint(name)))
    if not rows:
        families = ", ".join(sorted({family for family, _ in known.values()}))
        asked = " and ".join(map(repr, arguments.text))
        raise LitepredError(f"no model of the zoo has {asked} in its line; the families are {families}")
    if arguments.json:
        print_json([dict(zip(("name", "family", "task", "checkpoint"), row)) for row in rows])
        return 0
    lines = [("model", "family", "finds", "checkpoint"), *((*row[:3], row[3] or "none") for row in rows)]
    print("\n".join(table(lines)))
    return 0


def _plain(text: str) -> str:
    return re.sub(r"[-_ ]", "", text).lower()


def _checkpoint(name: str) -> str | None:
    """Return the file of a checkpoint that was downloaded, else its address; ``None`` where none was released."""
    from .. import model_zoo
    from ..checkpoint.download import cached_file

    try:
        address = model_zoo.get_checkpoint_url(name)
    except ConfigError:
        return None
    file = cached_file(address)
    return address if file is None else str(file)
