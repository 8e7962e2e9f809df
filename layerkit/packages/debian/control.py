"""Stanzas: the text in which Debian describes packages, releases and sources.

Source: deb822(5); Debian Policy, 5.1 "Syntax of control files".
"""

from collections.abc import Iterator, Mapping
from typing import Final

from layerkit.oci.digest import shorten
from layerkit.packages.errors import PackageError

Stanza = Mapping[str, str]
"""Fields by their names in lower case. A value's further lines are kept with their line breaks, without indentation."""

_MAX_STANZA: Final = 4 * 2**20


def parse_stanza(text: str, *, origin: str) -> Stanza:
    """One stanza. Raises PackageError, naming `origin`, for what is none."""
    fields: dict[str, str] = {}
    name = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        if line[0] in " \t":
            if not name:
                raise PackageError(f"{origin}, line {number}: a value goes on before any field: {shorten(line)}")
            fields[name] += "\n" + line.strip()
            continue
        head, colon, value = line.partition(":")
        name = head.strip().lower()
        if not colon or not name:
            raise PackageError(f"{origin}, line {number}: expected `Field: value`, found {shorten(line)}")
        if name in fields:
            raise PackageError(f"{origin}, line {number}: the field {shorten(head)} is there twice")
        fields[name] = value.strip()
    return fields


def iter_stanzas(raw: bytes, *, origin: str) -> Iterator[bytes]:
    """The stanzas of a file as they stand there. Raises PackageError for one that is unreasonably long."""
    for stanza in raw.replace(b"\r\n", b"\n").split(b"\n\n"):
        if len(stanza) > _MAX_STANZA:
            raise PackageError(f"{origin}: a stanza has {len(stanza)} bytes, {_MAX_STANZA} are allowed")
        if stanza.strip():
            yield stanza


def decode(raw: bytes) -> str:
    """As text. Old packages have maintainers' names in Latin-1; nothing that is read here has."""
    return raw.decode(errors="replace")
