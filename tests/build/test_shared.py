"""Caches in repositories: what one machine has made another takes; what is wrong with a cache changes no image."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from layerkit.build.builder import Builder
from layerkit.build.built import BuildResult
from layerkit.build.recipes import LayerRecord
from layerkit.build.shared import ARTIFACT, RECORDS, SharedLayers, layers_of, write_shared
from layerkit.cli.environment import open_url
from layerkit.content.memory import MemoryRegistry, MemoryRepository
from layerkit.content.store import Store
from layerkit.layer.errors import LayerError
from layerkit.oci.codec import encode_json
from layerkit.oci.descriptor import EMPTY, EMPTY_CONTENT, Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, DigestInvalid, ManifestInvalid, ManifestUnknown
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_LAYER_GZIP, OCI_MANIFEST
from layerkit.oci.reference import Reference, RepositoryName, Tag, parse_reference
from layerkit.oci.repository import Content, Registry
from layerkit.progress import Outcome
from layerkit.spec.model import ImageSpec, Spec
from layerkit.transfer import Copy
from tests.progress import Recorded

Load = Callable[..., Spec]
Machine = Callable[[str], Builder]

REFERENCE = parse_reference("registry.example/acme/web:cache")
TAG = Tag("cache")
SPEC = "from: scratch\nlayers:\n- {name: a, copy: [./a:/a]}\n- {name: b, copy: [./b:/b]}\n"


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def cache(registry: MemoryRegistry) -> MemoryRepository:
    return registry.repository(REFERENCE.path)


@pytest.fixture
def machine(registry: MemoryRegistry, tmp_path: Path) -> Machine:
    """A builder with a store and a cache folder of its own, that reaches the registry."""

    @asynccontextmanager
    async def open_registry(reference: Reference) -> AsyncIterator[Registry]:
        yield registry

    def make(name: str) -> Builder:
        return Builder(
            store=Store(tmp_path / name / "store", open_registry, create=True),
            open_registry=open_registry,
            open_url=open_url,
            cache=tmp_path / name / "cache",
            clock=lambda: time.time_ns() + 10**10,
        )

    return make


@pytest.fixture(autouse=True)
def _files(context: Path) -> None:
    (context / "a").write_text("a" * 1000)
    (context / "b").write_text("b" * 1000)


def image_of(spec: Spec) -> list[ImageSpec]:
    return [ImageSpec(name=spec.name, tags=spec.tags, specs=(spec,))]


def content_of(raw: bytes) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    return read


async def put(repository: MemoryRepository, raw: bytes, media_type: str = RECORDS) -> Descriptor:
    descriptor = Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw))
    await repository.put_blob(descriptor, content_of(raw))
    return descriptor


async def write(builder: Builder, results: tuple[BuildResult, ...], cache: MemoryRepository) -> bool:
    copy = Copy(source=builder.store.repository(RepositoryName("")), destination=cache)
    return await write_shared(layers_of(results), copy, TAG)


async def sharing(builder: Builder, cache: MemoryRepository) -> Builder:
    shared = SharedLayers(builder.store)
    await shared.read(REFERENCE, cache)
    return replace(builder, shared=shared)


async def build(builder: Builder, spec: Spec) -> tuple[tuple[BuildResult, ...], list[Outcome]]:
    progress = Recorded()
    results = await replace(builder, progress=progress).build(image_of(spec))
    return results, [outcome for found in progress.outcomes.values() for outcome in found]


async def forge(cache: MemoryRepository, records: list[LayerRecord], layers: list[Descriptor]) -> None:
    """A cache with these records and these layers."""
    await put(cache, EMPTY_CONTENT)
    first = await put(cache, encode_json({"format": 1, "layers": records}))
    await cache.put_manifest(manifest_of(first, *layers), [TAG])


def manifest_of(*layers: Descriptor, artifact_type: str | None = ARTIFACT) -> Manifest:
    return Manifest.encode(
        ImageManifest(
            schema_version=2, media_type=OCI_MANIFEST, artifact_type=artifact_type, config=EMPTY, layers=layers
        )
    )


async def test_what_one_machine_made_another_takes(machine: Machine, load: Load, cache: MemoryRepository) -> None:
    """Nothing is compressed, and the layers stay where they are until somebody reads them."""
    first, second = machine("first"), machine("second")
    made, outcomes = await build(first, load(SPEC))
    assert outcomes == [Outcome.DONE] * 2
    assert await write(first, made, cache)

    second = await sharing(second, cache)
    taken, outcomes = await build(second, load(SPEC))
    assert outcomes == [Outcome.REUSED] * 2
    assert taken[0].manifest == made[0].manifest
    for layer in taken[0].images[0].layers:
        digest = layer.written.descriptor.digest
        assert not second.store.is_here(digest)
        assert second.store.origin_of(digest, domain="registry.example") == parse_reference("registry.example/acme/web")
        async with second.store.repository(RepositoryName("")).open_blob(digest) as blob:
            content = b"".join([chunk async for chunk in blob])
        assert Digest.of(content) == digest
        assert second.store.is_here(digest)


async def test_what_only_a_cache_says_is_not_remembered(machine: Machine, load: Load, cache: MemoryRepository) -> None:
    """Each build that takes it takes it from the cache; one without the cache makes its layers."""
    first = machine("first")
    made, _ = await build(first, load(SPEC))
    await write(first, made, cache)
    second = await sharing(machine("second"), cache)
    for _ in range(2):
        again, outcomes = await build(second, load(SPEC))
        assert (again[0].manifest, outcomes) == (made[0].manifest, [Outcome.REUSED] * 2)
    again, outcomes = await build(replace(second, shared=None), load(SPEC))
    assert (again[0].manifest, outcomes) == (made[0].manifest, [Outcome.DONE] * 2)


async def test_what_this_machine_made_and_lost_is_read_nowhere(
    machine: Machine, load: Load, cache: MemoryRepository
) -> None:
    first = machine("first")
    made, _ = await build(first, load(SPEC))
    await write(first, made, cache)
    for layer in layers_of(made):
        first.store.remove(layer.descriptor.digest)
    progress = Recorded()
    (again,) = await replace(await sharing(first, cache), progress=progress).build(image_of(load(SPEC)))
    assert again.manifest == made[0].manifest
    assert sum(progress.advanced.values()) == 0


async def test_only_what_differs_is_made(machine: Machine, load: Load, cache: MemoryRepository, context: Path) -> None:
    first = machine("first")
    made, _ = await build(first, load(SPEC))
    await write(first, made, cache)
    (context / "b").write_text("c" * 1000)
    taken, outcomes = await build(await sharing(machine("second"), cache), load(SPEC))
    assert sorted(outcomes) == [Outcome.DONE, Outcome.REUSED]
    cold, _ = await build(machine("third"), load(SPEC))
    assert taken[0].manifest == cold[0].manifest


async def test_a_cache_is_an_artifact_that_keeps_its_layers(
    machine: Machine, load: Load, cache: MemoryRepository
) -> None:
    """image-spec, manifest.md: "If this property is empty ... `config.mediaType` MUST be set to
    `application/vnd.oci.empty.v1+json`", and `artifactType` tells what it is."""
    first = machine("first")
    made, _ = await build(first, load(SPEC))
    await write(first, made, cache)
    document = (await cache.get_manifest(TAG)).document
    assert isinstance(document, ImageManifest)
    assert (document.artifact_type, document.config) == (ARTIFACT, EMPTY)
    records, *layers = document.layers or ()
    assert records.media_type == RECORDS
    assert layers == [layer.written.descriptor for layer in made[0].images[0].layers]


