"""``litepred run``: a program that imports Detectron2, run as it is."""

from __future__ import annotations

import argparse
from typing import Any

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


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``litepred``."""
    run = commands.add_parser(
        "run",
        help="run a Python program that imports detectron2, without Detectron2",
        usage="litepred run [-h] [--replace] (SCRIPT | -m MODULE) [ARGS ...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        prefix_chars="\0",  # no word is an option to argparse: they are the program's
    )
    run.add_argument("rest", nargs=argparse.REMAINDER, metavar="SCRIPT ARGS", help="the program and what it is given")
    run.set_defaults(run=lambda arguments: _run(run, arguments.rest))


def _run(parser: argparse.ArgumentParser, rest: list[str]) -> int:
    from ..drop_in.main import run_program

    replace, rest = "--replace" in _own(rest), [*rest]
    own = _own(rest)
    del rest[: len(own)]
    if {"-h", "--help"} & set(own):
        parser.print_help()
        parser.exit()
    unknown = [option for option in own if option != "--replace"]
    as_module = rest[:1] == ["-m"]
    del rest[: int(as_module)]
    if unknown or not rest:
        parser.error(f"unknown option {unknown[0]}" if unknown else "a SCRIPT or -m MODULE is missing")
    return run_program(rest[0], rest[1:], as_module=as_module, replace=replace)


def _own(rest: list[str]) -> list[str]:
    """The options before the program, which are ours."""
    end = next((i for i, word in enumerate(rest) if not word.startswith("-") or word == "-m"), len(rest))
    return rest[:end]
