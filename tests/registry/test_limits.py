"""What one client, or many, may take of the server: requests at once, patience, abandoned uploads.

Numbers are those of the design's list of what real clients depend upon.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError
from registry.app import run_server
from registry.config import Address, Configuration, Limits
from registry.jobs.schedule import repeat
from registry.jobs.uploads import expire_uploads
from registry.storage.filesystem import FilesystemStorage
from registry.storage.interface import UploadKey
from tests.programs import run_program
from tests.wire import Line, Wire

HEAD = "Host: x\r\n"


@asynccontextmanager
async def serve(root: Path, **options: object) -> AsyncIterator[Wire]:
    configuration = Configuration(root=root, listen=Address(port=0), drain_seconds=1, **options)  # type: ignore[arg-type]
    async with run_server(configuration) as address, aiohttp.ClientSession(auto_decompress=False) as session:
        yield Wire(address, session)


async def begin_uploads(wire: Wire, stack: AsyncExitStack, number: int) -> list[Line]:
    """Requests that are being answered: each has sent a part of its body."""
    lines = []
    for location in [await wire.start("a") for _ in range(number)]:
        line = await stack.enter_async_context(wire.connect())
        await line.send(f"PATCH {location} HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n1".encode())
        lines.append(line)
        # It has been opened, so its request is being answered.
        async with asyncio.timeout(20):
            while (await wire("GET", location)).status == 204:
                pass
    return lines


@pytest.mark.parametrize("limits", [Limits(uploads=2), Limits(requests=2)], ids=["uploads", "requests"])
async def test_who_comes_too_many_is_told_to_come_again(tmp_path: Path, limits: Limits) -> None:
    """43: "429/503 with `Retry-After` seconds"."""
    async with serve(tmp_path / "registry", limits=limits) as wire, AsyncExitStack() as stack:
        lines = await begin_uploads(wire, stack, 2)
        digest = Digest.of(b"content")
        answer = await wire("POST", f"/v2/a/blobs/uploads/?digest={digest}", b"content")
        assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"])
        assert answer.headers["Retry-After"] == "1"
        assert "more than 2" in answer.json["errors"][0]["message"]
        # What only reads goes on, and who looks after the registry is answered.
        assert (await wire("GET", "/v2/")).status == 200
        assert (await wire("GET", "/healthz")).status == 200
        for line in lines:
            await line.send(b"2")
            assert (await line.read_answer())[0] == 202
        answer = await wire("POST", f"/v2/a/blobs/uploads/?digest={digest}", b"content")
        assert answer.status == 201


async def test_who_sends_nothing_more_is_let_go_and_the_upload_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.handlers.body._PATIENCE_SECONDS", 0.05)
    async with serve(tmp_path / "registry") as wire, wire.connect() as line:
        location = await wire.start("a")
        await line.send(f"PATCH {location} HTTP/1.1\r\n{HEAD}Content-Length: 9\r\n\r\nfirst".encode())
        status, headers, body = await line.read_answer()
        assert (status, headers["range"]) == (408, "0-4")
        assert b"SIZE_INVALID" in body
        monkeypatch.undo()
        answer = await wire("PUT", f"{location}?digest={Digest.of(b'first last')}", b" last")
        assert answer.status == 201


async def test_who_takes_nothing_more_of_a_blob_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.handlers.blobs._PATIENCE_SECONDS", 0.05)
    async with serve(tmp_path / "registry") as wire, wire.connect() as line:
        large = bytes(64_000_000)
        digest = await wire.push_blob("a", large)
        await line.send(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\n{HEAD}\r\n".encode())
        status, headers = await line.read_head()
        assert (status, headers["content-length"]) == (200, str(len(large)))
        # More than the buffers between the two hold: what comes later must be missing.
        line.reader._transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(20):
            while count_open(tmp_path / "registry/blobs"):
                assert (await wire("GET", "/v2/")).status == 200
        line.reader._transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await line.reader.readexactly(len(large))


def count_open(folder: Path) -> int:
    """Files below `folder` that this process has open."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += link.readlink().is_relative_to(folder)
    return found


