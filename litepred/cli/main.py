"""From the command line to a command and its exit status."""

from __future__ import annotations

import argparse
import errno
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .. import __version__
from ..errors import LitepredError
from . import benchmark, convert, densepose, evaluate, inspect, predict, run, zoo

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's own arguments); returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="litepred", description="Run Detectron2-style models without Detectron2.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"litepred {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (predict, evaluate, zoo, inspect, convert, benchmark, densepose, run):
        command.add_parser(commands)
    with _any_text():
        arguments = parser.parse_args(argv)
    if arguments.command == "run":  # the program's warnings, errors, signals and output are its own
        return _run(arguments)
    with warnings.catch_warnings(), _terminable(), _any_text():
        warnings.showwarning = _show_warning
        return _run(arguments)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"litepred: warning: {message}", file=sys.stderr)


@contextmanager
def _any_text() -> Iterator[None]:
    """Let standard output escape what its encoding lacks, as standard error does: a pipe of Windows has 256 letters."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    errors = stream.errors
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        stream.reconfigure(errors=errors)


class _Terminated(KeyboardInterrupt):
    """Someone asked the process to end: by ``kill``, a service manager, a container's stop."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does, so that temporary files are cleared away."""

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: clearing away is not to be cut short
        raise _Terminated

    # A program that calls `main` may have a handler of its own; and only the main thread has a say in signals.
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _is_broken_pipe(error: OSError) -> bool:
    """Tell what comes of writing to a closed pipe, which Windows may also call an invalid argument."""
    vague = sys.platform == "win32" and error.errno == errno.EINVAL and error.filename is None
    return vague or isinstance(error, BrokenPipeError)


def _run(arguments: argparse.Namespace) -> int:
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except LitepredError as error:
        print(f"litepred: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if not _is_broken_pipe(error):
            raise
        # whoever reads the output has enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except _Terminated:
        print("litepred: terminated", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("litepred: interrupted", file=sys.stderr)
        return 130
