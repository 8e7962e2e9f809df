"""Lists, a page at a time: tags, referrers, and the catalog (distribution-spec, "Content Discovery")."""

from dataclasses import replace
from typing import Final, TypeVar

from aiohttp import web

from layerkit.oci.codec import encode_json
from layerkit.oci.link import format_next
from layerkit.oci.mediatype import OCI_INDEX
from layerkit.oci.repository import Page, Registry, Repository
from layerkit.oci.request import ListReferrers, ListRepositories, ListTags, build_url

LARGEST_PAGE: Final = 10_000
"""Tags or names in one answer, whatever was asked for."""

LARGEST_REFERRERS_PAGE: Final = 1_000
"""A page of referrers must stay below the 4 MiB that clients read of an index."""

Call = TypeVar("Call", ListTags, ListReferrers, ListRepositories)


async def list_tags(http: web.BaseRequest, call: ListTags, repository: Repository) -> web.StreamResponse:
    page = await repository.list_tags(limit=_limit(call.limit, LARGEST_PAGE), last=call.last)
    return _answer({"name": call.repository, "tags": page.items}, call, page)


async def list_repositories(http: web.BaseRequest, call: ListRepositories, registry: Registry) -> web.StreamResponse:
    page = await registry.list_repositories(limit=_limit(call.limit, LARGEST_PAGE), last=call.last)
    return _answer({"repositories": page.items}, call, page)


async def list_referrers(http: web.BaseRequest, call: ListReferrers, repository: Repository) -> web.StreamResponse:
    page = await repository.list_referrers(
        call.digest,
        artifact_types=call.artifact_types,
        limit=_limit(call.limit, LARGEST_REFERRERS_PAGE),
        last=call.last,
    )
    response = _answer({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page.items}, call, page)
    # Exactly this type, without a charset: clients compare it (distribution-spec, "Listing Referrers").
    response.headers["Content-Type"] = OCI_INDEX
    if call.artifact_types:
        response.headers["OCI-Filters-Applied"] = "artifactType"
    return response


def _limit(asked: int | None, largest: int) -> int:
    return largest if asked is None else min(asked, largest)


def _answer(document: object, call: Call, page: Page[object]) -> web.Response:
    response = web.Response(body=encode_json(document), content_type="application/json")
    if page.last is not None:
        limit = len(page.items) if call.limit is None else call.limit
        response.headers["Link"] = format_next(build_url(replace(call, limit=limit, last=page.last)))
    return response
