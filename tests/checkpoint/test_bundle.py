from __future__ import annotations

from pathlib import Path

import pytest
import torch

from litepred.checkpoint import Checkpoint, read_checkpoint
from litepred.checkpoint.bundle import CLASS_NAMES, CONFIG, bundle_texts, read_class_names
from litepred.checkpoint.readers import is_safetensors
from litepred.checkpoint.writers import write_checkpoint
from litepred.errors import CheckpointError

STATE = {"weight": torch.zeros(3)}


@pytest.mark.parametrize(
    ("config", "names", "expected"),
    [
        (None, None, {}),
        ("MODEL: {}\n", None, {CONFIG: "MODEL: {}\n"}),
        (None, [], {CLASS_NAMES: "[]"}),
        ("A: 1", ["Käse", 'a"b'], {CONFIG: "A: 1", CLASS_NAMES: '["Käse", "a\\"b"]'}),
    ],
)
def test_through_a_file(config, names, expected, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write_checkpoint(file, STATE, {"iteration": 7}, bundle_texts(config, names))
    checkpoint = read_checkpoint(file)
    assert checkpoint.header == {"format": "pt", "iteration": "7", **expected}
    assert read_class_names(checkpoint) == names


@pytest.mark.parametrize("content", [b"", b"MODEL:\n  A: 1\n", b"ANCHOR: {}\n", b"\x80\x04}.", b"PK\x03\x04" * 8])
def test_other_files_are_told_apart(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert not is_safetensors(tmp_path / "file")


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_no_file(name: str) -> None:
    assert not is_safetensors(name)


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    write_checkpoint(tmp_path / "model.safetensors", STATE, {})
    assert is_safetensors(tmp_path / "model.safetensors")
    monkeypatch.setattr("io.open", locked)
    monkeypatch.setattr("builtins.open", locked)
    assert not is_safetensors(tmp_path / "model.safetensors")


@pytest.mark.parametrize("kept", [20, 0.5, -1])
def test_a_file_cut_short_is_still_known(kept: float, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write_checkpoint(file, STATE, {}, bundle_texts("A: 1"))
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    assert is_safetensors(file)
    with pytest.raises(CheckpointError, match="cut short"):
        read_checkpoint(file)


@pytest.mark.parametrize("text", ["", "a,b", "{}", '"ab"', "[1]", '["a", null]', "[" * 100_000, "1" * 10_000])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*expected a JSON list of names"):
        read_class_names(Checkpoint({}, "model.safetensors", header={CLASS_NAMES: text}))


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_other_formats_leave_the_texts_out(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"model{suffix}"
    write_checkpoint(file, STATE, {"__author__": "me"}, bundle_texts("A: 1"))
    checkpoint = read_checkpoint(file)
    assert (checkpoint.extra, checkpoint.header) == ({"__author__": "me"}, {})
