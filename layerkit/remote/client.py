"""One registry's connections: which scheme, which token, which redirect, what an error means, and trying again.

https comes first; plain http only for loopback addresses or where it was asked for. Authorization goes to the
registry and to its token service, never to another host that it redirects to, and what another host asks for is not
answered.

A failure that may pass is tried again, within the Patience of the Connection. Not so before the registry has answered
once: who named a registry that does not exist wants to know it at once.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Final, NoReturn
from urllib.parse import urlsplit

import aiohttp
import msgspec
from yarl import URL

from layerkit import __version__
from layerkit.oci.errors import OCIError, SizeInvalid, Unavailable, decode_error
from layerkit.oci.request import Request, build_url, scopes_of
from layerkit.oci.scope import Scope
from layerkit.remote.address import follow, is_loopback, origin_of, proxy_of, show
from layerkit.remote.auth import Authenticator, Call, Credentials, Reply, service_failed
from layerkit.remote.failure import explain, is_passing
from layerkit.remote.outgoing import Body, Outgoing
from layerkit.remote.retry import (
    PASSING,
    PATIENT,
    REAL,
    Attempts,
    Patience,
    Timing,
    Transient,
    parse_retry_after,
)

FindCredentials = Callable[[], Awaitable[Credentials | None]]
"""Who we are, for a registry that asks: not before, because it may run a program that asks the user."""

_MOST_SMALL_BYTES: Final = 64 * 1024
_MOST_REDIRECTS: Final = 5
_MOST_WARNINGS: Final = 10
_URL_CHARACTERS: Final = re.compile(r"[!-~]+\Z")
_WARNING: Final = re.compile(r"299\s+\S+\s+\"((?:[^\"\\]|\\.)*)\"")
_IDLE_SECONDS: Final = 15
"""How long a connection is kept for the next request: less than servers and proxies keep it, as a rule."""


def _nobody(text: str) -> None:
    """Hears nothing."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a registry: `host` with its port, who we are there, what we trust, how long we go on trying.

    `note` hears what people should know and is no error: that something is tried again, and the registry's warnings.
    """

    host: str
    credentials: Credentials | FindCredentials | None = None
    insecure: bool = False
    tls: ssl.SSLContext | None = None
    patience: Patience = PATIENT
    timing: Timing = REAL
    note: Callable[[str], None] = _nobody


class Habits(msgspec.Struct):
    """What a registry was found to do, which no other request needs to find out again.

    `takes_parts` is whether uploads go on where they broke off, `least_part` what its parts must have in bytes, and
    `most_part` what it takes in one request. `lists_referrers` is None until it is known.
    """

    takes_parts: bool = True
    least_part: int = 0
    most_part: int | None = None
    lists_referrers: bool | None = None


class Answer(msgspec.Struct, frozen=True):
    """A response that was read whole."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@asynccontextmanager
async def open_client(connection: Connection) -> AsyncIterator["Client"]:
    """A client whose connections are closed at the end of the context."""
    client = Client(connection)
    try:
        yield client
    finally:
        await client.close()


def _make_session(connection: Connection) -> aiohttp.ClientSession:
    # No limit: whoever copies holds one connection for reading and waits for one for writing, so that copies which
    # share a limit could wait for each other for ever. They limit themselves (transfer.BLOBS_AT_ONCE).
    connector = aiohttp.TCPConnector(limit=0, ssl=connection.tls or True, keepalive_timeout=_IDLE_SECONDS)
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=connection.patience.stall),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"layerkit/{__version__}", "Accept-Encoding": "identity"},
    )
    # It would ask again by itself where a PUT or DELETE breaks off, and nobody would know that there were two.
    session._retry_connection = False  # noqa: SLF001 - as in aiohttp's own test client
    return session


