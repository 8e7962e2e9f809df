"""Copy an image from one Repository to another: children before parents, the tag last.

What the destination has is not sent: a manifest that is there ends the copy of everything below it, a blob of the
same registry is mounted, and only the rest is read and written. Requests for an image of L new layers: 3 for each
blob (HEAD, POST, PUT), and 2 for the manifest (HEAD, PUT); for an unchanged image 1.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, cast

import msgspec

from layerkit.oci.byterange import ByteRange
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, ManifestInvalid, ManifestUnknown, SizeInvalid
from layerkit.oci.manifest import MAX_NESTING, ImageIndex, Manifest
from layerkit.oci.mediatype import is_nondistributable
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Content, Lister, Reader, Repository, find_child
from layerkit.progress import SILENT, Activity, Outcome, Progress, Running, Step, running

BLOBS_AT_ONCE: Final = 4
MOST_REFERRERS: Final = 1000
"""Of one image, that are copied with it."""


class Origins(Protocol):
    """Which other repository of a registry has a blob. A dict is one."""

    def get(self, digest: Digest, /) -> RepositoryName | None: ...


class _NoOrigins:
    def get(self, digest: Digest, /) -> RepositoryName | None:
        """Knows of none."""


NO_ORIGINS: Final[Origins] = _NoOrigins()


class ListedReader(Reader, Lister, Protocol):
    """What can be read, and tells what refers to a manifest. An archive is no more than that."""


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """One copy. `origins` tells which other repository of the destination's registry has a blob, to be mounted.

    `present` are blobs that the destination is known to have: it is not asked for them. `progress` hears of each other
    blob and of each manifest, as steps of `group`.
    """

    source: Reader
    destination: Repository
    origins: Origins = NO_ORIGINS
    present: Collection[Digest] = frozenset()
    progress: Progress = SILENT
    group: str = ""

    async def with_referrers(self, manifest: Manifest, tags: Sequence[Tag] = ()) -> None:
        """`image`, and then whatever tells of it: signatures, lists of contents, and what tells of those.

        `source` must be able to list them. Raises ManifestInvalid where there are more than anybody needs.
        """
        await self.image(manifest, tags)
        async for referrer in iter_referrers(cast("ListedReader", self.source), manifest):
            await self.image(referrer)

    async def image(self, manifest: Manifest, tags: Sequence[Tag] = ()) -> None:
        """Copy a manifest with all that it refers to, then point the tags to it.

        Raises whatever the two repositories raise, and ManifestInvalid where indexes are nested too deep; what was
        copied until then stays, and is not copied again.
        """
        await self._image(manifest, tags, MAX_NESTING)

    async def _image(self, manifest: Manifest, tags: Sequence[Tag], nesting: int) -> None:
        missing = [tag for tag in tags if not await self._has(tag, manifest.digest)]
        if not missing and (tags or await self._has(manifest.digest, manifest.digest)):
            with self._step(manifest.descriptor) as run:
                run.outcome = Outcome.PRESENT
            return
        await self._references(manifest, nesting)
        with self._step(manifest.descriptor) as run:
            await self.destination.put_manifest(manifest, missing)
            run.advance(manifest.descriptor.size)
            run.outcome = Outcome.COPIED

    async def _has(self, reference: Tag | Digest, digest: Digest) -> bool:
        try:
            return (await self.destination.stat_manifest(reference)).digest == digest
        except ManifestUnknown:
            return False

    async def references(self, manifest: Manifest) -> None:
        """Copy all that a manifest refers to, and not the manifest itself."""
        await self._references(manifest, MAX_NESTING)

    async def blob(self, descriptor: Descriptor) -> None:
        """Copy one blob, however many others are on their way."""
        with self._step(descriptor) as run:
            run.outcome = await self._bring(descriptor, run)

    async def _references(self, manifest: Manifest, nesting: int) -> None:
        wanted = {d.digest: d for d in manifest.document.references() if not is_nondistributable(d.media_type)}
        if nesting == 0 and isinstance(manifest.document, ImageIndex):
            raise ManifestInvalid(f"index {manifest.digest} is the {MAX_NESTING + 1}th within each other: too many")
        blobs = []
        for descriptor in wanted.values():
            child = await find_child(self.source, descriptor) if isinstance(manifest.document, ImageIndex) else None
            if child is None:
                if descriptor.digest not in self.present:
                    blobs.append(descriptor)
            else:
                await self._image(child, (), nesting - 1)
        places = asyncio.Semaphore(BLOBS_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as tasks:
                # The largest first: nothing waits long for the last one.
                for descriptor in sorted(blobs, key=lambda blob: blob.size, reverse=True):
                    tasks.create_task(self._blob(descriptor, places))
        except BaseExceptionGroup as group:
            # The first failure is the reason, the others follow from it. (Not `except*`: what it raises comes out
            # within a group on some versions of Python, and bare on others.)
            raise _first(group) from None

    async def _blob(self, descriptor: Descriptor, places: asyncio.Semaphore) -> None:
        async with places:
            await self.blob(descriptor)

    async def _bring(self, descriptor: Descriptor, run: Running) -> Outcome:
        origin = self.origins.get(descriptor.digest)
        if origin is not None and await self.destination.mount_blob(descriptor.digest, origin):
            return Outcome.MOUNTED
        try:
            found = await self.destination.stat_blob(descriptor.digest)
        except BlobUnknown:
            await self.destination.put_blob(descriptor, read_content(self.source, descriptor, run.advance))
            return Outcome.COPIED
        if found.size != descriptor.size:
            raise SizeInvalid(f"blob {descriptor.digest} has {found.size} bytes, its manifest says {descriptor.size}")
        return Outcome.PRESENT

    def _step(self, descriptor: Descriptor) -> AbstractContextManager[Running]:
        step = Step(activity=Activity.COPY, group=self.group, total=descriptor.size, descriptor=descriptor)
        return running(self.progress, step)


async def iter_referrers(source: ListedReader, manifest: Manifest) -> AsyncIterator[Manifest]:
    """The manifests whose subject is this one, one below it or one of these, each once: those of a step before the
    next step's. Raises ManifestInvalid where they refer to each other too often, or are too many."""
    seen = {manifest.digest}
    subjects = [manifest]
    for _ in range(MAX_NESTING):
        found = []
        for subject in subjects:
            for digest in [digest async for digest in _iter_below(source, subject, MAX_NESTING)]:
                for pointer in (await source.list_referrers(digest)).items:
                    if pointer.digest not in seen:
                        seen.add(pointer.digest)
                        found.append(await source.get_manifest(pointer.digest))
                        if len(seen) > MOST_REFERRERS:
                            raise ManifestInvalid(f"{manifest.digest} has more than {MOST_REFERRERS} referrers")
                        yield found[-1]
        subjects = found
    if subjects:
        raise ManifestInvalid(f"referrers of {manifest.digest} refer to each other more than {MAX_NESTING} times")


async def _iter_below(source: Reader, manifest: Manifest, nesting: int) -> AsyncIterator[Digest]:
    """The manifest's digest, and those of the manifests below it."""
    yield manifest.digest
    if isinstance(manifest.document, ImageIndex) and nesting:
        for descriptor in manifest.document.references():
            child = await find_child(source, descriptor)
            if child is not None:
                async for digest in _iter_below(source, child, nesting - 1):
                    yield digest


def _nothing(count: int) -> None:
    """Counts the bytes that nobody counts."""


def read_content(source: Reader, descriptor: Descriptor, advance: Callable[[int], None] = _nothing) -> Content:
    """The content of a blob of `source`, from any offset.

    `advance` hears of bytes as they are read, but once of each: what is read again for a resumed upload counts no more.
    """
    reached = 0

    async def read(offset: int) -> AsyncIterator[bytes]:
        nonlocal reached
        position = offset
        part = ByteRange(offset) if offset else None
        async with source.open_blob(descriptor.digest, part) as blob:
            async for chunk in blob:
                position += len(chunk)
                if position > reached:
                    advance(position - reached)
                    reached = position
                yield chunk

    return read


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
