"""Many clients at once, for a while: nobody gets what is not right, and nothing is left over (`SOAK=1` for longer)."""

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from layerkit.oci.digest import Digest
from layerkit.oci.link import parse_next
from registry.app import run_server
from registry.config import Address, Configuration, LogLevel
from tests.programs import RegistryProcess, run_registry
from tests.wire import Wire, blob, image

OPERATIONS: Final = 10_000 if "SOAK" in os.environ else 750
"""Pushes and pulls of each test."""

CLIENTS: Final = 32
NAMES: Final = tuple(f"team-{number % 5}/app-{number}" for number in range(20))
SIZES: Final = (0, 1, 100, 4_096, 65_536, 65_537, 300_000, 1_048_576)
LAYERS: Final = tuple(random.Random(number).randbytes(size) for number, size in enumerate(SIZES * 4))
CONFIG: Final = b"{}"

pytestmark = pytest.mark.timeout(3600 if "SOAK" in os.environ else 120)


@dataclass
class Expected:
    """What was acknowledged. A tag that several clients move may point to any of the manifests that they gave it."""

    own_tags: dict[tuple[str, str], bytes] = field(default_factory=dict)
    moving_tags: dict[tuple[str, str], set[bytes]] = field(default_factory=dict)
    moved: set[tuple[str, str]] = field(default_factory=set)
    blobs: dict[str, set[bytes]] = field(default_factory=lambda: {name: set() for name in NAMES})


@dataclass
class Client:
    """One of many, with its own random sequence and its own connections."""

    number: int
    wire: Wire
    expected: Expected

    async def run(self, operations: int) -> None:
        chance = random.Random(self.number)
        for count in range(operations):
            name = chance.choice(NAMES)
            match chance.choices(["image", "blob", "mount", "pull", "delete"], [3, 2, 2, 4, 1])[0]:
                case "image":
                    await self.push_image(name, f"own-{self.number}-{count}", chance.sample(LAYERS, 2))
                case "blob":
                    await self.push_blob(name, chance.choice(LAYERS), chance.choice(["at once", "in parts", "chunked"]))
                case "mount":
                    await self.mount(name, chance.choice(LAYERS), chance.choice([None, *NAMES]))
                case "pull":
                    await self.pull(name, "moving")
                case "delete":
                    await self.delete_own(chance)

    async def push_image(self, name: str, tag: str, layers: list[bytes]) -> None:
        for raw in (CONFIG, *layers):
            if (await self.wire("HEAD", f"/v2/{name}/blobs/{Digest.of(raw)}")).status != 200:
                await self.push_blob(name, raw, "in parts")
        # No two images are the same.
        manifest = image(*map(blob, layers), annotations={"tag": tag})
        # Before it is acknowledged: others may see it already.
        self.expected.moving_tags.setdefault((name, "moving"), set()).add(manifest)
        for reference in (tag, "moving"):
            answer = await self.wire.put_manifest(name, reference, manifest)
            assert answer.status == 201, answer.body
        self.expected.own_tags[name, tag] = manifest
        self.expected.moved.add((name, "moving"))
        await self.pull(name, tag)

    async def push_blob(self, name: str, raw: bytes, way: str) -> None:
        digest = Digest.of(raw)
        if way == "at once":
            answer = await self.wire("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", raw)
        else:
            location = await self.wire.start(name)
            half = len(raw) // 2 if way == "in parts" else 0
            for start, stop in ((0, half), (half, len(raw))):
                if stop > start:
                    headers = {"Content-Range": f"{start}-{stop - 1}"} if way == "in parts" else None
                    answer = await self.wire("PATCH", location, raw[start:stop], headers=headers)
                    assert answer.status == 202, answer.body
                    location = answer.location
            answer = await self.wire("PUT", f"{location}?digest={digest}")
        assert answer.status == 201, answer.body
        self.expected.blobs[name].add(raw)

    async def mount(self, name: str, raw: bytes, source: str | None) -> None:
        query = f"mount={Digest.of(raw)}" + (f"&from={source}" if source else "")
        answer = await self.wire("POST", f"/v2/{name}/blobs/uploads/?{query}")
        if answer.status == 201:
            self.expected.blobs[name].add(raw)
        else:
            assert answer.status == 202
            assert (await self.wire("DELETE", answer.location)).status == 204

    async def pull(self, name: str, tag: str) -> None:
        must_be_there = tag != "moving" or (name, tag) in self.expected.moved
        answer = await self.wire("GET", f"/v2/{name}/manifests/{tag}")
        if answer.status == 404 and not must_be_there:
            return
        assert answer.status == 200, answer.body
        assert Digest.of(answer.body) == answer.headers["Docker-Content-Digest"]
        for layer in answer.json["layers"]:
            found = await self.wire("GET", f"/v2/{name}/blobs/{layer['digest']}")
            assert (found.status, Digest.of(found.body)) == (200, layer["digest"])

    async def delete_own(self, chance: random.Random) -> None:
        mine = [key for key in self.expected.own_tags if key[1].startswith(f"own-{self.number}-")]
        if mine:
            name, tag = chance.choice(mine)
            del self.expected.own_tags[name, tag]
            assert (await self.wire("DELETE", f"/v2/{name}/manifests/{tag}")).status == 202
            assert (await self.wire("GET", f"/v2/{name}/manifests/{tag}")).status == 404


