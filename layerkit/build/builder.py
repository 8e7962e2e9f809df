"""The builder: the images of a spec file and a store in; the images in the store out.

The way of an image: base manifest and config -> headers of the base's layers -> plan -> each layer in one pass over
its bytes -> config -> manifest; of several platforms an index of those. What two platforms have in common is made once.
Everything lands in the local store.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

import msgspec

from layerkit.build.ahead import DEAF, Listener
from layerkit.build.alike import AlikeRecords
from layerkit.build.bases import BaseImage, Bases, Sibling
from layerkit.build.bounds import using
from layerkit.build.built import BuildResult, BuiltImage, BuiltLayer, Prepared, annotations_of, index_of
from layerkit.build.documents import DocumentCache
from layerkit.build.fetch import Fetcher, OpenURL
from layerkit.build.fetched import Fetches
from layerkit.build.filesystem import Filesystem
from layerkit.build.headers import HeaderCache
from layerkit.build.inputs import Inputs
from layerkit.build.packing import Packer
from layerkit.build.pick import Donor
from layerkit.build.pins import Pins, layer_key, origins
from layerkit.build.plan import plan_build
from layerkit.build.planned import BuildPlan, PlannedLayer
from layerkit.build.python_tools import PythonTools
from layerkit.build.recipes import LayerRecords
from layerkit.build.replan import Replanner
from layerkit.build.rootfs import RootfsImporter
from layerkit.build.stretches import StretchRecords
from layerkit.build.together import run_together
from layerkit.content.store import Store
from layerkit.document.problem import DocumentError
from layerkit.image.configure import configure
from layerkit.image.image import MOST_LAYERS, Image
from layerkit.layer.compress import Compression, find_codec
from layerkit.layer.entry import MAX_MTIME
from layerkit.layer.limits import DEFAULT_LIMITS, Limits
from layerkit.layer.source import PartSource
from layerkit.layer.spool import Picked
from layerkit.layer.write import WrittenLayer
from layerkit.oci.digest import Digest
from layerkit.oci.reference import RepositoryName
from layerkit.oci.repository import OpenRegistry
from layerkit.packages.lock import NO_LOCK, AptLock, Lock
from layerkit.packages.relock import join_locks
from layerkit.progress import SILENT, Progress
from layerkit.spec.model import Apt, Base, Copy, Fetch, ImageBase, ImageSpec, Python, RegistryBase, Spec

if TYPE_CHECKING:
    from layerkit.build.debs import Debs
    from layerkit.build.environments import ArrivedWheels
    from layerkit.build.installing import ArrivedDebs
    from layerkit.build.shared import SharedLayers
    from layerkit.build.wheels import Wheels

LAYERS_AT_ONCE: Final = 2
"""Each layer is compressed by several threads already; two of them fill the gaps that reading leaves."""


class Builder(msgspec.Struct, frozen=True, kw_only=True):
    """Where a build reads and writes, and who hears of it.

    `open_registry` reaches the registry of a reference, `open_url` what is fetched. `cache` is a folder for what can be
    made again; without `is_cached` nothing in it is believed. `source_date_epoch` bounds the times that a spec takes
    from its sources. `threads` compress a layer, by default as many as there are CPUs, and folders are read as they
    come or `backwards`: neither changes a byte. `limits` are of what others made; `clock` is the Packer's. What is
    remote is what `lock` says it is; where the build `is_locked` it has to say it of all. `apt` is the folder of this
    machine's apt, which says where packages come from, `python` what its pip and uv have been told. `shared` is what
    other machines have made. One that `is_strict` refuses what a plan has doubts about.
    """

    store: Store
    open_registry: OpenRegistry
    open_url: OpenURL
    cache: Path
    is_cached: bool = True
    source_date_epoch: int | None = None
    threads: int | None = None
    backwards: bool = False
    limits: Limits = DEFAULT_LIMITS
    lock: Lock = NO_LOCK
    is_locked: bool = False
    python: PythonTools | None = None
    shared: "SharedLayers | None" = None
    progress: Progress = SILENT
    clock: Callable[[], int] = time.time_ns
    apt: Path = Path("/etc/apt")
    is_strict: bool = False

    async def build(
        self, images: Sequence[ImageSpec], listeners: Mapping[RepositoryName, Listener] = MappingProxyType({})
    ) -> tuple[BuildResult, ...]:
        """The images, each after those that it needs, complete in the store but for their tags.

        Those who are to hear of an image's layers are `listeners`, by its name. Raises DocumentError for what is wrong
        with a spec and its files, OCIError for bases and the store, LayerError for content that is not what it is said
        to be.
        """
        with using(self.cache):
            run = _Run(self, Replanner(folder=self.cache, is_trusted=self.is_cached).plan)
            return tuple([await run.build(image, listeners.get(image.name, DEAF)) for image in images])

    async def plan(self, images: Sequence[ImageSpec]) -> tuple[BuildPlan, ...]:
        """What a build of the images would write, by image and platform. Raises what `build` raises."""
        return tuple(one.plan for one in await self.prepare(images))

    async def prepare(self, images: Sequence[ImageSpec], *, is_readable: bool = False) -> "tuple[Prepared, ...]":
        """The images by platform, up to their plans. Where these are to be readable, all that they copy is brought.
        Raises what `build` raises."""
        run = _Run(self)
        with using(self.cache):
            prepared = [await run.prepare(spec) for image in images for spec in image.specs]
            if is_readable:
                await run.bring_contents(planned for one in prepared for planned in one.plan.layers)
        return tuple(prepared)

    async def resolve(self, images: Sequence[ImageSpec]) -> Lock:
        """What the remote things of the images are: by the lock, and for what it does not have as they are now. Only
        images below others that have packages are planned. Raises what `build` raises."""
        run = _Run(self)
        below = _below_packages(images)
        with using(self.cache):
            for image in images:
                for spec in image.specs:
                    if image.name in below:
                        await run.prepare(spec)
                    else:
                        await run.resolve(spec)
        return run.pins.used


class _Run:
    """One build: what it has resolved and written so far."""

    def __init__(self, builder: Builder, plan: Callable[[Spec, Inputs], BuildPlan] = plan_build) -> None:
        self._builder = builder
        self._plan = plan
        self._store = builder.store
        self._siblings: dict[tuple[RepositoryName, str], Sibling] = {}
        self._written: dict[_Key, WrittenLayer] = {}
        self._built: dict[tuple[RepositoryName, str], BuiltImage] = {}
        self.pins = Pins(lock=builder.lock, is_locked=builder.is_locked)
        self._debs: Debs | None = None
        self._wheels: Wheels | None = None
        records = LayerRecords(folder=builder.cache, is_trusted=builder.is_cached)
        self._packer = Packer(
            store=builder.store,
            records=records,
            alike=AlikeRecords(folder=builder.cache, is_trusted=builder.is_cached),
            stretches=StretchRecords(folder=builder.cache, is_trusted=builder.is_cached),
            has=self._has,
            shared=builder.shared,
            progress=builder.progress,
            threads=builder.threads,
            clock=builder.clock,
        )
        self._bases = Bases(
            store=builder.store,
            open_registry=builder.open_registry,
            headers=HeaderCache(folder=builder.cache, is_trusted=builder.is_cached),
            documents=DocumentCache(folder=builder.cache, is_trusted=builder.is_cached),
            pins=self.pins,
            spool=builder.cache / "spool",
            progress=builder.progress,
            rootfs=RootfsImporter(
                records=records,
                spool=builder.cache / "spool",
                codec=find_codec(Compression.GZIP).record,
                write=self._packer.pack_rootfs,
                has=self._has,
                limits=builder.limits,
            ),
            limits=builder.limits,
            siblings=self._siblings,
        )
        self._fetches = Fetches(
            Fetcher(
                folder=builder.cache,
                open_url=builder.open_url,
                progress=builder.progress,
                is_trusted=builder.is_cached,
            ),
            builder.cache / "spool",
            self.pins,
            builder.limits,
        )

    async def build(self, image: ImageSpec, listener: Listener) -> BuildResult:
        prepared = [await self.prepare(spec) for spec in image.specs]
        for layer in [layer for one in prepared for layer in one.base.image.layers]:
            listener.has(layer)
        # Two platforms have most layers in common: each is written once, for the first that has it.
        wanted = {_key(one, planned): (one.spec, planned) for one in reversed(prepared) for planned in one.plan.layers}
        for key in [key for key in wanted if key not in self._written]:
            known = await self._packer.recall(*wanted[key])
            if known is not None:
                self._written[key] = known
        missing = [key for key in wanted if key not in self._written]
        for key in wanted.keys() - missing:
            listener.has(self._written[key].descriptor)
        await self.bring_contents(wanted[key][1] for key in missing)
        written = await run_together(
            [self._packer.pack(*wanted[key], listener) for key in missing], at_once=LAYERS_AT_ONCE
        )
        self._written.update(zip(missing, written, strict=True))
        images = [await self._assemble(one) for one in prepared]
        manifest = images[0].manifest if len(images) == 1 else index_of(images)
        return BuildResult(spec=image, images=tuple(images), manifest=manifest)

    async def bring_contents(self, layers: Iterable[PlannedLayer]) -> None:
        """Bring what these layers have from other images."""
        await self._bases.fill(await asyncio.to_thread(_picked_by, tuple(layers)))

    async def prepare(self, spec: Spec) -> Prepared:
        """Everything up to the plan. Raises what `Builder.build` raises."""
        warnings: list[str] = []
        self.pins.check(spec, warnings)
        base = await self._bases.resolve(spec.base, spec.platform)
        # Whoever adds nothing needs to know nothing of what is there.
        is_changed = bool(spec.layers or spec.users)
        warnings += base.warnings
        filesystem = await self._bases.filesystem(base) if is_changed else Filesystem()
        debs = await self._bring_debs(spec, filesystem, warnings)
        inputs = Inputs(
            base=filesystem,
            donors={origin: await self._donor(origin, spec) for origin in _donors_of(spec)},
            fetched={fetch: await self._fetches.bring(fetch, spec, warnings) for fetch in _fetches(spec)},
            debs=debs,
            wheels=await self._bring_wheels(spec, base, filesystem, warnings),
            newest=self._newest(spec),
            backwards=self._builder.backwards,
        )
        plan = await asyncio.to_thread(self._plan, spec, inputs)
        if plan.doubts and self._builder.is_strict:
            raise DocumentError([spec.document.problem(doubt.position, doubt.message) for doubt in plan.doubts])
        count = len(inputs.base.layers) if is_changed else len(base.image.layers)
        if count > MOST_LAYERS:
            raise spec.problem(
                spec.locate("layers", key=True), f"the image would have {count} layers, {MOST_LAYERS} are allowed"
            )
        self._siblings[spec.name, str(spec.platform)] = Sibling(base.image, inputs.base if is_changed else base.planned)
        return Prepared(spec=spec, plan=msgspec.structs.replace(plan, warnings=(*warnings, *plan.warnings)), base=base)

    async def resolve(self, spec: Spec) -> None:
        """Find what the lock does not have."""
        self.pins.check(spec, [])
        for base in origins(spec):
            if isinstance(base, RegistryBase) and self.pins.base(base.reference) is None:
                await self._bases.resolve(base, spec.platform)
        for fetch in _fetches(spec):
            if fetch.sha256 is None and self.pins.url(fetch.url) is None:
                await self._fetches.find(fetch, spec)
        if any(layer.apt is not None or layer.python is not None for layer in spec.layers):
            known = await self._bases.resolve(spec.base, spec.platform)
            filesystem = await self._bases.filesystem(known)
            await self._bring_debs(spec, filesystem, [], is_to_be_installed=False)
            await self._bring_wheels(spec, known, filesystem, [], is_to_be_installed=False)

    async def _bring_debs(
        self, spec: Spec, base: Filesystem, warnings: list[str], *, is_to_be_installed: bool = True
    ) -> "dict[Apt, ArrivedDebs]":
        """The packages of each layer, on this machine; of those below it is known what they bring. Those that are not
        to be installed are brought where a layer above depends on what they say."""
        found: dict[Apt, ArrivedDebs] = {}
        layers = [(layer, layer.apt) for layer in spec.layers if layer.apt is not None]
        for layer, apt in layers:
            debs = self._open_debs()
            request = await asyncio.to_thread(debs.ask, apt, spec, base, tuple(found.values()))
            lock = self.pins.apt(spec, layer, apt.position, request.digest, warnings)
            if lock is None:
                lock = await debs.resolve(request, spec)
                self.pins.note_apt(spec, layer, lock)
            if is_to_be_installed or layer is not layers[-1][0]:
                found[apt] = await debs.bring(request, lock, spec)
        return found

    async def _bring_wheels(
        self,
        spec: Spec,
        base: BaseImage,
        filesystem: Filesystem,
        warnings: list[str],
        *,
        is_to_be_installed: bool = True,
    ) -> "dict[Python, ArrivedWheels]":
        """The wheels of each layer, on this machine where they are to be installed; the packages are known by now."""
        found: dict[Python, ArrivedWheels] = {}
        below: list[AptLock] = []
        for layer in spec.layers:
            if layer.apt is not None:
                below.append(self.pins.used.apt[layer_key(spec, layer)])
            python = layer.python
            if python is None:
                continue
            wheels = self._open_wheels()
            environment = _environment(base.image)
            request = await asyncio.to_thread(wheels.ask, python, spec, filesystem, tuple(below), environment)
            lock = self.pins.python(spec, layer, python.position, request.digest, warnings)
            if lock is None:
                before = self._builder.lock.python.get(layer_key(spec, layer))
                preferred = {} if before is None else {wheel.name: wheel.version for wheel in before.packages}
                lock = await wheels.resolve(request, spec, preferred)
                self.pins.note_python(spec, layer, lock)
            if is_to_be_installed:
                found[python] = await wheels.bring(request, lock, spec)
        return found

    def _open_wheels(self) -> "Wheels":
        if self._wheels is None:
            from layerkit.build.wheels import open_wheels  # noqa: PLC0415 - few specs have wheels

            builder = self._builder
            self._wheels = open_wheels(self._fetches.fetcher, builder.python, limits=builder.limits)
        return self._wheels

    def _open_debs(self) -> "Debs":
        if self._debs is None:
            from layerkit.build.debs import open_debs  # noqa: PLC0415 - few specs have packages

            builder = self._builder
            self._debs = open_debs(
                self._fetches.fetcher,
                spool=builder.cache / "spool",
                machine=builder.apt,
                today=lambda: datetime.fromtimestamp(builder.clock() / 10**9, UTC),
            )
        return self._debs

    async def _donor(self, base: Base, spec: Spec) -> Donor:
        return await self._bases.donor(base, spec.platform)

    def _newest(self, spec: Spec) -> int:
        """The time that no source's may exceed: SOURCE_DATE_EPOCH's, else the spec's own where it has one."""
        if self._builder.source_date_epoch is not None:
            return self._builder.source_date_epoch
        return spec.timestamp or MAX_MTIME

    async def _assemble(self, one: Prepared) -> BuiltImage:
        spec, image = one.spec, one.base.image
        layers = [BuiltLayer(planned=planned, written=self._written[_key(one, planned)]) for planned in one.plan.layers]
        for layer in layers:
            written = layer.written
            image = image.with_layer(written.descriptor, written.diff_id, created_by=layer.planned.created_by)
        image = configure(image, spec.config).created_at(spec.timestamp)
        image = image.with_annotations(annotations_of(spec, one.base))
        # The manifest as content alone: an image is listed once it has its name, or its index has.
        for raw in (image.config.raw, image.manifest.raw):
            await asyncio.to_thread(self._write_raw, raw)
        key = spec.name, str(spec.platform)
        self._siblings[key] = msgspec.structs.replace(self._siblings[key], image=image)
        needed = {
            base: self._built[base.name, str(spec.platform)] for base in origins(spec) if isinstance(base, ImageBase)
        }
        below = needed.get(spec.base) if isinstance(spec.base, ImageBase) else None
        self._built[key] = BuiltImage(
            plan=one.plan,
            image=image,
            manifest=image.manifest,
            layers=tuple(layers),
            base=one.base.digest,
            lock=join_locks([*(other.lock for other in needed.values()), self.pins.of(spec)]),
            own_layers=len(layers) + (below.own_layers if below is not None else 0),
        )
        return self._built[key]

    def _has(self, digest: Digest) -> bool:
        self._store.hold([digest])
        return self._store.is_here(digest)

    def _write_raw(self, raw: bytes) -> None:
        digest = Digest.of(raw)

        def write(file: BinaryIO) -> Digest:
            file.write(raw)
            return digest

        if not self._store.has_content(digest, raw):
            self._store.write_blob(write, lambda digest: digest)


