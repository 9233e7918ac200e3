"""``litepred densepose``: what DensePose's ``apply_net.py`` does, with the same arguments."""

from __future__ import annotations

import argparse
import sys

from ..densepose import apply_net
from ..errors import ImageError

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command to the subparsers of ``litepred``."""
    densepose = commands.add_parser(
        "densepose",
        help="map people in images to parts and coordinates of the body",
        description="Run a DensePose model of charts, with the arguments of DensePose's apply_net.py.",
    )
    apply_net.add_actions(densepose.add_subparsers(dest="action", required=True, metavar="ACTION"))
    densepose.set_defaults(run=_densepose)


def _densepose(arguments: argparse.Namespace) -> int:
    apply_net.start_logging(arguments)
    failures = 0
    for file, outcome in (apply_net.shown_files if arguments.action == "show" else apply_net.dumped_files)(arguments):
        if isinstance(outcome, ImageError):
            failures += 1
            print(f"litepred: error: {outcome}", file=sys.stderr)
        else:
            print(f"{file} -> {outcome}", flush=True)
    return 1 if failures else 0
