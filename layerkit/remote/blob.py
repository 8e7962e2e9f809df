"""A blob's way out of a registry: read on where the connection broke off, and verified as a whole."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import BinaryIO, Final

import aiohttp

from layerkit.oci.byterange import ByteRange
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, OCIError, RangeInvalid, SizeInvalid, Unsupported
from layerkit.oci.mediatype import OCTET_STREAM
from layerkit.oci.repository import verified
from layerkit.oci.request import GetBlob
from layerkit.remote.answers import absent, content_length, content_range
from layerkit.remote.client import Client, name_of
from layerkit.remote.retry import Transient

_EXPECTED: Final = frozenset({200, 206})


@asynccontextmanager
async def open_remote_blob(client: Client, call: GetBlob, part: ByteRange | None) -> AsyncIterator["RemoteBlob"]:
    """Raises BlobUnknown, RangeInvalid where there is no such part, Unsupported where a registry has no parts."""
    async with AsyncExitStack() as stack:
        headers = {"Range": str(part)} if part else {}
        try:
            response = await stack.enter_async_context(client.send("GET", call, expected=_EXPECTED, headers=headers))
            start, stop, size = _place_of(response, part)
        except OCIError as error:
            raise absent(error, BlobUnknown) from error
        async with AsyncExitStack() as later:
            yield RemoteBlob(client, call, _descriptor(call.digest, size), start, stop, response, later)


class RemoteBlob:
    """The BlobReader of a response. Where that breaks off the rest is asked for again, by its Range; a registry that
    sends everything then is listened to until it comes to the rest."""

    def __init__(
        self,
        client: Client,
        call: GetBlob,
        descriptor: Descriptor,
        start: int,
        stop: int,
        response: aiohttp.ClientResponse,
        later: AsyncExitStack,
    ) -> None:
        self._client = client
        self._call = call
        self._response = response
        self._later = later
        self.descriptor = descriptor
        self.start = start
        self.stop = stop

    @property
    def file(self) -> BinaryIO | None:
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if (self.start, self.stop) == (0, self.descriptor.size):
            async for chunk in verified(self._chunks(), self.descriptor):
                yield chunk
            return
        left = self.stop - self.start
        async for chunk in self._chunks():
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left:
            raise SizeInvalid(f"blob {self.descriptor.digest}: the registry sent another part than was asked for")

    async def _chunks(self) -> AsyncIterator[bytes]:
        """Whatever comes from `start` on; too much is for the caller to notice."""
        attempts = self._client.begin()
        position = self.start
        response: aiohttp.ClientResponse | None = self._response
        skipped = self.start if self._response.status == 200 else 0
        while True:
            before = position
            try:
                if response is None:
                    response, skipped = await self._ask_for_rest(position)
                async for chunk in self._client.chunks(response):
                    rest = chunk[skipped:]
                    skipped -= len(chunk) - len(rest)
                    position += len(rest)
                    if rest:
                        yield rest
                if position < self.stop:
                    short = SizeInvalid(f"blob {self._call.digest} ended after {position} of its {self.stop} bytes")
                    raise Transient(short, "a blob ended early")
            except Transient as trouble:
                response = None
                if position < self.stop:
                    if position > before:
                        attempts.progressed()
                    await attempts.wait(trouble)
            if position >= self.stop:
                # Where it broke off after all of it came nothing is lost.
                return

    async def _ask_for_rest(self, position: int) -> tuple[aiohttp.ClientResponse, int]:
        """The response, and how many of its first bytes we have already. Raises Transient."""
        await self._later.aclose()
        headers = {"Range": str(ByteRange(position, self.stop - 1))}
        attempt = self._client.attempt("GET", self._call, expected=_EXPECTED, headers=headers)
        try:
            response = await self._later.enter_async_context(attempt)
        except OCIError as error:
            raise absent(error, BlobUnknown) from error
        size = self.descriptor.size
        if response.status == 200:
            if content_length(response) != size:
                raise SizeInvalid(f"{name_of(response)}: the blob had {size} bytes, now it has another size")
            return response, position
        found = content_range(response)
        if found is None or found[0] != position or found[1] > self.stop or found[2] != size:
            raise RangeInvalid(f"{name_of(response)}: the registry sent another part than the rest from {position} on")
        return response, 0


def _place_of(response: aiohttp.ClientResponse, part: ByteRange | None) -> tuple[int, int, int]:
    """Where a response to a request for `part` begins and ends, and the size of the whole blob."""
    if response.status == 200:
        size = content_length(response)
        start, stop = part.resolve(size) if part is not None else (0, size)
        if stop != size:
            raise Unsupported(f"{name_of(response)}: the registry sent the whole blob instead of the part {part}")
        return start, stop, size
    found = content_range(response)
    if found is None:
        raise RangeInvalid(f"{name_of(response)}: the registry sent a part without saying which")
    if part is None or found[:2] != part.resolve(found[2]):
        raise RangeInvalid(
            f"{name_of(response)}: the registry sent bytes {found[0]} to {found[1] - 1}, another part than asked"
        )
    return found


def _descriptor(digest: Digest, size: int) -> Descriptor:
    return Descriptor(media_type=OCTET_STREAM, digest=digest, size=size)
