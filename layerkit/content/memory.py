"""A Repository in memory: what a build keeps for a moment, and the plainest reading of the protocol."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from layerkit.oci.byterange import ByteRange
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import (
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestUnknown,
    NameUnknown,
)
from layerkit.oci.manifest import Manifest, required_digests
from layerkit.oci.mediatype import OCTET_STREAM
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Content, Page, page_of, verified


@dataclass(slots=True)
class _Contents:
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    tags: dict[Tag, Digest] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    open_uploads: set[str] = field(default_factory=set)


class MemoryRegistry:
    def __init__(self) -> None:
        self._contents: dict[RepositoryName, _Contents] = {}

    def repository(self, name: RepositoryName) -> "MemoryRepository":
        return MemoryRepository(name, self._contents)

    async def list_repositories(self, *, limit: int | None = None, last: str = "") -> Page[RepositoryName]:
        return page_of(
            [name for name, contents in self._contents.items() if contents.manifests], limit=limit, last=last
        )


@dataclass(frozen=True, slots=True)
class MemoryRepository:
    name: RepositoryName
    _all: dict[RepositoryName, _Contents]

    @property
    def _contents(self) -> _Contents:
        return self._all.get(self.name) or _Contents()

    def _make(self) -> _Contents:
        return self._all.setdefault(self.name, _Contents())

    async def stat_blob(self, digest: Digest) -> Descriptor:
        content = self._contents.blobs.get(digest)
        if content is None:
            raise BlobUnknown(f"blob {digest} is not in repository {self.name}")
        return Descriptor(media_type=OCTET_STREAM, digest=digest, size=len(content))

    @asynccontextmanager
    async def open_blob(self, digest: Digest, part: ByteRange | None = None) -> AsyncIterator["MemoryBlob"]:
        descriptor = await self.stat_blob(digest)
        start, stop = part.resolve(descriptor.size) if part else (0, descriptor.size)
        yield MemoryBlob(descriptor, start, stop, self._contents.blobs[digest])

    async def stat_manifest(self, reference: Tag | Digest) -> Descriptor:
        return (await self.get_manifest(reference)).descriptor

    async def get_manifest(self, reference: Tag | Digest) -> Manifest:
        contents = self._contents
        digest = reference if isinstance(reference, Digest) else contents.tags.get(reference)
        manifest = contents.manifests.get(digest) if digest else None
        if manifest is None:
            raise ManifestUnknown(f"manifest {reference} is not in repository {self.name}")
        return manifest

    async def put_blob(self, descriptor: Descriptor, content: Content) -> None:
        parts = [chunk async for chunk in verified(content(0), descriptor)]
        self._make().blobs[descriptor.digest] = b"".join(parts)

    async def mount_blob(self, digest: Digest, source: RepositoryName | None) -> bool:
        names = list(self._all) if source is None else [source]
        for name in names:
            contents = self._all.get(name)
            if contents is not None and digest in contents.blobs:
                self._make().blobs[digest] = contents.blobs[digest]
                return True
        return False

    async def start_upload(self, *, algorithm: str = "sha256") -> str:
        upload = f"{algorithm}-{secrets.token_urlsafe(12)}"
        self._make().uploads[upload] = bytearray()
        return upload

    @asynccontextmanager
    async def open_upload(self, upload: str) -> AsyncIterator["MemoryUpload"]:
        contents = self._contents
        if upload not in contents.uploads:
            raise BlobUploadUnknown(f"no upload {upload} in {self.name}: it ended or never began")
        if upload in contents.open_uploads:
            raise BlobUploadInvalid(f"upload {upload} is being written by another request: wait for its end")
        contents.open_uploads.add(upload)
        try:
            yield MemoryUpload(upload, contents)
        finally:
            contents.open_uploads.discard(upload)

    async def put_manifest(self, manifest: Manifest, tags: Sequence[Tag] = ()) -> None:
        contents = self._contents
        required = required_digests(manifest.document)
        missing = [digest for digest in required if digest not in contents.blobs and digest not in contents.manifests]
        if missing:
            raise ManifestBlobUnknown(
                f"the manifest refers to content that repository {self.name} does not have: {', '.join(missing)}",
                details=[{"digest": digest} for digest in missing],
            )
        contents = self._make()
        contents.manifests[manifest.digest] = manifest
        contents.tags.update(dict.fromkeys(tags, manifest.digest))

    async def delete_blob(self, digest: Digest) -> None:
        contents = self._contents
        for manifest in contents.manifests.values():
            if digest in required_digests(manifest.document):
                raise Denied(f"blob {digest} is needed by manifest {manifest.digest}: delete that first")
        if contents.blobs.pop(digest, None) is None:
            raise BlobUnknown(f"blob {digest} is not in repository {self.name}")

    async def delete_manifest(self, digest: Digest) -> None:
        contents = self._contents
        if contents.manifests.pop(digest, None) is None:
            raise ManifestUnknown(f"manifest {digest} is not in repository {self.name}")
        contents.tags = {tag: target for tag, target in contents.tags.items() if target != digest}

    async def delete_tag(self, tag: Tag) -> None:
        if self._contents.tags.pop(tag, None) is None:
            raise ManifestUnknown(f"tag {tag} is not in repository {self.name}")

    async def list_tags(self, *, limit: int | None = None, last: str = "") -> Page[Tag]:
        if self.name not in self._all:
            raise NameUnknown(f"repository {self.name} does not exist")
        return page_of(list(self._contents.tags), limit=limit, last=last)

    async def list_referrers(
        self, digest: Digest, *, artifact_types: Sequence[str] = (), limit: int | None = None, last: str = ""
    ) -> Page[Descriptor]:
        found = {
            manifest.digest: manifest.pointer()
            for manifest in self._contents.manifests.values()
            if manifest.document.subject is not None and manifest.document.subject.digest == digest
        }
        wanted = [d for d, p in found.items() if not artifact_types or p.artifact_type in artifact_types]
        page = page_of(wanted, limit=limit, last=last)
        return Page(tuple(found[item] for item in page.items), page.last)


@dataclass(frozen=True, slots=True)
class MemoryBlob:
    descriptor: Descriptor
    start: int
    stop: int
    _content: bytes

    @property
    def file(self) -> BinaryIO | None:
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.stop > self.start:
            yield self._content[self.start : self.stop]


@dataclass(frozen=True, slots=True)
class MemoryUpload:
    id: str
    _contents: _Contents

    @property
    def offset(self) -> int:
        return len(self._contents.uploads[self.id])

    async def append(self, chunk: bytes) -> None:
        self._contents.uploads[self.id] += chunk

    async def commit(self, digest: Digest) -> Descriptor:
        content = bytes(self._contents.uploads.pop(self.id))
        found = Digest.of(content, digest.algorithm)
        if found != digest:
            raise DigestInvalid(f"the {len(content)} bytes uploaded have the digest {found}, not {digest}")
        self._contents.blobs[digest] = content
        return Descriptor(media_type=OCTET_STREAM, digest=digest, size=len(content))

    async def cancel(self) -> None:
        del self._contents.uploads[self.id]
