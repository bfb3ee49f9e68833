"""What the server counts, in Prometheus' format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.server.api import Answer
    from imgsearch.server.served import Instances
    from imgsearch.server.uploads import Uploads

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one server; thread-safe.

    Args:
        instances: whose sizes and queues are told.
        uploads: whose bytes are told.
    """

    def __init__(self, instances: Instances, uploads: Uploads) -> None:
        self._instances = instances
        self._uploads = uploads
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "imgsearch_requests", "Requests.", ("action", "status", "code"), registry=self._registry
        )
        self._seconds = Histogram(
            "imgsearch_request_seconds",
            "From the complete request to its answer.",
            ("action",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._bytes = Counter("imgsearch_body_bytes", "Bytes of requests.", ("action",), registry=self._registry)
        self.active = Gauge("imgsearch_active_requests", "Requests under way.", registry=self._registry)
        self._registry.register(self)

    def count(self, answer: Answer, seconds: float, received: int) -> None:
        """Count a request."""
        self._requests.labels(answer.action, str(answer.status), answer.code).inc()
        self._seconds.labels(answer.action).observe(seconds)
        self._bytes.labels(answer.action).inc(received)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What is looked up when it is asked for; of open instances only."""
        yield GaugeMetricFamily(
            "imgsearch_upload_bytes", "Uploaded pictures in memory.", value=self._uploads.kept_bytes
        )
        items = GaugeMetricFamily("imgsearch_items", "Stored items.", labels=("instance",))
        queued = GaugeMetricFamily("imgsearch_write_queue", "Operations without an outcome.", labels=("instance",))
        unindexed = GaugeMetricFamily("imgsearch_unindexed_items", "Newer than the index.", labels=("instance",))
        generation = GaugeMetricFamily("imgsearch_index_generation", "Number of the index.", labels=("instance",))
        for served in self._instances.opened():
            state = served.instance.index_state()
            items.add_metric((served.name,), state.items)
            unindexed.add_metric((served.name,), state.unindexed)
            generation.add_metric((served.name,), state.generation)
            queued.add_metric((served.name,), served.queued)
        yield from (items, queued, unindexed, generation)
