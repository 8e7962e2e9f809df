"""Blobs on their way into registries that break off, forget, refuse and lie, over real connections."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, Denied, DigestInvalid, OCIError, SizeInvalid, Unauthorized, Unavailable
from layerkit.oci.mediatype import OCTET_STREAM
from layerkit.oci.reference import RepositoryName
from layerkit.oci.repository import Content
from layerkit.remote import upload
from layerkit.remote.client import Connection, open_client
from layerkit.remote.repository import RemoteRegistry, RemoteRepository
from layerkit.remote.retry import PATIENT, Patience, Timing
from registry.app import run_server
from registry.config import Address, Configuration
from tests.programs import run_registry
from tests.remote.server import Hurry, Server, run

NAME = RepositoryName("acme/web")
MEBIBYTE = 1024 * 1024
RAW = b"".join(number.to_bytes(4, "big") for number in range(256 * 1024 * 3))
BLOB = Descriptor(media_type=OCTET_STREAM, digest=Digest.of(RAW), size=len(RAW))
UPLOADS = "/v2/acme/web/blobs/uploads/"
HAS_BLOB = f"/v2/acme/web/blobs/{BLOB.digest}"


def content_of(raw: bytes, read: list[int] | None = None) -> Content:
    """`read` gets the offsets from which somebody reads."""

    async def chunks(offset: int) -> AsyncIterator[bytes]:
        if read is not None:
            read.append(offset)
        for start in range(offset, len(raw), 65536):
            yield raw[start : start + 65536]

    return chunks


@dataclass
class Fragile:
    """A registry of one repository that does its work, and breaks off as it is told.

    `cuts` are how many bytes of the next bodies it takes before it breaks the connection. What it knows of uploads it
    keeps then, unless it `forgets`. `refuses` are methods and the status that they get, `hides` keeps the place of an
    upload from whoever asks, `lies` is added to it, `loses` is how many commits it makes and does not answer, and
    `loses_uploads` how many uploads it forgets at once. `most` and `least` are what a part may and should have, and
    `drops` is whether it drops the end of the next part.
    """

    cuts: list[int] = field(default_factory=list)
    forgets: bool = False
    refuses: dict[str, int] = field(default_factory=dict)
    hides: bool = False
    lies: int = 0
    loses: int = 0
    loses_uploads: int = 0
    most: int | None = None
    least: str = ""
    drops: bool = False
    uploads: dict[str, bytearray] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    parts: list[int] = field(default_factory=list)

    async def __call__(self, http: web.BaseRequest) -> web.StreamResponse:
        path = http.path
        if http.method in self.refuses:
            async for _ in http.content.iter_any():
                pass
            return web.Response(status=self.refuses[http.method])
        if http.method == "HEAD":
            blob = self.blobs.get(path.rpartition("/")[2])
            return web.Response(status=404) if blob is None else web.Response(body=blob)
        if http.method == "POST":
            self.uploads[str(len(self.uploads))] = bytearray()
            headers = {"OCI-Chunk-Min-Length": self.least} if self.least else {}
            answer = self._accepted(202, str(len(self.uploads) - 1), headers)
            if self.loses_uploads:
                self.loses_uploads -= 1
                self.uploads.clear()
            return answer
        upload_id = path.rpartition("/")[2]
        held = self.uploads.get(upload_id)
        if held is None:
            return web.Response(status=404)
        if http.method == "DELETE":
            del self.uploads[upload_id]
            return web.Response(status=204)
        if http.method == "GET":
            return web.Response(status=404) if self.hides else self._accepted(204, upload_id)
        if self.most is not None and (http.content_length or 0) > self.most:
            async for _ in http.content.iter_any():
                pass
            return web.Response(status=413)
        if (told := http.headers.get("Content-Range")) and int(told.partition("-")[0]) != len(held):
            return self._accepted(416, upload_id)
        if not await self._take(http, held):
            if self.forgets:
                del self.uploads[upload_id]
            return self._break_off(http)
        if http.method == "PATCH":
            return self._accepted(202, upload_id)
        del self.uploads[upload_id]
        digest = http.query["digest"]
        if Digest.of(bytes(held)) != digest:
            return web.json_response({"errors": [{"code": "DIGEST_INVALID", "message": "no"}]}, status=400)
        self.blobs[digest] = bytes(held)
        if self.loses:
            self.loses -= 1
            return self._break_off(http)
        return web.Response(status=201)

    async def _take(self, http: web.BaseRequest, held: bytearray) -> bool:
        stop = self.cuts.pop(0) if self.cuts and http.body_exists else None
        taken = 0
        async for chunk in http.content.iter_any():
            part = chunk if stop is None else chunk[: stop - taken]
            taken += len(part)
            held += part
            if taken == stop:
                return False
        if taken:
            self.parts.append(taken)
        if self.drops and len(held) > 1000:
            self.drops = False
            del held[-1000:]
        return True

    def _accepted(self, status: int, upload_id: str, headers: dict[str, str] | None = None) -> web.Response:
        last = max(0, len(self.uploads[upload_id]) - 1 + self.lies)
        return web.Response(
            status=status, headers={"Location": f"{UPLOADS}{upload_id}", "Range": f"0-{last}", **(headers or {})}
        )

    def _break_off(self, http: web.BaseRequest) -> web.Response:
        assert http.transport is not None
        http.transport.close()
        return web.Response()


@dataclass
class Sent:
    """A registry with its server, and the client's repository."""

    registry: Fragile
    server: Server
    repository: RemoteRepository
    hurry: Hurry

    @property
    def calls(self) -> list[str]:
        return [re.sub(r"\?digest=\S+", "?digest", call) for call in self.server.calls()]

    async def put(self, raw: bytes = RAW, descriptor: Descriptor = BLOB) -> list[int]:
        """Put a blob, which must be there then; the answer is from where it was read."""
        read: list[int] = []
        await self.repository.put_blob(descriptor, content_of(raw, read))
        assert self.registry.blobs == {descriptor.digest: raw}
        return read


