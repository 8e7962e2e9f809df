"""specs/webapp and specs/registry: applications of Debian's packages and wheels, run by docker and podman.

What mirrors have today is locked once and built from there: the lock decides every byte, wherever it is built.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.clients.asking import ask, free_port
from tests.programs import PROJECT, LayerkitProcess, RegistryProcess, run_registry

Run = Callable[..., str]

pytestmark = [pytest.mark.engine, pytest.mark.mirror, pytest.mark.timeout(400)]

_MACHINES: Final = {"amd64": 62, "arm64": 183}
_MODULES: Final = "import ssl, sqlite3, lzma, ctypes; print(len(ssl.create_default_context().get_ca_certs()) > 100)"


@dataclass(frozen=True, kw_only=True)
class Built:
    """The web application for two platforms, built from the lock in `context`, named so in a registry and in `layout`;
    and the registry for this machine's."""

    layerkit: LayerkitProcess
    context: Path
    layout: Path
    name: str
    digest: str
    registry: str


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    with run_registry(tmp_path_factory.mktemp("serving") / "registry") as process:
        yield process


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, registry: RegistryProcess) -> Built:
    folder = tmp_path_factory.mktemp("built")
    layerkit = LayerkitProcess(folder / "data")
    context = Path(shutil.copytree(PROJECT / "specs/webapp", folder / "webapp"))
    layerkit("lock", cwd=context)
    name = f"{registry.address}/specs/webapp:1"
    flags = ("--sbom", "--provenance", "--push", "-o", f"oci:{folder}/layout")
    digest = layerkit("build", "--locked", *flags, "-t", name, cwd=context).stdout.strip()
    subprocess.run([sys.executable, PROJECT / "specs/registry/make"], check=True)
    own = Path(shutil.copytree(PROJECT / "specs/registry", folder / "registry"))
    ours = f"{registry.address}/specs/registry:1"
    layerkit("build", "--platform", "linux/amd64", "-t", ours, "--push", cwd=own)
    return Built(layerkit=layerkit, context=context, layout=folder / "layout", name=name, digest=digest, registry=ours)


