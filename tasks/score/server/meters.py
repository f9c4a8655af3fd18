"""What a server counts, as Prometheus reads it: numbers only."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

__all__ = ["CONTENT_TYPE", "Meters"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Meters:
    """The counts of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "clinfuse_requests",
            "Requests that were answered.",
            ["route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "clinfuse_request_seconds",
            "From a request's first byte to its answer's last.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._texts = Counter(
            "clinfuse_texts", "Texts of predictions, by model.", ["model"], registry=registry
        )
        self._batches = Histogram(
            "clinfuse_batch_texts",
            "Texts that were scored together.",
            buckets=_TEXTS,
            registry=registry,
        )
        self.waiting = Gauge(
            "clinfuse_waiting_texts", "Texts that wait to be scored.", registry=registry
        )
        self.members = Gauge(
            "clinfuse_loaded_models", "Models whose weights are in memory.", registry=registry
        )
        self.bases = Gauge("clinfuse_loaded_bases", "Bases in memory.", registry=registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered. Args: route: as it is declared, not as it was asked for."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def predicted(self, model: str, texts: int) -> None:
        """So many texts of a request were scored by the model of that key."""
        self._texts.labels(model).inc(texts)

    def batched(self, texts: int) -> None:
        """So many texts go to the models together."""
        self._batches.observe(texts)

    def page(self) -> bytes:
        """All of it, of the type CONTENT_TYPE."""
        return generate_latest(self._registry)