async def test_a_cache_that_is_as_it_was_is_not_written(machine: Machine, load: Load, cache: MemoryRepository) -> None:
    first = machine("first")
    made, _ = await build(first, load(SPEC))
    assert await write(first, made, cache)
    assert not await write(first, made, cache)


async def test_of_several_who_write_one_stays_and_is_whole(
    machine: Machine, load: Load, cache: MemoryRepository, context: Path
) -> None:
    builders, results = [], []
    for name in ("one", "two", "three"):
        (context / "a").write_text(name)
        builders.append(machine(name))
        results.append((await build(builders[-1], load(SPEC)))[0])
    await asyncio.gather(*(write(*each, cache) for each in zip(builders, results, strict=True)))
    document = (await cache.get_manifest(TAG)).document
    assert isinstance(document, ImageManifest)
    written = [[layer.written.descriptor for layer in result[0].images[0].layers] for result in results]
    assert list(document.layers or ())[1:] in written
    fresh = SharedLayers(builders[0].store)
    assert await fresh.read(REFERENCE, cache) == 2


class TestWhatIsWrong:
    @pytest.fixture
    async def made(self, machine: Machine, load: Load, cache: MemoryRepository) -> tuple[LayerRecord, ...]:
        """What a good cache would have; its layers are in the repository."""
        first = machine("first")
        results, _ = await build(first, load(SPEC))
        await write(first, results, cache)
        return layers_of(results)

    async def test_no_cache_at_all(self, machine: Machine, cache: MemoryRepository) -> None:
        with pytest.raises(ManifestUnknown):
            await SharedLayers(machine("x").store).read(REFERENCE, cache)

    @pytest.mark.parametrize("artifact_type", [None, "application/x-other"])
    async def test_another_artifact_is_none(
        self, machine: Machine, cache: MemoryRepository, artifact_type: str | None
    ) -> None:
        await put(cache, EMPTY_CONTENT)
        records = await put(cache, b"{}")
        await cache.put_manifest(manifest_of(records, artifact_type=artifact_type), [TAG])
        with pytest.raises(ManifestInvalid, match="is no cache of layerkit"):
            await SharedLayers(machine("x").store).read(REFERENCE, cache)

    @pytest.mark.parametrize(
        "raw",
        [b"", b"{}", b"[]", b'{"format":1,"layers":[{}]}', b"\xff\xfe", b'{"format":1,"layers":[' + b"[" * 5000],
        ids=["nothing", "empty", "list", "no record", "binary", "nested"],
    )
    async def test_records_that_are_damaged_are_none(
        self, machine: Machine, cache: MemoryRepository, raw: bytes
    ) -> None:
        await put(cache, EMPTY_CONTENT)
        await cache.put_manifest(manifest_of(await put(cache, raw)), [TAG])
        with pytest.raises(ManifestInvalid, match="are damaged"):
            await SharedLayers(machine("x").store).read(REFERENCE, cache)

    async def test_records_that_are_too_large_are_not_read(self, machine: Machine, cache: MemoryRepository) -> None:
        await put(cache, EMPTY_CONTENT)
        large = await put(cache, bytes(16 * 2**20 + 1))
        await cache.put_manifest(manifest_of(large), [TAG])
        with pytest.raises(ManifestInvalid, match="can read"):
            await SharedLayers(machine("x").store).read(REFERENCE, cache)

    async def test_records_of_another_format_are_passed_over(
        self, machine: Machine, cache: MemoryRepository, made: tuple[LayerRecord, ...]
    ) -> None:
        raw = await put(cache, encode_json({"format": 2, "layers": made}))
        await cache.put_manifest(manifest_of(raw, *(layer.descriptor for layer in made)), [TAG])
        assert await SharedLayers(machine("x").store).read(REFERENCE, cache) == 0

    async def test_a_layer_that_is_gone_is_made(
        self, machine: Machine, load: Load, cache: MemoryRepository, made: tuple[LayerRecord, ...]
    ) -> None:
        class Lossy:
            def __getattr__(self, name: str) -> object:
                return getattr(cache, name)

            async def stat_blob(self, digest: Digest) -> Descriptor:
                if digest == made[0].descriptor.digest:
                    raise BlobUnknown(f"{digest} is gone")
                return await cache.stat_blob(digest)

        second = machine("second")
        shared = SharedLayers(second.store)
        await shared.read(REFERENCE, Lossy())  # type: ignore[arg-type] # the rest of it is the inner one's
        results, outcomes = await build(replace(second, shared=shared), load(SPEC))
        assert sorted(outcomes) == [Outcome.DONE, Outcome.REUSED]
        assert layers_of(results) == made

    async def test_a_layer_of_another_diff_id_is_never_taken(
        self, machine: Machine, load: Load, cache: MemoryRepository, made: tuple[LayerRecord, ...]
    ) -> None:
        """Whoever writes it, a record is found by what is read here."""
        evil = await put(cache, b"evil", OCI_LAYER_GZIP)
        records = [msgspec.structs.replace(layer, diff_id=Digest.of(b"x"), descriptor=evil) for layer in made]
        await forge(cache, records, [evil])
        results, outcomes = await build(await sharing(machine("second"), cache), load(SPEC))
        assert outcomes == [Outcome.DONE] * 2
        assert layers_of(results) == made

    async def test_a_blob_of_other_content_is_found_out_when_it_is_brought(
        self, machine: Machine, load: Load, cache: MemoryRepository, made: tuple[LayerRecord, ...]
    ) -> None:
        """Its digest is as right as that of the layer: podman would unpack it."""
        evil = await put(cache, gzip.compress(b"evil"), OCI_LAYER_GZIP)
        await forge(cache, [msgspec.structs.replace(made[0], descriptor=evil), made[1]], [evil, made[1].descriptor])
        second = await sharing(machine("second"), cache)
        _, outcomes = await build(second, load(SPEC))
        assert outcomes == [Outcome.REUSED] * 2
        assert second.shared is not None
        with pytest.raises(LayerError, match=f"layer {evil.digest} of the cache {REFERENCE} has other content"):
            await second.shared.bring()
        assert not second.store.is_here(evil.digest)
        results, outcomes = await build(replace(second, shared=None), load(SPEC))
        assert layers_of(results) == made

    async def test_what_is_right_is_brought(
        self, machine: Machine, load: Load, cache: MemoryRepository, made: tuple[LayerRecord, ...]
    ) -> None:
        second = await sharing(machine("second"), cache)
        await build(second, load(SPEC))
        assert second.shared is not None
        await second.shared.bring()
        assert all(second.store.is_here(layer.descriptor.digest) for layer in made)

    @pytest.mark.parametrize("how", ["annotated", "not kept", "another type"])
    async def test_a_record_of_anything_but_a_layer_is_passed_over(
        self, machine: Machine, load: Load, cache: MemoryRepository, made: tuple[LayerRecord, ...], how: str
    ) -> None:
        """Annotations and URLs would become part of the image: who reads them may do what they say."""
        descriptors = [layer.descriptor for layer in made]
        kept = descriptors
        if how == "annotated":
            descriptors = [msgspec.structs.replace(one, annotations={"a": "b"}) for one in descriptors]
        elif how == "not kept":
            kept = []
        else:
            descriptors = [msgspec.structs.replace(one, media_type=f"{OCI_LAYER_GZIP}2") for one in descriptors]
            kept = descriptors
        records = [
            msgspec.structs.replace(layer, descriptor=descriptor)
            for layer, descriptor in zip(made, descriptors, strict=True)
        ]
        await forge(cache, records, kept)
        results, outcomes = await build(await sharing(machine("second"), cache), load(SPEC))
        assert outcomes == [Outcome.DONE] * 2
        assert layers_of(results) == made

    async def test_a_blob_that_is_damaged_is_refused_when_it_is_brought(
        self,
        machine: Machine,
        load: Load,
        registry: MemoryRegistry,
        cache: MemoryRepository,
        made: tuple[LayerRecord, ...],
    ) -> None:
        second = await sharing(machine("second"), cache)
        await build(second, load(SPEC))
        digest = made[0].descriptor.digest
        registry._contents[cache.name].blobs[digest] = bytes(made[0].descriptor.size)
        with pytest.raises(DigestInvalid, match="is damaged"):
            async with second.store.repository(RepositoryName("")).open_blob(digest):
                pass
        assert not second.store.is_here(digest)
