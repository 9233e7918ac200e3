"""The package runs wherever Python does: nothing of POSIX alone, no encoding left to the platform."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import litepred

ROOT = Path(litepred.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MODULES = {"fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios", "tty", "pty"}
FUNCTIONS = {"chown", "fork", "getuid", "geteuid", "link", "mkfifo", "rename", "setsid", "symlink", "umask", "uname"}
SIGNALS = {"SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGCHLD", "alarm", "pause"}


def complaints(tree: ast.AST) -> list[str]:
    """Say what of a file would fail, or mean something else, on another platform."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [f"imports {name.name}" for name in node.names if name.name.split(".")[0] in MODULES]
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in MODULES:
            found.append(f"imports {node.module}")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            of_posix = {"os": FUNCTIONS, "signal": SIGNALS}.get(node.value.id, set())
            found += [f"uses {node.value.id}.{node.attr}"] if node.attr in of_posix else []
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(("/proc", "/tmp")):
            found.append(f"names {node.value}")
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant) and node.left.value == "://":
            found.append("takes C:// for an address, unlike litepred.files.is_address")
        if isinstance(node, ast.Call):
            found += _text_without_encoding(node)
    return found


def _text_without_encoding(call: ast.Call) -> list[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    of_path = isinstance(call.func, ast.Attribute)
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return []
    if name in ("read_text", "write_text"):
        return [f"{name} in line {call.lineno} without an encoding"]
    if name != "open" or (of_path and getattr(call.func.value, "id", "") in ("Image", "os", "zipfile", "webbrowser")):  # type: ignore[attr-defined]
        return []
    modes = [a.value for a in [*call.args, *(k.value for k in call.keywords)] if isinstance(a, ast.Constant)]
    binary = any(isinstance(mode, str) and "b" in mode and len(mode) <= 3 for mode in modes)
    opens_text = not call.args if of_path else len(call.args) < 2 or isinstance(call.args[1], ast.Constant)
    return [f"open in line {call.lineno} without an encoding"] if opens_text and not binary else []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_nothing_of_one_platform_alone(file):
    assert complaints(ast.parse(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import fcntl",
        "from resource import getrusage",
        "os.fork()",
        "signal.SIGKILL",
        "x = '/tmp/file'",
        "path.read_text()",
        "path.write_text(text)",
        "open(path)",
        "open(path, 'w')",
        "path.open()",
        "'://' in name",
    ],
)
def test_what_is_found(code):
    assert len(complaints(ast.parse(code))) == 1
