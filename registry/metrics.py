"""Metrics for Prometheus, under the names that dashboards for distribution use.

Several workers count in files of one folder, PROMETHEUS_MULTIPROC_DIR, which must be in the environment before this
module is imported; whoever exposes them adds them up. Source: distribution 3.x, metrics/prometheus.go.
"""

from dataclasses import dataclass
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from registry.observe import Observation

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)
_BYTES: Final = tuple(float(1024 * 2**n) for n in range(0, 23, 2))

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class _Children:
    in_flight: Gauge
    requests: Counter
    seconds: Histogram
    received: Histogram
    sent: Histogram


class Metrics:
    """An Observer that counts."""

    def __init__(self) -> None:
        self._collectors = CollectorRegistry()
        into = self._collectors
        self._requests = Counter(
            "registry_http_requests_total", "Requests answered.", ("code", "handler", "method"), registry=into
        )
        self._seconds = Histogram(
            "registry_http_request_duration_seconds",
            "Time to the answer.",
            ("handler", "method"),
            buckets=_SECONDS,
            registry=into,
        )
        self._in_flight = Gauge(
            "registry_http_in_flight_requests",
            "Requests being answered.",
            ("handler",),
            multiprocess_mode="livesum",
            registry=into,
        )
        self._received = Histogram(
            "registry_http_request_size_bytes", "Bytes of request bodies.", ("handler",), buckets=_BYTES, registry=into
        )
        self._sent = Histogram(
            "registry_http_response_size_bytes",
            "Bytes of response bodies.",
            ("handler",),
            buckets=_BYTES,
            registry=into,
        )

        self._children: dict[tuple[str, str, int], _Children] = {}
        self._gauges: dict[str, Gauge] = {}

    def began(self, handler: str) -> None:
        gauge = self._gauges.get(handler)
        if gauge is None:
            gauge = self._gauges[handler] = self._in_flight.labels(handler)
        gauge.inc()

    def ended(self, observation: Observation) -> None:
        key = observation.handler, observation.method, observation.status
        children = self._children.get(key) or self._make_children(*key)
        children.in_flight.dec()
        children.requests.inc()
        children.seconds.observe(observation.seconds)
        children.received.observe(observation.received)
        children.sent.observe(observation.sent)

    def _make_children(self, handler: str, method: str, status: int) -> "_Children":
        """Looking a child up by its labels takes longer than counting: it is done once."""
        name = method.lower() if method in _METHODS else "other"
        children = _Children(
            in_flight=self._in_flight.labels(handler),
            requests=self._requests.labels(str(status), handler, name),
            seconds=self._seconds.labels(handler, name),
            received=self._received.labels(handler),
            sent=self._sent.labels(handler),
        )
        if method in _METHODS:
            self._children[handler, method, status] = children
        return children

    def expose(self) -> bytes:
        """The text that Prometheus reads, of this process."""
        return generate_latest(self._collectors)


def expose_folder(folder: str) -> bytes:
    """The text that Prometheus reads, of all the workers that count in `folder`."""
    collectors = CollectorRegistry()
    MultiProcessCollector(collectors, path=folder)  # type: ignore[no-untyped-call]
    return generate_latest(collectors)
