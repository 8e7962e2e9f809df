"""Blob uploads (distribution-spec, "Pushing blobs").

A Location is relative and keeps all its state in the path, because clients re-order and re-encode its query.
"""

from aiohttp import web

from layerkit.oci.byterange import format_upload_range, parse_content_range
from layerkit.oci.digest import Digest
from layerkit.oci.errors import RangeInvalid, SizeInvalid
from layerkit.oci.reference import RepositoryName
from layerkit.oci.repository import Repository, Upload
from layerkit.oci.request import AppendUpload, CancelUpload, CommitUpload, GetBlob, GetUpload, StartUpload, build_url
from registry.handlers.body import may_have_body, read_chunks
from registry.handlers.errors import error_response


async def start_upload(http: web.BaseRequest, call: StartUpload, repository: Repository) -> web.StreamResponse:
    if call.mount is not None and await repository.mount_blob(call.mount, call.source):
        return _created(call.repository, call.mount)
    wanted = call.digest or call.mount
    algorithm = call.algorithm or (wanted.algorithm if wanted else "sha256")
    upload_id = await repository.start_upload(algorithm=algorithm)
    if call.digest is None or not (may_have_body(http) or call.digest == Digest.of(b"", call.digest.algorithm)):
        return web.Response(status=202, headers=_progress(call.repository, upload_id, 0))
    async with repository.open_upload(upload_id) as upload:
        await _append(http, upload)
        await upload.commit(call.digest)
    return _created(call.repository, call.digest)


async def get_upload(http: web.BaseRequest, call: GetUpload, repository: Repository) -> web.StreamResponse:
    async with repository.open_upload(call.upload) as upload:
        return web.Response(status=204, headers=_progress(call.repository, upload.id, upload.offset))


async def append_upload(http: web.BaseRequest, call: AppendUpload, repository: Repository) -> web.StreamResponse:
    async with repository.open_upload(call.upload) as upload:
        if (refusal := _refuse_gap(http, call.repository, upload)) is not None:
            return refusal
        await _append(http, upload)
    # Only now is all of it in the store: a full disk shows at the latest when the upload is closed.
    return web.Response(status=202, headers=_progress(call.repository, upload.id, upload.offset))


async def commit_upload(http: web.BaseRequest, call: CommitUpload, repository: Repository) -> web.StreamResponse:
    async with repository.open_upload(call.upload) as upload:
        if (refusal := _refuse_gap(http, call.repository, upload)) is not None:
            return refusal
        await _append(http, upload)
        await upload.commit(call.digest)
    return _created(call.repository, call.digest)


async def cancel_upload(http: web.BaseRequest, call: CancelUpload, repository: Repository) -> web.StreamResponse:
    async with repository.open_upload(call.upload) as upload:
        await upload.cancel()
    return web.Response(status=204)


async def _append(http: web.BaseRequest, upload: Upload) -> None:
    async for chunk in read_chunks(http):
        await upload.append(chunk)


def _refuse_gap(http: web.BaseRequest, repository: RepositoryName, upload: Upload) -> web.Response | None:
    """The answer to a chunk that does not begin where the upload stands: where it does stand."""
    header = http.headers.get("Content-Range")
    if header is None:
        return None
    start, stop = parse_content_range(header)
    if start != upload.offset:
        error = RangeInvalid(f"the chunk begins at byte {start}, the upload stands at byte {upload.offset}")
        return error_response(error, _progress(repository, upload.id, upload.offset))
    if http.content_length is not None and http.content_length != stop - start:
        raise SizeInvalid(f"Content-Range {header} has {stop - start} bytes, the body {http.content_length}")
    return None


def _progress(repository: RepositoryName, upload: str, offset: int) -> dict[str, str]:
    return {
        "Location": build_url(GetUpload(repository=repository, upload=upload)),
        "Range": format_upload_range(offset),
        "Docker-Upload-UUID": upload,
    }


def _created(repository: RepositoryName, digest: Digest) -> web.Response:
    location = build_url(GetBlob(repository=repository, digest=digest))
    return web.Response(status=201, headers={"Location": location, "Docker-Content-Digest": digest})
