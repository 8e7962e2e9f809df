"""What stands in `specs/` is built, and is what it says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engines import run_podman
from tests.images import file, folder, make_tar, symlink
from tests.programs import PROJECT, LayerkitProcess, RegistryProcess


def copy_spec(name: str, into: Path) -> Path:
    return Path(shutil.copytree(PROJECT / "specs" / name, into / name)) / "layerkit.yaml"


def files_of(layerkit: LayerkitProcess, name: str, *options: str) -> dict[str, dict[str, Any]]:
    shown = json.loads(layerkit("ls", "-R", "--format", "json", name, *options).stdout)
    return {found["path"]: found for found in shown["files"]}


def build_static(layerkit: LayerkitProcess, tmp_path: Path, *options: str) -> str:
    spec = copy_spec("static", tmp_path)
    subprocess.run([sys.executable, spec.parent / "make"], check=True)
    return layerkit("build", "-f", spec, *options).stdout.strip()


class TestStatic:
    def test_it_has_a_program_for_each_platform(self, layerkit: LayerkitProcess, tmp_path: Path) -> None:
        build_static(layerkit, tmp_path)
        index = json.loads(layerkit("inspect", "--format", "json", "agent").stdout)["manifest"]
        assert [child["platform"] for child in index["manifests"]] == [
            {"architecture": "amd64", "os": "linux"},
            {"architecture": "arm64", "os": "linux"},
            {"architecture": "arm", "os": "linux", "variant": "v7"},
        ]
        for platform, machine in (("linux/amd64", 62), ("linux/arm64", 183), ("linux/arm/v7", 40)):
            assert list(files_of(layerkit, "agent", "--platform", platform)) == ["/agent"]
            program = tmp_path / f"static/dist/agent-{platform.replace('/', '-', 1).replace('/v', 'v')}"
            assert program.read_bytes()[18] == machine

    @pytest.mark.engine
    def test_podman_runs_it(self, layerkit: LayerkitProcess, registry_process: RegistryProcess, tmp_path: Path) -> None:
        name = f"{registry_process.address}/agent:1"
        build_static(layerkit, tmp_path, "-t", name, "--push")
        with run_podman() as podman:
            assert podman("run", "--rm", "--tls-verify=false", name) == "hello from a static image\n"


def test_several_share_and_copy(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    layerkit("build", "-f", copy_spec("several", tmp_path), "--var", "VERSION=7")
    site = files_of(layerkit, "site", "--platform", "linux/arm64")
    content = files_of(layerkit, "content", "--platform", "linux/arm64")
    assert {path for path, found in site.items() if found["type"] == "file"} == {
        "/srv/site/index.html",
        "/srv/site/docs/index.html",
        "/srv/site/style.css",
        "/srv/site/RELEASE",
    }
    assert site["/srv/site/style.css"]["layer"] == content["/srv/site/style.css"]["layer"]
    archive = files_of(layerkit, "archive", "--platform", "linux/amd64")
    assert {path for path, found in archive.items() if found["type"] == "file"} == {
        "/pages/index.html",
        "/pages/docs/index.html",
    }


ROOTFS = make_tar(
    folder("usr"),
    folder("usr/bin"),
    symlink("bin", "usr/bin"),
    file("usr/bin/sh", b"sh", mode=0o755),
    folder("usr/share/doc/sh"),
    file("usr/share/doc/sh/copyright", b"free"),
    folder("usr/share/man/man1"),
    folder("var/lib"),
    folder("etc"),
    file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", mode=0o644),
    file("etc/group", b"root:x:0:\n", mode=0o644),
)


def test_a_base_gets_a_user_modes_a_capability_and_loses_what_nobody_needs(
    layerkit: LayerkitProcess, tmp_path: Path
) -> None:
    spec = copy_spec("base", tmp_path)
    (spec.parent / "rootfs.tar").write_bytes(ROOTFS)
    layerkit("build", "-f", spec, "--var", "BASE=tar:rootfs.tar")
    found = files_of(layerkit, "service")

    def attributes(path: str) -> tuple[str, int, int]:
        return found[path]["mode"], found[path]["uid"], found[path]["gid"]

    assert attributes("/srv/service/bin/service") == ("0755", 10001, 10001)
    assert attributes("/srv/service/bin/listen") == ("0750", 10001, 10001)
    assert attributes("/etc/service.conf") == ("0640", 0, 10001)
    assert attributes("/var/lib/service") == ("0700", 10001, 10001)
    assert found["/srv/service/bin/listen"]["xattrs"].keys() == {"security.capability"}
    assert "xattrs" not in found["/srv/service/bin/service"] or not found["/srv/service/bin/service"]["xattrs"]
    assert "/usr/share/doc/sh" not in found
    assert "/usr/bin/sh" in found
    config = json.loads(layerkit("inspect", "--format", "json", "service").stdout)["config"]["config"]
    assert config["User"] == "10001:10001"
    assert config["ExposedPorts"] == {"80/tcp": {}}
