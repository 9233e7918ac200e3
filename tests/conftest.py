"""What every test shares: two threads, as the goldens were made with, faster layers, and one default predictor."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
import torch

import litepred  # noqa: F401 - sets how many shapes of layers are kept, which the next line already reads

torch.set_num_threads(2)
# On every machine the ways that round differently from torch's own are tested, and none is measured.
os.environ.setdefault("LITEPRED_CHOICES", "winograd=yes,linear=yes,bfloat16=yes")


@pytest.fixture(scope="session")
def page_predictor():
    from litepred import Predictor

    return Predictor()


@pytest.fixture
def unloadable_opencv(tmp_path, monkeypatch):
    """OpenCV as it is where a library of the system is missing."""
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text('raise ImportError("libGL.so.1: cannot open shared object file")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)


@pytest.fixture(scope="session")
def browser():
    """A Chromium, whose camera shows a pattern."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=camera)
        yield chromium
        chromium.close()
