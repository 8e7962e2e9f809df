"""How often layers are read, and from where."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from layerkit.content.memory import MemoryBlob, MemoryRegistry, MemoryRepository
from layerkit.layer.errors import LayerError
from layerkit.oci.byterange import ByteRange
from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from layerkit.oci.platform import parse_platform
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Reader
from layerkit.view.diff import Aspect, diff_images
from layerkit.view.image import RememberedHeaders, Spools, ViewedImage, view_image
from tests.images import file, make_tar
from tests.progress import Recorded

NAME = RepositoryName("acme/web")
STATUS = b"Package: libc6\nStatus: install ok installed\nVersion: 1\n"


class Counted:
    """A repository that is far: it has no files, and counts how often each blob is read."""

    def __init__(self, inner: MemoryRepository) -> None:
        self.inner = inner
        self.opened: Counter[Digest] = Counter()

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    @asynccontextmanager
    async def open_blob(self, digest: Digest, part: ByteRange | None = None) -> AsyncIterator[MemoryBlob]:
        self.opened[digest] += 1
        async with self.inner.open_blob(digest, part) as blob:
            yield blob


@pytest.fixture
def far() -> Counted:
    return Counted(MemoryRegistry().repository(NAME))


async def put(repository: MemoryRepository, raw: bytes, media_type: str) -> Descriptor:
    async def content(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    descriptor = Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw))
    await repository.put_blob(descriptor, content)
    return descriptor


async def put_image(repository: MemoryRepository, tag: str, *tars: bytes) -> None:
    document = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(tar) for tar in tars]},
    }
    manifest = ImageManifest(
        schema_version=2,
        media_type=OCI_MANIFEST,
        config=await put(repository, ImageConfig.build(document).raw, OCI_CONFIG),
        layers=tuple([await put(repository, tar, OCI_LAYER) for tar in tars]),
    )
    await repository.put_manifest(Manifest.encode(manifest), [Tag(tag)])


async def view(repository: Counted, tag: str, progress: Recorded, spools: Spools | None = None) -> ViewedImage:
    platform = parse_platform("linux/amd64")
    reader: Reader = repository  # type: ignore[assignment] # the rest of it is the inner one's
    return await view_image(
        reader,
        Tag(tag),
        name=f"web:{tag}",
        wanted=None,
        host=platform,
        headers=RememberedHeaders(),
        progress=progress,
        spools=spools,
    )


async def test_a_layer_of_a_registry_is_fetched_once_however_often_it_is_read(far: Counted) -> None:
    """Its headers are read, then the list of packages, then the contents that may differ."""
    base = make_tar(file("var/lib/dpkg/status", STATUS), file("x", b"old"))
    update = make_tar(file("var/lib/dpkg/status", STATUS.replace(b"1", b"2")), file("x", b"new"))
    await put_image(far.inner, "1", base)
    await put_image(far.inner, "2", base, update)
    progress = Recorded()
    with Spools() as spools:
        images = [await view(far, tag, progress, spools) for tag in ("1", "2")]
        found = await diff_images(*images)
    assert {change.path: change.aspects for change in found.files} == {
        "var/lib/dpkg/status": (Aspect.CONTENT,),
        "x": (Aspect.CONTENT,),
    }
    assert [(change.name, change.before, change.after) for change in found.packages] == [("libc6", "1", "2")]
    assert far.opened[Digest.of(base)] == far.opened[Digest.of(update)] == 1
    assert progress.ended
    assert all(progress.advanced[step] == step.total for step in progress.steps if step.descriptor is not None)


async def test_headers_that_are_known_need_no_layer(far: Counted) -> None:
    tar = make_tar(file("x", b"x"))
    await put_image(far.inner, "1", tar)
    image = await view(far, "1", Recorded())
    for _ in range(2):
        assert (await image.tree()).lookup("x") is not None
    assert far.opened[Digest.of(tar)] == 1


async def test_a_layer_that_cannot_be_read_is_named(far: Counted) -> None:
    await put_image(far.inner, "1", b"this is no tar" * 100)
    progress = Recorded()
    image = await view(far, "1", progress)
    with pytest.raises(LayerError, match=r"layer sha256:[0-9a-f]{64} of web:1: the tar is broken"):
        await image.tree()
    assert progress.ended
