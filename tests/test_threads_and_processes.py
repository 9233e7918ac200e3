"""One predictor in many threads, many in many processes and in an event loop: the serial answers."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from process_worker import answer, images, predict_all, tiny_predictor, use_all_threads
from tiny_models import FAMILIES, tiny_cfg, tiny_image, tiny_model

from litepred import MetadataCatalog, Predictor

# Threads share the processor in another way from run to run, and sums may be rounded otherwise.
TOLERANCE = {"boxes": 0.02, "scores": 5e-4, "classes": 0, "masks": 0, "keypoints": 0.5}


@pytest.fixture(scope="module", params=[True, False], ids=["exact", "optimized"])
def predictor(request) -> Predictor:
    return tiny_predictor(exact=request.param)


@pytest.fixture(scope="module")
def serial(predictor) -> list[dict[str, np.ndarray]]:
    answers = [answer(predictor(image)) for image in images()]
    assert all(len(one["boxes"]) for one in answers)
    return answers


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert set(one) == set(other) <= set(TOLERANCE)
    for name, value in one.items():
        assert value.shape == other[name].shape
        assert np.abs(value.astype(float) - other[name].astype(float)).max(initial=0) <= TOLERANCE[name]


def test_eight_threads(predictor, serial):
    together = threading.Barrier(8)

    def work(i: int) -> list[dict[str, np.ndarray]]:
        together.wait()  # all at once, each from another image on
        return [answer(predictor(images()[(i + j) % 8])) for j in range(8)]

    with ThreadPoolExecutor(8) as pool:
        for i, answers in enumerate(pool.map(work, range(8))):
            for j, one in enumerate(answers):
                assert_equal(one, serial[(i + j) % 8])


def test_batches_in_four_threads(predictor, serial):
    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(lambda _: [answer(one) for one in predictor.batch(images(), 4)], range(4)):
            for one, other in zip(answers, serial, strict=True):
                assert_equal(one, other)


def test_event_loop(predictor, serial):
    async def all_images() -> list[Any]:
        return await asyncio.gather(*(asyncio.to_thread(predictor, image) for image in images()))

    for one, other in zip(asyncio.run(all_images()), serial, strict=True):
        assert_equal(answer(one), other)


def test_predictors_built_in_eight_threads(serial):
    """Building skips the drawing of random weights in its own thread only; the results are whole predictors."""
    with ThreadPoolExecutor(8) as pool:
        built = list(pool.map(lambda _: tiny_predictor(), range(8)))
    for one in built:
        assert_equal(answer(one(images()[0])), serial[0])


def test_eight_threads_are_the_first_to_use_it():
    code = "import process_worker; process_worker.first_use_in_eight_threads()"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("start", "number", "threads"),
    [
        ("fork", 8, None),  # the threads that the parent has started are not there any more
        ("spawn", 2, 1),
        pytest.param("spawn", 8, 1, marks=pytest.mark.long),
        pytest.param("forkserver", 8, 1, marks=pytest.mark.long),
    ],
)
def test_processes(start, number, threads):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"{sys.platform} has no {start}")
    predictor = tiny_predictor()
    serial = [answer(predictor(image)) for image in images()]
    use_all_threads(predictor)
    context = multiprocessing.get_context(start)
    queue = context.Queue()
    processes = [context.Process(target=predict_all, args=(queue, threads), daemon=True) for _ in range(number)]
    for process in processes:
        process.start()
    for _ in processes:
        for one, other in zip(queue.get(timeout=120), serial, strict=True):
            assert_equal(one, other)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def snapshot(model: torch.nn.Module) -> dict[str, Any]:
    """Everything that a model holds: attributes by identity, tensors by how often they were written to."""
    held: dict[str, Any] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            held[f"{path}.{name}"] = sorted(value) if isinstance(value, dict) else id(value)
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            held[f"{path}.{name}"] = (id(tensor), tensor.data_ptr(), tensor._version)
    return held


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "optimized"])
@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "precomputed"])
def test_a_prediction_writes_to_nothing_that_is_shared(family, exact):
    cfg = tiny_cfg(family)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    predictor = Predictor(cfg, weights=tiny_model(family).state_dict(), exact=exact)
    before, attributes = snapshot(predictor.model), {name: id(value) for name, value in vars(predictor).items()}
    image = tiny_image(64, 96).permute(1, 2, 0).numpy()
    pixels = image.copy()
    predictor(image)
    predictor(image[:40])
    assert snapshot(predictor.model) == before
    assert {name: id(value) for name, value in vars(predictor).items()} == attributes
    assert np.array_equal(image, pixels)


def test_metadata_asked_for_by_eight_threads_are_one_object():
    MetadataCatalog.data["lvis_v1_val"] = None  # as if not read yet
    together = threading.Barrier(8)

    def ask(_: int) -> Any:
        together.wait()
        return MetadataCatalog.get("lvis_v1_val")

    with ThreadPoolExecutor(8) as pool:
        assert len({id(metadata) for metadata in pool.map(ask, range(8))}) == 1
