"""Metrics for Prometheus, under the names that dashboards for distribution use.

Counted in plain numbers, because a counter of Prometheus' own library takes as long as the SELECT of a manifest, and
given to that library when somebody asks. Several workers write what they counted to files of one folder, at most twice
a second; whoever exposes them adds them up. Source: distribution 3.x, metrics/prometheus.go.
"""

import asyncio
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from registry.observe import Observation

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
_BYTES: Final = tuple(float(1024 * 2**n) for n in range(0, 23, 2))

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_SAVE_SECONDS: Final = 0.5

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

K = TypeVar("K")


class Distribution(msgspec.Struct):
    """How many values fell up to each bound, the last count is of those above all, and the sum of the values."""

    counts: list[int]
    total: float = 0.0

    def add(self, other: "Distribution") -> None:
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class Counts(msgspec.Struct):
    """What was counted of one kind of request: of one endpoint, method and status."""

    handler: str
    method: str
    status: int
    seconds: Distribution = msgspec.field(default_factory=lambda: Distribution([0] * (len(_SECONDS) + 1)))
    received: Distribution = msgspec.field(default_factory=lambda: Distribution([0] * (len(_BYTES) + 1)))
    sent: Distribution = msgspec.field(default_factory=lambda: Distribution([0] * (len(_BYTES) + 1)))


class Snapshot(msgspec.Struct):
    """All that a process has counted; `in_flight` is of each endpoint."""

    counts: list[Counts]
    in_flight: dict[str, int]


class Metrics:
    """An Observer that counts. With a `folder` it saves there what it counted, for `expose_folder`."""

    def __init__(self, folder: Path | None = None) -> None:
        self._counts: dict[tuple[str, str, int], Counts] = {}
        self._in_flight: dict[str, int] = {}
        self._file = folder and folder / f"{os.getpid()}.json"
        self._saving: asyncio.TimerHandle | None = None

    def began(self, handler: str) -> None:
        self._in_flight[handler] = self._in_flight.get(handler, 0) + 1

    def ended(self, observation: Observation) -> None:
        self._in_flight[observation.handler] -= 1
        key = observation.handler, observation.method, observation.status
        counts = self._counts.get(key) or self._make_counts(*key)
        seconds, received, sent = counts.seconds, counts.received, counts.sent
        seconds.counts[bisect_left(_SECONDS, observation.seconds)] += 1
        seconds.total += observation.seconds
        received.counts[bisect_left(_BYTES, observation.received)] += 1
        received.total += observation.received
        sent.counts[bisect_left(_BYTES, observation.sent)] += 1
        sent.total += observation.sent
        if self._file is not None and self._saving is None:
            self._saving = asyncio.get_running_loop().call_later(_SAVE_SECONDS, self.save)

    def save(self) -> None:
        """Write what was counted, for the process that exposes it."""
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        if self._file is not None:
            temporary = self._file.with_suffix(".new")
            temporary.write_bytes(msgspec.json.encode(self._snapshot()))
            temporary.replace(self._file)

    def expose(self) -> bytes:
        """The text that Prometheus reads, of this process."""
        return _expose(lambda: [self._snapshot()])

    def _snapshot(self) -> Snapshot:
        return Snapshot(list(self._counts.values()), self._in_flight)

    def _make_counts(self, handler: str, method: str, status: int) -> Counts:
        # What a client makes up as its method must not become a label.
        key = handler, method if method in _METHODS else "OTHER", status
        return self._counts.setdefault(key, Counts(handler, key[1].lower(), status))


def expose_folder(folder: Path) -> bytes:
    """The text that Prometheus reads, of all the workers that count in `folder`, ended ones included."""
    return _expose(lambda: list(_read_folder(folder)))


def _read_folder(folder: Path) -> Iterator[Snapshot]:
    for path in sorted(folder.glob("*.json")):
        snapshot = msgspec.json.decode(path.read_bytes(), type=Snapshot)
        if not _is_running(int(path.stem)):
            snapshot.in_flight = {}
        yield snapshot


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _expose(read: Callable[[], Sequence[Snapshot]]) -> bytes:
    collectors = CollectorRegistry()
    collectors.register(_Collected(read))
    return generate_latest(collectors)


class _Collected(Collector):
    def __init__(self, read: Callable[[], Sequence[Snapshot]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        snapshots = self._read()
        counts = [counts for snapshot in snapshots for counts in snapshot.counts]
        requests = CounterMetricFamily(
            "registry_http_requests", "Requests answered.", labels=("code", "handler", "method")
        )
        for (code, handler, method), number in _sum(
            ((str(one.status), one.handler, one.method), sum(one.seconds.counts)) for one in counts
        ).items():
            requests.add_metric((code, handler, method), number)
        yield requests
        yield _histogram(
            "registry_http_request_duration_seconds",
            "Time to the answer.",
            ("handler", "method"),
            _SECONDS,
            (((one.handler, one.method), one.seconds) for one in counts),
        )
        in_flight = GaugeMetricFamily(
            "registry_http_in_flight_requests", "Requests being answered.", labels=("handler",)
        )
        for handler, number in _sum(pair for snapshot in snapshots for pair in snapshot.in_flight.items()).items():
            in_flight.add_metric((handler,), number)
        yield in_flight
        yield _histogram(
            "registry_http_request_size_bytes",
            "Bytes of request bodies.",
            ("handler",),
            _BYTES,
            (((one.handler,), one.received) for one in counts),
        )
        yield _histogram(
            "registry_http_response_size_bytes",
            "Bytes of response bodies.",
            ("handler",),
            _BYTES,
            (((one.handler,), one.sent) for one in counts),
        )


def _sum(pairs: Iterable[tuple[K, int]]) -> dict[K, int]:
    sums: dict[K, int] = {}
    for key, number in pairs:
        sums[key] = sums.get(key, 0) + number
    return sums


def _histogram(
    name: str,
    documentation: str,
    labels: Sequence[str],
    bounds: Sequence[float],
    parts: Iterable[tuple[tuple[str, ...], Distribution]],
) -> HistogramMetricFamily:
    sums: dict[tuple[str, ...], Distribution] = {}
    for key, part in parts:
        sums.setdefault(key, Distribution([0] * (len(bounds) + 1))).add(part)
    family = HistogramMetricFamily(name, documentation, labels=labels)
    for key, found in sums.items():
        edges = [*map(str, bounds), "+Inf"]
        buckets = list(zip(edges, map(float, accumulate(found.counts)), strict=True))
        family.add_metric(key, buckets, found.total)
    return family
