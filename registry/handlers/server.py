"""The HTTP server: limits, and JSON errors even for what is no HTTP."""

from typing import Any, Final

from aiohttp import web

from layerkit.oci.errors import OCIError, Unsupported
from registry.handlers.dispatch import Dispatcher
from registry.handlers.errors import API_VERSION, error_response

_READ_BUFFER: Final = 256 * 1024
_IDLE_SECONDS: Final = 75.0
_LINGERING_SECONDS: Final = 3.0
"""For which the rest of a body that nobody wants is read, so that its sender gets to read the error."""


class _MalformedRequest(Unsupported):
    summary = "the request is not HTTP as this server reads it"


class _Connection(web.RequestHandler):
    def handle_error(
        self,
        request: Any,  # noqa: ARG002 - the base class's signature
        status: int = 500,  # noqa: ARG002
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What could not be parsed, answered as the spec answers errors; the connection is closed."""
        error: OCIError = _MalformedRequest(f"malformed request: {message or exc}")
        response = error_response(error, API_VERSION)
        response.force_close()
        return response


class HTTPServer(web.Server):
    """Connections of a Dispatcher. Bodies are taken as they were sent: digests are of the bytes on the wire."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self._arguments: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": _IDLE_SECONDS,
            "lingering_time": _LINGERING_SECONDS,
            "read_bufsize": _READ_BUFFER,
        }

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._arguments)
