"""uv.lock is read as uv reads it: of a lock that uv makes, the same wheels as `uv export` names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerkit.packages.python.pylock import choose_of_pylock
from layerkit.packages.python.target import Family, Libc, Target
from layerkit.packages.python.uv import find_uv
from layerkit.packages.python.uvlock import choose_of_uvlock
from tests.wheels import BOOKWORM, make_wheel

ALPINE = Target(full_version="3.13.1", machine="aarch64", libc=Libc(Family.MUSL, 1, 2))
PROJECT = """\
[project]
name = "My.App"
version = "0.1"
requires-python = ">=3.11"
dependencies = [
    "web[fast]",
    "old<2; python_version < '3.12'",
    "old>=2; python_version >= '3.12'",
    "arm; platform_machine == 'aarch64'",
]
[project.optional-dependencies]
cpu = ["torch==1.0"]
gpu = ["torch==2.0"]
more = ["extra-thing"]
all = ["my-app[more]", "other"]
[dependency-groups]
dev = ["checker", {include-group = "docs"}]
docs = ["writer"]
[tool.uv]
no-index = true
find-links = ["wheels"]
conflicts = [[{extra = "cpu"}, {extra = "gpu"}]]
"""
NEEDS = {
    ("web", "1.0"): 'lib; python_version < "4"\nProvides-Extra: fast\nRequires-Dist: speed; extra == "fast"',
    ("torch", "1.0"): "cpu-part",
    ("torch", "2.0"): "lib",
    ("other", "1.0"): "torch",
}
NAMES = ("lib", "speed", "arm", "cpu-part", "extra-thing", "checker", "writer")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that uv has locked, with all its wheels beside it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "wheels").mkdir()
    for name, version in [*NEEDS, *((name, "1.0") for name in NAMES), ("old", "1.0"), ("old", "2.0")]:
        file = name.replace("-", "_")
        needs = f"Requires-Dist: {NEEDS[name, version]}\n" if (name, version) in NEEDS else ""
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}".encode()
        make_wheel(folder / "wheels", file, version, {f"{file}-{version}.dist-info/METADATA": metadata})
    run(folder, "lock", f"--python={sys.executable}")
    return folder


def run(folder: Path, *arguments: str) -> str:
    environment = {"PATH": os.defpath, "HOME": str(folder), "UV_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [find_uv(), *arguments, "--quiet"], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.mark.parametrize("groups", [(), ("dev",)], ids=["no groups", "dev"])
@pytest.mark.parametrize(
    "extras", [(), ("cpu",), ("gpu",), ("more",), ("all",), ("all", "cpu"), ("all", "gpu", "more")], ids="-".join
)
def test_what_a_target_needs_is_what_uv_exports(
    project: Path, extras: tuple[str, ...], groups: tuple[str, ...]
) -> None:
    options = [*(f"--extra={extra}" for extra in extras), *(f"--group={group}" for group in groups)]
    asked = ("export", "--frozen", "--no-default-groups", "--no-emit-project", "--format=pylock.toml")
    exported = run(project, *asked, *options)
    lock = (project / "uv.lock").read_text()
    for target in (BOOKWORM, ALPINE):
        theirs = choose_of_pylock(exported, what="pylock.toml", folder=project, target=target)
        ours = choose_of_uvlock(lock, what="uv.lock", folder=project, target=target, extras=extras, groups=groups)
        assert [each.file for each in ours] == [each.file for each in theirs]
        assert [Path(each.url.removeprefix("file://")).name for each in ours] == [each.file for each in ours]
        assert all(Path(each.url.removeprefix("file://")).exists() for each in ours)
