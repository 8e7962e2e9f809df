"""Bases: the images that others are built on or copied from, by what `from:` says.

Of an image in a registry the manifest and the config are read, and of each layer the headers, once in its life
(`build/headers.py`): its layers stay where they are, and the store notes where that is. What is in a folder or an
archive is copied into the store.
"""

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from layerkit.build.documents import DocumentCache, RemoteDocuments, content_of, open_documents
from layerkit.build.filesystem import Filesystem, StoredLayer
from layerkit.build.headers import HeaderCache
from layerkit.build.pick import Donor
from layerkit.build.pins import Pins
from layerkit.build.rootfs import RootfsImporter
from layerkit.build.together import run_together
from layerkit.content.layout import Layout
from layerkit.content.store import Store
from layerkit.image.image import Image
from layerkit.image.select import choose_platform
from layerkit.layer.decompress import decompress
from layerkit.layer.errors import LayerError
from layerkit.layer.index import LayerIndex, index_layer
from layerkit.layer.limits import DEFAULT_LIMITS, Limits
from layerkit.layer.spool import Picked
from layerkit.oci.config import MAX_SIZE, ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, ManifestInvalid, ManifestUnknown
from layerkit.oci.manifest import ImageIndex, ImageManifest, Manifest
from layerkit.oci.mediatype import is_nondistributable
from layerkit.oci.platform import Platform
from layerkit.oci.reference import Reference, RepositoryName, Tag, parse_reference
from layerkit.oci.repository import OpenRegistry, Reader
from layerkit.progress import Activity, Outcome, Progress, Step, running
from layerkit.spec.model import (
    ArchiveBase,
    ArchiveFormat,
    Base,
    ImageBase,
    LayoutBase,
    RegistryBase,
    RootfsBase,
    Scratch,
    StoreBase,
)
from layerkit.transfer import Copy

_INDEXED_AT_ONCE = 3


class BaseImage(msgspec.Struct, frozen=True, kw_only=True):
    """`label` is what messages call it. `name` and `digest` are for annotations: a base that others cannot name has
    none. `planned` is what is in an image of the same file."""

    image: Image
    label: str
    name: str = ""
    digest: Digest | None = None
    warnings: tuple[str, ...] = ()
    planned: Filesystem | None = None


class Sibling(msgspec.Struct, frozen=True):
    """An image of the same file: what it is so far, and what is in it. Where nothing is written it has the layers of
    its base alone; where it adds none, nobody has looked into those yet."""

    image: Image
    filesystem: Filesystem | None


