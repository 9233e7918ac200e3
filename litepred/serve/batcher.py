"""The thread in which a service's model runs, on one image or on several that wait and fit together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from time import perf_counter
from typing import NamedTuple

from ..predictor import ModelInput, Predictor
from ..structures import Outputs

__all__ = ["Batcher"]


class _Job(NamedTuple):
    inputs: ModelInput
    answer: Future[Outputs]


class Batcher:
    """Runs a predictor's model in a thread of its own.

    Whenever the model is free, it takes the image that has waited longest, together with those that wait behind it and
    have the same padded size: padding by the size of another image would change an image's numbers.

    Args:
        predictor: whose model runs.
        batch_size: the most images that run together.
        told: a function that is called after each run with the number of images in it, and the seconds that it took.
    """

    def __init__(self, predictor: Predictor, batch_size: int, told: Callable[[int, float], None]) -> None:
        self._predictor, self._batch_size, self._told = predictor, batch_size, told
        self._padded_size = getattr(predictor.model, "padded_size", lambda image: tuple(image.shape[1:]))
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="litepred-model", daemon=True)
        self._thread.start()

    def submit(self, inputs: ModelInput) -> Future[Outputs]:
        """Let the model run on an image when its turn comes; it is passed over where the answer was cancelled by then.

        Raises:
            RuntimeError: the batcher is closed.
        """
        job = _Job(inputs, Future())
        with self._changed:
            if self._closed:
                raise RuntimeError("the service is shutting down")
            self._waiting.append(job)
            self._changed.notify()
        job.answer.add_done_callback(self._drop_cancelled)
        return job.answer

    def _drop_cancelled(self, answer: Future[Outputs]) -> None:
        """Give the memory of an image back whose client has gone, instead of when its turn would come."""
        if answer.cancelled():
            with self._changed:
                self._waiting = deque(job for job in self._waiting if job.answer is not answer)

    def close(self) -> None:
        """Finish what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while jobs := self._take():
            start = perf_counter()
            self._run(jobs)
            self._told(len(jobs), perf_counter() - start)

    def _take(self) -> list[_Job]:
        """Wait for images, and take those that run next; none when the batcher is closed and nothing waits."""
        with self._changed:
            taken: list[_Job] = []
            while not taken:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return []
                left: deque[_Job] = deque()
                for job in self._waiting:
                    fits = not taken or self._size(job) == self._size(taken[0])
                    if len(taken) == self._batch_size or not fits:
                        left.append(job)
                    elif job.answer.set_running_or_notify_cancel():
                        taken.append(job)
                self._waiting = left
            return taken

    def _size(self, job: _Job) -> tuple[int, ...]:
        return self._padded_size(job.inputs["image"])

    def _run(self, jobs: list[_Job]) -> None:
        try:
            answers = self._predictor.run([job.inputs for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].answer.set_exception(error)
            else:  # memory for one may be there where it is not for several
                for job in jobs:
                    self._run([job])
        else:
            for job, outputs in zip(jobs, answers):
                job.answer.set_result(outputs)
