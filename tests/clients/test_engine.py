"""Images into running engines (layerkit/engine.py, `layerkit build --load`)."""

import asyncio
import socket
from pathlib import Path

import pytest

from layerkit.cli.environment import host_platform
from layerkit.content.export import Export, NamedImage, plan_export
from layerkit.content.layout import Layout
from layerkit.engine import Engine, PodmanProgram, SocketEngine, find_engine
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError, Unavailable
from layerkit.oci.reference import RepositoryName, parse_reference
from tests.engines import Client
from tests.images import HandmadeLayout, file, folder, make_tar
from tests.programs import LayerkitProcess, locate

NAME = "localhost:5000/loaded:1"


@pytest.fixture
def made(tmp_path: Path) -> HandmadeLayout:
    return HandmadeLayout(tmp_path / "layout")


def image(made: HandmadeLayout, *greetings: str, name: str = NAME) -> Export:
    """What is exported of an image with busybox and these greetings, one a layer."""
    layers = [make_tar(folder("bin/"), file("bin/busybox", Path(locate("busybox")).read_bytes(), mode=0o755))]
    layers += [make_tar(file("greeting", text.encode())) for text in greetings]
    config = {"Cmd": ["/bin/busybox", "cat", "/greeting"]}
    digest = made.name(made.image(*layers, platform=str(host_platform()), config=config), name.replace(":", "-"))

    async def plan() -> Export:
        repository = Layout(made.root).repository(RepositoryName(""))
        manifest = await repository.get_manifest(Digest(digest))
        named = NamedImage(manifest=manifest, names=(parse_reference(name),))
        return await plan_export(repository, [named], host_platform())

    return asyncio.run(plan())


def load(engine: Engine, export: Export) -> tuple[bool, set[Digest]]:
    """Whether the engine was given the image, and the blobs that were sent."""
    sent: set[Digest] = set()

    def advance(descriptor: Descriptor, count: int) -> None:
        sent.add(descriptor.digest)

    return asyncio.run(engine.load(export, advance=advance)), sent


def engine_of(docker: Client) -> Engine:
    return find_engine({"DOCKER_HOST": docker.arguments[2]}, lambda _: None)


@pytest.mark.engine
class TestDocker:
    def test_an_image_is_loaded_once_and_only_its_new_layers(self, docker: Client, made: HandmadeLayout) -> None:
        engine = engine_of(docker)
        first, second = image(made, "one\n"), image(made, "one\n", "two\n", name="localhost:5000/loaded:2")
        try:
            was_loaded, sent = load(engine, first)
            assert (was_loaded, len(sent)) == (True, 3)
            assert docker("run", "--rm", "--network", "none", NAME) == "one\n"
            assert load(engine, first) == (False, set())
            was_loaded, sent = load(engine, second)
            # The config, and the layer that is new.
            assert (was_loaded, len(sent)) == (True, 2)
            assert docker("run", "--rm", "--network", "none", "localhost:5000/loaded:2") == "two\n"
        finally:
            docker("rmi", "--force", NAME, "localhost:5000/loaded:2")

    def test_what_docker_says_is_shown(self, docker: Client, made: HandmadeLayout) -> None:
        layer = b"this is no tar " * 100
        digest = made.name(made.image(layer, platform=str(host_platform())), "broken")

        async def plan() -> Export:
            repository = Layout(made.root).repository(RepositoryName(""))
            named = NamedImage(
                manifest=await repository.get_manifest(Digest(digest)), names=(parse_reference("broken:1"),)
            )
            return await plan_export(repository, [named], host_platform())

        with pytest.raises(OCIError, match=r"the engine did not load the image: .*tar"):
            load(engine_of(docker), asyncio.run(plan()))

    def test_a_build_is_loaded(self, docker: Client, layerkit: LayerkitProcess, tmp_path: Path) -> None:
        (tmp_path / "layerkit.yaml").write_text(
            "from: scratch\nlayers: [{name: app, copy: [{content: hello, dest: /file}]}]\nconfig: {cmd: [/file]}\n"
        )
        arguments = ("build", "-f", tmp_path / "layerkit.yaml", "-t", "localhost:5000/built:1", "--load")
        done = layerkit(*arguments, DOCKER_HOST=docker.arguments[2])
        try:
            assert f"loaded into the engine at {docker.arguments[2]}" in done.stderr
            assert docker("image", "inspect", "--format", "{{.Config.Cmd}}", "localhost:5000/built:1") == "[/file]\n"
            assert "has it" in layerkit(*arguments, DOCKER_HOST=docker.arguments[2]).stderr
        finally:
            docker("rmi", "--force", "localhost:5000/built:1")


@pytest.mark.engine
class TestPodman:
    def test_the_program_loads_an_image(
        self, podman: Client, made: HandmadeLayout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in podman.environment.items():
            monkeypatch.setenv(name, value)
        was_loaded, sent = load(PodmanProgram(command=podman.arguments), image(made, "hello\n"))
        assert (was_loaded, len(sent)) == (True, 3)
        assert podman("run", "--rm", "--network", "none", NAME) == "hello\n"


class TestFinding:
    def test_the_environment_names_the_engine(self) -> None:
        found = find_engine({"DOCKER_HOST": "unix:///run/x.sock"}, lambda _: None)
        assert isinstance(found, SocketEngine)
        assert (found.path, found.name) == (Path("/run/x.sock"), "the engine at unix:///run/x.sock")
        found = find_engine({"DOCKER_HOST": "tcp://127.0.0.1:2375"}, lambda _: None)
        assert isinstance(found, SocketEngine)
        assert (found.path, found.host, found.tls) == (None, "127.0.0.1:2375", None)

    @pytest.mark.parametrize("host", ["ssh://somebody@host", "nonsense", "unix://", "tcp://"])
    def test_what_is_not_spoken_is_refused(self, host: str) -> None:
        with pytest.raises(OCIError, match=r"is not supported: expected unix:///PATH or tcp://HOST:PORT"):
            find_engine({"DOCKER_HOST": host}, lambda _: None)

    def test_certificates_that_are_not_there_are_named(self, tmp_path: Path) -> None:
        environment = {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
        with pytest.raises(OCIError, match=f"in {tmp_path} cannot be read"):
            find_engine(environment, lambda _: None)

    def test_a_socket_without_anybody_behind_it_is_passed_over(self, tmp_path: Path, made: HandmadeLayout) -> None:
        (tmp_path / "podman").mkdir()
        path = tmp_path / "podman" / "podman.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
        found = find_engine(environment, lambda name: f"/usr/bin/{name}")
        assert not (isinstance(found, SocketEngine) and found.path == path)
        with pytest.raises(Unavailable, match="start docker or podman"):
            load(SocketEngine(name="podman", path=path), image(made, "x"))
