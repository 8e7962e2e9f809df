"""Fetching from servers that break off, lie and change, and what is made of what they give."""

import asyncio
import gzip
import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from layerkit.build.built import BuiltImage
from layerkit.build.fetch import Fetcher
from layerkit.cli.environment import open_url
from layerkit.content.store import Store
from layerkit.document.problem import DocumentError
from layerkit.layer.entry import Entry, EntryType
from layerkit.oci.digest import Digest
from layerkit.oci.errors import DigestInvalid, OCIError, Unavailable
from layerkit.progress import Outcome
from layerkit.remote.retry import Patience, Timing
from tests.images import file, folder, make_tar, member, symlink
from tests.progress import Recorded
from tests.remote.server import Server, run

Build = Callable[..., Awaitable[BuiltImage]]

CONTENT = os.urandom(300_000)
DIGEST = Digest.of(CONTENT)


async def _no_wait(seconds: float) -> None:
    """Does not wait."""


NEVER_WAITS = Timing(sleep=_no_wait)


def make_fetcher(tmp_path: Path, **fields: Any) -> Fetcher:
    fields = {"timing": NEVER_WAITS, "patience": Patience(attempts=4), **fields}
    return Fetcher(folder=tmp_path / "cache", open_url=open_url, **fields)


def files_of(tmp_path: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in (tmp_path / "cache/fetch").iterdir())


class Files:
    """A server of one file. `broken` are the sizes after which the next answers break off."""

    def __init__(self, content: bytes = CONTENT, *, ranges: bool = True, etag: str = '"1"') -> None:
        self.content = content
        self.ranges = ranges
        self.etag = etag
        self.broken: list[int] = []
        self.statuses: list[int] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        start = 0
        asked = request.headers.get("Range", "")
        is_same = request.headers.get("If-Range", self.etag) == self.etag
        if self.ranges and asked and is_same:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.content):
                return web.Response(status=416)
        response = web.StreamResponse(status=206 if start else 200)
        if self.etag:
            response.headers["ETag"] = self.etag
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        response.content_length = len(self.content) - start
        await response.prepare(request)
        if self.broken:
            await response.write(self.content[start : start + self.broken.pop(0)])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(self.content[start:])
        return response


def ranges_of(server: Server) -> list[str]:
    return [headers.get("Range", "") for headers in server.headers]


