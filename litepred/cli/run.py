"""Run a Python program that imports detectron2, on a machine without it.

Its imports find litepred. The program gets its ARGS, sys.path and __main__ as
from Python itself, and so do the processes that it starts with multiprocessing.
"""

from __future__ import annotations

import argparse

from .arguments import CommandParser, add

__all__ = ["EPILOG", "add_options", "run"]

EPILOG = """\
examples:
  litepred run demo.py --config-file config.yaml --input page.png
  litepred run -m package.module --help
  litepred run --replace script.py    also where Detectron2 is installed

LITEPRED_REPLACE=1 in the environment does what --replace does, in the program
and in each Python that it starts, such as by subprocess."""


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    add(parser, "--replace", "take litepred also where Detectron2 is installed")
    add(parser, "-m", "run a module, as python -m does", dest="as_module")
    add(parser, "program", "the program and its arguments", nargs=argparse.REMAINDER, metavar="SCRIPT ARGS")
    parser.usage = "litepred run [-h] [--replace] (SCRIPT | -m MODULE) [ARGS ...]"
    parser.set_defaults(usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    from ..drop_in.main import run_program

    if not arguments.program:
        arguments.usage_error("a SCRIPT or -m MODULE is missing")
    name, *rest = arguments.program
    return run_program(name, rest, as_module=arguments.as_module, replace=arguments.replace)
