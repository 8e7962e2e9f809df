"""The registry's own Repository: the rules, over the store of bytes and the index of rows.

Bytes before rows: a blob is durable in the store before the index mentions it. What is deleted leaves the index
first; its bytes are the collector's business.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from layerkit.files import FileBlob
from layerkit.oci.byterange import ByteRange
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import (
    BlobInUse,
    BlobUnknown,
    BlobUploadUnknown,
    ManifestBlobUnknown,
    ManifestTooLarge,
    ManifestUnknown,
    NameUnknown,
    SizeInvalid,
    StorageFull,
)
from layerkit.oci.manifest import MAX_SIZE, Manifest, required_digests
from layerkit.oci.mediatype import OCTET_STREAM
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Content, Page
from registry.metadata import blobs, manifests, repositories
from registry.metadata.database import Database, Queries, Work
from registry.storage.interface import OpenUpload, Storage, UploadKey

LEASE: Final = 24 * 60 * 60
"""Seconds for which a pusher may refer to a blob that it was told is there."""

_EVERYTHING: Final = 2**62

T = TypeVar("T")
Clock = Callable[[], float]
GiveUp = Callable[[], bool]
"""Makes room for what deleting writes, on a full disk. False where there is none to be made."""


class LocalRegistry:
    """The Registry of one store and one index."""

    def __init__(
        self, storage: Storage, database: Database, *, give_up_reserve: GiveUp = lambda: False, clock: Clock = time.time
    ) -> None:
        self._storage = storage
        self._database = database
        self._give_up_reserve = give_up_reserve
        self._clock = clock

    def repository(self, name: RepositoryName) -> "LocalRepository":
        return LocalRepository(name, self._storage, self._database, self._give_up_reserve, self._clock)

    async def list_repositories(self, *, limit: int | None = None, last: str = "") -> Page[RepositoryName]:
        names = await repositories.list_repositories(self._database, after=last, limit=_one_more(limit))
        return _page([RepositoryName(name) for name in names], limit, str)


@dataclass(frozen=True, slots=True)
class LocalRepository:
    name: RepositoryName
    _storage: Storage
    _database: Database
    _give_up_reserve: GiveUp
    _clock: Clock

    async def stat_blob(self, digest: Digest) -> Descriptor:
        size = await blobs.find_blob(self._database, self.name, digest)
        if size is None:
            raise BlobUnknown(f"blob {digest} is not in repository {self.name}")
        return Descriptor(media_type=OCTET_STREAM, digest=digest, size=size)

    def open_blob(self, digest: Digest, part: ByteRange | None = None) -> "_OpeningBlob":
        return _OpeningBlob(self, digest, part)

    async def open_file(self, digest: Digest, part: ByteRange | None) -> FileBlob:
        """What `open_blob` opens; the caller closes its file."""
        descriptor = await self.stat_blob(digest)
        start, stop = part.resolve(descriptor.size) if part else (0, descriptor.size)
        return FileBlob(descriptor, start, stop, self._storage.open(digest))

    async def stat_manifest(self, reference: Tag | Digest) -> Descriptor:
        descriptor = await manifests.find_manifest(self._database, self.name, reference)
        if descriptor is None:
            raise self._manifest_unknown(reference)
        return descriptor

    async def get_manifest(self, reference: Tag | Digest) -> Manifest:
        manifest = await manifests.read_manifest(self._database, self.name, reference)
        if manifest is None:
            raise self._manifest_unknown(reference)
        return manifest

    async def put_blob(self, descriptor: Descriptor, content: Content) -> None:
        async with self.open_upload(await self.start_upload(algorithm=descriptor.digest.algorithm)) as upload:
            async for chunk in content(0):
                if upload.offset + len(chunk) > descriptor.size:
                    await upload.cancel()
                    raise SizeInvalid(f"blob {descriptor.digest} is longer than its {descriptor.size} bytes")
                await upload.append(chunk)
            if upload.offset < descriptor.size:
                await upload.cancel()
                raise SizeInvalid(
                    f"blob {descriptor.digest} ended after {upload.offset} of its {descriptor.size} bytes"
                )
            await upload.commit(descriptor.digest)

    async def mount_blob(self, digest: Digest, source: RepositoryName | None) -> bool:
        self._storage.check_room()

        async def mount(queries: Queries) -> bool:
            if source is None:
                size = await blobs.find_blob_anywhere(queries, digest)
            else:
                size = await blobs.find_blob(queries, source, digest)
            if size is not None:
                await blobs.add_blob(queries, self.name, digest, size=size, leased_until=self._lease_end())
            return size is not None

        return await self._database.write(mount)

    async def start_upload(self, *, algorithm: str = "sha256") -> str:
        self._storage.check_room()
        # The id says which digest to take as the bytes come: it needs no row, and any worker can go on with it.
        upload = f"{algorithm}-{secrets.token_urlsafe(18)}"
        await self._storage.start(UploadKey(self.name, upload))
        return upload

    @asynccontextmanager
    async def open_upload(self, upload: str) -> AsyncIterator["LocalUpload"]:
        """As the protocol has it. Of an upload that became a blob, BlobUploadUnknown tells which in its details."""
        algorithm = "sha512" if upload.startswith("sha512-") else "sha256"
        async with AsyncExitStack() as stack:
            opening = self._storage.open_upload(UploadKey(self.name, upload), algorithm=algorithm)
            try:
                stored = await stack.enter_async_context(opening)
            except BlobUploadUnknown as error:
                ended = await blobs.find_uploaded(self._database, self.name, upload)
                raise BlobUploadUnknown(error.message, details=[{"digest": ended}] if ended else ()) from error
            yield LocalUpload(upload, stored, self)

    async def put_manifest(self, manifest: Manifest, tags: Sequence[Tag] = ()) -> None:
        if len(manifest.raw) > MAX_SIZE:
            raise ManifestTooLarge(f"the manifest has {len(manifest.raw)} bytes, {MAX_SIZE} are allowed")
        required = required_digests(manifest.document)
        self._storage.check_room()

        async def put(queries: Queries) -> None:
            now = int(self._clock())
            repository_id = await repositories.ensure_repository(queries, self.name)
            missing = await blobs.find_missing(queries, repository_id, required)
            if missing:
                raise ManifestBlobUnknown(
                    f"the manifest refers to content that repository {self.name} does not have: {', '.join(missing)}",
                    details=[{"digest": digest} for digest in missing],
                )
            manifest_id = await manifests.add_manifest(queries, repository_id, manifest, now=now)
            for tag in tags:
                await manifests.set_tag(queries, repository_id, tag, manifest_id, now=now)

        await self._database.write(put)

    async def delete_blob(self, digest: Digest) -> None:
        async def delete(queries: Queries) -> None:
            referring = await manifests.find_referring(queries, self.name, digest)
            if referring is not None:
                raise BlobInUse(
                    f"blob {digest} is needed by manifest {referring}: delete that first",
                    details=[{"manifest": referring}],
                )
            if not await blobs.remove_blob(queries, self.name, digest):
                raise BlobUnknown(f"blob {digest} is not in repository {self.name}")

        await self._free(delete)

    async def delete_manifest(self, digest: Digest) -> None:
        if not await self._free(lambda queries: manifests.remove_manifest(queries, self.name, digest)):
            raise self._manifest_unknown(digest)

    async def delete_tag(self, tag: Tag) -> None:
        if not await self._free(lambda queries: manifests.remove_tag(queries, self.name, tag)):
            raise self._manifest_unknown(tag)

    async def _free(self, work: Work[T]) -> T:
        """A write that makes room, and needs some first."""
        try:
            return await self._database.write(work)
        except StorageFull:
            if not self._give_up_reserve():
                raise
            return await self._database.write(work)

    async def list_tags(self, *, limit: int | None = None, last: str = "") -> Page[Tag]:
        tags = await manifests.list_tags(self._database, self.name, after=last, limit=_one_more(limit))
        if not tags and not await repositories.repository_exists(self._database, self.name):
            raise NameUnknown(f"repository {self.name} does not exist")
        return _page(tags, limit, str)

    async def list_referrers(
        self, digest: Digest, *, artifact_types: Sequence[str] = (), limit: int | None = None, last: str = ""
    ) -> Page[Descriptor]:
        found = await manifests.list_referrers(
            self._database, self.name, digest, artifact_types=artifact_types, after=last, limit=_one_more(limit)
        )
        return _page(found, limit, lambda descriptor: descriptor.digest)

    async def record_blob(self, digest: Digest, size: int, upload: str) -> None:
        """What `LocalUpload.commit` does once the store has the bytes."""
        until = self._lease_end()
        await self._database.write(
            lambda queries: blobs.add_blob(queries, self.name, digest, size=size, leased_until=until, upload=upload)
        )

    def _lease_end(self) -> int:
        return int(self._clock()) + LEASE

    def _manifest_unknown(self, reference: Tag | Digest) -> ManifestUnknown:
        kind = "manifest" if isinstance(reference, Digest) else "tag"
        return ManifestUnknown(f"{kind} {reference} is not in repository {self.name}")


class _OpeningBlob:
    """The context of an open blob. Written out, because that of a generator takes as long as reading a small one."""

    __slots__ = ("_blob", "_digest", "_part", "_repository")

    def __init__(self, repository: LocalRepository, digest: Digest, part: ByteRange | None) -> None:
        self._repository = repository
        self._digest = digest
        self._part = part

    async def __aenter__(self) -> FileBlob:
        self._blob = await self._repository.open_file(self._digest, self._part)
        return self._blob

    async def __aexit__(self, *_: object) -> None:
        self._blob.file.close()


@dataclass(frozen=True, slots=True)
class LocalUpload:
    id: str
    _stored: OpenUpload
    _repository: LocalRepository

    @property
    def offset(self) -> int:
        return self._stored.offset

    async def append(self, chunk: bytes) -> None:
        await self._stored.append(chunk)

    async def commit(self, digest: Digest) -> Descriptor:
        size = await self._stored.commit(digest)
        await self._repository.record_blob(digest, size, self.id)
        return Descriptor(media_type=OCTET_STREAM, digest=digest, size=size)

    async def cancel(self) -> None:
        await self._stored.cancel()


def _one_more(limit: int | None) -> int:
    """One row more than a page has tells whether another page follows."""
    return _EVERYTHING if limit is None else limit + 1


def _page(items: list[T], limit: int | None, key: Callable[[T], str]) -> Page[T]:
    if limit is None or len(items) <= limit:
        return Page(tuple(items))
    kept = tuple(items[:limit])
    return Page(kept, last=key(kept[-1]) if kept else None)
