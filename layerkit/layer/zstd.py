"""Zstandard: each block of a layer is a frame of its own (RFC 8878, section 3.1: any number of them may follow).

A Python installation is 6 % larger in frames of 1 MiB than in a single one, of 2 MiB 3 %, of 4 MiB 1 %; but all that is
at work at once is held, and an edit makes a frame anew. The window is never larger than a frame, and every decoder
takes 8 MiB (RFC 8878, section 3.1.1.1.2).
Not imported before a layer is compressed so. LAYERS, items 31 and 32.
"""

import threading
from typing import Final

import zstandard

from layerkit.layer.blocks import BlockFormat, Content
from layerkit.layer.tar import BLOCK_SIZE

ZSTD_VERSION: Final = ".".join(map(str, zstandard.ZSTD_VERSION))

_MOST_CONTEXTS: Final = 32 * 2**20
"""Bytes of those of all threads together: of level 3 each has 1 MiB, of level 19 17."""


class _Contexts(threading.local):
    """Of each thread its own, that are used again: to make their tables takes a part of the time that a block takes."""

    def __init__(self, level: int) -> None:
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
        self._decompressor = zstandard.ZstdDecompressor()

    def encode(self, block: Content) -> bytes:
        return self._compressor.compress(block)

    def decode(self, stored: bytes, size: int) -> bytes:
        try:
            # What a damaged frame says of its content must not choose how much memory that takes.
            if zstandard.frame_content_size(stored) != size:
                raise ValueError("it is no frame of this size")
            return self._decompressor.decompress(stored, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error


def zstd_blocks(level: int) -> BlockFormat:
    """How this level stores blocks."""
    parameters = zstandard.ZstdCompressionParameters.from_level(level, source_size=BLOCK_SIZE)
    contexts = _Contexts(level)
    return BlockFormat(
        encode=contexts.encode,
        decode=contexts.decode,
        most_threads=max(1, _MOST_CONTEXTS // parameters.estimated_compression_context_size()),
    )