@asynccontextmanager
async def sending(registry: Fragile, patience: Patience = PATIENT) -> AsyncIterator[Sent]:
    hurry = Hurry()
    async with run(registry) as server:
        connection = Connection(host=server.address, timing=hurry.timing, patience=patience)
        async with open_client(connection) as client:
            yield Sent(registry, server, RemoteRegistry(client).repository(NAME), hurry)


class TestWhereAllGoesWell:
    @pytest.mark.parametrize("size", [0, 1, len(RAW)])
    async def test_a_blob_is_two_requests_whatever_its_size(self, size: int) -> None:
        raw = RAW[:size]
        descriptor = Descriptor(media_type=OCTET_STREAM, digest=Digest.of(raw), size=size)
        async with sending(Fragile()) as sent:
            assert await sent.put(raw, descriptor) == [0]
            assert sent.calls == [f"POST {UPLOADS}", f"PUT {UPLOADS}0?digest"]

    async def test_a_least_part_is_no_matter_for_a_blob_in_one_request(self) -> None:
        async with sending(Fragile(least="1000000000000")) as sent:
            await sent.put()
            assert len(sent.calls) == 2


class TestBrokenConnections:
    async def test_it_goes_on_where_it_broke_off(self) -> None:
        """distribution-spec, "Pushing a blob in chunks": GET says what there is, PATCH with Content-Range goes on."""
        async with sending(Fragile(cuts=[MEBIBYTE])) as sent:
            assert await sent.put() == [0, MEBIBYTE]
            assert sent.calls == [
                f"POST {UPLOADS}",
                f"PUT {UPLOADS}0?digest",
                f"HEAD {HAS_BLOB}",
                f"GET {UPLOADS}0",
                f"PATCH {UPLOADS}0",
                f"PUT {UPLOADS}0?digest",
            ]
            assert sent.server.headers[-2]["Content-Range"] == f"{MEBIBYTE}-{len(RAW) - 1}"
            assert sent.server.headers[-2]["Content-Length"] == str(len(RAW) - MEBIBYTE)

    async def test_it_breaks_off_again_and_again(self) -> None:
        """Every attempt that brings something begins the row of attempts again."""
        async with sending(Fragile(cuts=[200_000] * 14)) as sent:
            assert await sent.put() == [200_000 * step for step in range(15)]

    async def test_what_brings_nothing_ends(self) -> None:
        async with sending(Fragile(cuts=[0] * 100)) as sent:
            with pytest.raises(Unavailable, match=f"broke off PUT http://{sent.server.address}{UPLOADS}"):
                await sent.put()
            assert len(sent.hurry.waits) == PATIENT.attempts - 1

    async def test_what_brings_too_little_ends_with_the_budget(self) -> None:
        async with sending(Fragile(cuts=[1000] * 1000), Patience(budget=10)) as sent:
            with pytest.raises(Unavailable):
                await sent.put()
            assert sum(sent.hurry.waits) <= 10

    async def test_a_registry_that_forgot_the_upload_gets_it_anew(self) -> None:
        async with sending(Fragile(cuts=[MEBIBYTE], forgets=True)) as sent:
            assert await sent.put() == [0, 0]
            assert sent.calls[2:] == [
                f"HEAD {HAS_BLOB}",
                f"GET {UPLOADS}0",
                f"POST {UPLOADS}",
                f"PUT {UPLOADS}0?digest",
            ]

    async def test_a_registry_that_does_not_say_where_it_stands_gets_it_anew(self) -> None:
        async with sending(Fragile(cuts=[MEBIBYTE], hides=True)) as sent:
            assert await sent.put() == [0, 0]

    async def test_an_upload_that_is_lost_before_its_content_comes_begins_anew(self) -> None:
        """The registry was started anew, and has none of its uploads any more."""
        async with sending(Fragile(loses_uploads=2)) as sent:
            await sent.put()
            assert [call.split()[0] for call in sent.calls] == ["POST", "PUT", "HEAD", "GET"] * 2 + ["POST", "PUT"]


