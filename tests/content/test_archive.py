"""Images in a tar (layerkit/content/archive.py), as others write them and as nobody should."""

import gzip
import hashlib
import io
import json
import os
import tarfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from layerkit.content.archive import Archive, open_archive
from layerkit.oci.byterange import ByteRange
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, DigestInvalid, ManifestInvalid, ManifestUnknown, NameUnknown, OCIError
from layerkit.oci.manifest import ImageManifest
from layerkit.oci.mediatype import DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD, DOCKER_MANIFEST
from layerkit.oci.reference import RepositoryName, Tag
from tests.images import HandmadeLayout, digest_of, file, folder, make_tar, member, symlink

ALL = RepositoryName("")
WEB = RepositoryName("registry.example/acme/web")

Member = tuple[tarfile.TarInfo, bytes]


def write(path: Path, *members: Member) -> Path:
    path.write_bytes(make_tar(*members))
    return path


def members_of(root: Path) -> list[Member]:
    """A layout's files, as `tar -C root -c .` has them."""
    found = [folder("./")]
    for path in sorted(root.rglob("*")):
        name = f"./{path.relative_to(root)}"
        found.append(folder(f"{name}/") if path.is_dir() else file(name, path.read_bytes()))
    return found


@pytest.fixture
def layout(tmp_path: Path) -> HandmadeLayout:
    return HandmadeLayout(tmp_path / "layout")


def saved_config(*layers: bytes, **fields: Any) -> bytes:
    diff_ids = [digest_of(layer) for layer in layers]
    document = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}, **fields}
    return json.dumps(document).encode()


def saved(
    *layers: bytes,
    stored: Callable[[bytes], bytes] = bytes,
    tags: Sequence[str] | None = ("acme/web:1",),
    **fields: Any,
) -> list[Member]:
    """What `docker save` wrote for many years: a folder for each layer, with the bookkeeping of its first format."""
    config = saved_config(*layers, **fields)
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    members, paths = [file(name, config)], []
    for number, layer in enumerate(layers):
        paths.append(f"{number:064}/layer.tar")
        members += [
            folder(f"{number:064}/"),
            file(f"{number:064}/VERSION", b"1.0"),
            file(f"{number:064}/json", b"{}"),
            file(paths[-1], stored(layer)),
        ]
    document = [{"Config": name, "RepoTags": tags, "Layers": paths}]
    return [
        *members,
        file("repositories", b'{"acme/web":{"1":"0"}}'),
        file("manifest.json", json.dumps(document).encode()),
    ]


async def read(archive: Archive, digest: Digest | str, part: ByteRange | None = None) -> bytes:
    async with archive.repository(ALL).open_blob(Digest(digest), part) as blob:
        return b"".join([chunk async for chunk in blob])


LAYER = make_tar(file("greeting", b"hello\n"))
OTHER = make_tar(file("farewell", b"bye\n" * 100_000))


