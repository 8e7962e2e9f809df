"""specs/hello, built and pushed by us, pulled and run by the clients that people have."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.asking import ask, free_port
from tests.clients.multi import make_index
from tests.programs import LayerkitProcess, RegistryProcess

Run = Callable[..., str]

# One engine serves all tests of this file: `--dist loadfile` runs them in one process.
pytestmark = pytest.mark.engine

PAGE = "Hello from an image without a Dockerfile"


class Pushed:
    """An image that `layerkit build --push` put into a registry."""

    def __init__(self, name: str, digest: str) -> None:
        self.name = name
        self.digest = digest
        self.repository = name.rpartition(":")[0]


@pytest.fixture
def pushed(layerkit: LayerkitProcess, registry_process: RegistryProcess, hello: Path) -> Pushed:
    name = f"{registry_process.address}/specs/hello:1"
    done = layerkit("build", "-f", hello / "layerkit.yaml", "-t", name, "--push")
    return Pushed(name, done.stdout.strip())


class TestDocker:
    def test_docker_pulls_the_digest_that_was_built_and_runs_it(self, pushed: Pushed, docker: Run) -> None:
        out = docker("pull", pushed.name)
        assert f"Digest: {pushed.digest}" in out
        container = docker("run", "-d", "-p", "127.0.0.1::8080", pushed.name).strip()
        try:
            address = docker("port", container, "8080/tcp").splitlines()[0]
            assert PAGE in ask(f"http://{address}/")
        finally:
            docker("rm", "-f", container)

    def test_docker_pulls_by_digest(self, pushed: Pushed, docker: Run) -> None:
        docker("pull", f"{pushed.repository}@{pushed.digest}")
        digests = json.loads(docker("inspect", f"{pushed.repository}@{pushed.digest}"))[0]["RepoDigests"]
        assert f"{pushed.repository}@{pushed.digest}" in digests

    def test_docker_shows_how_the_layers_came_about(self, pushed: Pushed, docker: Run) -> None:
        docker("pull", pushed.name)
        history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", pushed.name)
        assert history.splitlines() == [
            "layerkit: page: ./www:/srv/www/",
            "layerkit: busybox: bin/busybox:/bin/busybox, /bin/sh -> busybox",
        ]

    def test_docker_pushes_and_pulls_its_own_manifest(self, pushed: Pushed, docker: Run) -> None:
        copy = f"{pushed.repository}/by/docker:1"
        docker("pull", pushed.name)
        docker("tag", pushed.name, copy)
        out = docker("push", copy)
        digest = re.search(r"digest: (sha256:[0-9a-f]{64})", out)
        assert digest is not None, out
        docker("rmi", "-f", copy, pushed.name)
        assert f"Digest: {digest[1]}" in docker("pull", copy)
        page = docker("run", "--rm", "--entrypoint", "/bin/sh", copy, "-c", "cat /srv/www/index.html")
        assert PAGE in page

    async def test_docker_pulls_its_platform_of_an_index(
        self, registry_process: RegistryProcess, docker: Run, skopeo: Run, tmp_path: Path
    ) -> None:
        source, digest = await make_index(tmp_path / "layout")
        name = f"{registry_process.address}/multi:all"
        skopeo("copy", "--all", "--preserve-digests", "--dest-tls-verify=false", source, f"docker://{name}")
        assert f"Digest: {digest}" in docker("pull", name)
        assert docker("inspect", "--format", "{{.Architecture}}", name).strip() == "amd64"
        docker("pull", "--platform", "linux/arm64", name)
        assert docker("inspect", "--format", "{{.Architecture}}", name).strip() == "arm64"


class TestPodman:
    def test_podman_pulls_the_digest_that_was_built_and_runs_it(self, pushed: Pushed, podman: Run) -> None:
        podman("pull", "--tls-verify=false", pushed.name)
        assert podman("inspect", "--format", "{{.Digest}}", pushed.name).strip() == pushed.digest
        port = free_port()
        command = ("httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", "/srv/www")
        podman("run", "-d", "--name", "web", "--network", "host", "--entrypoint", "/bin/busybox", pushed.name, *command)
        assert PAGE in ask(f"http://127.0.0.1:{port}/")

    def test_podman_pushes_what_it_pulled_and_pulls_it_again(self, pushed: Pushed, podman: Run) -> None:
        copy = f"{pushed.repository}/by/podman:1"
        podman("pull", "--tls-verify=false", pushed.name)
        podman("push", "--tls-verify=false", pushed.name, copy)
        podman("rmi", "--all", "--force")
        podman("pull", "--tls-verify=false", copy)
        page = podman(
            "run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", copy, "-c", "cat /srv/www/index.html"
        )
        assert PAGE in page


class TestSkopeo:
    def test_skopeo_sees_the_digest_that_was_built(self, pushed: Pushed, skopeo: Run) -> None:
        found = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{pushed.name}"))
        assert found["Digest"] == pushed.digest
        assert found["RepoTags"] == ["1"]

    def test_skopeo_copies_there_and_back_without_changing_the_digest(
        self, pushed: Pushed, skopeo: Run, tmp_path: Path
    ) -> None:
        layout = f"oci:{tmp_path}/layout:1"
        skopeo("copy", "--preserve-digests", "--src-tls-verify=false", f"docker://{pushed.name}", layout)
        copy = f"docker://{pushed.repository}/by/skopeo:1"
        skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", layout, copy)
        assert json.loads(skopeo("inspect", "--tls-verify=false", copy))["Digest"] == pushed.digest

    @pytest.mark.parametrize("form", ["v2s2", "oci"])
    def test_skopeo_converts_and_pushes(self, pushed: Pushed, skopeo: Run, form: str) -> None:
        copy = f"docker://{pushed.repository}/converted:{form}"
        skopeo(
            *("copy", "--format", form, "--src-tls-verify=false", "--dest-tls-verify=false"),
            *(f"docker://{pushed.name}", copy),
        )
        raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", copy))
        assert ("docker" in raw["config"]["mediaType"]) == (form == "v2s2")

    def test_skopeo_reads_the_layout_that_was_written(
        self, layerkit: LayerkitProcess, skopeo: Run, hello: Path
    ) -> None:
        layout = hello.parent / "out"
        done = layerkit("build", "-f", hello / "layerkit.yaml", "-t", "localhost/hello:1", "-o", f"oci:{layout}")
        assert json.loads(skopeo("inspect", f"oci:{layout}:1"))["Digest"] == done.stdout.strip()


class TestBuildah:
    def test_buildah_builds_on_it_and_pushes(self, pushed: Pushed, buildah: Run, skopeo: Run) -> None:
        container = buildah("from", "--tls-verify=false", pushed.name).strip()
        root = Path(buildah("mount", container).strip())
        assert PAGE in (root / "srv/www/index.html").read_text()
        (root / "srv/www/more.html").write_text("more")
        copy = f"{pushed.repository}/by/buildah:1"
        buildah("commit", "--tls-verify=false", container, f"docker://{copy}")
        found = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{copy}"))
        assert len(found["Layers"]) == 3


class TestUmoci:
    def test_umoci_unpacks_what_the_spec_says(self, layerkit: LayerkitProcess, umoci: Run, hello: Path) -> None:
        layout, bundle = hello.parent / "out", hello.parent / "bundle"
        layerkit("build", "-f", hello / "layerkit.yaml", "-t", "localhost/hello:1", "-o", f"oci:{layout}")
        umoci("unpack", "--image", f"{layout}:1", bundle)
        root = bundle / "rootfs"
        assert (root / "bin/busybox").stat().st_mode & 0o7777 == 0o755
        assert (root / "bin/sh").readlink() == Path("busybox")
        assert PAGE in (root / "srv/www/index.html").read_text()
        assert sorted(path.name for path in root.iterdir()) == ["bin", "srv"]
