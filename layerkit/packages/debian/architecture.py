"""Architectures: what Debian calls the platforms of images.

Source: Debian Policy, 11.1; dpkg-architecture(1); https://wiki.debian.org/Multiarch/Tuples.
"""

from typing import Final

from layerkit.oci.platform import Platform
from layerkit.packages.errors import PackageError

_NAMES: Final = {
    "amd64": "amd64",
    "386": "i386",
    "arm64": "arm64",
    "ppc64le": "ppc64el",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "mips64le": "mips64el",
    "loong64": "loong64",
}
_ARM: Final = {"v7": "armhf", "v6": "armel", "v5": "armel"}

TRIPLETS: Final = {
    "amd64": "x86_64-linux-gnu",
    "arm64": "aarch64-linux-gnu",
    "armhf": "arm-linux-gnueabihf",
    "armel": "arm-linux-gnueabi",
    "i386": "i386-linux-gnu",
    "loong64": "loongarch64-linux-gnu",
    "mips64el": "mips64el-linux-gnuabi64",
    "ppc64el": "powerpc64le-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
    "s390x": "s390x-linux-gnu",
}
"""The folders of libraries, by Debian's names."""


def debian_architecture(platform: Platform) -> str:
    """Raises PackageError for a platform that Debian has no packages for."""
    found = platform.normalized()
    name = _ARM.get(found.variant or "v7") if found.architecture == "arm" else _NAMES.get(found.architecture)
    if found.os != "linux" or name is None:
        raise PackageError(f"Debian has no packages for {platform}")
    return name
