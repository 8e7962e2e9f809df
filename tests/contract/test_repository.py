"""What every Repository does, wherever its content is (layerkit/oci/repository.py)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from layerkit.oci.byterange import ByteRange
from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import EMPTY, EMPTY_CONTENT, Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import (
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    RangeInvalid,
    SizeInvalid,
)
from layerkit.oci.manifest import ImageIndex, ImageManifest, Manifest
from layerkit.oci.mediatype import DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, OCTET_STREAM
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Content, Registry, Repository

NAME = RepositoryName("library/example")
OTHER = RepositoryName("library/blobs/manifests")
LATEST = Tag("latest")
LARGE = bytes(range(256)) * 4096 * 3


@pytest.fixture
def repository(registry: Registry) -> Repository:
    return registry.repository(NAME)


def content_of(raw: bytes, chunk: int = 100_000) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        for start in range(offset, len(raw), chunk):
            yield raw[start : start + chunk]

    return read


def blob_of(raw: bytes, algorithm: str = "sha256", media_type: str = OCTET_STREAM) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(raw, algorithm), size=len(raw))


async def put(repository: Repository, raw: bytes, media_type: str = OCTET_STREAM) -> Descriptor:
    descriptor = blob_of(raw, media_type=media_type)
    await repository.put_blob(descriptor, content_of(raw))
    return descriptor


async def read(repository: Repository, digest: Digest, part: ByteRange | None = None) -> bytes:
    async with repository.open_blob(digest, part) as blob:
        return b"".join([chunk async for chunk in blob])


async def put_image(repository: Repository, layer: bytes, *tags: str, **fields: object) -> Manifest:
    config = ImageConfig.build({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
    manifest = Manifest.encode(
        ImageManifest(
            schema_version=2,
            media_type=OCI_MANIFEST,
            config=await put(repository, config.raw, OCI_CONFIG),
            layers=(await put(repository, layer, OCI_LAYER_GZIP),),
            **fields,  # type: ignore[arg-type]
        )
    )
    await repository.put_manifest(manifest, [Tag(tag) for tag in tags])
    return manifest


class TestBlobs:
    @pytest.mark.parametrize("raw", [b"", b"x", LARGE], ids=["empty", "tiny", "large"])
    async def test_a_blob_is_read_as_it_was_written(self, repository: Repository, raw: bytes) -> None:
        descriptor = await put(repository, raw)
        assert (await repository.stat_blob(descriptor.digest)).size == len(raw)
        assert await read(repository, descriptor.digest) == raw

    async def test_a_sha512_blob_is_read_as_it_was_written(self, repository: Repository) -> None:
        descriptor = blob_of(LARGE, "sha512")
        await repository.put_blob(descriptor, content_of(LARGE))
        assert await read(repository, descriptor.digest) == LARGE

    async def test_writing_a_blob_again_is_no_error(self, repository: Repository) -> None:
        await put(repository, b"twice")
        descriptor = await put(repository, b"twice")
        assert await read(repository, descriptor.digest) == b"twice"

    async def test_a_blob_that_was_never_written_is_unknown(self, repository: Repository) -> None:
        absent = Digest.of(b"absent")
        with pytest.raises(BlobUnknown, match=absent.encoded):
            await repository.stat_blob(absent)
        with pytest.raises(BlobUnknown, match=absent.encoded):
            await read(repository, absent)

    @pytest.mark.parametrize(
        ("part", "expected"),
        [
            (ByteRange(0, 4), b"01234"),
            (ByteRange(7), b"789"),
            (ByteRange(8, 100), b"89"),
            (ByteRange(-3), b"789"),
            (ByteRange(-100), b"0123456789"),
            (ByteRange(0, 9), b"0123456789"),
        ],
        ids=str,
    )
    async def test_a_part_is_the_bytes_asked_for(
        self, repository: Repository, part: ByteRange, expected: bytes
    ) -> None:
        descriptor = await put(repository, b"0123456789")
        async with repository.open_blob(descriptor.digest, part) as blob:
            assert blob.stop - blob.start == len(expected)
            assert blob.descriptor.size == 10
            assert b"".join([chunk async for chunk in blob]) == expected

    async def test_a_part_behind_the_end_is_refused(self, repository: Repository) -> None:
        descriptor = await put(repository, b"0123456789")
        with pytest.raises(RangeInvalid):
            await read(repository, descriptor.digest, ByteRange(10))

    async def test_content_of_another_digest_is_refused_and_not_kept(self, repository: Repository) -> None:
        descriptor = blob_of(b"promised")
        with pytest.raises((DigestInvalid, SizeInvalid)):
            await repository.put_blob(descriptor, content_of(b"delivers"))
        with pytest.raises(BlobUnknown):
            await repository.stat_blob(descriptor.digest)

    @pytest.mark.parametrize("raw", [b"promise", b"promised and more"])
    async def test_content_of_another_size_is_refused_and_not_kept(self, repository: Repository, raw: bytes) -> None:
        descriptor = blob_of(b"promised")
        with pytest.raises((DigestInvalid, SizeInvalid)):
            await repository.put_blob(descriptor, content_of(raw))
        with pytest.raises(BlobUnknown):
            await repository.stat_blob(descriptor.digest)

    @pytest.mark.parametrize("size", [7, 9, 2**20])
    async def test_a_size_that_is_not_that_of_the_digest_s_content_is_refused(
        self, repository: Repository, size: int
    ) -> None:
        """A manifest with this descriptor would be one that no consumer takes."""
        descriptor = Descriptor(media_type=OCTET_STREAM, digest=Digest.of(b"promised"), size=size)
        with pytest.raises(SizeInvalid):
            await repository.put_blob(descriptor, content_of(b"promised"))

    async def test_a_blob_of_another_repository_is_mounted(self, registry: Registry) -> None:
        descriptor = await put(registry.repository(OTHER), b"mounted")
        repository = registry.repository(NAME)
        assert await repository.mount_blob(descriptor.digest, OTHER)
        assert await read(repository, descriptor.digest) == b"mounted"

    async def test_a_blob_is_mounted_from_wherever_it_is(self, registry: Registry) -> None:
        """`from` is optional (distribution-spec, "Mounting a blob from another repository")."""
        descriptor = await put(registry.repository(OTHER), b"mounted")
        repository = registry.repository(NAME)
        assert await repository.mount_blob(descriptor.digest, None)
        assert await read(repository, descriptor.digest) == b"mounted"

    async def test_a_blob_that_nobody_has_is_not_mounted(self, repository: Repository) -> None:
        assert not await repository.mount_blob(Digest.of(b"nobody's"), OTHER)
        assert not await repository.mount_blob(Digest.of(b"nobody's"), None)
        with pytest.raises(BlobUnknown):
            await repository.stat_blob(Digest.of(b"nobody's"))

    async def test_a_deleted_blob_is_unknown(self, repository: Repository) -> None:
        descriptor = await put(repository, b"short-lived")
        await repository.delete_blob(descriptor.digest)
        with pytest.raises(BlobUnknown):
            await repository.stat_blob(descriptor.digest)
        with pytest.raises(BlobUnknown):
            await repository.delete_blob(descriptor.digest)

    async def test_a_blob_that_a_manifest_needs_is_not_deleted(self, repository: Repository) -> None:
        manifest = await put_image(repository, b"needed", "latest")
        with pytest.raises(Denied, match=manifest.digest.encoded):
            await repository.delete_blob(Digest.of(b"needed"))
        assert await read(repository, Digest.of(b"needed")) == b"needed"

    async def test_many_blobs_are_written_at_once(self, repository: Repository) -> None:
        contents = [bytes([n]) * (50_000 * n) for n in range(20)]
        await asyncio.gather(*(put(repository, raw) for raw in contents))
        for raw in contents:
            assert await read(repository, Digest.of(raw)) == raw


class TestUploads:
    async def test_an_upload_grows_over_several_openings(self, repository: Repository) -> None:
        upload_id = await repository.start_upload()
        for start in range(0, len(LARGE), 700_001):
            async with repository.open_upload(upload_id) as upload:
                assert upload.offset == start
                await upload.append(LARGE[start : start + 700_001])
        async with repository.open_upload(upload_id) as upload:
            assert upload.offset == len(LARGE)
            descriptor = await upload.commit(Digest.of(LARGE))
        assert descriptor.size == len(LARGE)
        assert await read(repository, descriptor.digest) == LARGE

    async def test_appending_and_committing_go_in_one_opening(self, repository: Repository) -> None:
        async with repository.open_upload(await repository.start_upload()) as upload:
            await upload.append(b"one ")
            await upload.append(b"two")
            assert upload.offset == 7
            await upload.commit(Digest.of(b"one two"))
        assert await read(repository, Digest.of(b"one two")) == b"one two"

    async def test_an_upload_may_end_with_a_digest_of_another_algorithm(self, repository: Repository) -> None:
        async with repository.open_upload(await repository.start_upload()) as upload:
            await upload.append(LARGE)
        async with repository.open_upload(upload.id) as upload:
            await upload.append(b"end")
            await upload.commit(Digest.of(LARGE + b"end", "sha512"))
        assert await read(repository, Digest.of(LARGE + b"end", "sha512")) == LARGE + b"end"

    async def test_a_wrong_digest_ends_an_upload_without_a_blob(self, repository: Repository) -> None:
        upload_id = await repository.start_upload()
        async with repository.open_upload(upload_id) as upload:
            await upload.append(b"content")
            with pytest.raises(DigestInvalid):
                await upload.commit(Digest.of(b"other"))
        for raw in (b"content", b"other"):
            with pytest.raises(BlobUnknown):
                await repository.stat_blob(Digest.of(raw))
        with pytest.raises(BlobUploadUnknown):
            async with repository.open_upload(upload_id):
                pass

    async def test_a_cancelled_upload_is_unknown(self, repository: Repository) -> None:
        upload_id = await repository.start_upload()
        async with repository.open_upload(upload_id) as upload:
            await upload.append(b"never mind")
            await upload.cancel()
        with pytest.raises(BlobUploadUnknown):
            async with repository.open_upload(upload_id):
                pass

    async def test_a_committed_upload_is_unknown(self, repository: Repository) -> None:
        upload_id = await repository.start_upload()
        async with repository.open_upload(upload_id) as upload:
            await upload.commit(Digest.of(b""))
        with pytest.raises(BlobUploadUnknown):
            async with repository.open_upload(upload_id):
                pass

    @pytest.mark.parametrize("registry", ["memory", "layout", "local"], indirect=True)
    async def test_an_upload_has_one_writer(self, registry: Registry) -> None:
        """A client holds no lock between its requests; its server does during each of them."""
        repository = registry.repository(NAME)
        upload_id = await repository.start_upload()
        async with repository.open_upload(upload_id):
            with pytest.raises(BlobUploadInvalid):
                async with repository.open_upload(upload_id):
                    pass


class TestManifests:
    async def test_a_manifest_is_read_byte_for_byte(self, repository: Repository) -> None:
        """The bytes are the truth, whatever their form: here with spaces, odd order and unknown fields."""
        config = await put(repository, b"{}", OCI_CONFIG)
        raw = (
            b'{ "unknown": [1.50],\n "layers" : [ ], "config": {"digest":"%s", "size": 2,\t"mediaType": "%s"},'
            b' "schemaVersion": 2 }\n\n' % (config.digest.encode(), OCI_CONFIG.encode())
        )
        manifest = Manifest.of(raw, OCI_MANIFEST)
        await repository.put_manifest(manifest, [LATEST])
        for reference in (LATEST, manifest.digest):
            found = await repository.get_manifest(reference)
            assert (found.raw, found.media_type, found.digest) == (raw, OCI_MANIFEST, Digest.of(raw))
            assert await repository.stat_manifest(reference) == manifest.descriptor

    async def test_the_media_type_is_kept(self, repository: Repository) -> None:
        config = await put(repository, b"{}", "application/vnd.docker.container.image.v1+json")
        manifest = Manifest.encode(
            ImageManifest(schema_version=2, media_type=DOCKER_MANIFEST, config=config, layers=())
        )
        await repository.put_manifest(manifest, [LATEST])
        assert (await repository.get_manifest(LATEST)).media_type == DOCKER_MANIFEST

    async def test_a_manifest_that_was_never_put_is_unknown(self, repository: Repository) -> None:
        for reference in (LATEST, Digest.of(b"absent")):
            with pytest.raises(ManifestUnknown):
                await repository.get_manifest(reference)
            with pytest.raises(ManifestUnknown):
                await repository.stat_manifest(reference)

    async def test_a_manifest_whose_content_is_missing_is_refused_with_each_digest(
        self, repository: Repository
    ) -> None:
        """MANIFEST_BLOB_UNKNOWN, an entry for each (distribution-spec, "Error Codes")."""
        config, layer = blob_of(b"missing config"), blob_of(b"missing layer")
        manifest = Manifest.encode(
            ImageManifest(schema_version=2, media_type=OCI_MANIFEST, config=config, layers=(layer,))
        )
        with pytest.raises(ManifestBlobUnknown) as caught:
            await repository.put_manifest(manifest, [LATEST])
        assert caught.value.details == tuple({"digest": d} for d in sorted([config.digest, layer.digest]))
        with pytest.raises(ManifestUnknown):
            await repository.get_manifest(manifest.digest)

    async def test_what_is_no_manifest_is_refused(self, repository: Repository) -> None:
        for raw in (b"", b"{}", b"[]", b"garbage", b'{"schemaVersion":2}'):
            with pytest.raises(ManifestInvalid):
                await repository.put_manifest(Manifest.of(raw, OCI_MANIFEST), [LATEST])

    async def test_a_tag_moves_and_the_old_manifest_stays(self, repository: Repository) -> None:
        first = await put_image(repository, b"first", "latest")
        second = await put_image(repository, b"second", "latest", "v2")
        assert (await repository.get_manifest(LATEST)).digest == second.digest
        assert (await repository.get_manifest(first.digest)).raw == first.raw

    async def test_an_index_refers_to_manifests_and_to_blobs(self, repository: Repository) -> None:
        """BuildKit's cache is an index whose children are blobs."""
        image = await put_image(repository, b"child")
        cache = await put(repository, b"cache", OCI_LAYER_GZIP)
        index = Manifest.encode(ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=(image.descriptor, cache)))
        await repository.put_manifest(index, [LATEST])
        assert (await repository.get_manifest(LATEST)).raw == index.raw
        assert (await repository.get_manifest(image.digest)).raw == image.raw

    async def test_an_index_with_a_missing_child_is_refused(self, repository: Repository) -> None:
        absent = blob_of(b"absent", media_type=OCI_MANIFEST)
        index = Manifest.encode(ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=(absent,)))
        with pytest.raises(ManifestBlobUnknown):
            await repository.put_manifest(index, [LATEST])

    async def test_a_layer_that_may_not_be_distributed_need_not_be_there(self, repository: Repository) -> None:
        foreign = blob_of(b"elsewhere", media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
        config = await put(repository, b"{}", OCI_CONFIG)
        manifest = Manifest.encode(
            ImageManifest(schema_version=2, media_type=OCI_MANIFEST, config=config, layers=(foreign,))
        )
        await repository.put_manifest(manifest, [LATEST])
        assert (await repository.get_manifest(LATEST)).digest == manifest.digest

    async def test_deleting_a_tag_leaves_the_manifest_and_its_other_tags(self, repository: Repository) -> None:
        manifest = await put_image(repository, b"layer", "one", "two")
        await repository.delete_tag(Tag("one"))
        with pytest.raises(ManifestUnknown):
            await repository.get_manifest(Tag("one"))
        assert (await repository.get_manifest(Tag("two"))).digest == manifest.digest
        await repository.delete_tag(Tag("two"))
        assert (await repository.get_manifest(manifest.digest)).raw == manifest.raw
        with pytest.raises(ManifestUnknown):
            await repository.delete_tag(Tag("two"))

    async def test_deleting_a_manifest_takes_its_tags_along(self, repository: Repository) -> None:
        manifest = await put_image(repository, b"layer", "one", "two")
        other = await put_image(repository, b"other layer", "three")
        await repository.delete_manifest(manifest.digest)
        for reference in (Tag("one"), Tag("two"), manifest.digest):
            with pytest.raises(ManifestUnknown):
                await repository.get_manifest(reference)
        with pytest.raises(ManifestUnknown):
            await repository.delete_manifest(manifest.digest)
        assert (await repository.list_tags()).items == (Tag("three"),)
        assert (await repository.get_manifest(other.digest)).raw == other.raw


class TestLists:
    async def test_tags_come_in_byte_order(self, repository: Repository) -> None:
        tags = ["v10", "v2", "V3", "_x", "latest", "0"]
        await put_image(repository, b"layer", *tags)
        assert (await repository.list_tags()).items == tuple(sorted(tags))

    async def test_tags_come_in_pages(self, repository: Repository) -> None:
        """`n` and `last` (distribution-spec, "Listing Tags")."""
        await put_image(repository, b"layer", "a", "b", "c", "d", "e")
        pages, last = [], ""
        while True:
            page = await repository.list_tags(limit=2, last=last)
            pages.append(page.items)
            if page.last is None:
                break
            last = page.last
        assert pages == [("a", "b"), ("c", "d"), ("e",)]
        assert (await repository.list_tags(limit=5)).last is None
        assert (await repository.list_tags(last="c")).items == ("d", "e")
        nothing = await repository.list_tags(limit=0)
        assert (nothing.items, nothing.last) == ((), None)

    async def test_the_tags_of_an_unknown_repository_are_an_error(self, repository: Repository) -> None:
        with pytest.raises(NameUnknown):
            await repository.list_tags()

    async def test_repositories_come_in_byte_order_and_pages(self, registry: Registry) -> None:
        names = [RepositoryName(name) for name in ("b", "a/b", "a-b", "c/d/e")]
        for name in names:
            await put_image(registry.repository(name), b"layer", "latest")
        assert (await registry.list_repositories()).items == tuple(sorted(names))
        page = await registry.list_repositories(limit=3)
        assert (page.items, page.last) == (("a-b", "a/b", "b"), "b")
        assert (await registry.list_repositories(limit=3, last="b")).items == ("c/d/e",)

    async def test_referrers_are_the_manifests_with_that_subject(self, repository: Repository) -> None:
        """ "The response MUST contain [...] descriptors", with artifactType and annotations ("Listing Referrers")."""
        await repository.put_blob(EMPTY, content_of(EMPTY_CONTENT))
        image = await put_image(repository, b"layer", "latest")
        referrers = []
        for kind in ("application/spdx+json", "application/x-signature"):
            artifact = Manifest.encode(
                ImageManifest(
                    schema_version=2,
                    media_type=OCI_MANIFEST,
                    artifact_type=kind,
                    config=EMPTY,
                    layers=(EMPTY,),
                    subject=image.descriptor,
                    annotations={"kind": kind},
                )
            )
            await repository.put_manifest(artifact)
            referrers.append(artifact.pointer())
        found = (await repository.list_referrers(image.digest)).items
        assert sorted(found, key=str) == sorted(referrers, key=str)
        filtered = await repository.list_referrers(image.digest, artifact_types=["application/spdx+json"])
        assert filtered.items == (referrers[0],)
        page = await repository.list_referrers(image.digest, limit=1)
        assert page.last is not None
        rest = await repository.list_referrers(image.digest, limit=1, last=page.last)
        assert page.items + rest.items == found

    async def test_a_subject_may_be_missing_and_has_referrers_all_the_same(self, repository: Repository) -> None:
        """ "A registry MUST accept an otherwise valid manifest with a subject field that references a manifest that
        does not exist" (distribution-spec, "Pushing Manifests with Subject")."""
        absent = blob_of(b"absent", media_type=OCI_MANIFEST)
        image = await put_image(repository, b"layer", subject=absent)
        found = await repository.list_referrers(absent.digest)
        assert [(item.digest, item.artifact_type) for item in found.items] == [(image.digest, OCI_CONFIG)]
        assert (await repository.list_referrers(Digest.of(b"nothing"))).items == ()