async def test_a_thousand_idle_connections_keep_nobody_out(tmp_path: Path) -> None:
    async with serve(tmp_path / "registry") as wire, AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(wire.connect()) for _ in range(1000)]
        raw = await wire.push_image("a", "1", b"layer")
        assert (await wire("GET", "/v2/a/manifests/1")).body == raw
        await lines[500].send(f"GET /v2/ HTTP/1.1\r\n{HEAD}\r\n".encode())
        assert (await lines[500].read_answer())[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_who_asks_for_nothing_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr("registry.handlers.server._IDLE_SECONDS", 0.05)
    async with serve(tmp_path / "registry") as wire, wire.connect() as line, asyncio.timeout(20):
        await line.send(sent)
        assert await line.reader.read() == b""


@pytest.mark.parametrize(
    "flood",
    [
        "".join(f"X-{number}: {'v' * 100}\r\n" for number in range(10_000)),
        f"X-Long: {'v' * 1_000_000}\r\n",
    ],
    ids=["many", "long"],
)
async def test_a_flood_of_headers_is_refused(tmp_path: Path, flood: str) -> None:
    async with serve(tmp_path / "registry") as wire, wire.connect() as line:
        await line.send(f"GET /v2/ HTTP/1.1\r\n{HEAD}{flood}".encode())
        status, _, body = await line.read_answer()
        assert status == 400
        assert b'"errors"' in body


@pytest.mark.engine
@pytest.mark.parametrize("expect", ["Expect: 100-continue", "Expect:"])
@pytest.mark.parametrize("path", ["/v2/a/blobs/uploads/unknown", "/v2/A/blobs/uploads/unknown"])
async def test_curl_shows_the_error_and_no_broken_pipe(tmp_path: Path, expect: str, path: str) -> None:
    """41: "On early error drain or close the connection, else clients show "broken pipe" instead of our JSON"."""
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(50_000_000)
    async with serve(tmp_path / "registry") as wire:
        url = f"http://{wire.address}{path}"
        output = await asyncio.to_thread(
            run_program, "curl", "-sS", "-X", "PATCH", "-H", expect, "-T", large, "-w", " %{http_code}", url
        )
    assert '"errors"' in output
    assert output.split()[-1] in {"400", "404"}


async def test_a_slow_sender_who_is_refused_reads_the_error_at_its_end(tmp_path: Path) -> None:
    """41: a client that sends all of its body before it reads."""
    async with serve(tmp_path / "registry") as wire, wire.connect() as line:
        await line.send(f"PATCH /v2/a/blobs/uploads/none HTTP/1.1\r\n{HEAD}Content-Length: 20000000\r\n\r\n".encode())
        for _ in range(20):
            await line.send(bytes(1_000_000))
        status, _, body = await line.read_answer()
        assert (status, b"BLOB_UPLOAD_UNKNOWN" in body) == (404, True)
        # All of it was read, so the connection is as good as before.
        await line.send(f"GET /v2/ HTTP/1.1\r\n{HEAD}\r\n".encode())
        assert (await line.read_answer())[0] == 200


class TestAbandonedUploads:
    async def test_they_are_removed_once_nobody_has_written_for_long(self, tmp_path: Path) -> None:
        storage = FilesystemStorage(tmp_path)
        for number in range(3):
            await storage.start(UploadKey("a", f"sha256-{number}"))
        old, open_elsewhere, young = sorted((tmp_path / "uploads").iterdir())
        for path in (old, open_elsewhere):
            os.utime(path, (1000, 1000))
        with open_elsewhere.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            await expire_uploads(storage, seconds=100, clock=lambda: 1101)
            assert sorted((tmp_path / "uploads").iterdir()) == [open_elsewhere, young]
        await expire_uploads(storage, seconds=100, clock=lambda: 1101)
        assert list((tmp_path / "uploads").iterdir()) == [young]

    async def test_a_server_removes_them_by_itself_and_says_that_they_are_gone(self, tmp_path: Path) -> None:
        async with serve(tmp_path / "registry") as wire:
            location = await wire.start("a")
        [path] = (tmp_path / "registry/uploads").iterdir()
        os.utime(path, (1000, 1000))
        async with serve(tmp_path / "registry") as wire, asyncio.timeout(20):
            while (await wire("GET", location)).status != 404:
                pass
            assert list((tmp_path / "registry/uploads").iterdir()) == []


async def test_a_job_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    tried, again = 0, asyncio.Event()

    async def fail() -> None:
        nonlocal tried
        tried += 1
        if tried == 3:
            again.set()
        raise OCIError("the store is away")

    async with repeat(fail, seconds=0, name="looking"), asyncio.timeout(20):
        await again.wait()
    assert "looking failed, and is tried again in 0 seconds: the store is away" in caplog.text
