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

from litepred.checkpoint import read_checkpoint
from litepred.checkpoint.unpickler import load_pickle
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
        read_checkpoint(file)
    assert not mark.exists()


def test_no_code_runs_from_bytes_of_a_storage_inside_a_pickle(tmp_path: Path) -> None:
    mark, inner = tmp_path / "mark", io.BytesIO()
    torch.save(Command(mark), inner, _use_new_zipfile_serialization=False)
    raw = inner.getvalue()
    outer = b"\x80\x03ctorch.storage\n_load_from_bytes\nB" + len(raw).to_bytes(4, "little") + raw + b"\x85R."
    with pytest.raises(CheckpointError, match="never runs code"):
        load_pickle(io.BytesIO(outer))
    assert not mark.exists()


@pytest.mark.parametrize("name", ["numpy\ndtype", "collections\nOrderedDict", "torch\nFloatStorage", "numpy\nndarray"])
@pytest.mark.parametrize(
    "step",
    [b"}X\x04\x00\x00\x00callNsb", b"N}X\x04\x00\x00\x00callNs\x86b", b")\x81", b")}\x92", b"K\x01K\x02s", b"(K\x01e"],
    ids=["attributes", "slots", "new object", "new object with names", "item", "appended item"],
)
def test_a_file_cannot_alter_or_instantiate_what_it_names(name: str, step: bytes) -> None:
    with pytest.raises((pickle.UnpicklingError, AttributeError)):
        load_pickle(io.BytesIO(b"\x80\x04c" + name.encode() + b"\n" + step + b"."))
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


def get(number: int) -> bytes:
    """The step that pushes what was stored under a number."""
    return b"h" + bytes([number])


def test_the_memory_of_an_array_is_not_freed_while_parts_of_it_are_in_use() -> None:
    array = pickle.dumps(np.ones((2, 3)), 2)[:-1] + b"q\x64"  # its element type has the number 14, and its state 20
    rows = b"ctorch\nSize\n" + get(100) + b"\x85R"
    again = get(100) + get(20) + b"b0."
    with pytest.raises(pickle.UnpicklingError, match="filled twice"):
        load_pickle(io.BytesIO(array + rows + again))
    view = b"cnumpy._core.numeric\n_frombuffer\n(" + get(100) + get(14) + b"K\x06\x85U\x01CtR"
    with pytest.raises(pickle.UnpicklingError, match="expected an array's bytes, got ndarray"):
        load_pickle(io.BytesIO(array + view + b"."))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", "has 48 bytes, which its shape and type do not have"),
        (b"K\x02K\x02\x86", "has 48 bytes, which its shape and type do not have"),
        (b"U\x02\x02\x03", "an array's description is malformed"),  # the bytes of a text would pass for numbers
        (b"(" + 65 * b"K\x01" + b"t", "an array's description is malformed"),
    ],
)
def test_shapes_that_are_not_those_of_the_bytes(shape: bytes, message: str) -> None:
    data = pickle.dumps(np.ones((2, 3)), 2)
    assert data.count(b"K\x02K\x03\x86") == 1
    with pytest.raises(pickle.UnpicklingError, match=message):
        load_pickle(io.BytesIO(data.replace(b"K\x02K\x03\x86", shape)))


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
    torch.save({"a": array}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=expected):
        if as_torch:
            read_checkpoint(tmp_path / "x.pth")
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
    saved = {"model": {"a": np.arange(3.0), "none": np.zeros((0, 2)), "t": torch.ones(2)}, "n": np.float64(2.5)}
    torch.save(saved, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as source, zipfile.ZipFile(tmp_path / "x.pth", "w") as target:
        for entry in source.infolist():
            data = source.read(entry).replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core.encode())
            target.writestr(entry.filename, data)
    loaded = read_checkpoint(tmp_path / "x.pth")
    assert {key: value.tolist() for key, value in loaded.model.items()} == {"a": [0, 1, 2], "none": [], "t": [1, 1]}
    assert loaded.model["none"].shape == (0, 2)
    assert loaded.extra == {"n": 2.5}


def with_attribute(tensor: torch.Tensor) -> torch.Tensor:
    tensor.note = "an attribute"
    return tensor


