"""What ``litepred predict`` does with each image, in its own process or shared among several."""

from __future__ import annotations

import argparse
import functools
import io
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from ..errors import ImageError, LitepredError, in_words_of_commands
from .common import fitting_metadata, make_predictor, say
from .inputs import predict_files
from .outputs import Item, ItemFiles, check_needs

if TYPE_CHECKING:
    import numpy as np

    from ..data import Metadata
    from ..predictor import Predictor
    from ..selection import Way
    from ..structures import Outputs

__all__ = ["Answer", "Workers", "answers", "unnamed_classes"]

T = TypeVar("T")
_MOST_PROCESSES = 61 if sys.platform == "win32" else 1024  # that concurrent.futures takes there
_RUN_WIDE = ("coco", "csv", "panoptic", "format")  # options whose files have what was found in all images


class Answer(NamedTuple):
    """What became of an image.

    Attributes:
        told: what was found, in words.
        elapsed_s: how long reading and predicting took, in seconds.
        written: the files of its own.
        outputs: what the files of the whole run take.
        unnamed: the classes that were found and have no names.
    """

    told: str
    elapsed_s: float
    written: list[Any]
    outputs: Outputs
    unnamed: set[str]


def answers(
    predictor: Predictor, files: ItemFiles, items: Iterable[Item], batch_size: int | None, way: Way
) -> Iterator[tuple[Item, Answer | ImageError]]:
    """Predict on images, one after another, and write the files of each.

    Yields:
        In order: the item, and what became of it, or the error of a file that cannot be read or that the
        model does not take.
    """
    start = time.perf_counter()
    for item, image, outputs in predict_files(predictor, items, lambda item: item.source, batch_size, way):
        elapsed_s = time.perf_counter() - start
        if isinstance(outputs, ImageError) or image is None:  # there is one with every answer
            yield item, outputs  # type: ignore[misc]
        else:
            yield item, _answer(files, item, image, predictor.input_format, outputs, elapsed_s)
        start = time.perf_counter()


def unnamed_classes(outputs: Outputs, metadata: Metadata) -> set[str]:
    """Return what the found classes are called, if the model has no names for its classes."""
    if "instances" not in outputs or metadata.get("thing_classes"):
        return set()
    return {f"class_{label}" for label in outputs["instances"].pred_classes.unique().tolist()}


def _answer(
    files: ItemFiles, item: Item, image: np.ndarray, input_format: str, outputs: Outputs, elapsed_s: float
) -> Answer:
    check_needs(files.options, outputs)
    told = _summary(outputs, files.metadata)
    written = files.write(item, image, input_format, outputs)
    return Answer(told, elapsed_s, written, outputs, unnamed_classes(outputs, files.metadata))


def _summary(outputs: Outputs, metadata: Metadata) -> str:
    from ..data import class_name

    if "instances" in outputs:
        counts = Counter(class_name(metadata, label) for label in outputs["instances"].pred_classes.tolist())
        return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
    if "proposals" in outputs:
        return f"{len(outputs['proposals'])} proposals"
    labels = outputs["sem_seg"].max(dim=0).indices.unique().tolist()
    return ", ".join(class_name(metadata, label, "stuff") for label in labels)