async def run_clients(address: str) -> Expected:
    expected = Expected()
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(CLIENTS):
            # Of every fourth each request has a connection of its own, and so any worker.
            connector = aiohttp.TCPConnector(force_close=number % 4 == 0)
            session = aiohttp.ClientSession(auto_decompress=False, connector=connector)
            clients.append(Client(number, Wire(address, await stack.enter_async_context(session)), expected))
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(client.run(OPERATIONS // CLIENTS))
    return expected


async def check_everything(address: str, expected: Expected) -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        wire = Wire(address, session)
        for name in NAMES:
            tags = [tag for repository, tag in (*expected.own_tags, *expected.moving_tags) if repository == name]
            assert await list_tags(wire, name) == sorted(tags)
            for raw in expected.blobs[name]:
                answer = await wire("GET", f"/v2/{name}/blobs/{Digest.of(raw)}")
                assert (answer.status, answer.body) == (200, raw)
        for (name, tag), manifest in expected.own_tags.items():
            assert (await wire("GET", f"/v2/{name}/manifests/{tag}")).body == manifest
        for (name, tag), manifests in expected.moving_tags.items():
            assert (await wire("GET", f"/v2/{name}/manifests/{tag}")).body in manifests


async def list_tags(wire: Wire, name: str) -> list[str]:
    found: list[str] = []
    path: str | None = f"/v2/{name}/tags/list?n=7"
    while path is not None:
        answer = await wire("GET", path)
        found += answer.json.get("tags", [])
        path = parse_next(answer.headers.get("Link", ""))
    return found


def check_folder(root: Path) -> None:
    assert list((root / "uploads").iterdir()) == []
    stored = {path.name for path in (root / "blobs").glob("*/*/*")}
    assert stored <= {Digest.of(raw).encoded for raw in (CONFIG, *LAYERS)}


def count_open() -> tuple[int, int]:
    return len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks())


async def test_many_clients_at_once_leave_nothing_but_what_they_pushed(tmp_path: Path) -> None:
    configuration = Configuration(
        root=tmp_path / "registry", listen=Address(port=0), drain_seconds=1, log_level=LogLevel.ERROR
    )
    connector = aiohttp.TCPConnector(force_close=True)
    async with run_server(configuration) as address, aiohttp.ClientSession(connector=connector) as session:
        probe = Wire(address, session)
        # Whoever asks takes up something as well, now and at the end.
        assert (await probe("GET", "/v2/")).status == 200
        before = count_open()
        expected = await run_clients(address)
        await check_everything(address, expected)
        async with asyncio.timeout(20):
            while any(now > then for now, then in zip(count_open(), before, strict=True)):
                assert (await probe("GET", "/v2/")).status == 200
    check_folder(tmp_path / "registry")


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[RegistryProcess]:
    with run_registry(tmp_path / "registry", "--workers", "2", "--quiet") as registry:
        yield registry


async def test_many_clients_of_two_workers_see_one_registry(two_workers: RegistryProcess) -> None:
    expected = await run_clients(two_workers.address)
    await check_everything(two_workers.address, expected)
    check_folder(two_workers.root)
    log = two_workers.log
    assert two_workers.stop() == 0
    assert "status=5" not in log
