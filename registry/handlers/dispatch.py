"""The way of every request: parse it into a call, find its handler, give it its Repository, answer errors, tell it.

Outside `/v2/` there are two paths: `/healthz`, 200 as long as the registry can serve, else 503, and `/token` where
there are users.
"""

import asyncio
import contextlib
import itertools
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from aiohttp import web

from layerkit.oci.codec import encode_json
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
from registry.handlers.answers import Answer, RememberedAnswers, State, serialize
from registry.handlers.authorize import TOKEN_PATH, Entrance
from registry.handlers.errors import ErrorResponse, error_response, unexpected_response
from registry.handlers.headers import COMMON_HEADERS, common_headers
from registry.handlers.limits import Crowd, Limits
from registry.handlers.proxies import Proxies
from registry.handlers.redirect import Redirect
from registry.handlers.token import answer_token
from registry.observe import Observation, Observer
from registry.onestep import run_through

Handler = Callable[[web.BaseRequest, Any, Any], Awaitable[web.StreamResponse]]
Check = Callable[[], Awaitable[None]]
"""Raises when a part of the registry is out of order."""

_LONGEST_KEPT: Final = 512
HEALTH_PATH: Final = "/healthz"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class _Route:
    """`name` is what distribution calls the kind of endpoint in its metrics."""

    name: str
    answer: Handler


_ROUTES: Final[Mapping[type[Request], _Route]] = {
    HeadBlob: _Route("blob", blobs.head_blob),
    GetBlob: _Route("blob", blobs.get_blob),
    DeleteBlob: _Route("blob", blobs.delete_blob),
    StartUpload: _Route("blob_upload", uploads.start_upload),
    GetUpload: _Route("blob_upload_chunk", uploads.get_upload),
    AppendUpload: _Route("blob_upload_chunk", uploads.append_upload),
    CommitUpload: _Route("blob_upload_chunk", uploads.commit_upload),
    CancelUpload: _Route("blob_upload_chunk", uploads.cancel_upload),
    HeadManifest: _Route("manifest", manifests.head_manifest),
    GetManifest: _Route("manifest", manifests.get_manifest),
    PutManifest: _Route("manifest", manifests.put_manifest),
    DeleteManifest: _Route("manifest", manifests.delete_manifest),
    ListTags: _Route("tags", lists.list_tags),
    ListReferrers: _Route("referrers", lists.list_referrers),
}
_KINDS: Final[Mapping[type[Request], str]] = {
    Ping: "base",
    ListRepositories: "catalog",
    **{kind: route.name for kind, route in _ROUTES.items()},
}
_AT_ONCE: Final = frozenset(
    {Ping, HeadBlob, GetBlob, HeadManifest, GetManifest, ListTags, ListReferrers, ListRepositories}
)
"""Reads: one that has to wait has done nothing before that could not be done again."""

# Not HEAD of a blob: whoever pushes relies on its answer, which is given afresh.
_REMEMBERED: Final = frozenset({GetBlob, HeadManifest, GetManifest, ListTags, ListReferrers})


@dataclass(slots=True)
class _Exchange:
    """One request on its way. `call` is unknown where it could not be parsed, for the reason `refusal`, and where it is
    none of the distribution API. `error` is empty until there is one, and `user` where the registry has none."""

    call: Request | None = None
    kind: str = "base"
    refusal: OCIError | None = None
    error: str = ""
    user: str = ""


