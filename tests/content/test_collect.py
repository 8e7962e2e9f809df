"""What nothing refers to gives its bytes back (layerkit/content/collect.py), and nothing else does."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from layerkit.content.collect import GRACE_SECONDS, Collected, prune, remove
from layerkit.content.layout import LayoutRepository
from layerkit.content.store import Store
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, ManifestUnknown
from layerkit.oci.manifest import ImageIndex, ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST
from layerkit.oci.reference import Reference, RepositoryName, Tag, parse_reference
from layerkit.oci.repository import Content
from tests.programs import PROJECT

WEB = parse_reference("registry.example/acme/web:1")
API = parse_reference("registry.example/acme/api:1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", _nowhere, create=True)


def _nowhere(reference: Reference) -> Any:
    pytest.fail(f"{reference} was asked for")


def content_of(raw: bytes) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    return read


def blob_of(raw: bytes, media_type: str = OCI_LAYER_GZIP) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw))


def repository_of(store: Store, reference: Reference) -> LayoutRepository:
    return store.repository(RepositoryName(reference.name))


async def put(store: Store, raw: bytes, media_type: str = OCI_LAYER_GZIP) -> Descriptor:
    await store.repository(RepositoryName("")).put_blob(blob_of(raw, media_type), content_of(raw))
    return blob_of(raw, media_type)


async def put_image(store: Store, *layers: bytes, name: Reference | None = WEB, **fields: Any) -> Manifest:
    manifest = Manifest.encode(
        ImageManifest(
            schema_version=2,
            media_type=OCI_MANIFEST,
            config=await put(store, b"{}", OCI_CONFIG),
            layers=tuple([await put(store, layer) for layer in layers]),
            **fields,
        )
    )
    await repository_of(store, name or WEB).put_manifest(manifest, [name.tag] if name and name.tag else [])
    return manifest


async def put_index(store: Store, *children: Manifest, name: Reference = WEB) -> Manifest:
    manifest = Manifest.encode(
        ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=tuple(child.descriptor for child in children))
    )
    await repository_of(store, name).put_manifest(manifest, [name.tag or Tag("latest")])
    return manifest


def blobs(store: Store) -> set[str]:
    return {path.name for path in (store.root / "blobs").glob("*/*")}


def hexes(*contents: bytes | Manifest) -> set[str]:
    return {(each.digest if isinstance(each, Manifest) else Digest.of(each)).encoded for each in contents}


HOLDER = """
import sys
from pathlib import Path
from layerkit.content.store import Store
from layerkit.oci.digest import Digest
store = Store(Path(sys.argv[1]), None)
for digest in sys.argv[2:]:
    store.size_of(Digest(digest))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(store: Store, *digests: Digest) -> Iterator[None]:
    """One that has found this content in the store, and is at work."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, store.root, *digests],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.kill()


class TestRemove:
    async def test_an_image_goes_with_all_that_it_alone_has(self, store: Store) -> None:
        image = await put_image(store, b"shared", b"own")
        other = await put_image(store, b"shared", name=API)
        store.release()
        freed = remove(store, WEB)
        assert freed == Collected(manifests=1, blobs=1, size=len(image.raw) + len(b"own"))
        assert blobs(store) == hexes(other, b"{}", b"shared")
        assert (await repository_of(store, API).get_manifest(Tag("1"))).digest == other.digest
        store.release()
        remove(store, API)
        assert blobs(store) == set()
        assert store.entries() == ()

    async def test_an_image_with_another_name_stays(self, store: Store) -> None:
        image = await put_image(store, b"layer")
        await repository_of(store, API).put_manifest(image, [Tag("1")])
        store.release()
        assert remove(store, WEB) == Collected()
        assert (await repository_of(store, API).get_manifest(Tag("1"))).digest == image.digest
        with pytest.raises(ManifestUnknown, match=r"registry\.example/acme/web:1 is not in"):
            remove(store, WEB)

    async def test_a_digest_takes_every_name_of_the_repository(self, store: Store) -> None:
        image = await put_image(store, b"layer")
        await repository_of(store, WEB).put_manifest(image, [Tag("2"), Tag("3")])
        store.release()
        remove(store, WEB.at(image.digest))
        assert blobs(store) == set()

    async def test_an_index_goes_with_its_children_but_for_those_of_others(self, store: Store) -> None:
        one, two = await put_image(store, b"one", name=None), await put_image(store, b"two", name=None)
        await put_index(store, one, two)
        await repository_of(store, API).put_manifest(two, [Tag("1")])
        store.release()
        remove(store, WEB)
        assert blobs(store) == hexes(two, b"{}", b"two")

    async def test_referrers_go_with_their_subject(self, store: Store) -> None:
        image = await put_image(store, b"layer")
        signature = await put_image(store, b"signature", name=None, subject=image.descriptor)
        await put_image(store, b"of the signature", name=None, subject=signature.descriptor)
        named = await put_image(store, b"named", name=API, subject=image.descriptor)
        store.release()
        remove(store, WEB)
        assert blobs(store) == hexes(named, b"{}", b"named")

    async def test_what_a_process_at_work_has_found_stays_until_it_ends(self, store: Store) -> None:
        image = await put_image(store, b"layer", b"other")
        store.release()
        with another_process(store, Digest.of(b"layer")):
            remove(store, WEB)
            assert blobs(store) == hexes(b"layer")
        prune(store, now=time.time())
        assert blobs(store) == set()
        assert image.raw

    async def test_a_manifest_that_a_process_reads_stays_with_all_below_it(self, store: Store) -> None:
        image = await put_image(store, b"layer")
        store.release()
        with another_process(store, image.digest):
            remove(store, WEB)
            assert blobs(store) == hexes(image, b"{}", b"layer")

    async def test_where_a_blob_is_elsewhere_is_forgotten_with_it(self, store: Store) -> None:
        layer = blob_of(b"elsewhere")
        await store.note_origin(layer, API)
        manifest = Manifest.encode(
            ImageManifest(
                schema_version=2, media_type=OCI_MANIFEST, config=await put(store, b"{}", OCI_CONFIG), layers=(layer,)
            )
        )
        await repository_of(store, WEB).put_manifest(manifest, [Tag("1")])
        store.release()
        remove(store, WEB)
        assert store.origin_of(layer.digest) is None
        with pytest.raises(BlobUnknown):
            await store.repository(RepositoryName("")).stat_blob(layer.digest)

    async def test_a_damaged_manifest_is_removed_too(self, store: Store) -> None:
        image = await put_image(store, b"layer")
        store.path_of(image.digest).write_bytes(b"damaged")
        store.release()
        remove(store, WEB)
        prune(store, now=time.time())
        assert blobs(store) == set()


class TestPrune:
    async def test_only_what_no_named_image_needs_is_freed(self, store: Store) -> None:
        image = await put_image(store, b"layer")
        signature = await put_image(store, b"signature", name=None, subject=image.descriptor)
        older = await put_image(store, b"older", name=API)
        newer = await put_image(store, b"newer", name=API)
        untagged = await put_image(store, b"untagged", name=None)
        await put(store, b"of nobody")
        await store.note_origin(blob_of(b"noted"), API)
        store.release()
        freed = prune(store, now=time.time())
        assert blobs(store) == hexes(image, signature, newer, b"{}", b"layer", b"signature", b"newer")
        assert freed == Collected(
            manifests=2, blobs=3, size=len(older.raw + untagged.raw + b"older" + b"untagged" + b"of nobody")
        )
        assert store.origin_of(Digest.of(b"noted")) is None
        assert prune(store, now=time.time()) == Collected()

    async def test_what_a_process_at_work_counts_on_stays(self, store: Store) -> None:
        await put(store, b"written by a build")
        store.release()
        with another_process(store, Digest.of(b"written by a build")):
            assert prune(store, now=time.time()) == Collected()
        assert prune(store, now=time.time()).size == len(b"written by a build")

    async def test_our_own_work_is_not_freed_either(self, store: Store) -> None:
        await put(store, b"just written")
        assert prune(store, now=time.time()) == Collected()

    async def test_leftovers_are_freed_when_they_are_old_and_nobody_writes_at_them(self, store: Store) -> None:
        repository = store.repository(RepositoryName(""))
        young, open_one = await repository.start_upload(), await repository.start_upload()
        (store.root / "blobs" / ".upload-0123").write_bytes(b"killed")
        store.partial_path_of(Digest.of(b"x")).write_bytes(b"half")
        assert prune(store, now=time.time()) == Collected()
        later = time.time() + GRACE_SECONDS + 10
        async with repository.open_upload(open_one):
            assert prune(store, now=later).size == len(b"killed" + b"half")
            assert [path.name for path in (store.root / "blobs").glob(".*")] == [f".upload-{open_one}"]
        assert young

    async def test_files_of_others_are_left_alone(self, store: Store) -> None:
        strange = store.root / "blobs" / "sha256" / "README"
        strange.write_text("hello")
        prune(store, now=time.time())
        assert strange.exists()


WORKER = """
import asyncio, sys
from pathlib import Path
from layerkit.content.store import Store
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.reference import RepositoryName, Tag

