"""Where images are copied from and to: a registry, the local store, a layout, an archive.

The text of a place is that of `from:` in a spec (`cli/lookup.py` reads it). A plain reference is the registry's image
here, as `store:REF` is the local store's.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import click
import msgspec

from layerkit.cli.environment import Access, host_platform, open_registry, open_store
from layerkit.content.layout import Layout
from layerkit.content.listed import ListedRepository, full_name
from layerkit.content.store import Store
from layerkit.image.select import choose_platform
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError
from layerkit.oci.manifest import ImageIndex, Manifest
from layerkit.oci.platform import Platform
from layerkit.oci.reference import DEFAULT_TAG, Reference, RepositoryName, Tag, parse_reference
from layerkit.oci.repository import Repository
from layerkit.progress import Activity, Outcome, Progress, Step
from layerkit.transfer import NO_ORIGINS, Copy, ListedReader, Origins, iter_referrers

if TYPE_CHECKING:
    from layerkit.cli.lookup import Where
    from layerkit.content.export import Export
    from layerkit.spec.model import ArchiveBase, LayoutBase


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is there. `label` is what people call it, `name` its reference where it has one, `registry` the
    repository of a registry that it is in."""

    label: str
    repository: ListedReader
    manifest: Manifest
    name: Reference | None = None
    registry: Reference | None = None


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """How an image is to be copied, as the command line says."""

    access: Access
    progress: Progress
    referrers: bool = False


@asynccontextmanager
async def open_source(where: "Where", access: Access, *, platform: Platform | None = None) -> AsyncIterator[Source]:
    """The image there; of an index the one for `platform`, if that is given. Raises ManifestUnknown, and more."""
    if isinstance(where, Reference):
        reference = where.with_default_tag()
        async with open_registry(reference, access) as registry:
            repository = registry.repository(reference.path)
            manifest = await _choose(repository, reference.target, platform, str(reference))
            yield Source(
                label=str(reference), repository=repository, manifest=manifest, name=reference, registry=reference
            )
        return
    from layerkit.build.headers import HeaderCache  # noqa: PLC0415 - places are not the usual
    from layerkit.cli.environment import cache_folder  # noqa: PLC0415
    from layerkit.cli.lookup import Look, find_image  # noqa: PLC0415
    from layerkit.spec.model import StoreBase  # noqa: PLC0415

    look = Look(platform=platform, remote=False, access=access, headers=HeaderCache(folder=cache_folder()))
    async with find_image(where, look) as found:
        manifest = await _choose(found.repository, found.target, platform, found.name)
        name = where.reference.with_default_tag() if isinstance(where, StoreBase) else None
        if name is None and isinstance(found.repository, ListedRepository):
            name = _name_of(found.repository, found.target)
        yield Source(label=found.name, repository=found.repository, manifest=manifest, name=name)


async def write_image(source: Source, where: "Where", transfer: Transfer) -> str:
    """Copy the image there; the answer is what people call the place. An archive is replaced, all else is added to."""
    if isinstance(where, Reference):
        reference = where.with_default_tag()
        _refuse_other_digest(reference, source)
        async with open_registry(reference, transfer.access) as registry:
            origins = _origins(source, reference)
            await _copy(source, registry.repository(reference.path), _tags(reference), transfer, origins)
        return str(reference)
    from layerkit.spec.model import LayoutBase, StoreBase  # noqa: PLC0415

    match where:
        case StoreBase(reference):
            _refuse_other_digest(reference, source)
            return f"store:{await write_to_store(source, reference.with_default_tag(), transfer)}"
        case LayoutBase():
            return await _write_layout(source, where, transfer)
        case _:
            return await _write_archive(source, where, transfer)


async def write_to_store(source: Source, reference: Reference, transfer: Transfer) -> Reference:
    """Copy the image into the local store, which remembers what registry it is of."""
    store = open_store(transfer.access)
    await _copy(source, store.repository(RepositoryName(reference.name)), _tags(reference), transfer)
    if source.registry is not None:
        await note_origins(store, source.manifest, source.registry)
    return reference


async def _choose(repository: ListedReader, target: Tag | Digest, platform: Platform | None, label: str) -> Manifest:
    manifest = await repository.get_manifest(target)
    if platform is None or not isinstance(manifest.document, ImageIndex):
        return manifest
    return await repository.get_manifest(choose_platform(manifest.document, platform, name=label).digest)


async def _copy(
    source: Source,
    destination: Repository,
    tags: list[Tag],
    transfer: Transfer,
    origins: Origins = NO_ORIGINS,
) -> None:
    copy = Copy(source=source.repository, destination=destination, origins=origins, progress=transfer.progress)
    await (copy.with_referrers if transfer.referrers else copy.image)(source.manifest, tags)


async def _write_layout(source: Source, where: "LayoutBase", transfer: Transfer) -> str:
    if isinstance(where.reference, Digest):
        raise click.UsageError(f"oci:{where.path}@{where.reference}: a layout is written to under a tag.")
    layout = Layout(where.path, create=True)
    reference = named(source.name, where.reference)
    tag = reference.tag if reference is not None else where.reference
    destination = layout.repository(RepositoryName(reference.name if reference else ""))
    await _copy(source, destination, [tag] if tag else [], transfer)
    return f"oci:{where.path}{f':{tag}' if tag else ''}"


