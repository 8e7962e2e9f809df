"""LAYERS, "Security when reading": at the level of commands, with an item in each class.

Every refusal is one clear error and no traceback, nothing is written outside of layerkit's own folders, and memory
stays within bounds. The parts on their own are tested where they are: in tests/layer, tests/remote and tests/build.
"""

import asyncio
import base64
import gzip
import json
import re
import shutil
import stat
import tarfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
import zstandard
from aiohttp import web

from tests.acceptance.hostile import BROKEN, ESCAPES, ZIPS, HostileTar
from tests.acceptance.sandbox import MIB, Forks, Run, Sandbox, run_forks
from tests.images import (
    CONFIG,
    DOCKER_MANIFEST,
    INDEX,
    LAYER,
    MANIFEST,
    HandmadeLayout,
    Member,
    digest_of,
    file,
    make_tar,
    member,
)
from tests.remote.server import Server, run
from tests.tars import header, record, with_pax

MEMORY: Final = 160 * MIB
"""No input makes a command take more."""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with run_forks() as forks:
        yield forks


@pytest.fixture
def sandbox(tmp_path: Path, forks: Forks) -> Sandbox:
    return Sandbox.make(tmp_path, forks)


def check_refusal(run: Run, pattern: str, *, of_spec: bool = False) -> None:
    """One error, in the style of all others, and nothing that a program would take for an answer.

    What is wrong with a spec is told with its place, and is wrong usage.
    """
    assert run.code == (2 if of_spec else 1), run
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    assert re.search(pattern, run.stderr), run.stderr
    assert run.stderr.startswith("error: ") or of_spec
    assert len(run.stderr) < 1500
    assert run.memory < MEMORY


def build_on(sandbox: Sandbox, tar: bytes) -> Run:
    """A build on an image of this layer, which copies to where its symlinks may lead."""
    base = HandmadeLayout(sandbox.context / "base")
    base.name(base.image(tar))
    return sandbox.build(
        "from: oci:base\nlayers: [{copy: [{content: x, dest: /link/copied}, {content: x, dest: /new/file}]}]\n"
    )


def copy_from(sandbox: Sandbox, tar: bytes) -> Run:
    """A build that copies all that is in an image of this layer."""
    base = HandmadeLayout(sandbox.context / "base")
    base.name(base.image(tar))
    return sandbox.build("from: scratch\nlayers: [{copy: [{from: oci:base, src: /, dest: /copied/}]}]\n")


def import_rootfs(sandbox: Sandbox, tar: bytes) -> Run:
    """A build on this tar as a root file system."""
    (sandbox.context / "root.tar").write_bytes(tar)
    return sandbox.build("from: tar:root.tar\n")


def list_files(sandbox: Sandbox, tar: bytes) -> Run:
    """`layerkit ls` of an image of this layer."""
    layout = HandmadeLayout(sandbox.root / "data/layerkit/store")
    layout.name(layout.image(tar))
    named = (
        (layout.root / "index.json")
        .read_text()
        .replace('"annotations": {', '"annotations": {"io.containerd.image.name": "localhost/hostile:1", ')
    )
    (layout.root / "index.json").write_text(named)
    done = sandbox("ls", "-l", "localhost/hostile:1")
    # What it lists until it fails is no answer of a build.
    return Run(done.code, "" if done.code else done.stdout, done.stderr, done.memory)


def import_layout(sandbox: Sandbox, tar: bytes) -> Run:
    """A build on an image of this layer in an archive of a layout."""
    layout = HandmadeLayout(sandbox.root / "tmp/layout")
    layout.name(layout.image(tar))
    with tarfile.open(sandbox.context / "base.tar", "w") as archive:
        archive.add(layout.root, ".")
    shutil.rmtree(layout.root)
    return sandbox.build("from: oci-archive:base.tar\nlayers: [{copy: [{content: x, dest: /new/file}]}]\n")


def import_saved(sandbox: Sandbox, tar: bytes) -> Run:
    """A build on an image of this layer as docker saves it."""
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]}}
    saved = make_tar(
        file("config.json", json.dumps(config).encode()),
        file("1/layer.tar", tar),
        file("manifest.json", b'[{"Config": "config.json", "RepoTags": ["hostile:1"], "Layers": ["1/layer.tar"]}]'),
    )
    (sandbox.context / "base.tar").write_bytes(saved)
    return sandbox.build("from: docker-archive:base.tar\nlayers: [{copy: [{content: x, dest: /new/file}]}]\n")


