"""Lists, a page at a time: tags, referrers, and the catalog (distribution-spec, "Content Discovery")."""

from typing import Final, TypeVar

import msgspec
from aiohttp import web

from layerkit.oci.codec import encode_json
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.link import format_next
from layerkit.oci.manifest import MAX_SIZE
from layerkit.oci.mediatype import OCI_INDEX
from layerkit.oci.repository import Page, Registry, Repository
from layerkit.oci.request import ListReferrers, ListRepositories, ListTags, build_url

LARGEST_PAGE: Final = 10_000
"""Tags or names in one answer, whatever was asked for."""

LARGEST_REFERRERS_PAGE: Final = 1_000

_MOST_BYTES: Final = MAX_SIZE - 64 * 1024
"""Of a page's descriptors: together with the rest it stays below what clients read of an index."""

_AT_ONCE: Final = 16
"""Referrers read in one go: each may have annotations of megabytes."""

Call = TypeVar("Call", ListTags, ListReferrers, ListRepositories)


async def list_tags(http: web.BaseRequest, call: ListTags, repository: Repository) -> web.StreamResponse:
    page = await repository.list_tags(limit=_limit(call.limit, LARGEST_PAGE), last=call.last)
    return _answer({"name": call.repository, "tags": page.items}, call, page)


async def list_repositories(http: web.BaseRequest, call: ListRepositories, registry: Registry) -> web.StreamResponse:
    page = await registry.list_repositories(limit=_limit(call.limit, LARGEST_PAGE), last=call.last)
    return _answer({"repositories": page.items}, call, page)


async def list_referrers(http: web.BaseRequest, call: ListReferrers, repository: Repository) -> web.StreamResponse:
    page = await _read_referrers(call, repository, _limit(call.limit, LARGEST_REFERRERS_PAGE))
    response = _answer({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page.items}, call, page)
    # Exactly this type, without a charset: clients compare it (distribution-spec, "Listing Referrers").
    response.headers["Content-Type"] = OCI_INDEX
    if call.artifact_types:
        response.headers["OCI-Filters-Applied"] = "artifactType"
    return response


async def _read_referrers(call: ListReferrers, repository: Repository, limit: int) -> Page[Descriptor]:
    """As many as fit into a page, of `limit` at most, and one in any case."""

    async def read(limit: int, last: str) -> Page[Descriptor]:
        return await repository.list_referrers(call.digest, artifact_types=call.artifact_types, limit=limit, last=last)

    items: list[Descriptor] = []
    room, last = _MOST_BYTES, call.last
    while True:
        page = await read(min(_AT_ONCE, limit - len(items)), last)
        fitting = 0
        for item in page.items:
            room -= len(encode_json(item)) + 1
            if room < 0 and (items or fitting):
                break
            fitting += 1
        if fitting < len(page.items):
            # Only the repository knows how to go on after an item, so it is asked for just those that fit.
            page = await read(fitting, last) if fitting else Page((), last)
            return Page((*items, *page.items), page.last)
        items += page.items
        if page.last is None or len(items) >= limit:
            return Page(tuple(items), page.last)
        last = page.last


def _limit(asked: int | None, largest: int) -> int:
    return largest if asked is None else min(asked, largest)


def _answer(document: object, call: Call, page: Page[object]) -> web.Response:
    response = web.Response(body=encode_json(document), content_type="application/json")
    if page.last is not None:
        limit = len(page.items) if call.limit is None else call.limit
        response.headers["Link"] = format_next(build_url(msgspec.structs.replace(call, limit=limit, last=page.last)))
    return response
