"""What a service counts and measures, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_IMAGES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Counters and measures of one service, and of its process where the platform tells them.

    Args:
        pending: a function that returns how many requests are worked on or wait.
    """

    def __init__(self, pending: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "litepred_requests", "Requests to /predict by status; 499 went away", ["status"], registry=self._registry
        )
        self._seconds = Histogram(
            "litepred_request_seconds",
            "From a request's first byte to its answer",
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._model = Histogram(
            "litepred_model_seconds", "A run of the model", registry=self._registry, buckets=_SECONDS
        )
        self._batches = Histogram(
            "litepred_batch_images", "Images in a run of the model", registry=self._registry, buckets=_IMAGES
        )
        gauge = Gauge("litepred_pending", "Requests that are worked on or wait", registry=self._registry)
        gauge.set_function(pending)

    def request(self, status: int, seconds: float) -> None:
        """Note a request to /predict that is answered."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def run(self, images: int, seconds: float) -> None:
        """Note a run of the model."""
        self._batches.observe(images)
        self._model.observe(seconds)

    def text(self) -> bytes:
        """Return it all in Prometheus's text format."""
        return generate_latest(self._registry)