class Client:
    """Made while an event loop runs, and closed by whoever made it."""

    def __init__(self, connection: Connection) -> None:
        self.host = connection.host
        self.habits = Habits()
        self._connection = connection
        self._session = _make_session(connection)
        self._may_use_http = connection.insecure or is_loopback(connection.host)
        self._base: str | None = None
        self._has_answered = False
        self._noted: set[str] = set()
        self._choosing = asyncio.Lock()
        self._authenticating = asyncio.Lock()
        given = connection.credentials
        self._find_credentials = given if given is not None and not isinstance(given, Credentials) else None
        self._authenticator = Authenticator(
            connection.host,
            given if isinstance(given, Credentials) else None,
            allow_http=self._may_use_http,
            clock=connection.timing.clock,
        )

    @property
    def was_asked(self) -> bool:
        """Whether the registry wanted to know who we are, and was satisfied."""
        return self._authenticator.has_answered

    def begin(self) -> Attempts:
        """The attempts of one operation, which may be several requests."""
        return Attempts(
            self._connection.patience,
            self._connection.timing,
            lambda reason: self.note(f"{self.host}: {reason}, trying again"),
        )

    async def close(self) -> None:
        await self._session.close()

    def note(self, text: str) -> None:
        """Tell whoever listens, once."""
        if text not in self._noted:
            self._noted.add(text)
            self._connection.note(text)

    @asynccontextmanager
    async def send(
        self,
        method: str,
        target: Request | str,
        *,
        scopes: frozenset[Scope] = frozenset(),
        expected: frozenset[int],
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        attempts: Attempts | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a call of the API, or to a URL that the registry named before, if its status is expected.

        For requests that may be repeated: they are, until there is an answer. `scopes` are those of a URL, or what a
        call needs beside its own; `attempts` are those of the operation that the request is a part of. Raises the
        OCIError that any other status stands for, and Unavailable where the registry cannot be reached.
        """
        attempts = attempts or self.begin()
        has_begun = False
        while True:
            attempt = self.attempt(method, target, scopes=scopes, expected=expected, headers=headers, body=body)
            try:
                async with attempt as response:
                    has_begun = True
                    yield response
                    return
            except Transient as trouble:
                if has_begun:
                    raise trouble.error from trouble.__cause__
                await attempts.wait(trouble)

    async def read(
        self,
        target: Request | str,
        *,
        scopes: frozenset[Scope] = frozenset(),
        headers: Mapping[str, str] | None = None,
        limit: int,
    ) -> Answer:
        """What a GET that succeeds answers, whole. Raises as `send`, and SizeInvalid above `limit` bytes."""
        attempts = self.begin()
        expected = frozenset({200})
        while True:
            try:
                async with self.attempt("GET", target, scopes=scopes, expected=expected, headers=headers) as response:
                    parts, size = [], 0
                    async for chunk in self.chunks(response):
                        size += len(chunk)
                        if size > limit:
                            raise SizeInvalid(f"{name_of(response)}: the answer has more than {limit} bytes")
                        parts.append(chunk)
                    return Answer(str(response.url), response.headers, b"".join(parts))
            except Transient as trouble:
                await attempts.wait(trouble)

    @asynccontextmanager
    async def attempt(
        self,
        method: str,
        target: Request | str,
        *,
        scopes: frozenset[Scope] = frozenset(),
        expected: frozenset[int],
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """As `send`, but once. Raises Transient for what may be otherwise the next time."""
        outgoing = Outgoing(body, stall=self._connection.patience.stall)
        what = f"{method} {self.host}"
        try:
            base = self._base or await self._choose_scheme()
            url = follow(base, target if isinstance(target, str) else build_url(target))
            what = f"{method} {show(url)}"
            if not isinstance(target, str):
                scopes |= frozenset(scopes_of(target))
            async with outgoing.watch():
                response = await self._converse(method, url, scopes, headers or {}, outgoing)
            async with response:
                if response.status not in expected:
                    await self._refuse(response, what)
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            if outgoing.failure is not None:
                # What the body's content raised: the connection is not to blame.
                raise outgoing.failure from None
            self._fail(error, what)
        finally:
            await outgoing.close()

    async def chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The body as it comes. Raises Transient where it breaks off."""
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            self._fail(error, name_of(response))

    async def _refuse(self, response: aiohttp.ClientResponse, what: str) -> NoReturn:
        error = decode_error(response.status, await _read_start(response), context=what)
        if response.status in PASSING:
            raise self._passing(response, error)
        if response.status == 401 and self._is_ours(str(response.url)) and not self._authenticator.has_credentials:
            advised = f"{error.message}: log in first (layerkit login {self.host})"
            raise type(error)(advised, details=error.details)
        raise error

    def _passing(self, response: aiohttp.ClientResponse, error: OCIError) -> Transient:
        after = parse_retry_after(response.headers.get("Retry-After"), self._connection.timing.today())
        return Transient(error, f"HTTP status {response.status}", after)

    def _fail(self, error: aiohttp.ClientError | TimeoutError, what: str) -> NoReturn:
        """Raise what a connection that did not hold means."""
        if isinstance(error, TimeoutError):
            late = Unavailable(f"{self.host} did not answer {what} in time")
            raise Transient(late, "no answer in time") from error
        is_connected = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError)
        if is_connected:
            failed = Unavailable(f"{self.host} broke off {what}: {explain(error, self.host)}")
        else:
            failed = self._unreachable(error)
        if is_passing(error) and (is_connected or self._has_answered):
            raise Transient(failed, "the connection broke off" if is_connected else "it cannot be reached") from error
        raise failed from error

    async def _converse(
        self, method: str, url: str, scopes: frozenset[Scope], headers: Mapping[str, str], outgoing: Outgoing
    ) -> aiohttp.ClientResponse:
        """Drive the authenticator's conversation; the response of the call that it is about stays open."""
        conversation = self._authenticator.converse(scopes)
        async with self._turn(not self._authenticator.is_ready(scopes)):
            call = next(conversation)
            while call.url:
                call = conversation.send(await self._ask_token_service(call))
        while True:
            response = await self._request(method, url, {**headers, **call.headers}, outgoing)
            if not self._is_ours(str(response.url)):
                # What another host asks for is not ours to give: its token service could be anybody.
                return response
            self._heed_warnings(response)
            reply = Reply(response.status, ", ".join(response.headers.getall("WWW-Authenticate", ())))
            try:
                async with self._turn(reply.status == 401):
                    if reply.status == 401:
                        await self._introduce()
                    call = conversation.send(reply)
                    while call.url:
                        call = conversation.send(await self._ask_token_service(call))
            except StopIteration:
                return response
            except BaseException:
                response.release()
                raise
            response.release()

    def _turn(self, is_needed: bool) -> AbstractAsyncContextManager[object]:
        """One at a time asks for a token: what the first one gets is good for those behind it."""
        return self._authenticating if is_needed else nullcontext()

    async def _introduce(self) -> None:
        if self._find_credentials is not None:
            found = await self._find_credentials()
            self._find_credentials = None
            self._authenticator.introduce(found)

    async def _ask_token_service(self, call: Call) -> Reply:
        attempts = self.begin()
        while True:
            trouble: Transient
            try:
                async with await self._ask(call.method, call.url, call.headers, call.body or None) as response:
                    if response.status not in PASSING:
                        return Reply(response.status, body=await _read_start(response))
                    trouble = self._passing(response, service_failed(self.host, show(call.url), response.status))
            except (aiohttp.ClientError, TimeoutError) as error:
                try:
                    self._fail(error, f"{call.method} {show(call.url)}")
                except Transient as passing:
                    trouble = passing
            await attempts.wait(trouble)

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], outgoing: Outgoing
    ) -> aiohttp.ClientResponse:
        asked = url
        for _ in range(_MOST_REDIRECTS + 1):
            sent = dict(headers)
            if not self._is_ours(url):
                sent.pop("Authorization", None)
            response = await self._ask(method, url, sent, await outgoing.begin())
            location = response.headers.get("Location")
            if response.status not in {301, 302, 303, 307, 308} or location is None or method not in {"GET", "HEAD"}:
                return response
            response.release()
            url = follow(url, location)
        raise OCIError(f"{self.host} redirects {method} {show(asked)} more than {_MOST_REDIRECTS} times")

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: AsyncIterator[bytes] | bytes | None
    ) -> aiohttp.ClientResponse:
        """One request, whoever it goes to."""
        scheme = urlsplit(url).scheme
        if scheme != "https" and not (scheme == "http" and self._may_use_http):
            raise OCIError(f"{self.host} sends us to {show(url)}: refused, because it is not https")
        try:
            # As it is, where it can be: a signature may be of these very characters.
            address = URL(url, encoded=_URL_CHARACTERS.match(url) is not None)
            response = await self._session.request(
                method, address, headers=headers, data=body, proxy=proxy_of(url), allow_redirects=False
            )
        except aiohttp.ClientConnectionError:
            # Some are ValueErrors as well: a certificate that is not trusted.
            raise
        except ValueError as error:
            raise OCIError(f"{self.host}: {method} {show(url)} cannot be sent: {error}") from error
        self._has_answered = True
        return response

    def _is_ours(self, url: str) -> bool:
        """Whether the registry itself answers there: the same scheme, host and port."""
        return origin_of(url) == origin_of(self._base or url)

    async def _choose_scheme(self) -> str:
        """https where it answers as such; else http, where that is allowed."""
        async with self._choosing:
            if self._base is not None:
                return self._base
            if not self._may_use_http:
                return self._settle(f"https://{self.host}")
            failures = []
            for base in (f"https://{self.host}", f"http://{self.host}"):
                try:
                    async with await self._ask("GET", f"{base}/v2/", {}, None):
                        return self._settle(base)
                except aiohttp.ClientConnectorCertificateError as error:
                    # Who speaks TLS is not asked again without it.
                    raise self._unreachable(error) from error
                except aiohttp.ClientError as error:
                    failures.append(error)
            raise self._unreachable(failures[-1]) from failures[-1]

    def _settle(self, base: str) -> str:
        self._base = base
        # A token may come by plain HTTP where all the rest does.
        self._authenticator.allow_http = self._connection.insecure or base.startswith("http:")
        return base

    def _heed_warnings(self, response: aiohttp.ClientResponse) -> None:
        """Registries warn with `299 - "text"` (distribution-spec, "Warnings")."""
        texts = [text for header in response.headers.getall("Warning", ()) for text in _WARNING.findall(header)]
        for text in texts[:_MOST_WARNINGS]:
            said = re.sub(r"\\(.)", r"\1", text)[:1000]
            # It reaches a terminal: as text, and as nothing else.
            said = "".join(character if character.isprintable() else "\ufffd" for character in said)
            if len(self._noted) < 10 * _MOST_WARNINGS:
                self.note(f"{self.host} warns: {said}")

    def _unreachable(self, error: aiohttp.ClientError) -> Unavailable:
        registry = urlsplit(f"//{self.host}")
        elsewhere = ""
        if isinstance(error, aiohttp.ClientConnectorError) and (
            error.host != registry.hostname or registry.port not in (None, error.port)
        ):
            elsewhere = f"{error.host}:{error.port} for "
        return Unavailable(f"cannot reach {elsewhere}registry {self.host}: {explain(error, self.host)}")


def name_of(response: aiohttp.ClientResponse) -> str:
    """Like `GET https://registry.example/v2/...`, for errors."""
    return f"{response.method} {show(str(response.url))}"


async def _read_start(response: aiohttp.ClientResponse) -> bytes:
    """The body, of which no more than the first 64 KiB are of interest."""
    start = b""
    while len(start) < _MOST_SMALL_BYTES and (chunk := await response.content.read(_MOST_SMALL_BYTES - len(start))):
        start += chunk
    return start
