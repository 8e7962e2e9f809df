"""The store in a folder of a local file system.

    blobs/<algorithm>/<first two digits>/<digits>    content, one copy for all repositories
    uploads/<repository hash>-<id>                   an unfinished upload; its size is its offset

Source: docs/storage-layout.md.
"""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

from layerkit.files import HashingFile, Progress, make_folder, readable_errors
from layerkit.oci.digest import ALGORITHMS, Digest, new_hash
from layerkit.oci.errors import BlobUnknown, BlobUploadInvalid, BlobUploadUnknown, DigestInvalid
from registry.storage.interface import StoredBlob, UploadKey

_PLACE: Final = "the registry's store"
_RESERVE: Final = 16 * 1024 * 1024
"""Bytes that pushes leave free, because what deletes and collects writes to the index first."""

_REMEMBERED_UPLOADS: Final = 1024
_UPLOAD_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class FilesystemStorage:
    """`root` must exist. Blocking work crosses to a thread once for each MiB and once for each commit."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._blobs_text = str(self._blobs)
        self._uploads = root / "uploads"
        # Hash states of uploads between two requests; the oldest is forgotten first.
        self._progress: OrderedDict[Path, Progress] = OrderedDict()
        with readable_errors(_PLACE):
            for folder in (self._blobs, self._uploads, *(self._blobs / algorithm for algorithm in ALGORITHMS)):
                make_folder(folder)

    async def start(self, key: UploadKey) -> None:
        with readable_errors(_PLACE):
            os.close(os.open(self._upload_path(key), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    @asynccontextmanager
    async def open_upload(self, key: UploadKey, *, algorithm: str = "sha256") -> AsyncIterator["_FileUpload"]:
        path = self._upload_path(key)
        fd = _open_locked(path, key)
        file = HashingFile(fd, self._recall(path, os.fstat(fd).st_size, algorithm), place=_PLACE)
        upload = _FileUpload(self, path, file)
        try:
            yield upload
        finally:
            try:
                await file.close()
            finally:
                if not upload.ended:
                    self._remember(path, file.progress)

    def open(self, digest: Digest) -> BinaryIO:
        try:
            # Not by way of a Path: for a small blob these are among the dearest steps.
            return open(f"{self._blobs_text}/{_place_of(digest)}", "rb", buffering=0)  # noqa: PTH123 - the caller closes it
        except FileNotFoundError:
            raise BlobUnknown(f"blob {digest} is missing from the store") from None

    async def stat(self, digest: Digest) -> StoredBlob:
        try:
            status = self.path_of(digest).stat()
        except FileNotFoundError:
            raise BlobUnknown(f"blob {digest} is missing from the store") from None
        return StoredBlob(digest, status.st_size, status.st_mtime)

    async def delete(self, digest: Digest) -> None:
        with readable_errors(_PLACE):
            self.path_of(digest).unlink(missing_ok=True)

    async def list(self) -> AsyncIterator[StoredBlob]:
        for algorithm in ALGORITHMS:
            for folder in sorted((self._blobs / algorithm).iterdir()):
                for entry in await asyncio.to_thread(_scan, folder):
                    status = entry.stat()
                    yield StoredBlob(Digest(f"{algorithm}:{entry.name}"), status.st_size, status.st_mtime)

    async def expire_uploads(self, before: float) -> int:
        return await asyncio.to_thread(self._expire_uploads, before)

    def _expire_uploads(self, before: float) -> int:
        removed = 0
        with readable_errors(_PLACE):
            for entry in _scan(self._uploads):
                with contextlib.suppress(FileNotFoundError, BlockingIOError):
                    removed += entry.stat().st_mtime < before and _remove_abandoned(self._uploads / entry.name, before)
        return removed

    def check_room(self) -> None:
        """As the protocol has it."""
        with readable_errors(_PLACE):
            found = os.statvfs(self._uploads)
            if found.f_bavail * found.f_frsize < _RESERVE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def path_of(self, digest: Digest) -> Path:
        return self._blobs / _place_of(digest)

    def _upload_path(self, key: UploadKey) -> Path:
        if not _UPLOAD_ID.match(key.id):
            raise BlobUploadUnknown(f"no upload {key.id[:64]!r} in {key.repository}")
        owner = hashlib.blake2b(key.repository.encode(), digest_size=8).hexdigest()
        return self._uploads / f"{owner}-{key.id}"

    def _recall(self, path: Path, size: int, algorithm: str) -> Progress:
        progress = self._progress.pop(path, None)
        if progress is not None and progress.offset == size:
            return progress
        # Another worker, or an earlier life of the server, wrote these bytes: commit will read them again.
        return Progress(new_hash(algorithm))

    def _remember(self, path: Path, progress: Progress) -> None:
        self._progress[path] = progress
        while len(self._progress) > _REMEMBERED_UPLOADS:
            self._progress.popitem(last=False)


class _FileUpload:
    def __init__(self, storage: FilesystemStorage, path: Path, file: HashingFile) -> None:
        self._storage = storage
        self._path = path
        self._file = file
        self.ended = False

    @property
    def offset(self) -> int:
        return self._file.offset

    async def append(self, chunk: bytes) -> None:
        self._storage.check_room()
        await self._file.append(chunk)

    async def commit(self, digest: Digest) -> int:
        # A blob that is there already is replaced: these bytes are verified, and heal it if it was damaged.
        found = await self._file.publish(self._path, self._storage.path_of(digest), digest)
        if found != digest:
            await self.cancel()
            raise DigestInvalid(f"the {self._file.written} bytes uploaded have the digest {found}, not {digest}")
        self.ended = True
        return self._file.written

    async def cancel(self) -> None:
        await self._file.settle()
        self.ended = True
        with readable_errors(_PLACE):
            self._path.unlink(missing_ok=True)


def _place_of(digest: Digest) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}/{encoded[:2]}/{encoded}"


def _open_locked(path: Path, key: UploadKey) -> int:
    """A lock of the kernel also holds against another worker, and goes with a killed one."""
    gone = BlobUploadUnknown(f"no upload {key.id} in {key.repository}: it ended, expired or never began")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise gone from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise BlobUploadInvalid(f"upload {key.id} is being written by another request: wait for its end") from None
    if not _is_same_file(fd, path):
        # Committed or cancelled between the two calls.
        os.close(fd)
        raise gone
    return fd


def _remove_abandoned(path: Path, before: float) -> bool:
    """Under the upload's lock: it may have been gone on with just now. Raises BlockingIOError where it is open."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_mtime >= before or not _is_same_file(fd, path):
            return False
        path.unlink()
    finally:
        os.close(fd)
    return True


def _is_same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
