"""The package runs wherever Python does. ruff knows most of what does not, see pyproject.toml; this is the rest."""

from __future__ import annotations

import re
from pathlib import Path

import litepred


def test_no_drive_of_windows_is_taken_for_an_address():
    """``"://" in name`` is true of ``C://folder``; `litepred.files.is_address` tells them apart."""
    files = sorted(Path(litepred.__file__).parent.rglob("*.py"))
    assert len(files) > 100
    assert [file for file in files if re.search(r"""["']://["'] in""", file.read_text(encoding="utf-8"))] == []