class TestLayoutsInATar:
    async def test_an_image_is_read_where_it_lies(self, tmp_path: Path, layout: HandmadeLayout) -> None:
        image = layout.image(LAYER, OTHER)
        layout.name(image, "v1")
        path = write(tmp_path / "image.tar", *members_of(layout.root))
        async with open_archive(path) as archive:
            repository = archive.repository(ALL)
            manifest = await repository.get_manifest(Tag("v1"))
            assert manifest.digest == image["digest"]
            assert (await repository.get_manifest(manifest.digest)).raw == layout.path_of(image["digest"]).read_bytes()
            assert (await repository.list_tags()).items == ("v1",)
            for descriptor in manifest.document.references():
                raw = layout.path_of(descriptor.digest).read_bytes()
                assert await read(archive, descriptor.digest) == raw
                assert await read(archive, descriptor.digest, ByteRange(3, 9)) == raw[3:10]
                assert (await repository.stat_blob(descriptor.digest)).size == len(raw)
            with pytest.raises(BlobUnknown, match=r"image\.tar"):
                await read(archive, Digest.of(b"absent"))
            with pytest.raises(ManifestUnknown, match=r"v2 is not in .*image\.tar"):
                await repository.get_manifest(Tag("v2"))

    async def test_full_names_part_the_images_into_repositories(self, tmp_path: Path, layout: HandmadeLayout) -> None:
        image = layout.image(LAYER)
        layout.name(image, "v1")
        index = json.loads((layout.root / "index.json").read_bytes())
        index["manifests"][0]["annotations"]["io.containerd.image.name"] = f"{WEB}:v1"
        (layout.root / "index.json").write_text(json.dumps(index))
        async with open_archive(write(tmp_path / "image.tar", *members_of(layout.root))) as archive:
            assert (await archive.list_repositories()).items == (WEB,)
            assert (await archive.repository(WEB).get_manifest(Tag("v1"))).digest == image["digest"]

    @pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
    async def test_a_compressed_archive_is_read_too(
        self, tmp_path: Path, layout: HandmadeLayout, compress: Callable[[bytes], bytes]
    ) -> None:
        image = layout.image(LAYER)
        layout.name(image, "v1")
        path = tmp_path / "image.tar.z"
        path.write_bytes(compress(make_tar(*members_of(layout.root))))
        async with open_archive(path) as archive:
            manifest = await archive.repository(ALL).get_manifest(Tag("v1"))
            for descriptor in manifest.document.references():
                assert Digest.of(await read(archive, descriptor.digest)) == descriptor.digest

    async def test_referrers_are_listed(self, tmp_path: Path, layout: HandmadeLayout) -> None:
        image = layout.image(LAYER)
        layout.name(image, "v1")
        raw = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/x-signature",
                "config": layout.put(b"{}", "application/vnd.oci.empty.v1+json"),
                "layers": [],
                "subject": {key: image[key] for key in ("mediaType", "digest", "size")},
            }
        ).encode()
        referrer = layout.put(raw, "application/vnd.oci.image.manifest.v1+json")
        layout.name(referrer, "signature")
        async with open_archive(write(tmp_path / "image.tar", *members_of(layout.root))) as archive:
            found = (await archive.repository(ALL).list_referrers(Digest(image["digest"]))).items
            assert [(item.digest, item.artifact_type) for item in found] == [
                (referrer["digest"], "application/x-signature")
            ]

    async def test_a_blob_that_is_a_hardlink_to_another_file_is_read(
        self, tmp_path: Path, layout: HandmadeLayout
    ) -> None:
        """GNU tar writes the second name of a file so: layouts with shared blobs have them."""
        image = layout.image(LAYER)
        layout.name(image, "v1")
        members = members_of(layout.root)
        (blob,) = [m for m in members if m[0].name.endswith(Digest(image["digest"]).encoded)]
        real = file("elsewhere", blob[1])
        link = member(blob[0].name, tarfile.LNKTYPE, linkname="./elsewhere")
        members = [real, *(link if m is blob else m for m in members)]
        async with open_archive(write(tmp_path / "image.tar", *members)) as archive:
            assert (await archive.repository(ALL).get_manifest(Tag("v1"))).digest == image["digest"]

    async def test_many_blobs_are_read_at_once(self, tmp_path: Path, layout: HandmadeLayout) -> None:
        layers = [make_tar(file("f", os.urandom(3_000_000))) for _ in range(4)]
        image = layout.image(*layers, stored=bytes, layer_type="application/vnd.oci.image.layer.v1.tar")
        layout.name(image, "v1")
        async with open_archive(write(tmp_path / "image.tar", *members_of(layout.root))) as archive:
            async with (
                archive.repository(ALL).open_blob(Digest.of(layers[0])) as first,
                archive.repository(ALL).open_blob(Digest.of(layers[1])) as second,
            ):
                parts: tuple[list[bytes], list[bytes]] = ([], [])
                one, two = aiter(first), aiter(second)
                async for chunk in one:
                    parts[0].append(chunk)
                    parts[1].append(await anext(two))
                assert (b"".join(parts[0]), b"".join(parts[1])) == (layers[0], layers[1])


