"""The programs that run exported files: shared by threads, sent to processes, and held to a file's fixed size."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest

from litepred.errors import in_words_of_commands

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from litepred.export.engines import make_engine, runs_on  # noqa: E402


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def name(request):
    pytest.importorskip(request.param)
    return request.param


def mean_of_image(path, height, width):
    """A file whose one answer is the mean of its image."""
    make, types = onnx.helper, onnx.TensorProto
    graph = make.make_graph(
        [make.make_node("Cast", ["image"], ["x"], to=types.FLOAT), make.make_node("ReduceMean", ["x"], ["mean"])],
        "mean",
        [make.make_tensor_value_info("image", types.UINT8, [3, height, width])],
        [make.make_tensor_value_info("mean", types.FLOAT, [1, 1, 1])],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10), path)
    return str(path)


@pytest.fixture
def engine(name, tmp_path):
    return make_engine(name, mean_of_image(tmp_path / "m.onnx", "height", "width"), "cpu", 1, "float32")


def test_threads_share_an_engine(engine):
    together = threading.Barrier(8)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads change in the middle of whatever they do

    def run(value):
        image = np.full((3, 200, 200), value, np.uint8)
        together.wait()
        return {float(engine.run({"image": image})["mean"].item()) for _ in range(50)}

    try:
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(run, range(8))) == [{float(value)} for value in range(8)]
    finally:
        sys.setswitchinterval(before)


def test_an_engine_is_pickled(engine):
    again = pickle.loads(pickle.dumps(engine))
    assert again.run({"image": np.full((3, 4, 5), 7, np.uint8)})["mean"].item() == 7


@pytest.mark.parametrize(("size", "known"), [(("h", "w"), (None, None)), ((40, 50), (40, 50)), (("h", 50), (None, 50))])
def test_what_a_file_takes_and_returns(name, size, known, tmp_path):
    engine = make_engine(name, mean_of_image(tmp_path / "m.onnx", *size), "cpu", 1, "float32")
    assert (engine.inputs, engine.outputs) == ({"image": ("uint8", (3, *known))}, ["mean"])
    assert (engine.device, engine.precision) == ("cpu", "float32")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_devices_that_it_does_not_run_on(name, device):
    assert runs_on(name, "cpu") == "cpu"
    with pytest.warns(UserWarning, match=rf"the model is on {device}, but .*computes on the CPU; device='cpu' says so"):
        assert runs_on(name, device) == "cpu"
    with in_words_of_commands(), pytest.warns(UserWarning, match="--device cpu says so"):
        runs_on(name, device)


def test_onnx_runtime_on_cuda(monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert runs_on("onnxruntime", "cuda:1") == "cuda:1"


def test_cuda_that_onnx_runtime_cannot_use(tmp_path):
    """The package may have its part for CUDA, and CUDA or cuDNN be missing: its session is one for the CPU then."""
    path = mean_of_image(tmp_path / "m.onnx", "height", "width")
    match = "the model is on cuda:1, but ONNX Runtime cannot load its part for CUDA.*: it computes on the CPU"
    with pytest.warns(UserWarning, match=match), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Specified provider")  # of ONNX Runtime, whose package here is without CUDA
        engine = make_engine("onnxruntime", path, "cuda:1", 1, "float32")
    assert engine.device == "cpu"
    assert pickle.loads(pickle.dumps(engine)).device == "cpu"  # without another warning


@pytest.mark.parametrize(
    ("asked", "used", "told"),
    [
        ("bfloat16", "bfloat16", None),
        ("bfloat16", "float32", "precision is 'bfloat16', but OpenVINO computes in float32 .*: precision='float32'"),
        ("float16", "bfloat16", "precision is 'float16', but OpenVINO computes in bfloat16 .*: precision='bfloat16'"),
        ("auto", "bfloat16", None),
        ("auto", "float32", None),
    ],
)
def test_the_precision_that_openvino_takes(asked, used, told, tmp_path, monkeypatch):
    openvino = pytest.importorskip("openvino")
    kind = getattr(openvino.Type, {"float32": "f32", "bfloat16": "bf16"}[used])
    monkeypatch.setattr(openvino.CompiledModel, "get_property", lambda *_: kind)  # as on a processor that has only that
    path = mean_of_image(tmp_path / "m.onnx", "height", "width")
    with pytest.warns(UserWarning, match=told) if told else nullcontext():
        engine = make_engine("openvino", path, "cpu", 1, asked)
    assert engine.precision == used
    assert pickle.loads(pickle.dumps(engine)).precision == used  # without another warning


def run_twice(made, queue):
    """Run an engine of the parent, and another one that is made here, after the first is let go of."""
    image = {"image": np.full((3, 200, 200), 7, np.uint8)}
    first = made[0].run(image)["mean"].item()
    path = made.pop()._made_of["path"]
    queue.put([first, make_engine("openvino", path, "cpu", 1, "float32").run(image)["mean"].item()])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_process_that_was_forked_while_another_thread_computes(engine):
    pytest.importorskip("openvino")
    stop = threading.Event()
    image = {"image": np.zeros((3, 2000, 2000), np.uint8)}

    def compute():
        while not stop.is_set():
            engine.run(image)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(compute)
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        process = context.Process(target=run_twice, args=([engine], queue), daemon=True)
        try:
            process.start()
            assert queue.get(timeout=60) == [7, 7]
            process.join(60)
            assert process.exitcode == 0
        finally:
            stop.set()
            process.kill()
        running.result()
