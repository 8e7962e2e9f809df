"""Targets: what wheels are to run on, as markers ask for it and as tags say it. Nothing of this machine is asked. Pure.

Source: PyPA, "Platform compatibility tags" (manylinux: PEP 600, musllinux: PEP 656) and "Dependency specifiers".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from packaging.tags import Tag, compatible_tags, cpython_tags

from layerkit.oci.platform import Platform
from layerkit.packages.errors import PackageError

_MACHINES: Final = {
    ("amd64", ""): "x86_64",
    ("arm64", ""): "aarch64",
    ("arm64", "v8"): "aarch64",
    ("arm", ""): "armv7l",
    ("arm", "v7"): "armv7l",
    ("386", ""): "i686",
    ("ppc64le", ""): "ppc64le",
    ("s390x", ""): "s390x",
    ("riscv64", ""): "riscv64",
    ("loong64", ""): "loongarch64",
}
"""What Linux calls the machine, by the image-spec's architecture and variant."""
_OLDEST_GLIBC: Final = 17
_OLDEST_GLIBC_OF: Final = {"x86_64": 5, "i686": 5}
_LEGACY: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""The names that manylinux had before it was called after the version of glibc."""


class Family(StrEnum):
    GLIBC = "glibc"
    MUSL = "musl"


@dataclass(frozen=True, slots=True)
class Libc:
    """The C library that is in the image."""

    family: Family
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.family} {self.major}.{self.minor}"


@dataclass(frozen=True, kw_only=True)
class Target:
    """`full_version` is the interpreter's, like `3.11.2`; `machine` is what Linux calls it."""

    full_version: str
    machine: str
    libc: Libc

    def __str__(self) -> str:
        return f"Python {self.full_version} on {self.machine} with {self.libc}"

    @cached_property
    def version(self) -> tuple[int, int]:
        major, minor, *_ = self.full_version.split(".")
        return int(major), int(minor)

    @property
    def python(self) -> str:
        """The interpreter's name, which is that of its folder of libraries too: `python3.11`."""
        return "python{}.{}".format(*self.version)

    @cached_property
    def tags(self) -> tuple[Tag, ...]:
        """Those of the wheels that run here, the best first."""
        platforms = list(self._platforms())
        interpreter = "cp{}{}".format(*self.version)
        return (
            *cpython_tags(self.version, [interpreter], platforms),
            *compatible_tags(self.version, interpreter, platforms),
        )

    @cached_property
    def ranks(self) -> Mapping[Tag, int]:
        return {tag: rank for rank, tag in reversed(list(enumerate(self.tags)))}

    @property
    def environment(self) -> dict[str, str]:
        """What markers ask for. That of the kernel is not known before the image runs."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.full_version,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.full_version,
            "python_version": "{}.{}".format(*self.version),
            "sys_platform": "linux",
        }

    def _platforms(self) -> Iterator[str]:
        libc = self.libc
        yield f"linux_{self.machine}"
        if libc.family is Family.MUSL:
            for minor in range(libc.minor, -1, -1):
                yield f"musllinux_{libc.major}_{minor}_{self.machine}"
        else:
            for minor in range(libc.minor, _OLDEST_GLIBC_OF.get(self.machine, _OLDEST_GLIBC) - 1, -1):
                yield f"manylinux_{libc.major}_{minor}_{self.machine}"
                if minor in _LEGACY:
                    yield f"{_LEGACY[minor]}_{self.machine}"


def machine_of(platform: Platform) -> str:
    """Raises PackageError for a platform that no wheel is for."""
    machine = _MACHINES.get((platform.architecture, platform.variant or ""))
    if platform.os != "linux" or machine is None:
        raise PackageError(f"there are no wheels for {platform}: leave `python:` out for it")
    return machine
