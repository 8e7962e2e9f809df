"""One tar for every reader (layerkit/content/export.py); what real ones make of it is in tests/clients."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from layerkit.content.archive import open_archive
from layerkit.content.export import Export, NamedImage, plan_export, write_archive
from layerkit.content.layout import Layout, LayoutRepository
from layerkit.files import FileBlob
from layerkit.oci.byterange import ByteRange
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import DigestInvalid, ManifestInvalid, OCIError, SizeInvalid
from layerkit.oci.manifest import MAX_NESTING, Manifest
from layerkit.oci.platform import parse_platform
from layerkit.oci.reference import RepositoryName, Tag, parse_reference
from layerkit.oci.repository import Repository
from layerkit.transfer import Copy
from tests.images import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, HandmadeLayout, file, make_tar

AMD64 = parse_platform("linux/amd64")
ARM64 = parse_platform("linux/arm64")
LAYER = make_tar(file("greeting", b"hello\n"))
OTHER = make_tar(file("farewell", b"bye\n" * 500_000))


def stored(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)


class Source:
    """A layout made by hand."""

    def __init__(self, root: Path) -> None:
        self.made = HandmadeLayout(root)

    def image(self, *layers: bytes, **fields: Any) -> dict[str, Any]:
        return self.made.image(*layers, stored=stored, **fields)

    @property
    def repository(self) -> LayoutRepository:
        self.made.name({"mediaType": "x", "digest": Digest.of(b""), "size": 0}, "unused")
        return Layout(self.made.root).repository(RepositoryName(""))

    async def named(self, descriptor: dict[str, Any], *names: str) -> NamedImage:
        manifest = await self.repository.get_manifest(Digest(descriptor["digest"]))
        return NamedImage(manifest=manifest, names=tuple(parse_reference(name) for name in names))

    async def plan(self, *images: NamedImage) -> Export:
        return await plan_export(self.repository, images, AMD64)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "source")


async def written(path: Path, export: Export) -> dict[str, bytes]:
    await write_archive(path, export)
    with tarfile.open(path) as tar:
        return {member.name: reader.read() for member in tar if (reader := tar.extractfile(member)) is not None}


def listed(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return list(json.loads(files["manifest.json"]))


class TestContent:
    async def test_both_lists_name_the_image_and_every_blob_is_there(self, tmp_path: Path, source: Source) -> None:
        image = source.image(LAYER, OTHER)
        named = await source.named(image, "acme/web:1", "registry.example/acme/web")
        files = await written(tmp_path / "image.tar", await source.plan(named))
        manifest = json.loads(source.made.path_of(image["digest"]).read_bytes())
        blobs = {name for name in files if name.startswith("blobs/")}
        digests = [image["digest"], manifest["config"]["digest"], *(each["digest"] for each in manifest["layers"])]
        assert blobs == {"blobs/" + digest.replace(":", "/") for digest in digests}
        for name in blobs:
            assert hashlib.sha256(files[name]).hexdigest() == name.rpartition("/")[2]
        assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
        assert [
            (entry["digest"], *entry["annotations"].values()) for entry in json.loads(files["index.json"])["manifests"]
        ] == [
            (image["digest"], "docker.io/acme/web:1", "1"),
            (image["digest"], "registry.example/acme/web:latest", "latest"),
        ]
        assert listed(files) == [
            {
                "Config": "blobs/" + manifest["config"]["digest"].replace(":", "/"),
                "RepoTags": ["acme/web:1", "registry.example/acme/web:latest"],
                "Layers": ["blobs/" + layer["digest"].replace(":", "/") for layer in manifest["layers"]],
            }
        ]

    async def test_of_an_index_docker_is_shown_the_image_for_the_platform(self, tmp_path: Path, source: Source) -> None:
        children = [(source.image(LAYER, platform=platform), platform) for platform in ("linux/arm64", "linux/amd64")]
        named = await source.named(source.made.index(children), "acme/web:1")
        for platform, child in ((AMD64, children[1][0]), (ARM64, children[0][0])):
            files = await written(tmp_path / "image.tar", await plan_export(source.repository, [named], platform))
            config = json.loads(source.made.path_of(child["digest"]).read_bytes())["config"]["digest"]
            assert [entry["Config"] for entry in listed(files)] == ["blobs/" + config.replace(":", "/")]
            assert {f"blobs/{child['digest'].replace(':', '/')}" for child, _ in children} <= set(files)

    async def test_an_index_without_the_platform_shows_docker_its_first_image(
        self, tmp_path: Path, source: Source
    ) -> None:
        child = source.image(LAYER, platform="linux/s390x")
        named = await source.named(source.made.index([(child, "linux/s390x")]), "acme/web:1")
        files = await written(tmp_path / "image.tar", await source.plan(named))
        config = json.loads(source.made.path_of(child["digest"]).read_bytes())["config"]["digest"]
        assert [entry["Config"] for entry in listed(files)] == ["blobs/" + config.replace(":", "/")]

    async def test_what_docker_cannot_load_is_not_shown_to_it(self, tmp_path: Path, source: Source) -> None:
        artifact = source.image(LAYER, config_type="application/vnd.oci.empty.v1+json")
        foreign = source.image(
            OTHER, layer_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", manifest_type=DOCKER_MANIFEST
        )
        images = [await source.named(artifact, "acme/artifact:1"), await source.named(foreign, "acme/foreign:1")]
        files = await written(tmp_path / "image.tar", await source.plan(*images))
        assert "manifest.json" not in files
        assert len(json.loads(files["index.json"])["manifests"]) == 2

    async def test_an_image_without_a_name_has_none_in_either_list(self, tmp_path: Path, source: Source) -> None:
        images = [await source.named(source.image(LAYER), "acme/web:1"), await source.named(source.image(OTHER))]
        files = await written(tmp_path / "image.tar", await source.plan(*images))
        assert [sorted(entry) for entry in json.loads(files["index.json"])["manifests"]] == [
            ["annotations", "digest", "mediaType", "size"],
            ["digest", "mediaType", "size"],
        ]
        assert [entry["RepoTags"] for entry in listed(files)] == [["acme/web:1"], []]

    async def test_a_tag_alone_is_for_those_who_go_by_tags(self, tmp_path: Path, source: Source) -> None:
        image = NamedImage(manifest=(await source.named(source.image(LAYER))).manifest, tags=(Tag("v1"),))
        files = await written(tmp_path / "image.tar", await source.plan(image))
        assert [entry["annotations"] for entry in json.loads(files["index.json"])["manifests"]] == [
            {"org.opencontainers.image.ref.name": "v1"}
        ]

    async def test_the_same_images_give_the_same_bytes(self, tmp_path: Path, source: Source) -> None:
        """Golden: a change of these bytes is a change for everyone who compares archives."""
        # Not compressed: what gzip makes of it depends on the machine.
        made = source.made.image(LAYER, OTHER, stored=bytes, layer_type="application/vnd.oci.image.layer.v1.tar")
        image = await source.named(made, "acme/web:1")
        await write_archive(tmp_path / "one.tar", await source.plan(image))
        os.utime(source.made.path_of(image.manifest.digest), (0, 0))
        await write_archive(tmp_path / "two.tar", await source.plan(image))
        raw = (tmp_path / "one.tar").read_bytes()
        assert raw == (tmp_path / "two.tar").read_bytes()
        assert hashlib.sha256(raw).hexdigest() == "43001cca650e3e5576f43a9df0a529cca7bf1155edc99775c87608b99de3c360"

    async def test_headers_have_no_trace_of_who_wrote_them(self, tmp_path: Path, source: Source) -> None:
        await write_archive(tmp_path / "image.tar", await source.plan(await source.named(source.image(LAYER), "a/b:1")))
        with tarfile.open(tmp_path / "image.tar") as tar:
            kinds = {
                (m.mtime, m.uid, m.gid, m.uname, m.gname, oct(m.mode), m.isdir(), bool(m.pax_headers)) for m in tar
            }
        assert kinds == {(0, 0, 0, "", "", "0o644", False, False), (0, 0, 0, "", "", "0o755", True, False)}

    async def test_one_name_for_two_images_is_refused(self, source: Source) -> None:
        images = [await source.named(source.image(layer), "acme/web:1") for layer in (LAYER, OTHER)]
        with pytest.raises(ManifestInvalid, match=r"docker\.io/acme/web:1 cannot be the name of two images"):
            await source.plan(*images)

    @pytest.mark.parametrize("depth", [MAX_NESTING, MAX_NESTING + 1])
    async def test_indexes_nested_too_deep_are_refused(self, source: Source, depth: int) -> None:
        found = source.image(LAYER)
        for _ in range(depth):
            found = source.made.index([(found, None)])
        image = await source.named(found, "acme/web:1")
        if depth == MAX_NESTING:
            assert len((await source.plan(image)).manifests) == depth + 1
        else:
            with pytest.raises(ManifestInvalid, match="too many"):
                await source.plan(image)

    async def test_blobs_that_the_reader_has_are_left_out(self, source: Source) -> None:
        export = await source.plan(await source.named(source.image(LAYER, OTHER), "acme/web:1"))
        largest = max(export.blobs, key=lambda blob: blob.size)
        heard: list[Digest] = []
        raw = b"".join(
            [
                chunk
                async for chunk in export.chunks(
                    without={largest.digest}, advance=lambda blob, _: heard.append(blob.digest)
                )
            ]
        )
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            names = tar.getnames()
        assert f"blobs/sha256/{largest.digest.encoded}" not in names
        assert set(heard) == {blob.digest for blob in export.blobs} - {largest.digest}


class TestRoundTrip:
    @pytest.mark.parametrize("media", ["oci", "docker"])
    async def test_an_archive_and_back_keeps_every_digest(self, tmp_path: Path, source: Source, media: str) -> None:
        fields = (
            {"manifest_type": DOCKER_MANIFEST, "config_type": DOCKER_CONFIG, "layer_type": DOCKER_LAYER}
            if media == "docker"
            else {}
        )
        children = [
            (source.image(LAYER, OTHER, platform=platform, **fields), platform)
            for platform in ("linux/amd64", "linux/arm64")
        ]
        image = await source.named(source.made.index(children), "registry.example/acme/web:1")
        await write_archive(tmp_path / "image.tar", await source.plan(image))
        target = Layout(tmp_path / "target", create=True).repository(RepositoryName("registry.example/acme/web"))
        async with open_archive(tmp_path / "image.tar") as archive:
            repository = archive.repository(RepositoryName("registry.example/acme/web"))
            manifest = await repository.get_manifest(Tag("1"))
            await Copy(source=repository, destination=target).image(manifest, [Tag("1")])
        assert await target.get_manifest(Tag("1")) == image.manifest
        for child, _ in children:
            assert (await target.get_manifest(Digest(child["digest"]))).raw == source.made.path_of(
                child["digest"]
            ).read_bytes()


class Lying:
    """A source of which one blob is not what its manifest says."""

    def __init__(self, inner: Repository, sends: bytes) -> None:
        self._inner = inner
        self._sends = sends

    async def stat_blob(self, digest: Digest) -> Descriptor:
        raise NotImplementedError

    async def stat_manifest(self, reference: Tag | Digest) -> Descriptor:
        raise NotImplementedError

    async def get_manifest(self, reference: Tag | Digest) -> Manifest:
        return await self._inner.get_manifest(reference)

    @asynccontextmanager
    async def open_blob(self, digest: Digest, part: ByteRange | None = None) -> AsyncIterator[FileBlob]:
        descriptor = Descriptor(media_type="x", digest=Digest.of(self._sends), size=len(self._sends))
        yield FileBlob(descriptor, 0, len(self._sends), io.BytesIO(self._sends))


class TestWriting:
    @pytest.mark.parametrize("sends", [b"", b"other", b"x" * 10_000_000])
    async def test_a_source_that_lies_leaves_the_older_archive(
        self, tmp_path: Path, source: Source, sends: bytes
    ) -> None:
        path = tmp_path / "image.tar"
        path.write_bytes(b"older")
        image = await source.named(source.image(LAYER), "acme/web:1")
        export = await plan_export(Lying(source.repository, sends), [image], AMD64)
        with pytest.raises((DigestInvalid, SizeInvalid)):
            await write_archive(path, export)
        assert path.read_bytes() == b"older"
        assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["image.tar"]

    async def test_an_older_archive_is_replaced_as_a_whole(self, tmp_path: Path, source: Source) -> None:
        path = tmp_path / "image.tar"
        path.write_bytes(bytes(50_000_000))
        export = await source.plan(await source.named(source.image(LAYER), "acme/web:1"))
        with path.open("rb") as older:
            await write_archive(path, export)
            assert len(older.read()) == 50_000_000
        async with open_archive(path) as archive:
            assert len(archive.entries()) == 1

    async def test_a_cancelled_one_leaves_nothing(self, tmp_path: Path, source: Source) -> None:
        export = await source.plan(await source.named(source.image(OTHER), "acme/web:1"))
        reached = asyncio.Event()
        writing = asyncio.create_task(
            write_archive(tmp_path / "image.tar", export, advance=lambda _, __: reached.set())
        )
        await reached.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == []

    async def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path, source: Source) -> None:
        export = await source.plan(await source.named(source.image(LAYER), "acme/web:1"))
        with pytest.raises(OCIError, match=r"absent is no folder: make it, or name another one for the archive"):
            await write_archive(tmp_path / "absent" / "image.tar", export)
        with pytest.raises(OCIError, match="is no regular file"):
            await write_archive(tmp_path, export)
