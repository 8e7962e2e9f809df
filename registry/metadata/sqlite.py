"""The embedded index: SQLite in WAL mode, durable at every commit.

Reads run where they are called: a point read takes less time than a hop to a thread. Writes go through one thread,
which commits all that has queued up together: one fsync for many pushes. SQLite is apsw's own, because versions
before 3.51.3 can corrupt a WAL database when a checkpoint and a commit race (https://sqlite.org/wal.html).
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, cast

import apsw

from layerkit.oci.errors import OCIError, StorageFull, Unavailable
from registry.metadata.database import Queries, Row, T, Work
from registry.onestep import run_through

MINIMUM_SQLITE: Final = 3_051_003
_BUSY_MILLISECONDS: Final = 10_000
_MOST_IN_ONE_COMMIT: Final = 64

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    future: "asyncio.Future[Any]"
    result: Any = None
    error: BaseException | None = None


class _Connection:
    """Queries on one connection; nothing in them ever waits, so a coroutine of them runs through in one step."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    async def rows(self, sql: str, *values: object) -> list[Row]:
        # Not as a context manager: at ten microseconds a read its generator would show.
        try:
            return cast("list[Row]", list(self._connection.execute(sql, cast("Any", values))))
        except apsw.Error as error:
            raise _readable(error) from error

    async def row(self, sql: str, *values: object) -> Row | None:
        try:
            rows = list(self._connection.execute(sql, cast("Any", values)))
        except apsw.Error as error:
            raise _readable(error) from error
        return cast("Row", rows[0]) if rows else None


class SQLiteDatabase(_Connection):
    """`path` is made when it does not exist. Belongs to the event loop in which it is opened."""

    def __init__(self, path: Path) -> None:
        if apsw.SQLITE_VERSION_NUMBER < MINIMUM_SQLITE:
            raise Unavailable(f"SQLite {apsw.sqlite_lib_version()} can corrupt its database: install apsw >= 3.54")
        try:
            self._writer = _connect(path)
            _migrate(self._writer)
            reader = _connect(path)
        except apsw.Error as error:
            raise _explain(error) from error
        super().__init__(reader)
        self._reader = reader
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    async def write(self, work: Work[T]) -> T:
        job = _Job(work, asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        # A cancelled request does not take its transaction back: wait for the answer in any case.
        return cast("T", await asyncio.shield(job.future))

    def state(self) -> int:
        """Another number after each transaction that changed something, of this process or another."""
        try:
            return int(cast("Any", self._reader.execute("PRAGMA data_version").fetchone())[0])
        except apsw.Error as error:
            raise _readable(error) from error

    async def close(self) -> None:
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._writer.close()
        self._reader.close()

    def _run(self) -> None:
        queries = _Connection(self._writer)
        while (job := self._jobs.get()) is not None:
            batch = [job]
            ending = False
            with contextlib.suppress(queue.Empty):
                while len(batch) < _MOST_IN_ONE_COMMIT:
                    following = self._jobs.get_nowait()
                    if following is None:
                        ending = True
                        break
                    batch.append(following)
            self._commit(batch, queries)
            if ending:
                return

    def _commit(self, batch: list[_Job], queries: Queries) -> None:
        try:
            with _readable_errors():
                self._writer.execute("BEGIN IMMEDIATE")
                for job in batch:
                    self._attempt(job, queries)
                self._writer.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
            for job in batch:
                job.error = job.error or error
        finally:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        for job in batch:
            loop = job.future.get_loop()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, job)

    def _attempt(self, job: _Job, queries: Queries) -> None:
        """One job; what it did is undone where it fails, and the others of the batch go on."""
        self._writer.execute("SAVEPOINT job")
        try:
            job.result = run_through(cast("Coroutine[Any, Any, Any]", job.work(queries)))
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
            job.error = error
            self._writer.execute("ROLLBACK TO job")
        self._writer.execute("RELEASE job")


def _settle(job: _Job) -> None:
    if job.future.cancelled():
        return
    if job.error is not None:
        job.future.set_exception(job.error)
    else:
        job.future.set_result(job.result)


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), statementcachesize=200)
    connection.set_busy_timeout(_BUSY_MILLISECONDS)
    # Else each statement would be planned anew for each value that it is given, which takes longer than to run it.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY", "cache_size=-16000"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _migrate(connection: apsw.Connection) -> None:
    """Bring the schema up to date: each numbered file once, in order, in one transaction."""
    # The lock comes first: several workers may start on a new folder at once.
    connection.execute("BEGIN IMMEDIATE")
    try:
        row = connection.execute("PRAGMA user_version").fetchone()
        version = int(cast("Any", row)[0])
        steps = sorted(files("registry.metadata").joinpath("schema").iterdir(), key=lambda step: step.name)
        if version > len(steps):
            raise Unavailable(
                f"the index has schema {version}, made by a newer version of the registry: upgrade this one"
            )
        for step in steps[version:]:
            connection.execute(step.read_text())
        connection.execute(f"PRAGMA user_version={len(steps)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise _readable(error) from error


def _readable(error: apsw.Error) -> Exception:
    """What a client may read of a failure of the index, and the log all of it; a mistake of ours stays what it is."""
    explained = _explain(error)
    if type(explained) is OCIError:
        logger.error("the index failed", exc_info=error)
    return explained


def _explain(error: apsw.Error) -> Exception:
    match error:
        case apsw.FullError():
            return StorageFull("the registry's index is full (no space left on device): free space and try again")
        case apsw.BusyError() | apsw.LockedError():
            return Unavailable("the registry's index is busy: try again")
        case apsw.IOError() | apsw.CorruptError() | apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.NotADBError():
            return OCIError(f"the registry's index failed: {error}")
        case _:
            return error
