"""Blobs on their way out of registries that break off, ignore ranges and lie: the right content, or an error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from layerkit.oci.byterange import ByteRange, parse_range
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, DigestInvalid, OCIError, RangeInvalid, SizeInvalid, Unavailable
from layerkit.oci.reference import RepositoryName
from layerkit.remote.client import Connection, open_client
from layerkit.remote.repository import RemoteRegistry, RemoteRepository
from layerkit.remote.retry import PATIENT, Patience
from tests.remote.server import Handler, Hurry, Server, run

NAME = RepositoryName("acme/web")
MEBIBYTE = 1024 * 1024
RAW = b"".join(number.to_bytes(4, "big") for number in range(256 * 1024))
DIGEST = Digest.of(RAW)


@dataclass
class Fragile:
    """A registry with one blob, `RAW`, or `other` from its second answer on.

    `cuts` are how many bytes of its next answers it sends before it breaks the connection, `statuses` what it answers
    first after the first answer. `ranges` is whether it heeds them, `shift` where its parts begin instead, `surplus`
    what it sends behind them, and `most` how long they are at most.
    """

    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    shift: int = 0
    surplus: bytes = b""
    most: int = len(RAW)
    other: bytes | None = None
    answers: int = 0

    async def __call__(self, http: web.BaseRequest) -> web.StreamResponse:
        self.answers += 1
        if self.answers > 1 and self.statuses:
            return web.Response(status=self.statuses.pop(0))
        raw = self.other if self.other is not None and self.answers > 1 else RAW
        asked = parse_range(http.headers.get("Range", "")) if self.ranges else ()
        if not asked:
            return await self._send(http, web.StreamResponse(), raw)
        if asked[0].first >= len(raw):
            return web.Response(status=416)
        start, stop = asked[0].resolve(len(raw))
        start, stop = start + self.shift, min(stop, start + self.most)
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(raw)}"}
        return await self._send(http, web.StreamResponse(status=206, headers=headers), raw[start:stop] + self.surplus)

    async def _send(self, http: web.BaseRequest, response: web.StreamResponse, body: bytes) -> web.StreamResponse:
        response.content_length = len(body)
        await response.prepare(http)
        stop = self.cuts.pop(0) if self.cuts else None
        await response.write(body[:stop])
        if stop is not None and stop < len(body):
            assert http.transport is not None
            http.transport.close()
        return response


@dataclass
class Receiving:
    server: Server
    repository: RemoteRepository
    hurry: Hurry

    @property
    def ranges(self) -> list[str]:
        """What was asked for after the first request."""
        return [headers.get("Range", "") for headers in self.server.headers[2:]]

    async def read(self, part: ByteRange | None = None) -> bytes:
        async with self.repository.open_blob(DIGEST, part) as blob:
            return b"".join([chunk async for chunk in blob])


@asynccontextmanager
async def receiving(handler: Handler, patience: Patience = PATIENT) -> AsyncIterator[Receiving]:
    hurry = Hurry()
    async with run(handler) as server:
        connection = Connection(host=server.address, timing=hurry.timing, patience=patience)
        async with open_client(connection) as client:
            yield Receiving(server, RemoteRegistry(client).repository(NAME), hurry)


class TestBrokenConnections:
    async def test_it_goes_on_where_it_broke_off(self) -> None:
        async with receiving(Fragile(cuts=[100_000, 200_000])) as got:
            assert await got.read() == RAW
            assert got.ranges == [f"bytes=100000-{len(RAW) - 1}", f"bytes=300000-{len(RAW) - 1}"]

    async def test_it_breaks_off_again_and_again(self) -> None:
        async with receiving(Fragile(cuts=[70_000] * 14)) as got:
            assert await got.read() == RAW
            assert len(got.ranges) == 14

    async def test_before_the_first_byte_it_begins_again(self) -> None:
        async with receiving(Fragile(cuts=[0])) as got:
            assert await got.read() == RAW
            assert got.ranges == [f"bytes=0-{len(RAW) - 1}"]

    async def test_a_part_goes_on_as_well(self) -> None:
        async with receiving(Fragile(cuts=[1000])) as got:
            assert await got.read(ByteRange(5000, 9999)) == RAW[5000:10_000]
            assert got.ranges == ["bytes=6000-9999"]

    async def test_what_brings_nothing_ends(self) -> None:
        async with receiving(Fragile(cuts=[100_000] + [0] * 100)) as got:
            with pytest.raises(Unavailable, match=f"broke off GET http://{got.server.address}/v2/acme/web/blobs/"):
                await got.read()
            assert len(got.hurry.waits) == PATIENT.attempts - 1

    async def test_what_brings_too_little_ends_with_the_budget(self) -> None:
        async with receiving(Fragile(cuts=[10] * 1000), Patience(budget=20)) as got:
            with pytest.raises(Unavailable):
                await got.read()
            assert sum(got.hurry.waits) <= 20

    async def test_a_registry_that_is_away_for_a_while_is_waited_for(self) -> None:
        async with receiving(Fragile(cuts=[100_000], statuses=[503, 429, 500])) as got:
            assert await got.read() == RAW

    @pytest.mark.parametrize(("status", "kind"), [(404, BlobUnknown), (403, OCIError), (416, RangeInvalid)])
    async def test_a_blob_that_is_gone_meanwhile_is_told(self, status: int, kind: type[OCIError]) -> None:
        async with receiving(Fragile(cuts=[100_000], statuses=[status])) as got:
            with pytest.raises(kind):
                await got.read()

    async def test_a_registry_without_ranges_sends_all_of_it_again(self) -> None:
        """A 200 answers a Range as well (RFC 9110, section 14.2)."""
        async with receiving(Fragile(cuts=[100_000, 300_000], ranges=False)) as got:
            assert await got.read() == RAW

    async def test_it_may_break_off_before_what_is_missing_comes(self) -> None:
        async with receiving(Fragile(cuts=[300_000, 100_000, 1000], ranges=False)) as got:
            assert await got.read() == RAW

    async def test_parts_that_are_shorter_than_asked_for_are_put_together(self) -> None:
        async with receiving(Fragile(cuts=[100_000], most=200_000)) as got:
            assert await got.read() == RAW
            assert len(got.ranges) == 5

    async def test_every_connection_is_given_back(self) -> None:
        async with receiving(Fragile(cuts=[100_000] * 3)) as got:
            assert await got.read() == RAW
            async with got.repository.open_blob(DIGEST) as blob:
                async for _ in blob:
                    break
            connector = got.repository._client._session.connector
            assert connector is not None
            assert not connector._acquired


class TestLies:
    @pytest.mark.parametrize("shift", [-1, 1, 100])
    async def test_another_part_than_the_rest_is_refused(self, shift: int) -> None:
        async with receiving(Fragile(cuts=[100_000], shift=shift)) as got:
            with pytest.raises(RangeInvalid, match="another part than the rest from 100000 on"):
                await got.read()

    @pytest.mark.parametrize("ranges", [True, False])
    @pytest.mark.parametrize("other", [RAW[:-1], RAW + b"x", b""], ids=["short", "long", "empty"])
    async def test_a_blob_of_another_size_is_refused(self, other: bytes, ranges: bool) -> None:
        async with receiving(Fragile(cuts=[100_000], other=other, ranges=ranges)) as got:
            with pytest.raises((RangeInvalid, SizeInvalid)):
                await got.read()

    @pytest.mark.parametrize("ranges", [True, False])
    async def test_a_blob_of_other_bytes_is_refused(self, ranges: bool) -> None:
        """The digest is that of the whole, from wherever its pieces came."""
        async with receiving(Fragile(cuts=[100_000], other=RAW[::-1], ranges=ranges)) as got:
            with pytest.raises(DigestInvalid, match=DIGEST):
                await got.read()

    async def test_more_than_the_rest_is_refused(self) -> None:
        async with receiving(Fragile(cuts=[100_000], surplus=b"x")) as got:
            with pytest.raises(SizeInvalid):
                await got.read()
        async with receiving(Fragile(surplus=b"x")) as got:
            with pytest.raises(SizeInvalid):
                await got.read(ByteRange(0, 99))

    async def test_a_length_that_never_comes_ends(self) -> None:
        """It says that it has a byte more than there is, and then that there is no such byte."""

        async def lie(http: web.BaseRequest) -> web.StreamResponse:
            asked = parse_range(http.headers.get("Range", ""))
            if asked and asked[0].first >= len(RAW):
                return web.Response(status=416)
            response = web.StreamResponse(headers={"Content-Length": str(len(RAW) + 1)})
            await response.prepare(http)
            await response.write(RAW)
            assert http.transport is not None
            http.transport.close()
            return response

        async with receiving(lie) as got:
            with pytest.raises(OCIError):
                await got.read()

    async def test_an_endless_rest_is_not_read_for_ever(self) -> None:
        ended = asyncio.Event()

        async def endless(http: web.BaseRequest) -> web.StreamResponse:
            if "Range" not in http.headers:
                return await Fragile(cuts=[100_000])(http)
            response = web.StreamResponse(
                status=206, headers={"Content-Range": f"bytes 100000-{len(RAW) - 1}/{len(RAW)}"}
            )
            response.enable_chunked_encoding()
            try:
                await response.prepare(http)
                while True:
                    await response.write(RAW)
            finally:
                ended.set()

        async with receiving(endless) as got:
            with pytest.raises((SizeInvalid, DigestInvalid)):
                await got.read()
            await ended.wait()
