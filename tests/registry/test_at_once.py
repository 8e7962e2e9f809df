"""The short way of a request: what is answered at once is what the long way answers, and as new as that."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_MANIFEST
from layerkit.oci.repository import Registry
from registry.handlers.answers import Answer, RememberedAnswers, serialize
from registry.handlers.dispatch import Dispatcher
from registry.handlers.server import HTTPServer
from registry.local import LocalRegistry
from registry.metadata.sqlite import SQLiteDatabase
from registry.observe import Observation
from registry.onestep import MustWaitError, run_through
from registry.storage.filesystem import FilesystemStorage
from tests.registry.guarded import basic, run_guarded
from tests.wire import Line, Wire, blob, image

SMALL: Final = b"small" * 100
LARGE: Final = bytes(range(256)) * 1024
ABSENT: Final = Digest.of(b"absent")
ATTACHED: Final = image(artifactType="text/x", subject=blob(b"subject"))


class Watcher:
    """An Observer that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []
        self.in_flight = 0

    def began(self, handler: str) -> None:
        self.in_flight += 1

    def ended(self, observation: Observation) -> None:
        self.in_flight -= 1
        self.seen.append(observation)


@dataclass(frozen=True)
class Worker:
    """A server of the folder that others may serve as well. `http.requests_count` is of those on the long way."""

    wire: Wire
    http: HTTPServer
    watcher: Watcher
    registry: Registry


