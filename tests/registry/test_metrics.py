"""What Prometheus reads: counts of one process, and of several added up."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from registry.metrics import Metrics, Snapshot, expose_folder
from registry.observe import Observation


def observation(
    *, handler: str = "blob", method: str = "GET", status: int = 200, seconds: float = 0.02, sent: int = 2000
) -> Observation:
    return Observation(
        moment=0,
        id="1",
        handler=handler,
        method=method,
        path="/",
        remote="",
        user="",
        agent="",
        repository="",
        reference="",
        status=status,
        error="",
        seconds=seconds,
        received=0,
        sent=sent,
    )


def count(metrics: Metrics, *seen: Observation) -> None:
    for one in seen:
        metrics.began(one.handler)
        metrics.ended(one)


def lines_of(text: bytes) -> list[str]:
    return text.decode().splitlines()


async def test_requests_are_counted_by_code_endpoint_and_method() -> None:
    metrics = Metrics()
    count(metrics, observation(), observation(), observation(status=404), observation(method="HEAD"))
    metrics.began("blob")
    lines = lines_of(metrics.expose())
    for line in (
        'registry_http_requests_total{code="200",handler="blob",method="get"} 2.0',
        'registry_http_requests_total{code="404",handler="blob",method="get"} 1.0',
        'registry_http_requests_total{code="200",handler="blob",method="head"} 1.0',
        'registry_http_in_flight_requests{handler="blob"} 1.0',
    ):
        assert line in lines


async def test_a_histogram_s_buckets_hold_all_that_is_not_above_their_bound() -> None:
    """ "The histogram's buckets are cumulative: `le` is less than or equal"."""
    metrics = Metrics()
    count(metrics, *(observation(seconds=seconds, sent=1024) for seconds in (0.004, 0.005, 0.006, 100.0)))
    lines = lines_of(metrics.expose())
    name, labels = "registry_http_request_duration_seconds", 'handler="blob",method="get"'
    for bound, number in (("0.005", 2), ("0.01", 3), ("60.0", 3), ("+Inf", 4)):
        assert f'{name}_bucket{{handler="blob",le="{bound}",method="get"}} {number}.0' in lines
    assert f"{name}_count{{{labels}}} 4.0" in lines
    assert f"{name}_sum{{{labels}}} 100.015" in lines
    assert 'registry_http_response_size_bytes_bucket{handler="blob",le="1024.0"} 4.0' in lines
    assert 'registry_http_response_size_bytes_sum{handler="blob"} 4096.0' in lines


async def test_a_method_that_a_client_makes_up_is_no_label_of_its_own() -> None:
    metrics = Metrics()
    count(metrics, *(observation(method=f"X{number}", status=405) for number in range(100)))
    lines = [line for line in lines_of(metrics.expose()) if line.startswith("registry_http_requests_total")]
    assert lines == ['registry_http_requests_total{code="405",handler="blob",method="other"} 100.0']


async def test_workers_are_added_up_and_one_that_ended_has_nothing_in_flight(tmp_path: Path) -> None:
    ended = await asyncio.create_subprocess_exec("/bin/true")
    await ended.wait()
    metrics = Metrics(tmp_path)
    metrics.began("blob")
    count(metrics, observation())
    metrics.save()
    [path] = tmp_path.iterdir()
    snapshot = msgspec.json.decode(path.read_bytes(), type=Snapshot)
    assert snapshot.in_flight == {"blob": 1}
    (tmp_path / f"{ended.pid}.json").write_bytes(path.read_bytes())
    lines = lines_of(expose_folder(tmp_path))
    assert 'registry_http_requests_total{code="200",handler="blob",method="get"} 2.0' in lines
    assert 'registry_http_in_flight_requests{handler="blob"} 1.0' in lines


async def test_a_worker_saves_by_itself_soon_after_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.metrics._SAVE_SECONDS", 0)
    metrics = Metrics(tmp_path)
    for number in (1, 2):
        count(metrics, observation())
        async with asyncio.timeout(10):
            while f" {number}.0" not in expose_folder(tmp_path).decode():  # noqa: ASYNC110 - files tell nobody
                await asyncio.sleep(0)
    assert [path.name for path in tmp_path.iterdir()] == [f"{os.getpid()}.json"]
