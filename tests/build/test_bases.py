"""Bases: what is asked of a registry, what stays there, and root file systems in a tar."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard
from msgspec.structs import replace

from layerkit.build.builder import Builder
from layerkit.build.built import BuiltImage
from layerkit.cli.environment import open_url
from layerkit.content.export import NamedImage, plan_export, write_archive
from layerkit.content.layout import Layout
from layerkit.content.memory import MemoryRegistry, MemoryRepository
from layerkit.content.store import Store
from layerkit.document.problem import DocumentError
from layerkit.layer.errors import LayerError
from layerkit.oci.byterange import ByteRange
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestUnknown, OCIError
from layerkit.oci.manifest import Manifest
from layerkit.oci.platform import parse_platform
from layerkit.oci.reference import Reference, RepositoryName, Tag, parse_reference
from layerkit.spec.model import ImageSpec, Spec
from layerkit.transfer import Copy
from tests.images import HandmadeLayout, digest_of, file, folder, make_tar, member, read_layer, symlink

Build = Callable[..., Awaitable[BuiltImage]]

ROOTFS = make_tar(
    folder("etc"),
    file("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:7:8::/:/bin/sh\n"),
    folder("usr"),
    folder("usr/bin"),
    file("usr/bin/tool", b"tool" * 1000, mode=0o755),
    file("usr/bin/other", bytes(300_000)),
    symlink("bin", "usr/bin"),
)


class Asked(MemoryRepository):
    """Counts what is read."""

    counts: Counter[str]

    async def get_manifest(self, reference: Tag | Digest) -> Manifest:
        COUNTS["manifest"] += 1
        return await super().get_manifest(reference)

    def open_blob(self, digest: Digest, part: ByteRange | None = None) -> Any:
        COUNTS["blob"] += 1
        return super().open_blob(digest, part)


COUNTS: Counter[str] = Counter()


class AskedRegistry(MemoryRegistry):
    def repository(self, name: RepositoryName) -> MemoryRepository:
        return Asked(name, self._contents)


@pytest.fixture
def registry() -> AskedRegistry:
    return AskedRegistry()


@pytest.fixture
def open_memory(registry: AskedRegistry) -> Any:
    @asynccontextmanager
    async def _open(reference: Reference) -> AsyncIterator[MemoryRegistry]:
        assert reference.domain == "registry.example"
        yield registry

    return _open


@pytest.fixture
def store(tmp_path: Path, open_memory: Any) -> Store:
    return Store(tmp_path / "store", open_memory, create=True)


@pytest.fixture
def builder(store: Store, tmp_path: Path, open_memory: Any) -> Builder:
    return Builder(store=store, open_registry=open_memory, open_url=open_url, cache=tmp_path / "cache")


@pytest.fixture
async def base(registry: AskedRegistry, tmp_path: Path) -> HandmadeLayout:
    """`registry.example/base:1`, of two layers."""
    layout = HandmadeLayout(tmp_path / "base")
    layout.name(layout.image(ROOTFS, make_tar(folder("srv"), file("usr/bin/.wh.other"))))
    await push(layout.root, registry)
    return layout


async def push(root: Path, registry: AskedRegistry) -> None:
    source = Layout(root).repository(RepositoryName(""))
    manifest = await source.get_manifest(Tag("1"))
    await Copy(source=source, destination=registry.repository(RepositoryName("base"))).image(manifest, [Tag("1")])
    COUNTS.clear()


SPEC = "from: registry.example/base:1\nowner: app\nlayers: [{copy: [./file:/bin/new], remove: [/bin/tool]}]\n"


@pytest.fixture(autouse=True)
def _files(context: Path) -> None:
    (context / "file").write_text("content")


class TestRegistries:
    async def test_each_layer_is_streamed_once_in_its_life(
        self, build: Build, builder: Builder, base: HandmadeLayout, load: Callable[..., Spec], tmp_path: Path
    ) -> None:
        """ARCHITECTURE: "base manifest + config only (2 GETs once the header index of the base is cached; the first
        build on a base streams its layers once; base layers stay where they are)"."""
        first = await build(SPEC)
        assert COUNTS == {"manifest": 1, "blob": 3}
        # A second machine's store with the same cache.
        fresh = Store(tmp_path / "fresh", builder.open_registry, create=True)
        COUNTS.clear()
        again = await build_with(replace(builder, store=fresh), load(SPEC))
        assert again.manifest.raw == first.manifest.raw
        assert COUNTS == {"manifest": 1}
        assert not any(fresh.is_here(layer.digest) for layer in first.image.layers[:2])
        assert fresh.is_here(first.image.layers[2].digest)

    async def test_the_store_knows_where_layers_are_and_takes_the_image(
        self, build: Build, builder: Builder, base: HandmadeLayout, load: Callable[..., Spec], tmp_path: Path
    ) -> None:
        first = await build(SPEC)
        fresh = Store(tmp_path / "fresh", builder.open_registry, create=True)
        await build_with(replace(builder, store=fresh), load(SPEC))
        repository = fresh.repository(RepositoryName("registry.example/app"))
        await repository.put_manifest(first.manifest, [Tag("1")])
        for layer in first.image.layers[:2]:
            origin = fresh.origin_of(layer.digest, domain="registry.example")
            assert origin is not None
            assert origin.path == "base"
        # Whoever wants a layer gets it.
        async with repository.open_blob(first.image.layers[0].digest) as blob:
            assert Digest.of(b"".join([chunk async for chunk in blob])) == first.image.layers[0].digest

    async def test_the_spec_is_settled_by_headers_alone(self, build: Build, base: HandmadeLayout, store: Store) -> None:
        """Owners by /etc/passwd of the base, links of it, and whiteouts for what it has."""
        built = await build(SPEC)
        entries = read_layer(store.root, {"digest": built.image.layers[2].digest, "mediaType": "gzip"})
        assert list(entries) == ["usr", "usr/bin", "usr/bin/.wh.tool", "usr/bin/new"]
        assert (entries["usr/bin/new"].uid, entries["usr/bin/new"].gid) == (7, 8)

    async def test_it_is_named_in_annotations(self, build: Build, base: HandmadeLayout) -> None:
        built = await build("from: registry.example/base:1\n")
        assert built.image.annotations == {
            "org.opencontainers.image.base.name": "registry.example/base:1",
            "org.opencontainers.image.base.digest": built.base,
        }

    async def test_nothing_that_is_remembered_is_believed_where_nobody_wants_that(
        self, build: Build, builder: Builder, base: HandmadeLayout, load: Callable[..., Spec], tmp_path: Path
    ) -> None:
        await build(SPEC)
        fresh = Store(tmp_path / "fresh", builder.open_registry, create=True)
        COUNTS.clear()
        await build_with(replace(builder, store=fresh, is_cached=False), load(SPEC))
        assert COUNTS["blob"] == 3

    async def test_a_layer_that_its_config_lies_about_is_refused_from_the_cache_too(
        self, build: Build, registry: AskedRegistry, tmp_path: Path
    ) -> None:
        """S6: "Verify diff_id of base layers when indexing"."""
        layout = HandmadeLayout(tmp_path / "base")
        layout.name(layout.image(ROOTFS))
        layout.name(
            layout.image(ROOTFS, rootfs={"type": "layers", "diff_ids": [digest_of(b"something else")]}), tag="lies"
        )
        source = Layout(layout.root).repository(RepositoryName(""))
        destination = registry.repository(RepositoryName("base"))
        for tag in (Tag("1"), Tag("lies")):
            await Copy(source=source, destination=destination).image(await source.get_manifest(tag), [tag])
        await build(SPEC.replace(", remove: [/bin/tool]", ""))
        with pytest.raises(LayerError, match=r"layer sha256:\w+ of registry\.example/base:lies: .* its diff_id is"):
            await build(SPEC.replace("base:1", "base:lies"))


