"""Archives and the clients of others: what we write they load, what they save we read (LAYERS, item 45)."""

import asyncio
import gzip
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from layerkit.cli.environment import host_platform
from layerkit.content.archive import open_archive
from layerkit.content.export import NamedImage, plan_export, write_archive
from layerkit.content.layout import Layout
from layerkit.oci.digest import Digest
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.reference import RepositoryName, Tag, parse_reference
from tests.engines import Client
from tests.images import HandmadeLayout, file, folder, make_tar
from tests.programs import locate, run_program

pytestmark = pytest.mark.engine

HOST = host_platform()
NAMES = ("localhost:5000/acme/web:1", "registry.example/acme/other:2")


def busybox() -> bytes:
    return Path(locate("busybox")).read_bytes()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A layout with an index of two platforms, and of an image with a layer by zstd."""
    root = tmp_path_factory.mktemp("image") / "layout"
    made = HandmadeLayout(root)
    layers = [
        make_tar(folder("bin/"), file("bin/busybox", busybox(), mode=0o755)),
        make_tar(file("greeting", b"hello from the archive\n")),
    ]
    config: dict[str, Any] = {"config": {"Cmd": ["/bin/busybox", "cat", "/greeting"]}}
    children = [(made.image(*layers, platform=platform, **config), platform) for platform in ("linux/s390x", str(HOST))]
    index = made.index(children)
    zstd = made.image(
        *layers,
        platform=str(HOST),
        stored=zstandard.compress,
        layer_type="application/vnd.oci.image.layer.v1.tar+zstd",
        **config,
    )
    made.name(index)
    return {"root": root, "index": index["digest"], "host": children[1][0]["digest"], "zstd": zstd["digest"]}


def write(image: dict[str, Any], path: Path, *contents: tuple[str, Sequence[str]]) -> None:
    """An archive of images by the key of their digest, each with its names."""

    async def work() -> None:
        repository = Layout(image["root"]).repository(RepositoryName(""))
        images = [
            NamedImage(
                manifest=await repository.get_manifest(Digest(image[key])),
                names=tuple(parse_reference(name) for name in names),
            )
            for key, names in contents
        ]
        await write_archive(path, await plan_export(repository, images, HOST))

    asyncio.run(work())


@pytest.fixture(scope="module")
def archive(image: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "image.tar"
    write(image, path, ("index", NAMES[:1]), ("host", NAMES[1:]))
    return path


def manifests(path: Path) -> dict[str, Manifest]:
    """The images of an archive by their full names."""

    async def work() -> dict[str, Manifest]:
        found = {}
        async with open_archive(path) as archive:
            for name in (await archive.list_repositories()).items:
                repository = archive.repository(name)
                for tag in (await repository.list_tags()).items:
                    manifest = await repository.get_manifest(tag)
                    found[f"{name}:{tag}"] = manifest
                    for descriptor in manifest.document.references():
                        async with repository.open_blob(descriptor.digest) as blob:
                            assert sum([len(chunk) async for chunk in blob]) == descriptor.size
            return found

    return asyncio.run(work())


class TestOursForOthers:
    def test_docker_loads_every_name_and_runs_it(self, docker: Client, archive: Path) -> None:
        said = docker("load", "-i", archive)
        try:
            for name in NAMES:
                assert name in said
                assert docker("run", "--rm", "--network", "none", name) == "hello from the archive\n"
        finally:
            docker("rmi", "--force", *NAMES)

    def test_podman_loads_every_name_and_runs_it(self, podman: Client, archive: Path) -> None:
        podman("load", "-i", archive)
        for name in NAMES:
            assert podman("run", "--rm", "--network", "none", name) == "hello from the archive\n"

    @pytest.mark.parametrize(
        "source", ["docker-archive:{}:localhost:5000/acme/web:1", "oci-archive:{}:1", "oci-archive:{}:2"]
    )
    def test_podman_pulls_from_both_transports(self, podman: Client, archive: Path, source: str) -> None:
        found = podman("pull", "--quiet", source.format(archive)).strip()
        assert podman("run", "--rm", "--network", "none", found) == "hello from the archive\n"

    def test_skopeo_reads_both_transports(
        self, skopeo: Client, image: dict[str, Any], archive: Path, tmp_path: Path
    ) -> None:
        skopeo("copy", "--all", f"oci-archive:{archive}:1", f"oci:{tmp_path / 'index'}:1")
        listed = json.loads((tmp_path / "index" / "index.json").read_bytes())["manifests"]
        assert [entry["digest"] for entry in listed] == [image["index"]]
        skopeo("copy", f"docker-archive:{archive}:{NAMES[0]}", f"dir:{tmp_path / 'saved'}")
        shown = json.loads(skopeo("inspect", f"docker-archive:{archive}:{NAMES[1]}"))
        assert (shown["Architecture"], len(shown["Layers"])) == (HOST.architecture, 2)

    def test_containerd_imports_the_index(self, image: dict[str, Any], archive: Path, containerd: Client) -> None:
        said = containerd("images", "import", "--all-platforms", archive)
        listed = containerd("images", "list")
        for name in NAMES:
            assert name in said
        assert image["index"] in listed
        assert image["host"] in listed

    def test_tar_unpacks_a_layout(self, skopeo: Client, archive: Path, tmp_path: Path) -> None:
        run_program("tar", "-x", "-C", tmp_path, "-f", archive)
        assert HOST.architecture in skopeo("inspect", f"oci:{tmp_path}:2")

    def test_layers_by_zstd_are_for_those_who_know_it(
        self, podman: Client, docker: Client, skopeo: Client, image: dict[str, Any], tmp_path: Path
    ) -> None:
        """Docker before 23 has no zstd, and must not take such a layer for something else."""
        path = tmp_path / "zstd.tar"
        write(image, path, ("zstd", NAMES[:1]))
        podman("load", "-i", path)
        assert podman("run", "--rm", "--network", "none", NAMES[0]) == "hello from the archive\n"
        skopeo("copy", f"docker-archive:{path}", f"oci:{tmp_path / 'copy'}:1")
        version = docker("version", "--format", "{{.Server.Version}}").split(".")
        if int(version[0]) < 23:
            assert "invalid tar header" in docker.refusal("load", "-i", path)
        else:
            docker("load", "-i", path)


class TestOthersForUs:
    def test_what_docker_saves_is_read(self, docker: Client, archive: Path, tmp_path: Path) -> None:
        docker("load", "-i", archive)
        try:
            docker("save", "-o", tmp_path / "saved.tar", *NAMES)
        finally:
            docker("rmi", "--force", *NAMES)
        found = manifests(tmp_path / "saved.tar")
        assert set(found) == set(NAMES)
        document = found[NAMES[0]].document
        assert isinstance(document, ImageManifest)
        assert len(document.layers or ()) == 2

    @pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
    def test_what_podman_saves_is_read(self, podman: Client, archive: Path, tmp_path: Path, form: str) -> None:
        podman("load", "-i", archive)
        podman("save", "--format", form, "-o", tmp_path / "saved.tar", NAMES[0])

        async def work() -> None:
            async with open_archive(tmp_path / "saved.tar") as saved:
                repository = saved.repository(RepositoryName(""))
                (entry,) = saved.entries()
                manifest = await repository.get_manifest(entry.digest)
                for descriptor in manifest.document.references():
                    async with repository.open_blob(descriptor.digest) as blob:
                        assert sum([len(chunk) async for chunk in blob]) == descriptor.size

        asyncio.run(work())

    @pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
    def test_what_skopeo_writes_is_read(self, skopeo: Client, image: dict[str, Any], tmp_path: Path, form: str) -> None:
        path = tmp_path / "image.tar"
        name = NAMES[0] if form == "docker-archive" else "1"
        skopeo("copy", f"oci:{image['root']}:1", f"{form}:{path}:{name}")

        async def work() -> Manifest:
            async with open_archive(path) as archive:
                return await archive.repository(RepositoryName("")).get_manifest(Tag("1"))

        manifest = asyncio.run(work())
        assert (manifest.digest == image["host"]) is (form == "oci-archive")

    def test_what_containerd_exports_is_read(
        self, image: dict[str, Any], archive: Path, containerd: Client, tmp_path: Path
    ) -> None:
        containerd("images", "import", "--all-platforms", archive)
        path = tmp_path / "exported.tar"
        containerd("images", "export", "--all-platforms", path, NAMES[0])
        assert {name: manifest.digest for name, manifest in manifests(path).items()} == {NAMES[0]: image["index"]}
        (tmp_path / "exported.tar.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        assert manifests(tmp_path / "exported.tar.gz").keys() == {NAMES[0]}


@pytest.fixture
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("containerd")
    configuration = root / "config.toml"
    configuration.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    socket = root / "sock"
    with (root / "log").open("w") as log:
        engine = subprocess.Popen(
            [
                locate("containerd"),
                *("--config", configuration),
                *("--root", root / "root"),
                *("--state", root / "state"),
                *("--address", socket),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        # The client itself waits until the engine answers.
        yield Client(("ctr", "--address", str(socket), "--connect-timeout", "60s"))
    finally:
        engine.terminate()
        engine.wait(timeout=30)