class Workers:
    """Processes that share the images of a run, each with a model and a share of the processor's cores of its own.

    It is a context manager: on leaving it, the processes end.

    Args:
        arguments: those of the command.
        way: how the predictor is called.
        count: how many processes there are.

    Attributes:
        metadata: of the model.

    Raises:
        LitepredError: the model cannot be loaded.
    """

    def __init__(self, arguments: argparse.Namespace, way: Way, count: int) -> None:
        count = min(count, _MOST_PROCESSES)
        self._most_waiting = 2 * count
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        try:
            self._pool = ProcessPoolExecutor(count, context, _begin, (arguments, way, max(1, cores // count)))
        except OSError as error:  # where /dev/shm is missing
            raise LitepredError(
                f"--workers {count} needs memory that processes share, which this machine does not give "
                f"({error.strerror or error}): leave it out"
            ) from error
        try:
            # One process loads the model before the others start: it alone speaks of it, and fills the caches.
            self.metadata: Metadata = _result(self._submit(_load))
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is not None:  # nobody wants what they are at
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def answers(self, items: Iterable[Item]) -> Iterator[tuple[Item, Answer | ImageError]]:
        """Share the images among the processes; yields what `answers` does, in order."""
        waiting: deque[tuple[Item, Future[bytes]]] = deque()
        for item in items:
            waiting.append((item, self._submit(_predict, item)))
            if len(waiting) == self._most_waiting:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Give a process something to do, for which one may have to start; Ctrl-C is for the present one alone."""
        mask = getattr(signal, "pthread_sigmask", None)  # not on Windows, where `_begin` does it, a moment later
        before = mask(signal.SIG_BLOCK, {signal.SIGINT}) if mask else None
        try:
            return self._pool.submit(function, *arguments)
        finally:
            if mask:
                mask(signal.SIG_SETMASK, before)

    @staticmethod
    def _next(waiting: deque[tuple[Item, Future[bytes]]]) -> tuple[Item, Answer | ImageError]:
        import numpy as np
        import torch

        item, future = waiting.popleft()
        try:
            answer, masks = pickle.loads(_result(future))  # written by a process of this program
        except ImageError as error:
            return item, error
        if masks is not None:
            bits, shape = masks
            pixels = np.unpackbits(bits, count=math.prod(shape)).view(bool).reshape(shape)
            answer.outputs["instances"].pred_masks = torch.from_numpy(pixels)
        return item, answer


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise LitepredError(
            "a process of --workers ended before its work was done, as for want of memory: take fewer of them"
        ) from error


class _Worker:
    """What a process of `Workers` has."""

    def __init__(self, arguments: argparse.Namespace, way: Way, threads: int) -> None:
        self.arguments, self.way = arguments, way
        self.predictor = make_predictor(arguments, threads=threads)
        self.files = ItemFiles(arguments, fitting_metadata(self.predictor))

    def answer(self, item: Item) -> Answer:
        start = time.perf_counter()
        files = predict_files(self.predictor, [item], lambda item: item.source, self.arguments.batch_size, self.way)
        _, image, outputs = next(files)
        if isinstance(outputs, ImageError) or image is None:
            raise outputs  # type: ignore[misc]
        order = self.predictor.input_format
        answer = _answer(self.files, item, image, order, outputs, time.perf_counter() - start)
        return answer._replace(outputs=self._needed(outputs))

    def _needed(self, outputs: Outputs) -> Outputs:
        """Return what the files of the whole run take; anything else would cost time to send."""
        if not any(getattr(self.arguments, name) for name in _RUN_WIDE):
            return {}
        needed: Outputs = {}
        for key in ("instances", "proposals"):
            if key in outputs:
                needed[key] = found = outputs[key].to("cpu")
                if found.has("pred_densepose"):
                    found.remove("pred_densepose")
        if self.arguments.panoptic is not None:
            ids, segments = outputs["panoptic_seg"]
            needed["panoptic_seg"] = ids.cpu(), segments
        return needed


_words: Any  # the context in which errors speak of options
_given: tuple[argparse.Namespace, Way, int]  # to this process, if it is one of `Workers`
_worker: _Worker | None = None


def _begin(*given: Any) -> None:
    """Prepare a process of `Workers`."""
    global _given, _words
    _given, _words = given, in_words_of_commands()
    _words.__enter__()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")


def _end(*_: object) -> NoReturn:
    sys.exit(143)  # an exception, by which temporary files are cleared away


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _to_the_end(function: Callable[..., T]) -> Callable[..., T]:
    """Let SIGTERM end the process, where the pool would take the exception for the answer and go on."""

    @functools.wraps(function)
    def run(*arguments: Any) -> T:
        try:
            return function(*arguments)
        except SystemExit:
            os._exit(143)

    return run


@_to_the_end
def _load() -> Metadata:
    global _worker
    _worker = _Worker(*_given)
    return _worker.files.metadata


@_to_the_end
def _predict(item: Item) -> bytes:
    import numpy as np
    import torch

    if _worker is None:
        with redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the first process has said it
            _load()
    assert _worker is not None
    answer, masks = _worker.answer(item), None
    found = answer.outputs.get("instances")
    if found is not None and found.has("pred_masks") and isinstance(found.pred_masks, torch.Tensor):
        masks = np.packbits(found.pred_masks.numpy()), tuple(found.pred_masks.shape)  # an eighth of the bytes
        found.remove("pred_masks")
    # As bytes: torch would send tensors through shared memory, of which containers have little.
    return pickle.dumps((answer, masks))
