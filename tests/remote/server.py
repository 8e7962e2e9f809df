"""Servers that answer as a test wants it, on a free port of this machine."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import web

from layerkit.remote.retry import Patience, Timing

ONCE = Patience(attempts=1)
"""For a client whose failures are what the test is about."""

_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """`address` is HOST:PORT, `seen` are the requests as they came: method and raw path, headers."""

    address: str
    seen: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def authorizations(self) -> list[str]:
        """What each request was sent to be let in by; empty for nothing."""
        return [headers.get("Authorization", "") for headers in self.headers]

    def calls(self) -> list[str]:
        """The requests but for the one by which the scheme is chosen."""
        return [call for call in self.seen if call != "GET /v2/"]


@dataclass
class Hurry:
    """A Timing in which nothing takes time: `waits` are the seconds that somebody wanted to wait, `now` goes on by
    them, and the chance is always the greatest."""

    now: float = 1_000_000.0
    waits: list[float] = field(default_factory=list)

    @property
    def timing(self) -> Timing:
        return Timing(clock=lambda: self.now, today=lambda: self.now, sleep=self._sleep, chance=lambda: 1.0)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@asynccontextmanager
async def run(handler: Handler, tls: ssl.SSLContext | None = None, *, port: int = 0) -> AsyncIterator[Server]:
    server = Server("")

    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        server.seen.append(f"{http.method} {http.raw_path}")
        server.headers.append(dict(http.headers))
        if http.raw_path == "/v2/":
            return web.Response()
        return await handler(http)

    # Of a body that nobody read it takes the rest for that long before it closes, and when it ends for all of it.
    runner = web.ServerRunner(web.Server(answer, lingering_time=0.5), shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        server.address = f"127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


def closed_address() -> str:
    """An address of this machine where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


@asynccontextmanager
async def run_raw(answer: bytes) -> AsyncIterator[str]:
    """A server that sends these very bytes to whoever asks, and then closes. The value is its HOST:PORT."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.read(1)
            # A handshake begins with byte 22, a request with a letter.
            if head.isalpha():
                head += await reader.readuntil(b"\r\n\r\n")
                is_ping = head.startswith(b"GET /v2/ ")
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" if is_ping else answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield _address(server)


@asynccontextmanager
async def run_proxy(targets: Mapping[str, str]) -> AsyncIterator[Server]:
    """An HTTP proxy: CONNECT leads to one of the targets, by HOST:PORT; whatever is asked in plain HTTP is `{}`."""
    proxy = Server("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target = head.split()[:2]
            proxy.seen.append(f"{method} {target}")
            fields = (line.partition(": ") for line in head.splitlines()[1:] if line)
            proxy.headers.append({name.replace("Proxy-", ""): value for name, _, value in fields})
            if method != "CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
            elif target in targets:
                there, onward = await asyncio.open_connection(*targets[target].split(":"))
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                await asyncio.gather(_pump(reader, onward), _pump(there, writer))
            else:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        proxy.address = _address(server)
        yield proxy


@asynccontextmanager
async def run_tap(address: str) -> AsyncIterator[Server]:
    """A connection to the server at `address` on which every request is seen, but for what chooses the scheme."""
    tap = Server("")

    def watch(chunk: bytes) -> None:
        # Nobody sends a request before the last one is answered: it is always the beginning of something.
        begin = _REQUEST.match(chunk)
        if begin is not None and begin[2] != b"/v2/":
            tap.seen.append(f"{begin[1].decode()} {begin[2].decode()}")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(*address.split(":"))
        await asyncio.gather(_pump(reader, onward, watch), _pump(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        tap.address = _address(server)
        yield tap


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, watch: Callable[[bytes], None] = lambda chunk: None
) -> None:
    with suppress(ConnectionError):
        while chunk := await source.read(65536):
            watch(chunk)
            sink.write(chunk)
            await sink.drain()
    sink.close()


def _address(server: asyncio.Server) -> str:
    return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
