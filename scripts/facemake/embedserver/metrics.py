"""What a server of embeddings counts, for Prometheus; nothing of a picture is among it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Of one server.

    Attributes:
        requests: by path and status (of HTTP, or gRPC's word).
        seconds: from a request's first byte to its answer, by path.
        refused: by the reason: `full`, `slow` (it would have waited too long), `memory`, `late`
            (it waited too long), `stopping`.
        waited: seconds that a picture waited for its turn, decoding included.
        batch_pictures, batch_faces, batch_seconds: of each batch: pictures looked at, faces
            embedded, time in the models.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def histogram(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(
                f"facemake_{name}", what, labels, buckets=buckets, registry=self._registry
            )

        self.requests = Counter(
            "facemake_requests",
            "Requests answered",
            ("path", "status"),
            registry=self._registry,
        )
        self.refused = Counter(
            "facemake_refused",
            "Requests refused because the server was busy or ended",
            ("reason",),
            registry=self._registry,
        )
        self.seconds = histogram(
            "request_seconds", "From a request's head to its answer", _SECONDS, "path"
        )
        self.waited = histogram("wait_seconds", "That a picture waited for its turn", _SECONDS)
        self.batch_pictures = histogram("batch_pictures", "Pictures of a batch", _COUNTS)
        self.batch_faces = histogram("batch_faces", "Faces embedded of a batch", (0, *_COUNTS))
        self.batch_seconds = histogram("batch_seconds", "A batch in the models", _SECONDS)

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Have a gauge asked for its value whenever somebody looks."""
        Gauge(f"facemake_{name}", what, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """All of it as Prometheus reads it."""
        return generate_latest(self._registry)
