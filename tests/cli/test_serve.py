"""``litepred serve``, as typed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest
import uvicorn
from process_worker import images, tiny_predictor
from served import png, wait_until

from litepred.cli import main, serve
from litepred.cli.arguments import CommandParser


def options(*typed):
    parser = CommandParser()
    serve.add_options(parser)
    return parser.parse_args(typed)


def test_limits_from_options_and_from_the_environment(monkeypatch):
    plain = options()
    assert (plain.host, plain.port, plain.max_bytes, plain.max_pixels) == ("127.0.0.1", 8000, 16_000_000, 25_000_000)
    assert (plain.timeout, plain.queue, plain.batch_size) == (60, 32, None)
    for name in ("HOST", "PORT", "MAX_BYTES", "MAX_PIXELS", "TIMEOUT", "QUEUE", "BATCH_SIZE"):
        monkeypatch.setenv(f"LITEPRED_SERVE_{name}", {"HOST": "::1", "TIMEOUT": "1.5"}.get(name, "7"))
    given = options("--queue", "9")
    assert (given.host, given.port, given.max_bytes, given.max_pixels) == ("::1", 7, 7, 7)
    assert (given.timeout, given.queue, given.batch_size) == (1.5, 9, 7)


@pytest.mark.parametrize(
    ("typed", "environment", "told"),
    [
        (["--port", "65536"], {}, "argument --port: '65536' came: expected a port"),
        (["--timeout", "inf"], {}, "expected a number of seconds above 0"),
        (["--queue", "0"], {}, "argument --queue: '0' came"),
        (["--host", ""], {}, "argument --host: an empty text came: expected an address"),
        ([], {"LITEPRED_SERVE_HOST": ""}, "the environment variable LITEPRED_SERVE_HOST is not usable: an empty text"),
        (["--max-pixels", "few"], {"LITEPRED_SERVE_MAX_PIXELS": "many"}, "argument --max-pixels: 'few' came"),
        (
            [],
            {"LITEPRED_SERVE_MAX_PIXELS": "many"},
            "the environment variable LITEPRED_SERVE_MAX_PIXELS is not usable: 'many' came",
        ),
    ],
)
def test_limits_that_are_none(typed, environment, told, monkeypatch, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["serve", *typed])
    assert told in capsys.readouterr().err


def test_the_help_names_what_the_environment_does_not_give(monkeypatch):
    monkeypatch.setenv("LITEPRED_SERVE_ACCESS_LOG", "1")
    assert not options().access_log
    assert "All of the last two groups but --access-log can also come from the environment" in serve.EPILOG


def test_an_address_that_is_taken(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1 port {port} (" in capsys.readouterr().err
    assert main(["serve", "--host", "no.such.host.invalid"]) == 1
    assert "or a --host of this machine" in capsys.readouterr().err


def test_a_port_on_which_another_service_loads_its_model(monkeypatch, capsys):
    with serve._bound("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(serve, "make_predictor", lambda arguments: pytest.fail("a model is loaded"))
        assert main(["serve", "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1 port {port} (" in capsys.readouterr().err


def test_without_the_extra(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("litepred.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve"]) == 1
    assert "fastapi is missing: pip install 'litepred[serve]'" in capsys.readouterr().err


def test_from_start_to_end(monkeypatch, capsys):
    """In a thread, where uvicorn leaves the signals alone."""
    servers, real = [], uvicorn.Server
    monkeypatch.setattr(uvicorn, "Server", lambda config: servers.append(real(config)) or servers[0])
    monkeypatch.setattr(serve, "make_predictor", lambda arguments: tiny_predictor())
    done = []
    thread = threading.Thread(target=lambda: done.append(main(["serve", "--port", "0", "--access-log"])))
    thread.start()
    wait_until(lambda: servers and servers[0].started)
    host, port = servers[0].servers[0].sockets[0].getsockname()
    with urllib.request.urlopen(f"http://{host}:{port}/predict", png(images()[0]), timeout=30) as response:
        assert json.load(response)["instances"]
        assert "server" not in response.headers
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{host}:{port}/predict?classes=x", png(images()[0]), timeout=30)
    assert json.load(refused.value)["error"].startswith("classes has 'x', which is no class")
    servers[0].should_exit = True
    thread.join(20)
    told = capsys.readouterr()
    assert done == [0]
    assert told.err.splitlines() == [f"litepred: serving on http://127.0.0.1:{port}", "litepred: stopped"]
    assert '"POST /predict HTTP/1.1" 200' in told.out


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could answer")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals(number):
    command = [sys.executable, "-m", "litepred", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        address = process.stderr.readline().split()[-1]
        wait_until(lambda: answers(address))
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr.read() == "litepred: stopped\n"


def answers(address):
    try:
        return urllib.request.urlopen(f"{address}/health", timeout=5).status == 200
    except OSError:
        return False