class TestCommits:
    async def test_a_commit_whose_answer_was_lost_is_settled_by_asking(self) -> None:
        """jib#4301: the commit timed out, and the blob was there."""
        async with sending(Fragile(loses=1)) as sent:
            assert await sent.put() == [0]
            assert sent.calls[2:] == [f"HEAD {HAS_BLOB}"]

    async def test_so_is_one_after_parts(self) -> None:
        async with sending(Fragile(cuts=[MEBIBYTE], loses=1)) as sent:
            assert await sent.put() == [0, MEBIBYTE]
            assert sent.calls[-1] == f"HEAD {HAS_BLOB}"

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    async def test_a_commit_that_fails_for_the_moment_is_made_again(self, status: int) -> None:
        registry = Fragile(refuses={"PUT": status})
        async with sending(registry) as sent:

            async def mend(seconds: float) -> None:
                sent.hurry.waits.append(seconds)
                registry.refuses.clear()

            timing = type(sent.hurry.timing)(sleep=mend)
            async with open_client(Connection(host=sent.server.address, timing=timing)) as client:
                await RemoteRegistry(client).repository(NAME).put_blob(BLOB, content_of(RAW))
            assert registry.blobs == {BLOB.digest: RAW}
            assert len(sent.hurry.waits) == 1

    @pytest.mark.parametrize("status", [400, 401, 403, 507])
    async def test_a_refusal_is_the_last_word(self, status: int) -> None:
        async with sending(Fragile(refuses={"PUT": status})) as sent:
            with pytest.raises(OCIError):
                await sent.put()
            assert len(sent.calls) == 2


class TestLies:
    @pytest.mark.parametrize("lies", [-1000, 1000])
    async def test_a_registry_that_has_not_what_it_says_gets_it_anew_and_whole(self, lies: int) -> None:
        async with sending(Fragile(cuts=[MEBIBYTE], lies=lies)) as sent:
            read = await sent.put()
            assert read[0] == read[-1] == 0

    async def test_once_is_enough(self) -> None:
        """Its next blobs are begun again at once."""
        async with sending(Fragile(cuts=[MEBIBYTE], lies=1000)) as sent:
            await sent.put()
            sent.registry.blobs.clear()
            sent.registry.cuts = [MEBIBYTE]
            assert await sent.put() == [0, 0]

    async def test_more_than_the_blob_has_is_not_believed(self) -> None:
        async with sending(Fragile(cuts=[MEBIBYTE], lies=10**9)) as sent:
            assert await sent.put() == [0, 0]

    async def test_a_part_that_is_kept_in_part_is_noticed(self) -> None:
        registry = Fragile(cuts=[MEBIBYTE])
        async with sending(registry) as sent:
            registry.drops = True
            read = await sent.put()
            assert read[0] == 0
            assert read[1] == MEBIBYTE
            assert len(read) > 2

    async def test_a_registry_that_takes_no_parts_gets_the_whole_again(self) -> None:
        for status in (400, 404, 405, 415, 501):
            async with sending(Fragile(cuts=[MEBIBYTE], refuses={"PATCH": status})) as sent:
                assert await sent.put() == [0, MEBIBYTE, 0]
                assert not sent.repository._client.habits.takes_parts
                sent.registry.blobs.clear()
                sent.registry.cuts.append(MEBIBYTE)
                assert await sent.put() == [0, 0], "it is not asked twice"

    async def test_a_refused_part_of_somebody_without_rights_is_an_error(self) -> None:
        async with sending(Fragile(cuts=[MEBIBYTE], refuses={"PATCH": 401})) as sent:
            with pytest.raises(Unauthorized):
                await sent.put()

    async def test_the_content_of_another_digest_is_not_sent_twice(self) -> None:
        async with sending(Fragile()) as sent:
            with pytest.raises(DigestInvalid):
                await sent.repository.put_blob(BLOB, content_of(RAW[::-1]))
            assert sent.hurry.waits == []