TENSORS = {
    **{
        str(dtype): torch.ones(3).to(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.complex64)
    },
    **{str(dtype): torch.arange(3).to(dtype) for dtype in (torch.int8, torch.int16, torch.int32, torch.uint8)},
    "bool": torch.tensor([True, False]),
    "float8": torch.ones(3).to(torch.float8_e4m3fn),
    "uint16": torch.arange(3).to(torch.uint16),
    "no elements": torch.zeros(0, 4),
    "no dimensions": torch.tensor(3),
    "transposed": torch.arange(6.0).view(2, 3).t(),
    "part of another": torch.arange(6.0)[2:5],
    "repeated": torch.ones(1).expand(3),
    "channels last": torch.arange(16.0).view(1, 4, 2, 2).to(memory_format=torch.channels_last),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "with an attribute": with_attribute(torch.ones(2)),
    "parameter with an attribute": with_attribute(torch.nn.Parameter(torch.ones(2))),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", list(TENSORS))
def test_tensors_of_a_torch_file_come_back(name: str, legacy: bool, tmp_path: Path) -> None:
    tensor = TENSORS[name]
    saved = {"x": torch.ones(1, dtype=torch.uint8), "a": tensor}
    try:
        torch.save(saved, tmp_path / "x", _use_new_zipfile_serialization=not legacy)
    except KeyError:
        pytest.skip(f"torch {torch.__version__} cannot save {tensor.dtype}")
    loaded = read_checkpoint(tmp_path / "x").model["a"]
    assert (loaded.dtype, loaded.shape, loaded.stride()) == (tensor.dtype, tensor.shape, tensor.stride())
    assert type(loaded) is torch.Tensor
    assert not loaded.requires_grad
    assert torch.equal(
        loaded.view(torch.uint8) if name == "float8" else loaded,
        tensor.view(torch.uint8) if name == "float8" else tensor,
    )


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_that_share_numbers_still_do(legacy: bool, tmp_path: Path) -> None:
    base = torch.arange(6.0)
    torch.save({"a": base, "b": base[2:4]}, tmp_path / "x", _use_new_zipfile_serialization=not legacy)
    model = read_checkpoint(tmp_path / "x").model
    assert model["b"].data_ptr() == model["a"].data_ptr() + 8
    assert model["b"].tolist() == [2, 3]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "tensor",
    [torch.ones(2).to_sparse(), torch.ones(2, device="meta")],
    ids=["sparse", "meta"],
)
def test_special_tensors_are_named(tensor: torch.Tensor, legacy: bool, tmp_path: Path) -> None:
    torch.save({"a": tensor}, tmp_path / "x", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="sparse, quantized or otherwise special tensor"):
        read_checkpoint(tmp_path / "x")


def test_what_training_saves_beside_the_weights_comes_back(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    extra = {
        "optimizer": optimizer.state_dict(),
        "size": torch.Size((1, 2)),
        "device": torch.device("cpu"),
        "d": torch.float16,
    }
    torch.save({"model": model.state_dict(), **extra}, tmp_path / "x.pth")
    loaded = read_checkpoint(tmp_path / "x.pth").extra
    assert loaded["optimizer"]["param_groups"] == extra["optimizer"]["param_groups"]
    momentum = optimizer.state_dict()["state"][0]["momentum_buffer"]
    assert torch.equal(loaded["optimizer"]["state"][0]["momentum_buffer"], momentum)
    assert (loaded["size"], loaded["device"], loaded["d"]) == ((1, 2), "cpu", torch.float16)


@pytest.mark.parametrize("protocol", range(6))
def test_keys_are_text_and_numbers(protocol: int) -> None:
    keys = {"a": 1, 2: 1, -3: 1, 0.5: 1, None: 1, True: 1, np.int64(7): 1, 2**60 - 1: 1}
    assert load_pickle(io.BytesIO(pickle.dumps(keys, protocol))) == keys
    for key, name in (((1, 2), "tuple"), (frozenset(), "frozenset"), (2**60, "int")):
        with pytest.raises(CheckpointError, match=f"has a {name} as a key"):
            load_pickle(io.BytesIO(pickle.dumps({key: 1}, protocol)))
        with pytest.raises(CheckpointError, match=f"has a {name} as a key"):
            load_pickle(io.BytesIO(pickle.dumps({key}, protocol)))
