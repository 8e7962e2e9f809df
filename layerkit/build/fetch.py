"""Fetching: what a spec names by its URL, downloaded once and kept by its SHA-256.

    fetch/sha256-<digits>   whole files, verified
    fetch/.partial-<key>    the beginning of one: of what has its SHA-256 in the spec the next build goes on with it

Who downloads holds the beginning locked, so that of builds side by side one downloads and the others wait. What is kept
is verified each time that it is used: a disk may have spoilt it.
"""

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

import msgspec

from layerkit.files import HashingFile
from layerkit.files import Progress as HashProgress
from layerkit.oci.digest import Digest, new_hash
from layerkit.oci.errors import DigestInvalid, RangeInvalid, SizeInvalid, Unavailable
from layerkit.progress import SILENT, Activity, Outcome, Progress, Running, Step, running
from layerkit.remote.retry import PATIENT, REAL, Attempts, Patience, Timing, Transient

MOST_BYTES: Final = 64 * 2**30
"""Of one file."""
_WAIT_SECONDS: Final = 0.1


class Answer(Protocol):
    """`chunks` begin at `start`: where it was asked for, or at 0 where the server gives all or nothing. `size` is that
    of the whole file, None where the server does not say. `version` changes with the file, "" where nobody knows."""

    @property
    def start(self) -> int: ...

    @property
    def size(self) -> int | None: ...

    @property
    def version(self) -> str: ...

    @property
    def chunks(self) -> AsyncIterator[bytes]: ...


OpenURL = Callable[[str, int, str], AbstractAsyncContextManager[Answer]]
"""The file at a URL, from an offset on where it still is of this version ("" for any)."""


