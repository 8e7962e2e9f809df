"""Copies between Repositories: what is sent, in which order, how much at once, and what a failure leaves."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from layerkit.content.layout import Layout
from layerkit.content.memory import MemoryBlob, MemoryRegistry, MemoryRepository
from layerkit.oci.byterange import ByteRange
from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import EMPTY, EMPTY_CONTENT, Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, DigestInvalid, ManifestInvalid, ManifestUnknown, SizeInvalid
from layerkit.oci.manifest import MAX_NESTING, ImageIndex, ImageManifest, Manifest
from layerkit.oci.mediatype import (
    DOCKER_LAYER_FOREIGN_GZIP,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    OCTET_STREAM,
)
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Content, Repository
from layerkit.progress import Activity, Outcome
from layerkit.remote.client import Connection, open_client
from layerkit.remote.repository import RemoteRegistry, RemoteRepository
from layerkit.transfer import BLOBS_AT_ONCE, Copy, read_content
from registry.app import run_server
from registry.config import Address, Configuration
from tests.progress import Recorded
from tests.remote.server import run_tap

NAME = RepositoryName("acme/web")
BASE = RepositoryName("acme/base")
LATEST = Tag("latest")
MEBIBYTE = 1024 * 1024


def content_of(raw: bytes) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    return read


async def put(repository: Repository, raw: bytes, media_type: str = OCTET_STREAM) -> Descriptor:
    descriptor = Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw))
    await repository.put_blob(descriptor, content_of(raw))
    return descriptor


async def put_image(repository: Repository, *layers: bytes, name: str = "", tags: Sequence[Tag] = ()) -> Manifest:
    config = ImageConfig.build(
        {"architecture": "amd64", "author": name, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    )
    manifest = Manifest.encode(
        ImageManifest(
            schema_version=2,
            media_type=OCI_MANIFEST,
            config=await put(repository, config.raw, OCI_CONFIG),
            layers=tuple([await put(repository, layer, OCI_LAYER_GZIP) for layer in layers]),
        )
    )
    await repository.put_manifest(manifest, tags)
    return manifest


async def put_index(repository: Repository, *children: Descriptor) -> Manifest:
    index = Manifest.encode(ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=children))
    await repository.put_manifest(index)
    return index


async def read(repository: Repository, digest: Digest) -> bytes:
    async with repository.open_blob(digest) as blob:
        return b"".join([chunk async for chunk in blob])


@pytest.fixture
def source() -> MemoryRepository:
    return MemoryRegistry().repository(NAME)


@dataclass(frozen=True)
class OurRegistry:
    """The real one. `seen` are the requests that came to it, but for the one by which the scheme is chosen."""

    remote: RemoteRegistry
    seen: list[str]

    @property
    def repository(self) -> RemoteRepository:
        return self.remote.repository(NAME)

    def methods(self) -> list[str]:
        return sorted(line.split()[0] for line in self.seen)


@pytest.fixture
async def ours(tmp_path: Path) -> AsyncIterator[OurRegistry]:
    configuration = Configuration(root=tmp_path / "registry", listen=Address(port=0), drain_seconds=1)
    async with (
        run_server(configuration) as address,
        run_tap(address) as tap,
        open_client(Connection(host=tap.address)) as client,
    ):
        yield OurRegistry(RemoteRegistry(client), tap.seen)


class Watched:
    """A Repository that keeps what is put into it in order, and how many blobs are on their way at once."""

    def __init__(self, inner: MemoryRepository, *, failing: Digest | None = None) -> None:
        self._inner = inner
        self._failing = failing
        self.puts: list[str] = []
        self.running = self.most = self.cancelled = 0
        self.held: asyncio.Event | None = None
        self.begun = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def put_blob(self, descriptor: Descriptor, content: Content) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.set()
        try:
            if descriptor.digest == self._failing:
                raise DigestInvalid(f"{descriptor.digest} does not arrive")
            if self.held is not None:
                await self.held.wait()
            await self._inner.put_blob(descriptor, content)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        self.puts.append(descriptor.digest)

    async def put_manifest(self, manifest: Manifest, tags: Sequence[Tag] = ()) -> None:
        await self._inner.put_manifest(manifest, tags)
        self.puts.append(":".join([manifest.digest, *tags]))


def watched(**options: Digest) -> tuple[Watched, Repository]:
    watcher = Watched(MemoryRegistry().repository(NAME), **options)
    destination: Repository = watcher  # type: ignore[assignment] # the rest of it is the inner one's
    return watcher, destination


class TestRequests:
    """ARCHITECTURE: "unchanged image 2; each new layer 3 (HEAD, POST, PUT); each base layer 1 (mount)"."""

    async def test_an_unchanged_image_is_one_request(self, source: MemoryRepository, ours: OurRegistry) -> None:
        manifest = await put_image(source, b"one", b"two")
        copy = Copy(source=source, destination=ours.repository)
        await copy.image(manifest, [LATEST])
        ours.seen.clear()
        await copy.image(manifest, [LATEST])
        assert ours.seen == ["HEAD /v2/acme/web/manifests/latest"]

    async def test_an_unchanged_image_without_a_tag_is_one_request(
        self, source: MemoryRepository, ours: OurRegistry
    ) -> None:
        manifest = await put_image(source, b"one")
        copy = Copy(source=source, destination=ours.repository)
        await copy.image(manifest)
        ours.seen.clear()
        await copy.image(manifest)
        assert ours.seen == [f"HEAD /v2/acme/web/manifests/{manifest.digest}"]

    @pytest.mark.parametrize("count", [0, 1, 5])
    async def test_a_new_layer_is_three_requests_and_the_manifest_two(
        self, source: MemoryRepository, ours: OurRegistry, count: int
    ) -> None:
        manifest = await put_image(source, *(bytes([n]) * 100 for n in range(count)))
        await Copy(source=source, destination=ours.repository).image(manifest, [LATEST])
        blobs = count + 1  # and the config
        expected = ["HEAD"] * (blobs + 1) + ["POST"] * blobs + ["PUT"] * (blobs + 1)
        assert ours.methods() == expected
        assert ours.seen[0] == "HEAD /v2/acme/web/manifests/latest"
        assert ours.seen[-1] == "PUT /v2/acme/web/manifests/latest"

    async def test_a_layer_that_is_there_is_one_request(self, source: MemoryRepository, ours: OurRegistry) -> None:
        await Copy(source=source, destination=ours.repository).image(await put_image(source, b"old"), [LATEST])
        ours.seen.clear()
        await Copy(source=source, destination=ours.repository).image(await put_image(source, b"old", b"new"), [LATEST])
        assert [line for line in ours.seen if Digest.of(b"old") in line] == [
            f"HEAD /v2/acme/web/blobs/{Digest.of(b'old')}"
        ]
        assert ours.methods() == ["HEAD"] * 4 + ["POST"] + ["PUT"] * 2

    async def test_a_mounted_layer_is_one_request(self, source: MemoryRepository, ours: OurRegistry) -> None:
        base = await put_image(source, b"base", name="base")
        await Copy(source=source, destination=ours.remote.repository(BASE)).image(base, [LATEST])
        ours.seen.clear()
        progress = Recorded()
        manifest = await put_image(source, b"base", b"mine")
        origins = {Digest.of(b"base"): BASE}
        copy = Copy(source=source, destination=ours.repository, origins=origins, progress=progress)
        await copy.image(manifest, [LATEST])
        mount = f"POST /v2/acme/web/blobs/uploads/?mount={Digest.of(b'base')}&from=acme/base"
        assert [line for line in ours.seen if Digest.of(b"base") in line] == [mount]
        assert progress.outcomes[Digest.of(b"base")] == [Outcome.MOUNTED]
        assert progress.outcomes[Digest.of(b"mine")] == progress.outcomes[manifest.digest] == [Outcome.COPIED]
        assert await read(ours.repository, Digest.of(b"base")) == b"base"

    async def test_a_layer_that_cannot_be_mounted_is_sent(self, source: MemoryRepository, ours: OurRegistry) -> None:
        manifest = await put_image(source, b"layer")
        origins = {Digest.of(b"layer"): BASE}
        await Copy(source=source, destination=ours.repository, origins=origins).image(manifest, [LATEST])
        assert await read(ours.repository, Digest.of(b"layer")) == b"layer"

    async def test_a_layer_that_is_there_twice_is_sent_once(self, source: MemoryRepository, ours: OurRegistry) -> None:
        manifest = await put_image(source, b"same", b"same")
        await Copy(source=source, destination=ours.repository).image(manifest, [LATEST])
        assert ours.methods().count("POST") == 2

    async def test_a_copy_to_a_second_tag_sends_no_blob(self, source: MemoryRepository, ours: OurRegistry) -> None:
        manifest = await put_image(source, b"layer")
        await Copy(source=source, destination=ours.repository).image(manifest, [LATEST])
        ours.seen.clear()
        await Copy(source=source, destination=ours.repository).image(manifest, [LATEST, Tag("2")])
        assert ours.methods() == ["HEAD"] * 4 + ["PUT"]
        assert ours.seen[-1] == "PUT /v2/acme/web/manifests/2"


class TestOrder:
    async def test_children_come_first_and_the_tag_last(self, source: MemoryRepository) -> None:
        first = await put_image(source, b"one", name="first")
        second = await put_image(source, b"two", name="second")
        index = await put_index(source, first.descriptor, second.descriptor)
        watcher, destination = watched()
        await Copy(source=source, destination=destination).image(index, [LATEST])
        configs = [next(iter(child.document.references())).digest for child in (first, second)]
        assert set(watcher.puts[0:2]) == {configs[0], Digest.of(b"one")}
        assert watcher.puts[2] == first.digest
        assert set(watcher.puts[3:5]) == {configs[1], Digest.of(b"two")}
        assert watcher.puts[5:] == [second.digest, f"{index.digest}:latest"]

    async def test_indexes_within_indexes_are_copied(self, source: MemoryRepository) -> None:
        manifest = await put_image(source, b"layer")
        for _ in range(MAX_NESTING):
            manifest = await put_index(source, manifest.descriptor)
        _, destination = watched()
        await Copy(source=source, destination=destination).image(manifest, [LATEST])
        assert (await destination.get_manifest(LATEST)).digest == manifest.digest

    @pytest.mark.parametrize("depth", [MAX_NESTING + 1, 1000])
    async def test_indexes_that_never_end_are_refused(self, source: MemoryRepository, depth: int) -> None:
        manifest = await put_image(source, b"layer")
        for _ in range(depth):
            manifest = await put_index(source, manifest.descriptor)
        watcher, destination = watched()
        with pytest.raises(ManifestInvalid, match="within each other"):
            await Copy(source=source, destination=destination).image(manifest, [LATEST])
        assert watcher.puts == []

    async def test_a_child_of_an_index_may_be_a_blob(self, source: MemoryRepository, ours: OurRegistry) -> None:
        """BuildKit's cache: layers, and a config of its own."""
        layer = await put(source, b"layer", OCI_LAYER_GZIP)
        config = await put(source, b'{"layers":[]}', "application/vnd.buildkit.cacheconfig.v0")
        index = await put_index(source, layer, config)
        await Copy(source=source, destination=ours.repository).image(index, [LATEST])
        assert await read(ours.repository, layer.digest) == b"layer"
        assert await read(ours.repository, config.digest) == b'{"layers":[]}'
        back = MemoryRegistry().repository(NAME)
        await Copy(source=ours.repository, destination=back).image(await ours.repository.get_manifest(LATEST), [LATEST])
        assert (await back.get_manifest(LATEST)).raw == index.raw

    async def test_a_layer_that_may_not_be_distributed_stays_where_it_is(self, source: MemoryRepository) -> None:
        foreign = Descriptor(
            media_type=DOCKER_LAYER_FOREIGN_GZIP, digest=Digest.of(b"x"), size=1, urls=("https://a.example/x",)
        )
        manifest = Manifest.encode(
            ImageManifest(
                schema_version=2,
                media_type=OCI_MANIFEST,
                config=await put(source, b"{}", OCI_CONFIG),
                layers=(foreign, await put(source, b"mine", OCI_LAYER_GZIP)),
            )
        )
        await source.put_manifest(manifest)
        watcher, destination = watched()
        await Copy(source=source, destination=destination).image(manifest, [LATEST])
        assert set(watcher.puts) == {Digest.of(b"{}"), Digest.of(b"mine"), f"{manifest.digest}:latest"}

    async def test_an_artifact_with_the_empty_config_is_copied(
        self, source: MemoryRepository, ours: OurRegistry
    ) -> None:
        await source.put_blob(EMPTY, content_of(EMPTY_CONTENT))
        artifact = Manifest.encode(
            ImageManifest(
                schema_version=2,
                media_type=OCI_MANIFEST,
                artifact_type="application/spdx+json",
                config=EMPTY,
                layers=(EMPTY,),
                subject=Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"absent"), size=1),
            )
        )
        await source.put_manifest(artifact)
        await Copy(source=source, destination=ours.repository).image(artifact)
        assert (await ours.repository.get_manifest(artifact.digest)).raw == artifact.raw
        assert [item.digest for item in (await ours.repository.list_referrers(Digest.of(b"absent"))).items] == [
            artifact.digest
        ]


