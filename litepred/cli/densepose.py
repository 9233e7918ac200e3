"""Run a DensePose model of charts, with the arguments of DensePose's apply_net.py."""

from __future__ import annotations

import argparse
import sys

from ..densepose import apply_net
from ..errors import ImageError
from .common import CommandParser, check_model_arguments

__all__ = ["add_options", "run"]


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    apply_net.add_actions(parser.add_subparsers(dest="action", required=True, metavar="ACTION"))


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    arguments.config, arguments.weights = arguments.cfg, arguments.model
    check_model_arguments(arguments)
    apply_net.start_logging(arguments)
    failures = 0
    for file, outcome in (apply_net.shown_files if arguments.action == "show" else apply_net.dumped_files)(arguments):
        if isinstance(outcome, ImageError):
            failures += 1
            print(f"litepred: error: {outcome}", file=sys.stderr)
        else:
            print(f"{file} -> {outcome}", flush=True)
    return 1 if failures else 0
