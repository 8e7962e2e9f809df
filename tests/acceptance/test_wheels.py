"""Images of wheels, of today's index: compared with what uv installs of the same versions, run by docker and podman.

What uv writes by itself is left out: it is the lock of the same name that says what both had to install.
"""

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from layerkit.packages.python.uv import find_uv
from tests.engines import OFFLINE, Client, run_docker, run_podman
from tests.programs import LayerkitProcess

pytestmark = [pytest.mark.engine, pytest.mark.mirror, pytest.mark.timeout(400)]

# `runs` is for docker and podman; `both` is without what it would need to run, for all platforms.
SPEC: Final = """\
images:
  runs:
    from: scratch
    platforms: [linux/amd64]
    layers:
      - apt: {packages: [base-files, netbase, python3-minimal, libpython3-stdlib, libstdc++6, zlib1g], suite: bookworm}
      - {name: wheels, python: requirements.txt}
    config: {entrypoint: [/opt/venv/bin/python]}
  both:
    from: scratch
    platforms: [linux/amd64, linux/arm64]
    layers:
      - {name: wheels, python: {requirements: requirements.txt, version: 3.11.2}}
"""
# Native code by C, C++ and Rust; pure ones; a script of its own; headers; files beside the modules.
REQUIREMENTS: Final = (
    "aiohttp\nzstandard\ncryptography\nnumpy\nclick\njmespath\ngreenlet\nwidgetsnbextension\ngunicorn\n"
)
INSIDE: Final = """\
import aiohttp, cryptography.hazmat.primitives.ciphers, greenlet, importlib.metadata, numpy, sys, zstandard
distributions = {each.name: each for each in importlib.metadata.distributions()}
broken = [str(file) for each in distributions.values() for file in each.files if not file.locate().exists()]
packed = zstandard.decompress(zstandard.compress(b"abc"))
print(sys.prefix, int(numpy.arange(5).sum()), packed, len(distributions), broken)
"""
SITE: Final = "lib/python3.11/site-packages"
MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
# In `.dist-info`: who installed it, what for and from where; and RECORD, which has the hashes of these.
BY_INSTALLERS: Final = ("/INSTALLER", "/RECORD", "/REQUESTED", "/direct_url.json", "/uv_cache.json", "/.lock")


@dataclass
class Built:
    """`archive` is for docker; `files` are the contents of the environment by platform and path, links have `-> `."""

    archive: Path
    versions: dict[str, str]
    files: dict[str, dict[str, bytes]]
    executable: dict[str, set[str]]
    warnings: str


