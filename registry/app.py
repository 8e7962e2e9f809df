"""The composition root: choose the drivers, serve, drain.

One worker serves in this process. Several are processes of their own, each with a listening socket that this one
holds: a worker that dies is started again, and no connection in its queue is lost. The data folder holds `version`,
`registry.lock`, `registry.db`, `blobs/` and `uploads/` (docs/storage-layout.md); its lock is held by this process.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from layerkit.files import replace_file, sync_folder
from layerkit.oci.errors import OCIError, StorageFull
from registry.config import Address, Configuration, LogFormat, LogLevel
from registry.handlers.authorize import Entrance
from registry.handlers.dispatch import Check, Dispatcher
from registry.handlers.limits import Limits
from registry.handlers.proxies import Proxies
from registry.handlers.redirect import Redirect
from registry.handlers.server import HTTPServer
from registry.jobs.reserve import keep_reserve
from registry.jobs.schedule import repeat
from registry.jobs.uploads import expire_uploads
from registry.local import LocalRegistry
from registry.logs import RequestLog
from registry.metadata.sqlite import SQLiteDatabase
from registry.metadata.users import list_users
from registry.metrics import CONTENT_TYPE, Metrics, expose_folder
from registry.observe import Observer
from registry.storage.filesystem import FilesystemStorage
from registry.storage.reserve import Reserve
from registry.storage.secure_link import SecureLinks
from registry.tls import make_context, reload_certificate

LAYOUT_VERSION: Final = "1"
_BACKLOG: Final = 1024
_LEAST_FREE: Final = 16 * 1024 * 1024
_RESTART_SECONDS: Final = 1.0
_MOST_SECONDS_BETWEEN: Final = 3600.0
"""Two runs of a job."""
_CLOSING_SECONDS: Final = 1.0
"""For answers that are on their way out when all requests have been handled."""

logger = logging.getLogger("registry")

Announce = Callable[[str], None]


class StartError(Exception):
    """Why the registry does not start: what is wrong with which folder or address, and what to do."""


@asynccontextmanager
async def open_registry(root: Path) -> AsyncIterator[LocalRegistry]:
    """The registry whose data is in `root`, which is made where it does not exist. Raises StartError, OCIError."""
    with own_folder(root):
        async with _open_drivers(root) as drivers:
            yield drivers.registry


@asynccontextmanager
async def open_index(root: Path) -> AsyncIterator[SQLiteDatabase]:
    """The index of the data folder `root` alone, whether a registry runs on it or not. Raises StartError, OCIError."""
    if not (root / "version").exists():
        with own_folder(root):
            pass
    _check_version(root)
    with _opening(root):
        database = SQLiteDatabase(root / "registry.db")
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def run_server(configuration: Configuration, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve in this process, with one worker, as long as the context lasts; then let requests end.

    The value is the address that it listens on, `HOST:PORT`, with the port that port 0 became. The TLS `context` is
    made where the configuration has one and the caller has not.
    """
    if context is None and configuration.tls is not None:
        context = make_context(configuration.tls)
    with own_folder(configuration.root):
        async with AsyncExitStack() as stack:
            listening = listen(configuration.listen)
            stack.callback(listening.close)
            observers: list[Observer] = [_request_log(configuration)]
            if configuration.metrics is not None:
                metrics = Metrics()
                observers.append(metrics)
                await stack.enter_async_context(_serve_metrics(configuration.metrics, metrics.expose))
            await stack.enter_async_context(_run_worker(configuration, [listening], observers, context))
            yield str(Address(*listening.getsockname()[:2]))


