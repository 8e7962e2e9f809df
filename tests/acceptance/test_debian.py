"""Images of Debian's packages, of today's mirror: built without running anything, run by docker and podman.

The programs inside have the last word: dpkg on its database and files, apt on what depends upon what, ldconfig on its
cache, openssl and python on the certificates. What stands on a base of a registry is installed by that base's headers.
"""

import json
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from layerkit.packages.debian.ldcache import parse_library
from tests.debs import make_deb
from tests.engines import OFFLINE, Client, run_docker, run_podman
from tests.programs import PROJECT, LayerkitProcess, run_registry

pytestmark = [pytest.mark.engine, pytest.mark.mirror, pytest.mark.timeout(400)]

SLIM: Final = PROJECT / "specs/debian-slim/layerkit.yaml"
PYTHON: Final = """\
name: python
from: {base}
layers:
  - apt: [python3, openssl, libopenblas0-pthread]
"""
ALONE: Final = """\
name: alone
from: scratch
layers:
  - apt: {packages: [base-files, netbase, ca-certificates, python3-minimal, libpython3-stdlib], suite: bookworm}
config: {entrypoint: [/usr/bin/python3]}
"""

INSIDE: Final = r"""
set -eu
export PATH=/usr/sbin:/usr/bin LC_ALL=C
dpkg --audit
dpkg --verify
apt-get check -qq
echo "installed $(apt list --installed 2>/dev/null | grep -c /) of $(dpkg-query -W | wc -l)"
ldconfig -p | tail -n +2 | grep '=>' >/tmp/before
ldconfig
ldconfig -p | tail -n +2 | grep '=>' >/tmp/after
cmp /tmp/before /tmp/after && echo "libraries $(wc -l </tmp/before)"
dpkg -i /mine.deb >/dev/null
echo "own $(dpkg -L mine | tail -1) $(mine)"
dpkg -r mine >/dev/null
su -s /bin/sh www-data -c 'echo "user $(id -un)"'
dpkg -S /bin/ls
"""
IN_PYTHON: Final = r"""
set -eu
python3 -c 'import ssl, sqlite3, lzma, ctypes; print("python", len(ssl.create_default_context().get_ca_certs()) > 100)'
python3 -c 'import ctypes; ctypes.CDLL("libblas.so.3"); print("blas")'
cp /usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt /tmp/one.pem
openssl verify /tmp/one.pem
openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt /tmp/one.pem
"""


@dataclass
class Built:
    """`alone`, `slim` and `python` are archives for docker, `arm` the root file system of slim for arm64."""

    alone: Path
    slim: Path
    python: Path
    arm: Path
    warnings: str
    folder: Path
    layerkit: LayerkitProcess


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("debian")
    layerkit = LayerkitProcess(folder / "data")
    with run_registry(folder / "registry") as registry:
        name = f"{registry.address}/debian-slim:1"
        places = ("-o", f"docker-archive:{folder}/slim.tar", "-o", f"oci:{folder}/slim")
        slim = layerkit("build", "-f", SLIM, "-t", name, "--push", *places)
        # Another machine: what it knows of the base is what the registry has.
        elsewhere = LayerkitProcess(folder / "elsewhere")
        (folder / "python.yaml").write_text(PYTHON.format(base=name))
        elsewhere("build", "-f", folder / "python.yaml", "-o", f"docker-archive:{folder}/python.tar")
    (folder / "alone.yaml").write_text(ALONE)
    layerkit("build", "-f", folder / "alone.yaml", "-o", f"docker-archive:{folder}/alone.tar")
    mine = make_deb("mine", {"usr/bin/mine": b"#!/bin/sh\necho runs\n"}, architecture="all")
    (folder / "mine.deb").write_bytes(mine)
    return Built(
        alone=folder / "alone.tar",
        slim=folder / "slim.tar",
        python=folder / "python.tar",
        arm=folder / "slim",
        warnings=slim.stderr,
        folder=folder,
        layerkit=layerkit,
    )


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Iterator[Client]:
    with run_docker(*OFFLINE) if request.param == "docker" else run_podman() as client:
        yield client


