"""The programs that run an exported file: each takes arrays by name and returns arrays by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from ..errors import CheckpointError, ConfigError, package, wording

__all__ = ["Engine", "OnnxRuntime", "OpenVino", "check_engine", "make_engine"]

_OPENVINO_TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OnnxRuntime:
    """ONNX Runtime, on the CPU or on CUDA.

    Args:
        path: of the ONNX file.
        device: such as "cpu" or "cuda:1".
        threads: to compute with; by default one per core.
    """

    def __init__(self, path: str | os.PathLike[str], device: str = "cpu", threads: int | None = None) -> None:
        onnxruntime = package("onnxruntime", "the engine 'onnxruntime'", "'litepred[onnx]'", ConfigError)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        kind, _, index = device.partition(":")
        providers: list[Any] = ["CPUExecutionProvider"]
        if kind == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(index or 0)}))
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers)
        except Exception as error:  # its own kinds, which derive from nothing but Exception
            raise CheckpointError(f"ONNX Runtime cannot load {os.fspath(path)!r}: {error}") from error
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute all outputs for one image."""
        return dict(zip(self._names, self._session.run(self._names, dict(inputs))))


class OpenVino:
    """Intel's OpenVINO.

    Args:
        path: of the ONNX file.
        device: "cpu", or a name of OpenVINO's such as "GPU".
        threads: to compute with; by default one per core.
        precision: "float32", or "bfloat16" or "float16" where the device computes in it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: str = "cpu",
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        openvino = package("openvino", "the engine 'openvino'", "'litepred[openvino]'", ConfigError)
        hint = getattr(openvino.Type, _OPENVINO_TYPES[precision])
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            core = openvino.Core()
            self._model = core.compile_model(os.fspath(path), device.partition(":")[0].upper(), options)
        except Exception as error:  # RuntimeError with a page of text, which begins with places in OpenVINO's code
            lines = [line for line in str(error).splitlines() if not line.startswith(("Exception from", "Check "))]
            raise CheckpointError(f"OpenVINO cannot load {os.fspath(path)!r}: {' '.join(lines):.300}") from error
        self._request = self._model.create_infer_request()
        self._names = [output.any_name for output in self._model.outputs]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute all outputs for one image."""
        found = self._request.infer(dict(inputs))
        return {name: np.array(found[name]) for name in self._names}


Engine: TypeAlias = OnnxRuntime | OpenVino


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
    return OpenVino(path, device, threads, precision) if name == "openvino" else OnnxRuntime(path, device, threads)
