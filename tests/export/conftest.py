"""An exported model that the tests of this folder share."""

from __future__ import annotations

import pytest
from exported_families import check_family


@pytest.fixture(scope="session")
def retinanet(tmp_path_factory):
    """A predictor in torch, and the path of its exported file."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    return check_family("RetinaNet", tmp_path_factory.mktemp("exported"))