class TestDocker:
    def test_the_application_answers_and_keeps_its_notes_in_a_database(self, built: Built, docker: Run) -> None:
        """Issue 6: "webapp and registry images run under docker and podman and answer over HTTP"."""
        docker("pull", built.name)
        container = docker("run", "-d", "-p", "127.0.0.1::8080", built.name).strip()
        try:
            address = f"http://{docker('port', container, '8080/tcp').splitlines()[0]}"
            assert json.loads(ask(f"{address}/health")) == {"status": "well"}
            note = {"id": 1, "text": "a note, wörtlich"}
            assert json.loads(ask(f"{address}/notes", "a note, wörtlich".encode())) == note
            assert json.loads(ask(f"{address}/notes")) == [note]
            with urllib.request.urlopen(f"{address}/", timeout=5) as page:
                assert "<li>a note, wörtlich</li>" in page.read().decode()
            check = json.loads(docker("inspect", "--format", "{{json .Config.Healthcheck.Test}}", container))
            assert check == ["CMD", "/opt/venv/bin/python", "-m", "notes.health"]
            assert docker("exec", container, *check[1:]) == ""
            assert docker("exec", container, "python3", "-c", "import os; print(os.getuid())").strip() == "10001"
            assert docker("exec", container, "/usr/bin/python3", "-c", _MODULES).strip() == "True"
            docker("stop", container)
            assert docker("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"
        finally:
            docker("rm", "-f", container)

    def test_the_registry_serves_itself(self, built: Built, docker: Run) -> None:
        """Issue 6: "this registry as an image of itself, which then serves itself"."""
        docker("pull", built.registry)
        container = docker("run", "-d", "-p", "127.0.0.1::5000", built.registry).strip()
        try:
            address = docker("port", container, "5000/tcp").splitlines()[0]
            assert json.loads(ask(f"http://{address}/v2/")) == {}
            copy = f"{address}/specs/registry:1"
            built.layerkit("copy", built.registry, copy)
            docker("rmi", "-f", built.registry)
            assert "Digest: sha256:" in docker("pull", copy)
            assert docker("run", "--rm", copy, "--help").startswith("Usage: layerkit registry")
        finally:
            docker("rm", "-f", container)


class TestPodman:
    def test_the_application_answers(self, built: Built, podman: Run) -> None:
        podman("pull", "--tls-verify=false", built.name)
        port = free_port()
        podman("run", "-d", "--name", "notes", "--network", "host", "-e", f"NOTES_PORT={port}", built.name)
        assert json.loads(ask(f"http://127.0.0.1:{port}/health")) == {"status": "well"}
        assert json.loads(ask(f"http://127.0.0.1:{port}/notes", b"one"))["id"] == 1
        assert podman("exec", "notes", "/opt/venv/bin/python", "-m", "notes.health") == ""
        assert podman("exec", "notes", "/usr/bin/python3", "-c", _MODULES).strip() == "True"

    def test_the_registry_answers(self, built: Built, podman: Run) -> None:
        podman("pull", "--tls-verify=false", built.registry)
        port = free_port()
        serve = ("serve", "--root", "/var/lib/registry", "--listen", f"127.0.0.1:{port}")
        podman("run", "-d", "--network", "host", built.registry, *serve)
        assert json.loads(ask(f"http://127.0.0.1:{port}/v2/")) == {}


class TestLock:
    def test_the_same_lock_gives_the_same_digest_in_other_conditions(self, tmp_path: Path, built: Built) -> None:
        """Issue 6: "Same lock, same digest, on two machines' worth of conditions"."""
        context = Path(shutil.copytree(built.context, tmp_path / "elsewhere", copy_function=shutil.copyfile))
        cache = Path(shutil.copytree(built.layerkit.data / "cache/layerkit/fetch", tmp_path / "cache/layerkit/fetch"))
        conditions = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
        other = LayerkitProcess(tmp_path / "data", {**conditions, "XDG_CACHE_HOME": str(cache.parent.parent)})
        before = os.umask(0o077)
        try:
            done = other("build", "--locked", "-t", "localhost/x:1", cwd=context)
        finally:
            os.umask(before)
        assert done.stdout.strip() == built.digest
        bill = built.layerkit("sbom", "--platform", "linux/arm64", built.name).stdout
        other("build", "--locked", "--sbom", "-t", "localhost/x:1", cwd=context)
        assert other("sbom", "--platform", "linux/arm64", "localhost/x:1").stdout == bill

    def test_a_warm_cache_needs_no_network(self, tmp_path: Path, built: Built) -> None:
        """Issue 6: "a build from the lock and a warm cache needs no network"."""
        environment = {
            **os.environ,
            "XDG_DATA_HOME": str(tmp_path / "data"),
            "XDG_CACHE_HOME": str(built.layerkit.data / "cache"),
        }
        command = ["unshare", "--net", sys.executable, "-m", "layerkit", "build", "--locked", "-t", "localhost/x:1"]
        done = subprocess.run(
            command, capture_output=True, check=False, text=True, cwd=built.context, env=environment, timeout=200
        )
        assert (done.returncode, done.stdout.strip()) == (0, built.digest), done.stderr

    @pytest.mark.parametrize("kind", ["deb", "whl"])
    def test_what_was_tampered_with_is_refused_by_name(self, tmp_path: Path, built: Built, kind: str) -> None:
        """Issue 6: "a tampered package, index, signature or wheel is refused by name"."""
        context = Path(shutil.copytree(built.context, tmp_path / "context"))
        lock = context / "layerkit.lock"
        names = {"deb": "netbase", "whl": "yarl"}
        lines = lock.read_text().splitlines()
        changed = [
            line.replace('sha256 = "', 'sha256 = "00000000')[: line.index('sha256 = "') + 74] + '" },'
            if f'name = "{names[kind]}"' in line
            else line
            for line in lines
        ]
        assert changed != lines
        lock.write_text("\n".join(changed) + "\n")
        other = LayerkitProcess(tmp_path / "data", {"XDG_CACHE_HOME": str(built.layerkit.data / "cache")})
        done = other("build", "--locked", cwd=context, check=False)
        assert done.code in {1, 2}
        assert names[kind] in done.stderr
        assert "Traceback" not in done.stderr


class TestContents:
    @pytest.mark.parametrize("architecture", list(_MACHINES))
    def test_each_program_is_for_its_platform_and_has_its_interpreter(self, built: Built, architecture: str) -> None:
        """Issue 6: "the arm64 image is complete (checked by file and ELF headers)"."""
        files, links = read_layout(built.layout, architecture)
        programs = {path: content for path, content in files.items() if content[:4] == b"\x7fELF"}
        assert len(programs) > 100
        for path, content in programs.items():
            (machine,) = struct.unpack_from("<H", content, 18)
            assert machine == _MACHINES[architecture], path
        loader = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}[architecture]
        assert any(path.endswith(f"/{loader}") for path in (*files, *links))
        assert links["usr/bin/python3"].startswith("python3.")
        assert f"usr/bin/{links['usr/bin/python3']}" in programs
        assert any("aiohttp/_http_parser" in path for path in programs)

    def test_the_bill_names_debian_packages_and_wheels_of_the_lock(self, built: Built) -> None:
        shown = json.loads(built.layerkit("sbom", "--remote", "--platform", "linux/arm64", built.name).stdout)
        packages = {package["name"]: package for package in shown["packages"]}
        assert {"libc6", "python3", "aiohttp", "yarl"} <= packages.keys()
        lock = built.context.joinpath("layerkit.lock").read_text()
        for name in ("libc6", "aiohttp"):
            assert packages[name]["checksums"][0]["checksumValue"] in lock
            assert packages[name]["hasFiles" if "hasFiles" in packages[name] else "packageVerificationCode"]
        assert packages["aiohttp"]["licenseDeclared"].startswith("Apache-2.0")


def read_layout(layout: Path, architecture: str) -> tuple[dict[str, bytes], dict[str, str]]:
    """The beginnings of an image's files, and its symlinks."""

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    entries = json.loads((layout / "index.json").read_text())["manifests"]
    index = json.loads(blob(next(e["digest"] for e in entries if e["mediaType"].endswith("index.v1+json"))).read_text())
    child = next(each for each in index["manifests"] if each["platform"]["architecture"] == architecture)
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for layer in json.loads(blob(child["digest"]).read_text())["layers"]:
        with tarfile.open(blob(layer["digest"])) as tar:
            for member in tar:
                if member.issym():
                    links[member.name] = member.linkname
                elif member.isfile() and (content := tar.extractfile(member)) is not None:
                    files[member.name] = content.read(64)
    return files, links
