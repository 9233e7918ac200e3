"""Run a DensePose model of charts, with the arguments of DensePose's apply_net.py."""

from __future__ import annotations

import argparse

from ..densepose import apply_net
from ..errors import ImageError
from .arguments import CommandParser
from .common import check_model_arguments, say

__all__ = ["EPILOG", "add_options", "run"]

EPILOG = """\
examples:
  litepred densepose show config.yaml model_final.pkl photo.jpg dp_segm,bbox
  litepred densepose show DensePose/densepose_rcnn_R_50_FPN_s1x model.pkl \\
      photos dp_u --output pictures/part.png
  litepred densepose dump config.yaml model_final.pkl photos"""


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    apply_net.add_actions(parser.add_subparsers(dest="action", required=True, metavar="ACTION", help="each has --help"))


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    arguments.config, arguments.weights = arguments.cfg, arguments.model
    check_model_arguments(arguments)
    apply_net.start_logging(arguments)
    failures = 0
    for file, outcome in (apply_net.shown_files if arguments.action == "show" else apply_net.dumped_files)(arguments):
        if isinstance(outcome, ImageError):
            failures += 1
            say(f"error: {outcome}")
        else:
            print(f"{file} -> {outcome}", flush=True)
    return 1 if failures else 0