def run(engine: Client, archive: Path, *arguments: str, mounted: Path | None = None) -> list[str]:
    name = engine("load", "-q", "-i", archive).strip().rpartition(": ")[2].split()[-1]
    mounts = ("-v", f"{mounted}:/mine.deb:ro") if mounted else ()
    return engine("run", "--rm", "--network", "none", *mounts, name, *arguments).splitlines()


def test_the_base_image_is_one_that_dpkg_and_apt_work_in(built: Built, engine: Client) -> None:
    told = run(engine, built.slim, "sh", "-c", INSIDE, mounted=built.folder / "mine.deb")
    counts = told[0].split()
    assert counts[1] == counts[3]
    assert int(counts[1]) > 70
    assert [line.split()[0] for line in told[1:]] == ["libraries", "own", "user", "coreutils:"]
    assert told[2] == "own /usr/bin/mine runs"
    assert told[3] == "user www-data"


def test_packages_are_installed_on_the_base_of_a_registry(built: Built, engine: Client) -> None:
    told = run(engine, built.python, "sh", "-c", INSIDE + IN_PYTHON, mounted=built.folder / "mine.deb")
    assert told[-4:] == ["python True", "blas", "/tmp/one.pem: OK", "/tmp/one.pem: OK"]


def test_an_image_of_a_few_packages_runs_without_a_shell(built: Built, engine: Client) -> None:
    script = "import ssl, sqlite3, os; print(len(ssl.create_default_context().get_ca_certs()) > 100, os.listdir('/'))"
    (line,) = run(engine, built.alone, "-c", script)
    assert line.startswith("True")


def test_nothing_of_the_base_image_is_in_doubt(built: Built) -> None:
    assert "warning" not in built.warnings


MACHINE_ARM64: Final = 183


def test_an_image_for_another_architecture_is_complete(built: Built) -> None:
    """Every program and library is of that architecture, and every library that one needs is there."""
    index = json.loads((built.arm / "index.json").read_text())
    document = read(built.arm, index["manifests"][0]["digest"])
    (manifest,) = [each for each in document["manifests"] if each["platform"]["architecture"] == "arm64"]
    layer = read(built.arm, manifest["digest"])["layers"][0]
    names: set[str] = set()
    machines: dict[str, int] = {}
    needed: dict[str, set[str]] = {}
    with tarfile.open(built.arm / "blobs" / layer["digest"].replace(":", "/")) as tar:
        for member in tar:
            names.add(member.name.rpartition("/")[2])
            if member.isfile() and (file := tar.extractfile(member)) is not None:
                content = file.read()
                if content[:4] == b"\x7fELF":
                    machines[member.name] = struct.unpack_from("<H", content, 18)[0]
                    library = parse_library(content)
                    for name in library.needed if library else ():
                        needed.setdefault(name, set()).add(member.name)
    assert len(machines) > 300
    assert {path: machine for path, machine in machines.items() if machine != MACHINE_ARM64} == {}
    assert {"ld-linux-aarch64.so.1", "libc.so.6", "libapt-pkg.so.6.0", "libcrypto.so.3"} <= needed.keys()
    assert {name: paths for name, paths in needed.items() if name not in names} == {}


def read(layout: Path, digest: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((layout / "blobs" / digest.replace(":", "/")).read_text())
    return document


def test_the_same_lock_gives_the_same_image_in_other_conditions(built: Built, tmp_path: Path) -> None:
    """ "Same lock, same digest, on two machines' worth of conditions." """
    spec = tmp_path / "debian-slim/layerkit.yaml"
    spec.parent.mkdir()
    spec.write_bytes(SLIM.read_bytes())
    built.layerkit("lock", "-f", spec, "--platform", "linux/amd64")
    first = built.layerkit("build", "-f", spec, "--platform", "linux/amd64", "--locked").stdout
    other = LayerkitProcess(tmp_path / "other", {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"})
    assert other("build", "-f", spec, "--platform", "linux/amd64", "--locked").stdout == first
