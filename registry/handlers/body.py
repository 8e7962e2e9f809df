"""Request bodies: asked for once the request is known to be welcome, and never held whole but for manifests."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from layerkit.oci.errors import ManifestTooLarge, SizeInvalid

_PATIENCE_SECONDS: Final = 60.0
"""For the next byte of a body. Whoever sends nothing for longer holds an upload, and a place, that others wait for."""


class BodyStalled(SizeInvalid):
    status, summary = 408, "the request's body did not come to its end"


async def read_chunks(http: web.BaseRequest) -> AsyncIterator[bytes]:
    """The body as it comes. A client that waits for `100 Continue` is told to go on only here.

    Raises SizeInvalid where it ends early, is framed wrongly, or stops coming.
    """
    if http.headers.get("Expect", "").lower() == "100-continue":
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        http.writer.output_size = 0
    while True:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                chunk = await http.content.readany()
        except web.RequestPayloadError as error:
            raise SizeInvalid(f"the request's body is broken: {error}") from error
        except TimeoutError as error:
            raise BodyStalled(f"nothing of the request's body came for {_PATIENCE_SECONDS:g} seconds") from error
        if not chunk:
            return
        yield chunk


async def read_manifest_body(http: web.BaseRequest, *, limit: int) -> bytes:
    """The whole body. Raises ManifestTooLarge above `limit` bytes, before reading them where the length is given."""
    if (http.content_length or 0) > limit:
        raise ManifestTooLarge(f"the manifest has {http.content_length} bytes, {limit} are allowed")
    parts, size = [], 0
    async for chunk in read_chunks(http):
        size += len(chunk)
        if size > limit:
            raise ManifestTooLarge(f"the manifest has more than the {limit} bytes allowed")
        parts.append(chunk)
    return b"".join(parts)


def may_have_body(http: web.BaseRequest) -> bool:
    """Whether the request announces a body that is not empty."""
    return (http.content_length is None and "Transfer-Encoding" in http.headers) or bool(http.content_length)
