"""Targets: tags and markers of an image, compared with those of an interpreter that runs here."""

import platform
import sys

import pytest
from packaging.markers import Marker, default_environment
from packaging.tags import Tag, parse_tag, sys_tags

from layerkit.oci.platform import parse_platform
from layerkit.packages.errors import PackageError
from layerkit.packages.python.target import Family, Libc, Target, machine_of
from tests.wheels import BOOKWORM


def has(target: Target, tag: str) -> bool:
    return bool(parse_tag(tag) & target.ranks.keys())


def test_tags_are_those_of_an_interpreter_that_runs_on_such_a_machine() -> None:
    name, number = platform.libc_ver()
    assert name == "glibc"
    major, minor = (int(part) for part in number.split(".")[:2])
    here = Target(
        full_version=platform.python_version(), machine=platform.machine(), libc=Libc(Family.GLIBC, major, minor)
    )
    assert set(here.tags) == set(sys_tags())
    assert here.tags[0] == next(iter(sys_tags()))
    assert here.tags[-1] == list(sys_tags())[-1]


@pytest.mark.parametrize(
    ("tag", "runs"),
    [
        ("cp311-cp311-manylinux_2_36_x86_64", True),
        ("cp311-cp311-manylinux_2_37_x86_64", False),
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", True),
        ("cp311-cp311-manylinux1_x86_64", True),
        ("cp311-cp311-manylinux2014_aarch64", False),
        ("cp311-cp311-musllinux_1_2_x86_64", False),
        ("cp39-abi3-manylinux2014_x86_64", True),
        ("cp312-abi3-manylinux2014_x86_64", False),
        ("cp312-cp312-manylinux2014_x86_64", False),
        ("py3-none-any", True),
        ("py2.py3-none-any", True),
        ("py2-none-any", False),
        ("py3-none-manylinux2014_x86_64", True),
        ("cp311-cp311-linux_x86_64", True),
        ("cp311-cp311-win_amd64", False),
        ("pp311-pypy311_pp73-manylinux2014_x86_64", False),
    ],
)
def test_a_wheel_runs_where_its_tags_say(tag: str, *, runs: bool) -> None:
    assert has(BOOKWORM, tag) is runs


def test_musl_takes_wheels_for_musl_alone() -> None:
    alpine = Target(full_version="3.12.1", machine="aarch64", libc=Libc(Family.MUSL, 1, 2))
    assert has(alpine, "cp312-cp312-musllinux_1_1_aarch64")
    assert not has(alpine, "cp312-cp312-manylinux2014_aarch64")
    assert Tag("py3", "none", "any") in alpine.ranks


def test_older_names_are_known_only_where_there_are_such_machines() -> None:
    arm = Target(full_version="3.11.2", machine="aarch64", libc=Libc(Family.GLIBC, 2, 36))
    assert has(arm, "cp311-cp311-manylinux2014_aarch64")
    assert not has(arm, "cp311-cp311-manylinux1_aarch64")


def test_markers_are_answered_for_the_image() -> None:
    environment = BOOKWORM.environment
    assert environment.keys() == default_environment().keys()
    assert Marker("python_version < '3.12' and platform_machine == 'x86_64'").evaluate(environment)
    assert not Marker("sys_platform == 'win32' or python_full_version >= '3.11.3'").evaluate(environment)


@pytest.mark.parametrize(
    ("text", "machine"),
    [
        ("linux/amd64", "x86_64"),
        ("linux/arm64", "aarch64"),
        ("linux/arm/v7", "armv7l"),
        ("linux/386", "i686"),
        ("linux/ppc64le", "ppc64le"),
        ("linux/s390x", "s390x"),
        ("linux/riscv64", "riscv64"),
    ],
)
def test_machines_have_the_names_that_linux_gives_them(text: str, machine: str) -> None:
    assert machine_of(parse_platform(text)) == machine


@pytest.mark.parametrize("text", ["windows/amd64", "linux/mips64le", "linux/arm/v5"])
def test_platforms_without_wheels_are_told(text: str) -> None:
    with pytest.raises(PackageError, match=f"no wheels for {text}"):
        machine_of(parse_platform(text))


def test_the_interpreter_is_named_as_its_folder_is() -> None:
    assert (BOOKWORM.python, BOOKWORM.version) == ("python3.11", (3, 11))
    assert str(BOOKWORM) == "Python 3.11.2 on x86_64 with glibc 2.36"
    assert sys.version_info >= (3, 11)
