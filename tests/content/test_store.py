"""The local store (layerkit/content/store.py): what it has elsewhere, and what a process at work counts on."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pytest

from layerkit.content.layout import Layout
from layerkit.content.lease import read_leases
from layerkit.content.memory import MemoryRegistry
from layerkit.content.store import Store
from layerkit.oci.byterange import ByteRange
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    OCIError,
    SizeInvalid,
    Unavailable,
    Unsupported,
)
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, OCTET_STREAM
from layerkit.oci.reference import Reference, RepositoryName, Tag, parse_reference
from layerkit.oci.repository import BlobReader, Content, Page, Registry, Repository
from tests.programs import PROJECT

BASE = parse_reference("registry.example/library/base:1")
MIRROR = parse_reference("mirror.example/base:1")
LARGE = bytes(range(256)) * 4096 * 3


def content_of(raw: bytes) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        for start in range(offset, len(raw), 100_000):
            yield raw[start : start + 100_000]

    return read


def blob_of(raw: bytes, media_type: str = OCI_LAYER_GZIP) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw))


async def read(repository: Repository, digest: Digest, part: ByteRange | None = None) -> bytes:
    async with repository.open_blob(digest, part) as blob:
        return b"".join([chunk async for chunk in blob])


@dataclass(frozen=True)
class Cut:
    """A reader whose connection breaks after `left` bytes, or that sends other bytes than it should."""

    reader: BlobReader
    left: int | None
    sends: bytes | None

    @property
    def descriptor(self) -> Descriptor:
        return self.reader.descriptor

    @property
    def start(self) -> int:
        return self.reader.start

    @property
    def stop(self) -> int:
        return self.reader.stop

    @property
    def file(self) -> BinaryIO | None:
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.sends is not None:
            yield self.sends
            return
        left = self.left
        async for chunk in self.reader:
            for start in range(0, len(chunk), 100_000):
                piece = chunk[start : start + 100_000]
                if left is not None:
                    if left < len(piece):
                        raise Unavailable("the connection broke")
                    left -= len(piece)
                yield piece


@dataclass
class Source:
    """Registries by name, that count what is asked of them, and fail when they are told to.

    `cuts` has for each coming read after how many bytes it breaks off, None for one that does not.
    """

    registries: dict[str, MemoryRegistry] = field(default_factory=dict)
    cuts: list[int | None] = field(default_factory=list)
    sends: list[bytes | None] = field(default_factory=list)
    has_ranges: bool = True
    reads: list[tuple[str, str]] = field(default_factory=list)

    def registry(self, domain: str) -> MemoryRegistry:
        return self.registries.setdefault(domain, MemoryRegistry())

    async def put(self, reference: Reference, raw: bytes) -> Descriptor:
        await self.registry(reference.domain).repository(reference.path).put_blob(blob_of(raw), content_of(raw))
        return blob_of(raw)

    @asynccontextmanager
    async def open(self, reference: Reference) -> AsyncIterator[Registry]:
        yield SourceRegistry(self, reference.domain)


@dataclass(frozen=True)
class SourceRegistry:
    source: Source
    domain: str

    def repository(self, name: RepositoryName) -> Repository:
        return SourceRepository(self, self.source.registry(self.domain).repository(name))  # type: ignore[return-value]

    async def list_repositories(self, *, limit: int | None = None, last: str = "") -> Page[RepositoryName]:
        raise NotImplementedError


@dataclass(frozen=True)
class SourceRepository:
    """Only blobs are read of it."""

    registry: SourceRegistry
    inner: Repository

    @asynccontextmanager
    async def open_blob(self, digest: Digest, part: ByteRange | None = None) -> AsyncIterator[BlobReader]:
        source = self.registry.source
        source.reads.append((f"{self.registry.domain}/{self.inner.name}", str(part or "")))
        if part is not None and not source.has_ranges:
            raise Unsupported("the registry sent the whole blob")
        async with self.inner.open_blob(digest, part) as blob:
            left = source.cuts.pop(0) if source.cuts else None
            sends = source.sends.pop(0) if source.sends else None
            yield Cut(blob, left, sends)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def store(tmp_path: Path, source: Source) -> Store:
    return Store(tmp_path / "store", source.open, create=True)


@pytest.fixture
def repository(store: Store) -> Repository:
    return store.repository(RepositoryName("registry.example/acme/web"))


def partials(store: Store) -> list[int]:
    return [path.stat().st_size for path in (store.root / "blobs").glob(".remote-*")]


class TestElsewhere:
    async def test_a_blob_that_is_elsewhere_is_known_and_not_brought(
        self, store: Store, source: Source, repository: Repository
    ) -> None:
        layer = await source.put(BASE, LARGE)
        await store.note_origin(layer, BASE)
        assert (await repository.stat_blob(layer.digest)).size == len(LARGE)
        assert await repository.mount_blob(layer.digest, None)
        assert (source.reads, store.is_here(layer.digest)) == ([], False)

    async def test_a_manifest_is_taken_whose_layers_are_elsewhere(
        self, store: Store, source: Source, repository: Repository
    ) -> None:
        layer = await source.put(BASE, LARGE)
        config = blob_of(b"{}", OCI_CONFIG)
        await repository.put_blob(config, content_of(b"{}"))
        manifest = Manifest.encode(
            ImageManifest(schema_version=2, media_type=OCI_MANIFEST, config=config, layers=(layer,))
        )
        with pytest.raises(ManifestBlobUnknown, match=layer.digest.encoded):
            await repository.put_manifest(manifest, [Tag("1")])
        await store.note_origin(layer, BASE)
        await repository.put_manifest(manifest, [Tag("1")])
        assert (await repository.get_manifest(Tag("1"))).raw == manifest.raw
        assert source.reads == []

    async def test_who_reads_a_blob_gets_it_brought_and_it_stays(
        self, store: Store, source: Source, repository: Repository
    ) -> None:
        layer = await source.put(BASE, LARGE)
        await store.note_origin(layer, BASE)
        assert await read(repository, layer.digest) == LARGE
        assert await read(repository, layer.digest, ByteRange(10, 19)) == LARGE[10:20]
        assert source.reads == [("registry.example/library/base", "")]
        assert store.is_here(layer.digest)
        assert partials(store) == []

    async def test_many_readers_bring_a_blob_once(self, store: Store, source: Source, repository: Repository) -> None:
        layer = await source.put(BASE, LARGE)
        await store.note_origin(layer, BASE)
        other = Store(store.root, source.open)
        repositories = [repository, other.repository(RepositoryName(""))] * 4
        found = await asyncio.gather(*(read(each, layer.digest) for each in repositories))
        assert found == [LARGE] * 8
        assert len(source.reads) == 1

    async def test_the_origin_is_known_after_a_restart_and_for_one_registry(self, store: Store, source: Source) -> None:
        layer = await source.put(BASE, b"layer")
        assert store.origin_of(layer.digest) is None
        await store.note_origin(layer, BASE)
        await store.note_origin(layer, MIRROR)
        again = Store(store.root, source.open)
        assert str(again.origin_of(layer.digest)) == "mirror.example/base"
        assert str(again.origin_of(layer.digest, domain="registry.example")) == "registry.example/library/base"
        assert again.origin_of(layer.digest, domain="elsewhere.example") is None

    async def test_another_origin_serves_where_the_first_one_fails(
        self, store: Store, source: Source, repository: Repository
    ) -> None:
        layer = await source.put(BASE, LARGE)
        await store.note_origin(layer, BASE)
        await store.note_origin(layer, MIRROR)
        assert await read(repository, layer.digest) == LARGE
        assert [name for name, _ in source.reads] == ["mirror.example/base", "registry.example/library/base"]

    async def test_a_blob_that_its_origin_has_lost_is_unknown_and_says_where_it_was(
        self, store: Store, repository: Repository
    ) -> None:
        layer = blob_of(b"lost")
        await store.note_origin(layer, BASE)
        with pytest.raises(BlobUnknown, match=r"gone from registry.example/library/base: pull its image again"):
            await read(repository, layer.digest)

    async def test_a_note_that_cannot_be_read_says_nothing(self, store: Store, repository: Repository) -> None:
        layer = blob_of(b"noted")
        await store.note_origin(layer, BASE)
        for content in (b"", b"{", b'{"size":-1,"mediaType":"x","names":[]}', b"[" * 10_000):
            store.note_path_of(layer.digest).write_bytes(content)
            with pytest.raises(BlobUnknown):
                await repository.stat_blob(layer.digest)
            assert store.origin_of(layer.digest) is None
        store.note_path_of(layer.digest).write_bytes(b'{"size":5,"mediaType":"x","names":["../../etc", "a b"]}')
        with pytest.raises(BlobUnknown):
            await read(repository, layer.digest)

    async def test_deleting_a_blob_forgets_where_it_is(self, store: Store, repository: Repository) -> None:
        layer = blob_of(b"noted")
        await store.note_origin(layer, BASE)
        await repository.delete_blob(layer.digest)
        with pytest.raises(BlobUnknown):
            await repository.stat_blob(layer.digest)

    async def test_other_programs_see_a_layout(self, store: Store, source: Source) -> None:
        layer = await source.put(BASE, b"layer")
        await store.note_origin(layer, BASE)
        assert Layout(store.root).entries() == ()


class TestBrokenConnections:
    async def test_what_was_brought_before_a_cut_is_not_brought_again(
        self, store: Store, source: Source, repository: Repository
    ) -> None:
        layer = await source.put(BASE, LARGE)
        await store.note_origin(layer, BASE)
        source.cuts = [1_000_000, 1_500_000, None]
        for _ in range(2):
            with pytest.raises(Unavailable, match="the connection broke"):
                await read(repository, layer.digest)
        again = Store(store.root, source.open)
        assert await read(again.repository(RepositoryName("")), layer.digest) == LARGE
        assert [part for _, part in source.reads] == ["", "bytes=1000000-", "bytes=2500000-"]
        assert partials(store) == []

    async def test_a_registry_without_ranges_is_asked_for_the_whole(
        self, store: Store, source: Source, repository: Repository
    ) -> None:
        layer = await source.put(BASE, LARGE)
        await store.note_origin(layer, BASE)
        source.has_ranges, source.cuts = False, [1_000_000]
        with pytest.raises(Unavailable):
            await read(repository, layer.digest)
        assert await read(repository, layer.digest) == LARGE

    async def test_a_damaged_beginning_is_brought_again(
        self, store: Store, source: Source, repository: Repository
    ) -> None:
        layer = await source.put(BASE, LARGE)
        await store.note_origin(layer, BASE)
        for beginning in (b"other bytes", LARGE[:-1] + b"x", LARGE + b"more"):
            store.partial_path_of(layer.digest).write_bytes(beginning)
            assert await read(repository, layer.digest) == LARGE
            store.path_of(layer.digest).unlink()

    @pytest.mark.parametrize("sends", [b"", LARGE[:-1], LARGE + b"x", LARGE[:-1] + b"x"])
    async def test_a_registry_that_sends_other_bytes_leaves_nothing(
        self, store: Store, source: Source, repository: Repository, sends: bytes
    ) -> None:
        layer = await source.put(BASE, LARGE)
        await store.note_origin(layer, BASE)
        source.sends = [sends]
        with pytest.raises((DigestInvalid, SizeInvalid)):
            await read(repository, layer.digest)
        assert not store.is_here(layer.digest)
        assert partials(store) in ([], [0])
        assert await read(repository, layer.digest) == LARGE

    async def test_a_reader_that_is_cancelled_leaves_the_beginning_and_no_lock(
        self, store: Store, source: Source, repository: Repository
    ) -> None:
        layer = await source.put(BASE, LARGE)
        await store.note_origin(layer, BASE)
        reached, never = asyncio.Event(), asyncio.Event()

        @asynccontextmanager
        async def stalled(reference: Reference) -> AsyncIterator[Registry]:
            reached.set()
            await never.wait()
            async with source.open(reference) as registry:
                yield registry

        waiting = asyncio.create_task(read(Store(store.root, stalled).repository(RepositoryName("")), layer.digest))
        await reached.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await read(repository, layer.digest) == LARGE

    async def test_an_error_of_the_registry_comes_out_as_it_is(self, store: Store, source: Source) -> None:
        layer = blob_of(b"layer")
        await store.note_origin(layer, BASE)

        @asynccontextmanager
        async def unreachable(reference: Reference) -> AsyncIterator[Registry]:
            if reference.host:
                raise Unavailable(f"cannot reach registry {reference.host}")
            yield source.registry("")

        other = Store(store.root, unreachable)
        with pytest.raises(OCIError, match=r"cannot reach registry registry.example"):
            await read(other.repository(RepositoryName("")), layer.digest)


HOLDER = """
import asyncio, sys
from pathlib import Path
from layerkit.content.store import Store
from layerkit.oci.digest import Digest
from layerkit.oci.descriptor import Descriptor