async def build_with(builder: Builder, spec: Spec) -> BuiltImage:
    (result,) = await builder.build([ImageSpec(name=spec.name, tags=(), specs=(spec,))])
    return result.images[0]


class TestRootfs:
    """`from: tar:ROOTFS`: a root file system becomes one layer, through our writer."""

    MESSY = (
        folder("."),
        file("./usr/bin/tool", b"old"),
        folder("./usr", mode=0o750),
        folder("./usr/bin"),
        file("./usr/bin/tool", b"new", mode=0o4755, uid=5, mtime=1_500_000_000),
        member("./usr/bin/alias", tarfile.LNKTYPE, linkname="./usr/bin/tool", mode=0o4755, uid=5, mtime=1_500_000_000),
        symlink("./bin", "usr/bin"),
        file("./bin/through", b"link"),
        folder("./tmp", mode=0o1777),
        member("./dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        file(
            "./usr/bin/ping",
            b"ping",
            pax_headers={
                # Revision 3: 24 bytes, of which the last four are the owner of a user namespace.
                "SCHILY.xattr.user.note": "x",
                "SCHILY.xattr.security.selinux": "system_u:object_r:bin_t:s0",
            },
        ),
    )

    @pytest.mark.parametrize(
        "pack",
        [bytes, gzip.compress, lzma.compress, bz2.compress, zstandard.ZstdCompressor().compress],
        ids=["tar", "gzip", "xz", "bzip2", "zstd"],
    )
    async def test_it_is_one_layer_whatever_it_is_packed_with(
        self, build: Build, context: Path, store: Store, pack: Callable[[bytes], bytes]
    ) -> None:
        (context / "rootfs.tar").write_bytes(pack(make_tar(*self.MESSY)))
        built = await build("from: tar:rootfs.tar\n")
        (layer,) = built.image.layers
        entries = read_layer(store.root, {"digest": layer.digest, "mediaType": "gzip"})
        assert list(entries) == [
            "bin",
            "dev",
            "dev/null",
            "tmp",
            "usr",
            "usr/bin",
            "usr/bin/alias",
            "usr/bin/ping",
            "usr/bin/through",
            "usr/bin/tool",
        ]
        # The bytes are ours, and so the same whatever they came in.
        assert layer.digest == "sha256:3f30a334a3979a2562f4be15b5fb3a19bc25b8946dc2479883bfe9ca02a04fed"
        alias, tool = entries["usr/bin/alias"], entries["usr/bin/tool"]
        assert (alias.type, alias.size, alias.mode, alias.uid, alias.mtime) == (
            tarfile.REGTYPE,
            3,
            0o4755,
            5,
            1_500_000_000,
        )
        assert (tool.type, tool.linkname) == (tarfile.LNKTYPE, "usr/bin/alias")
        assert (entries["tmp"].mode, entries["usr"].mode) == (0o1777, 0o750)
        assert entries["dev/null"].type == tarfile.CHRTYPE
        assert entries["usr/bin/ping"].pax_headers == {"SCHILY.xattr.user.note": "x"}
        assert len(built.plan.warnings) == 2
        assert "1 device nodes are in the image" in built.plan.warnings[0]
        assert "security.selinux" in built.plan.warnings[1]

    async def test_layers_come_on_top(self, build: Build, context: Path, store: Store) -> None:
        (context / "rootfs.tar").write_bytes(ROOTFS)
        built = await build("from: tar:rootfs.tar\nowner: app\nlayers: [{copy: [./file:/bin/new]}]\n")
        entries = read_layer(store.root, {"digest": built.image.layers[1].digest, "mediaType": "gzip"})
        assert (entries["usr/bin/new"].uid, entries["usr/bin/new"].gid) == (7, 8)
        history = [entry.created_by for entry in built.image.config.history]
        assert history == ["layerkit: tar:rootfs.tar", "layerkit: layer-1: ./file:/bin/new"]

    async def test_it_is_read_through_once(self, build: Build, context: Path, builder: Builder) -> None:
        path = context / "rootfs.tar"
        path.write_bytes(lzma.compress(ROOTFS))
        first = await build("from: tar:rootfs.tar\n")
        (record,) = (builder.cache / "layers-2").iterdir()
        before = record.stat().st_ino
        assert (await build("from: tar:rootfs.tar\n")).manifest.digest == first.manifest.digest
        assert record.stat().st_ino == before
        # A record of a layer that is gone is none, and so is a damaged one.
        builder.store.path_of(first.image.layers[0].digest).unlink()
        assert (await build("from: tar:rootfs.tar\n")).manifest.digest == first.manifest.digest
        assert builder.store.is_here(first.image.layers[0].digest)
        record.write_bytes(b"{")
        assert (await build("from: tar:rootfs.tar\n")).manifest.digest == first.manifest.digest

    async def test_nothing_is_left_in_the_spool(self, build: Build, context: Path, builder: Builder) -> None:
        (context / "rootfs.tar").write_bytes(gzip.compress(ROOTFS))
        await build("from: tar:rootfs.tar\n")
        assert list((builder.cache / "spool").iterdir()) == []

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (make_tar(file("etc/.wh.passwd")), r"'etc/\.wh\.passwd' cannot be in an image"),
            (make_tar(folder(".wh..wh.plnk")), r"'\.wh\.\.wh\.plnk' cannot be in an image"),
            (make_tar(file("../etc/passwd")), "leads out of its root"),
            (make_tar(file("a"), file("a/b")), "which is a file"),
            (make_tar(member("a", tarfile.LNKTYPE, linkname="nowhere")), "a hardlink to nowhere, which is not in the"),
            (b"no tar" * 1000, "is no tar"),
            (gzip.compress(make_tar(file("a", bytes(5000))))[:-20], "ends early"),
            (lzma.compress(make_tar(file("a", os.urandom(5000))))[:-40], "ends early"),
            (lzma.compress(ROOTFS)[:100] + bytes(200), "its xz cannot be read"),
            (b"BZh9" + bytes(200), "its bzip2 cannot be read"),
            (b"\x1f\x8b" + bytes(200), "its gzip cannot be read"),
            (b"", "there is nothing in it"),
        ],
    )
    async def test_a_tar_that_cannot_be_used_is_refused_by_its_name(
        self, build: Build, context: Path, content: bytes, message: str
    ) -> None:
        (context / "rootfs.tar").write_bytes(content)
        with pytest.raises(LayerError, match=f"tar:.*/rootfs\\.tar: .*({message})"):
            await build("from: tar:rootfs.tar\n")

    @pytest.mark.parametrize("kind", ["missing", "folder", "fifo"])
    async def test_what_is_no_file_is_refused(self, build: Build, context: Path, kind: str) -> None:
        if kind == "folder":
            (context / "rootfs.tar").mkdir()
        elif kind == "fifo":
            os.mkfifo(context / "rootfs.tar")
        with pytest.raises(LayerError, match=r"tar:.*/rootfs\.tar"):
            await build("from: tar:rootfs.tar\n")


