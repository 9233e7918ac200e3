"""The command as a whole: usage, help, and how it ends."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

from litepred.cli import main
from litepred.cli import predict as predict_module


@pytest.mark.parametrize("arguments", [[], ["predict", "--threshold", "2"], ["predict", "--threshold", "x"], ["train"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: litepred" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["--version"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    assert "litepred" in capsys.readouterr().out