async def main():
    store = Store(Path(sys.argv[1]), None)
    store.hold([Digest.of(text.encode()) for text in sys.argv[2:]])
    print("held", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


class TestLeases:
    def test_a_living_process_holds_and_a_dead_one_does_not(self, store: Store) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, store.root, "one", "two"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with store.locked():
                assert read_leases(store.root) == {Digest.of(b"one"), Digest.of(b"two")}
            process.kill()
        with store.locked():
            assert read_leases(store.root) == set()
        assert list((store.root / "leases").iterdir()) == []

    async def test_what_is_written_or_found_is_held_until_it_is_released(
        self, store: Store, repository: Repository
    ) -> None:
        await repository.put_blob(blob_of(b"written"), content_of(b"written"))
        store.write_blob(lambda file: file.write(b"made"), lambda _: Digest.of(b"made"))
        with pytest.raises(BlobUnknown):
            await repository.stat_blob(Digest.of(b"looked for"))
        await repository.mount_blob(Digest.of(b"mounted"), None)
        with store.locked():
            assert {Digest.of(raw) for raw in (b"written", b"made", b"looked for", b"mounted")} <= read_leases(
                store.root
            )
        store.release()
        with store.locked():
            assert read_leases(store.root) == set()

    def test_a_store_that_nobody_refers_to_any_more_ends_its_lease(self, store: Store, source: Source) -> None:
        other = Store(store.root, source.open)
        other.hold([Digest.of(b"held")])
        assert len(list((store.root / "leases").iterdir())) == 1
        del other
        assert list((store.root / "leases").iterdir()) == []

    def test_a_torn_line_of_a_lease_is_passed_over(self, store: Store) -> None:
        store.hold([Digest.of(b"held")])
        (lease,) = (store.root / "leases").iterdir()
        with lease.open("ab") as file:
            file.write(b"sha256:0123\n\xff\xfe\n")
        store.hold([Digest.of(b"another")])
        with store.locked():
            assert read_leases(store.root) == {Digest.of(b"held"), Digest.of(b"another")}


def test_the_type_of_a_blob_that_is_elsewhere_is_not_claimed(store: Store, repository: Repository) -> None:
    """As of any other Repository: who has the descriptor knows the type."""

    async def stat() -> Descriptor:
        await store.note_origin(blob_of(b"layer"), BASE)
        return await repository.stat_blob(Digest.of(b"layer"))

    assert asyncio.run(stat()).media_type == OCTET_STREAM
