"""RECORD: which files a wheel has, and their hashes. Pure.

Source: PyPA, "Recording installed projects" and "Binary distribution format".
"""

import base64
import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from layerkit.oci.digest import shorten
from layerkit.packages.errors import PackageError

_STRONG: Final = frozenset({"sha256", "sha384", "sha512"})
"""What the hashes of files may be taken with: the format forbids md5 and sha1, and hashlib has no other at hand."""
_HEX: Final = re.compile(r"[0-9a-f]+\Z")
_BASE64: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


class Hash(NamedTuple):
    """`value` is in base64 of the URL-safe alphabet, without padding, as RECORD has it."""

    algorithm: str
    value: str

    @property
    def digest(self) -> bytes:
        return base64.urlsafe_b64decode(self.value + "=" * (-len(self.value) % 4))

    @classmethod
    def of(cls, digest: bytes, algorithm: str = "sha256") -> "Hash":
        return cls(algorithm, base64.urlsafe_b64encode(digest).rstrip(b"=").decode())


class Row(NamedTuple):
    """One file: where it is, from the folder above `.dist-info`; None stands for what the row does not say."""

    path: str
    hash: Hash | None = None
    size: int | None = None


def parse_record(text: str) -> Mapping[str, Row]:
    """The rows by path. Raises PackageError for what is no RECORD, says a thing twice or hashes weakly."""
    rows: dict[str, Row] = {}
    try:
        for fields in csv.reader(io.StringIO(text, newline="")):
            if not fields:
                continue
            row = _parse_row(fields)
            if rows.setdefault(row.path, row) != row:
                raise PackageError(f"its RECORD has two rows for {shorten(row.path)}")
    except csv.Error as error:
        raise PackageError(f"its RECORD cannot be read: {error}") from error
    return rows


def encode_record(rows: Iterable[Row]) -> bytes:
    """The rows in the order of their paths."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    for row in sorted(rows):
        writer.writerow(
            (
                row.path,
                "" if row.hash is None else f"{row.hash.algorithm}={row.hash.value}",
                "" if row.size is None else row.size,
            )
        )
    return out.getvalue().encode()


def _parse_row(fields: list[str]) -> Row:
    path, said, size = (*fields, "", "")[:3]
    if len(fields) > 3 or not path or (size and not (size.isascii() and size.isdigit() and len(size) < 20)):
        raise PackageError(f"its RECORD has a row that is none: {shorten(','.join(fields))}")
    # Some tools on Windows wrote their own separators.
    path = path.replace("\\", "/")
    if not said:
        return Row(path, None, int(size) if size else None)
    algorithm, _, value = said.partition("=")
    algorithm = algorithm.lower()
    value = value.rstrip("=")
    if algorithm in _STRONG and len(value) == 2 * hashlib.new(algorithm).digest_size and _HEX.match(value):
        # Of tools that do not know the format, whose wheels are in use all the same.
        value = Hash.of(bytes.fromhex(value), algorithm).value
    if algorithm not in _STRONG:
        raise PackageError(f"its RECORD hashes {shorten(path)} with {shorten(algorithm)}, which proves nothing")
    if not _BASE64.match(value) or len(value) % 4 == 1:
        raise PackageError(f"its RECORD has a hash for {shorten(path)} that is none: {shorten(value)}")
    return Row(path, Hash(algorithm, value), int(size) if size else None)
