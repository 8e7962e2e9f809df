"""One registry's connections: which scheme, which token, which redirect, and what an error means.

https comes first; plain http only for loopback addresses or where it was asked for. Authorization goes to the
registry and to its token service, never to another host that it redirects to, and what another host asks for is not
answered.
"""

import asyncio
import ipaddress
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from layerkit import __version__
from layerkit.oci.digest import shorten
from layerkit.oci.errors import OCIError, Unavailable, decode_error
from layerkit.oci.request import Request, build_url, scopes_of
from layerkit.oci.scope import Scope
from layerkit.remote.auth import Authenticator, Call, Credentials, Reply

Body = Callable[[], AsyncIterator[bytes]]
"""A request's body, which can be begun again."""

_MOST_SMALL_BYTES: Final = 64 * 1024
_MOST_REDIRECTS: Final = 5
_PORTS: Final = {"http": 80, "https": 443}
_URL_CHARACTERS: Final = re.compile(r"[!-~]+\Z")
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
    # No limit: whoever copies holds one connection for reading and waits for one for writing, so that copies which
    # share a limit could wait for each other for ever. They limit themselves (transfer.BLOBS_AT_ONCE).
    connector = aiohttp.TCPConnector(limit=0, ssl=connection.tls or True)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=_TIMEOUT,
        auto_decompress=False,
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
        self._authenticating = asyncio.Lock()
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

        `scopes` are those of a URL, or what a call needs beside its own. Raises the OCIError that any other status
        stands for, and Unavailable where the registry cannot be reached.
        """
        base = self._base or await self._choose_scheme()
        url = follow(base, target if isinstance(target, str) else build_url(target))
        if not isinstance(target, str):
            scopes |= frozenset(scopes_of(target))
        try:
            response = await self._converse(method, url, scopes, headers or {}, body)
            async with response:
                if response.status not in expected:
                    context = f"{method} {url}"
                    raise decode_error(response.status, await _read_start(response), context=context)
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
            response = await self._request(method, url, {**headers, **call.headers}, body)
            if not self._is_ours(str(response.url)):
                # What another host asks for is not ours to give: its token service could be anybody.
                return response
            reply = Reply(response.status, ", ".join(response.headers.getall("WWW-Authenticate", ())))
            try:
                # One at a time: the token that the first one gets is good for those behind it.
                async with self._authenticating if reply.status == 401 else nullcontext():
                    call = conversation.send(reply)
                    while call.url:
                        call = conversation.send(await self._ask_token_service(call))
            except StopIteration:
                return response
            except BaseException:
                response.release()
                raise
            response.release()

    async def _ask_token_service(self, call: Call) -> Reply:
        async with await self._ask(call.method, call.url, call.headers, call.body or None) as response:
            return Reply(response.status, body=await _read_start(response))

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None
    ) -> aiohttp.ClientResponse:
        asked = url
        for _ in range(_MOST_REDIRECTS + 1):
            sent = dict(headers)
            if not self._is_ours(url):
                sent.pop("Authorization", None)
            response = await self._ask(method, url, sent, body() if body else None)
            location = response.headers.get("Location")
            if response.status not in {301, 302, 303, 307, 308} or location is None or method not in {"GET", "HEAD"}:
                return response
            response.release()
            url = follow(url, location)
        raise OCIError(f"{self.host} redirects {method} {asked} more than {_MOST_REDIRECTS} times")

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: AsyncIterator[bytes] | bytes | None
    ) -> aiohttp.ClientResponse:
        """One request, whoever it goes to."""
        if urlsplit(url).scheme == "http" and not self._may_use_http:
            raise OCIError(f"{self.host} sends us to {url}: refused, because it is not https")
        try:
            # As it is, where it can be: a signature may be of these very characters.
            address = URL(url, encoded=_URL_CHARACTERS.match(url) is not None)
            return await self._session.request(
                method, address, headers=headers, data=body, proxy=_proxy_for(url), allow_redirects=False
            )
        except aiohttp.ClientConnectionError:
            # Some are ValueErrors as well: a certificate that is not trusted.
            raise
        except ValueError as error:
            raise OCIError(f"{self.host}: {method} {url} cannot be sent: {error}") from error

    def _is_ours(self, url: str) -> bool:
        """Whether the registry itself answers there: the same scheme, host and port."""
        return _origin(url) == _origin(self._base or url)

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
                    async with await self._ask("GET", f"{base}/v2/", {}, None):
                        self._base = base
                        return base
                except aiohttp.ClientConnectorCertificateError as error:
                    # Who speaks TLS is not asked again without it.
                    raise self._unreachable(error) from error
                except aiohttp.ClientError as error:
                    failures.append(error)
            raise self._unreachable(failures[-1]) from failures[-1]

    def _unreachable(self, error: aiohttp.ClientError) -> Unavailable:
        registry = urlsplit(f"//{self.host}")
        elsewhere = ""
        if isinstance(error, aiohttp.ClientConnectorError) and (
            error.host != registry.hostname or registry.port not in (None, error.port)
        ):
            elsewhere = f"{error.host}:{error.port} for "
        return Unavailable(f"cannot reach {elsewhere}registry {self.host}: {_reason(error)}")


def is_loopback(host: str) -> bool:
    """Whether `HOST[:PORT]` is this machine, by its name or address alone."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def follow(url: str, target: str) -> str:
    """The absolute URL of a target that the answer from `url` named. Raises OCIError where that is no URL."""
    try:
        absolute = urljoin(url, target)
        _origin(absolute)
    except ValueError as error:
        raise OCIError(f"{url} refers to {shorten(target)}, which is no URL: {error}") from error
    return absolute


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _proxy_for(url: str) -> str | None:
    """What HTTPS_PROXY, HTTP_PROXY and NO_PROXY say; nobody else reaches this machine for us (as Go's clients do)."""
    parts = urlsplit(url)
    if is_loopback(parts.netloc) or proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


async def _read_start(response: aiohttp.ClientResponse) -> bytes:
    """The body, of which no more than the first 64 KiB are of interest."""
    start = b""
    while len(start) < _MOST_SMALL_BYTES and (chunk := await response.content.read(_MOST_SMALL_BYTES - len(start))):
        start += chunk
    return start


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return (
            f"its certificate is not trusted ({error.certificate_error}): "
            "let SSL_CERT_FILE name the certificate of who signed it"
        )
    if isinstance(error, aiohttp.ClientHttpProxyError):
        # Not its own words: they have the proxy's URL, and that may have a password.
        return f"the proxy answers with HTTP status {error.status}, {error.message}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name is not known"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        # Its errno is one of OpenSSL's.
        return f"it does not speak TLS ({error.os_error}): plain HTTP must be allowed (--insecure)"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return os.strerror(number).lower() if number else str(error.os_error)
    return str(error) or type(error).__name__