class TestAtOnce:
    async def test_only_so_many_blobs_are_on_their_way(self, source: MemoryRepository) -> None:
        manifest = await put_image(source, *(bytes([n]) * 10 for n in range(20)))
        watcher, destination = watched()
        watcher.held = asyncio.Event()
        copying = asyncio.create_task(Copy(source=source, destination=destination).image(manifest, [LATEST]))
        await watcher.begun.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert watcher.running == BLOBS_AT_ONCE
        watcher.held.set()
        await copying
        assert watcher.most == BLOBS_AT_ONCE

    async def test_the_same_image_may_be_copied_twice_at_once(
        self, source: MemoryRepository, ours: OurRegistry, tmp_path: Path
    ) -> None:
        manifest = await put_image(source, *(bytes([n]) * MEBIBYTE for n in range(6)))
        layout = Layout(tmp_path / "layout", create=True).repository(RepositoryName("a.example/web"))
        for destination in (ours.repository, layout):
            copies = [Copy(source=source, destination=destination).image(manifest, [LATEST]) for _ in range(2)]
            await asyncio.gather(*copies)
            found = await destination.get_manifest(LATEST)
            assert found.raw == manifest.raw
            for descriptor in found.document.references():
                assert await read(destination, descriptor.digest) == await read(source, descriptor.digest)
        assert list((tmp_path / "layout/blobs").glob(".upload-*")) == []

    async def test_copies_within_one_registry_do_not_wait_for_each_other_for_ever(
        self, source: MemoryRepository, ours: OurRegistry
    ) -> None:
        """Each blob holds one connection for reading and one for writing."""
        layers = [bytes([n]) * 300_000 for n in range(BLOBS_AT_ONCE)]
        manifest = await put_image(source, *layers)
        await Copy(source=source, destination=ours.repository).image(manifest, [LATEST])
        names = [RepositoryName(f"acme/copy{n}") for n in range(6)]
        copies = (Copy(source=ours.repository, destination=ours.remote.repository(n)) for n in names)
        async with asyncio.timeout(60):
            await asyncio.gather(*(copy.image(manifest, [LATEST]) for copy in copies))
        assert (await ours.remote.list_repositories()).items == (*names, NAME)

    async def test_a_large_blob_is_never_held_in_memory(self, ours: OurRegistry, tmp_path: Path) -> None:
        size = 200 * MEBIBYTE
        local = Layout(tmp_path / "layout", create=True).repository(RepositoryName(""))
        digest = Digest("sha256:72abf2ca8f36943ebe2e49ca3a51d409ca5f0bfcffab6c9d25643c17c32889da")
        async with local.open_upload(await local.start_upload()) as upload:
            for _ in range(200):
                await upload.append(bytes(MEBIBYTE))
            await upload.commit(digest)
        layer = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
        manifest = Manifest.encode(
            ImageManifest(
                schema_version=2, media_type=OCI_MANIFEST, config=await put(local, b"{}", OCI_CONFIG), layers=(layer,)
            )
        )
        await local.put_manifest(manifest, [LATEST])
        back = Layout(tmp_path / "back", create=True).repository(RepositoryName(""))
        tracemalloc.start()
        try:
            await Copy(source=local, destination=ours.repository).image(manifest, [LATEST])
            await Copy(source=ours.repository, destination=back).image(manifest, [LATEST])
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (await back.stat_blob(layer.digest)).size == size
        assert most < 40 * MEBIBYTE


