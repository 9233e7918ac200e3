"""Files that are whole or absent, and what is no file but an address."""

from __future__ import annotations

import os
import sys

import pytest

from litepred.files import is_address, whole_file


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
    with whole_file(target) as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert not target.exists()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.png", "new")]


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    room = 258 - len(str(tmp_path)) if sys.platform == "win32" else 255
    target = tmp_path / f"{'a' * (room - 4)}.png"
    with whole_file(target) as temporary:
        assert len(temporary.name) < 20
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("begun", [False, True])
def test_nothing_is_left_of_a_file_that_broke_off(error, begun, tmp_path):
    (tmp_path / "a.png").write_text("old")
    with pytest.raises(error), whole_file(tmp_path / "a.png") as temporary:
        if begun:
            temporary.write_text("half")
        raise error
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.png", "old")]


@pytest.mark.parametrize("name", ["x" * 251, "\u4e2d" * 83], ids=["ascii", "wide"])
def test_the_longest_names(name, tmp_path):
    with whole_file(tmp_path / f"{name}.png") as temporary:
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]


@pytest.mark.parametrize("name", ["", ".", "/", "folder"])
def test_a_folder_is_refused_before_anything_is_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="it is a folder"), whole_file(name):
        pytest.fail("the body began")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # or /dev/null, which whoever may would replace
    with pytest.raises(OSError, match="it is not a regular file"), whole_file(tmp_path / "pipe"):
        pytest.fail("the body began")
