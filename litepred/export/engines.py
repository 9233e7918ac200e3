"""The programs that run an exported file: each takes arrays by name and returns arrays by name."""

from __future__ import annotations

import os
import tempfile
import threading
import warnings
import weakref
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..errors import CheckpointError, ConfigError, package, wording

__all__ = ["Engine", "Input", "OnnxRuntime", "OpenVino", "check_engine", "make_engine", "runs_on"]

_first_runs = threading.Lock()  # OpenVINO's Python part may stand still where two threads come to it first at once
_OPENVINO_TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_INPUT_TYPES = {"tensor(uint8)": "uint8", "u8": "uint8", "tensor(float)": "float32", "f32": "float32"}


class Input(NamedTuple):
    """What a file takes by one name.

    Attributes:
        kind: such as "uint8" or "float32"; the engine's own word for other types.
        shape: ``None`` in the place of a free length.
    """

    kind: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.kind} ({', '.join('any' if side is None else str(side) for side in self.shape)})"

    def fits(self, other: Input) -> bool:
        """Whether there may be arrays that are both."""
        sides = zip(self.shape, other.shape)
        same_rank = len(self.shape) == len(other.shape)
        return self.kind == other.kind and same_rank and all(None in pair or pair[0] == pair[1] for pair in sides)


_engines: weakref.WeakSet[_EngineBase] = weakref.WeakSet()  # of this process
_of_parents: list[dict[str, Any]] = []  # what engines of the processes that this one was forked from hold


def _keep_engines_of_the_parent() -> None:
    """Keep the parent's engines for as long as this forked process lives.

    To free one of OpenVINO's would end the process, since OpenVINO looks for threads that only the parent has.
    """
    global _first_runs
    _first_runs = threading.Lock()
    _of_parents.extend(dict(vars(one)) for one in _engines)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_keep_engines_of_the_parent)


class _EngineBase:
    """What both engines do: load their file again when they are unpickled, and in a process that was forked.

    Attributes:
        folder: where the file is, if that is to be removed with this object.
    """

    folder: tempfile.TemporaryDirectory[str] | None = None
    _made_of: dict[str, Any]
    _process: int

    def _is_made(self, **made_of: Any) -> None:
        self._made_of, self._process = made_of, os.getpid()
        _engines.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self._made_of), ()

    def _be_of_this_process(self) -> None:
        """Load the file again, for one thread, if this process was forked: the engine's threads are in the parent."""
        if self._process == os.getpid():
            return
        with _first_runs:
            if self._process != os.getpid():
                type(self).__init__(self, **{**self._made_of, "threads": 1})


class OnnxRuntime(_EngineBase):
    """ONNX Runtime, on the CPU or on CUDA. Threads may share it, and it can be pickled while its file stays.

    Args:
        path: of the ONNX file.
        device: such as "cpu" or "cuda:1", which `runs_on` has checked.
        threads: to compute with; by default one per core.

    Attributes:
        inputs: what the file takes, by name: see `Input`.
        outputs: the names of what it returns.
        device: where it computes: the CPU, with a warning, where ONNX Runtime cannot use another one after all.
        precision: "float32": the types are the file's own.
        folder: where the file is, if that is to be removed with this object.
    """

    precision = "float32"

    def __init__(self, path: str | os.PathLike[str], device: str = "cpu", threads: int | None = None) -> None:
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
        self.inputs = {one.name: _input(one.type, one.shape) for one in self._session.get_inputs()}
        self.outputs = [output.name for output in self._session.get_outputs()]
        if kind == "cuda" and "CUDAExecutionProvider" not in self._session.get_providers():
            device = _cpu_instead_of(device, "ONNX Runtime cannot load its part for CUDA, which needs CUDA and cuDNN")
        self.device = device
        self._is_made(path=os.path.abspath(path), device=device, threads=threads)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute all outputs for one image."""
        self._be_of_this_process()
        return dict(zip(self.outputs, self._session.run(self.outputs, dict(inputs))))


class OpenVino(_EngineBase):
    """Intel's OpenVINO on the CPU. Threads may share it, and it can be pickled while its file stays.

    Args:
        path: of the ONNX file.
        threads: to compute with; by default one per core.
        precision: "float32", or "bfloat16" or "float16" where the processor computes in it; "auto" leaves the choice to
            OpenVINO, which takes what it knows to be fastest.

    Attributes:
        inputs: what the file takes, by name: see `Input`.
        outputs: the names of what it returns.
        device: "cpu".
        precision: that in use; a warning says so where it is not the one asked for.
        folder: where the file is, if that is to be removed with this object.
    """

    device = "cpu"

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        openvino = package("openvino", "the engine 'openvino'", "'litepred[openvino]'", ConfigError)
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if precision != "auto":
            options["INFERENCE_PRECISION_HINT"] = getattr(openvino.Type, _OPENVINO_TYPES[precision])
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            core = openvino.Core()
            self._model = core.compile_model(os.fspath(path), "CPU", options)
            used = self._model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        except Exception as error:  # RuntimeError with a page of text, which begins with places in OpenVINO's code
            lines = [line for line in str(error).splitlines() if not line.startswith(("Exception from", "Check "))]
            raise CheckpointError(f"OpenVINO cannot load {os.fspath(path)!r}: {' '.join(lines):.300}") from error
        self._request = self._model.create_infer_request()
        self._lock, self._has_run = threading.Lock(), False  # a request computes for one thread at a time
        self.outputs = [output.any_name for output in self._model.outputs]
        self.inputs = {}
        for one in self._model.inputs:
            shape = one.partial_shape if one.partial_shape.rank.is_static else ()
            sides = [side.get_length() if side.is_static else None for side in shape]
            self.inputs[one.any_name] = _input(one.element_type.get_type_name(), sides)
        self.precision = next((name for name, kind in _OPENVINO_TYPES.items() if kind == used), used)
        if precision not in ("auto", self.precision):
            instead = wording(f"precision={self.precision!r}", f"--precision {self.precision}")
            warnings.warn(
                f"precision is {precision!r}, but OpenVINO computes in {self.precision} on this processor: {instead} "
                "says so",
                stacklevel=2,
            )
        self._is_made(path=os.path.abspath(path), threads=threads, precision=self.precision)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute all outputs for one image."""
        self._be_of_this_process()
        with self._lock:
            with nullcontext() if self._has_run else _first_runs:
                found = self._request.infer(dict(inputs))
            self._has_run = True
            return {name: np.array(found[name]) for name in self.outputs}


Engine: TypeAlias = OnnxRuntime | OpenVino


def _input(kind: str, shape: Iterable[Any]) -> Input:
    return Input(_INPUT_TYPES.get(kind, kind), tuple(side if isinstance(side, int) else None for side in shape))


def _cpu_instead_of(device: str, why: str) -> str:
    instead = wording("device='cpu'", "--device cpu")
    warnings.warn(f"the model is on {device}, but {why}: it computes on the CPU; {instead} says so", stacklevel=3)
    return "cpu"


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
    return _cpu_instead_of(device, why)


def check_engine(name: str, precision: str) -> None:
    """Check, before any work is done, that an engine is installed and computes in a precision.

    Raises:
        ConfigError: it is not, or does not.
    """
    if name == "openvino":
        if precision not in (*_OPENVINO_TYPES, "auto"):
            raise ConfigError(f"precision is {precision!r}: expected one of {', '.join(_OPENVINO_TYPES)}, auto")
        package("openvino", "the engine 'openvino'", "'litepred[openvino]'", ConfigError)
        return
    if precision not in ("float32", "auto"):
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
