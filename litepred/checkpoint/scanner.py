"""List the names that a checkpoint's pickles would have imported, without importing or building anything of them.

The steps of a pickle are read as Python reads them, but none does more than move things on the stack. So what a name
would have been called with plays no part, and names behind a step that fails elsewhere are found as well.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, BinaryIO, ClassVar

from .readers import find_checkpoint, is_tar, kind_of_pickle
from .unpickler import LATIN1, NESTED_FILE, Unpickler, known_name

__all__ = ["Scan", "scan_checkpoint"]

_PICKLES_OF_A_LEGACY_FILE = 5  # and then numbers
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
    file, kind, *_ = find_checkpoint(path)
    scan = Scan(kind)
    if scan.format != "safetensors":  # which holds numbers and text only
        with file.open("rb") as stream:
            _scan_stream(stream, scan.format, file.name, scan, 0)
    return scan


def _scan_stream(stream: BinaryIO, kind: str, name: str, scan: Scan, depth: int) -> None:
    def nested(content: Any) -> None:
        if not isinstance(content, (str, bytes)):
            told = f"{name}: a torch file inside is made while it is read, so that its bytes are not known"
            scan.problems += [] if told in scan.problems else [told]
            return
        data = content.encode("latin1") if isinstance(content, str) else content
        _scan_stream(io.BytesIO(data), _kind_inside(data[:40]), f"{name}, inside", scan, depth + 1)

    try:
        if depth > _DEEPEST:
            raise ValueError(f"archives are nested deeper than {_DEEPEST} levels")
        if kind == "torch":
            _scan_archive(stream, name, scan, depth)
        elif is_tar(stream.read(512)):
            raise ValueError("it is a tar archive, which PyTorch unpacks")
        else:
            stream.seek(0)
            for _ in range(_PICKLES_OF_A_LEGACY_FILE):
                _Scanner(stream, scan, nested).load()
                end = stream.tell()
                if kind == "pickle" and not stream.read(1):
                    break
                stream.seek(end)  # the first of a legacy file's may be spelled so that it is not known by it
    except Exception as error:  # of any kind, where the file is damaged
        scan.problems.append(f"{name}: {type(error).__name__}: {error!s:.200}")


def _scan_archive(stream: BinaryIO, name: str, scan: Scan, depth: int) -> None:
    with zipfile.ZipFile(stream) as archive:
        for entry in archive.infolist():
            inside = f"{name}/{entry.filename}"
            name_in_one_case = entry.filename.casefold()  # as PyTorch compares them
            if name_in_one_case.endswith(_CODE):
                scan.refused.add(inside)
            try:
                with archive.open(entry) as content:  # by the entry: two may have one name
                    head = content.read(40)
                    if not name_in_one_case.endswith(".pkl") and head[:4] != b"PK\x03\x04":
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
        scanner.note(scanner.pop_mark() if taken is None else scanner.stack[-taken:])
        if taken:
            del scanner.stack[-taken:]
        if given:
            scanner.append(None)

    return step


def _noted(opcode: bytes) -> dict[int, Callable[[Any], None]]:
    """Put a look at what was made behind an inherited step."""

    def step(scanner: Any) -> None:
        Unpickler.dispatch[opcode[0]](scanner)
        scanner.note(scanner.stack[-1])

    return {opcode[0]: step}


class _Scanner(Unpickler):
    def __init__(self, stream: BinaryIO, scan: Scan, nested: Callable[[Any], None]) -> None:
        super().__init__(stream)
        self._scan, self._nested = scan, nested

    def find_class(self, module: str, name: str) -> str | None:
        """Note a name; return what it is called in the table of those that may stand in a checkpoint."""
        path = f"{module}.{name}"
        known = known_name(path)
        (self._scan.refused if known is None else self._scan.read).add(path)
        return known

    def note(self, parts: Sequence[Any]) -> None:
        """Look at what becomes part of something else, by which it may be called where no step tells it."""
        if NESTED_FILE in parts:
            self._nested(None)

    def _call(self: Any, function: Any, arguments: Any) -> None:
        content, *others = arguments if isinstance(arguments, (tuple, list)) and arguments else [None]
        if function == NESTED_FILE:
            self._nested(content)
        codec = others[0] if function == "_codecs.encode" and len(others) == 1 else None
        self.append(content if isinstance(codec, str) and codec.lower() in LATIN1 else None)

    def _load_reduce(self: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self._call(function, arguments)

    def _load_obj(self: Any) -> None:
        function, *arguments = self.pop_mark()
        self._call(function, arguments)

    def _load_inst(self: Any) -> None:
        function = self.find_class(self.readline()[:-1].decode("utf-8"), self.readline()[:-1].decode("utf-8"))
        self._call(function, self.pop_mark())

    def _load_persid(self: Any) -> None:
        self.readline()
        self.append(None)

    dispatch: ClassVar[dict[int, Any]] = {
        **Unpickler.dispatch,
        **_noted(pickle.LIST),
        **_noted(pickle.TUPLE),
        **_noted(pickle.TUPLE1),
        **_noted(pickle.TUPLE2),
        **_noted(pickle.TUPLE3),
        pickle.REDUCE[0]: _load_reduce,
        pickle.OBJ[0]: _load_obj,
        pickle.INST[0]: _load_inst,
        pickle.PERSID[0]: _load_persid,
        pickle.BINPERSID[0]: _moves(1, True),
        pickle.BUILD[0]: _moves(1, False),
        pickle.NEWOBJ[0]: _moves(2, True),
        pickle.NEWOBJ_EX[0]: _moves(3, True),
        pickle.APPEND[0]: _moves(1, False),
        pickle.APPENDS[0]: _moves(None, False),
        pickle.SETITEM[0]: _moves(2, False),
        pickle.SETITEMS[0]: _moves(None, False),
        pickle.ADDITEMS[0]: _moves(None, False),
        pickle.DICT[0]: _moves(None, True),
        pickle.FROZENSET[0]: _moves(None, True),
    }
