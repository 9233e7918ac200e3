"""Files that are whole or absent."""

from __future__ import annotations

import pytest

from litepred.files import whole_file


def test_a_file_appears_at_the_end(tmp_path):
    target = tmp_path / "a.png"
    with whole_file(target) as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert not target.exists()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.png", "new")]


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