class TestSizes:
    async def test_a_proxy_that_takes_no_large_requests_gets_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upload, "PART", MEBIBYTE)
        async with sending(Fragile(most=MEBIBYTE)) as sent:
            await sent.put()
            assert sent.registry.parts == [MEBIBYTE] * 3
            sent.registry.blobs.clear()
            sent.server.seen.clear()
            await sent.put()
            assert [call.split()[0] for call in sent.calls] == ["POST", "PATCH", "PATCH", "PATCH", "PUT"]

    async def test_parts_are_as_large_as_the_registry_wants_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """ "OCI-Chunk-Min-Length" (distribution-spec, "Pushing a blob in chunks"); the last one may be smaller."""
        monkeypatch.setattr(upload, "PART", MEBIBYTE // 2)
        async with sending(Fragile(most=2 * MEBIBYTE, least=str(2 * MEBIBYTE))) as sent:
            await sent.put()
            assert sent.registry.parts == [2 * MEBIBYTE, MEBIBYTE]

    async def test_a_proxy_that_takes_no_parts_either_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upload, "PART", MEBIBYTE)
        async with sending(Fragile(most=1000)) as sent:
            with pytest.raises(OCIError) as caught:
                await sent.put()
            assert caught.value.status == 413


class TestContent:
    """What cannot be read here no registry can mend."""

    @pytest.mark.parametrize(
        "error", [BlobUnknown("gone"), Unavailable("away"), OSError(5, "bad disk"), ValueError("a mistake of ours")]
    )
    @pytest.mark.parametrize("cuts", [[], [MEBIBYTE]], ids=["whole", "rest"])
    async def test_what_reading_raises_is_raised(self, error: Exception, cuts: list[int]) -> None:
        async def content(offset: int) -> AsyncIterator[bytes]:
            yield RAW[offset : offset + 2 * MEBIBYTE] if offset == 0 and cuts else RAW[offset : offset + 1000]
            if offset or not cuts:
                raise error
            yield RAW[2 * MEBIBYTE :]

        async with sending(Fragile(cuts=list(cuts))) as sent:
            with pytest.raises(type(error)) as caught:
                await sent.repository.put_blob(BLOB, content)
            assert caught.value is error
            assert len(sent.hurry.waits) == len(cuts)

    async def test_a_rest_that_is_shorter_than_before_is_told(self) -> None:
        async def content(offset: int) -> AsyncIterator[bytes]:
            yield RAW[offset:] if offset == 0 else RAW[offset:-1]

        async with sending(Fragile(cuts=[MEBIBYTE])) as sent:
            with pytest.raises(SizeInvalid, match=f"{BLOB.digest} is shorter than its {len(RAW)} bytes"):
                await sent.repository.put_blob(BLOB, content)

    async def test_content_is_closed_when_nobody_takes_it(self) -> None:
        closed = asyncio.Event()

        async def content(offset: int) -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(65536)
            finally:
                closed.set()

        large = Descriptor(media_type=OCTET_STREAM, digest=BLOB.digest, size=2**40)

        async def refuse(http: web.BaseRequest) -> web.StreamResponse:
            if http.method == "POST":
                return web.Response(status=202, headers={"Location": "/up"})
            return web.Response(status=403)

        async with run(refuse) as server, open_client(Connection(host=server.address)) as client:
            with pytest.raises(Denied):
                await RemoteRegistry(client).repository(NAME).put_blob(large, content)
            assert closed.is_set()

    async def test_a_registry_that_takes_nothing_is_not_waited_for_for_ever(self, stalling: str) -> None:
        async with open_client(Connection(host=stalling, patience=Patience(attempts=1, stall=0.05))) as client:
            with pytest.raises(Unavailable, match=r"did not answer PUT .* in time"):
                await (
                    RemoteRegistry(client)
                    .repository(NAME)
                    .put_blob(Descriptor(media_type=OCTET_STREAM, digest=BLOB.digest, size=2**40), content_of(RAW * 20))
                )


