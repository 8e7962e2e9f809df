"""No acknowledged byte is ever lost: not by a kill at any write, by loss of power, or on a full or a rotten disk."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, BlobUploadUnknown, ManifestUnknown
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Registry, Repository
from registry.app import open_registry, run_server
from registry.config import Address, Configuration, LogLevel
from tests.programs import PROJECT, run_program, run_registry
from tests.registry import crashing
from tests.wire import Answer, Wire, blob, image

RAW = bytes(range(256)) * 4096
"""1 MiB."""


@dataclass
class Acknowledged:
    """What the work was told is there. Whatever comes next in it may be there or not."""

    blobs: list[tuple[str, str]] = field(default_factory=list)
    tags: dict[str, str | None] = field(default_factory=dict)
    uploads: set[str] = field(default_factory=set)
    facts: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, **fact: Any) -> None:
        self.facts.append(fact)
        if "blob" in fact:
            self.blobs.append((fact["name"], fact["blob"]))
        if "upload" in fact:
            self.uploads.add(fact["upload"])
        self.uploads.discard(fact.get("ended", ""))
        self.tags.update(fact.get("tags", {}))


async def list_facts(folder: Path) -> list[dict[str, Any]]:
    """All that a life without an end acknowledges."""
    all_of_it = Acknowledged()
    async with open_registry(folder) as registry:
        await crashing.push_everything(registry, all_of_it)
    return all_of_it.facts


async def read_blob(repository: Repository, digest: Digest) -> bytes:
    async with repository.open_blob(digest) as blob:
        # As a whole, it is verified while it is read.
        return b"".join([chunk async for chunk in blob])


async def check_acknowledged(registry: Registry, told: Acknowledged, following: dict[str, str | None]) -> None:
    """`following` is where the step that was under way might have moved tags to."""
    for name, digest in told.blobs:
        await read_blob(registry.repository(RepositoryName(name)), Digest(digest))
    for name in (crashing.NAME, crashing.OTHER):
        for raw in (crashing.CONFIG, crashing.FIRST, crashing.SECOND):
            # What the index speaks of is in the store, acknowledged or not.
            try:
                await registry.repository(name).stat_blob(Digest.of(raw))
            except BlobUnknown:
                continue
            assert await read_blob(registry.repository(name), Digest.of(raw)) == raw
    repository = registry.repository(crashing.NAME)
    for tag, expected in told.tags.items():
        try:
            manifest = await repository.get_manifest(Tag(tag))
        except ManifestUnknown:
            assert None in {expected, following.get(tag, expected)}
            continue
        assert manifest.digest in {expected, following.get(tag, expected)}
        assert Digest.of(manifest.raw) == manifest.digest
        for needed in manifest.document.references():
            await read_blob(repository, needed.digest)


async def check_upload(repository: Repository, upload_id: str, *, has_lost_power: bool) -> None:
    """It goes on from where it says that it stands, unless the step that was under way ended it."""
    try:
        async with repository.open_upload(upload_id) as upload:
            assert has_lost_power or upload.offset >= crashing.CUT
            await upload.append(crashing.SECOND[upload.offset :])
            await upload.commit(Digest.of(crashing.SECOND))
    except BlobUploadUnknown:
        assert crashing.SECOND in [path.read_bytes() for path in files_of(repository_root(repository))]


def repository_root(repository: Any) -> Path:
    return Path(repository._storage._blobs)


def files_of(blobs: Path) -> list[Path]:
    return list(blobs.glob("*/*/*"))


def check_files(root: Path) -> None:
    """No file says that it is what it is not."""
    for path in files_of(root / "blobs"):
        digest = Digest(f"{path.parent.parent.name}:{path.name}")
        assert Digest.of(path.read_bytes(), digest.algorithm) == digest


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder where an fsync costs nothing: what it would have made durable is known to the shim."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("loss", ["process", "power"])
async def test_a_registry_that_fails_at_any_write_has_everything_that_it_acknowledged(memory: Path, loss: str) -> None:
    lives_of_all = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.registry.crashing", memory, loss), cwd=PROJECT
    )
    assert await lives_of_all.wait() == 0
    lives = sorted(memory.iterdir(), key=lambda folder: int(folder.name))
    assert len(lives) > 40
    all_facts = await list_facts(memory / "whole")
    for life in lives:
        told = Acknowledged()
        for line in (life / "acknowledged").read_text().splitlines():
            told(**json.loads(line))
        under_way = all_facts[len(told.facts)] if len(told.facts) < len(all_facts) else {}
        root = life / "registry"
        check_files(root)
        async with open_registry(root) as registry:
            await check_acknowledged(registry, told, under_way.get("tags", {}))
            for upload in told.uploads:
                await check_upload(registry.repository(crashing.NAME), upload, has_lost_power=loss == "power")
            again = Acknowledged()
            await crashing.push_everything(registry, again)
            await check_acknowledged(registry, again, {})
        check_files(root)
        assert len(again.facts) == len(all_facts)
        shutil.rmtree(life)


@asynccontextmanager
async def serve(root: Path) -> AsyncIterator[Wire]:
    configuration = Configuration(root=root, listen=Address(port=0), drain_seconds=1, log_level=LogLevel.ERROR)
    async with run_server(configuration) as address, aiohttp.ClientSession(auto_decompress=False) as session:
        yield Wire(address, session)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB, of which uploads leave 16 MiB free."""
    folder = tmp_path / "disk"
    folder.mkdir()
    run_program("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder)
    try:
        yield folder
    finally:
        run_program("umount", "--lazy", folder)


def fill(folder: Path) -> Path:
    """A file that takes what is left of the disk, to the last byte."""
    path = folder / "ballast"
    with path.open("ab", buffering=0) as ballast:
        for piece in (2**16, 1):
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(b"\0" * piece)
    return path


async def keep(reserve: Path, wire: Wire) -> None:
    """Wait for the server's own work."""
    async with asyncio.timeout(20):
        while not reserve.exists():
            await wire("GET", "/v2/")


def check_full(answer: Answer, reason: str = "is full") -> None:
    assert (answer.status, answer.codes) == (507, ["UNAVAILABLE"])
    assert reason in answer.json["errors"][0]["message"]


async def find_offset(wire: Wire, location: str) -> int:
    """Of an upload that has at least a byte."""
    answer = await wire("GET", location)
    assert answer.status == 204
    return int(answer.headers["Range"].removeprefix("0-")) + 1


@pytest.mark.engine
class TestFullDisk:
    @pytest.mark.parametrize("left", [0, 16, 18])
    async def test_an_upload_is_kept_and_finished_once_there_is_room(self, small_disk: Path, left: int) -> None:
        """`left` MiB are free when the rest of it comes."""
        large = os.urandom(6 * 1024 * 1024)
        async with serve(small_disk / "registry") as wire:
            location = await wire.start("a")
            assert (await wire("PATCH", location, large[:1_000_000])).status == 202
            ballast = fill(small_disk)
            os.truncate(ballast, ballast.stat().st_size - left * 1024 * 1024)
            offset = await find_offset(wire, location)
            check_full(await wire("PATCH", location, large[offset:]))
            offset = await find_offset(wire, location)
            assert 1_000_000 <= offset < len(large)
            check_full(await wire("PUT", f"{location}?digest={Digest.of(large)}", large[offset:]))
            ballast.unlink()
        # The hash of what came before is gone with the server.
        async with serve(small_disk / "registry") as wire:
            offset = await find_offset(wire, location)
            answer = await wire("PUT", f"{location}?digest={Digest.of(large)}", large[offset:])
            assert answer.status == 201, answer.body
            assert (await wire("GET", f"/v2/a/blobs/{Digest.of(large)}")).body == large

    async def test_reading_and_deleting_go_on_on_a_disk_that_pushes_have_filled(self, small_disk: Path) -> None:
        async with serve(small_disk / "registry") as wire:
            raw = await wire.push_image("a", "kept")
            await wire.push_image("a", "gone", b"other layer")
            await wire.push_blob("a", RAW)
            status = 201
            while status == 201:
                raw_blob = os.urandom(512 * 1024)
                answer = await wire("POST", f"/v2/a/blobs/uploads/?digest={Digest.of(raw_blob)}", raw_blob)
                status = answer.status
        async with serve(small_disk / "registry") as wire:
            check_full(answer)
            for path in ("manifests/gone", f"blobs/{Digest.of(RAW)}", f"blobs/{Digest.of(b'other layer')}"):
                assert (await wire("DELETE", f"/v2/a/{path}")).status in {202, 405}
            assert (await wire("GET", f"/v2/a/blobs/{Digest.of(RAW)}")).status == 404
            assert (await wire("GET", "/v2/a/manifests/kept")).body == raw
            assert (await wire("GET", "/v2/a/tags/list")).json["tags"] == ["kept"]

    async def test_on_a_nearly_full_disk_nothing_is_pushed_and_everything_can_be_deleted(
        self, small_disk: Path
    ) -> None:
        async with serve(small_disk / "registry") as wire:
            raw = await wire.push_image("a", "gone")
            kept = await wire.push_image("b", "kept")
            ballast = fill(small_disk)
            os.truncate(ballast, ballast.stat().st_size - 8 * 1024 * 1024)
            check_full(await wire.put_manifest("a", "another", raw))
            check_full(await wire("POST", f"/v2/c/blobs/uploads/?mount={Digest.of(b'layer')}&from=a"))
            check_full(await wire("POST", "/v2/a/blobs/uploads/"))
            assert (await wire("DELETE", "/v2/a/manifests/gone")).status == 202
            assert (await wire("DELETE", f"/v2/a/manifests/{Digest.of(raw)}")).status == 202
            assert (await wire("DELETE", f"/v2/a/blobs/{Digest.of(b'layer')}")).status == 202
            assert (await wire("GET", "/v2/a/tags/list")).json["tags"] == []
            assert (await wire("GET", "/v2/b/manifests/kept")).body == kept

    async def test_deleting_and_starting_give_up_the_reserve(
        self, small_disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("registry.storage.reserve._ROOM_NEEDED", 0)
        reserve = small_disk / "registry/reserve"
        async with serve(small_disk / "registry") as wire:
            await keep(reserve, wire)
            raw = await wire.push_image("a", "gone")
            kept = await wire.push_image("b", "kept")
            assert reserve.stat().st_blocks * 512 >= reserve.stat().st_size == 4 * 1024 * 1024
            fill(small_disk)
            check_full(await wire.put_manifest("a", "another", raw))
            assert reserve.exists()
            assert (await wire("DELETE", "/v2/a/manifests/gone")).status == 202
            assert not reserve.exists()
            assert (await wire("DELETE", f"/v2/a/manifests/{Digest.of(raw)}")).status == 202
            check_full(await wire.put_manifest("a", "another", raw))
        (small_disk / "ballast").unlink()
        async with serve(small_disk / "registry") as wire:
            await keep(reserve, wire)
        fill(small_disk)
        # As on a larger disk: what the start gave up is not taken again at once, from under the deletion.
        monkeypatch.setattr("registry.storage.reserve._ROOM_NEEDED", 8 * 1024 * 1024)
        async with serve(small_disk / "registry") as wire:
            assert not reserve.exists()
            assert (await wire("GET", "/v2/b/manifests/kept")).body == kept
            assert (await wire("DELETE", "/v2/b/manifests/kept")).status == 202

    @pytest.mark.parametrize("workers", ["1", "2"])
    @pytest.mark.parametrize("is_new", [True, False])
    def test_starting_without_a_byte_of_room_is_one_clear_line(
        self, small_disk: Path, workers: str, *, is_new: bool
    ) -> None:
        root = small_disk / "registry"
        if not is_new:
            with run_registry(root):
                pass
        fill(small_disk)
        command = [sys.executable, "-m", "layerkit", "registry", "serve", "--root", str(root), "--workers", workers]
        command += ["--listen", "127.0.0.1:0"]
        found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert found.returncode == 1
        [line] = found.stderr.splitlines()
        assert str(root) in line
        assert "free space and start again" in line

    async def test_reading_goes_on_when_others_have_left_not_a_byte(self, small_disk: Path) -> None:
        async with serve(small_disk / "registry") as wire:
            raw = await wire.push_image("a", "kept")
            await wire.push_blob("a", RAW)
            ballast = fill(small_disk)
            assert (await wire("GET", f"/v2/a/blobs/{Digest.of(RAW)}")).body == RAW
            assert (await wire("GET", "/v2/a/manifests/kept")).body == raw
            large = image(blob(RAW), annotations={"x": "y" * 2_000_000})
            check_full(await wire.put_manifest("a", "large", large))
            assert (await wire("GET", "/v2/a/manifests/large")).status == 404
            assert (await wire("GET", "/v2/a/tags/list")).json["tags"] == ["kept"]
            ballast.unlink()
            assert (await wire.put_manifest("a", "large", large)).status == 201
            assert (await wire("GET", "/v2/a/manifests/large")).body == large


@pytest.mark.parametrize("damage", ["shorter", "other", "gone"])
async def test_a_blob_that_was_damaged_is_healed_by_pushing_it_again(wire: Wire, tmp_path: Path, damage: str) -> None:
    digest = await wire.push_blob("a", RAW)
    path = tmp_path / "registry/blobs/sha256" / digest.encoded[:2] / digest.encoded
    match damage:
        case "shorter":
            os.truncate(path, 1000)
        case "other":
            path.write_bytes(b"\xff" + RAW[1:])
        case "gone":
            path.unlink()
    await wire.push_blob("b", RAW)
    for name in ("a", "b"):
        answer = await wire("GET", f"/v2/{name}/blobs/{digest}")
        assert (answer.status, answer.body) == (200, RAW)
