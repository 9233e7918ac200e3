from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from litepred.checkpoint import read_checkpoint, readers
from litepred.checkpoint.readers import to_tensor
from litepred.config import get_cfg
from litepred.errors import CheckpointError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}
ARRAYS = {key: value.numpy() for key, value in STATE.items()}


def write_safetensors(path: Path) -> None:
    safetensors.torch.save_file(STATE, path, {"format": "pt", "iteration": "7", "note": "plain words"})


def write_torch(path: Path) -> None:
    torch.save({"model": STATE, "iteration": 7}, path)


def write_legacy(path: Path) -> None:
    torch.save({"model": STATE, "iteration": 7}, path, _use_new_zipfile_serialization=False)


def write_pickle(path: Path, protocol: int = 4) -> None:
    path.write_bytes(pickle.dumps({"model": ARRAYS, "__author__": "me"}, protocol))


WRITERS: dict[str, Callable[[Path], None]] = {
    "safetensors": write_safetensors,
    "torch": write_torch,
    "torch-legacy": write_legacy,
    "pickle": write_pickle,
}


def assert_state(model: dict[str, torch.Tensor]) -> None:
    assert model.keys() == STATE.keys()
    for key, value in STATE.items():
        assert model[key].dtype == value.dtype
        assert torch.equal(model[key], value)


