"""What is tried again, when, how often, and what is told of it. No test waits: time goes on by itself."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate

import pytest
from aiohttp import web

from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, OCIError, TooManyRequests, Unavailable, Unknown
from layerkit.oci.manifest import Manifest
from layerkit.oci.mediatype import OCI_INDEX
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.request import GetBlob
from layerkit.remote.auth import Credentials
from layerkit.remote.client import Client, Connection, open_client
from layerkit.remote.repository import RemoteRegistry, RemoteRepository
from layerkit.remote.retry import PATIENT, Attempts, Patience, Transient, parse_retry_after
from tests.remote.server import Handler, Hurry, Server, closed_address, run

NAME = RepositoryName("acme/web")
DIGEST = Digest.of(b"content")
CALL = GetBlob(repository=NAME, digest=DIGEST)
OK = frozenset({200})
EMPTY_INDEX = Manifest.of(b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % OCI_INDEX.encode(), OCI_INDEX)


def trouble(after: float | None = None) -> Transient:
    return Transient(Unavailable("the last word"), "it is raining", after)


@dataclass
class Weather:
    """Attempts in no time, what they waited, and what was told."""

    patience: Patience = PATIENT
    hurry: Hurry = field(default_factory=Hurry)
    told: list[str] = field(default_factory=list)

    def begin(self) -> Attempts:
        return Attempts(self.patience, self.hurry.timing, self.told.append)


class TestWaiting:
    async def test_each_wait_may_be_twice_the_one_before_until_they_are_long_enough(self) -> None:
        weather = Weather(Patience(attempts=9, first=0.5, most=20, budget=1000))
        attempts = weather.begin()
        for _ in range(8):
            await attempts.wait(trouble())
        assert weather.hurry.waits == [1, 2, 4, 8, 16, 20, 20, 20]

    async def test_a_wait_is_a_random_part_of_it(self) -> None:
        """ "Full jitter": many clients of one registry do not come back all at once."""
        weather = Weather()
        chances = iter([0.0, 0.25])
        timing = weather.hurry.timing
        attempts = Attempts(
            Patience(), type(timing)(sleep=timing.sleep, chance=lambda: next(chances)), weather.told.append
        )
        await attempts.wait(trouble())
        await attempts.wait(trouble())
        assert weather.hurry.waits == [0.0, 0.5]

    async def test_the_registry_decides_where_it_says_when(self) -> None:
        weather = Weather()
        attempts = weather.begin()
        await attempts.wait(trouble(after=7))
        await attempts.wait(trouble(after=0))
        assert weather.hurry.waits == [7, 0]

    async def test_there_are_so_many_attempts_in_a_row(self) -> None:
        weather = Weather(Patience(attempts=3))
        attempts = weather.begin()
        for _ in range(2):
            await attempts.wait(trouble())
        with pytest.raises(Unavailable, match="the last word"):
            await attempts.wait(trouble())
        assert len(weather.hurry.waits) == 2

    async def test_what_comes_to_something_begins_the_row_again(self) -> None:
        weather = Weather(Patience(attempts=2, budget=1000))
        attempts = weather.begin()
        for _ in range(10):
            await attempts.wait(trouble())
            attempts.progressed()
        assert weather.hurry.waits == [1] * 10

    async def test_all_waits_together_have_a_limit(self) -> None:
        weather = Weather(Patience(budget=10))
        attempts = weather.begin()
        await attempts.wait(trouble(after=9))
        attempts.progressed()
        with pytest.raises(Unavailable):
            await attempts.wait(trouble(after=1.5))
        assert weather.hurry.waits == [9]

    async def test_who_says_to_wait_longer_than_that_is_not_waited_for(self) -> None:
        weather = Weather()
        with pytest.raises(Unavailable):
            await weather.begin().wait(trouble(after=3600))
        assert (weather.hurry.waits, weather.told) == ([], [])

    async def test_the_reason_is_told_before(self) -> None:
        weather = Weather()
        await weather.begin().wait(trouble())
        assert weather.told == ["it is raining"]


class TestRetryAfter:
    """RFC 9110, section 10.2.3: a date, or a number of seconds."""

    NOW = 1_750_000_000.0

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("120", 120),
            (" 0 ", 0),
            (formatdate(NOW + 30, usegmt=True), 30),
            (format_datetime(datetime.fromtimestamp(NOW - 30, UTC), usegmt=True), 0),
            ("9" * 5000, float("inf")),
        ],
    )
    def test_either_is_seconds_to_wait(self, header: str, seconds: float) -> None:
        assert parse_retry_after(header, self.NOW) == seconds

    @pytest.mark.parametrize(
        "header", [None, "", "soon", "-1", "1.5", "١", "Thu, 99 Foo 2026 00:00:00 GMT", "1 Jan 99999", "\x00"]
    )
    def test_anything_else_says_nothing(self, header: str | None) -> None:
        assert parse_retry_after(header, self.NOW) is None


@dataclass
class Registry:
    """`answers` come one after the other, the last one for ever: a status, or None where the connection breaks off."""

    server: Server
    client: Client
    hurry: Hurry
    told: list[str]

    @property
    def repository(self) -> RemoteRepository:
        return RemoteRegistry(self.client).repository(NAME)


@asynccontextmanager
async def registry_of(
    answers: Sequence[int | None], body: bytes = b"content", headers: dict[str, str] | None = None
) -> AsyncIterator[Registry]:
    left = list(answers)

    async def handler(http: web.BaseRequest) -> web.StreamResponse:
        await http.read()
        status = left.pop(0) if len(left) > 1 else left[0]
        if status is None:
            assert http.transport is not None
            http.transport.close()
            return web.Response()
        is_fine = status < 300
        return web.Response(status=status, body=body if is_fine else b"", headers=None if is_fine else headers)

    async with connect(handler) as registry:
        yield registry


@asynccontextmanager
async def connect(handler: Handler, credentials: Credentials | None = None) -> AsyncIterator[Registry]:
    hurry, told = Hurry(), list[str]()
    async with run(handler) as server:
        connection = Connection(host=server.address, credentials=credentials, timing=hurry.timing, note=told.append)
        async with open_client(connection) as client:
            yield Registry(server, client, hurry, told)


async def fetch(client: Client) -> bytes:
    async with client.send("GET", CALL, expected=OK) as response:
        return await response.read()


class TestRequests:
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, None])
    async def test_what_may_pass_is_tried_again(self, status: int | None) -> None:
        async with registry_of([status, status, 200]) as registry:
            assert await fetch(registry.client) == b"content"
            assert len(registry.server.calls()) == 3
            assert len(registry.hurry.waits) == 2

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 416, 501, 507])
    async def test_what_stays_as_it_is_is_not(self, status: int) -> None:
        async with registry_of([status, 200]) as registry:
            with pytest.raises(OCIError):
                await fetch(registry.client)
            assert len(registry.server.calls()) == 1

    @pytest.mark.parametrize(
        ("status", "kind"), [(503, Unavailable), (429, TooManyRequests), (500, Unknown), (None, Unavailable)]
    )
    async def test_in_the_end_it_is_an_error(self, status: int | None, kind: type[OCIError]) -> None:
        async with registry_of([status]) as registry:
            with pytest.raises(kind, match=f"{registry.server.address}"):
                await fetch(registry.client)
            assert len(registry.server.calls()) == PATIENT.attempts

    @pytest.mark.parametrize(("header", "waited"), [("7", 7), (formatdate(1_000_009, usegmt=True), 9)])
    async def test_a_registry_that_says_when_is_asked_then(self, header: str, waited: float) -> None:
        async with registry_of([429, 200], headers={"Retry-After": header}) as registry:
            assert await fetch(registry.client) == b"content"
            assert registry.hurry.waits == [waited]

    async def test_a_registry_that_wants_an_hour_is_not_waited_for(self) -> None:
        async with registry_of([429, 200], headers={"Retry-After": "3600"}) as registry:
            with pytest.raises(TooManyRequests, match="come back in 3600 s"):
                await fetch(registry.client)

    async def test_what_is_tried_again_is_told_once(self) -> None:
        async with registry_of([503, 200, None, 200, 503, 200, None, 200]) as registry:
            for _ in range(4):
                await fetch(registry.client)
            host = registry.server.address
            assert registry.told == [
                f"{host}: HTTP status 503, trying again",
                f"{host}: the connection broke off, trying again",
            ]

    async def test_a_small_answer_that_breaks_off_is_asked_for_again(self) -> None:
        count = 0

        async def cut(http: web.BaseRequest) -> web.StreamResponse:
            nonlocal count
            count += 1
            response = web.StreamResponse(headers={"Content-Type": OCI_INDEX})
            response.content_length = len(EMPTY_INDEX.raw)
            await response.prepare(http)
            if count == 3:
                await response.write(EMPTY_INDEX.raw)
                return response
            await response.write(EMPTY_INDEX.raw[:10])
            assert http.transport is not None
            http.transport.close()
            return response

        async with connect(cut) as registry:
            assert await registry.repository.get_manifest(Tag("latest")) == EMPTY_INDEX

    async def test_a_manifest_that_is_put_is_put_again(self) -> None:
        async with registry_of([502, None, 201]) as registry:
            await registry.repository.put_manifest(EMPTY_INDEX)
            assert registry.server.calls() == [f"PUT /v2/acme/web/manifests/{EMPTY_INDEX.digest}"] * 3

    @pytest.mark.parametrize("status", [503, None])
    async def test_what_was_deleted_before_the_answer_was_lost_is_deleted(self, status: int | None) -> None:
        async with registry_of([status, 404]) as registry:
            await registry.repository.delete_blob(DIGEST)
        async with registry_of([404]) as registry:
            with pytest.raises(BlobUnknown):
                await registry.repository.delete_blob(DIGEST)

    async def test_a_mount_is_asked_for_again(self) -> None:
        async with registry_of([503, 201]) as registry:
            assert await registry.repository.mount_blob(DIGEST, None)


class TestTokenServices:
    @asynccontextmanager
    async def registry(self, *answers: int) -> AsyncIterator[tuple[Registry, Server]]:
        """One whose token service answers so, one after the other."""
        left = list(answers)

        async def give(http: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=left.pop(0), body=b'{"token":"t1"}')

        async with run(give) as service:

            async def guard(http: web.BaseRequest) -> web.StreamResponse:
                if http.headers.get("Authorization") == "Bearer t1":
                    return web.Response(body=b"content")
                challenge = f'Bearer realm="http://{service.address}/token?secret=yes"'
                return web.Response(status=401, headers={"WWW-Authenticate": challenge})

            async with connect(guard) as registry:
                yield registry, service

    async def test_one_that_is_busy_is_asked_again(self) -> None:
        async with self.registry(503, 429, 200) as (registry, service):
            assert await fetch(registry.client) == b"content"
            assert len(service.seen) == 3

    async def test_one_that_stays_busy_is_named(self) -> None:
        async with self.registry(*[503] * 6) as (registry, service):
            with pytest.raises(OCIError, match="answered with HTTP status 503") as caught:
                await fetch(registry.client)
            assert f"the token service http://{service.address}/token" in caught.value.message
            assert "secret" not in caught.value.message

    async def test_a_refusal_is_the_last_word(self) -> None:
        async with self.registry(403) as (registry, service):
            with pytest.raises(OCIError, match="wants credentials"):
                await fetch(registry.client)
            assert len(service.seen) == 1


class TestFirstContact:
    """Who names a registry that does not exist wants to know it at once."""

    async def test_a_registry_that_is_not_there_is_told_at_once(self) -> None:
        hurry = Hurry()
        async with open_client(Connection(host=closed_address(), timing=hurry.timing)) as client:
            with pytest.raises(Unavailable, match="connection refused"):
                await fetch(client)
        assert hurry.waits == []

    async def test_one_that_went_away_is_waited_for(self) -> None:
        async def content(http: web.BaseRequest) -> web.StreamResponse:
            return web.Response(body=b"content", headers={"Connection": "close"})

        hurry = Hurry()
        async with AsyncExitStack() as stack:
            async with run(content) as server:
                connection = Connection(host=server.address, timing=hurry.timing)
                client = await stack.enter_async_context(open_client(connection))
                assert await fetch(client) == b"content"
            with pytest.raises(Unavailable, match="connection refused"):
                await fetch(client)
            assert len(hurry.waits) == PATIENT.attempts - 1
            async with run(content, port=int(server.address.rpartition(":")[2])):
                assert await fetch(client) == b"content"
