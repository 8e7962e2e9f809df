"""Kept: values that were dear to find, remembered by the digest of all that they depend on.

A file for each, of a SHA-256 and the value compressed. One that is damaged or of another form is none. Blocking.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import zstandard

from layerkit.build.folder import CacheFolder
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
        raw = self._files.find(key) or b""
        digest, payload = raw[:32], raw[32:]
        if hashlib.sha256(payload).digest() != digest:
            return None
        try:
            content = zstandard.ZstdDecompressor().decompress(payload, max_output_size=_MOST_VALUE)
            return msgspec.msgpack.decode(content, type=kind, dec_hook=_construct)
        except (msgspec.DecodeError, zstandard.ZstdError):
            return None

    def remember(self, key: str, value: object) -> None:
        payload = zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(value, enc_hook=_plain))
        self._files.keep(key, hashlib.sha256(payload).digest() + payload)

    @property
    def _files(self) -> CacheFolder:
        folder = self.folder / f"packages-{VERSION}"
        return CacheFolder(folder=folder, most_bytes=self.most_bytes, is_trusted=self.is_trusted)


def _plain(value: Any) -> str:
    if not isinstance(value, Digest):
        raise TypeError(type(value).__name__)
    return str(value)


def _construct(kind: type, value: Any) -> Any:
    if kind is Digest:
        return Digest(value)
    raise TypeError(kind)
