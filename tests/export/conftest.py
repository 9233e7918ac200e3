"""An exported model that the tests of this folder share."""

from __future__ import annotations

import pytest
import torch
from exported_families import check_family

if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 14):  # whose exporter is asked for
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def retinanet(tmp_path_factory):
    """A predictor in torch, and the path of its exported file."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    return check_family("RetinaNet", tmp_path_factory.mktemp("exported"))