class Bases(msgspec.Struct, kw_only=True):
    """Those of one build, each resolved once: as `pins` say it, else as it is now. `siblings` are the images of the
    same file that are done, by platform."""

    store: Store
    open_registry: OpenRegistry
    headers: HeaderCache
    documents: DocumentCache
    pins: Pins
    spool: Path
    progress: Progress
    rootfs: RootfsImporter
    limits: Limits = DEFAULT_LIMITS
    siblings: Mapping[tuple[RepositoryName, str], Sibling] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    _resolved: dict[tuple[Base, str], BaseImage] = msgspec.field(default_factory=dict)
    _donors: dict[tuple[Base, str], Donor] = msgspec.field(default_factory=dict)
    _manifests: dict[Base, Manifest] = msgspec.field(default_factory=dict)

    async def resolve(self, base: Base, platform: Platform) -> BaseImage:
        """The base for this platform. Raises OCIError, or LayerError for a root file system."""
        key = base, str(platform)
        if key not in self._resolved:
            self._resolved[key] = await self._resolve(base, platform)
        return self._resolved[key]

    async def _resolve(self, base: Base, platform: Platform) -> BaseImage:
        match base:
            case Scratch():
                return BaseImage(image=Image.empty(platform), label="scratch")
            case RegistryBase(reference):
                return await self._resolve_remote(base, reference, platform)
            case LayoutBase(path, target):
                layout = Layout(path)
                reader = layout.repository(RepositoryName(""))
                manifest = await reader.get_manifest(target or _only_image(layout.entries(), f"oci:{path}"))
                return await self._bring(reader, manifest, platform, f"oci:{path}")
            case StoreBase(reference):
                reader = self.store.repository(RepositoryName(reference.name))
                manifest = await reader.get_manifest(reference.target)
                return await self._bring(reader, manifest, platform, f"store:{reference}")
            case ArchiveBase():
                return await self._resolve_archive(base, platform)
            case RootfsBase(path):
                layer = await asyncio.to_thread(self.rootfs.bring, path)
                image = Image.empty(platform).with_layer(
                    layer.written.descriptor, layer.written.diff_id, created_by=f"layerkit: tar:{path.name}"
                )
                return BaseImage(
                    image=image,
                    label=f"tar:{path}",
                    warnings=tuple(f"tar:{path}: {warning}" for warning in layer.warnings),
                )
            case ImageBase(name):
                sibling = self.siblings[name, str(platform)]
                # What it was built on is said of it, and not of what is built on it.
                image = msgspec.structs.replace(sibling.image, annotations=MappingProxyType({}))
                return BaseImage(image=image, label=f"image {name}", planned=sibling.filesystem)

    async def _resolve_remote(self, base: RegistryBase, reference: Reference, platform: Platform) -> BaseImage:
        async with open_documents(self.documents, self.open_registry, reference) as source:
            if base not in self._manifests:
                self._manifests[base] = await self._find(source, reference)
            manifest = self._manifests[base]
            _, document, variant = await _select(source.get_manifest, manifest, platform, str(reference))
            await self._bring_config(source, document.config)
            for layer in document.layers or ():
                if not is_nondistributable(layer.media_type):
                    await self.store.note_origin(layer, reference)
        image = await self._read_image(document, platform, variant, str(reference))
        return BaseImage(
            image=image, label=str(reference), name=str(reference.with_default_tag()), digest=manifest.digest
        )

    async def _find(self, source: RemoteDocuments, reference: Reference) -> Manifest:
        pinned = self.pins.base(reference)
        try:
            manifest = await source.get_manifest(pinned or reference.target)
        except ManifestUnknown as error:
            if pinned is None or reference.digest is not None:
                raise
            raise ManifestUnknown(
                f"{reference} is {pinned} in the lock, which its registry does not have any more: "
                f"`layerkit lock --upgrade {reference.familiar()}` takes what is there now"
            ) from error
        self.pins.note_base(reference, manifest.digest)
        return manifest

    async def _resolve_archive(self, base: ArchiveBase, platform: Platform) -> BaseImage:
        label = f"{base.format}:{base.path}"
        from layerkit.content.archive import open_archive  # noqa: PLC0415 - few bases are archives

        async with open_archive(base.path) as archive:
            reader = archive.repository(RepositoryName(""))
            if base.reference is None:
                target: Tag | Digest = _only_image(archive.entries(), label)
            elif base.format is ArchiveFormat.DOCKER:
                reference = parse_reference(base.reference)
                reader, target = archive.repository(RepositoryName(reference.name)), reference.target
            else:
                target = Digest(base.reference) if ":" in base.reference else Tag(base.reference)
            return await self._bring(reader, await reader.get_manifest(target), platform, label)

    async def _bring(self, source: Reader, manifest: Manifest, platform: Platform, label: str) -> BaseImage:
        """An image of this machine, its config and layers in the store."""
        chosen, document, variant = await _select(source.get_manifest, manifest, platform, label)
        copy = Copy(source=source, destination=self.store.repository(RepositoryName("")), progress=self.progress)
        await copy.references(chosen)
        return BaseImage(image=await self._read_image(document, platform, variant, label), label=label)

    async def _bring_config(self, source: RemoteDocuments, descriptor: Descriptor) -> None:
        destination = self.store.repository(RepositoryName(""))
        try:
            await destination.stat_blob(descriptor.digest)
        except BlobUnknown:
            raw = await source.read_config(descriptor)
            await destination.put_blob(descriptor, content_of(raw))
        else:
            # The store may be freed of it before the cache is.
            await asyncio.to_thread(self._remember_config, descriptor)

    def _remember_config(self, descriptor: Descriptor) -> None:
        if not self.documents.has(descriptor.digest):
            self.documents.remember(descriptor.digest, self._read_config(descriptor))

    async def _read_image(self, document: ImageManifest, platform: Platform, variant: str, label: str) -> Image:
        config = ImageConfig.parse(await asyncio.to_thread(self._read_config, document.config))
        # Older configs name no variant, and what the index says of them is right.
        actual = msgspec.structs.replace(config.platform, variant=config.platform.variant or variant)
        if not any(actual.is_same_as(candidate) for candidate in platform.candidates()):
            raise ManifestUnknown(f"{label} has no image for {platform}: it has {actual.normalized()}")
        return Image.of(document, config)

    def _read_config(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_SIZE:
            raise ManifestInvalid(f"config {descriptor.digest} has {descriptor.size} bytes, {MAX_SIZE} are allowed")
        return self.store.path_of(descriptor.digest).read_bytes()

    async def filesystem(self, base: BaseImage) -> Filesystem:
        """What is in a base, by the headers of its layers. Raises LayerError, which names the layer, and OCIError."""
        if base.planned is not None:
            return await asyncio.to_thread(base.planned.copy)
        image = base.image
        pairs = list(zip(image.layers, image.config.diff_ids, strict=True))
        indexes = await run_together(
            [self._index(layer, diff_id, base.label) for layer, diff_id in pairs], at_once=_INDEXED_AT_ONCE
        )
        try:
            return await asyncio.to_thread(Filesystem.of, list(zip(image.layers, indexes, strict=True)))
        except LayerError as error:
            raise LayerError(f"{base.label}: {error}") from error

    async def _index(self, layer: Descriptor, diff_id: Digest, label: str) -> LayerIndex:
        try:
            known = await asyncio.to_thread(self.headers.find, layer.digest, diff_id)
            if known is not None:
                return known
            step = Step(activity=Activity.INDEX, name=label, total=layer.size, descriptor=layer)
            with running(self.progress, step) as run:
                await self.store.bring(layer.digest)
                index = await asyncio.to_thread(self._read_headers, layer, diff_id)
                run.outcome = Outcome.DONE
                run.detail = f"{len(index.entries)} paths"
        except LayerError as error:
            raise LayerError(f"layer {layer.digest} of {label}: {error}") from error
        return index

    def _read_headers(self, layer: Descriptor, diff_id: Digest) -> LayerIndex:
        try:
            with self.store.path_of(layer.digest).open("rb") as file:
                index = index_layer(file, layer.media_type, diff_id, limits=self.limits)
        except FileNotFoundError:
            # None but these are left where they are without a note of where that is.
            raise LayerError(
                "it may not be distributed, so that it cannot be looked into: choose another base"
            ) from None
        self.headers.remember(layer.digest, index)
        return index

    async def donor(self, base: Base, platform: Platform) -> Donor:
        """An image to copy from; its contents are there once `fill` was called after the plan."""
        key = base, str(platform)
        if key not in self._donors:
            found = await self.resolve(base, platform)
            self._donors[key] = Donor(found.label, await self.filesystem(found))
        return self._donors[key]

    async def fill(self, wanted: Container[Picked]) -> None:
        """Take what plans want out of those layers of the donors that are `wanted`."""
        for donor in self._donors.values():
            for layer in donor.filesystem.layers:
                if isinstance(layer, StoredLayer) and layer.picked in wanted and not layer.picked.is_filled:
                    await self.store.bring(layer.descriptor.digest)
                    await asyncio.to_thread(self._fill, layer, donor.name)

    def _fill(self, layer: StoredLayer, label: str) -> None:
        descriptor = layer.descriptor
        try:
            with self.store.path_of(descriptor.digest).open("rb") as file:
                layer.picked.fill(decompress(file, descriptor.media_type, self.limits), self.spool)
        except LayerError as error:
            raise LayerError(f"layer {descriptor.digest} of {label}: {error}") from error
        except FileNotFoundError:
            raise LayerError(
                f"layer {descriptor.digest} of {label} is not in the store: pull the image again"
            ) from None


async def _select(
    get_manifest: Callable[[Digest], Awaitable[Manifest]], manifest: Manifest, platform: Platform, label: str
) -> tuple[Manifest, ImageManifest, str]:
    """The manifest for one platform, its document, and the variant that an index says it has."""
    variant = ""
    if isinstance(manifest.document, ImageIndex):
        chosen = choose_platform(manifest.document, platform, name=label)
        variant = chosen.platform.variant if chosen.platform else ""
        manifest = await get_manifest(chosen.digest)
    document = manifest.document
    if not isinstance(document, ImageManifest):
        raise ManifestInvalid(f"{label} is no image that can be built on: it is of type {manifest.media_type}")
    return manifest, document, variant


def _only_image(entries: Iterable[Descriptor], label: str) -> Digest:
    digests = {entry.digest for entry in entries}
    if len(digests) != 1:
        raise ManifestUnknown(f"{label} holds {len(digests)} images: name one, {label}:TAG or {label}@DIGEST")
    return digests.pop()