class TestArchives:
    """`from: oci-archive:FILE` and `docker-archive:FILE`, whoever wrote the file."""

    @pytest.fixture
    async def exported(self, base: HandmadeLayout, context: Path) -> Path:
        """One file with two images, for both forms."""
        layout = Layout(base.root)
        base.name(base.image(make_tar(file("other"))), tag="2")
        repository = layout.repository(RepositoryName(""))
        images = [
            NamedImage(manifest=await repository.get_manifest(Tag(tag)), names=(parse_reference(f"acme/x:{tag}"),))
            for tag in ("1", "2")
        ]
        path = context / "images.tar"
        await write_archive(path, await plan_export(repository, images, parse_platform("linux/amd64")))
        return path

    @pytest.mark.parametrize(
        "origin",
        [
            "oci-archive:images.tar:1",
            "docker-archive:images.tar:acme/x:1",
            "docker-archive:images.tar:docker.io/acme/x:1",
        ],
    )
    async def test_an_image_of_it_is_built_on(
        self, build: Build, exported: Path, base: HandmadeLayout, origin: str
    ) -> None:
        built = await build(SPEC.replace("registry.example/base:1", f"'{origin}'"))
        remote = await build("from: registry.example/base:1\n")
        assert built.image.layers[:2] == remote.image.layers
        assert built.base is None

    async def test_of_several_one_is_to_be_named(self, build: Build, exported: Path) -> None:
        with pytest.raises(ManifestUnknown, match=r"oci-archive:.*images\.tar holds 2 images: name one"):
            await build("from: oci-archive:images.tar\n")

    async def test_what_docker_saved_before_25_is_built_on(self, build: Build, context: Path, store: Store) -> None:
        """No manifest and layers as they are unpacked: LAYERS, item 36 keeps their bytes."""
        config = json.dumps(
            {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest_of(ROOTFS)]}}
        ).encode()
        saved = [{"Config": "c.json", "RepoTags": ["acme/old:1"], "Layers": ["l/layer.tar"]}]
        (context / "old.tar").write_bytes(
            make_tar(
                file("c.json", config),
                folder("l"),
                file("l/layer.tar", ROOTFS),
                file("manifest.json", json.dumps(saved).encode()),
            )
        )
        built = await build("from: docker-archive:old.tar\nlayers: [{copy: [./file:/bin/new]}]\n")
        first, second = built.image.layers
        assert (first.digest, first.media_type) == (digest_of(ROOTFS), "application/vnd.oci.image.layer.v1.tar")
        assert "usr/bin/new" in read_layer(store.root, {"digest": second.digest, "mediaType": "gzip"})

    async def test_what_is_no_archive_is_refused(self, build: Build, context: Path) -> None:
        (context / "file.tar").write_bytes(b"no tar" * 100)
        with pytest.raises(OCIError, match=r"file\.tar is no archive of images"):
            await build("from: docker-archive:file.tar\n")


