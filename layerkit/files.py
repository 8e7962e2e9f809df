"""Files as every store on a disk keeps them: durable before they have their name, and read in parts.

The order of writing is always the same: write under a name of no meaning, fsync the file, rename it to its place,
fsync the folder. A crash in between leaves a file that nothing refers to, never a short one under a full name.
"""

import asyncio
import errno
import fcntl
import io
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

import msgspec

from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest, new_hash
from layerkit.oci.errors import OCIError, StorageFull
from layerkit.oci.repository import verified

if TYPE_CHECKING:
    from hashlib import _Hash

    from _typeshed import ReadableBuffer

T = TypeVar("T")
U = TypeVar("U")

BATCH: Final = 1024 * 1024
"""Bytes gathered before they cross to a thread: a hop costs about as much as hashing 200 KiB."""

_AHEAD: Final = 8 * 1024 * 1024
"""Bytes after which the kernel is told to write them to the disk: the fsync at the end has little to wait for then."""


def hand_over(fd: int, start: int, end: int) -> int:
    """Have the kernel begin to write the bytes from `start` to `end` to the disk, once they are many; the answer is
    where those begin that it has not been told of."""
    if end - start < _AHEAD:
        return start
    # What is dirty is only let go of when it is written.
    with suppress(OSError):  # it was advice
        os.posix_fadvise(fd, start, end - start, os.POSIX_FADV_DONTNEED)
    return end


class EarlyFile(io.FileIO):
    """A new file that is written in order, and is on its way to the disk meanwhile."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb")
        self._handed_over = self._end = 0

    def write(self, content: "ReadableBuffer", /) -> int:
        count = super().write(content)
        self._end += count
        self._handed_over = hand_over(self.fileno(), self._handed_over, self._end)
        return count


class Progress(msgspec.Struct):
    """What is known of a file's first `offset` bytes without reading them again."""

    digester: "_Hash"
    offset: int = 0


class HashingFile:
    """A file that grows at its end and is hashed as it grows.

    Small chunks are gathered; one batch is written and hashed in a thread while the next one comes. `fd` must be open
    for reading and writing and is closed by `close`. Errors of the disk are raised as StorageFull or OCIError, by the
    call during which they are noticed; `written` always tells how many bytes the file has.
    """

    def __init__(self, fd: int, progress: Progress, *, place: str) -> None:
        self._fd = fd
        self._place = place
        self._batch: list[bytes] = []
        self._gathered = 0
        self._hop: asyncio.Future[None] | None = None
        self.progress = progress
        self.written = self.offset = self._handed_over = os.fstat(fd).st_size

    async def append(self, chunk: bytes) -> None:
        self._batch.append(chunk)
        self._gathered += len(chunk)
        self.offset += len(chunk)
        if self._gathered >= BATCH:
            await self._flush()

    async def settle(self) -> None:
        """Return when everything appended is in the file."""
        await self._flush()
        await self._finish()

    async def publish(self, path: Path, target: Path, digest: Digest) -> Digest:
        """Rename `path`, which is this file, to `target`, durably, if its content has this digest.

        The answer is the digest that it has.
        """
        found: list[Digest] = []

        def work(expected: Digest) -> None:
            with readable_errors(self._place):
                found.append(self._digest(expected.algorithm))
                if found[0] == expected:
                    os.fsync(self._fd)
                    make_folder(target.parent)
                    path.rename(target)
                    sync_folder(target.parent)

        await self.settle()
        self._start(work, digest)
        await self._finish()
        return found[0]

    async def discard(self) -> None:
        """Drop what is not in the file yet, and wait for the thread that uses it, whether that fails or not."""
        self._batch, self._gathered = [], 0
        with suppress(OCIError):
            await self._finish()
        self._hop = None

    async def close(self) -> None:
        """Write what is left. A thread that still uses the file, because its request was cancelled, is waited for."""
        try:
            await self.settle()
        finally:
            if self._hop is None or self._hop.done():
                os.close(self._fd)
            else:
                # Not after the wait, which may be cancelled as well: nobody would ever close the file.
                self._hop.add_done_callback(lambda _: os.close(self._fd))
                await asyncio.wait([self._hop])

    async def _flush(self) -> None:
        if self._batch:
            # First: who is cancelled while a thread is still writing must not lose the batch that comes after.
            await self._finish()
            batch, self._batch, self._gathered = self._batch, [], 0
            self._start(self._write, batch)

    def _start(self, work: Callable[[T], None], argument: T) -> None:
        self._hop = asyncio.get_running_loop().run_in_executor(None, work, argument)

    async def _finish(self) -> None:
        if self._hop is not None:
            await asyncio.shield(self._hop)
            self._hop = None

    def _write(self, batch: list[bytes]) -> None:
        progress = self.progress
        is_known = progress.offset == self.written
        for chunk in batch:
            view = memoryview(chunk)
            while view:
                with readable_errors(self._place):
                    count = os.pwrite(self._fd, view, self.written)
                if is_known:
                    progress.digester.update(view[:count])
                    progress.offset += count
                self.written += count
                view = view[count:]
        self._handed_over = hand_over(self._fd, self._handed_over, self.written)

    def _digest(self, algorithm: str) -> Digest:
        progress = self.progress
        if progress.offset != self.written or progress.digester.name != algorithm:
            progress.digester, progress.offset = new_hash(algorithm), 0
            while chunk := os.pread(self._fd, BATCH, progress.offset):
                progress.digester.update(chunk)
                progress.offset += len(chunk)
        return Digest.from_hash(progress.digester)


class FileBlob(msgspec.Struct, frozen=True):
    """The BlobReader of an open file."""

    descriptor: Descriptor
    start: int
    stop: int
    file: BinaryIO

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._chunks()
        is_whole = (self.start, self.stop) == (0, self.descriptor.size)
        async for chunk in verified(chunks, self.descriptor) if is_whole else chunks:
            yield chunk

    async def _chunks(self) -> AsyncIterator[bytes]:
        self.file.seek(self.start)
        left = self.stop - self.start
        while left:
            with readable_errors(f"reading blob {self.descriptor.digest}"):
                chunk = await run_in_thread(self.file.read, min(left, BATCH))
            if not chunk:
                break
            left -= len(chunk)
            yield chunk


async def run_in_thread(function: Callable[[U], T], argument: U) -> T:
    """A call that uses an open file. Who is cancelled meanwhile still waits for its end.

    For he closes the file then: its number may be another's, and the thread would go on with that.
    """
    work = asyncio.get_running_loop().run_in_executor(None, function, argument)
    try:
        return await asyncio.shield(work)
    finally:
        if not work.done():
            await asyncio.wait([work])


def replace_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Give `path` this content, durably: readers see the old one or the new one. For callers that hold a lock.

    The file has never more rights than `mode`, less those of the umask.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make `folder`, whose parent exists, durably."""
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make what was renamed or made in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def locked_folder(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """A lock between processes, and between the threads of one: for one alone, or for all that share it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def readable_errors(place: str) -> Iterator[None]:
    """A full or failing disk as an error that names the `place` and the fix. Raises StorageFull or OCIError."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise StorageFull(f"{place} is full ({reason}): free space and try again") from error
        raise OCIError(f"{place} failed: {reason}" + (f" ({error.filename})" if error.filename else "")) from error