class TestSavedByDocker:
    async def test_the_manifest_is_made_of_the_list(self, tmp_path: Path) -> None:
        path = write(tmp_path / "saved.tar", *saved(LAYER, OTHER, tags=["acme/web:1", "localhost:5000/web:2"]))
        async with open_archive(path) as archive:
            assert (await archive.list_repositories()).items == ("docker.io/acme/web", "localhost:5000/web")
            manifest = await archive.repository(RepositoryName("docker.io/acme/web")).get_manifest(Tag("1"))
            document = manifest.document
            assert isinstance(document, ImageManifest)
            assert manifest.media_type == DOCKER_MANIFEST
            assert await read(archive, document.config.digest) == saved_config(LAYER, OTHER)
            assert [(layer.media_type, layer.digest) for layer in document.layers or ()] == [
                (DOCKER_LAYER, digest_of(LAYER)),
                (DOCKER_LAYER, digest_of(OTHER)),
            ]
            assert await read(archive, digest_of(OTHER)) == OTHER
            other = await archive.repository(RepositoryName("localhost:5000/web")).get_manifest(Tag("2"))
            assert other.digest == manifest.digest

    @pytest.mark.parametrize(
        ("compress", "media_type"),
        [(gzip.compress, DOCKER_LAYER_GZIP), (zstandard.compress, DOCKER_LAYER_ZSTD)],
        ids=["gzip", "zstd"],
    )
    async def test_layers_stay_as_they_are_stored(
        self, tmp_path: Path, compress: Callable[[bytes], bytes], media_type: str
    ) -> None:
        stored = compress(LAYER)
        path = write(tmp_path / "saved.tar", *saved(LAYER, stored=lambda _: stored))
        async with open_archive(path) as archive:
            manifest = await archive.repository(ALL).get_manifest(Tag("1"))
            (layer,) = list(manifest.document.references())[1:]
            assert (layer.media_type, layer.digest, layer.size) == (media_type, digest_of(stored), len(stored))
            assert await read(archive, layer.digest) == stored

    async def test_a_layer_that_another_image_has_is_a_symlink_to_it(self, tmp_path: Path) -> None:
        members = saved(LAYER, LAYER)
        second = f"{1:064}/layer.tar"
        members = [symlink(second, f"../{0:064}/layer.tar") if m[0].name == second else m for m in members]
        async with open_archive(write(tmp_path / "saved.tar", *members)) as archive:
            manifest = await archive.repository(ALL).get_manifest(Tag("1"))
            assert [layer.digest for layer in list(manifest.document.references())[1:]] == [digest_of(LAYER)] * 2

    async def test_an_image_without_a_name_is_had_by_its_digest(self, tmp_path: Path) -> None:
        async with open_archive(write(tmp_path / "saved.tar", *saved(LAYER, tags=None))) as archive:
            (entry,) = archive.entries()
            assert (await archive.repository(ALL).get_manifest(entry.digest)).descriptor == entry

    async def test_a_layer_that_is_not_what_the_config_says_is_found_out_when_it_is_read(self, tmp_path: Path) -> None:
        path = write(tmp_path / "saved.tar", *saved(LAYER, stored=lambda _: OTHER[: len(LAYER)]))
        async with open_archive(path) as archive:
            with pytest.raises(DigestInvalid):
                await read(archive, digest_of(LAYER))


def hybrid(layout: HandmadeLayout, **changes: object) -> list[Member]:
    image = layout.image(LAYER)
    layout.name(image, "1")
    manifest = json.loads(layout.path_of(image["digest"]).read_bytes())
    entry = {
        "Config": "blobs/" + manifest["config"]["digest"].replace(":", "/"),
        "RepoTags": ["acme/web:1"],
        "Layers": ["blobs/" + layer["digest"].replace(":", "/") for layer in manifest["layers"]],
    }
    return [*members_of(layout.root), file("manifest.json", json.dumps([{**entry, **changes}]).encode())]