class TestProgress:
    async def test_each_byte_that_moves_is_told_once(self, source: MemoryRepository) -> None:
        destination, progress = MemoryRegistry().repository(NAME), Recorded()
        manifest = await put_image(source, bytes(300_000), b"small")
        await Copy(source=source, destination=destination, progress=progress, group="web").image(manifest, [LATEST])
        assert progress.ended
        assert {step.activity for step in progress.steps} == {Activity.COPY}
        assert {step.group for step in progress.steps} == {"web"}
        for step in progress.steps:
            assert step.descriptor is not None
            assert progress.advanced[step] == step.total == step.descriptor.size
        assert set(map(tuple, progress.outcomes.values())) == {(Outcome.COPIED,)}

    async def test_what_is_there_moves_no_bytes(self, source: MemoryRepository) -> None:
        destination = MemoryRegistry().repository(NAME)
        manifest = await put_image(source, b"layer")
        await Copy(source=source, destination=destination).image(manifest, [LATEST])
        for tags in ([LATEST], []):
            progress = Recorded()
            await Copy(source=source, destination=destination, progress=progress).image(manifest, tags)
            assert progress.outcomes == {manifest.digest: [Outcome.PRESENT]}
            assert progress.advanced.total() == 0

    async def test_what_is_sent_again_counts_no_more(self, source: MemoryRepository) -> None:
        """An upload that breaks off goes on from where the registry has it, or from the start."""
        descriptor = await put(source, b"0123456789")
        counted: list[int] = []
        content = read_content(source, descriptor, counted.append)
        for offset in (0, 5, 0):
            async for _ in content(offset):
                pass
        assert sum(counted) == 10

    async def test_one_failure_is_told_as_one(self, source: MemoryRepository) -> None:
        layers = [bytes([n]) * (n + 1) for n in range(BLOBS_AT_ONCE + 1)]
        manifest = await put_image(source, *layers)
        watcher, destination = watched(failing=Digest.of(layers[-1]))
        watcher.held = asyncio.Event()
        progress = Recorded()
        with pytest.raises(DigestInvalid):
            await Copy(source=source, destination=destination, progress=progress).image(manifest, [LATEST])
        assert progress.ended
        outcomes = [outcome for outcomes in progress.outcomes.values() for outcome in outcomes]
        assert outcomes.count(Outcome.FAILED) == 1
        assert set(outcomes) == {Outcome.FAILED, Outcome.CANCELLED}