@pytest.mark.parametrize("ending", [".pth", ".pkl", ".safetensors", ".bin", ""])
@pytest.mark.parametrize("kind", list(WRITERS))
def test_the_content_tells_the_kind_not_the_name(kind: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{ending}"
    WRITERS[kind](path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.format == kind
    assert_state(checkpoint.model)


@pytest.mark.parametrize(
    ("kind", "extra", "header"),
    [
        (
            "safetensors",
            {"iteration": 7, "note": "plain words"},
            {"format": "pt", "iteration": "7", "note": "plain words"},
        ),
        ("torch", {"iteration": 7}, {}),
        ("torch-legacy", {"iteration": 7}, {}),
        ("pickle", {"__author__": "me"}, {}),
    ],
)
def test_other_entries(kind: str, extra: dict[str, Any], header: dict[str, str], tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "x")
    checkpoint = read_checkpoint(str(tmp_path / "x"))
    assert checkpoint.extra == extra
    assert checkpoint.header == header
    assert checkpoint.author == extra.get("__author__", "")


@pytest.mark.parametrize("protocol", range(6))
def test_every_pickle_protocol(protocol: int, tmp_path: Path) -> None:
    write_pickle(tmp_path / "x.pkl", protocol)
    assert_state(read_checkpoint(tmp_path / "x.pkl").model)


@pytest.mark.parametrize(
    ("data", "extra"),
    [
        (STATE, {}),
        (ARRAYS, {}),
        ({"model": STATE}, {}),
        ({"model": ARRAYS, "optimizer": {"lr": 0.1}}, {"optimizer": {"lr": 0.1}}),
        ({"state_dict": STATE, "epoch": 3}, {"epoch": 3}),
        ({f"module.{key}": value for key, value in STATE.items()}, {}),
        ({"model": {f"module.{key}": value for key, value in STATE.items()}, "best": np.float64(0.5)}, {"best": 0.5}),
        ({"model": {key: torch.nn.Parameter(v) if v.is_floating_point() else v for key, v in STATE.items()}}, {}),
    ],
    ids=["tensors", "arrays", "model", "model of arrays", "state_dict", "module.", "model of module.", "parameters"],
)
def test_where_the_state_dict_is(data: Any, extra: dict[str, Any], tmp_path: Path) -> None:
    torch.save(data, tmp_path / "x.pth")
    checkpoint = read_checkpoint(tmp_path / "x.pth")
    assert_state(checkpoint.model)
    assert checkpoint.extra == extra
    assert not any(value.requires_grad for value in checkpoint.model.values())


def test_a_prefix_that_not_all_names_have_stays(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "x.pth")
    assert set(read_checkpoint(tmp_path / "x.pth").model) == {"module.a", "b"}


@pytest.mark.parametrize(
    ("tail", "heuristics"),
    [
        ("", False),
        ("?dl=1", False),
        ("?raw=true", False),
        ("?download=1", False),
        ("?matching_heuristics=False", False),
        ("?matching_heuristics=True", True),
        ("?dl=1&matching_heuristics=True", True),
    ],
)
def test_a_query_tail(tail: str, heuristics: bool, tmp_path: Path) -> None:
    torch.save({"model": STATE}, tmp_path / "x.pth")
    checkpoint = read_checkpoint(f"{tmp_path}/x.pth{tail}")
    assert_state(checkpoint.model)
    assert (checkpoint.name, checkpoint.extra) == (f"{tmp_path}/x.pth", {})
    assert checkpoint.matching_heuristics == heuristics


@pytest.mark.parametrize("tail", ["?x", "?matching_heuristics=1", "?dl=1&strict=0", "?matching_heuristics=True&a=b"])
def test_other_query_tails_are_refused(tail: str, tmp_path: Path) -> None:
    torch.save({"model": STATE}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"ends in the query .*expected the plain path .*x\.pth, or it with"):
        read_checkpoint(f"{tmp_path}/x.pth{tail}")


def test_a_file_whose_name_has_the_tail_is_read(tmp_path: Path) -> None:
    torch.save({"other": torch.ones(1)}, tmp_path / "x.pth")
    write_torch(tmp_path / "x.pth?dl=1")
    assert_state(read_checkpoint(tmp_path / "x.pth?dl=1").model)


@pytest.mark.parametrize("others", [{}, {"ema.backbone.w": torch.zeros(1)}])
@pytest.mark.parametrize("prefix", ["model.", "module.model."])
def test_a_prefix_that_is_the_name_of_the_entry_too(prefix: str, others: dict[str, Any], tmp_path: Path) -> None:
    others = {f"{prefix.removesuffix('model.')}{key}": value for key, value in others.items()}
    torch.save({"model": {f"{prefix}backbone.w": torch.ones(1), **others}}, tmp_path / "x.pth")
    assert read_checkpoint(f"{tmp_path}/x.pth?prefix=model").model == {"backbone.w": torch.ones(1)}


def test_a_recompressed_torch_archive_is_read(tmp_path: Path) -> None:
    write_torch(tmp_path / "x.pth")
    with (
        zipfile.ZipFile(tmp_path / "x.pth") as source,
        zipfile.ZipFile(tmp_path / "y.pth", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert_state(read_checkpoint(tmp_path / "y.pth").model)


@pytest.mark.parametrize("share", [0.0, 0.005, 0.02, *(tenth / 10 for tenth in range(1, 10)), 0.99])
@pytest.mark.parametrize("kind", list(WRITERS))
def test_truncated_files(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "x"
    WRITERS[kind](path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"cut short|empty|no known kind|text file"):
        read_checkpoint(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_is_cut_within_a_name_or_a_number(protocol: int, tmp_path: Path) -> None:
    whole = pickle.dumps(OrderedDict(weight=np.ones(1, np.float32), iteration=1234), protocol)
    for length in range(2, len(whole)):
        (tmp_path / "x.pkl").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cut short|no known kind|text file"):
            read_checkpoint(tmp_path / "x.pkl")


@pytest.mark.parametrize("kind", list(WRITERS))
def test_the_last_byte_missing(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    WRITERS[kind](path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        read_checkpoint(path)


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name in names:
            target.writestr(name, b"\x80\x02}.")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html>\n<html>", "is a web page.*direct link"),
        (b"<html><body>Sign in</body>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "Git LFS pointer.*git lfs pull"),
        (b"MODEL:\n  WEIGHTS: x.pth\n", r"text file \(it starts 'MODEL:'\).*config"),
        (b'{"a": 1}', "text file"),
        (b"(c) 2020 somebody.\n", "text file"),
        ("MODÈLE: é".encode(), "text file"),
        ("MODEL:".encode("utf-16"), "text file"),
        (b"\x1f\x8b\x08\x00rest", "compressed archive: unpack"),
        (b"\x89HDF\r\n\x1a\n", "is a TensorFlow or Keras model .*HDF5"),
        (b"\x93NUMPY\x01\x00", "single NumPy array"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:", "is an ONNX model"),
        (b"\x08\x08:\x93\x01\n\x0b\n\x01x", "is an ONNX model"),
        (b"\x08\x01\x12\xa2\x1f\n", "is a TensorFlow or Keras model"),
        (b"\n\x2c\n\x05input\x12\x0bPlaceholder*", "is a TensorFlow or Keras model"),
        (b"\x1c\0\0\0TFL3\x14\0", "is a TensorFlow or Keras model"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", r"is an image: expected the weights"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is an image"),
        (b"II*\0\x08\0\0\0", "is an image"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "is an image"),
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF"),
        (b"x" * 257 + b"ustar\x0000" + b"\0" * 250, "is a tar archive: unpack"),
        (b"\x00\x01\x02\x03 what", r"no known kind of checkpoint \(first bytes 00 01 02 03"),
        ((10_000).to_bytes(8, "little") + b'{"a"', "cut short: its safetensors header"),
        ((20).to_bytes(8, "little") + b"{" + b"x" * 40, "cut short or damaged"),
        (archive(), r"zip archive that torch.save did not write \(it holds nothing\)"),
        (archive("runs/model_final.pth"), "zip archive.*runs/model_final.pth.*unpack"),
        (archive("m/data.pkl", "m/constants.pkl", "m/code/x.py"), "TorchScript"),
        (pickle.dumps([1, 2]), "type list, but expected a dict"),
        (pickle.dumps(get_cfg()), r"pickled config \(litepred\.config\.\w+\.CfgNode\).*what its dump\(\) returns"),
        (pickle.dumps({"model": {"a": np.ones(1)}, "cfg": get_cfg()}), "pickled config"),
        (b"\x80\x02cdetectron2.config.config\nCfgNode\nq\x00)\x81q\x01.", "pickled config"),
        (pickle.dumps({}), "no weights found in it: its entries are none"),
        (pickle.dumps({"model": {}}), "state dict is empty"),
        (pickle.dumps({"nets": {"a": [1]}, "x": 1}), r"no weights found.*'nets' \(dict\), 'x' \(int\)"),
        (pickle.dumps({"model": {"a": 3}}), "a has type int, but expected a tensor"),
        (pickle.dumps({"model": {3: np.ones(1)}}), r"name in its state dict is 3 \(int\)"),
        (pickle.dumps({"model": {"a": np.ones(1, np.uint16)}}), "a: an array of type uint16"),
        (pickle.dumps({"model": {"a": np.array(["x"])}}), "a: an array of type <U1"),
        (pickle.dumps({"model": {"a": np.array([None])}}), "array of Python objects"),
        (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "asks for os.system.*never runs code"),
        (b"cos\nsystem\n(S'ls'\ntR.", "asks for os.system.*never runs code"),
        (b"\x80\x02}q\x00h\x05s.", "cut short or damaged"),
    ],
)
def test_what_is_no_checkpoint_is_named(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=expected) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("legacy", [False, True])
def test_every_pickle_protocol_in_a_torch_file(legacy: bool, protocol: int, tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "x", pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    assert_state(read_checkpoint(tmp_path / "x").model)


def old_tar(name: str = "\x80\x02}.") -> bytes:
    """A tar archive of the first kind, with an empty member, by default of a name that reads as a pickle."""
    head = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT, "latin1"))
    head[257:265], head[148:156] = bytes(8), b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + bytes(9 * 1024)


MAGIC = "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # of torch's old files


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ["\x80\x02}.", MAGIC])
def test_a_tar_archive_in_a_torch_file_is_not_unpacked(name: str, old: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT, encoding="latin1") as target:
        target.addfile(tarfile.TarInfo(name), io.BytesIO())
    if old:
        path.write_bytes(old_tar(name))
    assert tarfile.is_tarfile(path)
    with pytest.raises(CheckpointError, match="tar archive"):
        read_checkpoint(path)


def test_a_storage_larger_than_the_file_is_refused(tmp_path: Path) -> None:
    write_torch(tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as source, zipfile.ZipFile(tmp_path / "y.pth", "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert data.count(b"K\x06tq") == 1
                data = data.replace(b"K\x06tq", b"J\xff\xff\xff\x0ftq").replace(
                    b"K\x02K\x03\x86", b"J\xff\xff\xff\x07K\x02\x86"
                )
            target.writestr(entry.filename, data)
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        read_checkpoint(tmp_path / "y.pth")


@pytest.mark.parametrize("path", ["missing.pth", "missing.pth?dl=1", "no/such/folder/x.pth"])
def test_a_missing_file_is_also_a_file_not_found_error(path: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file.*check the path") as caught:
        read_checkpoint(tmp_path / path)
    assert isinstance(caught.value, CheckpointError)


def test_a_directory_is_named_with_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a directory: expected a checkpoint file$"):
        read_checkpoint(tmp_path)
    (tmp_path / "model_final.pth").touch()
    with pytest.raises(CheckpointError, match=r"is a directory.*such as .*model_final\.pth"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 4), np.float32),
        np.array(3, np.int64),
        np.arange(4, dtype=">f4"),
        np.arange(4.0)[::-1],
        np.asfortranarray(np.ones((2, 3))),
        np.frombuffer(b"\x01\x02", np.uint8),
        np.array([True]),
    ],
    ids=["no elements", "no dimensions", "big-endian", "backwards", "column order", "read-only", "bool"],
)
@pytest.mark.filterwarnings("error")
def test_to_tensor(array: np.ndarray[Any, Any]) -> None:
    tensor = to_tensor(array)
    assert tensor.shape == array.shape
    np.testing.assert_array_equal(tensor.numpy(), array)
    assert tensor.numpy().dtype == array.dtype.newbyteorder("=")


def test_to_tensor_shares_memory_where_it_may() -> None:
    array = np.zeros(3, np.float32)
    to_tensor(array)[0] = 5
    assert array[0] == 5


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, object, "S3", "V4", np.complex64])
def test_to_tensor_refuses_what_is_not_weights(dtype: Any) -> None:
    with pytest.raises(CheckpointError, match="is not weights"):
        to_tensor(np.zeros(2, dtype))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(5, "Input/output error"), "x cannot be read: Input/output error"),
        (OSError(22, "Invalid argument"), "cut short or damaged"),  # a place before the file's beginning
        (OSError("short"), "cut short or damaged"),
        (MemoryError(), None),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), None),
    ],
)
def test_what_is_not_the_files_fault(
    error: Exception, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    write_torch(tmp_path / "x")
    monkeypatch.setattr(readers, "_read", fail)
    with pytest.raises(CheckpointError if expected else type(error), match=expected):
        read_checkpoint(tmp_path / "x")


def test_a_place_that_cannot_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(CheckpointError, match=r"aaa cannot be read|there is no checkpoint file"):
        read_checkpoint("a" * 9999)
    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
        read_checkpoint(tmp_path)


CUT = """
import os, sys
from litepred.checkpoint import read_checkpoint, readers
for path in sys.argv[1:]:
    model = read_checkpoint(path).model
    os.truncate(path, 50)
    assert model["a"].sum() == len(model["a"])
    os.remove(path)
    assert model["a"].sum() == len(model["a"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody cut a file that is open")
def test_a_file_that_is_cut_short_later_ends_no_process(tmp_path: Path) -> None:
    state = {"a": torch.ones(500_000)}
    torch.save(state, tmp_path / "a.pth")
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", CUT, tmp_path / "a.pth", tmp_path / "a.safetensors"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("save", [torch.save, safetensors.torch.save_file])
def test_without_its_numbers(save: Any, tmp_path: Path) -> None:
    state = {"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.int64), "none": torch.ones(0, 3)}
    save(state, tmp_path / "a")
    found = read_checkpoint(tmp_path / "a", numbers=False).model
    assert {key: (one.shape, one.dtype) for key, one in found.items()} == {
        key: (one.shape, one.dtype) for key, one in state.items()
    }
    assert {one.device.type for one in found.values()} == {"meta"}


@pytest.mark.parametrize("size", [50_000, 500_000])
@pytest.mark.parametrize("save", [torch.save, safetensors.torch.save_file])
def test_a_file_that_is_cut_short_while_it_is_read(
    save: Any, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = readers._exactly

    def cutting(stream: Any, size: int) -> Any:
        if size != 30:  # of a zip entry's header
            os.truncate(tmp_path / "a", stream.tell() + size // 2)
        return read(stream, size)

    save({"a": torch.ones(size)}, tmp_path / "a")
    monkeypatch.setattr(readers, "_exactly", cutting)
    with pytest.raises(CheckpointError, match=r"cut short or damaged.*it ends before"):
        read_checkpoint(tmp_path / "a")


@pytest.mark.parametrize("name", readers._SAFETENSORS)
def test_element_types_of_safetensors(name: str, tmp_path: Path) -> None:
    dtype = readers._SAFETENSORS[name]
    values = torch.arange(6 * dtype.itemsize, dtype=torch.uint8) % 2
    header = {
        "none": {"dtype": name, "shape": [0, 3], "data_offsets": [0, 0]},
        "a": {"dtype": name, "shape": [2, 3], "data_offsets": [0, len(values)]},
    }
    text = json.dumps(header).encode()
    (tmp_path / "a").write_bytes(len(text).to_bytes(8, "little") + text + values.numpy().tobytes())
    found = read_checkpoint(tmp_path / "a").model
    assert (found["a"].dtype, found["a"].shape, found["none"].shape) == (dtype, (2, 3), (0, 3))
    assert torch.equal(found["a"].view(torch.uint8).flatten(), values)
