"""What `apt:` may name: packages, suites, components, mirrors and dates.

Sources: Debian Policy, 5.6.7 "Package" and 5.6.12 "Version"; sources.list(5).
"""

import re
from typing import Final

from layerkit.document.problem import InvalidValue
from layerkit.document.scalars import parse_text
from layerkit.oci.digest import shorten
from layerkit.spec.web import parse_url

_PACKAGE: Final = re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?:=(?P<version>[A-Za-z0-9.+~:-]+))?")
_SUITE: Final = re.compile(r"[A-Za-z0-9._+~-]+(?:/[A-Za-z0-9._+~-]+)*/?")
_COMPONENT: Final = re.compile(r"[A-Za-z0-9._+-]+(?:/[A-Za-z0-9._+-]+)*")
_SNAPSHOT: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")


def parse_package(value: object) -> str:
    """`NAME`, or `NAME=VERSION`."""
    text = parse_text(value)
    if _PACKAGE.fullmatch(text):
        return text
    name, _, rest = text.partition(":")
    if rest and _PACKAGE.fullmatch(name):
        raise InvalidValue(
            f"{shorten(text)} names an architecture: packages are those of the platform that is built",
            f"write {name}",
        )
    if _PACKAGE.fullmatch(text.lower()):
        raise InvalidValue(f"{shorten(text)} is no name of a Debian package", f"write {text.lower()}")
    if " " in text.strip():
        raise InvalidValue(f"{shorten(text)} is no name of a Debian package", "each package is an item of its own")
    raise InvalidValue(f"{shorten(text)} is no name of a Debian package", "write NAME or NAME=VERSION")


def parse_suite(value: object) -> str:
    """A suite or a codename, or the path of a repository that has neither: that ends in a `/`."""
    text = parse_text(value)
    if not _SUITE.fullmatch(text) or ".." in text.split("/"):
        raise InvalidValue(f"{shorten(text)} is no name of a suite", "write it like bookworm, or bookworm-backports")
    return text


def parse_component(value: object) -> str:
    text = parse_text(value)
    if not _COMPONENT.fullmatch(text) or ".." in text.split("/"):
        raise InvalidValue(f"{shorten(text)} is no component of a suite", "write it like main, or contrib")
    return text


def parse_mirror_url(value: object) -> str:
    """The URL above `dists/` and `pool/`, without a `/` at its end."""
    url = parse_url(value).rstrip("/")
    if "/dists/" in f"{url}/":
        above = f"{url}/".partition("/dists/")[0]
        raise InvalidValue(f"mirror {shorten(url)} names a suite too", f"write {above}, and the suite under `suite:`")
    if "?" in url:
        raise InvalidValue(f"mirror {shorten(url)} has a query, below which nothing can be", "remove it")
    return url


def parse_keyring(value: object) -> str:
    """A path, below the folder of the spec or absolute."""
    text = parse_text(value)
    if not text:
        raise InvalidValue("the keyring is empty", "write the path of a file of OpenPGP certificates")
    if ".." in text.split("/"):
        raise InvalidValue(f"keyring {shorten(text)} leaves the folder of this file", "move the file, or the spec")
    return text


def parse_snapshot(value: object) -> str:
    """A moment of the dated archive."""
    text = parse_text(value)
    if not _SNAPSHOT.fullmatch(text):
        day = re.fullmatch(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})", text)
        hint = f"write {''.join(day.groups())}T000000Z" if day else "write it like 20261101T000000Z"
        raise InvalidValue(f"expected a moment of the dated archive, found {shorten(text)}", hint)
    return text