class Fetcher(msgspec.Struct, frozen=True, kw_only=True):
    """`folder` is the user's cache; without `is_trusted` nothing in it is believed. `patience` is for failures that may
    pass."""

    folder: Path
    open_url: OpenURL
    progress: Progress = SILENT
    patience: Patience = PATIENT
    timing: Timing = REAL
    is_trusted: bool = True

    async def fetch(self, url: str, sha256: Digest | None, name: str = "") -> tuple[Path, Digest]:
        """The file, on this machine, and what it is called by its content. `name` is what its progress is told by.

        Raises DigestInvalid for content that is not of this SHA-256, and OCIError for what cannot be read.
        """
        step = Step(activity=Activity.FETCH, name=name or url.rpartition("/")[2] or url)
        with running(self.progress, step) as run:
            if sha256 is not None and self.is_trusted and await asyncio.to_thread(_is_whole, self.path(sha256), sha256):
                run.outcome = Outcome.REUSED
                return self.path(sha256), sha256
            self.folder.joinpath("fetch").mkdir(parents=True, exist_ok=True)
            # Of a file that may be another one each time nothing is gone on with.
            key = hashlib.sha256(f"{sha256} {url}".encode()).hexdigest() if sha256 else os.urandom(12).hex()
            partial = self.folder / "fetch" / f".partial-{key}"
            fd = await self._lock(partial, sha256)
            if fd is None:
                run.outcome = Outcome.REUSED
                assert sha256 is not None  # noqa: S101 - nobody else has the name of the other kind
                return self.path(sha256), sha256
            try:
                digest = await self._download(url, sha256, partial, fd, run)
            except BaseException:
                if sha256 is None:
                    _drop(partial)
                raise
            finally:
                os.close(fd)
            return self.path(digest), digest

    def path(self, digest: Digest) -> Path:
        """Where a file is kept."""
        return self.folder / "fetch" / f"{digest.algorithm}-{digest.encoded}"

    def has(self, digest: Digest, size: int) -> bool:
        """Whether a file seems to be kept; who reads it has to see for himself whether it is whole."""
        try:
            return self.is_trusted and self.path(digest).stat().st_size == size
        except OSError:
            return False

    async def _lock(self, partial: Path, sha256: Digest | None) -> int | None:
        """The beginning of the file, locked; None where another build has brought it whole meanwhile."""
        while (fd := _try_lock(partial)) is None:  # noqa: ASYNC110 - another process has it, which sends no event
            # Not in a thread that waits for the lock: nobody could cancel that.
            await asyncio.sleep(_WAIT_SECONDS)
        if sha256 is not None and self.is_trusted and await asyncio.to_thread(_is_whole, self.path(sha256), sha256):
            _drop(partial)
            os.close(fd)
            return None
        return fd

    async def _download(self, url: str, sha256: Digest | None, partial: Path, fd: int, run: Running) -> Digest:
        attempts = Attempts(self.patience, self.timing, lambda _: None)
        version = ""
        is_resumed = os.fstat(fd).st_size > 0
        while True:
            before = os.fstat(fd).st_size
            try:
                return await self._receive(url, sha256, partial, fd, version, run)
            except _Interrupted as error:
                if os.fstat(fd).st_size > before:
                    attempts.progressed()
                version = error.version
                # Without a SHA-256 only the server can say whether the rest is of the same file.
                if sha256 is None and not version:
                    os.ftruncate(fd, 0)
                await attempts.wait(error.trouble)
            except (RangeInvalid, DigestInvalid):
                # What was left of an earlier time may be to blame, so that it is tried without.
                os.ftruncate(fd, 0)
                if not is_resumed:
                    _drop(partial)
                    raise
                is_resumed = False

    async def _receive(
        self, url: str, sha256: Digest | None, partial: Path, fd: int, version: str, run: Running
    ) -> Digest:
        # A copy of its own: the lock stays with `fd`.
        file = HashingFile(os.dup(fd), HashProgress(new_hash()), place=str(self.folder))
        try:
            try:
                async with self.open_url(url, file.offset, version) as answer:
                    version = answer.version
                    if answer.start != file.offset:
                        os.ftruncate(fd, answer.start)
                        await file.close()
                        file = HashingFile(os.dup(fd), HashProgress(new_hash()), place=str(self.folder))
                    run.advance(answer.start)
                    async for chunk in answer.chunks:
                        if file.offset + len(chunk) > MOST_BYTES:
                            raise SizeInvalid(f"{url} has more than {MOST_BYTES} bytes: it is not fetched")
                        await file.append(chunk)
                        run.advance(len(chunk))
                    if answer.size is not None and file.offset != answer.size:
                        reason = f"it broke off after {file.offset} of its {answer.size} bytes"
                        raise Transient(Unavailable(f"{url}: {reason}"), reason)
            except Transient as error:
                raise _Interrupted(error, version) from error
            await file.settle()
            expected = sha256 if sha256 is not None else await asyncio.to_thread(_digest_of, fd)
            found = await file.publish(partial, self.path(expected), expected)
        finally:
            await file.close()
        if found != expected:
            raise DigestInvalid(f"{url} has another content: its sha256 is {found.encoded}, not {expected.encoded}")
        return found


class _Interrupted(Exception):
    """A failure that may pass, and the version of the file that was read until then."""

    def __init__(self, trouble: Transient, version: str) -> None:
        super().__init__(trouble.reason)
        self.trouble = trouble
        self.version = version


def _try_lock(partial: Path) -> int | None:
    """The file of this name, open and locked; None where somebody else has it."""
    fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have given it its place, or dropped it, between the two calls.
        if os.path.samestat(partial.stat(), os.fstat(fd)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


def _drop(partial: Path) -> None:
    partial.unlink(missing_ok=True)


def _digest_of(fd: int) -> Digest:
    digester = new_hash()
    offset = 0
    while content := os.pread(fd, 2**20, offset):
        digester.update(content)
        offset += len(content)
    return Digest.from_hash(digester)


def _is_whole(path: Path, digest: Digest) -> bool:
    try:
        with path.open("rb") as file:
            found = _digest_of(file.fileno())
    except FileNotFoundError:
        return False
    if found != digest:
        path.unlink(missing_ok=True)
    return found == digest
