"""Documents: the manifests and configs of bases, remembered by their digests.

Whoever knows a base by its digest asks no registry for it twice, and needs none where nobody can be reached. Each is
checked against its name when it is read.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from layerkit.build.folder import CacheFolder
from layerkit.oci.config import MAX_SIZE
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid
from layerkit.oci.manifest import Manifest, detect_media_type
from layerkit.oci.reference import Reference, Tag
from layerkit.oci.repository import Content, OpenRegistry, Repository
from layerkit.transfer import read_content


class DocumentCache(msgspec.Struct, frozen=True, kw_only=True):
    """The cache in `folder`. Without `is_trusted` nothing is found in it, and all is remembered anew. Blocking."""

    folder: Path
    is_trusted: bool = True

    def find(self, digest: Digest) -> bytes | None:
        raw = self._files.find(_name(digest))
        return raw if raw is not None and Digest.of(raw, digest.algorithm) == digest else None

    def has(self, digest: Digest) -> bool:
        return (self._files.folder / _name(digest)).is_file()

    def remember(self, digest: Digest, raw: bytes) -> None:
        self._files.keep(_name(digest), raw)

    @property
    def _files(self) -> CacheFolder:
        return CacheFolder(folder=self.folder / "documents", is_trusted=self.is_trusted)


def _name(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.encoded}"


class RemoteDocuments:
    """The documents of a repository of a registry, which is only asked for what is not remembered."""

    def __init__(self, cache: DocumentCache, open_repository: "_OpenRepository") -> None:
        self._cache = cache
        self._open = open_repository

    async def get_manifest(self, reference: Tag | Digest) -> Manifest:
        """Raises what a Repository raises."""
        if isinstance(reference, Digest):
            raw = await asyncio.to_thread(self._cache.find, reference)
            if raw is not None:
                return Manifest.of(raw, detect_media_type(raw), reference.algorithm)
        manifest = await (await self._open()).get_manifest(reference)
        await asyncio.to_thread(self._cache.remember, manifest.digest, manifest.raw)
        return manifest

    async def read_config(self, descriptor: Descriptor) -> bytes:
        """The bytes of a config. Raises ManifestInvalid for one that is too long to be a config."""
        if descriptor.size > MAX_SIZE:
            raise ManifestInvalid(f"config {descriptor.digest} has {descriptor.size} bytes, {MAX_SIZE} are allowed")
        raw = await asyncio.to_thread(self._cache.find, descriptor.digest)
        if raw is None:
            chunks = [chunk async for chunk in read_content(await self._open(), descriptor)(0)]
            raw = b"".join(chunks)
            await asyncio.to_thread(self._cache.remember, descriptor.digest, raw)
        return raw


class _OpenRepository:
    """The repository, reached when it is first wanted."""

    def __init__(self, open_registry: OpenRegistry, reference: Reference, stack: AsyncExitStack) -> None:
        self._open_registry = open_registry
        self._reference = reference
        self._stack = stack
        self._repository: Repository | None = None

    async def __call__(self) -> Repository:
        if self._repository is None:
            registry = await self._stack.enter_async_context(self._open_registry(self._reference))
            self._repository = registry.repository(self._reference.path)
        return self._repository


def content_of(raw: bytes) -> Content:
    """The content of a blob that is here already."""

    async def read(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    return read


@asynccontextmanager
async def open_documents(
    cache: DocumentCache, open_registry: OpenRegistry, reference: Reference
) -> AsyncIterator[RemoteDocuments]:
    """Those of the repository of `reference`."""
    async with AsyncExitStack() as stack:
        yield RemoteDocuments(cache, _OpenRepository(open_registry, reference, stack))
