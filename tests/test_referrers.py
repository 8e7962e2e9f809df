"""Copying what tells of an image along with it (layerkit/transfer.py, `with_referrers`)."""

from collections.abc import AsyncIterator

import pytest

from layerkit.content.memory import MemoryRegistry, MemoryRepository
from layerkit.oci.descriptor import EMPTY, EMPTY_CONTENT
from layerkit.oci.errors import ManifestInvalid
from layerkit.oci.manifest import MAX_NESTING, ImageIndex, ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_INDEX, OCI_MANIFEST
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.transfer import Copy


async def content(offset: int) -> AsyncIterator[bytes]:
    yield EMPTY_CONTENT[offset:]


async def put(repository: MemoryRepository, subject: Manifest | None = None, name: str = "") -> Manifest:
    await repository.put_blob(EMPTY, content)
    manifest = Manifest.encode(
        ImageManifest(
            schema_version=2,
            media_type=OCI_MANIFEST,
            artifact_type="application/x-test",
            config=EMPTY,
            layers=(EMPTY,),
            subject=subject.descriptor if subject else None,
            annotations={"name": name},
        )
    )
    await repository.put_manifest(manifest)
    return manifest


@pytest.fixture
def source() -> MemoryRepository:
    return MemoryRegistry().repository(RepositoryName("from"))


@pytest.fixture
def target() -> MemoryRepository:
    return MemoryRegistry().repository(RepositoryName("to"))


async def test_those_of_an_index_of_its_children_and_of_each_other_come_along(
    source: MemoryRepository, target: MemoryRepository
) -> None:
    child = await put(source, name="child")
    index = Manifest.encode(ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=(child.descriptor,)))
    await source.put_manifest(index, [Tag("1")])
    of_index, of_child = await put(source, index, "of the index"), await put(source, child, "of the child")
    of_referrer = await put(source, of_child, "of a referrer")
    stranger = await put(source, await put(source, name="another image"), "of another image")
    await Copy(source=source, destination=target).with_referrers(index, [Tag("1")])
    for subject, referrer in ((index, of_index), (child, of_child), (of_child, of_referrer)):
        assert [found.digest for found in (await target.list_referrers(subject.digest)).items] == [referrer.digest]
    other = stranger.document.subject
    assert other is not None
    assert (await target.list_referrers(other.digest)).items == ()


async def test_a_new_referrer_of_a_known_image_comes_along(source: MemoryRepository, target: MemoryRepository) -> None:
    image = await put(source, name="image")
    copy = Copy(source=source, destination=target)
    await copy.with_referrers(image, [Tag("1")])
    signature = await put(source, image, "signature")
    await copy.with_referrers(image, [Tag("1")])
    assert [found.digest for found in (await target.list_referrers(image.digest)).items] == [signature.digest]


@pytest.mark.parametrize("depth", [MAX_NESTING - 1, MAX_NESTING])
async def test_a_chain_of_referrers_ends(source: MemoryRepository, target: MemoryRepository, depth: int) -> None:
    last = image = await put(source, name="image")
    for number in range(depth):
        last = await put(source, last, str(number))
    copy = Copy(source=source, destination=target)
    if depth < MAX_NESTING:
        await copy.with_referrers(image)
        assert (await target.get_manifest(last.digest)).raw == last.raw
    else:
        with pytest.raises(ManifestInvalid, match="refer to each other more than"):
            await copy.with_referrers(image)
