"""Ctrl-C and SIGTERM in the middle of what writes files: no broken file, nothing left over, the usual exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from golden_answers import ASSETS
from PIL import Image

from litepred.cli import main
from litepred.cli.main import _terminable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
SIGNALS = pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)

# The process stops to be interrupted when all bytes are written and none of them is safe yet.
PAUSED = """
import os, sys, time
def pause(*_):
    print("now", flush=True)
    time.sleep(60)
os.fsync = pause
from litepred.cli import main
sys.exit(main(sys.argv[1:]))
"""


def interrupted(number: int, code: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run Python code, send the signal at its first line of output, and return its status and errors."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert first, errors
    return process.returncode, errors


@pytest.mark.parametrize(("number", "status", "there"), [(signal.SIGINT, 130, False), (signal.SIGTERM, 143, True)])
def test_convert(number, status, there, tmp_path):
    torch.save({"model": {"a": torch.ones(3)}}, tmp_path / "model.pth")
    target = tmp_path / "model.safetensors"
    if there:
        target.write_bytes(b"before")
    code, errors = interrupted(number, PAUSED, "convert", str(tmp_path / "model.pth"), str(target), "--force")
    assert (code, errors) == (status, f"litepred: {'interrupted' if status == 130 else 'terminated'}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pth", *["model.safetensors"] * there]
    assert not there or target.read_bytes() == b"before"


class Half(BaseHTTPRequestHandler):
    """Sends half of what it announces, and then nothing more."""

    enough: threading.Event

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 20))
        self.end_headers()
        self.wfile.write(bytes(1 << 19))
        self.enough.wait(60)

    def log_message(self, *_: object) -> None:
        pass


# The last half cannot come: the signal finds the process waiting for it.
DOWNLOADING = """
import sys, threading, time
from pathlib import Path
def tell():
    while not any(path.stat().st_size for path in Path(sys.argv[1]).rglob("*") if path.is_file()):
        time.sleep(0.01)
    print("now", flush=True)
threading.Thread(target=tell, daemon=True).start()
from litepred.cli import main
sys.exit(main(["inspect", sys.argv[2]]))
"""


@SIGNALS
def test_download(number, status, tmp_path):
    Half.enough = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Half) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/model.pth"
        code, errors = interrupted(number, DOWNLOADING, str(tmp_path), address, LITEPRED_CACHE=str(tmp_path))
        Half.enough.set()
        server.shutdown()
    assert code == status
    assert errors.splitlines()[-1] == f"litepred: {'interrupted' if status == 130 else 'terminated'}"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@SIGNALS
def test_predict(number, status, tmp_path):
    """Whatever is there is a whole picture."""
    page = ASSETS / "page_layout" / "skimage_page.png"
    code = "import sys; from litepred.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["predict", *[str(page)] * 200, "--output", str(tmp_path)]
    assert interrupted(number, code, *arguments)[0] == status
    written = list(tmp_path.iterdir())
    assert 0 < len(written) < 200
    for path in written:
        assert path.suffix == ".png"
        assert not path.name.startswith(".")
        with Image.open(path) as picture:
            picture.load()


SAVING = """
import os, sys, time
import torch
from litepred import DetectionCheckpointer
def pause(*_):
    print("now", flush=True)
    time.sleep(60)
os.fsync = pause
DetectionCheckpointer(torch.nn.Linear(2, 2), sys.argv[1]).save(sys.argv[2])
"""


@SIGNALS
@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
def test_save(number, status, suffix, tmp_path):
    """A program of the user's own: SIGTERM ends it at once and leaves the temporary file, but no broken one."""
    torch.save({}, tmp_path / f"model{suffix}")
    before = (tmp_path / f"model{suffix}").read_bytes()
    assert interrupted(number, SAVING, str(tmp_path), f"model{suffix}")[0] == -number
    left = [path.name for path in tmp_path.iterdir() if path.name != f"model{suffix}"]
    assert (tmp_path / f"model{suffix}").read_bytes() == before
    assert len(left) == int(number == signal.SIGTERM)
    assert all(name.startswith(".") and ".tmp" in name for name in left)


class TestHandler:
    """The command's handling of SIGTERM is its own affair: it begins and ends with the command."""

    def test_it_goes_with_the_command(self, capsys):
        assert main(["inspect", "nowhere.pth"]) == 1
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def test_a_handler_of_the_program_stays(self):
        def own(*_: object) -> None:
            pass

        signal.signal(signal.SIGTERM, own)
        try:
            with _terminable():
                assert signal.getsignal(signal.SIGTERM) is own
            assert signal.getsignal(signal.SIGTERM) is own
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def test_in_another_thread(self, capsys):
        statuses = []
        thread = threading.Thread(target=lambda: statuses.append(main(["inspect", "nowhere.pth"])))
        thread.start()
        thread.join()
        assert statuses == [1]


def test_two_threads_that_save_under_one_name(tmp_path):
    """Each has a temporary file of its own; the last one wins, whole."""
    from litepred.files import whole_file

    inside = threading.Barrier(2)

    def write(content: bytes) -> None:
        with whole_file(tmp_path / "x") as file:
            file.write(content[:5])
            inside.wait(10)
            file.write(content[5:])

    threads = [threading.Thread(target=write, args=(content,)) for content in (b"a" * 10, b"b" * 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Path(tmp_path / "x").read_bytes() in (b"a" * 10, b"b" * 10)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
