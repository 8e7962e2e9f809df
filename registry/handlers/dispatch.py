"""The way of every request: parse it into a call, find its handler, give it its Repository, answer errors."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from layerkit.oci.errors import OCIError
from layerkit.oci.repository import Registry
from layerkit.oci.request import (
    AppendUpload,
    CancelUpload,
    CommitUpload,
    DeleteBlob,
    DeleteManifest,
    GetBlob,
    GetManifest,
    GetUpload,
    HeadBlob,
    HeadManifest,
    ListReferrers,
    ListRepositories,
    ListTags,
    Ping,
    PutManifest,
    Request,
    StartUpload,
    parse_request,
)
from registry.handlers import blobs, lists, manifests, uploads
from registry.handlers.errors import API_VERSION, error_response, unexpected_response

logger = logging.getLogger("registry.access")

Handler = Callable[[web.BaseRequest, Any, Any], Awaitable[web.StreamResponse]]

_OF_REPOSITORY: Final[Mapping[type[Request], Handler]] = {
    HeadBlob: blobs.head_blob,
    GetBlob: blobs.get_blob,
    DeleteBlob: blobs.delete_blob,
    StartUpload: uploads.start_upload,
    GetUpload: uploads.get_upload,
    AppendUpload: uploads.append_upload,
    CommitUpload: uploads.commit_upload,
    CancelUpload: uploads.cancel_upload,
    HeadManifest: manifests.head_manifest,
    GetManifest: manifests.get_manifest,
    PutManifest: manifests.put_manifest,
    DeleteManifest: manifests.delete_manifest,
    ListTags: lists.list_tags,
    ListReferrers: lists.list_referrers,
}


class Dispatcher:
    """Answers every request that the HTTP server could read."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def __call__(self, http: web.BaseRequest) -> web.StreamResponse:
        began = time.perf_counter()
        try:
            response = await self._answer(http)
        except OCIError as error:
            response = error_response(error)
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours must still be answered as the spec says
            response = unexpected_response(error, http)
        if not response.prepared:
            response.headers.update(API_VERSION)
        logger.info(
            "%s %s %s %d %.1fms",
            http.remote,
            http.method,
            http.raw_path,
            response.status,
            (time.perf_counter() - began) * 1000,
        )
        return response

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        path, _, query = http.raw_path.partition("?")
        call = parse_request(http.method, path, query)
        match call:
            case Ping():
                return web.Response(body=b"{}", content_type="application/json")
            case ListRepositories():
                return await lists.list_repositories(http, call, self._registry)
            case _:
                return await _OF_REPOSITORY[type(call)](http, call, self._registry.repository(call.repository))
