"""Memory over time: flat, however many images come and however often the small functions are called.

The long ones print what they measured (``python -m pytest -m long tests/test_soak.py -s``).
"""

from __future__ import annotations

import gc
import itertools
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from process_worker import tiny_predictor
from tiny_models import tiny_image

from litepred import Boxes, Instances, MetadataCatalog, Predictor
from litepred.data import ResizeShortestEdge, class_name, image_to_array
from litepred.modeling import Box2BoxTransform
from litepred.modeling.postprocess import detector_postprocess


def resident_mib() -> float:
    psutil = pytest.importorskip("psutil")
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def random_image(generator: np.random.Generator, smallest: int, largest: int) -> np.ndarray:
    height, width = generator.integers(smallest, largest, 2)
    return tiny_image(int(height), int(width), seed=int(generator.integers(50))).permute(1, 2, 0).numpy()


def soak(predictor: Predictor, images: int, first: int, smallest: int, largest: int) -> None:
    """Predict, and compare the memory in use with that after the first images, whose sizes are as mixed."""
    generator = np.random.default_rng(0)
    after_first, peak = 0.0, 0.0
    for i in range(images):
        if i % 7 == 3:  # bad luck
            with pytest.raises(ValueError):
                predictor(np.zeros((4, 4, 7), np.uint8))
        if i % 5 == 4:
            list(predictor.batch([random_image(generator, smallest, largest) for _ in range(3)], batch_size=2))
        predictor(random_image(generator, smallest, largest))
        if i + 1 == first:
            after_first = resident_mib()
        elif i + 1 > first and (i + 1) % 10 == 0:
            peak = max(peak, resident_mib())
    last = resident_mib()
    print(f"{images} images: {after_first:.0f} MiB after {first}, {peak:.0f} MiB at most, {last:.0f} MiB at the end")
    assert peak <= 1.05 * after_first


@pytest.mark.long
@pytest.mark.parametrize("short_edge", [128, 0], ids=["resized", "as they are"])
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "optimized"])
def test_a_thousand_images_of_mixed_size(exact, short_edge):
    predictor = tiny_predictor(exact=exact)
    predictor.aug = ResizeShortestEdge(short_edge, 256)
    soak(predictor, 1000, 100, 16, 400)


@pytest.mark.long
def test_the_default_model_on_images_of_mixed_size(page_predictor):
    soak(page_predictor, 1000, 100, 50, 1200)


BOXES = torch.tensor([[1.0, 2, 30, 40], [5, 5, 6, 6], [-3, 0, 90, 9]])
METADATA = MetadataCatalog.get("coco_2017_val")
PIXELS = np.zeros((8, 6, 3), np.uint8)
TRANSFORM = Box2BoxTransform((10, 10, 5, 5))
ONE = Instances((20, 30), pred_boxes=Boxes(BOXES), scores=torch.ones(3), pred_classes=torch.zeros(3, dtype=torch.int64))


def clip() -> None:
    boxes = Boxes(BOXES)
    boxes.clip((20, 30))
    boxes.nonempty()


HOT: dict[str, Callable[[], Any]] = {
    "Boxes": clip,
    "Instances": lambda: ONE[:2].get_fields(),
    "decode": lambda: TRANSFORM.apply_deltas(BOXES, BOXES),
    "size": lambda: ResizeShortestEdge.get_output_shape(480, 640, 800, 1333),
    "image_to_array": lambda: image_to_array(PIXELS),
    "class_name": lambda: class_name(METADATA, 3),
    "catalog": lambda: MetadataCatalog.get("coco_2017_val"),
    "postprocess": lambda: detector_postprocess(ONE, 40, 60),
}


def grown_by(function: Callable[[], Any], calls: int) -> int:
    """Bytes of Python's own memory that many calls leave behind."""
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in itertools.repeat(None, calls):
            function()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", HOT)
def test_small_functions_keep_nothing(name):
    grown_by(HOT[name], 500)  # what is allocated once, and only when it is needed
    # An object per call would take four times that, each time; threads of other tests may add to it now and then.
    assert any(grown_by(HOT[name], 2000) < 8_000 for _ in range(5))


def two_million_calls() -> None:
    """Print how the process grew while the small functions were called."""
    for function in HOT.values():
        for _ in range(1000):
            function()
    before = resident_mib()
    for name, function in HOT.items():
        for _ in itertools.repeat(None, 250_000):
            function()
        print(f"{name}: {resident_mib() - before:+.1f} MiB after 250,000 calls")


@pytest.mark.long
def test_two_million_calls_of_small_functions():
    """In a process of its own: where others have left gaps in large arrays, the kernel may fill them at any time."""
    code = "import test_soak; test_soak.two_million_calls()"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    growth = [float(number) for number in re.findall(r": ([+-][\d.]+) MiB", done.stdout)]
    assert len(growth) == len(HOT)
    assert max(growth) <= 8
