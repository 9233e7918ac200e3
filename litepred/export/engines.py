"""The programs that run an exported file: each takes arrays by name and returns arrays by name."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeAlias

import numpy as np

from ..errors import CheckpointError, ConfigError, package, wording

__all__ = ["Engine", "OnnxRuntime", "OpenVino", "check_engine", "make_engine", "runs_on"]

_first_runs = threading.Lock()  # OpenVINO's Python part may stand still where two threads come to it first at once
_OPENVINO_TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OnnxRuntime:
    """ONNX Runtime, on the CPU or on CUDA. Threads may share it, and it can be pickled while its file stays.

    Args:
        path: of the ONNX file.
        device: such as "cpu" or "cuda:1", which `runs_on` has checked.
        threads: to compute with; by default one per core.

    Attributes:
        image_size: the (height, width) that the file takes; ``None`` in the place of a free one.
    """

    def __init__(self, path: str | os.PathLike[str], device: str = "cpu", threads: int | None = None) -> None:
        self._made_of = (os.path.abspath(path), device, threads)
        onnxruntime = package("onnxruntime", "the engine 'onnxruntime'", "'litepred[onnx]'", ConfigError)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        kind, _, index = device.partition(":")
        providers: list[Any] = ["CPUExecutionProvider"]
        if kind == "cuda":
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(index or 0)}))
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers)
        except Exception as error:  # its own kinds, which derive from nothing but Exception
            raise CheckpointError(f"ONNX Runtime cannot load {os.fspath(path)!r}: {error}") from error
        self._names = [output.name for output in self._session.get_outputs()]
        shape = next((one.shape for one in self._session.get_inputs() if one.name == "image"), ())
        self.image_size = _fixed([side if isinstance(side, int) else None for side in shape])

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxRuntime, self._made_of

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute all outputs for one image."""
        return dict(zip(self._names, self._session.run(self._names, dict(inputs))))


class OpenVino:
    """Intel's OpenVINO on the CPU. Threads may share it, and it can be pickled while its file stays.

    Args:
        path: of the ONNX file.
        threads: to compute with; by default one per core.
        precision: "float32", or "bfloat16" or "float16" where the processor computes in it.

    Attributes:
        image_size: the (height, width) that the file takes; ``None`` in the place of a free one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        self._made_of = (os.path.abspath(path), threads, precision)
        openvino = package("openvino", "the engine 'openvino'", "'litepred[openvino]'", ConfigError)
        hint = getattr(openvino.Type, _OPENVINO_TYPES[precision])
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            core = openvino.Core()
            self._model = core.compile_model(os.fspath(path), "CPU", options)
        except Exception as error:  # RuntimeError with a page of text, which begins with places in OpenVINO's code
            lines = [line for line in str(error).splitlines() if not line.startswith(("Exception from", "Check "))]
            raise CheckpointError(f"OpenVINO cannot load {os.fspath(path)!r}: {' '.join(lines):.300}") from error
        self._request = self._model.create_infer_request()
        self._lock, self._has_run = threading.Lock(), False  # a request computes for one thread at a time
        self._names = [output.any_name for output in self._model.outputs]
        shapes = {one.any_name: one.partial_shape for one in self._model.inputs}
        sides = [side.get_length() if side.is_static else None for side in shapes.get("image", ())]
        self.image_size = _fixed(sides)

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenVino, self._made_of

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute all outputs for one image."""
        with self._lock:
            with nullcontext() if self._has_run else _first_runs:
                found = self._request.infer(dict(inputs))
            self._has_run = True
            return {name: np.array(found[name]) for name in self._names}


Engine: TypeAlias = OnnxRuntime | OpenVino


def _fixed(shape: Sequence[int | None]) -> tuple[int | None, int | None]:
    """Return height and width of a shape (C, H, W)."""
    return (shape[1], shape[2]) if len(shape) == 3 else (None, None)


def runs_on(name: str, device: str) -> str:
    """Return the device that an engine takes when a model is asked for on ``device``; a warning says if it is another.

    OpenVINO runs on the CPU, and ONNX Runtime also on CUDA, if the installed package is one that was built for it.
    """
    kind = device.partition(":")[0]
    if kind == "cpu":
        return device
    if name == "openvino":
        why = "OpenVINO runs on the CPU alone"
    else:
        providers = package("onnxruntime", "the engine 'onnxruntime'", "'litepred[onnx]'", ConfigError)
        if kind == "cuda" and "CUDAExecutionProvider" in providers.get_available_providers():
            return device
        why = "the installed ONNX Runtime does not, as onnxruntime-gpu does on CUDA"
    instead = wording("device='cpu'", "--device cpu")
    warnings.warn(f"the model is on {device}, but {why}: it computes on the CPU; {instead} says so", stacklevel=2)
    return "cpu"


def check_engine(name: str, precision: str) -> None:
    """Check, before any work is done, that an engine is installed and computes in a precision.

    Raises:
        ConfigError: it is not, or does not.
    """
    if name == "openvino":
        if precision not in _OPENVINO_TYPES:
            raise ConfigError(f"precision is {precision!r}: expected one of {', '.join(_OPENVINO_TYPES)}")
        package("openvino", "the engine 'openvino'", "'litepred[openvino]'", ConfigError)
        return
    if precision != "float32":
        raise ConfigError(
            f"precision is {precision!r}, but ONNX Runtime computes in the types of its file: leave it out, or take "
            + wording("engine='openvino'", "--engine openvino")
        )
    package("onnxruntime", "the engine 'onnxruntime'", "'litepred[onnx]'", ConfigError)


def make_engine(name: str, path: str, device: str, threads: int | None, precision: str) -> Engine:
    """Load a file with the engine of this name, which `check_engine` has checked.

    Raises:
        CheckpointError: the engine cannot load the file.
    """
    return OpenVino(path, threads, precision) if name == "openvino" else OnnxRuntime(path, device, threads)
