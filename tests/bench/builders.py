"""The builders that are measured, each with a store of its own: a context in, an image out, and to a registry."""

import json
import re
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tests.bench.measuring import run
from tests.bench.servers import free_port, serving
from tests.bench.usage import Usage, counted, run_measured, run_shell
from tests.engines import Client, run_buildah, run_docker

CODECS = {"": "gzip", "gzip:fast": "gzip:fast", "zstd": "zstd"}
"""What is added to our name, and the `compression:` of the spec."""


class Builder(Protocol):
    """`build` makes the image of a context as it would be distributed: compressed, in a layout or a registry."""

    @property
    def name(self) -> str: ...

    def clear(self) -> object:
        """Forget all builds."""

    def build(self, context: Path) -> Usage:
        """From what is remembered, or from nothing after `clear`."""

    def push(self, context: Path) -> Usage:
        """Push what was built last."""

    def build_and_push(self, context: Path) -> Usage:
        """Build from what is remembered, and push."""


@dataclass(frozen=True)
class Registry:
    """The address of a registry, and how many bytes and requests it has received until now."""

    address: str
    count: Callable[[], tuple[int, int]]


@dataclass(frozen=True)
class Layerkit:
    """This project's builder, with one codec."""

    folder: Path
    registry: Registry
    codec: str = ""

    @property
    def name(self) -> str:
        return f"layerkit {self.codec}".strip()

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def build(self, context: Path) -> Usage:
        usage, output = self._run("build", "-q", "--format", "json", *self._named(context))
        layers = json.loads(output)["images"][0]["platforms"][0]["layers"]
        return replace(usage, stored=sum(layer["size"] for layer in layers))

    def push(self, context: Path) -> Usage:
        return counted(lambda: self._run("push", "-q", self._reference(context))[0], self.registry.count)

    def build_and_push(self, context: Path) -> Usage:
        return counted(lambda: self._run("build", "-q", "--push", *self._named(context))[0], self.registry.count)

    def help(self) -> Usage:
        return self._run("--help")[0]

    def _named(self, context: Path) -> list[str]:
        return ["-f", f"{context}/{CODECS[self.codec].replace(':', '-')}.yaml", "-t", self._reference(context)]

    def _reference(self, context: Path) -> str:
        repository = self.name.replace(" ", "/").replace(":", "-")
        return f"{self.registry.address}/{repository}/{context.name}:1"

    def _run(self, *arguments: str | Path) -> tuple[Usage, str]:
        environment = {
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            # Whatever it says here: what is installed has its byte code.
            "PYTHONDONTWRITEBYTECODE": "",
        }
        return run_measured(sys.executable, "-m", "layerkit", *arguments, environment=environment)


@dataclass(frozen=True)
class Buildah:
    """To an OCI layout."""

    client: Client
    folder: Path
    registry: Registry
    name: str = "buildah"

    def clear(self) -> None:
        self._run("rmi", "--all", "--force")
        shutil.rmtree(self.folder, ignore_errors=True)

    def build(self, context: Path) -> Usage:
        self.folder.mkdir(exist_ok=True)
        return self._bud(context) + self._run("push", "-q", "bench", f"oci:{self.folder}/{context.name}:1")

    def push(self, context: Path) -> Usage:
        target = f"docker://{self.registry.address}/buildah/{context.name}:1"
        return counted(lambda: self._run("push", "-q", "--tls-verify=false", "bench", target), self.registry.count)

    def build_and_push(self, context: Path) -> Usage:
        return self._bud(context) + self.push(context)

    def _bud(self, context: Path) -> Usage:
        # Without --layers it would remember nothing.
        return self._run("bud", "--layers", "-q", "-t", "bench", str(context))

    def _run(self, *arguments: str) -> Usage:
        return run_measured(*self.client.arguments, *arguments, environment=self.client.environment)[0]


