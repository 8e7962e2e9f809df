"""An image layout on a real disk: written by several processes, killed, full, damaged, and made by others."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from layerkit.content.layout import Layout, LayoutRepository
from layerkit.content.listed import IMAGE_NAME, REF_NAME
from layerkit.oci.byterange import ByteRange
from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import (
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    OCIError,
    SizeInvalid,
)
from layerkit.oci.manifest import ImageIndex, ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, OCTET_STREAM
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Content
from layerkit.transfer import Copy
from tests.programs import PROJECT, run_program

NAME = RepositoryName("registry.example/acme/web")
OTHER = RepositoryName("registry.example/acme/base")
ANY = RepositoryName("")
LATEST = Tag("latest")
LARGE = bytes(range(256)) * 4096 * 3


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout", create=True)


@pytest.fixture
def repository(layout: Layout) -> LayoutRepository:
    return layout.repository(NAME)


def content_of(raw: bytes) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        for start in range(offset, len(raw), 100_000):
            yield raw[start : start + 100_000]

    return read


def blob_of(raw: bytes, media_type: str = OCTET_STREAM) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw))


async def put(repository: LayoutRepository, raw: bytes, media_type: str = OCTET_STREAM) -> Descriptor:
    descriptor = blob_of(raw, media_type)
    await repository.put_blob(descriptor, content_of(raw))
    return descriptor


async def put_image(repository: LayoutRepository, layer: bytes, *tags: str) -> Manifest:
    config = ImageConfig.build({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
    manifest = Manifest.encode(
        ImageManifest(
            schema_version=2,
            media_type=OCI_MANIFEST,
            config=await put(repository, config.raw, OCI_CONFIG),
            layers=(await put(repository, layer, OCI_LAYER_GZIP),),
        )
    )
    await repository.put_manifest(manifest, [Tag(tag) for tag in tags])
    return manifest


async def put_index(repository: LayoutRepository, *children: Descriptor, tags: tuple[Tag, ...] = ()) -> Manifest:
    index = Manifest.encode(ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=children))
    await repository.put_manifest(index, tags)
    return index


async def read(repository: LayoutRepository, digest: Digest, part: ByteRange | None = None) -> bytes:
    async with repository.open_blob(digest, part) as blob:
        return b"".join([chunk async for chunk in blob])


def listed(layout: Layout) -> list[tuple[str, str]]:
    """What index.json lists: the full name, or else the ref.name, and the digest."""
    found = json.loads((layout.root / "index.json").read_bytes())["manifests"]
    names = (entry.get("annotations", {}) for entry in found)
    return sorted((n.get(IMAGE_NAME) or n.get(REF_NAME, ""), e["digest"]) for n, e in zip(names, found, strict=True))


def files_of(layout: Layout) -> set[str]:
    return {str(path.relative_to(layout.root)) for path in layout.root.rglob("*") if path.is_file()}


PRELUDE = """
import asyncio, sys
from pathlib import Path
from layerkit.content.layout import Layout
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.manifest import Manifest
from layerkit.oci.reference import RepositoryName, Tag
root = Path(sys.argv[1])
"""


def python(program: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Another process of ours."""
    command = [sys.executable, "-c", PRELUDE + program, *map(str, arguments)]
    return subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class TestBeginning:
    def test_a_missing_folder_becomes_a_layout(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path / "a/b/c", create=True)
        assert json.loads((layout.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
        assert (layout.root / "blobs/sha256").is_dir()
        assert layout.entries() == ()

    def test_a_layout_is_begun_once(self, layout: Layout) -> None:
        before = (layout.root / "oci-layout").stat()
        Layout(layout.root, create=True)
        assert os.path.samestat(before, (layout.root / "oci-layout").stat())

    def test_a_foreign_folder_is_refused_and_untouched(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        (tmp_path / "blobs").mkdir()
        before = tmp_path.stat().st_mtime_ns
        with pytest.raises(NameUnknown, match=r"is no OCI image layout: it holds 'thesis\.tex'"):
            Layout(tmp_path, create=True)
        assert tmp_path.stat().st_mtime_ns == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "thesis.tex"]

    @pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b"\xff", b'{"imageLayoutVersion":1}'])
    def test_what_is_no_layout_is_refused(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "oci-layout").write_bytes(content)
        with pytest.raises(NameUnknown, match="is not an OCI image layout"):
            Layout(tmp_path)

    def test_a_layout_of_another_version_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
        with pytest.raises(NameUnknown, match=r"version 2\.0\.0, expected 1\.0\.0"):
            Layout(tmp_path)

    def test_a_file_in_its_place_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(OCIError, match="file failed: file exists"):
            Layout(tmp_path / "file", create=True)

    @pytest.mark.parametrize("left", [".oci-layout.new", "blobs", "index.json"])
    def test_a_beginning_that_was_killed_is_begun_again(self, tmp_path: Path, left: str) -> None:
        path = tmp_path / left
        path.mkdir() if left == "blobs" else path.write_text('{"schemaVersion":2}')
        assert Layout(tmp_path, create=True).entries() == ()

    def test_many_may_begin_it_at_once(self, tmp_path: Path) -> None:
        at_once = threading.Barrier(8)
        failures: list[Exception] = []

        def begin(root: Path) -> None:
            at_once.wait()
            try:
                Layout(root, create=True)
            except OCIError as error:
                failures.append(error)

        for attempt in range(20):
            threads = [threading.Thread(target=begin, args=(tmp_path / str(attempt),)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert failures == []


class TestIndex:
    async def test_a_reader_sees_the_old_list_or_the_new_one(self, repository: LayoutRepository) -> None:
        """Replaced by a rename: whoever has the old file open reads it to its end."""
        await put_image(repository, b"one", "one")
        path = repository.layout.root / "index.json"
        with path.open("rb") as reader:
            await put_image(repository, b"two", "two")
            assert len(json.loads(reader.read())["manifests"]) == 1
        assert len(json.loads(path.read_bytes())["manifests"]) == 2

    async def test_a_change_that_fails_changes_nothing(self, repository: LayoutRepository) -> None:
        await put_image(repository, b"one", "one")
        before = (repository.layout.root / "index.json").read_bytes()

        def fail() -> None:
            with repository.layout.changed_entries() as entries:
                entries.clear()
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert (repository.layout.root / "index.json").read_bytes() == before

    async def test_processes_that_tag_at_the_same_time_lose_nothing(self, repository: LayoutRepository) -> None:
        manifest = await put_image(repository, b"layer", "first")
        program = """
repository = Layout(root).repository(RepositoryName("registry.example/acme/web"))
async def main():
    manifest = await repository.get_manifest(Tag("first"))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(20):
        await repository.put_manifest(manifest, [Tag(f"{sys.argv[2]}-{number}")])
asyncio.run(main())
"""
        processes = [python(program, repository.layout.root, name) for name in "abc"]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.communicate("go\n", timeout=60)
            assert process.returncode == 0
        tags = (await repository.list_tags()).items
        assert tags == tuple(sorted(["first", *(f"{name}-{n}" for name in "abc" for n in range(20))]))
        assert {digest for _, digest in listed(repository.layout)} == {manifest.digest}

    @pytest.mark.parametrize(
        "content", [b"", b"[]", b"garbage", b'{"manifests":[{"digest":"sha256:1"}]}', b'{"manifests":{}}']
    )
    async def test_an_index_that_is_none_is_told(self, repository: LayoutRepository, content: bytes) -> None:
        path = repository.layout.root / "index.json"
        path.write_bytes(content)
        with pytest.raises(ManifestInvalid, match=f"{path} is no image index"):
            await repository.list_tags()

    async def test_an_index_that_cannot_be_read_is_told(self, repository: LayoutRepository) -> None:
        (repository.layout.root / "index.json").mkdir()
        with pytest.raises(OCIError, match=f"{repository.layout.root} failed: is a directory"):
            await repository.list_tags()

    @pytest.mark.parametrize("content", [b'{"schemaVersion":2}', b'{"schemaVersion":2,"manifests":null}'])
    async def test_an_index_may_be_empty(self, repository: LayoutRepository, content: bytes) -> None:
        (repository.layout.root / "index.json").write_bytes(content)
        with pytest.raises(NameUnknown):
            await repository.list_tags()


class TestNames:
    async def test_images_of_several_names_share_a_layout(self, layout: Layout) -> None:
        web = await put_image(layout.repository(NAME), b"web", "1", "latest")
        base = await put_image(layout.repository(OTHER), b"base", "1")
        assert listed(layout) == sorted(
            [(f"{NAME}:1", web.digest), (f"{NAME}:latest", web.digest), (f"{OTHER}:1", base.digest)]
        )
        assert (await layout.repository(NAME).get_manifest(Tag("1"))).digest == web.digest
        assert (await layout.repository(OTHER).get_manifest(Tag("1"))).digest == base.digest
        assert (await layout.list_repositories()).items == (OTHER, NAME)
        with pytest.raises(ManifestUnknown):
            await layout.repository(OTHER).get_manifest(LATEST)

    async def test_names_that_are_no_tagged_names_are_no_repositories(self, layout: Layout) -> None:
        manifest = await put_image(layout.repository(NAME), b"web", "1")
        names = ["bare", "localhost:5000/bare", f"a.example/x@{manifest.digest}", ""]
        entries = [{**json.loads(entry_of(manifest)), "annotations": {IMAGE_NAME: name}} for name in names]
        path = layout.root / "index.json"
        index = json.loads(path.read_bytes())
        index["manifests"] += entries
        path.write_text(json.dumps(index))
        assert (await layout.list_repositories()).items == (NAME,)

    async def test_without_a_name_images_go_by_their_ref_name_alone(self, layout: Layout) -> None:
        manifest = await put_image(layout.repository(ANY), b"layer", "1", "2")
        assert listed(layout) == [("1", manifest.digest), ("2", manifest.digest)]
        assert (await layout.repository(ANY).list_tags()).items == ("1", "2")
        assert (await layout.list_repositories()).items == ()

    async def test_an_image_without_a_tag_is_listed_until_it_has_one(self, repository: LayoutRepository) -> None:
        manifest = await put_image(repository, b"layer")
        assert listed(repository.layout) == [("", manifest.digest)]
        await repository.put_manifest(manifest, [LATEST])
        assert listed(repository.layout) == [(f"{NAME}:latest", manifest.digest)]
        await repository.delete_tag(LATEST)
        assert listed(repository.layout) == [("", manifest.digest)]

    async def test_the_children_of_an_index_are_not_listed(self, repository: LayoutRepository) -> None:
        first, second = await put_image(repository, b"1"), await put_image(repository, b"2", "keeps-its-name")
        index = await put_index(repository, first.descriptor, second.descriptor, tags=(LATEST,))
        assert listed(repository.layout) == sorted(
            [(f"{NAME}:latest", index.digest), (f"{NAME}:keeps-its-name", second.digest)]
        )
        for child in (first, second):
            assert (await repository.get_manifest(child.digest)).raw == child.raw

    async def test_what_a_child_of_an_index_refers_to_has_referrers(self, repository: LayoutRepository) -> None:
        image = await put_image(repository, b"layer")
        config = await put(repository, b"{}", OCI_CONFIG)
        signature = Manifest.encode(
            ImageManifest(schema_version=2, media_type=OCI_MANIFEST, config=config, layers=(), subject=image.descriptor)
        )
        await repository.put_manifest(signature)
        await put_index(repository, image.descriptor, signature.descriptor, tags=(LATEST,))
        assert [item.digest for item in (await repository.list_referrers(image.digest)).items] == [signature.digest]

    async def test_deleting_an_image_leaves_the_index_of_another_name_whole(self, layout: Layout) -> None:
        web, base = layout.repository(NAME), layout.repository(OTHER)
        image = await put_image(web, b"layer", "latest")
        index = await put_index(base, image.descriptor, tags=(LATEST,))
        await web.delete_manifest(image.digest)
        with pytest.raises(ManifestUnknown):
            await web.get_manifest(LATEST)
        assert (await base.get_manifest(LATEST)).raw == index.raw
        assert (await base.get_manifest(image.digest)).raw == image.raw


def entry_of(manifest: Manifest) -> str:
    return json.dumps({"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.raw)})


class TestDamage:
    @pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: b"x" + raw[1:], lambda raw: b""])
    async def test_a_damaged_blob_is_told_when_it_is_read(
        self, repository: LayoutRepository, damage: Callable[[bytes], bytes]
    ) -> None:
        blob = await put(repository, LARGE)
        repository.layout.path_of(blob.digest).write_bytes(damage(LARGE))
        with pytest.raises((DigestInvalid, SizeInvalid), match=blob.digest):
            await read(repository, blob.digest)

    async def test_writing_a_damaged_blob_again_heals_it(self, repository: LayoutRepository) -> None:
        blob = await put(repository, LARGE)
        repository.layout.path_of(blob.digest).write_bytes(b"damaged")
        await put(repository, LARGE)
        assert await read(repository, blob.digest) == LARGE

    @pytest.mark.parametrize("raw", [b"", b"garbage", b"{}", b'{"schemaVersion":2,"config":{}}'])
    @pytest.mark.parametrize("is_listed", [True, False])
    async def test_a_damaged_manifest_is_told_whatever_it_became(
        self, repository: LayoutRepository, raw: bytes, is_listed: bool
    ) -> None:
        manifest = await put_image(repository, b"layer", "latest")
        repository.layout.path_of(manifest.digest).write_bytes(raw)
        if not is_listed:
            (repository.layout.root / "index.json").unlink()
        with pytest.raises(DigestInvalid, match=f"{manifest.digest.encoded} is damaged"):
            await repository.get_manifest(manifest.digest)

    async def test_a_blob_that_is_no_manifest_is_none(self, repository: LayoutRepository) -> None:
        for raw in (b"a layer", b"{}", b"x" * 5_000_000):
            blob = await put(repository, raw)
            with pytest.raises(ManifestUnknown):
                await repository.get_manifest(blob.digest)

    async def test_a_blob_that_cannot_be_read_is_told(self, repository: LayoutRepository) -> None:
        digest = Digest.of(b"x")
        folder = repository.layout.path_of(digest).parent
        folder.rmdir()
        folder.write_text("no folder")
        for asking in (repository.stat_blob(digest), read(repository, digest), repository.get_manifest(digest)):
            with pytest.raises(OCIError, match=f"{repository.layout.root} failed: not a directory"):
                await asking

    async def test_a_manifest_that_is_gone_is_unknown(self, repository: LayoutRepository) -> None:
        manifest = await put_image(repository, b"layer", "latest")
        repository.layout.path_of(manifest.digest).unlink()
        with pytest.raises(ManifestUnknown, match=f"{NAME}:latest is not in {repository.layout.root}"):
            await repository.get_manifest(LATEST)


class TestUploads:
    async def test_an_upload_goes_on_in_another_process(self, repository: LayoutRepository) -> None:
        upload_id = await repository.start_upload()
        async with repository.open_upload(upload_id) as upload:
            await upload.append(LARGE[:1_000_000])
        program = """
async def main():
    repository = Layout(root).repository(RepositoryName(""))
    async with repository.open_upload(sys.argv[2]) as upload:
        print(upload.offset)
        await upload.append(bytes(range(256)) * 4096 * 3 if upload.offset == 0 else
                            (bytes(range(256)) * 4096 * 3)[upload.offset:])
        await upload.commit(Digest(sys.argv[3]))
asyncio.run(main())
"""
        out, _ = python(program, repository.layout.root, upload_id, Digest.of(LARGE)).communicate(timeout=60)
        assert out == "1000000\n"
        assert await read(repository, Digest.of(LARGE)) == LARGE
        assert files_of(repository.layout) == {"oci-layout", f"blobs/sha256/{Digest.of(LARGE).encoded}"}

    @pytest.mark.parametrize("upload_id", ["", "sha256", "sha256-", "md5-ab", "../x", "sha256-../../oci-layout", "x-1"])
    async def test_an_upload_that_never_began_is_unknown(self, repository: LayoutRepository, upload_id: str) -> None:
        with pytest.raises(BlobUploadUnknown):
            async with repository.open_upload(upload_id):
                pass

    async def test_a_file_that_is_being_built_is_no_upload(self, layout: Layout) -> None:
        """`write_blob` writes beside the uploads."""
        (layout.root / "blobs/.upload-0123456789abcdef01234567").touch()
        with pytest.raises(BlobUploadUnknown):
            async with layout.repository(ANY).open_upload("0123456789abcdef01234567"):
                pass

    async def test_an_upload_of_an_unknown_algorithm_is_refused(self, repository: LayoutRepository) -> None:
        with pytest.raises(DigestInvalid, match="md5"):
            await repository.start_upload(algorithm="md5")
        assert files_of(repository.layout) == {"oci-layout"}

    async def test_an_upload_that_another_process_writes_is_locked(self, repository: LayoutRepository) -> None:
        upload_id = await repository.start_upload()
        with (repository.layout.root / "blobs" / f".upload-{upload_id}").open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(BlobUploadInvalid, match="wait for its end"):
                async with repository.open_upload(upload_id):
                    pass

    @pytest.mark.parametrize("raw", [LARGE[:-1], LARGE + b"x", LARGE[::-1]], ids=["short", "long", "other"])
    async def test_content_that_is_refused_leaves_nothing(self, repository: LayoutRepository, raw: bytes) -> None:
        with pytest.raises((DigestInvalid, SizeInvalid)):
            await repository.put_blob(blob_of(LARGE), content_of(raw))
        assert files_of(repository.layout) == {"oci-layout"}

    async def test_a_source_that_fails_leaves_nothing(self, repository: LayoutRepository) -> None:
        async def failing(offset: int) -> AsyncIterator[bytes]:
            yield LARGE[:2_000_000]
            raise BlobUnknown("the source is gone")

        with pytest.raises(BlobUnknown, match="the source is gone"):
            await repository.put_blob(blob_of(LARGE), failing)
        assert files_of(repository.layout) == {"oci-layout"}

    async def test_who_is_cancelled_at_any_moment_leaves_all_or_nothing(self, repository: LayoutRepository) -> None:
        """And hears of the cancellation, not of a file that vanished under a thread."""
        blob = blob_of(LARGE)
        path = repository.layout.path_of(blob.digest)
        turns, ended = 0, False
        while not ended:
            path.unlink(missing_ok=True)
            putting = asyncio.create_task(repository.put_blob(blob, content_of(LARGE)))
            for _ in range(turns):
                await asyncio.sleep(0)
            ended = putting.done()
            putting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await putting
            assert files_of(repository.layout) <= {"oci-layout", f"blobs/sha256/{blob.digest.encoded}"}
            assert not path.exists() or path.read_bytes() == LARGE
            turns = turns + 1 if turns < 50 else turns * 2


class TestKilledAndFull:
    async def test_a_writer_that_is_killed_leaves_no_short_blob(self, repository: LayoutRepository) -> None:
        program = """
async def content(offset):
    yield bytes(5_000_000)
    print("written", flush=True)
    sys.stdin.read()
    yield bytes(5_000_000)
async def main():
    raw = bytes(10_000_000)
    descriptor = Descriptor(media_type="x/y", digest=Digest.of(raw), size=len(raw))
    await Layout(root).repository(RepositoryName("")).put_blob(descriptor, content)
asyncio.run(main())
"""
        process = python(program, repository.layout.root)
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        zeros = bytes(10_000_000)
        assert not repository.layout.path_of(Digest.of(zeros)).exists()
        assert list((repository.layout.root / "blobs/sha256").iterdir()) == []
        await put(repository, zeros)
        assert await read(repository, Digest.of(zeros)) == zeros

    @pytest.mark.parametrize(
        "program",
        [
            """
async def content(offset):
    for _ in range(10):
        yield bytes(1_000_000)
descriptor = Descriptor(media_type="x/y", digest=Digest.of(bytes(10_000_000)), size=10_000_000)
work = lambda: asyncio.run(Layout(root).repository(RepositoryName("")).put_blob(descriptor, content))
""",
            """
work = lambda: Layout(root).write_blob(lambda file: file.write(bytes(10_000_000)), lambda count: Digest.of(b""))
""",
        ],
        ids=["put", "write"],
    )
    def test_a_full_disk_is_told_and_nothing_of_the_blob_stays(self, layout: Layout, program: str) -> None:
        """The limit of a file's size stands for it: the same error, at the same calls."""
        program += """
import resource
from layerkit.oci.errors import StorageFull
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
try:
    work()
except StorageFull as error:
    print(error)
"""
        out, _ = python(program, layout.root).communicate(timeout=60)
        assert out == f"{layout.root} is full (file too large): free space and try again\n"
        assert files_of(layout) == {"oci-layout"}

    async def test_a_list_that_does_not_fit_leaves_the_old_one(self, repository: LayoutRepository) -> None:
        await put_image(repository, b"layer", "one")
        before = (repository.layout.root / "index.json").read_bytes()
        program = """
import resource
from layerkit.oci.errors import StorageFull
async def main():
    repository = Layout(root).repository(RepositoryName("registry.example/acme/web"))
    manifest = await repository.get_manifest(Tag("one"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(manifest.raw), len(manifest.raw)))
    try:
        await repository.put_manifest(manifest, [Tag(f"tag{n}") for n in range(100)])
    except StorageFull:
        print("full")
asyncio.run(main())
"""
        out, _ = python(program, repository.layout.root).communicate(timeout=60)
        assert out == "full\n"
        assert (repository.layout.root / "index.json").read_bytes() == before
        await put_image(repository, b"layer", "two")
        assert (await repository.list_tags()).items == ("one", "two")


@pytest.mark.engine
class TestOthers:
    """A layout is what skopeo takes for one, and the other way round."""

    @pytest.fixture
    async def image(self, layout: Layout) -> Manifest:
        return await put_image(layout.repository(NAME), b"layer", "1")

    async def test_a_layout_that_skopeo_wrote_is_read(self, layout: Layout, image: Manifest, tmp_path: Path) -> None:
        theirs = tmp_path / "theirs"
        for tag in ("1", "2"):
            run_program("skopeo", "copy", "--preserve-digests", f"oci:{layout.root}:1", f"oci:{theirs}:{tag}")
        found = Layout(theirs)
        repository = found.repository(ANY)
        assert (await repository.list_tags()).items == ("1", "2")
        assert (await repository.get_manifest(Tag("1"))).raw == image.raw
        assert await read(repository, Digest.of(b"layer")) == b"layer"
        assert (await found.list_repositories()).items == ()
        with pytest.raises(NameUnknown):
            await found.repository(NAME).list_tags()

    async def test_a_layout_that_skopeo_wrote_is_written_on(
        self, layout: Layout, image: Manifest, tmp_path: Path
    ) -> None:
        theirs = tmp_path / "theirs"
        run_program("skopeo", "copy", "--preserve-digests", f"oci:{layout.root}:1", f"oci:{theirs}:theirs")
        ours = Layout(theirs).repository(ANY)
        second = await put_image(ours, b"another layer", "ours")
        for tag, digest in (("theirs", image.digest), ("ours", second.digest)):
            seen = json.loads(run_program("skopeo", "inspect", f"oci:{theirs}:{tag}"))
            assert seen["Digest"] == digest

    async def test_an_index_that_skopeo_copied_is_copied_on(
        self, layout: Layout, image: Manifest, tmp_path: Path
    ) -> None:
        index = await put_index(layout.repository(NAME), image.descriptor, tags=(Tag("all"),))
        theirs = tmp_path / "theirs"
        run_program("skopeo", "copy", "--all", "--preserve-digests", f"oci:{layout.root}:all", f"oci:{theirs}:all")
        source = Layout(theirs).repository(ANY)
        destination = Layout(tmp_path / "back", create=True).repository(OTHER)
        await Copy(source=source, destination=destination).image(await source.get_manifest(Tag("all")), [LATEST])
        assert (await destination.get_manifest(LATEST)).raw == index.raw
        assert listed(destination.layout) == [(f"{OTHER}:latest", index.digest)]
        assert await read(destination, Digest.of(b"layer")) == b"layer"
