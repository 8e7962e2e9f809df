"""Request bodies: asked for once the request is known to be welcome, and never held whole but for manifests."""

from collections.abc import AsyncIterator

from aiohttp import web

from layerkit.oci.errors import ManifestTooLarge, SizeInvalid


async def read_chunks(http: web.BaseRequest) -> AsyncIterator[bytes]:
    """The body as it comes. A client that waits for `100 Continue` is told to go on only here.

    Raises SizeInvalid where it ends early or is framed wrongly.
    """
    if http.headers.get("Expect", "").lower() == "100-continue":
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        http.writer.output_size = 0
    try:
        async for chunk in http.content.iter_any():
            yield chunk
    except web.RequestPayloadError as error:
        raise SizeInvalid(f"the request's body is broken: {error}") from error


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
