"""Blocks: the pieces of a tar that are stored each for itself, and how that is told of a codec.

What is stored of a block depends on the block alone: not on what stands around it, so that it can be taken out of a
layer that was made before, and never on the number of threads.
"""

from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple

import msgspec
from zlib_ng import zlib_ng

from layerkit.layer.pipeline import IN_FLIGHT

Content = bytes | bytearray


class PackedBlock(NamedTuple):
    """A block and how it is stored, and the CRC-32 of both."""

    content: Content
    stored: Content
    checksum: int
    stored_checksum: int


class BlockFormat(msgspec.Struct, frozen=True, kw_only=True):
    """How blocks are stored: `encode` makes the bytes of one, which are the same whatever
    stands around it, and `decode` takes them and the size that they had. Both drop the GIL.

    A layer is `prefix`, its blocks, and what `end` makes of the CRC-32 and the size of its tar. More threads than
    `most_threads` would hold more memory than a build may.
    """

    encode: Callable[[Content], Content]
    decode: Callable[[bytes, int], bytes]
    prefix: bytes = b""
    end: Callable[[int, int], bytes] = lambda checksum, size: b""  # noqa: ARG005 - most formats have no end
    most_threads: int = IN_FLIGHT

    def pack(self, block: Content) -> PackedBlock:
        stored = self.encode(block)
        return PackedBlock(block, stored, zlib_ng.crc32(block), zlib_ng.crc32(stored))

    def unpack(self, stored: bytes, size: int, checksum: int) -> PackedBlock:
        """The block that was stored so. Raises ValueError for other bytes than those."""
        content = self.decode(stored, size)
        if len(content) != size or zlib_ng.crc32(content) != checksum:
            raise ValueError("it has another size or checksum")
        return PackedBlock(content, stored, checksum, zlib_ng.crc32(stored))

    def join(self, blocks: Iterable[PackedBlock]) -> Generator[Content, None, None]:
        """The bytes to store, in order."""
        if self.prefix:
            yield self.prefix
        checksum = total = 0
        for block in blocks:
            checksum = zlib_ng.crc32_combine(checksum, block.checksum, len(block.content))
            total += len(block.content)
            yield block.stored
        if end := self.end(checksum, total):
            yield end
