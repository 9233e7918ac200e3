"""What a scan lists of a file, without importing or building anything of it."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import pytest
import torch
from checkpoint import test_fuzz, test_hostile
from checkpoint.test_hostile import (
    COMMAND,
    array,
    call,
    legacy,
    model,
    pickled_torch_file,
    plain,
    raw,
    tensor,
    torch_zip,
    twice,
)
from checkpoint.test_readers import old_tar

from litepred.checkpoint.scanner import Scan, scan_checkpoint
from litepred.cli import main
from litepred.errors import CheckpointError

# Hostile files that have a command in them, by other names.
ALSO = {"second pickle", "archive in an archive", "entry twice", "compiled program"}


def scan(path: Path, data: bytes) -> Scan:
    path.write_bytes(data)
    return scan_checkpoint(path)


@pytest.mark.parametrize("kind", test_fuzz.FILES)
def test_a_checkpoint_names_nothing_else(kind, tmp_path):
    found = scan(tmp_path / "a.pth", test_fuzz.FILES[kind])
    assert (found.refused, found.problems) == (set(), [])
    assert bool(found.read) == (kind != "safetensors")


@pytest.mark.parametrize("group", test_hostile.GROUPS)
def test_every_command_of_a_hostile_file_is_found(group, tmp_path):
    for name, data in test_hostile.GROUPS[group]():
        if "many" in name or len(data) > 1_000_000:
            continue
        try:
            refused = scan(tmp_path / "a.pth", data).refused
        except CheckpointError:  # by the first bytes
            refused = set()
        assert ("posix.system" in refused) == ("command" in name or name in ALSO), name


INSIDE = raw(plain(COMMAND).decode("latin1"))
ENCODED = b"c_codecs\nencode\n" + INSIDE + raw("latin1") + b"\x86R"
LOAD = b"ctorch.storage\n_load_from_bytes\n"


def written(content: bytes, opcode: bytes = b"B", size: str = "<I") -> bytes:
    return opcode + struct.pack(size, len(content)) + content


HIDDEN = written(plain(COMMAND))
FILES = {
    "in an entry whose name has capitals": torch_zip(tensor(), **{"DATA.PKL": plain(COMMAND)}),
    "in a storage that is made as an object": plain(b"(" + LOAD + HIDDEN + b"o"),
    "in a storage that is made as an instance": plain(b"(" + HIDDEN + b"i" + LOAD[1:]),
    "behind a magic number of another length": legacy(COMMAND).replace(b"\x8a\n", b"\x8b\n\0\0\0", 1),
    "behind a magic number that is kept": legacy(COMMAND).replace(b"\x19.", b"\x19q\0.", 1),
    "behind a magic number and nothing": legacy(COMMAND).replace(b"\x19.", b"\x19N0.", 1),
    "in a second pickle": plain(b"}") + plain(COMMAND),
    "in any entry": torch_zip(tensor(), **{"extra/x.pkl": plain(COMMAND)}),
    "in an entry of a name that is there twice": twice(torch_zip(tensor()), "x/data.pkl", plain(COMMAND)),
    "in an archive in an archive": torch_zip(tensor(), **{"data/weights/w.pt": torch_zip(model(COMMAND))}),
    "in a pickle in a storage": plain(model(pickled_torch_file(plain(COMMAND)))),
    "in a pickle of Python 2 in a storage": plain(b"ctorch.storage\n_load_from_bytes\n" + ENCODED + b"\x85R"),
    "behind what cannot be built": plain(b"cnumpy\ndtype\n)R" + raw(0) + b"b" + COMMAND),
    "behind a key that cannot be hashed": plain(b"}]Ns" + COMMAND),
}


@pytest.mark.parametrize("name", FILES)
def test_hidden_commands_are_found(name, tmp_path):
    assert scan(tmp_path / "a.pth", FILES[name]).refused == {"posix.system"}


MADE = [  # files with another inside, whose bytes or whose reader only a run of the steps would tell
    plain(LOAD + b")R"),
    plain(LOAD + call("__builtin__.bytearray", HIDDEN) + b"\x85R"),
    plain(LOAD + array(content=HIDDEN) + b"\x85R"),
    plain(LOAD + written(plain(COMMAND), b"\x96", "<Q") + b"\x85R", b"\x05"),  # to which bytes may be appended
    plain(LOAD + call("_codecs.encode", raw("c"), raw("utf-16")) + b"\x85R"),
    plain(call("torch._tensor._rebuild_from_type_v2", LOAD, b"ctorch\nTensor\n", HIDDEN + b"\x85", b"N")),
    plain(call("collections.OrderedDict") + b"}" + raw("__setstate__") + LOAD + b"sb" + HIDDEN + b"b"),
    plain(b"]" + LOAD + b"a"),
    plain(b"](" + LOAD + b"e"),
    plain(b"(" + LOAD + b"l"),
]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (plain(COMMAND)[:-1], "a.pth: EOFError"),
        (plain(COMMAND + b"\xff"), "a.pth: KeyError"),
        (torch_zip(tensor()).replace(b"x/data.pkl", b"x/dataXpkl", 1), "a.pth/x/data.pkl: BadZipFile"),
        (torch_zip(tensor())[:-22], "a.pth: BadZipFile"),
        (plain(b"}") + b"\xff", "a.pth: KeyError"),
        (plain(pickled_torch_file(old_tar())), "a.pth, inside: ValueError: it is a tar archive"),
        *((data, "a.pth: a torch file inside is made while it is read") for data in MADE),
        (b"PK\3\4" + bytes(99), "a.pth: BadZipFile"),
    ],
)
def test_what_cannot_be_scanned_is_told(data, problem, tmp_path):
    assert [one[: len(problem)] for one in scan(tmp_path / "a.pth", data).problems] == [problem]


def test_archives_are_not_followed_for_ever(tmp_path):
    data = torch_zip(model(COMMAND))
    for _ in range(9):
        data = torch_zip(tensor(), **{"w.pt": data})
    assert "nested deeper" in scan(tmp_path / "a.pth", data).problems[0]


def test_programs_are_named(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "a.pt"))
    refused = scan_checkpoint(tmp_path / "a.pt").refused
    assert any(name.endswith("/code/__torch__/torch/nn/modules/linear.py") for name in refused)


@pytest.mark.parametrize("data", [b"", b"<html>", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_checkpoint_is_refused(data, tmp_path):
    with pytest.raises(CheckpointError):
        scan(tmp_path / "a.pth", data)


class Payload:
    """The public proof of concept: Detectron2's checkpointer gives a .pkl to pickle.load."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return exec, (f"open({str(self.mark)!r}, 'w').close()",)


def test_a_file_that_runs_code_in_detectron2(tmp_path, capsys):
    file, mark = tmp_path / "model_final.pkl", tmp_path / "ran"
    file.write_bytes(pickle.dumps({"model": test_fuzz.ARRAYS, "__author__": Payload(mark)}, 2))
    assert main(["inspect", str(file)]) == 1
    assert "asks for __builtin__.exec, which is not plain data" in capsys.readouterr().err
    assert main(["inspect", "--scan", str(file)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == [f"{file}: pickle", "  refused       __builtin__.exec"]
    assert not mark.exists()
    with file.open("rb") as stream:
        pickle.load(stream)
    assert mark.exists()  # the file is real


def test_a_scan_as_json_of_a_good_file(tmp_path, capsys):
    (tmp_path / "a.pth").write_bytes(test_fuzz.FILES["safetensors"])
    assert main(["inspect", "--scan", "--json", str(tmp_path / "a.pth")]) == 0
    assert '"refused": []' in capsys.readouterr().out