class TestFailures:
    async def test_a_failing_blob_stops_the_others_and_leaves_no_tag(self, source: MemoryRepository) -> None:
        layers = [bytes([n]) * 10 for n in range(10)]
        manifest = await put_image(source, *layers, b"the largest, so that it comes first")
        watcher, destination = watched(failing=Digest.of(b"the largest, so that it comes first"))
        watcher.held = asyncio.Event()
        before = asyncio.all_tasks()
        with pytest.raises(DigestInvalid, match="does not arrive"):
            await Copy(source=source, destination=destination).image(manifest, [LATEST])
        assert asyncio.all_tasks() == before
        assert watcher.puts == []
        assert watcher.running == 0
        with pytest.raises(ManifestUnknown):
            await destination.get_manifest(LATEST)

    async def test_what_was_copied_before_a_failure_is_not_copied_again(self, source: MemoryRepository) -> None:
        manifest = await put_image(source, b"arrives at once", b"no")
        watcher, destination = watched(failing=Digest.of(b"no"))
        with pytest.raises(DigestInvalid):
            await Copy(source=source, destination=destination).image(manifest, [LATEST])
        arrived = list(watcher.puts)
        watcher._failing = None
        await Copy(source=source, destination=destination).image(manifest, [LATEST])
        assert watcher.puts[: len(arrived)] == arrived
        assert len(watcher.puts) == len(set(watcher.puts)) == 4

    async def test_a_cancelled_copy_leaves_no_task_and_no_tag(self, source: MemoryRepository) -> None:
        manifest = await put_image(source, *(bytes([n]) * 10 for n in range(10)))
        watcher, destination = watched()
        watcher.held = asyncio.Event()
        before = asyncio.all_tasks()
        copying = asyncio.create_task(Copy(source=source, destination=destination).image(manifest, [LATEST]))
        await watcher.begun.wait()
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert asyncio.all_tasks() == before
        assert watcher.running == 0
        with pytest.raises(ManifestUnknown):
            await destination.get_manifest(LATEST)

    async def test_a_copy_that_is_cancelled_while_it_sends_leaves_nothing_behind(
        self, source: MemoryRepository, ours: OurRegistry
    ) -> None:
        before = asyncio.all_tasks()
        sending, never = asyncio.Event(), asyncio.Event()

        class Slow(MemoryRepository):
            @asynccontextmanager
            async def open_blob(self, digest: Digest, part: ByteRange | None = None) -> AsyncIterator[MemoryBlob]:
                sending.set()
                await never.wait()
                async with super().open_blob(digest, part) as blob:
                    yield blob

        manifest = await put_image(source, b"layer")
        copying = asyncio.create_task(
            Copy(source=Slow(NAME, source._all), destination=ours.repository).image(manifest, [LATEST])
        )
        await sending.wait()
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
        # The connection's other end, which is here as well, has yet to notice.
        left = {repr(task.get_coro()) for task in asyncio.all_tasks() - before}
        assert [name for name in left if "Copy." in name or "ClientRequest." in name] == []
        assert (await ours.remote.list_repositories()).items == ()

    @pytest.mark.parametrize("raw", [b"other", b"longer than it should be"])
    async def test_a_damaged_source_is_told_and_nothing_arrives(
        self, source: MemoryRepository, ours: OurRegistry, raw: bytes
    ) -> None:
        manifest = await put_image(source, b"layer")
        source._contents.blobs[Digest.of(b"layer")] = raw
        with pytest.raises((DigestInvalid, SizeInvalid), match=Digest.of(b"layer")):
            await Copy(source=source, destination=ours.repository).image(manifest, [LATEST])
        with pytest.raises(BlobUnknown):
            await ours.repository.stat_blob(Digest.of(b"layer"))
        with pytest.raises(ManifestUnknown):
            await ours.repository.get_manifest(LATEST)

    async def test_a_blob_that_the_source_has_not_is_named(self, source: MemoryRepository, ours: OurRegistry) -> None:
        manifest = await put_image(source, b"layer")
        del source._contents.blobs[Digest.of(b"layer")]
        with pytest.raises(BlobUnknown, match=Digest.of(b"layer")):
            await Copy(source=source, destination=ours.repository).image(manifest, [LATEST])

    async def test_a_tag_that_moved_meanwhile_is_moved_back(self, source: MemoryRepository, ours: OurRegistry) -> None:
        first, second = await put_image(source, b"1"), await put_image(source, b"2")
        for manifest in (first, second, first):
            await Copy(source=source, destination=ours.repository).image(manifest, [LATEST])
            assert (await ours.repository.get_manifest(LATEST)).digest == manifest.digest


async def test_content_is_read_from_any_offset(source: MemoryRepository) -> None:
    blob = await put(source, b"0123456789")
    for offset in (0, 1, 9):
        assert b"".join([c async for c in read_content(source, blob)(offset)]) == b"0123456789"[offset:]
