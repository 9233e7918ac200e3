"""From the command line to a command and its exit status."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from .. import __version__
from ..errors import LitepredError
from . import convert, inspect, predict, run

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's own arguments); returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="litepred", description="Run Detectron2-style models without Detectron2.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"litepred {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (predict, inspect, convert, run):
        command.add_parser(commands)
    arguments = parser.parse_args(argv)
    if arguments.command == "run":  # the program's warnings and errors are its own
        return _run(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(arguments)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"litepred: warning: {message}", file=sys.stderr)


def _run(arguments: argparse.Namespace) -> int:
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except LitepredError as error:
        print(f"litepred: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever reads the output has enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("litepred: interrupted", file=sys.stderr)
        return 130
