"""`layerkit lock` and builds from a lock: with a registry whose tags move, and a server whose files change."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from layerkit.oci.digest import Digest
from layerkit.packages.lock import load_lock
from tests.programs import Finished, LayerkitHere, LayerkitProcess, RegistryProcess, run_registry


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


class World:
    """A registry, a server of files, and a spec that needs both. `bases` are the digests that `base:1` has had."""

    def __init__(self, folder: Path, registry: RegistryProcess) -> None:
        self.registry = registry
        self.files = folder / "files"
        self.context = folder / "context"
        for path in (self.files, self.context, folder / "base"):
            path.mkdir()
        self._base = folder / "base"
        self.layerkit: LayerkitProcess = LayerkitHere(folder / "data")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(self.files)))
        self.base = f"{registry.address}/{folder.name.lower()}/base"
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/model"
        self.bases: list[str] = []
        self.move_base("first")
        (self.files / "model").write_bytes(b"first")
        self.write(f"from: {self.base}:1\nlayers: [{{name: app, fetch: [{{url: '{self.url}', dest: /model}}]}}]\n")

    def move_base(self, text: str) -> None:
        content = f"layers: [{{copy: [{{content: '{text}', dest: /base}}]}}]\n"
        (self._base / "layerkit.yaml").write_text(f"from: scratch\nplatforms: [linux/amd64, linux/arm64]\n{content}")
        built = self.layerkit("build", "-t", f"{self.base}:1", "--push", cwd=self._base)
        self.bases.append(built.stdout.strip())

    def write(self, spec: str) -> None:
        (self.context / "layerkit.yaml").write_text(spec)

    def run(self, *arguments: str, check: bool = True, **environment: str) -> Finished:
        return self.layerkit(*arguments, cwd=self.context, check=check, **environment)

    def build(self, *arguments: str) -> str:
        return self.run("build", *arguments).stdout.strip()

    @property
    def lock(self) -> Path:
        return self.context / "layerkit.lock"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    with run_registry(tmp_path_factory.mktemp("lock") / "registry") as process:
        yield process


@pytest.fixture
def world(tmp_path: Path, registry: RegistryProcess) -> Iterator[World]:
    world = World(tmp_path, registry)
    thread = threading.Thread(target=world.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield world
    finally:
        world.server.shutdown()
        thread.join()
        world.server.server_close()


def changes(done: Finished) -> list[tuple[Any, ...]]:
    found = json.loads(done.stdout)["changes"]
    return [(change["kind"], change["name"], change["before"], change["after"]) for change in found]


class TestLock:
    def test_it_has_the_base_and_the_file_as_they_are(self, world: World) -> None:
        """SPEC, rule 6: "Everything remote is pinned in `layerkit.lock`, not in the spec"."""
        model = Digest.of(b"first")
        done = world.run("lock")
        assert done.stdout.splitlines() == [f"+ base {world.base}:1 {world.bases[0]}", f"+ url {world.url} {model}"]
        assert done.stderr.splitlines()[-1] == "wrote layerkit.lock"
        lock = load_lock(world.lock)
        assert lock.bases == {f"{world.base}:1": world.bases[0]}
        assert (lock.urls[world.url].sha256, lock.urls[world.url].size) == (model, 5)

    def test_what_is_locked_stays_what_is_missing_is_added_what_is_not_asked_for_goes(self, world: World) -> None:
        """SPEC, rule 6: "`layerkit lock` adds what is missing"."""
        world.run("lock")
        before = world.lock.read_bytes()
        world.move_base("second")
        (world.files / "model").write_bytes(b"second")
        done = world.run("lock")
        assert (done.stdout, done.stderr.splitlines()[-1]) == ("", "layerkit.lock: nothing has changed")
        assert world.lock.read_bytes() == before
        (world.files / "other").write_bytes(b"other")
        other = world.url.replace("model", "other")
        world.write(f"from: {world.base}:1\nlayers: [{{fetch: [{{url: '{other}', dest: /o}}]}}]\n")
        done = world.run("lock", "--format", "json")
        assert changes(done) == [
            ("url", world.url, Digest.of(b"first"), None),
            ("url", other, None, Digest.of(b"other")),
        ]
        assert world.run("lock").stdout == ""

    def test_upgrade_takes_what_there_is_now(self, world: World) -> None:
        world.run("lock")
        world.move_base("second")
        (world.files / "model").write_bytes(b"second")
        done = world.run("lock", "--upgrade", world.url)
        assert done.stdout.strip() == f"~ url {world.url} {Digest.of(b'first')} -> {Digest.of(b'second')}"
        done = world.run("lock", "--upgrade")
        assert done.stdout.strip() == f"~ base {world.base}:1 {world.bases[0]} -> {world.bases[1]}"
        assert load_lock(world.lock).bases == {f"{world.base}:1": world.bases[1]}

    def test_a_spec_with_a_digest_needs_no_lock(self, world: World) -> None:
        world.write(f"from: {world.base}@{world.bases[0]}\nlayers: [{{copy: [{{content: x, dest: /x}}]}}]\n")
        done = world.run("lock")
        assert "layerkit.yaml names nothing that has to be locked" in done.stderr
        assert not world.lock.exists()
        assert world.build("--locked") == world.build()

    def test_what_images_copy_from_is_locked_as_well(self, world: World) -> None:
        world.write(f"from: scratch\nlayers: [{{copy: [{{from: '{world.base}:1', src: /base, dest: /x}}]}}]\n")
        world.run("lock")
        assert load_lock(world.lock).bases == {f"{world.base}:1": world.bases[0]}
        first = world.build("--locked")
        world.move_base("second")
        assert world.build("--locked") == first

    def test_the_files_of_the_context_need_not_be_there(self, world: World) -> None:
        world.write(f"from: {world.base}:1\nlayers: [{{copy: [./not-built-yet:/x]}}]\n")
        world.run("lock")
        assert world.lock.exists()

    def test_one_lock_serves_all_platforms(self, world: World) -> None:
        for name in ("amd64", "arm64"):
            (world.files / name).write_text(name)
        world.write(
            f"from: {world.base}:1\nplatforms: [linux/amd64, linux/arm64]\n"
            f"layers: [{{fetch: [{{url: '{world.url.replace('model', '${arch}')}', dest: /x}}]}}]\n"
        )
        world.run("lock")
        assert [url.sha256 for _, url in sorted(load_lock(world.lock).urls.items())] == [
            Digest.of(b"amd64"),
            Digest.of(b"arm64"),
        ]
        assert world.build("--locked") == world.build()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["lock", "debian"], "names say what to --upgrade"),
            (["lock", "--upgrade", "--check"], "exclude each other"),
            (["lock", "--upgrade", "wget"], "wget: nothing in layerkit.lock is called so"),
            (["lock", "-f", "x.lock"], "would be its own lock"),
        ],
        ids=["names", "both", "unknown", "itself"],
    )
    def test_what_makes_no_sense_is_refused(self, world: World, arguments: list[str], message: str) -> None:
        done = world.run(*arguments, check=False)
        assert done.code == 2
        assert message in done.stderr


class TestCheck:
    def test_a_complete_lock_needs_no_network(self, world: World) -> None:
        world.run("lock")
        world.server.server_close()
        assert world.run("lock", "--check", HTTP_PROXY="http://127.0.0.1:1").code == 0

    def test_what_is_missing_is_told_with_its_line(self, world: World) -> None:
        done = world.run("lock", "--check", check=False)
        assert done.code == 2
        assert f"layerkit.yaml:1:7: {world.base}:1 is not in the lock" in done.stderr
        assert f"{world.url} is not in the lock" in done.stderr
        assert "run `layerkit lock`" in done.stderr
        assert not world.lock.exists()

    def test_what_is_too_much_is_told(self, world: World) -> None:
        world.run("lock")
        world.write("from: scratch\n")
        done = world.run("lock", "--check", check=False)
        assert done.code == 1
        assert f"- base {world.base}:1" in done.stderr


class TestBuild:
    def test_the_same_lock_gives_the_same_image_whatever_has_moved(self, world: World) -> None:
        """SPEC, rule 6: "`build` uses the lock when present and never writes it"."""
        unlocked = world.build()
        world.run("lock")
        text = world.lock.read_text()
        first = world.build("--locked")
        assert first == unlocked
        world.move_base("second")
        assert (world.build("--locked"), world.build()) == (first, first)
        assert world.lock.read_text() == text
        world.lock.unlink()
        assert world.build() != first

    def test_from_the_lock_and_a_warm_cache_no_network_is_needed(
        self, tmp_path: Path, world: World, registry: RegistryProcess
    ) -> None:
        """Issue 6: "a build from the lock and a warm cache needs no network"."""
        world.run("lock")
        first = world.build("--locked", "-t", "localhost/mine:1")
        # Nothing answers at either place any more, and the store is another one.
        name, url = world.base.replace(registry.address, "127.0.0.1:1"), world.url.replace("127.0.0.1", "127.0.0.2")
        for path in (world.context / "layerkit.yaml", world.lock):
            path.write_text(path.read_text().replace(world.base, name).replace(world.url, url))
        cache = str(world.layerkit.data / "cache")
        fresh = LayerkitHere(tmp_path / "fresh")
        done = fresh("build", "--locked", "--format", "json", cwd=world.context, XDG_CACHE_HOME=cache)
        again = json.loads(done.stdout)["images"][0]
        assert again["platforms"][0]["layers"][0]["digest"] == layers(world, first)[-1]
        assert "may be another file" not in done.stderr

    def test_locked_demands_that_the_lock_is_complete(self, world: World) -> None:
        """SPEC, rule 6: "`--locked` demands that it is complete"."""
        done = world.run("build", "--locked", check=False)
        assert done.code == 2
        assert done.stderr.count("is not in the lock") == 2
        assert "hint: run `layerkit lock`" in done.stderr

    def test_a_lock_that_lacks_something_is_a_warning(self, world: World) -> None:
        world.run("lock")
        world.write((world.context / "layerkit.yaml").read_text().replace("/model'", "/model?new'"))
        done = world.run("build")
        assert f"{world.url}?new is not in the lock: run `layerkit lock`" in done.stderr

    def test_a_file_that_is_another_now_is_refused_by_name(self, world: World) -> None:
        world.run("lock")
        (world.files / "model").write_bytes(b"second")
        done = world.run("build", "--no-cache", check=False)
        assert done.code == 2
        assert f"{world.url} has another content: its sha256 is {Digest.of(b'second').encoded}, not" in done.stderr
        assert f"hint: if the new content is meant, run `layerkit lock --upgrade {world.url}`" in done.stderr

    def test_a_base_that_has_gone_is_told_with_the_way_out(self, world: World) -> None:
        world.run("lock")
        world.lock.write_text(world.lock.read_text().replace(world.bases[0], Digest.of(b"gone")))
        done = world.run("build", check=False)
        assert done.code == 1
        assert f"{world.base}:1 is {Digest.of(b'gone')} in the lock" in done.stderr
        assert f"layerkit lock --upgrade {world.base}:1" in done.stderr

    def test_a_damaged_lock_is_told_by_its_line(self, world: World) -> None:
        world.lock.write_text("version = 1\n<<<<<<< ours\n")
        for command in ("build", "plan", "lock", "explain"):
            done = world.run(command, check=False)
            assert (done.code, done.stdout) == (2, "")
            assert done.stderr.startswith("layerkit.lock:2:1: no lock: ")

    def test_plan_and_repro_take_the_lock_too(self, world: World) -> None:
        world.run("lock")
        world.move_base("second")
        assert world.bases[0] in world.run("plan").stdout
        assert "reproducible" in world.run("build", "--locked", "--check-repro").stderr


def layers(world: World, digest: str) -> list[str]:
    store = world.layerkit.data / "layerkit/store/blobs"
    manifest = json.loads((store / digest.replace(":", "/")).read_text())
    return [layer["digest"] for layer in manifest["layers"]]
