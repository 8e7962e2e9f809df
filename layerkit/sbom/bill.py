"""A bill of materials: the packages and files of an image, as values. Pure."""

import re
from enum import StrEnum
from typing import Final

import msgspec

from layerkit import __version__
from layerkit.oci.digest import Digest
from layerkit.oci.platform import Platform

TOOL: Final = f"layerkit-{__version__}"


class BillFormat(StrEnum):
    SPDX = "spdx"
    CYCLONEDX = "cyclonedx"


MEDIA_TYPES: Final = {
    BillFormat.SPDX: "application/spdx+json",
    BillFormat.CYCLONEDX: "application/vnd.cyclonedx+json",
}


class PackageKind(StrEnum):
    """`deb`, `apk` and `python` are of the image's own lists; `file` came from the web, `image` is the base."""

    DEB = "deb"
    APK = "apk"
    PYTHON = "python"
    FILE = "file"
    IMAGE = "image"


_ADDRESS: Final = re.compile(r"https?://(?:[A-Za-z0-9._~:/?#@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")


def web_address(text: str) -> str:
    """An address of the web as packages state it, "" for what is none."""
    text = text.strip()
    return text if _ADDRESS.fullmatch(text) else ""


class BilledFile(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A file of the image's own layers. `path` is absolute; the digests are of its content, in hexadecimal."""

    path: str
    sha1: str
    sha256: str


class BilledPackage(msgspec.Struct, frozen=True, kw_only=True):
    """`purl` is a package URL, and names each package once. `license` is an SPDX expression, "" where none is clear;
    `sha256` is of the archive that the lock names, None for what was in the image before; `files` are those of the
    image's own layers."""

    kind: PackageKind
    name: str
    version: str
    purl: str
    license: str = ""
    supplier: str = ""
    url: str = ""
    sha256: Digest | None = None
    files: tuple[BilledFile, ...] = ()


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What is in an image for one platform, each part sorted. `digest` is of its manifest, `created` as its config has
    it, in RFC 3339; `system` is the distribution as os-release names it: id, version and what people call it.

    `files` are those of the image's own layers that no package has.
    """

    name: str
    digest: Digest
    platform: Platform
    created: str
    system: tuple[str, str, str] | None
    packages: tuple[BilledPackage, ...]
    files: tuple[BilledFile, ...]