async def main(root, number):
    async def content_of(raw):
        yield raw
    for turn in range(40):
        store = Store(Path(root), None)
        repository = store.repository(RepositoryName("registry.example/acme/web"))
        blobs = []
        for raw in (b"{}", b"shared %d" % (turn % 3), b"own %d" % number):
            blob = Descriptor(media_type="application/octet-stream", digest=Digest.of(raw), size=len(raw))
            try:
                await repository.stat_blob(blob.digest)
            except BlobUnknown:
                await repository.put_blob(blob, lambda offset, raw=raw: content_of(raw))
            blobs.append(blob)
        manifest = Manifest.encode(ImageManifest(
            schema_version=2, media_type="application/vnd.oci.image.manifest.v1+json", config=blobs[0],
            layers=tuple(blobs[1:]), annotations={"turn": str(turn)},
        ))
        await repository.put_manifest(manifest, [Tag(f"t{number}")])
        found = await repository.get_manifest(Tag(f"t{number}"))
        for blob in found.document.references():
            async with repository.open_blob(blob.digest) as reader:
                assert sum([len(chunk) async for chunk in reader]) == blob.size
        store.release()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def start_worker(store: Store, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, store.root, str(number)], cwd=PROJECT, stderr=subprocess.PIPE, text=True
    )


async def test_builds_beside_rm_and_prune_lose_nothing(store: Store) -> None:
    """The builders find each other's blobs, and write images; meanwhile names and blobs are taken away all the time."""
    workers = [start_worker(store, number) for number in range(3)]
    try:
        while any(worker.poll() is None for worker in workers):
            await asyncio.to_thread(prune, store, now=time.time())
            for entry in store.entries():
                tag = Tag(entry.annotations.get("org.opencontainers.image.ref.name", "none"))
                if tag == "extra":
                    remove(store, parse_reference("registry.example/acme/extra:extra"))
            extra = parse_reference("registry.example/acme/extra:extra")
            await put_image(store, b"shared 1", name=extra)
            store.release()
    finally:
        for worker in workers:
            worker.kill()
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], errors
    for number in range(3):
        repository = store.repository(RepositoryName("registry.example/acme/web"))
        manifest = await repository.get_manifest(Tag(f"t{number}"))
        for descriptor in manifest.document.references():
            async with repository.open_blob(descriptor.digest) as blob:
                assert sum([len(chunk) async for chunk in blob]) == descriptor.size