def fetch_archive(sandbox: Sandbox, content: bytes) -> Run:
    """A build that fetches these bytes and extracts them."""
    with serve(content) as url:
        return sandbox.build(f"from: scratch\nlayers: [{{fetch: [{{url: '{url}', dest: /opt/, extract: true}}]}}]\n")


@contextmanager
def serve(content: bytes) -> Iterator[str]:
    """The URL where a server has this content."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/archive"
        finally:
            server.shutdown()
            thread.join()


WAYS: Final = {
    "a base": build_on,
    "an archive": import_layout,
    "what docker saved": import_saved,
    "a copy": copy_from,
    "a root file system": import_rootfs,
    "what is fetched": fetch_archive,
    "ls": list_files,
}
_OF_SPEC: Final = {"what is fetched"}
"""What is wrong is told with the place in the spec."""
_FOR_READERS: Final = {"a base", "an archive", "what docker saved", "ls"}
"""Whose content is read as engines read it, and not written anew."""
_INPUTS: Final = ("context/base", "context/root.tar", "context/base.tar")


def take_in(sandbox: Sandbox, way: str, tar: bytes) -> Run:
    """What a command says of the tar. It writes into its own folders alone, and nothing there but files."""
    before = sandbox.contents()
    done = WAYS[way](sandbox, tar)
    assert {path: state for path, state in sandbox.contents().items() if not path.startswith(_INPUTS)} == before
    assert sandbox.kinds() <= {stat.S_IFREG, stat.S_IFDIR}
    for blob in sandbox.blobs.glob("*"):
        assert b"secret of the host" not in blob.read_bytes()
    assert done.memory < MEMORY
    return done


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hostile", ESCAPES, ids=lambda hostile: hostile.name)
class TestS1AndS2AndS3:
    """Do not extract at all; hardlink targets are checked like paths."""

    def test_nothing_is_read_or_written_outside(self, sandbox: Sandbox, hostile: HostileTar, way: str) -> None:
        done = take_in(sandbox, way, hostile.make())
        if hostile.refusal:
            check_refusal(done, hostile.refusal, of_spec=way in _OF_SPEC)
        else:
            # What engines take to build on need not be such that it can be written anew.
            assert done.code in ({0} if way in _FOR_READERS else {0, 1, 2}), done
            assert "Traceback" not in done.stderr
            assert len(done.stderr) < 1500


@pytest.mark.parametrize("hostile", ZIPS, ids=lambda hostile: hostile.name)
def test_s3_and_s5_of_zip_archives(sandbox: Sandbox, hostile: HostileTar) -> None:
    done = take_in(sandbox, "what is fetched", hostile.make())
    if hostile.refusal:
        check_refusal(done, hostile.refusal, of_spec=True)
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 1500


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hostile", BROKEN, ids=lambda hostile: hostile.name)
def test_s4_numbers_and_lengths_that_are_wrong(sandbox: Sandbox, hostile: HostileTar, way: str) -> None:
    check_refusal(take_in(sandbox, way, hostile.make()), hostile.refusal, of_spec=way in _OF_SPEC)


GOOD: Final = make_tar(file("etc/motd", b"hello\n"))
SPEC: Final = "from: oci:base\nlayers: [{copy: [{content: x, dest: /new}]}]\n"


def build_on_descriptors(sandbox: Sandbox, change: Callable[[dict[str, Any]], object], place: str) -> Run:
    """A build on an image of which one descriptor was changed: that of the manifest, the config or the layer."""
    base = HandmadeLayout(sandbox.context / "base")
    manifest = base.image(GOOD)
    if place == "manifest":
        change(manifest)
        base.name(manifest)
    else:
        document = json.loads(base.path_of(manifest["digest"]).read_text())
        change(document["config"] if place == "config" else document["layers"][0])
        base.name(base.put(json.dumps(document).encode(), MANIFEST))
    return sandbox.build(SPEC)


class TestS4:
    """Validate descriptors first: size >= 0, lower-case hex of the right length, an algorithm that is allowed."""

    @pytest.mark.parametrize("place", ["manifest", "config", "layer"])
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("size", -1),
            ("size", 2**70),
            ("size", "12"),
            ("digest", "sha256:" + "A" * 64),
            ("digest", "sha256:" + "a" * 63),
            ("digest", "sha256:" + "a" * 65),
            ("digest", "sha256:../../../../outside/secret"),
            ("digest", "md5:" + "a" * 32),
            ("digest", "../outside:" + "a" * 64),
            ("digest", ""),
            ("digest", None),
        ],
    )
    def test_a_descriptor_that_is_none(self, sandbox: Sandbox, place: str, field: str, value: object) -> None:
        run = build_on_descriptors(sandbox, lambda descriptor: descriptor.update({field: value}), place)
        check_refusal(run, rf"\b{field}\b")

    @pytest.mark.parametrize("place", ["config", "layer"])
    @pytest.mark.parametrize("change", [-1, 1, 10**9])
    def test_a_size_that_is_not_that_of_the_blob(self, sandbox: Sandbox, place: str, change: int) -> None:
        run = build_on_descriptors(
            sandbox, lambda descriptor: descriptor.update(size=descriptor["size"] + change), place
        )
        check_refusal(run, "size|bytes|longer|shorter")


def build_on_layers(sandbox: Sandbox, *layers: bytes, stored: Callable[[bytes], bytes], layer_type: str) -> Run:
    base = HandmadeLayout(sandbox.context / "base")
    base.name(base.image(*layers, stored=stored, layer_type=layer_type))
    return sandbox.build(SPEC)


def nest(depth: int) -> str:
    return "[" * depth + "]" * depth


class TestS5:
    """Bomb limits, and memory that no bomb chooses."""

    @pytest.mark.parametrize(
        ("layer_type", "stored"),
        [(f"{LAYER}+gzip", gzip.compress), (f"{LAYER}+zstd", zstandard.compress)],
        ids=["gzip", "zstd"],
    )
    def test_a_layer_that_is_hundreds_of_times_as_large_once_it_is_uncompressed(
        self, sandbox: Sandbox, layer_type: str, stored: Callable[[bytes], bytes]
    ) -> None:
        bomb = make_tar(file("bomb", bytes(128 * MIB)))
        run = build_on_layers(sandbox, bomb, stored=stored, layer_type=layer_type)
        check_refusal(run, "limit `ratio`")

    def test_a_sparse_file_of_an_exabyte_costs_nothing(self, sandbox: Sandbox) -> None:
        records = record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0")
        bomb = with_pax(records + record("GNU.sparse.realsize", str(2**59)) + record("GNU.sparse.name", "bomb"))
        run = take_in(sandbox, "a base", bomb)
        assert run.code == 0, run
        assert run.memory < MEMORY

    def test_many_extended_headers_that_are_never_used(self, sandbox: Sandbox) -> None:
        bomb = b"".join(with_pax(record("comment", "x" * 10**6), header(b"x", b"g")) for _ in range(200))
        run = take_in(sandbox, "a base", bomb + header())
        assert run.memory < MEMORY
        assert "Traceback" not in run.stderr

    @pytest.mark.parametrize("place", ["index.json", "manifest", "config"])
    def test_json_that_is_nested_ten_thousand_deep(self, sandbox: Sandbox, place: str) -> None:
        base = HandmadeLayout(sandbox.context / "base")
        manifest = base.image(GOOD)
        document = json.loads(base.path_of(manifest["digest"]).read_text())
        if place == "config":
            raw = base.path_of(document["config"]["digest"]).read_bytes()
            deep = raw.rstrip()[:-1] + f', "deep": {nest(10_000)}}}'.encode()
            document["config"] = base.put(deep, CONFIG)
            manifest = base.put(json.dumps(document).encode(), MANIFEST)
        if place == "manifest":
            deep = json.dumps(document).encode()[:-1] + f', "deep": {nest(10_000)}}}'.encode()
            manifest = base.put(deep, MANIFEST)
        base.name(manifest)
        if place == "index.json":
            index = (base.root / "index.json").read_text()
            (base.root / "index.json").write_text(index[:-1] + f', "deep": {nest(10_000)}}}')
        check_refusal(sandbox.build(SPEC), "(?i)nest|deep|recursion")

    @pytest.mark.parametrize("place", ["manifest", "config"])
    def test_a_document_of_more_than_4_mib(self, sandbox: Sandbox, place: str) -> None:
        base = HandmadeLayout(sandbox.context / "base")
        manifest = base.image(GOOD)
        document = json.loads(base.path_of(manifest["digest"]).read_text())
        if place == "config":
            raw = base.path_of(document["config"]["digest"]).read_bytes()
            document["config"] = base.put(raw + b" " * 20 * MIB, CONFIG)
        raw = json.dumps(document).encode() + (b" " * 20 * MIB if place == "manifest" else b"")
        base.name(base.put(raw, MANIFEST))
        check_refusal(sandbox.build(SPEC), r"4194304 are allowed|is not in")

    async def test_indexes_within_indexes(self, sandbox: Sandbox) -> None:
        base = HandmadeLayout(sandbox.root / "layout")
        descriptor = base.image(GOOD)
        for _ in range(6):
            descriptor = base.index([(descriptor, "linux/amd64")])
        base.name(descriptor)
        check_refusal(await pull_from(sandbox, serving(base, descriptor)), "nest|within")


class TestS6:
    """Verify diff_ids when indexing; verify digests while streaming to a temporary name, rename after."""

    def test_a_layer_of_another_diff_id(self, sandbox: Sandbox) -> None:
        base = HandmadeLayout(sandbox.context / "base")
        rootfs = {"type": "layers", "diff_ids": [digest_of(b"another")]}
        base.name(base.image(GOOD, rootfs=rootfs))
        check_refusal(sandbox.build(SPEC), "its diff_id is sha256:")

    @pytest.mark.parametrize("count", [0, 2])
    def test_more_or_fewer_diff_ids_than_layers(self, sandbox: Sandbox, count: int) -> None:
        base = HandmadeLayout(sandbox.context / "base")
        rootfs = {"type": "layers", "diff_ids": [digest_of(GOOD)] * count}
        base.name(base.image(GOOD, rootfs=rootfs))
        check_refusal(sandbox.build(SPEC), f"the manifest has 1 layers, its config {count} diff_ids")

    @pytest.mark.parametrize("place", ["manifest", "config", "layer"])
    def test_bytes_that_are_not_of_their_digest(self, sandbox: Sandbox, place: str) -> None:
        base = HandmadeLayout(sandbox.context / "base")
        manifest = base.image(GOOD)
        document = json.loads(base.path_of(manifest["digest"]).read_text())
        descriptor = {"manifest": manifest, "config": document["config"], "layer": document["layers"][0]}[place]
        path = base.path_of(descriptor["digest"])
        path.write_bytes(path.read_bytes().replace(b"1", b"2") if place != "layer" else gzip.compress(b"other"))
        base.name(manifest)
        check_refusal(sandbox.build(SPEC), "sha256:")
        assert not [blob for blob in sandbox.blobs.glob("*") if digest_of(blob.read_bytes())[7:] != blob.name]


class TestS7:
    """Copies from the context: symlinks are resolved inside the context only. (Files that change while they are read:
    tests/layer/test_source.py.)"""

    @pytest.mark.parametrize(
        "source", ["file", "folder", "folder/secret", "chain", "up", "absolute", "../outside/secret", "fold*/secret"]
    )
    def test_no_copy_leaves_the_context(self, sandbox: Sandbox, source: str) -> None:
        (sandbox.context / "file").symlink_to(sandbox.outside / "secret")
        (sandbox.context / "folder").symlink_to(sandbox.outside)
        (sandbox.context / "chain").symlink_to("file")
        (sandbox.context / "up").symlink_to("../outside/secret")
        source = str(sandbox.outside / "secret") if source == "absolute" else source
        run = sandbox.build(f"from: scratch\nlayers: [{{copy: [{{src: '{source}', dest: /copied/}}]}}]\n")
        check_refusal(run, "context|folder of the spec|not a path within|no file matches|is a symlink", of_spec=True)

    def test_symlinks_within_a_folder_are_copied_as_they_are_and_not_followed(self, sandbox: Sandbox) -> None:
        (sandbox.context / "tree").mkdir()
        (sandbox.context / "tree/link").symlink_to(sandbox.outside / "secret")
        run = sandbox.build("from: scratch\nlayers: [{copy: [./tree:/tree/]}]\n", "-o", "oci:out")
        assert run.code == 0, run
        for blob in sandbox.blobs.iterdir():
            content = blob.read_bytes()
            assert b"secret of the host" not in (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)

    def test_a_dockerignore_outside_is_not_read(self, sandbox: Sandbox) -> None:
        (sandbox.context / "a").write_text("a")
        (sandbox.outside / "rules").write_text("[secret of the host\n")
        (sandbox.context / ".dockerignore").symlink_to(sandbox.outside / "rules")
        run = sandbox.build("from: scratch\nlayers: [{copy: [a:/a]}]\n")
        check_refusal(run, "outside the folder of the spec", of_spec=True)
        assert "secret of the host" not in run.stderr


# What a hostile registry answers, and how much it sends before it is cut off.
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def serving(layout: HandmadeLayout, manifest: dict[str, Any]) -> Handler:
    """A registry that has the blobs of a layout, with this manifest under each tag."""

    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        kind, _, reference = http.path.partition("/acme/web/")[2].partition("/")
        digest = reference if reference.startswith("sha256:") else manifest["digest"]
        path = layout.path_of(digest)
        if not path.exists():
            return web.Response(status=404)
        raw = path.read_bytes()
        media_type = json.loads(raw)["mediaType"] if kind == "manifests" else "application/octet-stream"
        return web.Response(body=raw, content_type=media_type, headers={"Docker-Content-Digest": digest})

    return answer


async def pull_from(sandbox: Sandbox, handler: Handler, **environment: str) -> Run:
    async with run(handler) as server:
        return await pull(sandbox, server, **environment)


async def pull(sandbox: Sandbox, server: Server, **environment: str) -> Run:
    return await asyncio.to_thread(sandbox, "pull", "-q", f"{server.address}/acme/web:1", **environment)


@pytest.fixture
def image(sandbox: Sandbox) -> tuple[HandmadeLayout, dict[str, Any]]:
    """An image, for a registry to have."""
    layout = HandmadeLayout(sandbox.root / "layout")
    return layout, layout.image(GOOD)


class Endless:
    """A body that has no end. `sent` counts its bytes until the client had enough."""

    def __init__(self) -> None:
        self.sent = 0

    async def answer(self, http: web.BaseRequest, **headers: str) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(http)
        piece = b" " * 2**16
        try:
            while self.sent < 4 * 2**30:
                await response.write(piece)
                self.sent += len(piece)
        except ConnectionError:
            pass
        return response


class TestARegistryThatLies:
    """S4 (stop reading at size+1) and S6, over the wire."""

    async def test_it_serves_the_image_when_it_does_not(
        self, sandbox: Sandbox, image: tuple[HandmadeLayout, dict[str, Any]]
    ) -> None:
        done = await pull_from(sandbox, serving(*image))
        assert (done.code, done.stdout.strip()) == (0, image[1]["digest"]), done

    @pytest.mark.parametrize("change", ["other", "longer", "shorter", "empty"])
    @pytest.mark.parametrize("kind", ["manifests", "blobs"])
    async def test_about_content(
        self, sandbox: Sandbox, image: tuple[HandmadeLayout, dict[str, Any]], kind: str, change: str
    ) -> None:
        honest = serving(*image)

        async def lie(http: web.BaseRequest) -> web.StreamResponse:
            response = await honest(http)
            if f"/{kind}/" in http.path and isinstance(response, web.Response):
                raw = bytes(response.body)  # type: ignore[arg-type]
                changes = {"other": raw[:-1] + b" ", "longer": raw + b" ", "shorter": raw[:-1], "empty": b""}
                response.body = changes[change]
            return response

        done = await pull_from(sandbox, lie)
        check_refusal(done, "(?i)is damaged|size|bytes|longer|ended")
        assert not list(sandbox.blobs.parent.rglob(".upload-*"))
        check_store(sandbox)

    @pytest.mark.parametrize("kind", ["manifests", "blobs"])
    @pytest.mark.parametrize("length", [True, False], ids=["with a length", "without"])
    async def test_by_bodies_without_an_end(
        self, sandbox: Sandbox, image: tuple[HandmadeLayout, dict[str, Any]], kind: str, length: bool
    ) -> None:
        honest, endless = serving(*image), Endless()

        async def lie(http: web.BaseRequest) -> web.StreamResponse:
            if f"/{kind}/" not in http.path:
                return await honest(http)
            headers = {"Content-Length": str(2**40)} if length else {}
            return await endless.answer(http, **headers)

        check_refusal(await pull_from(sandbox, lie), "bytes|longer|size|how long the content is")
        # What the buffers of sockets hold is sent before anybody can say no.
        assert endless.sent < 64 * MIB
        check_store(sandbox)

    @pytest.mark.parametrize("status", [400, 401, 404, 418])
    async def test_by_errors_without_an_end_or_with_the_means_of_a_terminal(
        self, sandbox: Sandbox, status: int
    ) -> None:
        async def lie(http: web.BaseRequest) -> web.StreamResponse:
            message = "\x1b]0;owned\x07\x1b[2J" * 100_000
            body = json.dumps({"errors": [{"code": "DENIED", "message": message, "detail": message}]})
            return web.Response(status=status, text=body, content_type="application/json")

        done = await pull_from(sandbox, lie)
        check_refusal(done, "")
        assert "\x1b" not in done.stderr
        assert "\x07" not in done.stderr

    async def test_by_redirects_in_a_circle(
        self, sandbox: Sandbox, image: tuple[HandmadeLayout, dict[str, Any]]
    ) -> None:
        honest = serving(*image)

        async def lie(http: web.BaseRequest) -> web.StreamResponse:
            if "/blobs/" in http.path:
                return web.Response(status=307, headers={"Location": http.path})
            return await honest(http)

        check_refusal(await pull_from(sandbox, lie), "redirect")

    async def test_by_redirects_to_files(self, sandbox: Sandbox, image: tuple[HandmadeLayout, dict[str, Any]]) -> None:
        honest = serving(*image)

        async def lie(http: web.BaseRequest) -> web.StreamResponse:
            if "/blobs/" in http.path:
                return web.Response(status=307, headers={"Location": f"file://{sandbox.outside}/secret"})
            return await honest(http)

        done = await pull_from(sandbox, lie)
        check_refusal(done, "file://")
        assert "secret of the host" not in done.stderr


def check_store(sandbox: Sandbox) -> None:
    """No blob of the store has other bytes than its name says."""
    assert [path for path in sandbox.blobs.glob("*") if digest_of(path.read_bytes())[7:] != path.name] == []


class TestS8:
    """Tokens never to a different host on redirect; no credentials in errors or in what is written."""

    async def test_what_lets_us_in_stays_with_the_registry(
        self, sandbox: Sandbox, image: tuple[HandmadeLayout, dict[str, Any]]
    ) -> None:
        password, token = "correct-horse-battery", "t0ken-of-the-registry"
        auth = base64.b64encode(f"me:{password}".encode()).decode()
        honest = serving(*image)

        async def registry(http: web.BaseRequest) -> web.StreamResponse:
            here = f"http://{http.host}"
            if http.path == "/token":
                form = (await http.read()).decode()
                assert password in form or auth in http.headers["Authorization"]
                return web.json_response({"token": token, "access_token": token})
            if http.headers.get("Authorization") != f"Bearer {token}":
                challenge = f'Bearer realm="{here}/token",service="test",scope="repository:acme/web:pull"'
                return web.Response(status=401, headers={"WWW-Authenticate": challenge})
            if "/blobs/" in http.path:
                return web.Response(status=307, headers={"Location": f"http://{store.address}{http.path}"})
            return await honest(http)

        async with run(honest) as store, run(registry) as server:
            (sandbox.root / "home/auth.json").write_text(json.dumps({"auths": {server.address: {"auth": auth}}}))
            authfile = {"REGISTRY_AUTH_FILE": str(sandbox.root / "home/auth.json")}
            done = await pull(sandbox, server, **authfile)
            assert done.code == 0, done
            assert set(store.authorizations) == {""}
            # A token that is no longer taken, and a layer that is gone, are told without them.
            token = "another"
            image[0].path_of(image[1]["digest"]).unlink()
            failed = await pull(sandbox, server, **authfile)
        secrets = [password, auth, "t0ken-of-the-registry"]
        written = [path.read_bytes() for path in (sandbox.root / "data").rglob("*") if path.is_file()]
        cached = [path.read_bytes() for path in (sandbox.root / "cache").rglob("*") if path.is_file()]
        for secret in secrets:
            assert secret not in done.stderr + done.stdout + failed.stderr + failed.stdout
            assert not [content for content in written + cached if secret.encode() in content]


class TestS10:
    """Reject documents that are an image and an index at once (CVE-2021-41190)."""

    @pytest.mark.parametrize("media_type", [MANIFEST, INDEX])
    async def test_manifests_and_layers_in_one_document(
        self, sandbox: Sandbox, image: tuple[HandmadeLayout, dict[str, Any]], media_type: str
    ) -> None:
        layout, manifest = image
        document = json.loads(layout.path_of(manifest["digest"]).read_text())
        document |= {"mediaType": media_type, "manifests": [manifest]}
        ambiguous = layout.put(json.dumps(document).encode(), media_type)
        check_refusal(await pull_from(sandbox, serving(layout, ambiguous)), "(?i)manifest")
        layout.root.rename(sandbox.context / "base")
        HandmadeLayout.name(_at(layout, sandbox.context / "base"), ambiguous)
        check_refusal(sandbox.build(SPEC), "(?i)manifest")

    @pytest.mark.parametrize("sent", [INDEX, DOCKER_MANIFEST])
    async def test_a_content_type_that_is_not_the_media_type(
        self, sandbox: Sandbox, image: tuple[HandmadeLayout, dict[str, Any]], sent: str
    ) -> None:
        honest = serving(*image)

        async def lie(http: web.BaseRequest) -> web.StreamResponse:
            response = await honest(http)
            if "/manifests/" in http.path:
                response.content_type = sent
            return response

        check_refusal(await pull_from(sandbox, lie), "(?i)media ?type|content-type")


def _at(layout: HandmadeLayout, root: Path) -> HandmadeLayout:
    layout.root = root
    return layout


def saved_archive(*members: Member, layers: list[str], config: str = "config.json") -> bytes:
    """What docker saves, with these names in its list."""
    document = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest_of(GOOD)]}}
    listed = [{"Config": config, "RepoTags": ["localhost/hostile:1"], "Layers": layers}]
    return make_tar(
        file("config.json", json.dumps(document).encode()),
        *members,
        file("manifest.json", json.dumps(listed).encode()),
    )


def linked(name: str, kind: bytes, target: str) -> Member:
    return member(name, kind, linkname=target)


@pytest.mark.parametrize("command", ["load", "copy", "build"])
@pytest.mark.parametrize(
    "archive",
    [
        saved_archive(layers=["../outside/secret"]),
        saved_archive(layers=["/outside/secret"]),
        saved_archive(file("../outside/secret", GOOD), layers=["../outside/secret"]),
        saved_archive(linked("layer.tar", tarfile.SYMTYPE, "../outside/secret"), layers=["layer.tar"]),
        saved_archive(linked("layer.tar", tarfile.LNKTYPE, "../outside/secret"), layers=["layer.tar"]),
        saved_archive(linked("layer.tar", tarfile.SYMTYPE, "layer.tar"), layers=["layer.tar"]),
        saved_archive(member("layer.tar", tarfile.FIFOTYPE), layers=["layer.tar"]),
        saved_archive(file("layer.tar", GOOD), layers=["layer.tar"], config="../outside/secret"),
        saved_archive(file("layer.tar", GOOD), layers=["layer.tar"] * 3),
        saved_archive(layers=["layer.tar"]),
        make_tar(linked("manifest.json", tarfile.SYMTYPE, "../outside/secret")),
        make_tar(file("manifest.json", nest(10_000).encode())),
        make_tar(file("manifest.json", b"[]")),
        make_tar(file("manifest.json", b" " * (20 * MIB))),
        make_tar(file("oci-layout", b"{}")),
        b"no archive" * 1000,
        b"",
    ],
    ids=range(17),
)
def test_s1_and_s4_of_archives_of_images(sandbox: Sandbox, archive: bytes, command: str) -> None:
    path = sandbox.context / "base.tar"
    path.write_bytes(archive)
    before = sandbox.contents()
    match command:
        case "load":
            done = sandbox("load", "-q", "-i", path)
        case "copy":
            done = sandbox("copy", "-q", f"docker-archive:{path}", "store:localhost/hostile:1")
        case _:
            done = sandbox.build("from: docker-archive:base.tar\nlayers: [{copy: [{content: x, dest: /new}]}]\n")
    assert sandbox.contents() == before
    check_refusal(done, "", of_spec=done.code == 2)
    for blob in sandbox.blobs.glob("*"):
        assert b"secret of the host" not in blob.read_bytes()
