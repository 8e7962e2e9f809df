"""Our client and the registry that most people have: distribution 2.8, as Debian packages it, without referrers."""

import asyncio
import json
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from layerkit.oci.byterange import ByteRange
from layerkit.oci.descriptor import EMPTY, EMPTY_CONTENT, Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, ManifestUnknown, Unauthorized
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_MANIFEST, OCTET_STREAM
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Content
from layerkit.remote.auth import Credentials
from layerkit.remote.client import Connection, open_client
from layerkit.remote.repository import RemoteRegistry, RemoteRepository
from layerkit.remote.retry import Timing
from tests.programs import LayerkitProcess, locate, run_program
from tests.registry.guarded import PASSWORDS, htpasswd
from tests.remote.server import closed_address

pytestmark = pytest.mark.engine

NAME, OTHER = RepositoryName("acme/web"), RepositoryName("acme/other")
MEBIBYTE = 1024 * 1024
RAW = b"".join(number.to_bytes(4, "big") for number in range(256 * 1024))
SPEC = "name: web\nfrom: scratch\nlayers:\n  - copy: [{content: hello, dest: /hello}]\n"


@dataclass
class Distribution:
    """`docker-registry` on a folder and a free port; with users where there is a file of them."""

    folder: Path
    address: str
    process: "subprocess.Popen[str] | None" = None
    reader: threading.Thread | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [locate("docker-registry"), "serve", self.folder / "config.yml"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "listening on" in line:
                break
        else:
            pytest.fail("docker-registry did not start")
        self.reader = threading.Thread(target=self.process.stderr.read)
        self.reader.start()

    def kill(self) -> None:
        if self.process is not None and self.reader is not None and self.process.stderr is not None:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            self.process.stderr.close()


@contextmanager
def run_distribution(folder: Path, *, users: bool = False) -> Iterator[Distribution]:
    folder.mkdir(exist_ok=True)
    address = closed_address()
    config = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": address},
    }
    if users:
        (folder / "users").write_text(htpasswd(**PASSWORDS))
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "users")}}
    # JSON is YAML.
    (folder / "config.yml").write_text(json.dumps(config))
    registry = Distribution(folder, address)
    registry.start()
    try:
        yield registry
    finally:
        registry.kill()


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    with run_distribution(tmp_path_factory.mktemp("distribution") / "d") as registry:
        yield registry


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    with run_distribution(tmp_path_factory.mktemp("guarded") / "d", users=True) as registry:
        yield registry


@pytest.fixture
async def repository(distribution: Distribution) -> AsyncIterator[RemoteRepository]:
    async with open_client(Connection(host=distribution.address)) as client:
        yield RemoteRegistry(client).repository(NAME)


def content_of(raw: bytes) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        for start in range(offset, len(raw), 65536):
            yield raw[start : start + 65536]

    return read


def blob_of(raw: bytes) -> Descriptor:
    return Descriptor(media_type=OCTET_STREAM, digest=Digest.of(raw), size=len(raw))


async def read(repository: RemoteRepository, digest: Digest, part: ByteRange | None = None) -> bytes:
    async with repository.open_blob(digest, part) as blob:
        return b"".join([chunk async for chunk in blob])


class TestContent:
    async def test_blobs_are_written_read_mounted_and_deleted(self, repository: RemoteRepository) -> None:
        blob = blob_of(RAW)
        await repository.put_blob(blob, content_of(RAW))
        assert await read(repository, blob.digest) == RAW
        assert await read(repository, blob.digest, ByteRange(1000, 1999)) == RAW[1000:2000]
        other = RemoteRegistry(repository._client).repository(OTHER)
        assert await other.mount_blob(blob.digest, NAME)
        assert not await other.mount_blob(Digest.of(b"absent"), NAME)
        await repository.delete_blob(blob.digest)
        with pytest.raises(BlobUnknown):
            await repository.stat_blob(blob.digest)

    async def test_an_upload_of_unknown_length_goes_in_parts(self, repository: RemoteRepository) -> None:
        """In one opening: the Location has a state that is good until the next part, and for nothing after that."""
        raw = RAW * 20
        async with repository.open_upload(await repository.start_upload()) as upload:
            for start in range(0, len(raw), 3 * MEBIBYTE):
                await upload.append(raw[start : start + 3 * MEBIBYTE])
            await upload.commit(Digest.of(raw))
        assert await read(repository, Digest.of(raw)) == raw

    async def test_referrers_are_under_a_tag(self, repository: RemoteRepository) -> None:
        await repository.put_blob(EMPTY, content_of(EMPTY_CONTENT))
        image = Manifest.encode(ImageManifest(schema_version=2, media_type=OCI_MANIFEST, config=EMPTY, layers=(EMPTY,)))
        await repository.put_manifest(image, [Tag("1")])
        artifacts = [
            Manifest.encode(
                ImageManifest(
                    schema_version=2,
                    media_type=OCI_MANIFEST,
                    artifact_type=kind,
                    config=EMPTY,
                    layers=(EMPTY,),
                    subject=image.descriptor,
                )
            )
            for kind in ("application/spdx+json", "application/x-signature")
        ]
        for artifact in artifacts:
            await repository.put_manifest(artifact)
        found = await repository.list_referrers(image.digest)
        assert found.items == tuple(artifact.pointer() for artifact in artifacts)
        await repository.delete_manifest(artifacts[0].digest)
        assert (await repository.list_referrers(image.digest)).items == (artifacts[1].pointer(),)
        with pytest.raises(ManifestUnknown):
            await repository.get_manifest(artifacts[0].digest)


