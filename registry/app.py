"""The composition root: choose the drivers, serve, drain.

The data folder holds `version`, `registry.lock`, `registry.db`, `blobs/` and `uploads/` (docs/storage-layout.md).
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from registry.config import Address, Configuration
from registry.handlers.dispatch import Dispatcher
from registry.handlers.server import HTTPServer
from registry.local import LocalRegistry
from registry.metadata.sqlite import SQLiteDatabase
from registry.storage.filesystem import FilesystemStorage

LAYOUT_VERSION: Final = "1"


class StartError(Exception):
    """Why the registry does not start: what is wrong with which folder or address, and what to do."""


@asynccontextmanager
async def open_registry(root: Path) -> AsyncIterator[LocalRegistry]:
    """The registry whose data is in `root`, which is made where it does not exist. Raises StartError, OCIError."""
    with _own_folder(root):
        database = SQLiteDatabase(root / "registry.db")
        try:
            yield LocalRegistry(FilesystemStorage(root), database)
        finally:
            await database.close()


@asynccontextmanager
async def run_server(configuration: Configuration) -> AsyncIterator[str]:
    """Serve as long as the context lasts, and then let requests end, for `drain_seconds` at most.

    The value is the address that it listens on, `HOST:PORT`, with the port that port 0 became.
    """
    async with open_registry(configuration.root) as registry:
        server = HTTPServer(Dispatcher(registry))
        runner = web.ServerRunner(server, shutdown_timeout=configuration.drain_seconds)
        await runner.setup()
        listening = _listen(configuration.listen)
        try:
            await web.SockSite(runner, listening).start()
            yield str(Address(*listening.getsockname()[:2]))
        finally:
            await runner.cleanup()


async def serve(configuration: Configuration, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with run_server(configuration) as address:
        announce(address)
        await stop.wait()


def _listen(address: Address) -> socket.socket:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server((address.host, address.port), family=found[0][0], backlog=1024)
    except socket.gaierror as error:
        raise StartError(f"cannot listen on {address}: the name is not known") from error
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise StartError(f"cannot listen on {address}: {reason} (choose another with --listen)") from error


@contextlib.contextmanager
def _own_folder(root: Path) -> Iterator[None]:
    """Hold the lock of a data folder of our layout, which is begun where the folder is empty or missing."""
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(root / "registry.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"cannot use {root} for the registry's data: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"another registry is running on {root}: stop it, or give this one another --root"
            ) from None
        _check_version(root)
        yield
    finally:
        os.close(lock)


def _check_version(root: Path) -> None:
    path = root / "version"
    try:
        found = path.read_text().strip()
    except FileNotFoundError:
        others = sorted(entry.name for entry in root.iterdir() if entry.name != "registry.lock")
        if others:
            raise StartError(f"{root} is no data folder of a registry: it holds {others[0]!r}") from None
        path.write_text(f"{LAYOUT_VERSION}\n")
        return
    if found != LAYOUT_VERSION:
        raise StartError(f"{root} has layout version {found!r}, this registry reads {LAYOUT_VERSION}: upgrade it")
