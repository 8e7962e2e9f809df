"""The engines: docker with its own data folder, socket and pid, podman and buildah with their own stores.

Each is a context, of which the folders of tests that need it make fixtures of their own scope.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.programs import locate, run_program

_CONTAINERS_CONF = """\
# What an engine needs inside a container or on a small machine: limits that everyone may set, and a runtime that
# does with any version of cgroups.
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
"""

OFFLINE: Final = ("--iptables=false",)
"""Options of an engine whose containers reach nothing: it leaves the machine's rules alone."""


@dataclass(frozen=True)
class Client:
    """A program with the arguments that every call of it has."""

    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str | Path) -> str:
        return run_program(*self.arguments, *arguments, environment=self.environment)

    def refusal(self, *arguments: str | Path) -> str:
        """What the program says of what it must not do."""
        done = subprocess.run(
            [locate(self.arguments[0]), *self.arguments[1:], *arguments],
            capture_output=True,
            check=False,
            text=True,
            timeout=100,
            env={**os.environ, **self.environment},
        )
        if done.returncode == 0:
            pytest.fail(
                f"{' '.join(map(str, (*self.arguments, *arguments)))} did not fail:\n{done.stdout}{done.stderr}"
            )
        return done.stdout + done.stderr


@contextmanager
def _own_bridge() -> Iterator[str]:
    """A bridge for one engine. With `--bridge none` it would take docker0 away from all others of the machine, and two
    with docker0 would take it away from each other."""
    number = secrets.randbelow(16384)
    name = f"lk-{number:x}"
    run_program("ip", "link", "add", name, "type", "bridge")
    try:
        run_program("ip", "address", "add", f"10.{192 + number // 256}.{number % 256}.1/24", "dev", name)
        yield name
    finally:
        run_program("ip", "link", "delete", name)


@contextmanager
def run_docker(*options: str) -> Iterator[Client]:
    """A client of an engine that is started for the tests, and ended by its pid."""
    with _own_bridge() as bridge, _run_engine("--bridge", bridge, *options) as client:
        yield client


@contextmanager
def _run_engine(*options: str) -> Iterator[Client]:
    folder = Path(tempfile.mkdtemp(prefix="lk-docker-"))
    host = f"unix://{folder}/docker.sock"
    log = folder / "log"
    # systemd's way of being told that a service is ready (sd_notify): no polling.
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(str(folder / "ready"))
    ready.settimeout(60)
    with ready, log.open("w") as output:
        engine = subprocess.Popen(
            [
                locate("dockerd"),
                *("--data-root", folder / "data"),
                *("--exec-root", folder / "exec"),
                *("--pidfile", folder / "pid"),
                *("--host", host),
                *("--log-level", "warn"),
                *options,
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "ready")},
            start_new_session=True,
        )
        try:
            ready.recv(4096)
        except TimeoutError:
            os.killpg(engine.pid, signal.SIGKILL)
            pytest.fail(f"the docker engine did not start:\n{log.read_text()}")
    try:
        yield Client(("docker", "--host", host), {"DOCKER_CONFIG": str(folder / "config")})
    finally:
        engine.send_signal(signal.SIGTERM)
        try:
            engine.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(engine.pid, signal.SIGKILL)
            engine.wait()
        shutil.rmtree(folder, ignore_errors=True)


_PARTIAL_PULLS = """\
[storage]
driver = "overlay"
graphroot = "{folder}/root"
runroot = "{folder}/run"
[storage.options.pull_options]
enable_partial_images = "true"
# What later versions ask for, which trust a layer by its diff_id alone.
insecure_allow_unpredictable_image_contents = "true"
"""


@contextmanager
def run_podman_that_pulls_parts() -> Iterator[Client]:
    """One that pulls layers file by file, where they have a table of contents."""
    folder = Path(tempfile.mkdtemp(prefix="lk-podman-"))
    configurations = {
        "CONTAINERS_CONF": _CONTAINERS_CONF,
        "CONTAINERS_STORAGE_CONF": _PARTIAL_PULLS.format(folder=folder),
    }
    for name, text in configurations.items():
        (folder / name).write_text(text)
    client = Client(("podman",), {name: str(folder / name) for name in configurations})
    try:
        yield client
    finally:
        client("rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def run_podman() -> Iterator[Client]:
    # Not tmp_path: the path of a runroot has at most 50 characters.
    folder = Path(tempfile.mkdtemp(prefix="lk-podman-"))
    configuration = folder / "containers.conf"
    configuration.write_text(_CONTAINERS_CONF)
    folders = ("--root", str(folder / "root"), "--runroot", str(folder / "run"))
    client = Client(("podman", *folders), {"CONTAINERS_CONF": str(configuration)})
    try:
        yield client
    finally:
        client("rm", "--all", "--force")
        client("rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def run_buildah() -> Iterator[Client]:
    folder = Path(tempfile.mkdtemp(prefix="lk-buildah-"))
    client = Client(("buildah", "--root", str(folder / "root"), "--runroot", str(folder / "run")))
    try:
        yield client
    finally:
        client("rm", "--all")
        shutil.rmtree(folder, ignore_errors=True)