async def test_it_is_killed_in_the_midst_of_an_upload_and_started_again(tmp_path: Path) -> None:
    """What it keeps of an upload that it was sent in one request is up to it: the blob is there in the end."""
    large = RAW * 48
    blob = blob_of(large)
    half, is_up = asyncio.Event(), asyncio.Event()

    async def content(offset: int) -> AsyncIterator[bytes]:
        for start in range(offset, len(large), MEBIBYTE):
            if start >= len(large) // 2 and not half.is_set():
                half.set()
                await is_up.wait()
            yield large[start : start + MEBIBYTE]

    async def wait(seconds: float) -> None:
        await is_up.wait()

    with run_distribution(tmp_path / "d") as registry:
        connection = Connection(host=registry.address, timing=Timing(sleep=wait))
        async with open_client(connection) as client, asyncio.TaskGroup() as tasks:
            repository = RemoteRegistry(client).repository(NAME)
            putting = tasks.create_task(repository.put_blob(blob, content))
            await half.wait()
            registry.kill()
            await asyncio.to_thread(registry.start)
            is_up.set()
            await putting
            assert await read(repository, blob.digest) == large


class TestUsers:
    """Its own users are asked for by Basic."""

    async def test_who_is_known_is_let_in(self, guarded: Distribution) -> None:
        async with open_client(Connection(host=guarded.address)) as client:
            with pytest.raises(Unauthorized, match="log in first"):
                await RemoteRegistry(client).repository(NAME).stat_blob(Digest.of(RAW))
        credentials = Credentials("bob", PASSWORDS["bob"])
        async with open_client(Connection(host=guarded.address, credentials=credentials)) as client:
            await RemoteRegistry(client).repository(NAME).put_blob(blob_of(RAW), content_of(RAW))

    def test_a_login_is_everybodys(self, guarded: Distribution, layerkit: LayerkitProcess, tmp_path: Path) -> None:
        """What layerkit keeps skopeo, podman and buildah read, and what they keep layerkit reads."""
        (tmp_path / "layerkit.yaml").write_text(SPEC)
        ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
        image = f"{guarded.address}/acme/web:1"
        login = ("-u", "ann", "--password-stdin", guarded.address)
        layerkit("login", "--authfile", ours, *login, stdin=PASSWORDS["ann"])
        layerkit("build", "-f", tmp_path / "layerkit.yaml", "-t", image, "--push", "--authfile", ours)
        for program in ("skopeo", "podman", "buildah"):
            assert run_program(program, "login", "--get-login", "--authfile", ours, guarded.address) == "ann\n"
        run_program("skopeo", "inspect", "--tls-verify=false", "--authfile", ours, f"docker://{image}")
        run_program(
            *("skopeo", "login", "--tls-verify=false", "--authfile", theirs, "-u", "bob"),
            *("-p", PASSWORDS["bob"], guarded.address),
        )
        layerkit("pull", "--authfile", theirs, image)
        layerkit("logout", "--authfile", theirs, guarded.address)
        assert "log in first" in layerkit("pull", "--authfile", theirs, image, check=False).stderr


def test_a_cache_travels_through_it(distribution: Distribution, tmp_path: Path) -> None:
    """A registry that knows no artifacts keeps one all the same, and mounts its layers."""
    name, cache = f"{distribution.address}/cached/web", f"{distribution.address}/caches/web:main"
    machines = [LayerkitProcess(tmp_path / each) for each in ("first", "second")]
    told = []
    for number, layerkit in enumerate(machines):
        folder = tmp_path / f"clone-{number}"
        folder.mkdir()
        (folder / "file").write_text("content" * 1000)
        (folder / "layerkit.yaml").write_text("from: scratch\nlayers: [{copy: [./file:/file]}]\n")
        done = layerkit(
            *("build", "-t", f"{name}-{number}:1", "--push", "--cache-from", cache, "--cache-to", cache), cwd=folder
        )
        told.append((done.stdout, done.stderr))
    assert told[0][0] == told[1][0]
    assert f"there is no cache {cache} yet" in told[0][1]
    assert f"cache {cache}: 1 layer\n" in told[1][1]
    assert f"pushed {name}-1:1: 2 pushed" in told[1][1]
    assert f"the cache {cache} is as it was" in told[1][1]