@dataclass(frozen=True)
class Docker:
    """The classic builder of Debian's engine, which compresses only what it pushes. The engine's own processes count
    too."""

    client: Client
    daemon: int
    registry: Registry
    name: str = "docker"

    def clear(self) -> None:
        self._run("system", "prune", "--all", "--force")

    def build(self, context: Path) -> Usage:
        return self.build_and_push(context)

    def push(self, context: Path) -> Usage:
        return counted(lambda: self._run("push", "-q", self._reference(context)), self.registry.count)

    def build_and_push(self, context: Path) -> Usage:
        return self._run("build", "-q", "-t", self._reference(context), str(context)) + self.push(context)

    def _reference(self, context: Path) -> str:
        return f"{self.registry.address}/docker/{context.name}:1"

    def _run(self, *arguments: str) -> Usage:
        environment = {**self.client.environment, "DOCKER_BUILDKIT": "0"}
        return run_measured(*self.client.arguments, *arguments, environment=environment, daemons=[self.daemon])[0]


def write_context(context: Path, *folders: str) -> None:
    """The files that tell each builder to copy `folders`, a layer for each."""
    copies = "".join(f"  - {{name: {folder}, copy: ['./{folder}:/{folder}/']}}\n" for folder in folders)
    for codec in CODECS.values():
        (context / f"{codec.replace(':', '-')}.yaml").write_text(
            f"name: bench\nfrom: scratch\ncompression: {codec}\nlayers:\n{copies}config: {{cmd: [a]}}\n"
        )
    copies = "".join(f"COPY {folder} /{folder}/\n" for folder in folders)
    (context / "Dockerfile").write_text(f'FROM scratch\n{copies}CMD ["a"]\n')


def pigz(folder: Path) -> Usage:
    """What a shell does for a layer: tar and compress it in threads, both digests on the way."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        usage = run_shell(
            f"cd {name}; mkfifo tar gz; sha256sum tar > diff_id & sha256sum gz > digest & "
            f"tar -cf - -C {folder.parent} {folder.name} | tee tar | pigz -6 | tee gz | wc -c > size; wait",
            folder=folder.parent,
        )
        return replace(usage, stored=int(Path(name, "size").read_text()))


def tar(folder: Path) -> Usage:
    return run_shell(f"tar -cf - {folder.name} | cat > /dev/null", folder=folder.parent)


def find(folder: Path) -> Usage:
    return run_shell(f"find {folder.name} -printf '%s %T@ %C@ %i\\n' > /dev/null", folder=folder.parent)


@contextmanager
def run_registry(root: Path) -> Iterator[Registry]:
    """One worker of ours, and what its metrics say."""
    port, metrics = free_port(), free_port()
    root.mkdir()
    configuration = root / "registry.yaml"
    configuration.write_text(f"root: {root}/data\nlisten: 127.0.0.1:{port}\nworkers: 1\nmetrics: 127.0.0.1:{metrics}\n")

    def count() -> tuple[int, int]:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as response:
            text = response.read().decode()
        received = re.findall(r"^registry_http_request_size_bytes_sum{.*} (\S+)$", text, re.MULTILINE)
        requests = re.findall(r"^registry_http_requests_total{.*} (\S+)$", text, re.MULTILINE)
        return int(sum(map(float, received))), int(sum(map(float, requests)))

    with serving(port, [sys.executable, "-m", "layerkit", "registry", "serve", "--config", str(configuration)]):
        yield Registry(f"127.0.0.1:{port}", count)


@contextmanager
def run_buildah_builder(folder: Path, registry: Registry) -> Iterator[Buildah]:
    with run_buildah() as client:
        yield Buildah(client, folder, registry)


@contextmanager
def run_docker_builder(registry: Registry) -> Iterator[Docker]:
    with run_docker() as client:
        socket = client.arguments[-1].removeprefix("unix://")
        yield Docker(client, int(Path(socket).with_name("pid").read_text()), registry)


def versions() -> str:
    """Of the others."""
    pigz_version = run("sh", "-c", "pigz --version 2>&1").split()[-1]
    tar_version = run("tar", "--version").splitlines()[0].split()[-1]
    docker = run("dockerd", "--version").split()[2].rstrip(",")
    return f"buildah {run('buildah', '--version').split()[2]}, docker {docker}, pigz {pigz_version}, tar {tar_version}"