def read_layer(folder: Path, architecture: str) -> tuple[dict[str, bytes], set[str]]:
    """What the last layer of an image has below /opt/venv, and which of it can be run."""

    def load(digest: str) -> bytes:
        return (folder / "blobs" / digest.replace(":", "/")).read_bytes()

    (image,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    platforms = json.loads(load(image["digest"]))["manifests"]
    manifest = next(each for each in platforms if each["platform"]["architecture"] == architecture)
    layer = json.loads(load(manifest["digest"]))["layers"][-1]
    files: dict[str, bytes] = {}
    executable: set[str] = set()
    with tarfile.open(folder / "blobs" / layer["digest"].replace(":", "/")) as tar:
        for member in tar:
            path = member.name.removeprefix("opt/venv/")
            if member.issym():
                files[path] = b"-> " + member.linkname.encode()
            elif member.isfile():
                content = tar.extractfile(member)
                assert content is not None
                files[path] = content.read()
                if member.mode & 0o111:
                    executable.add(path)
    return files, executable


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("wheels")
    (folder / "layerkit.yaml").write_text(SPEC)
    (folder / "requirements.txt").write_text(REQUIREMENTS)
    layerkit = LayerkitProcess(folder / "data")
    layerkit("lock", "-f", folder / "layerkit.yaml")
    where = ("--locked", "-f", folder / "layerkit.yaml")
    done = layerkit("build", "runs", *where, "-o", f"docker-archive:{folder}/image.tar")
    layerkit("build", "both", *where, "-o", f"oci:{folder}/layout")
    lock = (folder / "layerkit.lock").read_text()
    found = {architecture: read_layer(folder / "layout", architecture) for architecture in MACHINES}
    versions = {}
    for line in lock.splitlines():
        if ".whl" in line:
            fields = line.split('"')
            versions[fields[1]] = fields[3]
    return Built(
        archive=folder / "image.tar",
        versions=versions,
        files={architecture: files for architecture, (files, _) in found.items()},
        executable={architecture: names for architecture, (_, names) in found.items()},
        warnings=done.stderr,
    )


def install_by_uv(versions: dict[str, str], machine: str, folder: Path) -> None:
    pins = [f"{name}=={version}" for name, version in sorted(versions.items())]
    subprocess.run(
        [
            *(find_uv(), "pip", "install", "--quiet", "--no-deps", "--target", folder, "--python-version", "3.11"),
            *("--python-platform", f"{machine}-manylinux_2_28", "--only-binary", ":all:", "--no-compile-bytecode"),
            *pins,
        ],
        check=True,
        env={**os.environ, "UV_LINK_MODE": "copy", **uv_indexes()},
    )


def uv_indexes() -> dict[str, str]:
    """What layerkit tells uv of this machine's pip."""
    from layerkit.cli.environment import read_indexes_of  # noqa: PLC0415

    return dict(read_indexes_of(Path.cwd()).environment)


@pytest.mark.parametrize("architecture", list(MACHINES))
def test_what_is_installed_is_what_uv_installs(built: Built, architecture: str, tmp_path: Path) -> None:
    """The differences are those of `--target`, which has no environment around it, and those of what installers say
    of themselves."""
    install_by_uv(built.versions, MACHINES[architecture], tmp_path)
    found = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    theirs = {name: path.read_bytes() for name, path in found.items() if not f"/{name}".endswith(BY_INSTALLERS)}
    ours = {
        path: content
        for path, content in built.files[architecture].items()
        if not content.startswith(b"-> ") and path != "pyvenv.cfg" and not f"/{path}".endswith(BY_INSTALLERS)
    }
    # --target puts modules into the folder itself, and has `bin` and `share` beside them.
    ours = {path.removeprefix(f"{SITE}/"): content for path, content in ours.items()}
    assert not sorted(path for path in ours.keys() ^ theirs.keys() if not path.startswith("include/"))
    different = {path for path in ours.keys() & theirs.keys() if ours[path] != theirs[path]}
    # Launchers are written by each in its own way; the script that a wheel brings differs in its first line alone.
    assert {path.partition("/")[0] for path in different} == {"bin"}
    ours_script, theirs_script = ours["bin/jp.py"].partition(b"\n"), theirs["bin/jp.py"].partition(b"\n")
    assert ours_script[2] == theirs_script[2]
    assert ours_script[0] == b"#!/opt/venv/bin/python"


def test_programs_and_native_code_are_for_the_image(built: Built) -> None:
    for architecture, machine in (("amd64", 62), ("arm64", 183)):
        libraries = [raw for path, raw in built.files[architecture].items() if path.endswith(".so")]
        assert len(libraries) > 20
        assert {int.from_bytes(raw[18:20], "little") for raw in libraries} == {machine}
        assert {"bin/gunicorn", "bin/jp.py", "bin/f2py"} <= built.executable[architecture]


def test_nothing_is_in_doubt_with_the_libraries_that_are_needed(built: Built) -> None:
    assert "is not in the image" not in built.warnings


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Iterator[Client]:
    with run_docker(*OFFLINE) if request.param == "docker" else run_podman() as client:
        yield client


def test_the_image_runs_its_wheels_and_programs(built: Built, engine: Client) -> None:
    name = engine("load", "-q", "-i", built.archive).strip().rpartition(": ")[2].split()[-1]
    run = ("run", "--rm", "--network", "none", "--read-only")
    count = len(built.versions)
    assert engine(*run, name, "-c", INSIDE).splitlines() == [f"/opt/venv 10 b'abc' {count} []"]
    assert "gunicorn (version" in engine(*run, "--entrypoint", "/opt/venv/bin/gunicorn", name, "--version")
    assert "usage: jp.py" in engine(*run, "--entrypoint", "/opt/venv/bin/jp.py", name, "--help")
