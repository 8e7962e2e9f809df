"""The HTTP server: limits, JSON errors even for what is no HTTP, and a short way for what can be answered at once.

The long way of a request is aiohttp's: it is queued, its connection's task is woken, a task of its own is made for it,
and waited for. A read that waits for nothing is answered where it was parsed instead, which takes less than half of
the time. Everything else about it is the same: aiohttp's parser reads it, the same handler answers, and the bytes are
those that aiohttp would have written.
"""

from typing import Any, Final

from aiohttp import HttpVersion11, web
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from layerkit.oci.errors import OCIError, Unsupported
from registry.handlers.dispatch import Dispatcher
from registry.handlers.errors import error_response
from registry.handlers.headers import API_VERSION

_READ_BUFFER: Final = 256 * 1024
_IDLE_SECONDS: Final = 75.0
_LINGERING_SECONDS: Final = 30.0
"""For which the rest of a body that nobody wants is read, so that its sender gets to read the error."""

_LINGERING_SECONDS_IF_WARNED: Final = 3.0
"""The same for one who asked before (`Expect`), and should not send it at all."""


class _MalformedRequest(Unsupported):
    summary = "the request is not HTTP as this server reads it"


class _ParserWithShortcut:
    """aiohttp's parser; a request that was answered at once is not among its messages."""

    def __init__(self, parser: Any, connection: "_Connection") -> None:
        self._parser = parser
        self._connection = connection

    def feed_data(self, data: bytes) -> tuple[Any, bool, bytes]:
        messages, upgraded, tail = self._parser.feed_data(data)
        # Of several at once (pipelining) none: the parser stops at a number of messages until others take them.
        if len(messages) == 1 and not upgraded and self._connection.answer_at_once(*messages[0]):
            self._parser.message_consumed()
            messages = ()
        return messages, upgraded, tail

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


class _Connection(web.RequestHandler):
    __slots__ = ("_dispatcher",)

    def __init__(self, manager: web.Server, dispatcher: Dispatcher, **arguments: Any) -> None:
        super().__init__(manager, **arguments)
        self._dispatcher = dispatcher
        self._parser = _ParserWithShortcut(self._parser, self)  # type: ignore[assignment]

    def answer_at_once(self, message: RawRequestMessage, payload: StreamReader) -> bool:
        """Whether the request has been answered. If not, nothing has happened."""
        waiter = self._waiter
        if (
            # Another request is being answered, or waits for it: this one comes after it.
            waiter is None
            or waiter.done()
            # The client is slow to read its answers.
            or self.writing_paused
            or payload is not EMPTY_PAYLOAD
            or message.should_close
            or message.version != HttpVersion11
            or self._request_factory is None
            or self._task_handler is None
            or self.transport is None
        ):
            return False
        writer = StreamWriter(self, self._loop)
        http = self._request_factory(message, payload, self, writer, self._task_handler)
        answer = self._dispatcher.answer_at_once(http)
        if answer is None:
            return False
        self.transport.write(answer)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        task = self._task_handler
        super().connection_lost(exc)
        if task is not None and not self._request_in_progress:
            # It may be waiting for the rest of a body, which will not come.
            task.cancel()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        self._lingering_time = _LINGERING_SECONDS_IF_WARNED if "Expect" in request.headers else _LINGERING_SECONDS
        return await super().finish_response(request, resp, start_time)

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
        self._dispatcher = dispatcher
        self._arguments: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": _IDLE_SECONDS,
            "lingering_time": _LINGERING_SECONDS,
            "read_bufsize": _READ_BUFFER,
        }

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._dispatcher, loop=self._loop, **self._arguments)
