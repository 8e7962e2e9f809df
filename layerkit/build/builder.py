"""The builder: a spec, a base and a store in; an image in the store out.

The way of a build: base manifest and config -> headers of the base's layers -> plan -> each layer in one pass over
its bytes -> config -> manifest. Everything lands in the layout that is the local store.
"""

import asyncio
from dataclasses import dataclass
from threading import Event
from typing import BinaryIO

import msgspec

from layerkit.build.plan import BuildPlan, PlannedLayer, plan_build
from layerkit.content.layout import Layout
from layerkit.image.configure import configure
from layerkit.image.image import BASE_DIGEST, BASE_NAME, MOST_LAYERS, Image
from layerkit.image.select import choose_platform
from layerkit.layer.compress import Compression, Content
from layerkit.layer.errors import LayerError
from layerkit.layer.index import LayerIndex, index_layer
from layerkit.layer.tar import tar_size
from layerkit.layer.write import WrittenLayer, write_layer
from layerkit.oci.config import MAX_SIZE, ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid, ManifestUnknown
from layerkit.oci.manifest import ImageIndex, ImageManifest, Manifest
from layerkit.oci.platform import Platform
from layerkit.oci.reference import RepositoryName
from layerkit.oci.repository import OpenRegistry, Reader
from layerkit.progress import SILENT, Activity, Progress, Step, running
from layerkit.spec.model import (
    ArchiveBase,
    ImageBase,
    LayoutBase,
    RegistryBase,
    RootfsBase,
    Scratch,
    Spec,
    StoreBase,
)
from layerkit.transfer import Copy


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltLayer:
    planned: PlannedLayer
    written: WrittenLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """`layers` are the new ones; `image.layers` has those of the base as well."""

    plan: BuildPlan
    image: Image
    manifest: Manifest
    layers: tuple[BuiltLayer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """`name` and `digest` are for the annotations; a base that others cannot name has none."""

    image: Image
    name: str = ""
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class _Sink:
    """A file that takes no more once the layer is `abandoned`."""

    file: BinaryIO
    abandoned: Event

    def write(self, content: Content) -> None:
        if self.abandoned.is_set():
            raise LayerError("the build was interrupted")
        self.file.write(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """`open_registry` reaches the registry of a reference; `progress` hears of what is copied and packed."""

    store: Layout
    open_registry: OpenRegistry
    progress: Progress = SILENT

    async def build(self, spec: Spec, platform: Platform) -> BuiltImage:
        """The image of `spec`, complete in the store but for its tags.

        Raises DocumentError for what is wrong with the spec and its files, OCIError for the base and the store.
        """
        if spec.compression.kind not in {kind.value for kind in Compression}:
            place = spec.locate("compression")
            raise spec.problem(place, f"`{spec.compression}` is not supported yet by this version")
        base = await self._resolve_base(spec, platform)
        count = len(base.image.layers) + len(spec.layers)
        if count > MOST_LAYERS:
            raise spec.problem(
                spec.locate("layers", key=True), f"the image would have {count} layers, {MOST_LAYERS} are allowed"
            )
        plan = await asyncio.to_thread(self._plan, spec, base.image)
        image, layers = base.image, []
        for planned in plan.layers:
            written = await self._write(planned, spec, group=f"{spec.name} {platform}")
            built = BuiltLayer(planned=planned, written=written)
            image = image.with_layer(built.written.descriptor, built.written.diff_id, created_by=planned.created_by)
            layers.append(built)
        image = configure(image, spec.config).created_at(spec.timestamp)
        if base.digest is not None:
            image = image.with_annotations({BASE_NAME: base.name, BASE_DIGEST: base.digest})
        image = image.with_annotations(spec.annotations)
        await asyncio.to_thread(self._write_raw, image.config.raw)
        return BuiltImage(plan=plan, image=image, manifest=image.manifest, layers=tuple(layers))

    def _plan(self, spec: Spec, base: Image) -> BuildPlan:
        return plan_build(spec, self._index(base) if spec.layers else [])

    def _index(self, base: Image) -> list[LayerIndex]:
        indexes = []
        for layer, diff_id in zip(base.layers, base.config.diff_ids, strict=True):
            try:
                with self.store.path_of(layer.digest).open("rb") as file:
                    indexes.append(index_layer(file, layer.media_type, diff_id))
            except FileNotFoundError:
                # None but these are left where they are when an image is copied.
                raise LayerError(
                    f"layer {layer.digest} of the base may not be distributed, so that it cannot be looked into: "
                    "choose another base"
                ) from None
            except LayerError as error:
                raise LayerError(f"layer {layer.digest} of the base: {error}") from error
        return indexes

    async def _write(self, planned: PlannedLayer, spec: Spec, *, group: str = "") -> WrittenLayer:
        abandoned = Event()
        step = Step(activity=Activity.PACK, name=planned.name, group=group, total=tar_size(planned.entries))
        with running(self.progress, step) as run:

            def write(file: BinaryIO) -> WrittenLayer:
                return write_layer(
                    planned.entries,
                    _Sink(file, abandoned),
                    compression=Compression(spec.compression.kind),
                    advance=run.advance,
                )

            try:
                written = await asyncio.to_thread(self.store.write_blob, write, lambda layer: layer.descriptor.digest)
            finally:
                # Of a build that is cancelled: a program cannot end before its threads do.
                abandoned.set()
            run.descriptor, run.detail = written.descriptor, planned.summary
        return written

    def _write_raw(self, raw: bytes) -> None:
        def write(file: BinaryIO) -> Digest:
            file.write(raw)
            return Digest.of(raw)

        self.store.write_blob(write, lambda digest: digest)

    async def _resolve_base(self, spec: Spec, platform: Platform) -> _Base:
        match spec.base:
            case Scratch():
                return _Base(image=Image.empty(platform))
            case RegistryBase(reference):
                async with self.open_registry(reference) as registry:
                    repository = registry.repository(reference.path)
                    manifest = await repository.get_manifest(reference.target)
                    image = await self._bring(repository, manifest, platform, str(reference))
                    return _Base(image=image, name=str(reference.with_default_tag()), digest=manifest.digest)
            case LayoutBase(path, tag_or_digest):
                layout = Layout(path)
                reader = layout.repository(RepositoryName(""))
                target = tag_or_digest or _only_image(layout)
                manifest = await reader.get_manifest(target)
                return _Base(image=await self._bring(reader, manifest, platform, f"oci:{path}"))
            case StoreBase(reference):
                reader = self.store.repository(RepositoryName(reference.name))
                manifest = await reader.get_manifest(reference.target)
                return _Base(image=await self._bring(reader, manifest, platform, f"store:{reference}"))
            case ArchiveBase() | RootfsBase() | ImageBase():
                raise spec.problem(spec.locate("from"), "a base of this kind is not supported yet by this version")

    async def _bring(self, source: Reader, manifest: Manifest, platform: Platform, name: str) -> Image:
        """The base for one platform, its config and layers in the store."""
        variant = ""
        if isinstance(manifest.document, ImageIndex):
            chosen = choose_platform(manifest.document, platform, name=name)
            variant = chosen.platform.variant if chosen.platform else ""
            manifest = await source.get_manifest(chosen.digest)
        document = manifest.document
        if not isinstance(document, ImageManifest):
            raise ManifestInvalid(f"{name} is no image that can be built on: it is of type {manifest.media_type}")
        copy = Copy(source=source, destination=self.store.repository(RepositoryName("")), progress=self.progress)
        await copy.references(manifest)
        config = ImageConfig.parse(await asyncio.to_thread(self._read_config, document.config))
        # Older configs name no variant, and what the index says of them is right.
        actual = msgspec.structs.replace(config.platform, variant=config.platform.variant or variant)
        if not any(actual.is_same_as(candidate) for candidate in platform.candidates()):
            raise ManifestUnknown(f"{name} has no image for {platform}: it has {actual.normalized()}")
        return Image.of(document, config)

    def _read_config(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_SIZE:
            raise ManifestInvalid(f"config {descriptor.digest} has {descriptor.size} bytes, {MAX_SIZE} are allowed")
        return self.store.path_of(descriptor.digest).read_bytes()


def _only_image(layout: Layout) -> Digest:
    entries = {entry.digest for entry in layout.entries()}
    if len(entries) != 1:
        raise ManifestUnknown(f"oci:{layout.root} holds {len(entries)} images: name one, oci:DIR:TAG or oci:DIR@DIGEST")
    return entries.pop()
