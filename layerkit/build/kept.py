"""Kept: values that were dear to find, remembered by the digest of all that they depend on.

A folder of the user's cache: a file for each, written beside and renamed, of a SHA-256 and the value compressed. One
that is damaged or of another form is none. Where the folder cannot be written nothing is remembered, and nothing fails.
Blocking.
"""

import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import zstandard

from layerkit.oci.digest import Digest

T = TypeVar("T")

VERSION: Final = 1
"""Of all that is kept here: who changes what a value means counts it up."""
MOST_BYTES: Final = 256 * 2**20
"""Of all files together."""
_MOST_VALUE: Final = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """The values in `folder`, of at most `most_bytes`: those not used for longest go first. Without `is_trusted`
    nothing is found in it, and all is remembered anew."""

    folder: Path
    is_trusted: bool = True
    most_bytes: int = MOST_BYTES

    def find(self, key: str, kind: type[T]) -> T | None:
        if not self.is_trusted:
            return None
        path = self._path(key)
        try:
            raw = path.read_bytes()
        except OSError:
            return None
        digest, payload = raw[:32], raw[32:]
        if hashlib.sha256(payload).digest() != digest:
            return None
        try:
            content = zstandard.ZstdDecompressor().decompress(payload, max_output_size=_MOST_VALUE)
            value = msgspec.msgpack.decode(content, type=kind, dec_hook=_construct)
        except (msgspec.DecodeError, zstandard.ZstdError):
            return None
        with suppress(OSError):
            os.utime(path)
        return value

    def remember(self, key: str, value: object) -> None:
        payload = zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(value, enc_hook=_plain))
        path = self._path(key)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(hashlib.sha256(payload).digest() + payload)
                temporary.rename(path)
            finally:
                temporary.unlink(missing_ok=True)
            self._forget_oldest()

    def _path(self, key: str) -> Path:
        return self.folder / f"packages-{VERSION}" / key

    def _forget_oldest(self) -> None:
        files: list[tuple[int, int, Path]] = []
        for path in self._path("").iterdir():
            # Another build may have forgotten it in the meantime.
            with suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        total = 0
        for _, size, path in sorted(files, reverse=True):
            total += size
            if total > self.most_bytes:
                path.unlink(missing_ok=True)


def _plain(value: Any) -> str:
    if not isinstance(value, Digest):
        raise TypeError(type(value).__name__)
    return str(value)


def _construct(kind: type, value: Any) -> Any:
    if kind is Digest:
        return Digest(value)
    raise TypeError(kind)
