"""Codecs: from the blocks of a tar to the bytes of a layer as they are stored.

A codec's bytes depend on the blocks alone, never on the number of threads. A further one (zstd) is a function and a
line of `CODECS`; what changes the tar itself (eStargz, with its table of contents) belongs where entries become blocks.
"""

import os
import struct
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from zlib_ng import zlib_ng

from layerkit.oci.mediatype import OCI_LAYER, OCI_LAYER_GZIP

LEVEL: Final = 2
"""Of zlib-ng: within 15 % of the size of `pigz -6`, at several times its speed."""

# Of the tar: memory stays within twice this, and more threads than blocks would find nothing to do.
_IN_FLIGHT: Final = 8
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no name, no time, no extra flags, unknown system (RFC 1952, section 2.3.1)."""
_LAST_BLOCK: Final = b"\x03\x00"
"""An empty final block: what ends a deflate stream (RFC 1951, section 3.2.6)."""

Content = bytes | bytearray

T = TypeVar("T")
U = TypeVar("U")


class Compression(StrEnum):
    NONE = "none"
    GZIP = "gzip"


@dataclass(frozen=True, slots=True)
class Codec:
    """`record` names the program, its version and settings: whoever has the same gets the same bytes.

    `compress` takes blocks and a number of threads, and gives the bytes to store, in order. None: store the blocks.
    """

    media_type: str
    record: str
    compress: Callable[[Iterable[Content], int], Generator[Content, None, None]] | None


def count_threads() -> int:
    """How many threads compress at once unless told otherwise: one for each CPU that we may use, but eight at most."""
    return min(len(os.sched_getaffinity(0)), _IN_FLIGHT)


def _gzip(blocks: Iterable[Content], threads: int) -> Generator[Content, None, None]:
    """One member of blocks that are compressed independently, each ending at a whole byte (LAYERS, items 28-30)."""
    yield _GZIP_HEADER
    checksum = total = 0
    for content, block_checksum, size in _map_in_order(_deflate, blocks, threads):
        checksum = zlib_ng.crc32_combine(checksum, block_checksum, size)
        total += size
        yield content
    yield _LAST_BLOCK + struct.pack("<LL", checksum, total % 2**32)


def _deflate(block: Content) -> tuple[bytes, int, int]:
    """Raw deflate without a final block, the CRC-32 and the size of `block`. Drops the GIL."""
    deflate = zlib_ng.compressobj(LEVEL, zlib_ng.DEFLATED, -15)
    # One write: the bytes that zlib-ng gives depend on the sizes of the writes.
    content = deflate.compress(block) + deflate.flush(zlib_ng.Z_FULL_FLUSH)
    return content, zlib_ng.crc32(block), len(block)


def _map_in_order(function: Callable[[T], U], items: Iterable[T], threads: int) -> Generator[U, None, None]:
    """`function` of each item, in the order of the items, worked on in `threads` threads: a few items ahead."""
    pending: deque[Future[U]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="compress")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= _IN_FLIGHT:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


CODECS: Final[Mapping[Compression, Codec]] = MappingProxyType(
    {
        Compression.NONE: Codec(OCI_LAYER, "none", None),
        Compression.GZIP: Codec(
            OCI_LAYER_GZIP, f"zlib-ng/{zlib_ng.ZLIBNG_RUNTIME_VERSION};level={LEVEL};block=1MiB", _gzip
        ),
    }
)