@pytest.fixture
async def stalling() -> AsyncIterator[str]:
    """A registry that begins an upload, and takes no byte of it."""
    held = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A handshake begins with byte 22, a request with a letter.
        head = await reader.readuntil(b"\r\n\r\n") if (await reader.read(1)).isalpha() else b""
        if head.startswith(b"ET"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        elif head.startswith(b"OST"):
            writer.write(b"HTTP/1.1 202 OK\r\nLocation: /up\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        elif head:
            held.append(writer)
            return
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=65536)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in held:
            writer.close()


class TestUploadsOfUnknownLength:
    async def test_a_part_that_breaks_off_goes_on(self) -> None:
        async with sending(Fragile(cuts=[MEBIBYTE, MEBIBYTE])) as sent:
            async with sent.repository.open_upload(await sent.repository.start_upload()) as up:
                await up.append(RAW)
                assert (await up.commit(BLOB.digest)).size == len(RAW)
            assert sent.registry.blobs == {BLOB.digest: RAW}
            assert sent.registry.parts == [len(RAW) - 2 * MEBIBYTE]

    async def test_a_part_that_came_before_the_answer_was_lost_is_not_sent_twice(self) -> None:
        """jib#4526: a PATCH that is repeated doubles the content."""
        async with sending(Fragile(cuts=[len(RAW)])) as sent:
            async with sent.repository.open_upload(await sent.repository.start_upload()) as up:
                await up.append(RAW)
                await up.commit(BLOB.digest)
            assert sent.registry.blobs == {BLOB.digest: RAW}
            assert [call.split()[0] for call in sent.calls] == ["POST", "GET", "PATCH", "GET", "PUT"]

    async def test_a_commit_whose_answer_was_lost_is_settled_by_asking(self) -> None:
        async with sending(Fragile(loses=1)) as sent:
            async with sent.repository.open_upload(await sent.repository.start_upload()) as up:
                await up.append(RAW)
                await up.commit(BLOB.digest)
            assert sent.calls[-1] == f"HEAD {HAS_BLOB}"

    async def test_an_upload_that_is_gone_is_an_error(self) -> None:
        async with sending(Fragile(cuts=[MEBIBYTE], forgets=True)) as sent:
            async with sent.repository.open_upload(await sent.repository.start_upload()) as up:
                await up.append(RAW)
                with pytest.raises(Unavailable, match="broke off PATCH"):
                    await up.commit(BLOB.digest)

    async def test_parts_are_as_large_as_the_registry_wants_them(self) -> None:
        async with sending(Fragile(least=str(10 * MEBIBYTE))) as sent:
            upload_id = await sent.repository.start_upload()
            async with sent.repository.open_upload(upload_id) as up:
                for _ in range(4):
                    await up.append(RAW)
                await up.cancel()
            assert sent.registry.parts == [12 * MEBIBYTE]


class TestOurRegistry:
    """The real one, as a process that is killed and started again."""

    async def test_it_is_killed_in_the_midst_of_an_upload_and_started_again(self, tmp_path: Path) -> None:
        """The rest goes to the new one: what it had before it was killed is still there."""
        large = RAW * 16
        blob = Descriptor(media_type=OCTET_STREAM, digest=Digest.of(large), size=len(large))
        half, is_up = asyncio.Event(), asyncio.Event()
        read: list[int] = []

        async def content(offset: int) -> AsyncIterator[bytes]:
            read.append(offset)
            for start in range(offset, len(large), MEBIBYTE):
                if start >= len(large) // 2 and not half.is_set():
                    # More than all buffers on the way hold: the beginning is in the registry's file.
                    half.set()
                    await is_up.wait()
                yield large[start : start + MEBIBYTE]

        async def wait(seconds: float) -> None:
            await is_up.wait()

        with run_registry(tmp_path / "registry") as first:
            connection = Connection(host=first.address, timing=Timing(sleep=wait))
            async with open_client(connection) as client, asyncio.TaskGroup() as tasks:
                repository = RemoteRegistry(client).repository(NAME)
                putting = tasks.create_task(repository.put_blob(blob, content))
                await half.wait()
                first.process.kill()
                await asyncio.to_thread(first.process.wait)
                with run_registry(tmp_path / "registry", "--listen", first.address):
                    is_up.set()
                    await putting
                    assert (await repository.stat_blob(blob.digest)).size == len(large)
        assert read[0] == 0
        assert len(read) == 2
        assert 0 < read[1] <= len(large) // 2, "it went on, and did not begin again"

    async def test_it_is_sent_a_blob_in_one_request(self, tmp_path: Path) -> None:
        configuration = Configuration(root=tmp_path / "registry", listen=Address(port=0), drain_seconds=1)
        async with run_server(configuration) as address, open_client(Connection(host=address)) as client:
            repository = RemoteRegistry(client).repository(NAME)
            await repository.put_blob(BLOB, content_of(RAW))
            async with repository.open_blob(BLOB.digest) as blob:
                assert b"".join([chunk async for chunk in blob]) == RAW
