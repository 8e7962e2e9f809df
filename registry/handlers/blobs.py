"""Blobs: HEAD, GET with a range, DELETE (distribution-spec, "Pulling blobs", "Deleting blobs")."""

import asyncio
import logging
import secrets
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

from aiohttp import web

from layerkit.oci.byterange import ByteRange, parse_range, resolve_all
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError, RangeInvalid
from layerkit.oci.mediatype import OCTET_STREAM
from layerkit.oci.repository import BlobReader, Repository
from layerkit.oci.request import DeleteBlob, GetBlob, HeadBlob
from registry.handlers.errors import error_response
from registry.handlers.headers import COMMON_HEADERS

logger = logging.getLogger(__name__)

_INLINE: Final = 64 * 1024
"""Bytes up to which a part is read at once: two hops to a thread would take longer."""

_PORTION: Final = 16 * 1024 * 1024
_PATIENCE_SECONDS: Final = 600.0
"""For a client to take a portion. One that takes nothing any more would keep a file and a connection for ever."""


async def head_blob(http: web.BaseRequest, call: HeadBlob, repository: Repository) -> web.StreamResponse:
    blob = await repository.stat_blob(call.digest)
    if is_unmodified(http, call.digest):
        return web.Response(status=304, headers=_headers(blob))
    return web.Response(headers={**_headers(blob), "Content-Length": str(blob.size)})


async def get_blob(http: web.BaseRequest, call: GetBlob, repository: Repository) -> web.StreamResponse:
    if is_unmodified(http, call.digest):
        return web.Response(status=304, headers=_headers(await repository.stat_blob(call.digest)))
    try:
        parts = await _requested_parts(http, call.digest, repository)
        if len(parts) > 1:
            return await _send_parts(http, await repository.stat_blob(call.digest), parts, repository)
        async with repository.open_blob(call.digest, *parts) as blob:
            return await _send(http, blob, is_part=bool(parts))
    except RangeInvalid as error:
        size = (await repository.stat_blob(call.digest)).size
        return error_response(error, {"Content-Range": f"bytes */{size}"})


async def redirect_blob(http: web.BaseRequest, call: GetBlob, repository: Repository, url: str) -> web.StreamResponse:
    """For a GET alone: the answer to a HEAD is all that there is to get (some clients do not follow)."""
    blob = await repository.stat_blob(call.digest)
    if is_unmodified(http, call.digest):
        return web.Response(status=304, headers=_headers(blob))
    headers = {"Location": url, "Docker-Content-Digest": blob.digest, "Cache-Control": "no-store"}
    return web.Response(status=307, headers=headers)


async def delete_blob(http: web.BaseRequest, call: DeleteBlob, repository: Repository) -> web.StreamResponse:
    await repository.delete_blob(call.digest)
    return web.Response(status=202)


def is_unmodified(http: web.BaseRequest, digest: str) -> bool:
    """Whether the client has this content already: If-None-Match with the digest, quoted or not."""
    if "If-None-Match" not in http.headers:
        return False
    tags = (tag.strip().removeprefix("W/").strip('"') for tag in http.headers.get("If-None-Match", "").split(","))
    return any(tag in (digest, "*") for tag in tags)


async def _requested_parts(http: web.BaseRequest, digest: Digest, repository: Repository) -> tuple[ByteRange, ...]:
    """What the Range header asks for: nothing where the whole is the answer. Raises RangeInvalid."""
    if http.headers.get("If-Range", f'"{digest}"').strip().strip('"') != digest:
        return ()
    ranges = parse_range(http.headers.get("Range", ""))
    if len(ranges) <= 1:
        return ranges
    return resolve_all(ranges, (await repository.stat_blob(digest)).size)


def _headers(blob: Descriptor) -> dict[str, str]:
    return {
        "Content-Type": OCTET_STREAM,
        "Docker-Content-Digest": blob.digest,
        "ETag": f'"{blob.digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000, immutable",
    }


