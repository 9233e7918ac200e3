"""``litepred run``: a program that imports Detectron2, run as it is."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .common import CommandParser, Commands

__all__ = ["add_parser"]

_DESCRIPTION = """\
Run a Python program that imports detectron2, on a machine without it: the
imports find litepred. The program gets its ARGS, sys.path and __main__ as from
Python itself, and so do the processes that it starts with multiprocessing."""
_EPILOG = """\
examples:
  litepred run demo.py --config-file config.yaml --input page.png
  litepred run -m package.module --help
  litepred run --replace script.py    also where Detectron2 is installed"""


def add_parser(commands: Commands) -> None:
    """Add the command to the subparsers of ``litepred``."""
    parser = commands.add_parser(
        "run",
        help="run a Python program that imports detectron2, without Detectron2",
        usage="litepred run [-h] [--replace] (SCRIPT | -m MODULE) [ARGS ...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("--replace", action="store_true", help="take litepred also where Detectron2 is installed")
    parser.add_argument("-m", dest="as_module", action="store_true", help="run a module, as python -m does")
    parser.add_argument(
        "program", nargs=argparse.REMAINDER, metavar="SCRIPT ARGS", help="the program and its arguments"
    )
    parser.set_defaults(run=lambda arguments: _run(parser, arguments))


def _run(parser: CommandParser, arguments: argparse.Namespace) -> int:
    from ..drop_in.main import run_program

    if not arguments.program:
        parser.error("a SCRIPT or -m MODULE is missing")
    name, *rest = arguments.program
    return run_program(name, rest, as_module=arguments.as_module, replace=arguments.replace)
