"""List the names that a checkpoint's pickles would have imported, without importing or building anything of them.

The steps of a pickle are read as Python reads them, but none does more than move things on the stack. So what a name
would have been called with plays no part, and names behind a step that fails elsewhere are found as well.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, BinaryIO, ClassVar

from .readers import find_checkpoint, kind_of_pickle
from .unpickler import NESTED_FILE, Unpickler, known_name

__all__ = ["Scan", "scan_checkpoint"]

_PICKLES_OF_A_LEGACY_FILE = 5
_DEEPEST = 4  # archives in archives
_MOST_BYTES = 100_000_000  # of one pickle or archive in an archive
_CODE = (".so", ".dll", ".dylib", ".py", ".pyc", ".cpp", ".cubin")


@dataclass
class Scan:
    """What a scan found.

    Attributes:
        format: of the file, as `Checkpoint.format` has it.
        read: names that stand in checkpoints, for which litepred has functions of its own.
        refused: other names, which another program would have imported, and files of code in an archive.
        problems: why parts of the file could not be scanned to their end; names may be missing then.
    """

    format: str
    read: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def scan_checkpoint(path: str | PathLike[str]) -> Scan:
    """List what the pickles of a checkpoint file name, those of archives inside included.

    Raises:
        CheckpointError: there is no such file, or it is of no known kind.
    """
    file, kind, _ = find_checkpoint(path)
    scan = Scan(kind)
    if scan.format != "safetensors":  # which holds numbers and text only
        with file.open("rb") as stream:
            _scan_stream(stream, scan.format, file.name, scan, 0)
    return scan


def _scan_stream(stream: BinaryIO, kind: str, name: str, scan: Scan, depth: int) -> None:
    def nested(content: bytes) -> None:
        _scan_stream(io.BytesIO(content), _kind_inside(content[:40]), f"{name}, inside", scan, depth + 1)

    try:
        if depth > _DEEPEST:
            raise ValueError(f"archives are nested deeper than {_DEEPEST} levels")
        if kind == "torch":
            _scan_archive(stream, name, scan, depth)
        else:
            for _ in range(_PICKLES_OF_A_LEGACY_FILE if kind == "torch-legacy" else 1):
                _Scanner(stream, scan, nested).load()
    except Exception as error:  # of any kind, where the file is damaged
        scan.problems.append(f"{name}: {type(error).__name__}: {error!s:.200}")


def _scan_archive(stream: BinaryIO, name: str, scan: Scan, depth: int) -> None:
    with zipfile.ZipFile(stream) as archive:
        for entry in archive.infolist():
            inside = f"{name}/{entry.filename}"
            if entry.filename.endswith(_CODE):
                scan.refused.add(inside)
            try:
                with archive.open(entry) as content:  # by the entry: two may have one name
                    head = content.read(40)
                    if not entry.filename.endswith(".pkl") and head[:4] != b"PK\x03\x04":
                        continue
                    data = head + content.read(_MOST_BYTES)
                if len(data) >= _MOST_BYTES:
                    raise ValueError(f"more than {_MOST_BYTES:,} bytes")
            except Exception as error:  # as above
                scan.problems.append(f"{inside}: {type(error).__name__}: {error!s:.200}")
                continue
            _scan_stream(io.BytesIO(data), _kind_inside(head), inside, scan, depth + 1)


def _kind_inside(head: bytes) -> str:
    return "torch" if head[:2] == b"PK" else kind_of_pickle(head)


def _moves(taken: int | None, given: bool) -> Callable[[Any], None]:
    """Return a step that takes so many things off the stack, or all since the last mark, and gives one or none."""

    def step(scanner: Any) -> None:
        if taken is None:
            scanner.pop_mark()
        elif taken:
            del scanner.stack[-taken:]
        if given:
            scanner.append(None)

    return step


class _Scanner(Unpickler):
    def __init__(self, stream: BinaryIO, scan: Scan, nested: Callable[[bytes], None]) -> None:
        super().__init__(stream)
        self._scan, self._nested = scan, nested

    def find_class(self, module: str, name: str) -> str | None:
        """Note a name; return what it is called in the table of those that may stand in a checkpoint."""
        path = f"{module}.{name}"
        known = known_name(path)
        (self._scan.refused if known is None else self._scan.read).add(path)
        return known

    def _load_reduce(self: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        content = arguments[0] if isinstance(arguments, tuple) and arguments else None
        if function == NESTED_FILE and isinstance(content, (str, bytes, bytearray)):
            self._nested(content.encode("latin1") if isinstance(content, str) else bytes(content))
        self.append(content if function == "_codecs.encode" else None)

    def _load_inst(self: Any) -> None:
        self.find_class(self.readline()[:-1].decode("utf-8"), self.readline()[:-1].decode("utf-8"))
        self.pop_mark()
        self.append(None)

    def _load_persid(self: Any) -> None:
        self.readline()
        self.append(None)

    dispatch: ClassVar[dict[int, Any]] = {
        **Unpickler.dispatch,
        pickle.REDUCE[0]: _load_reduce,
        pickle.INST[0]: _load_inst,
        pickle.PERSID[0]: _load_persid,
        pickle.BINPERSID[0]: _moves(1, True),
        pickle.BUILD[0]: _moves(1, False),
        pickle.NEWOBJ[0]: _moves(2, True),
        pickle.NEWOBJ_EX[0]: _moves(3, True),
        pickle.OBJ[0]: _moves(None, True),
        pickle.APPEND[0]: _moves(1, False),
        pickle.APPENDS[0]: _moves(None, False),
        pickle.SETITEM[0]: _moves(2, False),
        pickle.SETITEMS[0]: _moves(None, False),
        pickle.ADDITEMS[0]: _moves(None, False),
        pickle.DICT[0]: _moves(None, True),
        pickle.FROZENSET[0]: _moves(None, True),
    }
