"""An exported model that the tests of this folder share."""

from __future__ import annotations

import pytest
import torch
from exported_families import check_family

CAN_EXPORT = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 14)
if not CAN_EXPORT:  # then files that were exported elsewhere still run
    collect_ignore = ["test_onnx_file.py", "test_zoo.py"]


@pytest.fixture(scope="session")
def retinanet(tmp_path_factory):
    """A predictor in torch, and the path of its exported file."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    if not CAN_EXPORT:
        pytest.skip("this torch's exporter is too old")
    return check_family("RetinaNet", tmp_path_factory.mktemp("exported"))
