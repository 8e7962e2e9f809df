"""Manifests by tag and by digest (distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting")."""

from typing import Final

from aiohttp import web

from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import DigestInvalid
from layerkit.oci.manifest import MAX_SIZE, Manifest, detect_media_type
from layerkit.oci.mediatype import OCTET_STREAM, strip_parameters
from layerkit.oci.reference import Tag
from layerkit.oci.repository import Repository
from layerkit.oci.request import DeleteManifest, GetManifest, HeadManifest, PutManifest, build_url
from registry.handlers.blobs import is_unmodified
from registry.handlers.body import read_manifest_body

_SAYS_NOTHING: Final = frozenset(
    {OCTET_STREAM, "application/json", "text/plain", "application/x-www-form-urlencoded"}  # the last one is curl's
)


async def head_manifest(http: web.BaseRequest, call: HeadManifest, repository: Repository) -> web.StreamResponse:
    found = await repository.stat_manifest(call.reference)
    if is_unmodified(http, found.digest):
        return web.Response(status=304, headers=_headers(found, call.reference))
    return web.Response(headers={**_headers(found, call.reference), "Content-Length": str(found.size)})


async def get_manifest(http: web.BaseRequest, call: GetManifest, repository: Repository) -> web.StreamResponse:
    manifest = await repository.get_manifest(call.reference)
    headers = _headers(manifest.descriptor, call.reference)
    if is_unmodified(http, manifest.digest):
        return web.Response(status=304, headers=headers)
    return web.Response(body=manifest.raw, headers=headers)


async def put_manifest(http: web.BaseRequest, call: PutManifest, repository: Repository) -> web.StreamResponse:
    raw = await read_manifest_body(http, limit=MAX_SIZE)
    named = call.reference if isinstance(call.reference, Digest) else None
    manifest = Manifest.of(raw, _stated_type(http) or detect_media_type(raw), named.algorithm if named else "sha256")
    if named is not None and manifest.digest != named:
        raise DigestInvalid(f"the manifest's digest is {manifest.digest}, not {named}")
    tags = call.tags if named is not None else (Tag(call.reference), *call.tags)
    await repository.put_manifest(manifest, tags)
    location = build_url(GetManifest(repository=call.repository, reference=manifest.digest))
    response = web.Response(status=201, headers={"Location": location, "Docker-Content-Digest": manifest.digest})
    if manifest.document.subject is not None:
        response.headers["OCI-Subject"] = manifest.document.subject.digest
    for tag in call.tags:
        response.headers.add("OCI-Tag", tag)
    return response


async def delete_manifest(http: web.BaseRequest, call: DeleteManifest, repository: Repository) -> web.StreamResponse:
    if isinstance(call.reference, Digest):
        await repository.delete_manifest(call.reference)
    else:
        await repository.delete_tag(call.reference)
    return web.Response(status=202)


def _stated_type(http: web.BaseRequest) -> str:
    """The Content-Type, without parameters; nothing where it says no more than that there are bytes or JSON."""
    stated = strip_parameters(http.headers.get("Content-Type", ""))
    # What is no ASCII is no media type either (RFC 6838, section 4.2), and may not even be text.
    return stated if "/" in stated and stated.isascii() and stated not in _SAYS_NOTHING else ""


def _headers(found: Descriptor, reference: Tag | Digest) -> dict[str, str]:
    immutable = isinstance(reference, Digest)
    return {
        "Content-Type": found.media_type,
        "Docker-Content-Digest": found.digest,
        "ETag": f'"{found.digest}"',
        "Cache-Control": "max-age=31536000, immutable" if immutable else "no-cache",
    }
