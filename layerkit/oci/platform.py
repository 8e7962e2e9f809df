"""Platforms: what an image runs on.

Source: image-spec, image-index.md, "platform"; variants are normalised as containerd's platforms package does.
"""

import re
from typing import Final

import msgspec

from layerkit.oci.digest import shorten

_ARCHITECTURES: Final = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "powerpc64le": ("ppc64le", ""),
}
_OTHER_SPELLINGS: Final = {"5": "v5", "6": "v6", "7": "v7", "8": "v8"}
_LOWEST: Final = {"amd64": 1, "arm": 5, "arm64": 8}
_LEVEL: Final = re.compile(r"v([0-9])\Z")
_OS: Final = re.compile(r"[A-Za-z0-9_-]+\Z")
_PART: Final = re.compile(r"[A-Za-z0-9_.-]+\Z")


class Platform(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Operating system, architecture and variant: `linux/amd64`, `linux/arm/v7`."""

    architecture: str
    os: str
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: tuple[str, ...] = msgspec.field(default=(), name="os.features")
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def normalized(self) -> "Platform":
        """One spelling for one thing: `aarch64` and `arm64/v8` are `arm64`, `arm` is `arm/v7`, `macos` is `darwin`."""
        os, variant = self.os.lower(), self.variant.lower()
        architecture, implied = _ARCHITECTURES.get(self.architecture.lower(), (self.architecture.lower(), ""))
        variant = implied or variant
        if architecture in {"arm", "arm64"}:
            variant = _OTHER_SPELLINGS.get(variant, variant)
        if architecture == "arm" and not variant:
            variant = "v7"
        elif architecture == "386" or (architecture, variant) in {("arm64", "v8"), ("amd64", "v1")}:
            variant = ""
        os = "darwin" if os == "macos" else os
        return msgspec.structs.replace(self, os=os, architecture=architecture, variant=variant)

    def candidates(self) -> "tuple[Platform, ...]":
        """What runs on this platform, the best first: the exact variant, then the lower ones."""
        exact = self.normalized()
        level = _LEVEL.match(exact.variant)
        if level is None or exact.architecture not in _LOWEST:
            return (exact,)
        levels = range(int(level[1]) - 1, _LOWEST[exact.architecture] - 1, -1)
        return (exact, *(msgspec.structs.replace(exact, variant=f"v{n}").normalized() for n in levels))

    def is_same_as(self, other: "Platform") -> bool:
        """Whether both name one operating system, architecture and variant."""
        return str(self.normalized()) == str(other.normalized())


def parse_platform(text: str) -> Platform:
    """`os/architecture[/variant]`, normalised. Raises ValueError with the shape that is expected."""
    parts = text.split("/")
    if len(parts) not in {2, 3} or not _OS.match(parts[0]) or not all(_PART.match(part) for part in parts[1:]):
        raise ValueError(f"invalid platform {shorten(text)}: expected os/architecture[/variant], like linux/amd64")
    variant = parts[2] if len(parts) == 3 else ""
    return Platform(os=parts[0], architecture=parts[1], variant=variant).normalized()
