"""Releases: the signed table of contents of a suite, and what it says of the lists.

Source: the Debian wiki, DebianRepository/Format ("Release" files, "by-hash"); apt-secure(8).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from layerkit.oci.digest import Digest, shorten
from layerkit.oci.errors import OCIError
from layerkit.packages.debian.control import decode, parse_stanza
from layerkit.packages.debian.universe import AUTOMATIC
from layerkit.packages.errors import PackageError

MAX_RELEASE: Final = 16 * 2**20
_SNAPSHOT: Final = re.compile(r"/[0-9]{8}T[0-9]{6}Z(?:/|\Z)")
"""In the URL of a dated archive, whose releases are meant to be old."""
_NOT_AUTOMATIC: Final = 1
_AUTOMATIC_UPGRADES: Final = 100


class Listed(NamedTuple):
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """`files` are those of the suite by their paths below `dists/SUITE/`; `priority` is what apt gives its packages."""

    suite: str
    codename: str
    architectures: tuple[str, ...]
    components: tuple[str, ...]
    valid_until: datetime | None
    by_hash: bool
    priority: int
    files: Mapping[str, Listed]

    def find_list(self, component: str, architecture: str) -> tuple[str, Listed] | None:
        """The list of packages in the form that is the smallest to download, None where the suite has none.

        A suite that is flat has the component "", and one list for all architectures.
        """
        folder = f"{component}/binary-{architecture}/" if component else ""
        for ending in (".xz", ".gz", ""):
            path = f"{folder}Packages{ending}"
            if path in self.files:
                return path, self.files[path]
        return None


def verify_release(raw: bytes, keyring: bytes, *, origin: str, now: datetime) -> Release:
    """What an `InRelease` says, once a key of the keyring (certificates, armored or not) has signed it.

    `now` decides whether it has expired. Raises PackageError, naming `origin`, which is its URL.
    """
    release = parse_release(verify_signature(raw, keyring, origin=origin), origin=origin)
    if release.valid_until is not None and release.valid_until < now and not _SNAPSHOT.search(origin):
        until = release.valid_until.strftime("%Y-%m-%d")
        raise PackageError(
            f"{origin} has expired on {until}: the mirror is not updated any more, or somebody holds updates back; "
            "choose another mirror, or a dated snapshot of the archive"
        )
    return release


def verify_signature(raw: bytes, keyring: bytes, *, origin: str) -> bytes:
    """The signed text of a clear-signed message. Raises PackageError where no key of the keyring has signed it."""
    import pysequoia  # noqa: PLC0415 - what builds no package layers has no need of it

    try:
        certificates = pysequoia.Cert.split_bytes(keyring)
    except (RuntimeError, ValueError) as error:
        raise PackageError(f"the keyring for {origin} holds no OpenPGP certificates: {_first_line(error)}") from None

    def find(ids: Sequence[str]) -> list[pysequoia.Cert]:  # noqa: ARG001 - the library looks which of them fit
        return certificates

    try:
        return bytes(pysequoia.verify(raw, find).bytes or b"")
    except (RuntimeError, ValueError) as error:
        raise PackageError(
            f"{origin} is not signed by a key of its keyring: {_first_line(error)} "
            "(is it the keyring of this archive? has somebody changed the file?)"
        ) from None


def parse_release(raw: bytes, *, origin: str) -> Release:
    """Raises PackageError."""
    fields = parse_stanza(decode(raw), origin=origin)
    files: dict[str, Listed] = {}
    for line in fields.get("sha256", "").split("\n"):
        if not line.strip():
            continue
        parts = line.split()
        try:
            digest, size, path = parts
            files[path] = Listed(Digest(f"sha256:{digest}"), int(size))
        except (ValueError, OCIError) as error:
            raise PackageError(f"{origin}: expected `SHA256 SIZE PATH`, found {shorten(line)}") from error
    if not files:
        raise PackageError(f"{origin} has no SHA256 of its lists: it is no Release file that can be trusted")
    priority = AUTOMATIC
    if fields.get("notautomatic") == "yes":
        priority = _AUTOMATIC_UPGRADES if fields.get("butautomaticupgrades") == "yes" else _NOT_AUTOMATIC
    return Release(
        suite=fields.get("suite", ""),
        codename=fields.get("codename", ""),
        architectures=tuple(fields.get("architectures", "").split()),
        components=tuple(fields.get("components", "").split()),
        valid_until=_parse_date(fields.get("valid-until", ""), origin),
        by_hash=fields.get("acquire-by-hash") == "yes",
        priority=priority,
        files=MappingProxyType(files),
    )


def _parse_date(text: str, origin: str) -> datetime | None:
    if not text:
        return None
    try:
        found = parsedate_to_datetime(text)
    except ValueError as error:
        raise PackageError(f"{origin}: Valid-Until is no date: {shorten(text)}") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _first_line(error: Exception) -> str:
    # The library's errors go on with a stack of its own.
    return (str(error).strip().split("\n") or [""])[0].rstrip(".")