async def _write_archive(source: Source, where: "ArchiveBase", transfer: Transfer) -> str:
    from layerkit.content.export import NamedImage, plan_export  # noqa: PLC0415
    from layerkit.spec.model import ArchiveFormat  # noqa: PLC0415

    is_digest = ":" if where.format is ArchiveFormat.OCI else "@"
    if is_digest in (where.reference or ""):
        raise click.UsageError(f"{where.format}:{where.path}:{where.reference}: an archive is written under a tag.")
    names: tuple[Reference, ...] = ()
    tags: tuple[Tag, ...] = ()
    if where.format is ArchiveFormat.DOCKER:
        found = parse_reference(where.reference).with_default_tag() if where.reference else named(source.name, None)
        names = (found,) if found else ()
    else:
        tag = Tag(where.reference) if where.reference else None
        found = named(source.name, tag)
        names, tags = ((found,), ()) if found else ((), (tag,) if tag else ())
    images = [NamedImage(manifest=source.manifest, names=names, tags=tags)]
    if transfer.referrers:
        images += [NamedImage(manifest=each) async for each in iter_referrers(source.repository, source.manifest)]
    await write_archive_file(where, await plan_export(source.repository, images, host_platform()), transfer.progress)
    return f"{where.format}:{where.path}"


async def write_archive_file(where: "ArchiveBase", export: "Export", progress: Progress) -> None:
    from layerkit.content.export import write_archive  # noqa: PLC0415

    with steps_of(progress) as advance:
        await write_archive(where.path, export, advance=advance)


class _Steps:
    """The blobs of an archive as steps, one after the other."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._step: Step | None = None
        self._done = 0

    def __call__(self, descriptor: Descriptor, count: int) -> None:
        if self._step is None:
            self._step = Step(activity=Activity.COPY, total=descriptor.size, descriptor=descriptor)
            self._done = 0
            self._progress.begin(self._step)
        self._progress.advance(self._step, count)
        self._done += count
        if self._done >= descriptor.size:
            self.end(Outcome.COPIED)

    def end(self, outcome: Outcome) -> None:
        if self._step is not None:
            self._progress.end(self._step, outcome)
        self._step = None


@contextmanager
def steps_of(progress: Progress) -> Iterator[_Steps]:
    """What tells of an archive's blobs as they are written."""
    steps = _Steps(progress)
    try:
        yield steps
    finally:
        steps.end(Outcome.FAILED)


def named(name: Reference | None, tag: Tag | None) -> Reference | None:
    """The name for an image that has `name` and is to have this tag."""
    if name is None:
        return None
    return msgspec.structs.replace(name, tag=tag or name.tag or DEFAULT_TAG, digest=None)


def _name_of(repository: ListedRepository, target: Tag | Digest) -> Reference | None:
    """The first name that the list has for the image; with a tag that stands there in its place."""
    entries = repository.listing.entries()
    digest = target if isinstance(target, Digest) else repository.tags().get(target)
    for entry in entries:
        name, tag = full_name(entry)
        if entry.digest == digest and name and tag and target in {tag, digest}:
            try:
                return parse_reference(f"{name}:{tag}")
            except OCIError:
                continue
    return None


def _tags(reference: Reference) -> list[Tag]:
    return [reference.tag or DEFAULT_TAG] if reference.digest is None else []


def _refuse_other_digest(reference: Reference, source: Source) -> None:
    if reference.digest is not None and reference.digest != source.manifest.digest:
        raise click.UsageError(f"{source.label} has the digest {source.manifest.digest}, it cannot become {reference}.")


class _OneRepository(msgspec.Struct, frozen=True):
    """All blobs are there."""

    name: RepositoryName

    def get(self, digest: Digest, /) -> RepositoryName | None:  # noqa: ARG002 - whichever it is
        return self.name


class StoreOrigins(msgspec.Struct, frozen=True):
    """What the store knows of a registry's other repositories."""

    store: Store
    destination: Reference

    def get(self, digest: Digest, /) -> RepositoryName | None:
        origin = self.store.origin_of(digest, domain=self.destination.domain)
        return origin.path if origin is not None and origin.path != self.destination.path else None


def _origins(source: Source, destination: Reference) -> Origins:
    if source.registry is not None and source.registry.domain == destination.domain:
        return _OneRepository(source.registry.path) if source.registry.path != destination.path else NO_ORIGINS
    listing = source.repository.listing if isinstance(source.repository, ListedRepository) else None
    return StoreOrigins(listing, destination) if isinstance(listing, Store) else NO_ORIGINS


async def note_origins(store: Store, manifest: Manifest, reference: Reference) -> None:
    """Know that the registry has all blobs of the image: its other repositories get them from there."""
    for descriptor in manifest.document.references():
        child = store.read_manifest(descriptor.digest) if isinstance(manifest.document, ImageIndex) else None
        if child is not None:
            await note_origins(store, child, reference)
        elif store.is_here(descriptor.digest):
            await store.note_origin(descriptor, reference)
