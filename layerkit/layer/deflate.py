"""Deflate: blocks of gzip that are compressed independently, by zlib-ng or ISA-L, and members of eStargz.

Source: RFC 1951 (deflate), RFC 1952 (gzip).
"""

import struct
from collections.abc import Callable
from functools import partial
from typing import Final

from zlib_ng import zlib_ng

from layerkit.layer.blocks import BlockFormat, Content

ZLIB_NG_VERSION: Final = zlib_ng.ZLIBNG_RUNTIME_VERSION
GZIP_LEVEL: Final = 2
"""Of zlib-ng: within 15 % of the size of `pigz -6`, at several times its speed."""
FAST_LEVEL: Final = 2
"""Of ISA-L: a fiftieth smaller than level 1 at the same speed, and level 3 takes twice the time for another one."""
WORTH_IT: Final = 97
"""Per cent of its size that a sample must get below, for its block to be deflated."""

_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no name, no time, no extra flags, unknown system (RFC 1952, section 2.3.1)."""
_LAST_BLOCK: Final = b"\x03\x00"
"""An empty final block: what ends a deflate stream (RFC 1951, section 3.2.6)."""

_SAMPLES: Final = 4
_SAMPLE: Final = 16 * 1024
_MOST_STORED: Final = 2**16 - 1
"""Bytes of one stored block (RFC 1951, section 3.2.4)."""

_ZlibError: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # Its stub says that it is an instance.


def gzip_blocks(level: int) -> BlockFormat:
    """By zlib-ng: its bytes do not depend on the CPU."""
    return _blocks_of(partial(_deflate, level=level), _deflate_sample)


def fast_gzip_blocks() -> BlockFormat:
    """By ISA-L: its bytes do (LAYERS, item 38)."""
    return _blocks_of(_deflate_fast, _deflate_fast)


def _blocks_of(deflate: Callable[[Content], bytes], try_out: Callable[[Content], bytes]) -> BlockFormat:
    """One member of blocks that are compressed independently, each ending at a whole byte (LAYERS, items 28-30)."""

    def encode(block: Content) -> bytes:
        return _store(block) if _is_dense(block, try_out) else deflate(block)

    return BlockFormat(encode=encode, decode=_inflate, prefix=_HEADER, end=_end)


def _end(checksum: int, size: int) -> bytes:
    return _LAST_BLOCK + struct.pack("<LL", checksum, size % 2**32)


def _inflate(stored: bytes, size: int) -> bytes:
    try:
        return zlib_ng.decompressobj(-15).decompress(stored, size + 1)
    except _ZlibError as error:
        raise ValueError(str(error)) from error


def pack_member(content: Content, *, level: int | None = None) -> bytes:
    """A gzip member of its own, by the codec of eStargz. Drops the GIL."""
    if _is_dense(content, _deflate_sample):
        deflated = _store(content) + _LAST_BLOCK
    else:
        deflated = _deflate(content, level=level or GZIP_LEVEL, end=zlib_ng.Z_FINISH)
    return b"".join((_HEADER, deflated, struct.pack("<LL", zlib_ng.crc32(content), len(content) % 2**32)))


def _deflate(block: Content, *, level: int, end: int = zlib_ng.Z_FULL_FLUSH) -> bytes:
    deflate = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15)
    # One write: the bytes that zlib-ng gives depend on the sizes of the writes. So do those of ISA-L.
    return deflate.compress(block) + deflate.flush(end)


def _deflate_fast(block: Content) -> bytes:
    from isal import isal_zlib  # noqa: PLC0415 - few layers are made so

    deflate = isal_zlib.compressobj(FAST_LEVEL, isal_zlib.DEFLATED, -15)
    return deflate.compress(block) + deflate.flush(isal_zlib.Z_FULL_FLUSH)


def _deflate_sample(sample: Content) -> bytes:
    """By the usual level, so that all levels decide alike what to store."""
    return _deflate(sample, level=GZIP_LEVEL)


def _is_dense(block: Content, try_out: Callable[[Content], bytes]) -> bool:
    """Whether a block is not worth deflating: what is compressed already, or noise.

    Samples that are spread over the block decide, and the first that gets smaller is the last: text costs one, a
    sixtieth of the time that its block takes.
    """
    if len(block) < _SAMPLES * _SAMPLE:
        return False
    step = (len(block) - _SAMPLE) // (_SAMPLES - 1)
    samples = (block[start : start + _SAMPLE] for start in range(0, len(block), step)[:_SAMPLES])
    return all(len(try_out(sample)) * 100 > _SAMPLE * WORTH_IT for sample in samples)


def _store(block: Content) -> bytes:
    """The bytes as they are, in stored blocks (RFC 1951, section 3.2.4): each ends at a whole byte."""
    view = memoryview(block)
    parts: list[bytes | memoryview] = []
    for start in range(0, len(view), _MOST_STORED):
        part = view[start : start + _MOST_STORED]
        parts += (struct.pack("<BHH", 0, len(part), len(part) ^ 0xFFFF), part)
    return b"".join(parts)
