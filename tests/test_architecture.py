"""ARCHITECTURE.md is true: its table says who may import whom, and every file that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from litepred.drop_in.names import MODULES, names_of

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "litepred"
MAP = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
MODULE = re.compile(r"\.{1,3}\w+(\.\w+)*|litepred(\.\w+)+")  # a module's name within quotes


def rooms_that_each_may_import() -> dict[str, set[str]]:
    """The table of rooms in ARCHITECTURE.md: the first column names rooms, the last one those that they import."""
    allowed: dict[str, set[str]] = {}
    for row in re.findall(r"^\| `(.*)\|$", MAP, flags=re.MULTILINE):
        first, *_, last = row.split("|")
        for room in re.findall(r"\w+", first):
            allowed[room] = set(re.findall(r"`(\w+)`", last))
    return allowed


def room_of(parts: tuple[str, ...]) -> str:
    return parts[0] if parts else "__init__"


def imported_modules(path: Path) -> set[tuple[str, ...]]:
    """What a file imports of the package, within the package: by statement, wherever it stands, or by a string."""
    package = path.relative_to(PACKAGE).parts[:-1]
    found: set[tuple[str, ...]] = set()

    def note(name: str) -> None:
        dots = len(name) - len(name.lstrip("."))
        parts = tuple(part for part in name.lstrip(".").split(".") if part)
        if dots:
            found.add((*package[: len(package) - dots + 1], *parts))
        elif parts[0] == "litepred":
            found.add(parts[1:])

    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                note(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                note(f"{module}.{alias.name}" if node.module else f"{module}{alias.name}")
        elif isinstance(node, ast.Constant) and id(node) not in docstrings and MODULE.fullmatch(str(node.value)):
            note(str(node.value))
    return found


def exists(parts: tuple[str, ...]) -> bool:
    """Whether ``parts`` begin with a module's name; an attribute of the package itself belongs to no other room."""
    return bool(parts) and ((PACKAGE / parts[0]).is_dir() or (PACKAGE / f"{parts[0]}.py").is_file())


def test_every_way_of_importing_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "layers").mkdir()
    path = tmp_path / "layers" / "one.py"
    path.write_text(
        '"""litepred.docstring"""\n'
        "import litepred.structures.boxes\n"
        "from .. import files\n"
        "from ..data import images\n"
        "from . import norm\n"
        "import torch\n"
        "from torch import nn\n"
        "def late():\n"
        "    from ..cli.common import x\n"
        "    importlib.import_module('..densepose.heads', __package__)\n"
        "    return {'Name': 'litepred.drop_in', 'other': 'torch.nn', 'text': 'a sentence.'}\n"
    )
    assert imported_modules(path) == {
        ("structures", "boxes"),
        ("files",),
        ("data", "images"),
        ("layers", "norm"),
        ("cli", "common", "x"),
        ("densepose", "heads"),
        ("drop_in",),
    }


def test_rooms_import_as_the_table_says():
    allowed = rooms_that_each_may_import()
    wrong, used = [], set()
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if room in ("__init__", "__main__"):  # the door: it names everything and imports it when touched
            continue
        assert room in allowed, f"ARCHITECTURE.md has no row for {room}"
        for module in imported_modules(path):
            target = room_of(module)
            if target == room or not exists(module):
                continue
            used.add((room, target))
            if target not in allowed[room]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {'.'.join(module)}")
    for name in MODULES:  # the drop-in names its modules in a table
        homes = {home.partition(":")[0].split(".")[1] for home in names_of(name).homes.values() if "litepred." in home}
        used |= {("drop_in", home) for home in homes - {"drop_in"}}
        wrong += [f"{name} is in {home}" for home in homes - {"drop_in"} - allowed["drop_in"]]
    assert wrong == []
    assert {(room, target) for room, targets in allowed.items() for target in targets} == used


def test_no_two_rooms_import_each_other():
    allowed = rooms_that_each_may_import()
    remaining = {room: set(targets) for room, targets in allowed.items()}
    while remaining:  # take away the rooms that import nothing which is left: circles stay
        free = {room for room, targets in remaining.items() if not targets & remaining.keys()}
        assert free, f"circles among {sorted(remaining)}"
        remaining = {room: targets for room, targets in remaining.items() if room not in free}


def test_every_file_that_the_map_names_exists():
    named = re.findall(r"`([\w/]+\.(?:py|md|txt|yaml))`", MAP)
    assert len(named) > 20
    assert [name for name in named if not (PACKAGE / name).is_file() and not (ROOT / name).is_file()] == []
