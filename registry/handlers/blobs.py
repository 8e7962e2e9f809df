"""Blobs: HEAD, GET with a range, DELETE (distribution-spec, "Pulling blobs", "Deleting blobs")."""

import asyncio
import ssl
from typing import Final

from aiohttp import web

from layerkit.oci.byterange import ByteRange, parse_range
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.errors import RangeInvalid
from layerkit.oci.repository import BlobReader, Repository
from layerkit.oci.request import DeleteBlob, GetBlob, HeadBlob
from registry.handlers.errors import API_VERSION, error_response

_INLINE: Final = 64 * 1024
"""Bytes up to which a part is read at once: two hops to a thread would take longer."""


async def head_blob(http: web.BaseRequest, call: HeadBlob, repository: Repository) -> web.StreamResponse:
    blob = await repository.stat_blob(call.digest)
    return web.Response(headers={**_headers(blob), "Content-Length": str(blob.size)})


async def get_blob(http: web.BaseRequest, call: GetBlob, repository: Repository) -> web.StreamResponse:
    if is_unmodified(http, call.digest):
        return web.Response(status=304, headers={"ETag": f'"{call.digest}"'})
    try:
        part = _requested_part(http, call.digest)
        async with repository.open_blob(call.digest, part) as blob:
            return await _send(http, blob, is_part=part is not None)
    except RangeInvalid as error:
        size = (await repository.stat_blob(call.digest)).size
        return error_response(error, {"Content-Range": f"bytes */{size}"})


async def delete_blob(http: web.BaseRequest, call: DeleteBlob, repository: Repository) -> web.StreamResponse:
    await repository.delete_blob(call.digest)
    return web.Response(status=202)


def is_unmodified(http: web.BaseRequest, digest: str) -> bool:
    """Whether the client has this content already: If-None-Match with the digest, quoted or not."""
    tags = (tag.strip().removeprefix("W/").strip('"') for tag in http.headers.get("If-None-Match", "").split(","))
    return any(tag in (digest, "*") for tag in tags)


def _requested_part(http: web.BaseRequest, digest: str) -> ByteRange | None:
    # Of several ranges none is answered: the whole blob is right, a 206 with the first alone would not be.
    ranges = parse_range(http.headers.get("Range", ""))
    unchanged = http.headers.get("If-Range", f'"{digest}"').strip().strip('"') == digest
    return ranges[0] if len(ranges) == 1 and unchanged else None


def _headers(blob: Descriptor) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
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
        blob.file.seek(blob.start)
        return web.Response(status=status, headers=headers, body=blob.file.read(length))
    response = web.StreamResponse(status=status, headers={**headers, **API_VERSION})
    await response.prepare(http)
    if blob.file is not None and _can_sendfile(http):
        await asyncio.get_running_loop().sendfile(_transport(http), blob.file, blob.start, length)
    else:
        async for chunk in blob:
            await response.write(chunk)
    await response.write_eof()
    return response


def _transport(http: web.BaseRequest) -> asyncio.WriteTransport:
    if http.transport is None:
        raise ConnectionResetError("the client is gone")
    return http.transport


def _can_sendfile(http: web.BaseRequest) -> bool:
    return not isinstance(_transport(http).get_extra_info("ssl_object"), ssl.SSLObject)