class TestBothLists:
    async def test_the_digest_of_an_image_with_both_lists_is_the_registrys(
        self, tmp_path: Path, layout: HandmadeLayout
    ) -> None:
        members = hybrid(layout)
        async with open_archive(write(tmp_path / "image.tar", *members)) as archive:
            (entry,) = archive.entries()
            assert (await archive.repository(ALL).get_manifest(Tag("1"))).digest == entry.digest

    async def test_lists_of_different_images_are_refused(self, tmp_path: Path, layout: HandmadeLayout) -> None:
        """S10: what is shown here must be what docker loads."""
        evil = saved_config(OTHER)
        members = [*hybrid(layout, Config="evil.json"), file("evil.json", evil)]
        with pytest.raises(ManifestInvalid, match=r"other images in manifest\.json than in index\.json"):
            async with open_archive(write(tmp_path / "image.tar", *members)):
                pass


def sparse(name: str) -> bytes:
    """A file of GNU tar's PAX sparse format, all hole."""
    info = tarfile.TarInfo(name)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99999999999"}
    info.size = 512
    return info.tobuf(tarfile.PAX_FORMAT) + b"0\n".ljust(512, b"\0")


class TestHostile:
    """S4, S5 and S10 of LAYERS: a clear error, nothing outside touched, bounded memory."""

    @pytest.mark.parametrize(
        ("raw", "message"),
        [
            (b"", "neither index.json nor manifest.json"),
            (b"not a tar " * 100, "no archive of images, or a damaged one: .* checksum"),
            (make_tar(file("hello", b"x")), "neither index.json nor manifest.json"),
            (make_tar(file("repositories", b"{}")), "docker before 1.10"),
            (make_tar(file("index.json", b"{")), "index.json is no image index"),
            (make_tar(file("index.json", b"[" * 100_000)), "index.json is no image index"),
            (make_tar(file("index.json", b" " * (4 * 2**20 + 1))), "4194304 are allowed"),
            (make_tar(file("manifest.json", b"{}")), "no list of saved images"),
            (
                make_tar(file("manifest.json", b'[{"Config":"a.json","Layers":[]}]')),
                "no file 'a.json': it is not complete",
            ),
            (
                make_tar(file("manifest.json", b'[{"Config":"a.json","Layers":[]}]'), file("a.json", b"{}")),
                "'a.json': image config invalid",
            ),
            (
                make_tar(
                    file("manifest.json", b'[{"Config":"a.json","RepoTags":["A b"],"Layers":[]}]'),
                    file("a.json", saved_config()),
                ),
                "has the name 'A b': invalid",
            ),
            (
                make_tar(
                    file("manifest.json", b'[{"Config":"a.json","Layers":["l","l"]}]'),
                    file("a.json", saved_config(b"")),
                ),
                "2 layers, its config has 1 diff_ids",
            ),
            (make_tar(file("index.json", b"{}"), file("../../etc/cron.d/x", b"x")), "leads out of it"),
            (make_tar(file("index.json", b"{}"), file("/etc/passwd", b"x")), "leads out of it"),
            (make_tar(file("index.json", b"{}"), file("a/../../b", b"x")), "leads out of it"),
            (make_tar(file("index.json", b"{}"), file("./index.json", b"{}")), "has 'index.json' twice"),
            (make_tar(symlink("index.json", "/etc/passwd")), "no file '/etc/passwd', to which 'index.json' is a link"),
            (make_tar(symlink("index.json", "../../etc/passwd")), "to which 'index.json' is a link"),
            (make_tar(symlink("index.json", "index.json")), "to which 'index.json' is a link"),
            (make_tar(symlink("index.json", "a"), symlink("a", "b"), file("b", b"{}")), "is a link"),
            (sparse("index.json") + bytes(1024), "'index.json' as a sparse file"),
            (make_tar(file("index.json", b"{}"))[:-10_000], "ends early"),
            (gzip.compress(b"no tar", mtime=0), "ends early|checksum"),
            (gzip.compress(make_tar(file("index.json", b"{}")), mtime=0)[:-20], "ends early"),
            (b"BZh91AY" + bytes(512), "compressed with bzip2: unpack it first"),
            (b"\xfd7zXZ\0" + bytes(512), "compressed with xz: unpack it first"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    async def test_what_is_wrong_is_said(self, tmp_path: Path, raw: bytes, message: str) -> None:
        path = tmp_path / "hostile.tar"
        path.write_bytes(raw)
        with pytest.raises(OCIError, match=message) as caught:
            async with open_archive(path):
                pass
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < 600

    async def test_what_is_no_regular_file_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
            with pytest.raises(NameUnknown, match=r"no regular file|is a directory"):
                async with open_archive(path):
                    pass
        with pytest.raises(OCIError, match="cannot be read: no such file"):
            async with open_archive(tmp_path / "absent"):
                pass

    async def test_a_saved_layer_that_is_there_twice_is_refused(self, tmp_path: Path) -> None:
        members = saved(LAYER)
        members.insert(0, file(f"{0:064}/layer.tar", OTHER))
        with pytest.raises(ManifestInvalid, match="twice: one reader takes the first"):
            async with open_archive(write(tmp_path / "saved.tar", *members)):
                pass

    async def test_a_blob_with_other_content_than_its_name_says_is_found_out(
        self, tmp_path: Path, layout: HandmadeLayout
    ) -> None:
        image = layout.image(LAYER)
        layout.name(image, "1")
        layer = json.loads(layout.path_of(image["digest"]).read_bytes())["layers"][0]
        layout.path_of(layer["digest"]).write_bytes(b"other")
        async with open_archive(write(tmp_path / "image.tar", *members_of(layout.root))) as archive:
            with pytest.raises(DigestInvalid):
                await read(archive, layer["digest"])
        layout.path_of(image["digest"]).write_bytes(b"{}")
        async with open_archive(write(tmp_path / "image.tar", *members_of(layout.root))) as archive:
            with pytest.raises(DigestInvalid, match="is damaged"):
                await archive.repository(ALL).get_manifest(Tag("1"))

    async def test_a_bomb_ends_at_the_limit(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.tar.zst"
        with path.open("wb") as raw, zstandard.ZstdCompressor().stream_writer(raw) as stream:
            stream.write(tarfile_header("zeros", 2**33 - 1))
            for _ in range(300):
                stream.write(bytes(2**20))
        with pytest.raises(ManifestInvalid, match="above the limit `ratio`"):
            async with open_archive(path):
                pass

    async def test_endless_members_end_at_the_limit_with_little_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "endless.tar"
        with path.open("wb") as raw:
            for start in range(0, 210_000, 10_000):
                raw.write(b"".join(tarfile_header(str(n), 0) for n in range(start, start + 10_000)))
        tracemalloc.start()
        try:
            with pytest.raises(ManifestInvalid, match="above the limit `entries`"):
                async with open_archive(path):
                    pass
            assert tracemalloc.get_traced_memory()[1] < 100_000_000
        finally:
            tracemalloc.stop()

    async def test_a_size_that_the_file_has_not_costs_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "huge.tar"
        for size in (2**40, 2**62, 2**63 - 1):
            path.write_bytes(tarfile_header("index.json", size))
            with pytest.raises(ManifestInvalid, match="ends early"):
                async with open_archive(path):
                    pass

    async def test_a_hole_of_many_gigabytes_is_not_read(self, tmp_path: Path) -> None:
        path = tmp_path / "hole.tar"
        with path.open("wb") as raw:
            raw.write(tarfile_header("index.json", 2**40))
            raw.truncate(512 + 2**40 + 1024)
        with pytest.raises(ManifestInvalid, match="1099511627776 bytes, 4194304 are allowed"):
            async with open_archive(path):
                pass


def tarfile_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def test_the_tars_of_this_file_are_tars() -> None:
    with tarfile.open(fileobj=io.BytesIO(sparse("x") + bytes(1024))) as tar:
        assert tar.getnames() == ["x"]
