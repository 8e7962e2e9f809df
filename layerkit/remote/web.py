"""The web: a file by its URL, from any offset, for what a spec fetches. Nobody says who he is unasked."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from yarl import URL

from layerkit import __version__
from layerkit.oci.errors import OCIError, RangeInvalid, Unavailable
from layerkit.remote.address import follow, proxy_of, show
from layerkit.remote.failure import explain, is_passing
from layerkit.remote.retry import PASSING, REAL, Transient, parse_retry_after

_MOST_REDIRECTS: Final = 10
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
_CHUNK: Final = 256 * 1024


class Answer(msgspec.Struct, frozen=True):
    """`chunks` begin at `start`: where it was asked for, or at 0 where the server gives all or nothing. `size` is that
    of the whole file, None where the server does not say. `version` changes with the file, "" where nobody knows."""

    start: int
    size: int | None
    version: str
    chunks: AsyncIterator[bytes]


@asynccontextmanager
async def open_url(
    url: str, offset: int = 0, version: str = "", *, tls: ssl.SSLContext | None = None, authorization: str = ""
) -> AsyncIterator[Answer]:
    """The file at `url`, from `offset` on where it still is of this `version` ("" for any). `authorization` is for the
    server of this URL alone, and no other that it sends us to.

    Raises Transient for what may pass, RangeInvalid where it is shorter, and OCIError for what will not pass.
    """
    headers = {"User-Agent": f"layerkit/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if version:
            headers["If-Range"] = version
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls or True),
                timeout=_TIMEOUT,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as session,
            _follow_redirects(session, url, headers, authorization) as response,
        ):
            yield _read(response, url, offset)
    except aiohttp.ClientError as error:
        reason = explain(error, urlsplit(url).netloc)
        failure = Unavailable(f"{show(url)} cannot be read: {reason}")
        if is_passing(error):
            raise Transient(failure, reason) from error
        raise failure from error
    except TimeoutError as error:
        reason = "no answer in time"
        raise Transient(Unavailable(f"{show(url)} cannot be read: {reason}"), reason) from error


@asynccontextmanager
async def _follow_redirects(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str], authorization: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    asked = url
    origin = URL(url, encoded=True).origin() if authorization else None
    for _ in range(_MOST_REDIRECTS + 1):
        try:
            address = URL(url, encoded=True)
            said = {"Authorization": authorization} if authorization and address.origin() == origin else {}
            async with session.get(
                address, headers={**headers, **said}, proxy=proxy_of(url), allow_redirects=False
            ) as response:
                location = response.headers.get("Location")
                if response.status not in {301, 302, 303, 307, 308} or location is None:
                    yield response
                    return
        except ValueError as error:
            if isinstance(error, aiohttp.ClientError):
                raise
            raise OCIError(f"{show(asked)} cannot be read: {url} is no URL: {error}") from error
        target = follow(url, location)
        if urlsplit(target).scheme not in {"http", "https"} or (
            url.startswith("https:") and target.startswith("http:")
        ):
            raise OCIError(f"{show(asked)} sends us to {show(target)}: refused, because it is not https")
        url = target
    raise OCIError(f"{show(asked)} leads through more than {_MOST_REDIRECTS} redirects")


def _read(response: aiohttp.ClientResponse, url: str, offset: int) -> Answer:
    status = response.status
    version = response.headers.get("ETag", "")
    if version.startswith("W/"):
        # A weak one says nothing of the bytes (RFC 9110, section 8.8.1).
        version = ""
    chunks = response.content.iter_chunked(_CHUNK)
    if status == 200:
        return Answer(0, response.content_length, version, chunks)
    if status == 206 and (found := _parse_range(response.headers.get("Content-Range", ""))) is not None:
        start, size = found
        if start == offset:
            return Answer(start, size, version, chunks)
        raise OCIError(f"{show(url)} answers with another part than the one that was asked for")
    if status == 416:
        raise RangeInvalid(f"{show(url)} has no part that begins at byte {offset}")
    reason = f"HTTP status {status}, {response.reason or 'without a reason'}"
    if status in PASSING:
        after = parse_retry_after(response.headers.get("Retry-After"), REAL.today())
        raise Transient(Unavailable(f"{show(url)} answers with {reason}"), reason, after)
    raise OCIError(f"{show(url)} answers with {reason}")


def _parse_range(header: str) -> tuple[int, int | None] | None:
    """First byte and size of `bytes 5-9/10` (RFC 9110, section 14.4)."""
    unit, _, rest = header.partition(" ")
    part, slash, size = rest.partition("/")
    first = part.partition("-")[0]
    if unit.lower() != "bytes" or not slash or not first.isdecimal() or len(first) > 18:
        return None
    return int(first), int(size) if size.isdecimal() and len(size) <= 18 else None
