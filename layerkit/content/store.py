"""The local store: a layout, and blobs that are known to be elsewhere.

    remote/<algorithm>/<digits>   JSON: size and type of a blob, and the repositories of registries that have it
    leases/<number>               what a process that is at work counts on (`content/lease.py`)
    blobs/.remote-<digest>        the beginning of a blob that is on its way here

A base's layers stay where they are: the store notes their origin, and has them for everyone who asks. A push to the
registry that they are of mounts them from there (`origin_of`); whoever reads one gets it brought here first, once,
however many ask. What was brought until a connection broke is not brought again.
"""

import asyncio
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from layerkit.content.layout import Layout
from layerkit.content.lease import Lease
from layerkit.files import HashingFile, Progress, make_folder, readable_errors, replace_file
from layerkit.oci.byterange import ByteRange
from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.descriptor import Descriptor, Size
from layerkit.oci.digest import Digest, new_hash
from layerkit.oci.errors import BlobUnknown, DigestInvalid, OCIError, RangeInvalid, SizeInvalid, Unsupported
from layerkit.oci.reference import Reference, parse_reference
from layerkit.oci.repository import OpenRegistry, Reader

_MOST_ORIGINS: Final = 8
_WAIT_SECONDS: Final = 0.1


class _Note(msgspec.Struct, frozen=True, rename="camel"):
    """`names` are repositories with their registry, the one that was noted last first."""

    size: Size
    media_type: str
    names: tuple[str, ...]


class Store(Layout):
    """`open_registry` reaches the registry of a reference, to bring what is there."""

    def __init__(self, root: Path, open_registry: OpenRegistry, *, create: bool = False) -> None:
        super().__init__(root, create=create)
        self._open_registry = open_registry
        self._lease = Lease(root)

    async def note_origin(self, descriptor: Descriptor, reference: Reference) -> None:
        """Know, durably, that the repository of `reference` has this blob, whether the store has it or not."""
        await asyncio.to_thread(self._note, descriptor, reference.name)

    def origin_of(self, digest: Digest, *, domain: str = "") -> Reference | None:
        """A repository that has this blob, of the registry `domain` if that is given; None where none is known."""
        note = self._read_note(digest)
        for name in note.names if note else ():
            reference = _parse(name)
            if reference is not None and domain in {"", reference.domain}:
                return reference
        return None

    def is_here(self, digest: Digest) -> bool:
        """Whether the store has the blob itself."""
        self.hold([digest])
        return super().size_of(digest) is not None

    def hold(self, digests: Iterable[Digest]) -> None:
        self._lease.add(digests)

    def release(self) -> None:
        """Count on nothing any more: what this process wrote or found, and nothing refers to, may be freed."""
        self._lease.release()

    def size_of(self, digest: Digest) -> int | None:
        self.hold([digest])
        size = super().size_of(digest)
        if size is None and (note := self._read_note(digest)) is not None:
            return note.size
        return size

    def remove(self, digest: Digest) -> None:
        super().remove(digest)
        with readable_errors(str(self.root)):
            self.note_path_of(digest).unlink(missing_ok=True)
            self.partial_path_of(digest).unlink(missing_ok=True)

    async def bring(self, digest: Digest) -> None:
        while (note := self._read_note(digest)) is not None and not self.is_here(digest):
            fd = self._lock_partial(digest)
            if fd is None:
                # Not in a thread that waits for the lock: nobody could cancel that.
                await asyncio.sleep(_WAIT_SECONDS)
                continue
            try:
                if self.is_here(digest):
                    # Whoever was at it ended between the two looks.
                    self.partial_path_of(digest).unlink(missing_ok=True)
                else:
                    descriptor = Descriptor(media_type=note.media_type, digest=digest, size=note.size)
                    await self._bring(descriptor, note.names, fd)
            finally:
                os.close(fd)

    def note_path_of(self, digest: Digest) -> Path:
        return self.root / "remote" / digest.algorithm / digest.encoded

    def partial_path_of(self, digest: Digest) -> Path:
        return self.root / "blobs" / f".remote-{digest.algorithm}-{digest.encoded}"

    def _note(self, descriptor: Descriptor, name: str) -> None:
        path = self.note_path_of(descriptor.digest)
        self.hold([descriptor.digest])
        with readable_errors(str(self.root)), self.locked():
            known = self._read_note(descriptor.digest)
            others = [other for other in (known.names if known else ()) if other != name]
            note = _Note(size=descriptor.size, media_type=descriptor.media_type, names=(name, *others)[:_MOST_ORIGINS])
            if note != known:
                make_folder(path.parent.parent)
                make_folder(path.parent)
                replace_file(path, encode_json(note))

    def _read_note(self, digest: Digest) -> _Note | None:
        with readable_errors(str(self.root)):
            try:
                return decode_json(self.note_path_of(digest).read_bytes(), _Note)
            except (FileNotFoundError, ValueError):
                # One that cannot be read says nothing: the blob counts as absent, and is brought with its image again.
                return None

    def _lock_partial(self, digest: Digest) -> int | None:
        """The file that the blob is brought into, open and locked; None where somebody else is at it."""
        path = self.partial_path_of(digest)
        with readable_errors(str(self.root)):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, fd):
                return fd
        except BlockingIOError:
            pass
        os.close(fd)
        return None

    async def _bring(self, descriptor: Descriptor, names: Iterable[str], fd: int) -> None:
        failures: list[OCIError] = []
        for name in names:
            reference = _parse(name)
            if reference is None:
                continue
            try:
                async with self._open_registry(reference) as registry:
                    await self._receive(descriptor, registry.repository(reference.path), fd)
            except BlobUnknown:
                failures.append(BlobUnknown(f"blob {descriptor.digest} is gone from {name}: pull its image again"))
            except OCIError as error:
                failures.append(error)
            else:
                return
        raise failures[0] if failures else self.blob_unknown(descriptor.digest)

    async def _receive(self, descriptor: Descriptor, source: Reader, fd: int) -> None:
        while True:
            is_resumed = 0 < os.fstat(fd).st_size <= descriptor.size
            if not is_resumed:
                os.ftruncate(fd, 0)
            try:
                await self._append(descriptor, source, fd)
            except (DigestInvalid, SizeInvalid, RangeInvalid, Unsupported):
                # Of no use to anybody. What was left of an earlier time may be to blame, so that is tried without.
                os.ftruncate(fd, 0)
                if not is_resumed:
                    raise
            else:
                return

    async def _append(self, descriptor: Descriptor, source: Reader, fd: int) -> None:
        digest, size = descriptor.digest, descriptor.size
        # A copy of its own: the lock stays with `fd`.
        file = HashingFile(os.dup(fd), Progress(new_hash(digest.algorithm)), place=str(self.root))
        try:
            if file.offset < size:
                part = ByteRange(file.offset) if file.offset else None
                async with source.open_blob(digest, part) as blob:
                    async for chunk in blob:
                        if file.offset + len(chunk) > size:
                            raise SizeInvalid(f"blob {digest} is longer than its {size} bytes")
                        await file.append(chunk)
            if file.offset != size:
                raise SizeInvalid(f"blob {digest} ended after {file.offset} of its {size} bytes")
            found = await file.publish(self.partial_path_of(digest), self.path_of(digest), digest)
        finally:
            await file.close()
        if found != digest:
            raise DigestInvalid(f"blob {digest} is damaged: its content has {found}")


def _is_still(path: Path, fd: int) -> bool:
    """Whether `fd` is the file that has this name now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _parse(name: str) -> Reference | None:
    try:
        return parse_reference(name)
    except OCIError:
        return None
