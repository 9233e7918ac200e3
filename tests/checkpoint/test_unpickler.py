from __future__ import annotations

import contextlib
import io
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from litepred.checkpoint.unpickler import load_pickle, load_torch
from litepred.errors import CheckpointError


class Command:
    """Pickles to a call that leaves a file behind if it is ever made."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"echo ran > {self.mark}",)


def attacks(mark: Path) -> dict[str, bytes]:
    command = f"echo ran > {mark}".encode()
    quoted = b"V" + command + b"\n"
    call = b"cposix\nsystem\n(" + quoted + b"tR"
    return {
        "reduce": pickle.dumps(Command(mark)),
        "reduce inside a model": pickle.dumps({"model": {"weight": Command(mark)}, "__author__": "x"}),
        "text protocol": pickle.dumps({"model": Command(mark)}, protocol=0),
        "global os.system": b"\x80\x02cos\nsystem\n" + quoted + b"\x85R.",
        "global, then nested": b"\x80\x02}X\x05\x00\x00\x00model](" + call + b"es.",
        "inst": b"(" + quoted + b"iposix\nsystem\n.",
        "obj": b"(cposix\nsystem\n" + quoted + b"o.",
        "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93"
        + b"\x8c"
        + bytes([len(command)])
        + command
        + b"\x85R.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x15ndarray.__reduce__.os\x93.",
        "eval": b"\x80\x02cbuiltins\neval\n" + quoted + b"\x85R.",
        "getattr": b"\x80\x02c__builtin__\ngetattr\n.",
        "torch's unchecked loader": b"\x80\x02ctorch\nload\n.",
        "import of a module": b"\x80\x02cthis\ns\n.",
    }


@pytest.mark.parametrize("name", list(attacks(Path("x"))))
def test_no_code_runs_from_a_pickle(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(CheckpointError, match=r"it asks for [\w.]+, .* never runs code"):
        load_pickle(io.BytesIO(attacks(mark)[name]))
    assert not mark.exists()


def test_the_attacks_are_real(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    pickle.loads(attacks(mark)["reduce"])
    assert mark.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_no_code_runs_from_a_torch_file(legacy: bool, tmp_path: Path) -> None:
    mark, file = tmp_path / "mark", tmp_path / "x.pth"
    torch.save({"model": Command(mark)}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"it asks for \w+\.system, .* never runs code"):
        load_torch(file)
    assert not mark.exists()


def test_no_code_runs_from_bytes_of_a_storage_inside_a_pickle(tmp_path: Path) -> None:
    mark, inner = tmp_path / "mark", io.BytesIO()
    torch.save(Command(mark), inner, _use_new_zipfile_serialization=False)
    raw = inner.getvalue()
    outer = b"\x80\x03ctorch.storage\n_load_from_bytes\nB" + len(raw).to_bytes(4, "little") + raw + b"\x85R."
    with pytest.raises(CheckpointError, match="never runs code"):
        load_pickle(io.BytesIO(outer))
    assert not mark.exists()


@pytest.mark.parametrize(
    "state",
    [b"}X\x05\x00\x00\x00_callNs", b"N}X\x05\x00\x00\x00_callNs\x86"],
    ids=["attributes", "slots"],
)
def test_a_file_cannot_alter_the_functions_it_may_call(state: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError, match="takes no state"):
        load_pickle(io.BytesIO(b"\x80\x02cnumpy\ndtype\n" + state + b"b."))
    array = np.arange(3.0)
    np.testing.assert_array_equal(load_pickle(io.BytesIO(pickle.dumps(array, 2))), array)


ARRAYS = {
    "no elements": np.zeros((0, 4), np.float32),
    "no dimensions": np.array(7, np.int64),
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "large": np.arange(1000, dtype=np.float64),
    "float16": np.ones(3, np.float16),
    "bool": np.array([True, False]),
    "big-endian": np.arange(4, dtype=">f4"),
    "column order": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "transposed": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(1, 0, 2),
    "text": np.array(["cat", "dog"]),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", list(ARRAYS))
def test_arrays_come_back(name: str, protocol: int) -> None:
    array = ARRAYS[name]
    loaded = load_pickle(io.BytesIO(pickle.dumps(array, protocol)))
    assert loaded.shape == array.shape
    np.testing.assert_array_equal(loaded, array)


@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_arrays_of_either_numpy(core: bytes) -> None:
    data = pickle.dumps(np.arange(3.0), 2)
    loaded = load_pickle(io.BytesIO(data.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core)))
    np.testing.assert_array_equal(loaded, np.arange(3.0))


def test_an_array_read_from_a_file_pickles_as_a_plain_array() -> None:
    loaded = load_pickle(io.BytesIO(pickle.dumps(np.arange(3), 2)))
    assert type(pickle.loads(pickle.dumps(loaded))) is np.ndarray


def test_python_2_bytes_are_latin1() -> None:
    # What Python 2 and its numpy wrote for {"a": array([1., 2.], float32)}, spelt out.
    raw = np.float32([1, 2]).tobytes()
    data = (
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + bytes([len(raw)]) + raw + b"tbs."
    )
    loaded = load_pickle(io.BytesIO(data))
    np.testing.assert_array_equal(loaded["a"], np.float32([1, 2]))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        1.5,
        "é",
        b"\x00\xff",
        (1, "two"),
        {3, 4},
        bytearray(b"ab"),
        frozenset({5}),
        1j,
        np.float64(0.5),
        np.int64(2),
    ],
    ids=repr,
)
def test_plain_data_comes_back(value: Any, protocol: int) -> None:
    assert load_pickle(io.BytesIO(pickle.dumps(value, protocol))) == value


@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_in_a_plain_pickle(protocol: int) -> None:
    tensors = {"a": torch.arange(3.0), "b": torch.nn.Parameter(torch.ones(2, 2)), "c": torch.tensor(4)}
    loaded = load_pickle(io.BytesIO(pickle.dumps(tensors, protocol)))
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([{}], object), "Python objects"),
        (np.zeros(2, [("a", "f4")]), "element type 'V'"),
        (np.array(["2020"], "M8[Y]"), "element type 'M8'"),
    ],
    ids=["objects", "records", "dates"],
)
@pytest.mark.parametrize("as_torch", [False, True])
def test_arrays_of_anything_else_are_refused(
    array: np.ndarray[Any, Any], expected: str, as_torch: bool, tmp_path: Path
) -> None:
    torch.save(array, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=expected):
        if as_torch:
            load_torch(tmp_path / "x.pth")
        else:
            load_pickle(io.BytesIO(pickle.dumps(array, 2)))


@pytest.mark.parametrize(
    "shape", [b"(K\x01K\x09", b"(K\x01J\xff\xff\xff\xff", b"(K\x01G\x40\x00\x00\x00\x00\x00\x00\x00"]
)
def test_a_shape_that_does_not_fit_the_bytes_is_an_error(shape: bytes) -> None:
    data = pickle.dumps(np.zeros(2, np.float32), 2)
    start = b"(K\x01K\x02"
    assert data.count(start) == 1
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        load_pickle(io.BytesIO(data.replace(start, shape)))


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02}r\xff\xff\xff\x0f.",
        b"\x80\x05\x96\xff\xff\xff\x0f\x00\x00\x00\x00.",
        b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x0f\x85R.",
    ],
    ids=["number of an object", "length of bytes", "argument of bytearray"],
)
def test_memory_is_not_taken_for_what_is_only_announced(data: bytes) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(Exception):
            load_pickle(io.BytesIO(data))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("core", ["numpy._core", "numpy.core"])
def test_a_torch_file_may_hold_numpy_values(core: str, tmp_path: Path) -> None:
    saved = {"a": np.arange(3.0), "none": np.zeros((0, 2)), "n": np.float64(2.5), "t": torch.ones(2)}
    torch.save(saved, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as source, zipfile.ZipFile(tmp_path / "x.pth", "w") as target:
        for entry in source.infolist():
            data = source.read(entry).replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core.encode())
            target.writestr(entry.filename, data)
    loaded = load_torch(tmp_path / "x.pth")
    np.testing.assert_array_equal(loaded["a"], np.arange(3.0))
    assert loaded["none"].shape == (0, 2)
    assert loaded["n"] == 2.5
    assert torch.equal(loaded["t"], torch.ones(2))


def test_what_the_process_allows_torch_to_load_is_put_back(tmp_path: Path) -> None:
    torch.save({"a": np.arange(3.0)}, tmp_path / "x.pth")
    before = list(torch.serialization.get_safe_globals())
    try:
        torch.serialization.add_safe_globals([np.ndarray, np.dtype, io.BytesIO])
        mine = set(torch.serialization.get_safe_globals())
        load_torch(tmp_path / "x.pth")
        assert set(torch.serialization.get_safe_globals()) == mine
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
