"""Run the command that was typed, and turn what comes of it into an exit status."""

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
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

from .. import __version__
from ..errors import LitepredError, in_words_of_commands, is_out_of_memory
from . import benchmark, compare, convert, densepose, doctor, evaluate, export, inspect, predict, push, run, serve, zoo
from .arguments import CommandParser
from .common import opencv_failure, say

__all__ = ["main"]

_COMMANDS: dict[Any, str] = {  # each is a module with add_options and run, and an EPILOG to its help if it has one
    predict: "find things in images and videos, and write pictures and result files",
    evaluate: "measure AP and panoptic quality on annotated images",
    zoo: "list the models that are known by name",
    inspect: "tell what a checkpoint is: format, model, classes, tensors",
    convert: "put weights, config and class names into one file, or write what Detectron2 loads",
    export: "write a model as an ONNX file, for programs without torch",
    push: "bring a model to the Hugging Face hub, with a model card",
    compare: "show where two models, or two ways of running one, differ",
    benchmark: "measure how fast a model is here",
    densepose: "map people in images to parts and coordinates of the body",
    serve: "answer over HTTP, with a page to try a model on",
    doctor: "tell what litepred runs on here: versions, devices, codecs, fonts, caches",
    run: "run a Python program that imports detectron2, without Detectron2",
}

_DESCRIPTION = """\
Run Detectron2-style models without Detectron2.

Each command says more with --help, such as litepred predict --help."""
_EPILOG = """\
examples:
  litepred predict photo.jpg --config COCO-Detection/retinanet_R_50_FPN_3x
  litepred predict photos --config config.yaml --weights model_final.pth
  litepred convert model_final.pth model.safetensors --config config.yaml"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's own arguments); returns its exit status."""
    parser = CommandParser(prog="litepred", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"litepred {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, told in _COMMANDS.items():
        name, epilog = command.__name__.rpartition(".")[2], getattr(command, "EPILOG", None)
        options = commands.add_parser(name, help=told, description=command.__doc__, epilog=epilog)
        options.set_defaults(run=command.run)
        command.add_options(options)
    with _streams():
        arguments = parser.parse_args((sys.argv[1:] if argv is None else argv) or ["--help"])
    if arguments.command == "run":  # the program's warnings, errors and signals are its own
        return _run(arguments)
    with _streams(), warnings.catch_warnings(), _terminable(), in_words_of_commands():
        warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
        return _run(arguments)


_STRICT = (("strict", "surrogateescape"), ("strict",))  # of encodings that lack letters, and of UTF-8


@contextmanager
def _streams() -> Iterator[None]:
    """Let any text be printed: a stream escapes letters that its encoding lacks, and a closed one swallows the text."""
    streams: tuple[TextIO | None, TextIO | None] = (sys.stdout, sys.stderr)
    with ExitStack() as stack:
        for stream, redirect in zip(streams, (redirect_stdout, redirect_stderr)):
            if stream is None:  # closed by the caller, or a program without a console
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8", errors="replace"))
                stack.enter_context(redirect(nowhere))
            elif isinstance(stream, io.TextIOWrapper) and stream.errors in _STRICT[stream.encoding == "utf-8"]:
                stack.callback(stream.reconfigure, errors=stream.errors)
                stream.reconfigure(errors="backslashreplace")
        yield


class _Terminated(KeyboardInterrupt):
    """SIGTERM came: from ``kill``, a service manager, or the stop of a container."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does, so that temporary files are cleared away."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one is not to cut the clearing away short
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
    """Tell whether an error comes from writing to a closed pipe, which Windows may call an invalid argument."""
    vague = sys.platform == "win32" and error.errno == errno.EINVAL and error.filename is None
    return vague or isinstance(error, BrokenPipeError)


def _run(arguments: argparse.Namespace) -> int:
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except LitepredError as error:
        say(f"error: {error}")
        return 1
    except OSError as error:  # a folder that may not be read, a full disk, an output that ends
        if not _is_broken_pipe(error):  # else whoever reads the output has enough, such as head
            say(f"error: {error}")
        try:
            sys.stdout.flush()
        except OSError:  # so that Python does not fail once more when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (MemoryError, ImportError, RuntimeError) as error:
        told = ""
        if is_out_of_memory(error):
            told = f"there is not enough memory ({error!s:.200}): close other programs, raise the limit of this one "
            told += "(ulimit -v), or take smaller batches"
        elif isinstance(error, ImportError) and arguments.command != "run":  # whose programs have errors of their own
            told = opencv_failure(error)
        if not told:
            raise
        say(f"error: {told}")
        return 1
    except _Terminated:
        say("terminated")
        return 143
    except KeyboardInterrupt:
        say("interrupted")
        return 130
