"""Answer over HTTP: POST an image, get what was found as JSON or as a picture.

Open the address in a browser for a page to try it on. One model serves all
clients; on an accelerator, images that wait run together. SIGTERM and Ctrl-C
let what was begun be finished. Needs pip install 'litepred[serve]'.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..errors import ConfigError, LitepredError, in_words_of_python
from .arguments import CommandParser, add, positive
from .common import add_model_arguments, check_model_arguments, make_predictor, say

__all__ = ["EPILOG", "add_options", "run"]

EPILOG = """\
examples:
  litepred serve
  litepred serve --config config.yaml --weights model_final.pth --port 9000
  litepred serve --engine openvino --queue 8 --access-log
  curl --data-binary @page.png 'http://127.0.0.1:8000/predict?threshold=0.7'
  curl -F image=@page.png 'http://127.0.0.1:8000/predict?format=png' -o seen.png

/health, /ready, /metrics (for Prometheus) and /openapi.json are there, too.
All of the last two groups but --access-log can also come from the environment,
as LITEPRED_SERVE_QUEUE for --queue. The service has no passwords and no TLS: to
let others than this machine reach it, put a server in front of it that has them."""

_MOST_CONNECTIONS = 512  # which have to wait for their turn here; more are answered with 503 in plain text


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    add_model_arguments(parser)
    where = parser.add_argument_group("where")
    host = _setting("host", "127.0.0.1", _host)
    add(where, "--host HOST", "address to listen on, 0.0.0.0 for all of this machine", **host)
    add(where, "--port PORT", "0 for any that is free", **_setting("port", "8000", _port))
    told = "besides localhost and addresses, as of a server in front of this one; default: any, or none on 127.0.0.1"
    add(where, "--host-names NAMES", f"by which clients may ask for it, {told}", **_setting("host-names", None))
    add(where, "--access-log", "write a line for each request")
    limits = parser.add_argument_group("limits")
    for spec, kind, default, told in (
        ("--max-bytes N", positive, "16000000", "of a request"),
        ("--max-pixels N", positive, "25000000", "of an image, refused before it is decoded"),
        ("--timeout SECONDS", _seconds, "60", "for a request to arrive, and again for its answer"),
        ("--queue N", positive, "32", "requests that are worked on or wait"),
        ("--batch-size N", positive, None, "images of one size that run together; default: 1 on the CPU, else 4"),
    ):
        add(limits, spec, told, **_setting(spec.split()[0][2:], default, kind))


def _setting(option: str, default: str | None, kind: Callable[[str], Any] = str) -> dict[str, Any]:
    """Return how an option is read that the environment may give as well; its errors tell which of both it was."""
    variable = f"LITEPRED_SERVE_{option.upper().replace('-', '_')}"
    given = os.environ.get(variable, default)

    def read(text: str) -> Any:
        try:
            return kind(text)
        except argparse.ArgumentTypeError as error:
            if text is not given:
                raise
            raise argparse.ArgumentTypeError(f"the environment variable {variable} is not usable: {error}") from error

    return {"type": read, "default": given}


def _host(text: str) -> str:
    if not text:  # which the system would take for all addresses of this machine
        raise argparse.ArgumentTypeError("an empty text came: expected an address, as in 127.0.0.1, or 0.0.0.0 for all")
    return text


def _host_names(arguments: argparse.Namespace) -> list[str] | None:
    """Return the names that are answered: those that were given; none where no other machine reaches the service."""
    if arguments.host_names is not None:
        return [name.strip().lower() for name in arguments.host_names.split(",")]
    with suppress(ValueError):
        if arguments.host == "localhost" or ipaddress.ip_address(arguments.host).is_loopback:
            return []
    return None


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} came: expected a port, 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} came: expected a number of seconds above 0")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    from ..serve import Limits, create_app

    check_model_arguments(arguments)
    names = ("max_bytes", "max_pixels", "timeout", "queue", "batch_size")
    limits = Limits(**{name: getattr(arguments, name) for name in names})
    with _bound(arguments.host, arguments.port) as listener:
        predictor = make_predictor(arguments)
        if smaller := getattr(predictor.model, "set_mask_format", None):
            with suppress(ConfigError):  # a model whose masks come in other formats alone
                smaller("roi")
        import uvicorn

        config = uvicorn.Config(
            create_app(predictor, limits, _host_names(arguments)),
            http="h11",
            ws="none",
            lifespan="on",
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=int(limits.timeout) + 1,
        )
        if arguments.access_log:
            logging.getLogger("uvicorn.access").setLevel(logging.INFO)
        host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        say(f"serving on http://{host}:{listener.getsockname()[1]}")
        with in_words_of_python(), suppress(KeyboardInterrupt):  # which uvicorn raises again once all is finished
            uvicorn.Server(config).run([listener])
    say("stopped")
    return 0


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that has its address, so that a second service is told before its model is loaded.

    It listens, as two sockets may have one address until one of them does: clients wait for the model.

    Raises:
        LitepredError: the port is taken, or the host is none of this machine.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if os.name == "posix":  # elsewhere it would let two programs have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise LitepredError(
            f"cannot listen on {host} port {port} ({error.strerror or error}): choose another --port, or a --host of "
            "this machine"
        ) from error
    return listener