async def serve(configuration: Configuration, announce: Announce, inherited: Sequence[socket.socket] = ()) -> None:
    """Serve until SIGTERM or SIGINT, on `inherited` sockets where there are some. SIGHUP reads the certificate again.

    Raises StartError, OCIError, DocumentError.
    """
    stop = stop_event()
    raise_file_limit()
    context = make_context(configuration.tls) if configuration.tls is not None else None
    warn_of_plain_passwords(configuration)
    await warn_of_idle_users(configuration)
    if configuration.workers == 1 and not inherited:
        _reload_at_hangup(configuration, context)
        async with run_server(configuration, context) as address:
            announce(address)
            await stop.wait()
        return
    with own_folder(configuration.root):
        async with AsyncExitStack() as stack:
            if configuration.users is not None:
                from registry.auth.setup import check_files  # noqa: PLC0415 - see _open_entrance

                check_files(configuration.users, configuration.root)
            sockets = list(inherited) or listen_for_each(configuration.listen, configuration.workers)
            folder = None
            # What is wrong with the folder is told once, and not by each worker again and again.
            async with _open_drivers(configuration.root):
                pass
            if configuration.metrics is not None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="registry-metrics-")))
                await stack.enter_async_context(_serve_metrics(configuration.metrics, partial(expose_folder, folder)))
            announce(str(Address(*sockets[0].getsockname()[:2])))
            await _supervise(configuration, sockets, folder, stop)


async def work(configuration: Configuration, sockets: Sequence[socket.socket], metrics_folder: Path | None) -> None:
    """What one of several workers does: serve on sockets that its parent holds, until SIGTERM."""
    stop = stop_event()
    context = make_context(configuration.tls) if configuration.tls is not None else None
    _reload_at_hangup(configuration, context)
    observers: list[Observer] = [_request_log(configuration)]
    async with AsyncExitStack() as stack:
        if metrics_folder is not None:
            metrics = Metrics(metrics_folder)
            observers.append(metrics)
            stack.callback(metrics.save)
        await stack.enter_async_context(_run_worker(configuration, sockets, observers, context))
        await stop.wait()


def warn_of_plain_passwords(configuration: Configuration) -> None:
    """Say so where passwords may cross a network that others can read."""
    is_ours = configuration.listen.host in {"localhost", "::1"} or configuration.listen.host.startswith("127.")
    has_tls = configuration.tls is not None or configuration.public_url.startswith("https:")
    if configuration.users is not None and not (is_ours or has_tls or configuration.trusted_proxies):
        logger.warning(
            "passwords come to %s without encryption: configure `tls`, or listen on 127.0.0.1 behind a proxy with TLS",
            configuration.listen,
        )


async def warn_of_idle_users(configuration: Configuration) -> None:
    """Say so where the registry keeps users and asks nobody for a password. Raises StartError, OCIError."""
    if configuration.users is not None or not (configuration.root / "registry.db").exists():
        return
    async with open_index(configuration.root) as index:
        if await list_users(index):
            logger.warning("there are users, but everybody may do everything: the configuration has no `auth:`")


def _reload_at_hangup(configuration: Configuration, context: ssl.SSLContext | None) -> None:
    def reload() -> None:
        if context is not None and configuration.tls is not None:
            reload_certificate(context, configuration.tls)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


def _request_log(configuration: Configuration) -> RequestLog:
    quiet = configuration.log_level in {LogLevel.WARNING, LogLevel.ERROR}
    as_json = configuration.log_format is LogFormat.JSON
    return RequestLog(sys.stderr.write, as_json=as_json, errors_alone=quiet)


def raise_file_limit() -> None:
    """Let this process, and those that it starts, have as many connections and files open as it may."""
    # The usual limit is for programs that use select(2), which can have no more: a thousand connections would be all.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def stop_event() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@dataclass(frozen=True, slots=True)
class _Drivers:
    """Of an open data folder."""

    storage: FilesystemStorage
    reserve: Reserve
    database: SQLiteDatabase
    registry: LocalRegistry
    checks: dict[str, Check]