class TestCopiesFromOtherImages:
    async def test_files_come_out_of_layers_that_are_elsewhere(
        self, build: Build, base: HandmadeLayout, store: Store
    ) -> None:
        text = "from: scratch\nlayers: [{copy: [{from: registry.example/base:1, src: /bin, dest: /tools}]}]\n"
        built = await build(text)
        (layer,) = built.image.layers
        raw = gzip.decompress(store.path_of(layer.digest).read_bytes())
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            assert tar.getnames() == ["tools", "tools/tool"]
            tool = tar.extractfile("tools/tool")
            assert tool is not None
            assert tool.read() == b"tool" * 1000
        history = [entry.created_by for entry in built.image.config.history]
        assert history == ["layerkit: layer-1: registry.example/base:1:/bin:/tools"]

    async def test_from_a_root_file_system_and_a_layout(
        self, build: Build, base: HandmadeLayout, context: Path
    ) -> None:
        (context / "rootfs.tar").write_bytes(ROOTFS)
        built = await build(
            "from: scratch\nlayers:\n"
            "- copy: [{from: tar:rootfs.tar, src: /usr/bin/other, dest: /a}]\n"
            f"- copy: [{{from: 'oci:{base.root}', src: '/usr/bin/t*', dest: /b/}}]\n"
        )
        assert [layer.planned.size for layer in built.layers] == [300_000, 4000]
        # What stands in the history is the same wherever the folder is.
        assert [entry.created_by for entry in built.image.config.history] == [
            "layerkit: layer-1: tar:rootfs.tar:/usr/bin/other:/a",
            "layerkit: layer-2: oci:base:/usr/bin/t*:/b/",
        ]

    async def test_what_the_other_image_deleted_is_not_there(self, build: Build, base: HandmadeLayout) -> None:
        text = "from: scratch\nlayers: [{copy: [{from: registry.example/base:1, src: /usr/bin/other, dest: /a}]}]\n"
        with pytest.raises(DocumentError, match=r"no file of registry\.example/base:1 matches /usr/bin/other"):
            await build(text)

    async def test_a_layer_that_was_made_of_them_before_needs_none_of_their_content(
        self, build: Build, base: HandmadeLayout, registry: AskedRegistry, builder: Builder
    ) -> None:
        text = "from: scratch\nlayers: [{copy: [{from: registry.example/base:1, src: /bin, dest: /tools}]}]\n"
        first = await build(text)
        document = (await registry.repository(RepositoryName("base")).get_manifest(Tag("1"))).document
        for descriptor in list(document.references())[1:]:
            builder.store.path_of(descriptor.digest).unlink(missing_ok=True)
            registry._contents[RepositoryName("base")].blobs.pop(descriptor.digest)
        assert (await build(text)).manifest == first.manifest

    async def test_a_layer_that_is_gone_from_its_registry_is_an_error(
        self, build: Build, builder: Builder, base: HandmadeLayout, registry: AskedRegistry, tmp_path: Path
    ) -> None:
        text = "from: scratch\nlayers: [{copy: [{from: registry.example/base:1, src: /bin/tool, dest: /a}]}]\n"
        await build(text)
        source = registry.repository(RepositoryName("base"))
        document = (await source.get_manifest(Tag("1"))).document
        first = list(document.references())[1].digest
        builder.store.path_of(first).unlink()
        registry._contents[RepositoryName("base")].blobs.pop(first)
        with pytest.raises(OCIError, match=f"blob {first} is gone from registry.example/base"):
            await build(text.replace("dest: /a", "dest: /b"))
