"""Files made to run code, to crash, or to take time and memory: each ends in a CheckpointError, soon and cheaply.

They are read in a process of their own, whose memory is limited and which a crash may end.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SECONDS = 4.0  # of the processor, for each file on a slow machine
MEGABYTES = 300  # by which the peak may rise
MANY = 150_000  # tuples in tuples end a process of Python


def raw(value: Any) -> bytes:
    """The steps that push a value."""
    return pickle.dumps(value, 2)[2:-1]


def shared_list() -> Any:
    """A list of two lists, which are one, of two lists ...: small, until it is written out."""
    value: Any = []
    for _ in range(60):
        value = [value, value]
    return value


NESTED = b"N" + b"\x85" * MANY  # a tuple in a tuple in a tuple ...
COMMAND = b"cposix\nsystem\n" + raw("true") + b"\x85R"


def call(name: str, *arguments: bytes) -> bytes:
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def array(
    shape: bytes = raw((1,)), order: str = "<", code: bytes = raw("f4"), names: bytes = b"N",
    content: bytes = raw("\0" * 4),
) -> bytes:  # fmt: skip
    """The steps that numpy writes for an array."""
    kind = call("numpy.dtype", code, raw(0), raw(1)) + b"(" + raw(3) + raw(order) + b"N" + names + b"N"
    kind += raw(-1) + raw(-1) + raw(0) + b"tb"
    start = call("numpy.core.multiarray._reconstruct", b"cnumpy\nndarray\n", raw((0,)), raw("b"))
    return start + b"(" + raw(1) + shape + kind + b"\x89" + content + b"tb"


def tensor(
    size: tuple[int, ...] = (1,), stride: tuple[int, ...] = (1,), offset: int = 0, numel: bytes = raw(1),
    key: bytes = raw("0"), kind: bytes = b"ctorch\nFloatStorage\n", view: bytes = b"",
) -> bytes:  # fmt: skip
    """The steps of a state dict of one tensor in a torch file."""
    storage = b"(" + raw("storage") + kind + key + raw("cpu") + numel + view + b"tQ"
    rebuilt = call("torch._utils._rebuild_tensor_v2", storage, raw(offset), raw(size), raw(stride), b"\x89", b"N")
    return b"}" + raw("a") + rebuilt + b"s"


def model(value: bytes) -> bytes:
    return b"}" + raw("model") + b"}" + raw("a") + value + b"ss"


def plain(steps: bytes, protocol: bytes = b"\x04") -> bytes:
    return b"\x80" + protocol + steps + b"."


def legacy(
    steps: bytes, keys: bytes = raw(["0"]), storages: bytes = struct.pack("<q", 1) + b"\0" * 4, little: bytes = b"\x88"
) -> bytes:  # fmt: skip
    """A file of torch.save's old format."""
    system = b"}" + raw("little_endian") + little + b"s"
    parts = (b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", raw(1001), system, steps, keys)
    return b"".join(plain(part, b"\x02") for part in parts) + storages


def torch_zip(steps: bytes, storage: bytes = b"\0" * 4, compression: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """A file of torch.save."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression, compresslevel=1) as archive:
        for name, data in {"data.pkl": plain(steps, b"\x02"), **more, "data/0": storage}.items():
            archive.writestr(f"x/{name}", data)
    return buffer.getvalue()


def twice(archive: bytes, name: str, data: bytes) -> bytes:
    """Add an entry of a name that is there already."""
    buffer = io.BytesIO(archive)
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as file:
        warnings.simplefilter("ignore")
        file.writestr(name, data)
    return buffer.getvalue()


def last_entry(archive: bytes, offset: int, new: bytes) -> bytes:
    """Change the last entry of an archive's directory."""
    start = archive.rindex(b"PK\x01\x02") + offset
    return archive[:start] + new + archive[start + len(new) :]


def pickled_torch_file(content: bytes) -> bytes:
    return call("torch.storage._load_from_bytes", b"B" + struct.pack("<I", len(content)) + content)


def pickles() -> Iterator[tuple[str, bytes]]:
    announced = struct.pack("<Q", 1 << 46) + b"x"
    bytes_kept = b"T" + struct.pack("<i", MANY) + b"\0" * MANY + b"q\x01"
    shared, inner = raw(shared_list()), b"N"
    for _ in range(300):
        inner = pickled_torch_file(legacy(inner))
    yield "command", plain(COMMAND)
    yield "command in a model", plain(model(COMMAND))
    yield "command kept for later", plain(b"cposix\nsystem\nq\x000h\x00" + raw("true") + b"\x85R")
    yield "command as a state", plain(model(array() + COMMAND + b"b"))
    yield "command as a key", plain(b"}" + COMMAND + b"Ns")
    yield (
        "command by names kept",
        plain(b"\x8c\x05posix\x94\x8c\x06system\x9400h\x00h\x01\x93" + raw("true") + b"\x85R"),
    )
    yield "command of an instance", plain(b"(" + raw("true") + b"iposix\nsystem\n")
    yield "command of an object", plain(b"(cposix\nsystem\n" + raw("true") + b"o")
    yield "command before a broken step", plain(COMMAND + b"0\xff")
    yield "command, and then the file ends", plain(COMMAND)[:-1]
    yield "command as the author", plain(model(array())[:-2] + b"s" + raw("__author__") + COMMAND + b"s")
    yield "command behind a checkpoint's key", plain(b"}" + raw("matching_heuristics") + COMMAND + b"s")
    yield "items for a byte array", plain(model(call("builtins.bytearray") + raw(0) + raw(1) + b"s"))
    yield "items for a list", plain(model(b"]" + raw(0) + raw(1) + b"s"))
    yield "items for a function", plain(b"cnumpy\ndtype\n(" + raw("a") + raw(1) + b"u")
    yield "items for an ordered list of pairs", plain(model(b"](" + raw(0) + raw(1) + b"\x90"))
    yield "extension code", plain(b"\x82\x01")
    yield "reference to outside", plain(raw("x") + b"Q")
    yield "reference in text", plain(b"Px\n")
    yield "buffer outside", plain(b"\x97", b"\x05")
    yield "no function called", plain(b"ctorch\nFloatStorage\n)R")
    yield "state of a dict's list", plain(b"]}b")
    yield "nothing on the stack", plain(b"RRR")
    yield "tuple nested as a key", plain(b"}" + NESTED + b"Ns")
    yield "tuple nested in a set", plain(b"\x8f(" + NESTED + b"\x90")
    yield "tuple nested in a frozenset", plain(b"(" + NESTED + b"\x91")
    yield "tuple nested in a dict of old", plain(b"(" + NESTED + b"Nd")
    yield "tuple nested in a set of old", plain(call("__builtin__.set", b"](" + NESTED + b"e"))
    yield "tuple nested in a counter", plain(call("collections.Counter", b"](" + NESTED + b"N\x86e"))
    yield "tuple nested in an ordered dict", plain(call("collections.OrderedDict", b"](" + NESTED + b"N\x86e"))
    yield "list nested", plain(model(b"]" * MANY + b"a" * (MANY - 1)))
    yield "keys that collide", plain(b"}(" + b"".join(raw(i * (2**61 - 1)) + b"N" for i in range(1, 30_000)) + b"u")
    yield "long number", plain(b"I" + b"9" * MANY + b"\n")
    yield "announced number of an object", plain(b"}r\xff\xff\xff\xff")
    yield "announced bytes", plain(b"\x8e" + announced)
    yield "announced text", plain(b"\x8d" + announced)
    yield "announced byte array", plain(b"\x96" + announced)
    yield "announced frame", plain(b"\x95" + announced)
    yield "announced long number", plain(b"\x8b\xff\xff\xff\x7fx")
    yield "many dicts", plain(b"}" * 30 * MANY)
    yield "many marks", plain(b"(" * 30 * MANY)
    for name, step in {
        "encoded": call("_codecs.encode", b"h\x01", raw("latin1")),
        "as a byte array": call("__builtin__.bytearray", b"h\x01"),
        "as an array": array(shape=raw((MANY // 4,)), order=">", content=b"h\x01"),
    }.items():
        yield f"many bytes again and again, {name}", plain(bytes_kept + step * 20_000)
    yield "shared list as an element type", plain(model(array(code=shared)))
    yield "shared list as a device", plain(model(call("torch.device", shared)))
    yield "shared list as a shape", plain(model(array(shape=shared)))
    yield "shared list as an array's content", plain(model(array(content=shared)))
    yield "shared list into an array", plain(model(array() + raw(0) + shared + b"s"))
    yield "array of objects", plain(model(array(code=raw("O8"), order="|", content=raw([None]))))
    yield "array of records", plain(model(array(names=raw(("x",)))))
    yield "array of a huge shape", plain(model(array(shape=raw((1 << 33,)))))
    yield "array of a negative shape", plain(model(array(shape=raw((-1,)))))
    yield "array of a broken shape", plain(model(array(shape=raw((1.0,)))))
    yield "array of huge elements", plain(model(array(code=raw("S999999999"))))
    yield "array without bytes", plain(model(array(content=b"N")))
    yield "torch files in torch files", plain(model(inner))


TENSORS: dict[str, dict[str, Any]] = {
    "repeated without end": {"size": (1 << 20, 1 << 20), "stride": (0, 0)},
    "larger than its numbers": {"size": (1000,)},
    "of an overflowing size": {"size": (1 << 62, 1 << 62), "stride": (1, 1)},
    "of a negative size": {"size": (-4,)},
    "of a negative stride": {"stride": (-1,)},
    "at a negative offset": {"offset": -1},
    "at a far offset": {"offset": 1 << 40},
    "of numbers without end": {"numel": raw(1 << 62)},
    "of more numbers than there are": {"numel": raw(2)},
    "of a negative count": {"numel": raw(-1)},
    "of a broken count": {"numel": raw(1.0)},
    "of numbers elsewhere": {"key": raw("../../x")},
    "of a nested key": {"key": NESTED},
    "of no type": {"kind": raw("FloatStorage")},
    "of two types": {"kind": b"ctorch\nCharStorage\n", "numel": raw(1), "size": (4,)},
}


def torch_files() -> Iterator[tuple[str, bytes]]:
    good, zeros = tensor(), b"\0" * 120_000_000
    for name, options in TENSORS.items():
        yield f"tensor {name}", torch_zip(tensor(**options))
    yield "tuple nested as a key", torch_zip(b"}" + NESTED + b"Ns")
    yield "command", torch_zip(model(COMMAND))
    yield "item for a tensor", torch_zip(good[:-1] + raw(0) + raw(1) + b"ss")
    yield "items for a tensor", torch_zip(good[:-1] + b"(" + raw(0) + raw(1) + raw(1) + raw(1) + b"us")
    yield "second pickle", torch_zip(good, **{"y/data.pkl": plain(COMMAND)})
    yield "archive in the place of the pickle", torch_zip(good).replace(plain(good, b"\x02")[:4], b"PK\x03\x04")
    yield "archive in an archive", torch_zip(b"", **{"data.pkl": torch_zip(model(COMMAND))})
    yield "entry twice", twice(torch_zip(good), "x/data.pkl", plain(COMMAND))
    yield "entry twice in other letters", torch_zip(good, **{"DATA.PKL": plain(good)})
    yield "names that differ", torch_zip(good).replace(b"x/data.pkl", b"x/dataXpkl", 1)
    yield "flags that differ", torch_zip(good).replace(b"PK\x01\x02\x14\x03\x14\0\0", b"PK\x01\x02\x14\x03\x14\0\x20")
    yield "exported program", torch_zip(good, **{"archive_format": b"pt2", "data/weights/w.pt": torch_zip(good)})
    yield "compiled program", torch_zip(good, **{"code/__torch__.py": b"import os", "constants.pkl": plain(COMMAND)})
    yield "bomb", torch_zip(good, zeros, zipfile.ZIP_DEFLATED)
    yield "bomb of steps", torch_zip(b"(" * 200 * MANY, compression=zipfile.ZIP_DEFLATED)
    yield "damaged pickle", torch_zip(good).replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v3")
    yield "numbers outside", last_entry(torch_zip(good), 42, struct.pack("<I", 1 << 30))
    yield "numbers elsewhere", last_entry(torch_zip(tensor(size=(9,), numel=raw(9))), 24, struct.pack("<I", 36))
    yield "encrypted", torch_zip(good).replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0")
    yield "unknown compression", last_entry(torch_zip(good), 10, b"\x63\0")
    yield "big-endian", torch_zip(good, byteorder=b"big")
    yield "numbers missing", torch_zip(good).replace(b"data/0", b"data/9")
    yield "no directory", torch_zip(good)[:-22]


def legacy_files() -> Iterator[tuple[str, bytes]]:
    for name, options in TENSORS.items():
        yield f"tensor {name}", legacy(tensor(**options, view=b"N"))
    good = tensor(view=b"N")
    yield "tuple nested as a key", legacy(b"}" + NESTED + b"Ns")
    yield "command", legacy(model(COMMAND))
    yield "part outside", legacy(tensor(view=raw(("v", 5, 5))))
    yield "numbers missing", legacy(good, storages=b"")
    yield "numbers announced", legacy(good, storages=struct.pack("<Q", 1 << 60))
    yield "numbers of an unknown", legacy(good, keys=raw(["1"]))
    yield "numbers of a nested key", legacy(good, keys=b"]" + NESTED + b"a")
    yield "big-endian", legacy(good, little=b"\x89")
    yield "torch file within", legacy(model(pickled_torch_file(legacy(good))))


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def safetensors_files() -> Iterator[tuple[str, bytes]]:
    twice = json.dumps(entry()).encode()
    for name, header in {
        "no JSON": b"{" + b"x" * 50,
        "no text": b"{\xff\xfe" + b"x" * 50,
        "nested": b'{"a":' * MANY,
        "nested lists": b'{"a":' + b"[" * MANY,
        "long number": b'{"a":' + b"9" * MANY + b"}",
        "name twice": b'{"a":%b,"a":%b}' % (twice, twice),
        "field twice": b'{"a":%b,"dtype":"I64"}}' % twice[:-1],
        "metadata twice": b'{"__metadata__":{"x":"1","x":"2"},"a":%b}' % twice,
        "metadata of numbers": {"__metadata__": {"x": 1}, "a": entry()},
        "overlap": {"a": entry(), "b": entry()},
        "gap": {"a": entry(shape=[1], offsets=[4, 8])},
        "bytes left over": {"a": entry(shape=[1], offsets=[0, 4])},
        "negative shape": {"a": entry(shape=[-2])},
        "negative shapes": {"a": entry(shape=[-1, -2])},
        "broken shape": {"a": entry(shape=[2.0])},
        "shape of text": {"a": entry(shape="2")},
        "huge shape": {"a": entry(shape=[1 << 62, 4])},
        "offsets before": {"a": entry(offsets=[-8, 0])},
        "offsets turned": {"a": entry(offsets=[8, 0])},
        "offsets beyond": {"a": entry(offsets=[0, 1 << 50])},
        "offsets of text": {"a": entry(offsets=["0", "8"])},
        "unknown type": {"a": entry(dtype="F33")},
        "no entry": {"a": {}},
        "metadata without text": {"__metadata__": [1], "a": entry()},
        "no tensors": {"__metadata__": {"a": "b"}},
        "very long": b"{" + b" " * 11_000_000 + b"}",
    }.items():
        encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
        data = b"" if name in ("no tensors", "very long") else b"\0" * 8
        yield f"header: {name}", struct.pack("<Q", len(encoded)) + encoded + data
    whole = struct.pack("<Q", len(twice) + 6) + b'{"a":%b}' % twice + b"\0" * 8
    yield "zip behind the end", whole + torch_zip(model(COMMAND))
    yield "pickle behind the end", whole + plain(COMMAND)
    for size in (1 << 26, 1 << 63, (1 << 64) - 1):
        yield f"header of {size:,} bytes", struct.pack("<Q", size) + b'{"a":{}}' + b"\0" * 8


GROUPS = {"pickle": pickles, "torch": torch_files, "legacy": legacy_files, "safetensors": safetensors_files}


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and measured as Linux does")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("hostile")
    paths = {}
    for group, files in GROUPS.items():
        for name, data in files():
            path = folder / f"{len(paths)}.pth"
            path.write_bytes(data)
            paths[f"{group}: {name}"] = str(path)
    run = subprocess.run(
        [sys.executable, __file__], input=json.dumps(paths), capture_output=True, text=True, check=False, timeout=300
    )
    read = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, f"crashed after {read[-1:]}: {run.stderr[-2000:]}"
    return {one.pop("name"): one for one in read}


@pytest.mark.parametrize("group", list(GROUPS))
def test_every_hostile_file_ends_in_an_error_soon_and_cheaply(group: str, outcomes: dict[str, dict[str, Any]]) -> None:
    mine = {name: outcome for name, outcome in outcomes.items() if name.startswith(f"{group}: ")}
    assert len(mine) >= 20
    bad = {
        name: outcome
        for name, outcome in mine.items()
        if outcome["error"] != "CheckpointError" or outcome["seconds"] > SECONDS or outcome["megabytes"] > MEGABYTES
    }
    assert not bad
    commands = {name: outcome["message"] for name, outcome in mine.items() if "command" in name}
    assert all("posix.system" in message and "never runs code" in message for message in commands.values())


def test_every_group_without_a_flaw_loads(tmp_path: Path) -> None:
    from litepred.checkpoint import read_checkpoint

    header = json.dumps({"a": entry(shape=[1], offsets=[0, 4])}).encode()
    for data in (
        plain(model(array())),
        torch_zip(tensor()),
        legacy(tensor(view=b"N")),
        plain(
            model(
                pickled_torch_file(
                    legacy(b"(" + raw("storage") + b"ctorch\nFloatStorage\n" + raw("0") + raw("cpu") + raw(1) + b"NtQ")
                )
            )
        ),
        struct.pack("<Q", len(header)) + header + b"\0" * 4,
    ):
        (tmp_path / "x").write_bytes(data)
        assert read_checkpoint(tmp_path / "x").model["a"].tolist() == [0]


def test_a_hundred_thousand_tensors_take_seconds(tmp_path: Path) -> None:
    """Half of them without numbers, which may all lie at one place."""
    from litepred.checkpoint import read_checkpoint

    rows = {f"k{i}": entry("U8", [i % 2], [i // 2, i // 2 + i % 2]) for i in range(100_000)}
    header = json.dumps(rows).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header + bytes(50_000))
    start = time.process_time()
    assert len(read_checkpoint(tmp_path / "x").model) == 100_000
    assert time.process_time() - start < 4 * SECONDS


# By which files have got past scanners of pickles, or run code once they were there.
GADGETS = (Path(__file__).parent / "gadgets.txt").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("how", ["text", "stack", "dotted"])
def test_no_gadget_is_imported(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from litepred.checkpoint.unpickler import load_pickle
    from litepred.errors import CheckpointError

    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was imported")

    for gadget in GADGETS:
        module, _, name = gadget.rpartition(".") if how != "dotted" else gadget.partition(".")
        named = f"c{module}\n{name}\n".encode() if how == "text" else raw(module) + raw(name) + b"\x93"
        with monkeypatch.context() as patch:
            patch.setattr("builtins.__import__", never)
            with pytest.raises(CheckpointError) as refused:
                load_pickle(io.BytesIO(plain(named + raw("true") + b"\x85R")))
        assert gadget in str(refused.value)


def main() -> None:
    """Read the files whose names come in, and print a line about each."""
    import resource

    from litepred.checkpoint import read_checkpoint

    sizes = status()
    resource.setrlimit(resource.RLIMIT_AS, ((sizes["VmSize"] << 10) + (1 << 30),) * 2)
    for name, path in json.loads(sys.stdin.read()).items():
        start, error, message = time.process_time(), "nothing", ""
        try:
            read_checkpoint(path)
        except BaseException as caught:
            error, message = type(caught).__name__, str(caught)[:500]
        seconds = time.process_time() - start
        outcome = {"name": name, "error": error, "message": message, "seconds": seconds}
        print(json.dumps({**outcome, "megabytes": (status()["VmHWM"] - sizes["VmHWM"]) >> 10}), flush=True)


def status() -> dict[str, int]:
    """The process's sizes in KiB. (Unlike VmHWM, the ru_maxrss of a new process begins with its parent's.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}


if __name__ == "__main__":
    main()
