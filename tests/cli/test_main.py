"""The command as a whole: usage, help, and how it ends."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import warnings

import pytest

from litepred.cli import convert, inspect, main
from litepred.cli.main import _is_broken_pipe

COMMANDS = ("predict", "evaluate", "zoo", "inspect", "convert", "benchmark", "densepose", "doctor", "run")


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "--threshold", "2"],
        ["predict", "--threshold", "x"],
        ["predict", "--batch-size", "0"],
        ["predict", "--batch-size", "1.5"],
        ["evaluate"],
        ["train"],
        ["inspect"],
        ["convert", "a.pth"],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert "usage: litepred" in err
    assert " _" not in err  # the name of a function of ours


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 9.00 GiB"),
    ],
)
def test_too_little_memory_is_told(error, monkeypatch, capsys):
    def run(_):
        raise error

    monkeypatch.setattr(inspect, "run", run)
    assert main(["inspect", "a.pth"]) == 1
    assert "litepred: error: there is not enough memory" in capsys.readouterr().err


def test_opencv_that_cannot_be_loaded_is_told(unloadable_opencv, monkeypatch, capsys):
    def run(_):
        import cv2  # noqa: F401

    monkeypatch.setattr(inspect, "run", run)
    assert main(["inspect", "a.pth"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("litepred: error: OpenCV cannot be loaded (libGL.so.1: ")
    assert "libgl1 libglib2.0-0" in line and "opencv-python-headless" in line


@pytest.mark.parametrize("error", [RuntimeError("a mistake of ours"), ImportError("a mistake of ours")])
def test_other_errors_are_not_taken_for_that(error, monkeypatch):
    def run(_):
        raise error

    monkeypatch.setattr(inspect, "run", run)
    with pytest.raises(type(error), match="a mistake of ours"):
        main(["inspect", "a.pth"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict", "--treshold", "0.5"], "did you mean --threshold?"),
        (["predict", "--conf=0.5", "a.png"], "did you mean --threshold?"),
        (["evaluate", "--images", "a", "--annotation", "b"], "did you mean --annotations?"),
        (["zoo", "--jsno"], "did you mean --json?"),
        (["convert", "a.pth", "b.pth", "--haf"], "did you mean --half?"),
        (["benchmark", "--run", "1"], "did you mean --runs?"),
        (["densepose", "show", "a", "b", "c", "d", "--outptu", "e"], "did you mean --output?"),
        (["predict", "--save-txt"], "did you mean --format?"),
        (
            ["predict", "--format", "yolo,voc"],
            "'voc' is no format: expected yolo, labelme, cvat, label-studio, geojson",
        ),
        (["predict", "--format", "coco"], "options of their own: --coco, --csv, --save-json"),
        (["inspect", "a.pth", "b.pth"], "'b.pth' is one too many: expected FILE"),
        (["run", "--replac", "a.py"], "did you mean --replace?"),
    ],
)
def test_a_misspelled_option_gets_the_usage_of_its_command(arguments, told, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"usage: litepred {arguments[0]} ")
    assert err.endswith(f"{told}\n")


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS), ["--version"]])
def test_help(arguments, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert "litepred" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("encoding", ["ascii", "cp1251", "utf-8"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_in_any_encoding(command, encoding, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0


@pytest.mark.parametrize(
    ("encoding", "expected"), [("cp1252", b"\\u5199\\udcff\xd7\n"), ("utf-8", b"\xe5\x86\x99\\udcff\xc3\x97\n")]
)
def test_output_in_any_encoding(encoding, expected, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding, newline="\n")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(inspect, "_facts", lambda name: print("写\udcff×") or {"keys": {}})  # a name that is no text
    monkeypatch.setattr(inspect, "_page", lambda facts: [])
    monkeypatch.setattr(inspect, "_modules", lambda facts: [])
    assert main(["inspect", "a.pth"]) == 0
    assert out.buffer.getvalue().startswith(expected)
    assert out.errors == "strict"


def test_help_is_quick():
    code = "import sys; from litepred.cli import main\ntry: main(['convert', '--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_warnings_are_a_line_each(monkeypatch, capsys):
    monkeypatch.setattr(convert, "_source", lambda name: warnings.warn(f"{name} is odd", stacklevel=1))
    with pytest.raises(TypeError):
        main(["convert", "a.pth", "b.pth"])
    assert capsys.readouterr().err == "litepred: warning: a.pth is odd\n"


def test_an_interrupt(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(convert, "_source", interrupted)
    assert main(["convert", "a.pth", "b.pth"]) == 130
    assert capsys.readouterr().err == "litepred: interrupted\n"


@pytest.mark.parametrize(
    ("platform", "error", "is_one"),
    [
        ("linux", BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
        ("win32", BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
        ("win32", OSError(errno.EINVAL, "Invalid argument"), True),
        ("linux", OSError(errno.EINVAL, "Invalid argument"), False),
        ("win32", OSError(errno.EINVAL, "Invalid argument", "a?.csv"), False),
        ("win32", OSError(errno.ENOSPC, "No space left on device"), False),
    ],
)
def test_broken_pipes(platform, error, is_one, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    assert _is_broken_pipe(error) == is_one


def test_an_error_of_the_file_system(monkeypatch, capsys):
    def locked(name):
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(convert, "_source", locked)
    assert main(["convert", "a.pth", "b.pth"]) == 1
    assert capsys.readouterr().err == "litepred: error: [Errno 13] Permission denied: 'a.pth'\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_output_to_a_full_disk():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "litepred", "zoo", "retinanet"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.stderr == "litepred: error: [Errno 28] No space left on device\n"
    assert done.returncode == 1


def test_output_that_nobody_reads():
    code = "from litepred.cli import inspect, main; inspect._facts = lambda name: {'keys': {}}\n"
    code += (
        "inspect._page = inspect._modules = lambda facts: ['much'] * 100_000\nraise SystemExit(main(['inspect', '']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1


@pytest.mark.parametrize(
    ("encoding", "errors"),
    [("ascii", "strict"), ("cp1252", "strict"), ("utf-8", "strict"), ("ascii", "surrogateescape")],
)
def test_names_that_the_output_cannot_spell(encoding, errors, monkeypatch):
    """As a Windows console, a file's name that is no text, or ``LC_ALL=C`` without Python's UTF-8 mode."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, errors=errors) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(convert, "run", lambda given: print(given.source) or main(["inspect", "\u4e2d.pth"]))
    assert main(["convert", "\u4e2d\udcff", "b.pth"]) == 1
    for stream, text in ((out, "\u4e2d\udcff"), (err, "there is no checkpoint file \u4e2d.pth")):
        assert stream.errors == errors
        stream.seek(0)
        assert text.encode(encoding, "backslashreplace").decode(encoding) in stream.read()


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_without_a_console(closed, monkeypatch, capsys):
    monkeypatch.setattr(sys, closed, None)
    assert main(["zoo", "retinanet"]) == 0
    assert main(["inspect", "nowhere.pth"]) == 1
    assert getattr(sys, closed) is None
    captured = capsys.readouterr()
    assert ("retinanet" in captured.out) == (closed != "stdout")
    assert ("nowhere.pth" in captured.err) == (closed != "stderr")
    assert "nowhere.pth" not in captured.out