class _Key(NamedTuple):
    """Layers of the same key have the same bytes. `content` is the key of a layer, or where it has none the layer
    itself, which is the same as no other."""

    compression: str
    content: str | PlannedLayer


def _key(one: Prepared, planned: PlannedLayer) -> _Key:
    return _Key(str(one.spec.compression), planned.outline.key or planned)


def _donors_of(spec: Spec) -> list[Base]:
    """The other images that a spec copies from."""
    found = (copy.origin for layer in spec.layers for copy in layer.copies if isinstance(copy, Copy))
    return list(dict.fromkeys(origin for origin in found if origin is not None))


def _picked_by(layers: Iterable[PlannedLayer]) -> set[Picked]:
    sources = (entry.source for planned in layers for entry in planned.entries)
    contents = (source.contents for source in sources if isinstance(source, PartSource))
    return {found for found in contents if isinstance(found, Picked)}


def _environment(image: Image) -> dict[str, str]:
    """That of the config."""
    execution = image.config.document.get("config")
    listed = execution.get("Env") if isinstance(execution, dict) else None
    pairs = (str(item).partition("=") for item in (listed if isinstance(listed, list) else ()))
    return {name: value for name, _, value in pairs}


def _below_packages(images: Sequence[ImageSpec]) -> set[RepositoryName]:
    """The images of a file that others with packages stand upon: what they have decides what those need."""
    found: set[RepositoryName] = set()
    # Each comes after what it needs.
    for image in reversed(images):
        for spec in image.specs:
            has_packages = any(layer.apt is not None or layer.python is not None for layer in spec.layers)
            if isinstance(spec.base, ImageBase) and (has_packages or image.name in found):
                found.add(spec.base.name)
    return found


def _fetches(spec: Spec) -> list[Fetch]:
    return [fetch for layer in spec.layers for fetch in layer.fetches]
