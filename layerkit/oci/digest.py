"""Digests: the names of all content.

Source: image-spec, descriptor.md, "Digests". The registered algorithms sha256 and sha512 are supported.
"""

import hashlib
import re
from typing import TYPE_CHECKING, Final, Self

from layerkit.oci.errors import DigestInvalid

if TYPE_CHECKING:
    from hashlib import _Hash

ALGORITHMS: Final = {"sha256": 64, "sha512": 128}
"""Supported algorithms, and how many hexadecimal digits each one's digests have."""

_HEX: Final = re.compile(r"[0-9a-f]+\Z")


class Digest(str):
    """`algorithm:hex` of some content, checked: a plain string in every way but its type.

    Raises DigestInvalid for an unknown algorithm, a wrong length, or anything but lower-case hexadecimal digits.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        algorithm, colon, encoded = text.partition(":")
        if not colon:
            raise DigestInvalid(f"invalid digest {shorten(text)}: expected algorithm:hex, like sha256:0123...")
        if algorithm not in ALGORITHMS:
            supported = " or ".join(ALGORITHMS)
            raise DigestInvalid(f"invalid digest {shorten(text)}: the algorithm is not supported (use {supported})")
        if len(encoded) != ALGORITHMS[algorithm] or not _HEX.match(encoded):
            digits = ALGORITHMS[algorithm]
            raise DigestInvalid(f"invalid digest {shorten(text)}: {algorithm} has {digits} lower-case hex digits")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        """The digest of `content`."""
        digester = new_hash(algorithm)
        digester.update(content)
        return cls.from_hash(digester)

    @classmethod
    def from_hash(cls, digester: "_Hash") -> Self:
        """The digest of what was fed to `digester`, made by `new_hash`."""
        return cls(f"{digester.name}:{digester.hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The hexadecimal digits."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first twelve digits, for people."""
        return self.encoded[:12]


def new_hash(algorithm: str = "sha256") -> "_Hash":
    """An empty hash object. Raises DigestInvalid for an algorithm that is not supported."""
    if algorithm not in ALGORITHMS:
        supported = " or ".join(ALGORITHMS)
        raise DigestInvalid(f"digest algorithm {shorten(algorithm)} is not supported (use {supported})")
    return hashlib.new(algorithm, usedforsecurity=False)


def shorten(text: str) -> str:
    """`text` quoted for an error message: never more than 160 characters of somebody else's input."""
    return repr(text) if len(text) <= 160 else f"{text[:157]!r}..."