@asynccontextmanager
async def run_worker(root: Path) -> AsyncIterator[Worker]:
    async with AsyncExitStack() as stack:
        root.mkdir(exist_ok=True)
        database = SQLiteDatabase(root / "registry.db")
        stack.push_async_callback(database.close)
        registry, watcher = LocalRegistry(FilesystemStorage(root), database), Watcher()
        dispatcher = Dispatcher(registry, observers=[watcher], state=database.state, warnings=["mind the gap"])
        server = HTTPServer(dispatcher)
        runner = web.ServerRunner(server, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        yield Worker(Wire(f"{host}:{port}", session), server, watcher, registry)


@asynccontextmanager
async def run_filled_worker(root: Path) -> AsyncIterator[Worker]:
    async with run_worker(root) as worker:
        await worker.wire.push_image("a/b", "1", SMALL)
        await worker.wire.push_blob("a/b", LARGE)
        await worker.wire.push_blob("a/b", b"")
        await worker.wire.put_manifest("a/b", Digest.of(ATTACHED), ATTACHED)
        yield worker


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    async with run_filled_worker(tmp_path / "registry") as worker:
        yield worker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answering(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worker]:
    """One for all the questions, which change nothing."""
    async with run_filled_worker(tmp_path_factory.mktemp("answering") / "registry") as worker:
        yield worker


MANIFEST: Final = Digest.of(image(blob(SMALL, "application/vnd.oci.image.layer.v1.tar+gzip")))
QUESTIONS: Final = {
    "ping": "GET /v2/",
    "ping, HEAD": "HEAD /v2/",
    "manifest by tag": "GET /v2/a/b/manifests/1",
    "manifest by digest": f"GET /v2/a/b/manifests/{MANIFEST}",
    "manifest by tag, HEAD": "HEAD /v2/a/b/manifests/1",
    "manifest by digest, HEAD": f"HEAD /v2/a/b/manifests/{MANIFEST}",
    "manifest that the client has": f'GET /v2/a/b/manifests/1\r\nIf-None-Match: "{MANIFEST}"',
    "manifest that the client has, HEAD": f'HEAD /v2/a/b/manifests/1\r\nIf-None-Match: "{MANIFEST}"',
    "no manifest": f"GET /v2/a/b/manifests/{ABSENT}",
    "no manifest, HEAD": f"HEAD /v2/a/b/manifests/{ABSENT}",
    "blob": f"GET /v2/a/b/blobs/{Digest.of(SMALL)}",
    "blob, HEAD": f"HEAD /v2/a/b/blobs/{Digest.of(SMALL)}",
    "blob of no bytes": f"GET /v2/a/b/blobs/{Digest.of(b'')}",
    "a part of a blob": f"GET /v2/a/b/blobs/{Digest.of(SMALL)}\r\nRange: bytes=3-7",
    "a part that is not there": f"GET /v2/a/b/blobs/{Digest.of(SMALL)}\r\nRange: bytes=9999-",
    "a small part of a large blob": f"GET /v2/a/b/blobs/{Digest.of(LARGE)}\r\nRange: bytes=-16",
    "large blob, HEAD": f"HEAD /v2/a/b/blobs/{Digest.of(LARGE)}",
    "no blob": f"GET /v2/a/b/blobs/{ABSENT}",
    "no blob, HEAD": f"HEAD /v2/a/b/blobs/{ABSENT}",
    "tags": "GET /v2/a/b/tags/list",
    "a page of tags": "GET /v2/a/b/tags/list?n=0",
    "tags of no repository": "GET /v2/no/such/tags/list",
    "referrers": f"GET /v2/a/b/referrers/{Digest.of(b'subject')}?artifactType=text/x",
    "catalog": "GET /v2/_catalog?n=1",
}


async def read_raw(line: Line, question: str) -> bytes:
    """The next response, with its Date left out."""
    head = await line.reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    is_empty = question.startswith("HEAD") or b" 304 " in head
    body = b"" if is_empty or not length else await line.reader.readexactly(int(length[1]))
    return re.sub(rb"Date: [^\r]*", b"Date: -", head) + body


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
async def test_the_short_way_answers_byte_for_byte_what_the_long_one_does(answering: Worker, question: str) -> None:
    method_and_path, *headers = question.split("\r\n")
    request = "\r\n".join([f"{method_and_path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()
    async with answering.wire.connect() as line:
        before = answering.http.requests_count
        answering.watcher.seen.clear()
        # What comes together is answered one after the other, which is the long way.
        await line.send(request + request)
        long = [await read_raw(line, question) for _ in range(2)]
        assert answering.http.requests_count == before + 2
        for _ in range(3):
            await line.send(request)
            assert [await read_raw(line, question)] * 2 == long
        assert answering.http.requests_count == before + 2
    first, *others = answering.watcher.seen
    assert len(others) == 4
    assert answering.watcher.in_flight == 0
    for seen in others:
        seen.moment, seen.seconds, seen.id = first.moment, first.seconds, first.id
        assert seen == first


REFERENCES: Final = [
    "1",
    "none",
    ".no",
    MANIFEST,
    ABSENT,
    Digest.of(SMALL),
    Digest.of(LARGE),
    "sha256:bad",
    "%31",
    "x" * 300,
]
QUERIES: Final = ["", "?", "?n=0", "?n=1", "?n=x", "?last=0", "?artifactType=text/x", "?ns=x&digest=y"]
PATHS: Final = ["", "_catalog", "a/b/tags/list", "no/such/tags/list", "a/b/{}", "a/b/manifests/{}", "a/b/blobs/{}"]
HEADERS: Final = {
    "Range": [
        "bytes=0-0",
        "bytes=-1",
        "bytes=9-",
        "bytes=5-1",
        "bytes=0-1,3-4",
        "bytes=999999999-",
        "lines=1",
        "x" * 300,
    ],
    "If-None-Match": ["*", f'"{MANIFEST}"', f"W/{Digest.of(SMALL)}", '"other", ""', ""],
    "If-Range": [f'"{Digest.of(SMALL)}"', "other"],
    "Accept": ["*/*", "text/html;q=0.5", ""],
    "Accept-Encoding": ["zstd, gzip"],
    "Content-Length": ["0"],
    "Connection": ["keep-alive", "x"],
    "X-Request-Id": ["mine", "not mine\u00e9"],
}


@st.composite
def questions(draw: st.DrawFn) -> str:
    path = draw(st.sampled_from([*PATHS, "a/b/referrers/{}"])).format(draw(st.sampled_from(REFERENCES)))
    query = draw(
        st.sampled_from(["", "?", "?n=0", "?n=1", "?n=x", "?last=0", "?artifactType=text/x", "?ns=x&digest=y"])
    )
    names = draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=3, unique=True))
    lines = [f"{name}: {draw(st.sampled_from(HEADERS[name]))}" for name in names]
    return "\r\n".join([f"{draw(st.sampled_from(['GET', 'HEAD']))} /v2/{path}{query}", *lines])


@pytest.mark.asyncio(loop_scope="module")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(question=questions())
async def test_whatever_is_asked_both_ways_answer_alike(answering: Worker, question: str) -> None:
    method_and_path, *headers = question.split("\r\n")
    request = "\r\n".join([f"{method_and_path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()
    async with answering.wire.connect() as line, asyncio.timeout(20):
        await line.send(request + request)
        long = [await read_raw(line, question) for _ in range(2)]
        for _ in range(2):
            await line.send(request)
            # The boundary between several parts is made up anew for each answer.
            assert without_boundary(await read_raw(line, question)) == without_boundary(long[0])
    assert without_boundary(long[0]) == without_boundary(long[1])


def without_boundary(answer: bytes) -> bytes:
    return re.sub(rb"(boundary=|--)[0-9a-f]{32}", rb"\1", answer)


async def test_what_must_wait_goes_the_long_way(worker: Worker) -> None:
    before = worker.http.requests_count
    answer = await worker.wire("GET", f"/v2/a/b/blobs/{Digest.of(LARGE)}")
    assert (answer.status, answer.body) == (200, LARGE)
    assert (await worker.wire("POST", "/v2/a/b/blobs/uploads/")).status == 202
    assert worker.http.requests_count == before + 2


async def test_what_another_worker_changes_is_seen_at_once(tmp_path: Path, worker: Worker) -> None:
    """ "Nothing may say "exists" without the source of truth."""
    async with run_worker(tmp_path / "registry") as other:
        for number in range(3):
            assert (await worker.wire("GET", "/v2/a/b/manifests/1")).status == 200
            moved = image(annotations={"number": str(number)})
            assert (await other.wire.put_manifest("a/b", "1", moved)).status == 201
            assert (await worker.wire("GET", "/v2/a/b/manifests/1")).body == moved
            assert (await worker.wire("HEAD", "/v2/a/b/manifests/1")).headers["Docker-Content-Digest"] == Digest.of(
                moved
            )
        assert (await worker.wire("GET", "/v2/a/b/tags/list")).json["tags"] == ["1"]
        assert (await other.wire("DELETE", "/v2/a/b/manifests/1")).status == 202
        assert (await worker.wire("GET", "/v2/a/b/manifests/1")).status == 404
        assert (await worker.wire("GET", "/v2/a/b/tags/list")).json["tags"] == []
        lonely = await worker.wire.push_blob("a/b", b"lonely")
        for _ in range(2):
            assert (await worker.wire("GET", f"/v2/a/b/blobs/{lonely}")).body == b"lonely"
        assert (await other.wire("DELETE", f"/v2/a/b/blobs/{lonely}")).status == 202
        assert (await worker.wire("GET", f"/v2/a/b/blobs/{lonely}")).status == 404


async def test_what_was_answered_to_one_is_not_answered_to_another_who_may_not_have_it(tmp_path: Path) -> None:
    rules = 'access: [{repository: "anns/**", users: [ann], actions: [pull, push]}]'
    async with run_guarded(tmp_path / "guarded", rules) as wire:
        digest = await wire.push_as("ann", "anns/a")
        path = f"/v2/anns/a/blobs/{digest}"
        anns = await wire.token("repository:anns/a:pull", user="ann")
        bobs = await wire.token("repository:anns/a:pull", user="bob")
        for _ in range(2):
            for headers in (anns, basic("ann")):
                assert (await wire("GET", path, headers=headers)).body == b"content"
            for refused in ({}, bobs, {"Authorization": "Bearer x"}):
                assert (await wire("GET", path, headers=refused)).status == 401
            assert (await wire("GET", path, headers=basic("bob"))).status == 403


async def test_one_who_asks_and_does_not_read_holds_no_more_than_a_buffer(worker: Worker) -> None:
    content = b"x" * 60_000
    request = f"GET /v2/a/b/blobs/{await worker.wire.push_blob('a/b', content)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with worker.wire.connect() as line:
        line.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(300):
            await line.send(request)
            # Meanwhile the server reads on as far as it wants to.
            await worker.wire("GET", "/v2/")
        held = max(connection.transport.get_write_buffer_size() for connection in worker.http.connections)  # type: ignore[union-attr]
        assert held < 3 * len(content)
        line.reader._transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(300):
            status, _, body = await line.read_answer()
            assert (status, body) == (200, content)


async def test_a_failing_index_is_an_error_and_not_the_end_of_the_connection(worker: Worker) -> None:
    database = worker.registry._database  # type: ignore[attr-defined]
    assert (await worker.wire("GET", "/v2/a/b/manifests/1")).status == 200
    database._reader.execute("PRAGMA query_only=1")
    database._reader.set_progress_handler(lambda: True, 1)
    answer = await worker.wire("GET", "/v2/a/b/manifests/1")
    database._reader.set_progress_handler(None)
    assert (answer.status, answer.codes) == (500, ["UNKNOWN"])
    assert (await worker.wire("GET", "/v2/a/b/manifests/1")).status == 200


class TestRememberedAnswers:
    def answer(self, size: int = 1) -> Answer:
        return Answer(200, b"HTTP/1.1 200 OK\r\n", b"x" * size)

    def test_they_are_forgotten_when_the_state_is_another_one(self) -> None:
        state = [1]
        answers = RememberedAnswers(lambda: state[0])
        assert answers.find("GET", "/a") is None
        answers.keep("GET", "/a", self.answer())
        assert answers.find("GET", "/a") == self.answer()
        assert answers.find("HEAD", "/a") is None
        state[0] = 2
        assert answers.find("GET", "/a") is None

    def test_what_is_answered_while_the_state_changes_is_not_given_in_the_new_one(self) -> None:
        state = [1]
        answers = RememberedAnswers(lambda: state[0])
        assert answers.find("GET", "/a") is None
        state[0] = 2
        answers.keep("GET", "/a", self.answer())
        assert answers.find("GET", "/a") is None

    def test_they_take_16_mib_at_most_and_the_one_not_asked_for_longest_goes_first(self) -> None:
        answers = RememberedAnswers(lambda: 1)
        assert answers.find("GET", "/kept") is None
        for number in range(300):
            answers.keep("GET", f"/{number}", self.answer(65_536))
            answers.keep("GET", "/kept", self.answer())
            assert answers.find("GET", "/kept") is not None
        kept = [number for number in range(300) if answers.find("GET", f"/{number}")]
        assert kept == list(range(300 - len(kept), 300))
        assert 200 < len(kept) < 256

    def test_large_ones_are_not_remembered(self) -> None:
        answers = RememberedAnswers(lambda: 1)
        assert answers.find("GET", "/a") is None
        answers.keep("GET", "/a", self.answer(65_537))
        assert answers.find("GET", "/a") is None


def test_a_header_cannot_be_broken_out_of() -> None:
    response = web.Response(headers={"Content-Type": f"{OCI_MANIFEST}\r\nX-Evil: 1"})
    with pytest.raises(ValueError, match="control character"):
        serialize(response, is_head=False)


class TestRunThrough:
    def test_it_answers_what_the_coroutine_does(self) -> None:
        async def answer() -> int:
            return 42

        assert run_through(answer()) == 42

    def test_who_waits_is_closed_and_has_cleaned_up(self) -> None:
        steps = []

        async def wait() -> None:
            try:
                await asyncio.sleep(0)
            finally:
                steps.append("cleaned up")

        with pytest.raises(MustWaitError):
            run_through(wait())
        assert steps == ["cleaned up"]
