"""What `layerkit build` with --push, --cache-to and --cache-from asks of a real registry, and what a failure leaves."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from registry.app import run_server
from registry.config import Address, Configuration
from tests.programs import Finished, LayerkitHere, LayerkitProcess
from tests.remote.server import Server, run, run_tap

FOLDERS = "from: scratch\nlayers:\n- {name: a, directory: [/a]}\n- {name: b, directory: [/b]}\n"
"""Layers that are remembered at once: no file of theirs was written a moment ago."""


@dataclass(frozen=True)
class Counted:
    """A registry, and the command line in a folder. `tap.seen` are the requests."""

    tap: Server
    layerkit: LayerkitProcess
    folder: Path

    async def build(self, *arguments: str, check: bool = True) -> Finished:
        self.tap.seen.clear()
        return await asyncio.to_thread(
            LayerkitHere(self.layerkit.data), "build", "--push", *arguments, cwd=self.folder, check=check
        )

    def methods(self) -> list[str]:
        return sorted(line.split()[0] for line in self.tap.seen)


@asynccontextmanager
async def run_counted(tmp_path: Path, layerkit: LayerkitProcess) -> AsyncIterator[Counted]:
    configuration = Configuration(root=tmp_path / "registry", listen=Address(port=0), drain_seconds=1)
    async with run_server(configuration) as address, run_tap(address) as tap:
        folder = tmp_path / "context"
        folder.mkdir()
        yield Counted(tap, layerkit, folder)


@pytest.fixture
async def counted(tmp_path: Path, layerkit: LayerkitProcess) -> AsyncIterator[Counted]:
    async with run_counted(tmp_path, layerkit) as found:
        yield found


async def test_an_unchanged_image_is_one_request(counted: Counted) -> None:
    """PERFORMANCE, "Targets": "an unchanged push is two requests"; the other one may choose the scheme."""
    (counted.folder / "layerkit.yaml").write_text(FOLDERS)
    first = await counted.build("-t", f"{counted.tap.address}/web:1")
    # Two layers and the config, then the manifest: what went ahead is not asked for once more.
    assert counted.methods() == ["HEAD"] * 4 + ["POST"] * 3 + ["PUT"] * 4
    assert counted.tap.seen[-1] == "PUT /v2/web/manifests/1"
    assert first.stderr.splitlines()[-1].startswith(f"pushed {counted.tap.address}/web:1: 4 pushed (")
    again = await counted.build("-t", f"{counted.tap.address}/web:1")
    assert counted.tap.seen == ["HEAD /v2/web/manifests/1"]
    assert again.stdout == first.stdout


async def test_of_a_changed_image_the_new_layer_is_sent_and_the_others_are_looked_for(counted: Counted) -> None:
    (counted.folder / "layerkit.yaml").write_text(FOLDERS)
    await counted.build("-t", f"{counted.tap.address}/web:1")
    (counted.folder / "layerkit.yaml").write_text(FOLDERS.replace("[/b]", "[/c]"))
    await counted.build("-t", f"{counted.tap.address}/web:1")
    # HEAD: two layers, the config, the tag. POST and PUT: a layer and the config.
    assert counted.methods() == ["HEAD"] * 4 + ["POST"] * 2 + ["PUT"] * 3


async def test_two_tags_of_a_repository_share_what_went_ahead(counted: Counted) -> None:
    (counted.folder / "layerkit.yaml").write_text(FOLDERS)
    await counted.build("-t", f"{counted.tap.address}/web:1", "-t", f"{counted.tap.address}/web:2")
    assert counted.methods().count("POST") == 3
    assert [line for line in counted.tap.seen if line.startswith("PUT /v2/web/manifests")] == [
        "PUT /v2/web/manifests/1",
        "PUT /v2/web/manifests/2",
    ]


async def test_each_image_of_a_spec_goes_to_the_registries_of_its_own_names(counted: Counted) -> None:
    images = "".join(
        f"  {name}: {{from: scratch, tags: ['{counted.tap.address}/{name}'], layers: [{{directory: [/{name}]}}]}}\n"
        for name in ("api", "web")
    )
    (counted.folder / "layerkit.yaml").write_text(f"images:\n{images}")
    await counted.build()
    for name in ("api", "web"):
        sent = [line for line in counted.tap.seen if line.startswith(f"PUT /v2/{name}/")]
        assert len(sent) == 3, "a layer, the config and the manifest"


async def test_a_build_that_fails_pushes_no_image(counted: Counted) -> None:
    (counted.folder / "layerkit.yaml").write_text(
        f"images:\n  a: {{from: scratch, tags: ['{counted.tap.address}/a'], layers: [{{directory: [/a]}}]}}\n"
        f"  b: {{from: 'localhost/nothing:1', tags: ['{counted.tap.address}/b']}}\n"
    )
    done = await counted.build(check=False)
    assert done.code != 0
    assert "Traceback" not in done.stderr
    assert not [line for line in counted.tap.seen if "manifests" in line and not line.startswith(("GET", "HEAD"))]


async def test_a_push_that_is_refused_leaves_the_image_in_the_store(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    """Whatever the registry says, the build was done: pushing once more needs no building."""
    (tmp_path / "layerkit.yaml").write_text(FOLDERS)

    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response(status=403)

    async with run(refuse) as server:
        name = f"{server.address}/web:1"
        build = LayerkitHere(layerkit.data)
        done = await asyncio.to_thread(build, "build", "--push", "-t", name, cwd=tmp_path, check=False)
    assert done.code == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert name in (await asyncio.to_thread(layerkit, "images")).stdout


async def test_ctrl_c_while_layers_are_sent_ends_it_clean(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    """Neither an upload that hangs nor what is still packed keeps it, and it leaves nothing half written."""
    (tmp_path / "layerkit.yaml").write_text(FOLDERS)
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def hang(request: web.BaseRequest) -> web.StreamResponse:
        arrived.set()
        await ended.wait()
        return web.Response(status=503)

    async with run(hang) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "layerkit", "build", "--push", "-t", f"{server.address}/web:1"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "XDG_DATA_HOME": str(layerkit.data), "XDG_CACHE_HOME": str(layerkit.data / "cache")},
        )
        await arrived.wait()
        process.send_signal(signal.SIGINT)
        out, told = await process.communicate()
        ended.set()
    assert (process.returncode, out) == (130, b"")
    assert told.decode().splitlines()[-1] == "interrupted"
    assert b"Traceback" not in told
    store = layerkit.data / "layerkit/store"
    assert not [path for path in store.rglob(".*") if path.is_file()]


class TestCaches:
    FILES = "from: scratch\nlayers: [{name: a, copy: [./file:/a]}, {name: b, copy: [./other:/b]}]\n"

    @pytest.fixture(autouse=True)
    def _files(self, counted: Counted) -> None:
        (counted.folder / "layerkit.yaml").write_text(self.FILES)
        for name in ("file", "other"):
            (counted.folder / name).write_text(name * 1000)

    async def test_another_machine_sends_and_receives_no_layer(self, counted: Counted, tmp_path: Path) -> None:
        """A fresh home, a fresh checkout, another repository: the layers are mounted from the cache."""
        cache = f"{counted.tap.address}/caches/web:main"
        first = await counted.build("-t", f"{counted.tap.address}/web:1", "--cache-to", cache)
        assert first.stderr.splitlines()[-1].startswith(f"cached to {cache}: 2 cached (")
        assert first.stderr.splitlines()[-1].endswith("2 mounted"), "the layers have just been pushed to web"

        other = Counted(counted.tap, LayerkitHere(tmp_path / "other"), tmp_path / "clone")
        shutil.copytree(counted.folder, other.folder)
        done = await other.build("-t", f"{counted.tap.address}/new:1", "--cache-from", cache)
        assert done.stdout == first.stdout
        assert f"cache {cache}: 2 layers" in done.stderr
        assert done.stderr.splitlines()[-1].endswith("2 mounted")
        layers = [line.split()[-1] for line in done.stderr.splitlines() if line.startswith("  mounted ")]
        assert len(layers) == 2
        assert not [line for line in counted.tap.seen if line.startswith("GET") and line.split("/")[-1] in layers]
        # The config and the manifest are sent, the layers are not.
        assert counted.methods().count("PUT") == 2
        store = tmp_path / "other/layerkit/store/blobs/sha256"
        assert not any((store / layer.partition(":")[2]).exists() for layer in layers)
        # What needs the layers gets them, now or later.
        await other.build("-t", f"{counted.tap.address}/new:2", "--cache-from", cache, "-o", "oci:../out")
        assert all((tmp_path / "out/blobs" / layer.replace(":", "/")).exists() for layer in layers)
        await asyncio.to_thread(other.layerkit, "save", f"{counted.tap.address}/new:1", "-o", tmp_path / "image.tar")
        assert all((store / layer.partition(":")[2]).exists() for layer in layers)

    async def test_a_cache_that_is_as_it_was_is_one_request(self, counted: Counted) -> None:
        cache = f"{counted.tap.address}/web:cache"
        image = f"{counted.tap.address}/web:1"
        await counted.build("-t", image, "--cache-to", cache)
        done = await counted.build("-t", image, "--cache-to", cache)
        assert counted.tap.seen == ["HEAD /v2/web/manifests/1", "HEAD /v2/web/manifests/cache"]
        assert done.stderr.splitlines()[-1] == f"the cache {cache} is as it was"

    async def test_what_is_wrong_with_a_cache_is_a_warning(self, counted: Counted) -> None:
        address = counted.tap.address
        await counted.build("-t", f"{address}/web:1")
        caches = f"{address}/web:none,{address}/web:1"
        done = await counted.build(
            "-t", f"{address}/web:2", "--cache-from", caches, "--cache-from", f"{address}/nothing"
        )
        warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
        assert warnings == [
            f"warning: there is no cache {address}/web:none yet",
            f"warning: the cache {address}/web:1 is not used: {address}/web:1 is no cache of layerkit, "
            "but something else",
            f"warning: there is no cache {address}/nothing:latest yet",
        ]

    async def test_a_cache_that_cannot_be_written_fails_no_build(self, counted: Counted) -> None:
        async def refuse(request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=403)

        async with run(refuse) as server:
            cache = f"{server.address}/cache:1"
            done = await counted.build("-t", f"{counted.tap.address}/web:1", "--cache-to", cache)
        assert done.stderr.splitlines()[-1].startswith(f"warning: the cache {cache} is not written: ")

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--cache-from", "web:1"], "--cache-from: web:1 does not name its registry"),
            (["--cache-to", "localhost:5000/W"], "--cache-to: "),
            (["--cache-from", "localhost:5000/w,"], "--cache-from: "),
            (["--cache-to", f"localhost:5000/w@sha256:{'0' * 64}"], "names a digest"),
            (["--no-cache", "--cache-from", "localhost:5000/w"], "contradict"),
        ],
        ids=["no registry", "no reference", "nothing", "digest", "no cache"],
    )
    async def test_wrong_names_are_wrong_usage(self, counted: Counted, arguments: list[str], told: str) -> None:
        done = await counted.build("-t", f"{counted.tap.address}/web:1", *arguments, check=False)
        assert (done.code, done.stdout) == (2, "")
        assert told in done.stderr
        assert "Traceback" not in done.stderr
