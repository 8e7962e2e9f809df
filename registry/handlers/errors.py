"""Every error as the spec's JSON: the one place where exceptions become responses."""

import logging
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from layerkit.oci.errors import (
    BlobInUse,
    MethodUnsupported,
    OCIError,
    TooManyRequests,
    Unavailable,
    Unknown,
    encode_error,
)

logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = "1"


class ErrorResponse(web.Response):
    """The response of `error`, with whatever headers its status asks for. `code` is for the log."""

    def __init__(self, error: OCIError, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(
            status=error.status, body=encode_error(error), content_type="application/json", headers=headers
        )
        self.code = error.code


def error_response(error: OCIError, headers: Mapping[str, str] | None = None) -> ErrorResponse:
    response = ErrorResponse(error, headers)
    if isinstance(error, MethodUnsupported):
        response.headers["Allow"] = ", ".join(str(method) for method in error.details)
    if isinstance(error, BlobInUse):
        response.headers["Allow"] = "GET, HEAD"
    if isinstance(error, (TooManyRequests, Unavailable)):
        response.headers["Retry-After"] = _RETRY_SECONDS
    return response


def unexpected_response(error: Exception, request: web.BaseRequest) -> ErrorResponse:
    """A fault of ours: the client learns that it is, the log learns everything."""
    logger.error("fault at %s %s", request.method, request.raw_path, exc_info=error)
    return error_response(Unknown("the registry failed at this request; its log says why"))
