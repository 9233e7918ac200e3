"""Files that are whole or absent and over no file that is read, and addresses told from paths."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from full_disk import disk_with_room_for
from PIL import Image

from litepred.errors import LitepredError, WriteError
from litepred.files import as_stored, check_targets, check_writable, is_address, whole_file


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", False),
        ("https://host/a.pth", True),
        ("S3://bucket/a.pth", True),
        ("detectron2://a/b.pkl", True),
        ("catalog://ImageNetPretrained/MSRA/R-50", True),
        ("a.pth", False),
        ("a.pth?at=https://host", False),
        ("C:/models/a.pth", False),
        ("C://models//a.pth", False),
        (r"C:\models\a.pth", False),
        (r"\\server\models\a.pth", False),
        ("//server/models/a.pth", False),
        (r"\\?\C:\models\a.pth", False),
        ("camera:0", False),
    ],
)
def test_addresses_and_paths(name, expected):
    assert is_address(name) == expected


def test_a_file_appears_at_the_end(tmp_path):
    target = tmp_path / "a.png"
    with whole_file(target) as file:
        temporary = Path(file.name)
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        file.write(b"new")
        assert not target.exists()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.png", "new")]


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    room = 258 - len(str(tmp_path)) if sys.platform == "win32" else 255
    target = tmp_path / f"{'a' * (room - 4)}.png"
    with whole_file(target) as file:
        assert len(Path(file.name).name) < 20
        file.write(b"new")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("begun", [False, True])
def test_nothing_is_left_of_a_file_that_broke_off(error, begun, tmp_path):
    (tmp_path / "a.png").write_text("old")
    with pytest.raises(error), whole_file(tmp_path / "a.png") as file:
        if begun:
            file.write(b"half")
        raise error
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.png", "old")]


@pytest.mark.parametrize("name", ["x" * 251, "\u4e2d" * 83], ids=["ascii", "wide"])
def test_the_longest_names(name, tmp_path):
    with whole_file(tmp_path / f"{name}.png") as file:
        file.write(b"new")
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]


@pytest.mark.parametrize("name", ["", ".", "/", "folder"])
def test_a_folder_is_refused_before_anything_is_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match="it is a folder"), whole_file(name):
        pytest.fail("the body began")
    with pytest.raises(WriteError, match="it is a folder"):
        check_writable(name)


@pytest.mark.parametrize(("name", "told"), [("a.png", None), ("b.png", None), ("none/a.png", "there is no folder")])
def test_asking_first_leaves_all_as_it_was(name, told, tmp_path):
    (tmp_path / "a.png").write_text("old")
    with pytest.raises(WriteError, match=told) if told else nullcontext():
        check_writable(tmp_path / name)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.png", "old")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # or /dev/null, which whoever may would replace
    with pytest.raises(WriteError, match="it is not a regular file"), whole_file(tmp_path / "pipe"):
        pytest.fail("the body began")


def test_a_block_may_close_the_file_and_let_another_library_fill_it(tmp_path):
    with whole_file(tmp_path / "a.mp4") as file:
        file.close()
        Path(file.name).write_bytes(b"frames")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.mp4", b"frames")]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_pillow_writes_through_it(suffix, tmp_path):
    with whole_file(tmp_path / f"a{suffix}") as file:
        Image.new("RGB", (300, 200), "red").save(file, format=Image.registered_extensions()[suffix])
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.convert("RGB").getpixel((9, 9))[0] > 250


@pytest.mark.parametrize("size", [0, 1000, 100_000])
def test_an_error_in_writing_names_the_file_that_was_to_be(size, tmp_path):
    with disk_with_room_for(size), pytest.raises(WriteError) as caught, whole_file(tmp_path / "a.bin") as file:
        for _ in range(size // 100 + 1):
            file.write(bytes(100))
    assert str(caught.value) == f"cannot write {str(tmp_path / 'a.bin')!r}: File too large"
    assert isinstance(caught.value, LitepredError)
    assert isinstance(caught.value, OSError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_error_in_a_library_that_writes_names_it_too(suffix, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    with (
        disk_with_room_for(5000),
        pytest.raises(WriteError, match=r"cannot write .*a\."),
        whole_file(tmp_path / f"a{suffix}") as file,
    ):
        Image.fromarray(noise).save(file, format=Image.registered_extensions()[suffix])
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_block_pass_unchanged(tmp_path):
    error = BrokenPipeError("nobody reads what is printed meanwhile")
    with pytest.raises(BrokenPipeError) as caught, whole_file(tmp_path / "a.json"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_that_is_to_outlive_a_power_cut_waits_for_the_disk(durable, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: waits.append(os.fstat(descriptor).st_size))
    with whole_file(tmp_path / "a", durable=durable) as file:
        file.write(b"12345")
    assert waits == [5] * durable


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a second folder, and an image that has two names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"image")
    (tmp_path / "out").mkdir()
    os.link("a.png", "other.png")
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "targets"),
    [
        ([], []),
        (["a.png", "a.png"], []),
        (["a.png"], ["b.png", "out/a.png"]),
        (["nowhere.png", "camera:0"], ["a.png"]),
    ],
)
def test_targets_of_their_own(sources, targets, folder):
    check_targets(sources, targets)


@pytest.mark.parametrize(
    ("sources", "targets", "message"),
    [
        (["a.png"], ["a.png"], "'a.png' is both read and written"),
        (["a.png"], ["out/../a.png"], "'out/../a.png' is both read and written"),
        (["a.png"], ["other.png"], "'other.png' is both read and written"),
        (["new.png"], ["./new.png"], "'./new.png' is both read and written"),
        ([], ["out/b.png", "out/../out/b.png"], "'out/../out/b.png' is to be written twice"),
        ([], ["a.png", "other.png"], "'other.png' is to be written twice"),
    ],
)
def test_targets_that_are_refused(sources, targets, message, folder):
    with pytest.raises(LitepredError, match=message):
        check_targets(sources, targets)


def test_a_long_text_is_left_as_it_is():
    """Such as an image in base64, which somebody passes for its path."""
    assert as_stored("9j/4" * 50_000) == "9j/4" * 50_000


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("", ""),
        ("é", "é"),
        ("é/", "é/"),
        ("./é//ü.png", "./é//ü.png"),
        ("é/ö/ü.png", "é/"),  # of what is not there, the forms stay
        ("é/**/ü*.png", "é/"),
        ("ö/é", ""),
        ("https://é/é", ""),
        ("é\0/é", ""),
        ("C:\\é", ""),
    ],
)
@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("is_absolute", [False, True])
def test_names_as_the_disk_has_them(typed, stored, form, other, is_absolute, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / normalize(form, "é")
    folder.mkdir()
    (folder / normalize(form, "ü.png")).touch()
    before = f"{tmp_path}/" if is_absolute else ""
    expected = normalize(form, stored) + normalize(other, typed.removeprefix(stored))
    assert as_stored(before + normalize(other, typed)) == before + expected
