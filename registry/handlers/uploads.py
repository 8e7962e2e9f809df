"""Blob uploads (distribution-spec, "Pushing blobs").

A Location is relative and keeps all its state in the path, because clients re-order and re-encode its query.
"""

from typing import Final

from aiohttp import web

from layerkit.oci.byterange import format_upload_range, parse_content_range
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUploadInvalid, BlobUploadUnknown, RangeInvalid, SizeInvalid
from layerkit.oci.reference import RepositoryName
from layerkit.oci.repository import Repository, Upload
from layerkit.oci.request import AppendUpload, CancelUpload, CommitUpload, GetBlob, GetUpload, StartUpload, build_url
from registry.handlers.body import may_have_body, read_chunks
from registry.handlers.errors import error_response

_RECOVERABLE: Final = (RangeInvalid, SizeInvalid, BlobUploadInvalid)
"""The upload stands where it stood: an answer that says where lets the client go on from there."""


async def start_upload(http: web.BaseRequest, call: StartUpload, repository: Repository) -> web.StreamResponse:
    if call.mount is not None and await repository.mount_blob(call.mount, call.source):
        return _created(call.repository, call.mount)
    wanted = call.digest or call.mount
    algorithm = call.algorithm or (wanted.algorithm if wanted else "sha256")
    upload_id = await repository.start_upload(algorithm=algorithm)
    if call.digest is None or not (may_have_body(http) or call.digest == Digest.of(b"", call.digest.algorithm)):
        return web.Response(status=202, headers=_progress(call.repository, upload_id, 0))
    async with repository.open_upload(upload_id) as upload:
        try:
            await _append(http, upload)
        except BaseException:
            # Nobody was told its id, so nobody could go on with it.
            await upload.cancel()
            raise
        await upload.commit(call.digest)
    return _created(call.repository, call.digest)


async def get_upload(http: web.BaseRequest, call: GetUpload, repository: Repository) -> web.StreamResponse:
    async with repository.open_upload(call.upload) as upload:
        return web.Response(status=204, headers=_progress(call.repository, upload.id, upload.offset))


async def append_upload(http: web.BaseRequest, call: AppendUpload, repository: Repository) -> web.StreamResponse:
    async with repository.open_upload(call.upload) as upload:
        try:
            await _append(http, upload)
        except _RECOVERABLE as error:
            return error_response(error, _progress(call.repository, upload.id, upload.offset))
    # Only now is all of it in the store: a full disk shows at the latest when the upload is closed.
    return web.Response(status=202, headers=_progress(call.repository, upload.id, upload.offset))


async def commit_upload(http: web.BaseRequest, call: CommitUpload, repository: Repository) -> web.StreamResponse:
    try:
        async with repository.open_upload(call.upload) as upload:
            try:
                await _append(http, upload)
            except _RECOVERABLE as error:
                return error_response(error, _progress(call.repository, upload.id, upload.offset))
            await upload.commit(call.digest)
    except BlobUploadUnknown as error:
        # Its reply was lost, and the client asks again: a 404 would make it send the whole blob again.
        if {"digest": call.digest} not in error.details:
            raise
    return _created(call.repository, call.digest)


async def cancel_upload(http: web.BaseRequest, call: CancelUpload, repository: Repository) -> web.StreamResponse:
    async with repository.open_upload(call.upload) as upload:
        await upload.cancel()
    return web.Response(status=204)


async def _append(http: web.BaseRequest, upload: Upload) -> None:
    """Append the body. Raises RangeInvalid where it does not begin where the upload stands, BlobUploadInvalid where
    its Content-Range cannot be read, and SizeInvalid where it has not the length that that says."""
    header = http.headers.get("Content-Range")
    if header is None:
        async for chunk in read_chunks(http):
            await upload.append(chunk)
        return
    start, stop = parse_content_range(header)
    if start != upload.offset:
        raise RangeInvalid(f"the chunk begins at byte {start}, the upload stands at byte {upload.offset}")
    if http.content_length is not None and http.content_length != stop - start:
        raise SizeInvalid(f"Content-Range {header} has {stop - start} bytes, the body {http.content_length}")
    async for chunk in read_chunks(http):
        if upload.offset + len(chunk) > stop:
            raise SizeInvalid(f"Content-Range {header} has {stop - start} bytes, the body more")
        await upload.append(chunk)
    if upload.offset < stop:
        raise SizeInvalid(f"Content-Range {header} has {stop - start} bytes, the body {upload.offset - start}")


def _progress(repository: RepositoryName, upload: str, offset: int) -> dict[str, str]:
    return {
        "Location": build_url(GetUpload(repository=repository, upload=upload)),
        "Range": format_upload_range(offset),
        "Docker-Upload-UUID": upload,
    }


def _created(repository: RepositoryName, digest: Digest) -> web.Response:
    location = build_url(GetBlob(repository=repository, digest=digest))
    return web.Response(status=201, headers={"Location": location, "Docker-Content-Digest": digest})
