"""Valid files with bytes changed, taken out, put in and cut off: each loads or ends in a CheckpointError."""

from __future__ import annotations

import io
import pickle
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from litepred.checkpoint import read_checkpoint
from litepred.errors import CheckpointError

STATE = {"conv.weight": torch.arange(6.0).view(2, 3), "conv.bias": torch.ones(2).half(), "steps": torch.tensor(3)}
ARRAYS = {key: value.numpy() for key, value in STATE.items()}


def saved(legacy: bool) -> bytes:
    buffer = io.BytesIO()
    extra = {"iteration": 7, "best": np.float64(0.5), "optimizer": {"state": {0: {"momentum": torch.ones(3)}}}}
    torch.save({"model": STATE, **extra}, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def recompressed(archive: bytes) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    return buffer.getvalue()


FILES = {
    "safetensors": safetensors.torch.save(STATE, {"iteration": "7"}),
    "torch": saved(legacy=False),
    "torch, compressed": recompressed(saved(legacy=False)),
    "torch-legacy": saved(legacy=True),
    **{f"pickle {protocol}": pickle.dumps({"model": ARRAYS, "__author__": "x"}, protocol) for protocol in (0, 2, 4, 5)},
    "pickle of tensors": pickle.dumps({"model": STATE, "__author__": "x"}, 2),
    "Caffe2": pickle.dumps({"blobs": {"cls_score_w": np.ones((3, 2), np.float32), "conv1_w": np.ones(2)}}, 2),
}

# An edit of the bytes at a place, given as a share of the length.
EDITS: dict[str, Callable[[bytearray, int, bytes], None]] = {
    "change": lambda data, at, new: data.__setitem__(slice(at, at + len(new)), new),
    "flip": lambda data, at, new: data.__setitem__(at, data[at] ^ (1 << new[0] % 8)),
    "put in": lambda data, at, new: data.__setitem__(slice(at, at), new),
    "take out": lambda data, at, new: data.__delitem__(slice(at, at + len(new))),
    "cut off": lambda data, at, new: data.__delitem__(slice(at, None)),
    "double": lambda data, at, new: data.__setitem__(slice(at, at), data[at : at + 16 * len(new)]),
}
EDIT = st.tuples(st.sampled_from(list(EDITS)), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(list(FILES)), edits=st.lists(EDIT, max_size=4))
@example(kind="torch", edits=[("cut off", 0.0, b"\0")])
@pytest.mark.filterwarnings("ignore")  # from zipfile about names that stand twice
def test_a_changed_file_loads_or_is_refused(kind: str, edits: list[tuple[str, float, bytes]], tmp_path: Path) -> None:
    data = bytearray(FILES[kind])
    for name, share, new in edits:
        if data:
            EDITS[name](data, int(share * len(data)), new)
    path = tmp_path / f"{uuid.uuid4()}.pth"  # tensors may still lie in the last one, which Windows would not replace
    path.write_bytes(data)
    try:
        model = read_checkpoint(path).model
    except CheckpointError as error:
        assert edits
        assert str(path) in str(error)
    else:
        assert model
        assert all(isinstance(value.double().sum().item(), float) for value in model.values())
