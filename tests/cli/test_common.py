"""What the commands share."""

from __future__ import annotations

import os

import pytest

from litepred.cli.common import check_targets
from litepred.errors import LitepredError


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