class Dispatcher:
    """Answers every request that the HTTP server could read. Without an `entrance` everybody may do everything; with
    the `state` of what the registry knows answers are remembered for as long as it lasts."""

    def __init__(
        self,
        registry: Registry,
        *,
        observers: Sequence[Observer] = (),
        checks: Mapping[str, Check] | None = None,
        warnings: Sequence[str] = (),
        proxies: Proxies | None = None,
        entrance: Entrance | None = None,
        redirect: Redirect | None = None,
        state: State | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._registry = registry
        self._entrance = entrance
        self._redirect = redirect
        self._observers = observers
        self._answers = None if state is None else RememberedAnswers(state)
        # Where blobs are depends on who asks.
        self._remembered = _REMEMBERED - {GetBlob} if redirect is not None else _REMEMBERED
        self._checks = checks or {}
        self._common_headers = common_headers(warnings)
        self._proxies = proxies or Proxies()
        self._id_prefix = os.urandom(6).hex()
        self._numbers = itertools.count(1)
        self._crowd = Crowd(limits or Limits())
        self._drained: asyncio.Event | None = None

    async def __call__(self, http: web.BaseRequest) -> web.StreamResponse:
        began = time.perf_counter()
        exchange = self._receive(http)
        self._crowd.enter(exchange.call)
        http[COMMON_HEADERS] = self._common_headers
        for observer in self._observers:
            observer.began(exchange.kind)
        response: web.StreamResponse | None = None
        try:
            response = await self._answer(http, exchange)
            if not response.prepared:
                response.headers.extend(self._common_headers)
            if self._drained is not None or (response.status >= 400 and "Expect" in http.headers):
                # Who waits for `100 Continue` and hears an error may send its body all the same, or not: what comes
                # next on this connection could be either.
                response.force_close()
            return response
        finally:
            self._crowd.leave(exchange.call)
            if self._drained is not None and self._crowd.is_empty:
                self._drained.set()
            # In any case, a client that is gone included: whoever counts what began counts what ended.
            # 499 is what others log for a client that did not wait for its answer.
            status = 499 if response is None else response.status
            sent = 0 if response is None or http.method == "HEAD" else response.content_length or 0
            self._tell(http, exchange, status, sent, time.perf_counter() - began)

    def answer_at_once(self, http: web.BaseRequest) -> bytes | None:
        """The answer to a read that waits for nothing: the same as that of a call, and told to the same observers.

        None for every other request; it has left no trace, and is to be called.
        """
        began = time.perf_counter()
        if self._drained is not None or "Expect" in http.headers:
            return None
        exchange = self._receive(http)
        if type(exchange.call) not in _AT_ONCE:
            return None
        try:
            answer = self._recall(http, exchange) or self._answer_afresh(http, exchange)
        except Exception:  # noqa: BLE001 - has to wait, or fails: so it does on the long way, where that is told
            return None
        for observer in self._observers:
            observer.began(exchange.kind)
        self._tell(http, exchange, answer.status, len(answer.body), time.perf_counter() - began)
        return answer.to_bytes()

    def _recall(self, http: web.BaseRequest, exchange: _Exchange) -> Answer | None:
        """What was answered before, if this caller may have it and asks for no less than the whole."""
        if self._answers is None or not _is_plain(http):
            return None
        answer = self._answers.find(http.method, http.raw_path)
        if answer is not None and self._entrance is not None and exchange.call is not None:
            caller = self._entrance.readmit(http, exchange.call)
            if caller is None:
                return None
            exchange.user = caller.name
        return answer

    def _answer_afresh(self, http: web.BaseRequest, exchange: _Exchange) -> Answer:
        response = run_through(self._answer(http, exchange))
        assert isinstance(response, web.Response)  # noqa: S101 - whoever streams waits before
        response.headers.extend(self._common_headers)
        answer = serialize(response, is_head=http.method == "HEAD")
        if (
            self._answers is not None
            and answer.status == 200
            and type(exchange.call) in self._remembered
            and len(http.raw_path) < _LONGEST_KEPT
            and _is_plain(http)
        ):
            self._answers.keep(http.method, http.raw_path, answer)
        return answer

    async def drain(self, seconds: float) -> None:
        """Return when no request is being answered, bodies on their way in included, or after `seconds`.

        Connections are closed with their next answer. The HTTP server's own shutdown would not read on.
        """
        self._drained = asyncio.Event()
        if not self._crowd.is_empty:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), seconds)

    def _receive(self, http: web.BaseRequest) -> _Exchange:
        path, _, query = http.raw_path.partition("?")
        if path == HEALTH_PATH:
            return _Exchange()
        if path == TOKEN_PATH and self._entrance is not None:
            return _Exchange(kind="token")
        try:
            call = _parse(http.method, path, query)
        except OCIError as error:
            return _Exchange(refusal=error)
        return _Exchange(call, _KINDS[type(call)])

    async def _answer(self, http: web.BaseRequest, exchange: _Exchange) -> web.StreamResponse:
        response = await self._respond(http, exchange)
        if isinstance(response, ErrorResponse):
            exchange.error = response.code
        return response

    async def _respond(self, http: web.BaseRequest, exchange: _Exchange) -> web.StreamResponse:
        try:
            if exchange.refusal is not None:
                raise exchange.refusal
            if exchange.call is not None:
                self._crowd.check(exchange.call)
                return await self._enter(http, exchange.call, exchange)
            if exchange.kind == "token" and self._entrance is not None:
                return await _give_token(http, self._entrance)
            return await self._health()
        except OCIError as error:
            return error_response(error)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours must still be answered as the spec says
            return unexpected_response(error, http)

    async def _enter(self, http: web.BaseRequest, call: Request, exchange: _Exchange) -> web.StreamResponse:
        if self._entrance is None:
            return await self._handle(http, call, self._registry)
        try:
            caller = await self._entrance.admit(http, call)
        except OCIError as error:
            return self._entrance.refuse(http, call, error)
        exchange.user = caller.name
        return await self._handle(http, *await self._entrance.narrow(caller, call, self._registry))

    async def _handle(self, http: web.BaseRequest, call: Request, registry: Registry) -> web.StreamResponse:
        match call:
            case Ping():
                return web.Response(body=b"{}", content_type="application/json")
            case ListRepositories():
                return await lists.list_repositories(http, call, registry)
            case GetBlob() if self._redirect is not None and (url := self._elsewhere(http, call, self._redirect)):
                return await blobs.redirect_blob(http, call, registry.repository(call.repository), url)
            case _:
                return await _ROUTES[type(call)].answer(http, call, registry.repository(call.repository))

    def _elsewhere(self, http: web.BaseRequest, call: GetBlob, redirect: Redirect) -> str | None:
        return redirect.url_for(self._proxies.client_address(http), call.digest)

    async def _health(self) -> web.Response:
        """Each part with "ok" or what is wrong with it."""
        found: dict[str, str] = {}
        for name, check in self._checks.items():
            try:
                await check()
                found[name] = "ok"
            except (OCIError, OSError) as error:
                found[name] = str(error)
        well = all(state == "ok" for state in found.values())
        return web.Response(
            status=200 if well else 503,
            body=encode_json({"status": "ok" if well else "failing", "checks": found}),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    def _tell(self, http: web.BaseRequest, exchange: _Exchange, status: int, sent: int, seconds: float) -> None:
        if not self._observers:
            return
        call = exchange.call
        given = http.headers.get("X-Request-Id", "")
        observation = Observation(
            moment=time.time(),
            id=given if given and _REQUEST_ID.match(given) else f"{self._id_prefix}-{next(self._numbers):x}",
            handler=exchange.kind,
            method=http.method,
            path=http.raw_path,
            remote=self._proxies.client_address(http),
            user=exchange.user,
            agent=http.headers.get("User-Agent", ""),
            repository=getattr(call, "repository", ""),
            reference=getattr(call, "reference", None) or getattr(call, "digest", None) or "",
            status=status,
            error=exchange.error,
            seconds=seconds,
            received=http.content.total_bytes,
            sent=sent,
        )
        for observer in self._observers:
            observer.ended(observation)


async def _give_token(http: web.BaseRequest, entrance: Entrance) -> web.StreamResponse:
    try:
        return await answer_token(http, entrance)
    except OCIError as error:
        return entrance.refuse_token(error)


def _is_plain(http: web.BaseRequest) -> bool:
    return "Range" not in http.headers and "If-None-Match" not in http.headers


def _parse(method: str, path: str, query: str) -> Request:
    # Clients ask for the same things over and over. Long texts are not kept: they would be somebody else's memory.
    return (
        _parse_short(method, path, query)
        if len(path) + len(query) < _LONGEST_KEPT
        else parse_request(method, path, query)
    )


_parse_short = lru_cache(maxsize=4096)(parse_request)