@asynccontextmanager
async def _open_drivers(root: Path) -> AsyncIterator[_Drivers]:
    reserve = Reserve(root / "reserve")
    with _opening(root):
        storage = FilesystemStorage(root)
        try:
            database = SQLiteDatabase(root / "registry.db")
        except OCIError:
            if not reserve.give_up():
                raise
            database = SQLiteDatabase(root / "registry.db")

    async def check_index() -> None:
        await database.row("SELECT 1 FROM repositories LIMIT 1")

    async def check_store() -> None:
        found = os.statvfs(root / "uploads")
        if found.f_bavail * found.f_frsize < _LEAST_FREE:
            raise StorageFull("less than 16 MiB are free")
        if not os.access(root / "uploads", os.W_OK):
            raise StorageFull("the folder cannot be written to")

    try:
        checks: dict[str, Check] = {"index": check_index, "store": check_store}
        registry = LocalRegistry(storage, database, give_up_reserve=reserve.give_up)
        yield _Drivers(storage, reserve, database, registry, checks)
    finally:
        await database.close()


@contextlib.contextmanager
def _opening(root: Path) -> Iterator[None]:
    """Whatever keeps the data folder from being opened, with the folder and the fix. Raises StartError."""
    try:
        yield
    except (OCIError, OSError) as error:
        reason = error.message if isinstance(error, OCIError) else f"{os.strerror(error.errno or 0)} ({error.filename})"
        found = os.statvfs(root)
        free = found.f_bavail * found.f_frsize
        # SQLite has one error for all that a disk may do.
        hint = f". Only {free // 1024} KiB are free there: free space and start again" if free < _LEAST_FREE else ""
        raise StartError(f"cannot open the registry's data in {root}: {reason}{hint}") from error


@asynccontextmanager
async def _run_worker(
    configuration: Configuration,
    sockets: Sequence[socket.socket],
    observers: Sequence[Observer],
    context: ssl.SSLContext | None,
) -> AsyncIterator[None]:
    proxies = Proxies(configuration.trusted_proxies, public_url=configuration.public_url)
    async with AsyncExitStack() as stack:
        drivers = await stack.enter_async_context(_open_drivers(configuration.root))
        dispatcher = Dispatcher(
            drivers.registry,
            observers=observers,
            checks=drivers.checks,
            state=drivers.database.state,
            warnings=configuration.warnings,
            proxies=proxies,
            entrance=_open_entrance(configuration, drivers.database, proxies),
            redirect=_redirect(configuration),
            limits=Limits(requests=configuration.limits.requests, uploads=configuration.limits.uploads),
        )
        runner = web.ServerRunner(HTTPServer(dispatcher), shutdown_timeout=_CLOSING_SECONDS)
        await runner.setup()
        for job in _jobs(configuration, drivers):
            await stack.enter_async_context(job)
        sites = [web.SockSite(runner, listening, backlog=_BACKLOG, ssl_context=context) for listening in sockets]
        try:
            for site in sites:
                await site.start()
            yield
            for site in sites:
                await site.stop()
            await dispatcher.drain(configuration.drain_seconds)
        finally:
            await runner.cleanup()


def _jobs(configuration: Configuration, drivers: _Drivers) -> Iterator[AbstractAsyncContextManager[None]]:
    seconds = configuration.upload_seconds
    yield repeat(
        partial(expire_uploads, drivers.storage, seconds=seconds),
        seconds=min(seconds / 10, _MOST_SECONDS_BETWEEN),
        name="removing abandoned uploads",
    )
    yield repeat(partial(keep_reserve, drivers.reserve), seconds=_MOST_SECONDS_BETWEEN, name="keeping a reserve")


def _open_entrance(configuration: Configuration, database: SQLiteDatabase, proxies: Proxies) -> Entrance | None:
    if configuration.users is None:
        return None
    from registry.auth.setup import open_gate  # noqa: PLC0415 - its libraries take a fifth of a second to import

    gate = open_gate(configuration.users, configuration.root, database)
    return Entrance(gate, configuration.users.service, proxies)


def _redirect(configuration: Configuration) -> Redirect | None:
    found = configuration.redirect
    if found is None:
        return None
    return Redirect(SecureLinks(found.url, found.secret, found.seconds).url_of, found.clients)


