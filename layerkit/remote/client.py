"""One registry's connections: which scheme, which token, which redirect, and what an error means.

https comes first; plain http only for loopback addresses or where it was asked for. Authorization goes to the
registry and to its token service, never to another host that it redirects to.
"""

import asyncio
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp

from layerkit import __version__
from layerkit.oci.errors import OCIError, Unavailable, decode_error
from layerkit.oci.request import Request, build_url, scopes_of
from layerkit.oci.scope import Scope
from layerkit.remote.auth import Authenticator, Call, Credentials, Reply

Body = Callable[[], AsyncIterator[bytes]]
"""A request's body, which can be begun again."""

_MOST_ERROR_BYTES: Final = 64 * 1024
_MOST_REDIRECTS: Final = 5
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How to reach a registry: `host` with its port, who we are there, and what we trust."""

    host: str
    credentials: Credentials | None = None
    insecure: bool = False
    tls: ssl.SSLContext | None = None


@asynccontextmanager
async def open_client(connection: Connection) -> AsyncIterator["Client"]:
    """A client whose connections are closed at the end of the context."""
    connector = aiohttp.TCPConnector(limit_per_host=8, ssl=connection.tls or True)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=_TIMEOUT,
        auto_decompress=False,
        trust_env=True,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"layerkit/{__version__}", "Accept-Encoding": "identity"},
    ) as session:
        yield Client(connection, session)


class Client:
    def __init__(self, connection: Connection, session: aiohttp.ClientSession) -> None:
        self.host = connection.host
        self._session = session
        self._may_use_http = connection.insecure or is_loopback(connection.host)
        self._base: str | None = None
        self._choosing = asyncio.Lock()
        self._authenticator = Authenticator(connection.host, connection.credentials, allow_http=self._may_use_http)

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
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a call of the API, or to a URL that the registry named before, if its status is expected.

        Raises the OCIError that any other status stands for, and Unavailable where the registry cannot be reached.
        """
        base = self._base or await self._choose_scheme()
        url = urljoin(base, target if isinstance(target, str) else build_url(target))
        if not isinstance(target, str):
            scopes = frozenset(scopes_of(target))
        try:
            response = await self._converse(method, url, scopes, headers or {}, body)
            async with response:
                if response.status not in expected:
                    context = f"{method} {url}"
                    raise decode_error(response.status, await _read_error(response), context=context)
                yield response
        except aiohttp.ClientError as error:
            if isinstance(error.__cause__, OCIError):
                # What the body's content raised: the connection is not to blame.
                raise error.__cause__ from None
            if isinstance(error, aiohttp.ClientConnectorError):
                raise self._unreachable(error) from error
            raise Unavailable(f"{self.host} broke off {method} {url}: {_reason(error)}") from error
        except TimeoutError as error:
            raise Unavailable(f"{self.host} did not answer {method} {url} in time") from error

    async def _converse(
        self, method: str, url: str, scopes: frozenset[Scope], headers: Mapping[str, str], body: Body | None
    ) -> aiohttp.ClientResponse:
        """Drive the authenticator's conversation; the response of the call that it is about stays open."""
        conversation = self._authenticator.converse(scopes)
        call = next(conversation)
        while True:
            if call.url:
                reply, response = await self._ask_token_service(call), None
            else:
                response = await self._request(method, url, {**headers, **call.headers}, body)
                reply = Reply(response.status, ", ".join(response.headers.getall("WWW-Authenticate", ())))
            try:
                call = conversation.send(reply)
            except StopIteration:
                if response is None:
                    raise RuntimeError("a conversation ended without its call") from None
                return response
            if response is not None:
                response.release()

    async def _ask_token_service(self, call: Call) -> Reply:
        async with self._session.request(
            call.method, call.url, headers=call.headers, data=call.body or None, allow_redirects=False
        ) as response:
            return Reply(response.status, body=await response.content.read(_MOST_ERROR_BYTES))

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None
    ) -> aiohttp.ClientResponse:
        origin = urlsplit(self._base or url)[:2]
        for _ in range(_MOST_REDIRECTS):
            sent = dict(headers)
            if urlsplit(url)[:2] != origin:
                sent.pop("Authorization", None)
            response = await self._session.request(
                method, url, headers=sent, data=body() if body else None, allow_redirects=False
            )
            location = response.headers.get("Location")
            if response.status not in {301, 302, 303, 307, 308} or location is None or method not in {"GET", "HEAD"}:
                return response
            response.release()
            url = urljoin(url, location)
        raise OCIError(f"{self.host} redirects {method} {url} more than {_MOST_REDIRECTS} times")

    async def _choose_scheme(self) -> str:
        """https where it answers as such; else http, where that is allowed."""
        async with self._choosing:
            if self._base is not None:
                return self._base
            if not self._may_use_http:
                self._base = f"https://{self.host}"
                return self._base
            failures = []
            for base in (f"https://{self.host}", f"http://{self.host}"):
                try:
                    async with self._session.get(f"{base}/v2/", allow_redirects=False):
                        self._base = base
                        return base
                except aiohttp.ClientError as error:
                    failures.append(error)
            raise self._unreachable(failures[-1]) from failures[-1]

    def _unreachable(self, error: aiohttp.ClientError) -> Unavailable:
        return Unavailable(f"cannot reach registry {self.host}: {_reason(error)}")


def is_loopback(host: str) -> bool:
    """Whether `HOST[:PORT]` is this machine, by its name or address alone."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


async def _read_error(response: aiohttp.ClientResponse) -> bytes:
    return await response.content.read(_MOST_ERROR_BYTES)


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name is not known"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return os.strerror(number).lower() if number else str(error.os_error)
    return str(error) or type(error).__name__
