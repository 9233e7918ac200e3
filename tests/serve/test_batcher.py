"""The thread in which a service's model runs."""

from __future__ import annotations

import threading

import pytest
import torch

from litepred.serve.batcher import Batcher


class Model:
    """Has no size of its own, so that images of one size fit together."""


class Pretended:
    """A predictor that answers with the number in the image, and stops at a gate until it is opened."""

    def __init__(self):
        self.model = Model()
        self.gate, self.entered = threading.Event(), threading.Event()
        self.runs = []

    def run(self, inputs):
        self.entered.set()
        assert self.gate.wait(20)
        numbers = [int(one["image"].flatten()[0]) for one in inputs]
        self.runs.append(numbers)
        if 13 in numbers:
            raise MemoryError(f"for {len(numbers)}")
        return [{"number": number} for number in numbers]


def image(number, size=(2, 2)):
    return {"image": torch.full((1, *size), number), "height": 2, "width": 2}


@pytest.fixture
def predictor():
    return Pretended()


@pytest.fixture
def batcher(predictor):
    told = []
    batcher = Batcher(predictor, 3, lambda images, seconds: told.append((images, seconds >= 0)))
    batcher.told = told
    yield batcher
    predictor.gate.set()
    batcher.close()


def test_images_of_clients_that_have_gone_are_let_go(batcher, predictor):
    running = first_of_all(batcher, predictor)
    gone = batcher.submit(image(1))
    kept = batcher.submit(image(2))
    assert gone.cancel()
    assert [job.answer for job in batcher._waiting] == [kept]
    predictor.gate.set()
    assert (running.result(20), kept.result(20)) == ({"number": 0}, {"number": 2})


def first_of_all(batcher, predictor):
    """Let an image wait in the model, so that all later ones wait behind it."""
    answer = batcher.submit(image(0))
    assert predictor.entered.wait(20)
    return answer


def test_nothing_came(predictor):
    Batcher(predictor, 3, print).close()
    assert predictor.runs == []


def test_what_waits_runs_together_if_its_size_is_one(batcher, predictor):
    answers = [first_of_all(batcher, predictor)]
    answers += [batcher.submit(image(n, (2, 4) if n in (2, 5) else (2, 2))) for n in range(1, 8)]
    predictor.gate.set()
    assert [one.result(20)["number"] for one in answers] == list(range(8))
    assert predictor.runs == [[0], [1, 3, 4], [2, 5], [6, 7]]
    batcher.close()
    assert batcher.told == [(1, True), (3, True), (2, True), (2, True)]


def test_what_was_cancelled_is_passed_over(batcher, predictor):
    first_of_all(batcher, predictor)
    answers = [batcher.submit(image(n)) for n in range(1, 5)]
    assert answers[1].cancel()
    predictor.gate.set()
    assert answers[3].result(20) == {"number": 4}
    assert predictor.runs == [[0], [1, 3, 4]]


def test_images_of_a_batch_that_fails_run_alone(batcher, predictor):
    first_of_all(batcher, predictor)
    answers = [batcher.submit(image(n)) for n in (1, 13, 2)]
    predictor.gate.set()
    assert answers[0].result(20) == {"number": 1}
    assert answers[2].result(20) == {"number": 2}
    with pytest.raises(MemoryError, match="for 1"):
        answers[1].result(20)


def test_closing_finishes_what_waits(batcher, predictor):
    answers = [first_of_all(batcher, predictor), batcher.submit(image(1))]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    predictor.gate.set()
    closing.join(20)
    assert [one.result(0)["number"] for one in answers] == [0, 1]
    with pytest.raises(RuntimeError, match="shutting down"):
        batcher.submit(image(2))