class TestDownloads:
    async def test_it_is_kept_by_its_content_and_asked_for_once(self, tmp_path: Path) -> None:
        progress = Recorded()
        async with run(Files()) as server:
            fetcher = make_fetcher(tmp_path, progress=progress)
            path, digest = await fetcher.fetch(f"http://{server.address}/a/file.bin", DIGEST)
            assert (path.read_bytes(), digest) == (CONTENT, DIGEST)
            assert await fetcher.fetch(f"http://{server.address}/a/file.bin", DIGEST) == (path, DIGEST)
            assert len(server.seen) == 1
        assert files_of(tmp_path) == ["sha256"]
        assert progress.ended
        assert [step.name for step in progress.steps] == ["file.bin", "file.bin"]
        assert progress.advanced[progress.steps[0]] == len(CONTENT)
        assert progress.outcomes["file.bin"] == [Outcome.DONE, Outcome.REUSED]

    async def test_a_file_that_the_disk_has_spoilt_is_brought_again(self, tmp_path: Path) -> None:
        async with run(Files()) as server:
            fetcher = make_fetcher(tmp_path)
            path, _ = await fetcher.fetch(f"http://{server.address}/x", DIGEST)
            path.write_bytes(CONTENT[:-1] + b"?")
            await fetcher.fetch(f"http://{server.address}/x", DIGEST)
            assert path.read_bytes() == CONTENT
            assert len(server.seen) == 2

    async def test_what_breaks_off_is_gone_on_with(self, tmp_path: Path) -> None:
        files = Files()
        files.broken = [100_000, 50_000]
        async with run(files) as server:
            path, _ = await make_fetcher(tmp_path).fetch(f"http://{server.address}/x", DIGEST)
            assert path.read_bytes() == CONTENT
            first, second, third = ranges_of(server)
            assert first == ""
            assert 0 < int(second[6:-1]) <= 100_000
            assert int(second[6:-1]) <= int(third[6:-1]) <= 150_000

    async def test_a_later_build_goes_on_with_it(self, tmp_path: Path) -> None:
        files = Files()
        files.broken = [100_000]
        async with run(files) as server:
            with pytest.raises(Unavailable):
                await make_fetcher(tmp_path, patience=Patience(attempts=1)).fetch(f"http://{server.address}/x", DIGEST)
            assert files_of(tmp_path) == [".partial"]
            server.headers.clear()
            path, _ = await make_fetcher(tmp_path).fetch(f"http://{server.address}/x", DIGEST)
            assert path.read_bytes() == CONTENT
            assert ranges_of(server)[0].startswith("bytes=")
        assert files_of(tmp_path) == ["sha256"]

    async def test_a_server_without_ranges_gives_all_of_it_again(self, tmp_path: Path) -> None:
        files = Files(ranges=False)
        files.broken = [100_000]
        async with run(files) as server:
            path, _ = await make_fetcher(tmp_path).fetch(f"http://{server.address}/x", DIGEST)
            assert path.read_bytes() == CONTENT

    @pytest.mark.parametrize("size", [1000, len(CONTENT), len(CONTENT) + 5])
    async def test_a_beginning_of_something_else_is_given_up(self, tmp_path: Path, size: int) -> None:
        async with run(Files()) as server:
            url = f"http://{server.address}/x"
            key = hashlib.sha256(f"{DIGEST} {url}".encode()).hexdigest()
            (tmp_path / "cache/fetch").mkdir(parents=True)
            (tmp_path / f"cache/fetch/.partial-{key}").write_bytes(bytes(size))
            path, _ = await make_fetcher(tmp_path).fetch(url, DIGEST)
            assert path.read_bytes() == CONTENT
        assert files_of(tmp_path) == ["sha256"]

    async def test_another_content_is_refused_and_not_kept(self, tmp_path: Path) -> None:
        async with run(Files(b"something else")) as server:
            with pytest.raises(DigestInvalid, match=f"its sha256 is {hashlib.sha256(b'something else').hexdigest()}"):
                await make_fetcher(tmp_path).fetch(f"http://{server.address}/x", DIGEST)
        assert files_of(tmp_path) == []

    async def test_without_a_sha256_it_is_brought_each_time(self, tmp_path: Path) -> None:
        async with run(Files()) as server:
            fetcher = make_fetcher(tmp_path)
            for _ in range(2):
                path, digest = await fetcher.fetch(f"http://{server.address}/x", None)
                assert (path.read_bytes(), digest) == (CONTENT, DIGEST)
            assert len(server.seen) == 2
        assert files_of(tmp_path) == ["sha256"]

    @pytest.mark.parametrize("etag", ['"1"', 'W/"1"', ""])
    async def test_without_a_sha256_only_the_same_version_is_gone_on_with(self, tmp_path: Path, etag: str) -> None:
        files = Files(etag=etag)
        files.broken = [100_000]
        async with run(files) as server:
            path, _ = await make_fetcher(tmp_path).fetch(f"http://{server.address}/x", None)
            assert path.read_bytes() == CONTENT
            assert bool(ranges_of(server)[1]) is (etag == '"1"')

    async def test_a_file_that_changes_meanwhile_is_one_or_the_other(self, tmp_path: Path) -> None:
        files = Files()
        files.broken = [100_000]
        other = os.urandom(200_000)

        async def changing(request: web.BaseRequest) -> web.StreamResponse:
            if request.headers.get("Range"):
                files.content, files.etag = other, '"2"'
            return await files(request)

        async with run(changing) as server:
            path, digest = await make_fetcher(tmp_path).fetch(f"http://{server.address}/x", None)
            assert (path.read_bytes(), digest) == (other, Digest.of(other))

    async def test_what_passes_is_waited_for_and_what_does_not_is_told(self, tmp_path: Path) -> None:
        files = Files()
        files.statuses = [503, 429, 500]
        async with run(files) as server:
            await make_fetcher(tmp_path).fetch(f"http://{server.address}/x", DIGEST)
            assert len(server.seen) == 4
            files.statuses = [404]
            with pytest.raises(OCIError, match="answers with HTTP status 404, Not Found"):
                await make_fetcher(tmp_path).fetch(f"http://{server.address}/y?token=secret", None)
            files.statuses = [503] * 10
            with pytest.raises(Unavailable, match="HTTP status 503"):
                await make_fetcher(tmp_path).fetch(f"http://{server.address}/y", None)
            assert len(server.seen) == 4 + 1 + 4
        assert files_of(tmp_path) == ["sha256"]

    async def test_redirects_are_followed_but_not_for_ever(self, tmp_path: Path) -> None:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            if request.raw_path == "/end":
                return web.Response(body=CONTENT)
            target = "/end" if request.raw_path == "/begin" else f"{request.raw_path}x"
            return web.Response(status=302, headers={"Location": target})

        async with run(answer) as server:
            path, _ = await make_fetcher(tmp_path).fetch(f"http://{server.address}/begin", DIGEST)
            assert path.read_bytes() == CONTENT
            with pytest.raises(OCIError, match="more than 10 redirects"):
                await make_fetcher(tmp_path).fetch(f"http://{server.address}/loop", None)

    async def test_it_is_not_led_to_files_of_this_machine(self, tmp_path: Path) -> None:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": "file:///etc/passwd"})

        async with run(answer) as server:
            with pytest.raises(OCIError, match="refused"):
                await make_fetcher(tmp_path).fetch(f"http://{server.address}/x", None)

    async def test_side_by_side_one_downloads_and_the_others_wait(self, tmp_path: Path) -> None:
        async with run(Files()) as server:
            url = f"http://{server.address}/x"
            found = await asyncio.gather(*(make_fetcher(tmp_path).fetch(url, DIGEST) for _ in range(5)))
            assert {path.read_bytes() for path, _ in found} == {CONTENT}
            assert len(server.seen) == 1
        assert files_of(tmp_path) == ["sha256"]