async def _send(http: web.BaseRequest, blob: BlobReader, *, is_part: bool) -> web.StreamResponse:
    length = blob.stop - blob.start
    headers = {**_headers(blob.descriptor), "Content-Length": str(length)}
    if is_part:
        headers["Content-Range"] = f"bytes {blob.start}-{blob.stop - 1}/{blob.descriptor.size}"
    status = 206 if is_part else 200
    if blob.file is not None and length <= _INLINE:
        return web.Response(status=status, headers=headers, body=_read(blob.file, blob))
    response = web.StreamResponse(status=status, headers=headers)
    async with _begun(http, response):
        await _write(http, response, blob)
    return response


async def _send_parts(
    http: web.BaseRequest, found: Descriptor, parts: Sequence[ByteRange], repository: Repository
) -> web.StreamResponse:
    """Several ranges, each as it was asked for (RFC 9110, section 14.6)."""
    # Of letters and digits alone: containers/image finds it with a regular expression.
    boundary = secrets.token_hex(16)
    heads = [_part_head(boundary, part, found) for part in parts]
    end = f"\r\n--{boundary}--\r\n".encode()
    length = sum(len(head) + _length(part) for head, part in zip(heads, parts, strict=True)) + len(end)
    headers = {
        **_headers(found),
        "Content-Type": f"multipart/byteranges; boundary={boundary}",
        "Content-Length": str(length),
    }
    response = web.StreamResponse(status=206, headers=headers)
    async with _begun(http, response):
        for head, part in zip(heads, parts, strict=True):
            await response.write(head)
            async with repository.open_blob(found.digest, part) as blob:
                await _write(http, response, blob)
        await response.write(end)
    return response


def _part_head(boundary: str, part: ByteRange, found: Descriptor) -> bytes:
    place = f"Content-Range: bytes {part.first}-{part.last}/{found.size}"
    return f"\r\n--{boundary}\r\nContent-Type: {OCTET_STREAM}\r\n{place}\r\n\r\n".encode()


def _length(part: ByteRange) -> int:
    return 0 if part.last is None else part.last - part.first + 1


@asynccontextmanager
async def _begun(http: web.BaseRequest, response: web.StreamResponse) -> AsyncIterator[None]:
    """A response whose head is sent at once, and its body meanwhile. What fails now can only be told by cutting off:
    another response would be read as the rest of this one."""
    # Whoever only wanted what can be had at once (Dispatcher.answer_at_once) turns back here: nothing was sent yet.
    await asyncio.sleep(0)
    response.headers.extend(http[COMMON_HEADERS])
    await response.prepare(http)
    try:
        yield
    except (OCIError, OSError) as error:
        if not isinstance(error, ConnectionError):
            logger.exception("cut off in the middle of %s", http.raw_path)
        if http.transport is not None:
            http.transport.abort()
        raise ConnectionResetError("cut off") from error
    await response.write_eof()


async def _write(http: web.BaseRequest, response: web.StreamResponse, blob: BlobReader) -> None:
    length = blob.stop - blob.start
    if blob.file is not None and length <= _INLINE:
        await response.write(_read(blob.file, blob))
    elif blob.file is not None and _can_sendfile(http):
        _verify_length(blob, await _send_file(http, blob.file, blob.start, blob.stop))
    else:
        async for chunk in blob:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await response.write(chunk)


async def _send_file(http: web.BaseRequest, file: BinaryIO, start: int, stop: int) -> int:
    """Bytes sent. Raises TimeoutError where the client takes none for too long."""
    position = start
    while position < stop:
        count = min(_PORTION, stop - position)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            sent = await asyncio.get_running_loop().sendfile(_transport(http), file, position, count)
        position += sent
        if sent < count:
            break
    return position - start


def _read(file: BinaryIO, blob: BlobReader) -> bytes:
    file.seek(blob.start)
    found = file.read(blob.stop - blob.start)
    _verify_length(blob, len(found))
    return found


def _verify_length(blob: BlobReader, length: int) -> None:
    """Raises OCIError where the file ended early: whoever was promised more would wait for it."""
    if length != blob.stop - blob.start:
        raise OCIError(
            f"blob {blob.descriptor.digest} is damaged: its file is shorter than {blob.descriptor.size} bytes"
        )


def _transport(http: web.BaseRequest) -> asyncio.WriteTransport:
    if http.transport is None:
        raise ConnectionResetError("the client is gone")
    return http.transport


def _can_sendfile(http: web.BaseRequest) -> bool:
    return not isinstance(_transport(http).get_extra_info("ssl_object"), ssl.SSLObject)