async def _supervise(
    configuration: Configuration, sockets: Sequence[socket.socket], folder: Path | None, stop: asyncio.Event
) -> None:
    """Keep the workers running until `stop`, then end them all."""
    # With one socket for all (systemd's) each worker accepts from it; else each has its own.
    running: set[asyncio.subprocess.Process] = set()

    def reload() -> None:
        for worker in running:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(signal.SIGHUP)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    shares = [[sockets[n]] if len(sockets) == configuration.workers else sockets for n in range(configuration.workers)]
    async with asyncio.TaskGroup() as tasks:
        keepers = [tasks.create_task(_keep_running(configuration, share, folder, running)) for share in shares]
        await stop.wait()
        for keeper in keepers:
            keeper.cancel()


async def _keep_running(
    configuration: Configuration,
    sockets: Sequence[socket.socket],
    folder: Path | None,
    running: set[asyncio.subprocess.Process],
) -> None:
    descriptors = [listening.fileno() for listening in sockets]
    while True:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "registry.worker", str(folder or ""), *map(str, descriptors)),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=descriptors,
        )
        running.add(worker)
        try:
            # Not as an argument, which everybody on the machine can read.
            await worker.communicate(configuration.to_json().encode())
            code = await worker.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                worker.terminate()
            await worker.wait()
            raise
        finally:
            running.discard(worker)
        logger.error("worker %d ended with %d, and is started again", worker.pid, code)
        await asyncio.sleep(_RESTART_SECONDS)


@asynccontextmanager
async def _serve_metrics(address: Address, expose: Callable[[], bytes]) -> AsyncIterator[None]:
    """`GET /metrics` on a port of its own, which no client of the registry needs to reach."""

    async def answer(http: web.BaseRequest) -> web.Response:
        if http.path != "/metrics":
            return web.Response(status=404, text="see /metrics\n")
        return web.Response(body=expose(), headers={"Content-Type": CONTENT_TYPE})

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.SockSite(runner, listen(address)).start()
        logger.info("metrics on http://%s/metrics", address)
        yield
    finally:
        await runner.cleanup()


def listen(address: Address, *, is_shared: bool = False) -> socket.socket:
    """A listening socket; `is_shared` lets others listen on the same port. Raises StartError."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(
            (address.host, address.port), family=found[0][0], backlog=_BACKLOG, reuse_port=is_shared
        )
    except socket.gaierror as error:
        raise StartError(f"cannot listen on {address}: the name is not known") from error
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise StartError(f"cannot listen on {address}: {reason} (choose another with --listen)") from error


def listen_for_each(address: Address, workers: int) -> list[socket.socket]:
    """A socket for each worker, all on one port: the kernel spreads the connections. Raises StartError."""
    # Nobody else may have the port: the first one would be shared with whatever runs there under our user.
    if address.port:
        listen(address).close()
    first = listen(address, is_shared=True)
    chosen = Address(address.host, first.getsockname()[1])
    return [first, *(listen(chosen, is_shared=True) for _ in range(workers - 1))]


@contextlib.contextmanager
def own_folder(root: Path) -> Iterator[None]:
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
        with _opening(root):
            _check_version(root)
        yield
    finally:
        os.close(lock)


def _check_version(root: Path) -> None:
    path = root / "version"
    try:
        found = path.read_text().strip()
    except FileNotFoundError:
        # `.version.new` is what a crash in the midst of the first start leaves.
        ours = {"registry.lock", ".version.new"}
        others = sorted(entry.name for entry in root.iterdir() if entry.name not in ours)
        if others:
            raise StartError(f"{root} is no data folder of a registry: it holds {others[0]!r}") from None
        replace_file(path, f"{LAYOUT_VERSION}\n".encode())
        sync_folder(root.parent)
        return
    if found != LAYOUT_VERSION:
        raise StartError(f"{root} has layout version {found!r}, this registry reads {LAYOUT_VERSION}: upgrade it")