TREE = (
    folder("pkg-1.0"),
    folder("pkg-1.0/bin"),
    file("pkg-1.0/bin/tool", b"tool", mode=0o4755, uid=1000, mtime=1_600_000_000),
    symlink("pkg-1.0/bin/alias", "tool"),
    member("pkg-1.0/bin/hard", b"1", linkname="pkg-1.0/bin/tool"),
    file("pkg-1.0/README", b"read me", mode=0o600),
    file("top", b"top"),
)


def make_zip(*members: tuple[str, bytes, int]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return raw.getvalue()


ZIP = make_zip(
    ("pkg-1.0/", b"", stat.S_IFDIR | 0o755),
    ("pkg-1.0/bin/tool", b"tool", stat.S_IFREG | 0o755),
    ("pkg-1.0/bin/alias", b"tool", stat.S_IFLNK | 0o777),
    ("pkg-1.0/README", b"read me", 0),
)


class TestBuilds:
    @staticmethod
    async def build(build: Build, server: Server, keys: str, *, name: str = "file.bin", owner: str = "0") -> BuiltImage:
        return await build(
            f"from: scratch\nlayers:\n  - owner: {owner}\n"
            f"    fetch: [{{url: 'http://{server.address}/{name}', {keys}}}]\n"
        )

    @staticmethod
    def entries(built: BuiltImage) -> dict[str, Entry]:
        return {entry.path: entry for entry in built.plan.layers[0].entries}

    async def test_a_file_goes_where_it_is_wanted(self, build: Build) -> None:
        async with run(Files()) as server:
            built = await self.build(build, server, f"dest: /srv/, sha256: {DIGEST.encoded}", owner="'7:8'")
        found = self.entries(built)["srv/file.bin"]
        assert (found.mode, found.uid, found.gid, found.mtime, found.size) == (0o644, 7, 8, 0, len(CONTENT))
        assert built.plan.warnings == ()
        provenance = built.plan.layers[0].provenance["srv/file.bin"]
        assert provenance.source.endswith("/file.bin")
        assert provenance.position.line == 4

    async def test_one_that_may_change_is_told_with_what_to_write(self, build: Build) -> None:
        async with run(Files()) as server:
            built = await self.build(build, server, "dest: /x, mode: '0755'")
        assert self.entries(built)["x"].mode == 0o755
        told = f"may be another file tomorrow: add `sha256: {DIGEST.encoded}`, or run `layerkit lock`"
        assert built.plan.warnings[0].endswith(told)

    async def test_another_content_is_an_error_of_the_spec(self, build: Build) -> None:
        async with run(Files()) as server:
            with pytest.raises(DocumentError) as caught:
                await self.build(build, server, f"dest: /x, sha256: {'0' * 64}")
        (problem,) = caught.value.problems
        assert problem.line == 4
        assert f"its sha256 is {DIGEST.encoded}, not 000" in problem.message

    @pytest.mark.parametrize(
        "content", [make_tar(*TREE), gzip.compress(make_tar(*TREE)), ZIP], ids=["tar", "gz", "zip"]
    )
    async def test_an_archive_is_taken_as_a_folder_is(self, build: Build, content: bytes) -> None:
        async with run(Files(content)) as server:
            built = await self.build(build, server, "dest: /opt/, extract: true, strip: 1", owner="5")
        found = self.entries(built)
        found.pop("opt/bin/hard", None)
        assert {path: (entry.type, entry.mode, entry.uid, entry.mtime) for path, entry in found.items()} == {
            "opt": (EntryType.DIRECTORY, 0o755, 5, 0),
            "opt/README": (EntryType.FILE, 0o644, 5, 0),
            "opt/bin": (EntryType.DIRECTORY, 0o755, 5, 0),
            "opt/bin/alias": (EntryType.SYMLINK, 0o777, 5, 0),
            "opt/bin/tool": (EntryType.FILE, 0o755, 5, 0),
        }
        assert found["opt/bin/alias"].link == "tool"
        source = found["opt/bin/tool"].source
        assert source is not None
        assert b"".join(source.pieces(100)) == b"tool"

    @pytest.mark.parametrize("content", [gzip.compress(make_tar(*TREE)), ZIP], ids=["gz", "zip"])
    async def test_the_layer_of_an_archive_that_was_taken_before_is_not_made_again(
        self, build: Build, store: Store, content: bytes
    ) -> None:
        async with run(Files(content)) as server:
            (first,) = (await self.build(build, server, "dest: /opt/, extract: true")).image.layers
            size = first.size
            store.path_of(first.digest).write_bytes(bytes(size))
            (second,) = (await self.build(build, server, "dest: /opt/, extract: true")).image.layers
            assert second == first
            assert store.path_of(first.digest).read_bytes() == bytes(size)

    async def test_the_root_may_be_where_it_goes(self, build: Build) -> None:
        async with run(Files(make_tar(*TREE))) as server:
            built = await self.build(build, server, "dest: /, extract: true")
        assert "pkg-1.0/bin/tool" in self.entries(built)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (make_tar(file("../x")), "leads out of its root"),
            (make_tar(file("a/.wh.x")), "names that begin with .wh. mean a deletion"),
            (make_tar(member("a", b"1", linkname="/etc/passwd")), "hardlink"),
            (make_tar(symlink("a", "../../../etc")), "climbs above the root"),
            (make_zip(("../x", b"", 0)), "leads out of its root"),
            (make_zip(("/etc/../../x", b"", 0)), "leads out of its root"),
            (make_zip(("a/.wh.x", b"", 0)), "names that begin with .wh. mean a deletion"),
            (make_zip(("a", b"x" * 5000, stat.S_IFLNK | 0o777)), "has more than 4095 bytes"),
            (make_zip(("zeros", bytes(150 * 2**20), 0)), "above the limit `ratio`"),
            (ZIP[:100], "is no tar|few can read"),
            (ZIP[:-10], "few can read"),
            (b"no archive" * 100, "is no tar"),
            (make_tar(), "the archive has nothing in it"),
        ],
        ids=[
            "tar traversal",
            "tar whiteout",
            "tar hardlink",
            "tar symlink",
            "zip traversal",
            "zip absolute",
            "zip whiteout",
            "zip symlink",
            "zip bomb",
            "zip start",
            "zip end",
            "no archive",
            "empty",
        ],
    )
    async def test_archives_that_nobody_should_use(self, build: Build, content: bytes, message: str) -> None:
        """S1, S3 and S5."""
        async with run(Files(content)) as server:
            with pytest.raises(DocumentError, match=message):
                await self.build(build, server, "dest: /opt/, extract: true")

    async def test_stripping_all_of_it_is_a_mistake(self, build: Build) -> None:
        async with run(Files(make_tar(*TREE))) as server:
            with pytest.raises(DocumentError, match="the archive has nothing below 5 folders"):
                await self.build(build, server, "dest: /opt/, extract: true, strip: 5")
