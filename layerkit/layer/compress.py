"""Codecs: from the blocks of a tar to the bytes of a layer as they are stored.

A codec's bytes depend on the blocks and the level alone, never on the number of threads. A further one is a function
and a line of `find_codec`; what changes the tar itself, as eStargz does, is made of entries (`estargz`).
"""

import os
import struct
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, partial
from queue import SimpleQueue
from threading import Event, Lock, Semaphore, Thread
from typing import Final, NamedTuple, Protocol, TypeVar

from zlib_ng import zlib_ng

from layerkit.layer.errors import LayerError
from layerkit.oci.mediatype import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD

_GZIP_LEVEL: Final = 2
"""Of zlib-ng: within 15 % of the size of `pigz -6`, at several times its speed."""
_ZSTD_LEVEL: Final = 3
"""As fast as the gzip above, and a fifth smaller."""

# Of the tar: memory stays within twice this, and more threads than blocks would find nothing to do.
_IN_FLIGHT: Final = 8
GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no name, no time, no extra flags, unknown system (RFC 1952, section 2.3.1)."""
_LAST_BLOCK: Final = b"\x03\x00"
"""An empty final block: what ends a deflate stream (RFC 1951, section 3.2.6)."""
_FAST_LEVEL: Final = 2
"""Of ISA-L: a fiftieth smaller than level 1 at the same speed, and level 3 takes twice the time for another one."""

_SAMPLES: Final = 4
_SAMPLE: Final = 16 * 1024
_WORTH_IT: Final = 97
"""Per cent of its size that a sample must get below, for its block to be deflated."""
_GZIP_RECORD: Final = f"block=1MiB;stored={_WORTH_IT}%"
_MOST_STORED: Final = 2**16 - 1
"""Bytes of one stored block (RFC 1951, section 3.2.4)."""

_ZSTD_WINDOW: Final = 22
"""Binary logarithm of bytes. Every decoder takes 2^23 (RFC 8878, section 3.1.1.1.2), and half of it costs little."""
_ZSTD_DEEP: Final = 12
"""Levels above take so much memory for each thread that they get one."""
_MOST_ZSTD_THREADS: Final = 4
"""More would hold more than 150 MB; the bytes are the same."""

_ZlibError: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # Its stub says that it is an instance.

Content = bytes | bytearray

T = TypeVar("T")
U = TypeVar("U")


class Compression(StrEnum):
    """`GZIP_FAST` is gzip by ISA-L, whose bytes depend on the CPU (LAYERS, item 38): for layers that are to be there
    soon rather than to be the same everywhere."""

    NONE = "none"
    GZIP = "gzip"
    GZIP_FAST = "gzip:fast"
    ZSTD = "zstd"
    ESTARGZ = "estargz"


LEVELS: Final = {
    Compression.GZIP: range(1, 10),
    Compression.ZSTD: range(1, 20),
    Compression.ESTARGZ: range(1, 10),
}
"""Those that there are, for what has any."""


class Compress(Protocol):
    def __call__(self, blocks: Iterable[Content], *, threads: int, size: int) -> Generator[Content, None, None]:
        """The bytes to store, in order. `size` is of all blocks together."""


@dataclass(frozen=True, slots=True)
class Codec:
    """`record` names the program, its version and settings: whoever has the same gets the same bytes.

    Without `compress` the blocks are stored as they are, or not made at all: eStargz has members instead. Where a block
    is stored as the same bytes whatever stands around it, `pack` makes them, and `join_blocks` a layer of all of them.
    """

    media_type: str
    record: str
    compress: Compress | None
    pack: "Callable[[Content], PackedBlock] | None" = None


class PackedBlock(NamedTuple):
    """A block, how it is stored (raw deflate that is not final, up to a whole byte), and its CRC-32."""

    content: Content
    stored: bytes
    checksum: int


@lru_cache
def find_codec(compression: Compression, level: int | None = None) -> Codec:
    """The codec of this level, by default of that which is worth its time. Raises LayerError for one that is none."""
    if level is not None and level not in (levels := LEVELS.get(compression, ())):
        known = f"{min(levels)} to {max(levels)}" if levels else "none at all"
        raise LayerError(f"{compression} has no level {level}: there are {known}")
    match compression:
        case Compression.NONE:
            return Codec(OCI_LAYER, "none", None)
        case Compression.GZIP:
            level = level or _GZIP_LEVEL
            record = f"zlib-ng/{zlib_ng.ZLIBNG_RUNTIME_VERSION};level={level};{_GZIP_RECORD}"
            return _gzip_codec(record, partial(_deflate, level=level))
        case Compression.ESTARGZ:
            level = level or _GZIP_LEVEL
            record = f"zlib-ng/{zlib_ng.ZLIBNG_RUNTIME_VERSION};level={level};estargz=1;chunk=1MiB;stored={_WORTH_IT}%"
            return Codec(OCI_LAYER_GZIP, record, None)
        case Compression.GZIP_FAST:
            import isal  # noqa: PLC0415 - as below

            record = f"isa-l/{isal.ISAL_VERSION};level={_FAST_LEVEL};{_GZIP_RECORD}"
            return _gzip_codec(record, _deflate_fast)
        case Compression.ZSTD:
            # Not at the top: most layers are gzip, and a build that changes nothing compresses none.
            import zstandard  # noqa: PLC0415

            level = level or _ZSTD_LEVEL
            version = ".".join(map(str, zstandard.ZSTD_VERSION))
            return Codec(
                OCI_LAYER_ZSTD, f"zstd/{version};level={level};job={_zstd_job(level)}MiB", partial(_zstd, level=level)
            )


def count_threads() -> int:
    """How many threads compress at once unless told otherwise: one for each CPU that we may use, but eight at most."""
    return min(len(os.sched_getaffinity(0)), _IN_FLIGHT)


def _gzip_codec(record: str, deflate: Callable[[Content], bytes]) -> Codec:
    pack = partial(_pack, deflate=deflate)
    return Codec(OCI_LAYER_GZIP, record, partial(_gzip, pack=pack), pack)


def _gzip(
    blocks: Iterable[Content],
    *,
    threads: int,
    size: int,  # noqa: ARG001 - gzip has its size at the end
    pack: Callable[[Content], PackedBlock],
) -> Generator[Content, None, None]:
    yield from join_blocks(map_in_order(pack, blocks, threads))


def join_blocks(blocks: Iterable[PackedBlock]) -> Generator[bytes, None, None]:
    """The bytes to store: one member of blocks that are compressed independently, each ending at a whole byte (LAYERS,
    items 28-30)."""
    yield GZIP_HEADER
    checksum = total = 0
    for block in blocks:
        checksum = zlib_ng.crc32_combine(checksum, block.checksum, len(block.content))
        total += len(block.content)
        yield block.stored
    yield _LAST_BLOCK + struct.pack("<LL", checksum, total % 2**32)


def _pack(block: Content, *, deflate: Callable[[Content], bytes]) -> PackedBlock:
    """Drops the GIL."""
    return PackedBlock(block, _store(block) if _is_dense(block) else deflate(block), zlib_ng.crc32(block))


def unpack_block(stored: bytes, size: int, checksum: int) -> PackedBlock:
    """The block that was stored so. Drops the GIL. Raises ValueError for other bytes than those."""
    try:
        content = zlib_ng.decompressobj(-15).decompress(stored, size + 1)
    except _ZlibError as error:
        raise ValueError(str(error)) from error
    if len(content) != size or zlib_ng.crc32(content) != checksum:
        raise ValueError("it has another size or checksum")
    return PackedBlock(content, stored, checksum)


def pack_member(content: Content, *, level: int | None = None) -> bytes:
    """A gzip member of its own, by the codec of eStargz. Drops the GIL."""
    if _is_dense(content):
        deflated = _store(content) + _LAST_BLOCK
    else:
        deflated = _deflate(content, level=level or _GZIP_LEVEL, end=zlib_ng.Z_FINISH)
    return b"".join((GZIP_HEADER, deflated, struct.pack("<LL", zlib_ng.crc32(content), len(content) % 2**32)))


def _deflate(block: Content, *, level: int, end: int = zlib_ng.Z_FULL_FLUSH) -> bytes:
    deflate = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15)
    # One write: the bytes that zlib-ng gives depend on the sizes of the writes. So do those of ISA-L.
    return deflate.compress(block) + deflate.flush(end)


def _deflate_fast(block: Content) -> bytes:
    from isal import isal_zlib  # noqa: PLC0415 - see find_codec

    deflate = isal_zlib.compressobj(_FAST_LEVEL, isal_zlib.DEFLATED, -15)
    return deflate.compress(block) + deflate.flush(isal_zlib.Z_FULL_FLUSH)


def _is_dense(block: Content) -> bool:
    """Whether a block is not worth deflating: what is compressed already, or noise.

    Samples that are spread over the block decide, and the first that gets smaller is the last: text costs one, a
    sixtieth of the time that its block takes. All codecs of deflate ask zlib-ng, so that they decide alike.
    """
    if len(block) < _SAMPLES * _SAMPLE:
        return False
    step = (len(block) - _SAMPLE) // (_SAMPLES - 1)
    samples = (block[start : start + _SAMPLE] for start in range(0, len(block), step)[:_SAMPLES])
    return all(len(_deflate(sample, level=_GZIP_LEVEL)) * 100 > _SAMPLE * _WORTH_IT for sample in samples)


def _store(block: Content) -> bytes:
    """The bytes as they are, in stored blocks (RFC 1951, section 3.2.4): each ends at a whole byte."""
    view = memoryview(block)
    parts: list[bytes | memoryview] = []
    for start in range(0, len(view), _MOST_STORED):
        part = view[start : start + _MOST_STORED]
        parts += (struct.pack("<BHH", 0, len(part), len(part) ^ 0xFFFF), part)
    return b"".join(parts)


def _zstd(blocks: Iterable[Content], *, threads: int, size: int, level: int) -> Generator[Content, None, None]:
    """One frame with its content's size and checksum (LAYERS, item 32)."""
    import zstandard  # noqa: PLC0415 - see find_codec

    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=size,
        window_log=min(
            _ZSTD_WINDOW, zstandard.ZstdCompressionParameters.from_level(level, source_size=size).window_log
        ),
        write_content_size=True,
        write_checksum=True,
        # At least one: the library's way without threads gives other bytes (facebook/zstd#2238).
        threads=max(1, min(threads, _MOST_ZSTD_THREADS)) if level <= _ZSTD_DEEP else 1,
        # Each thread works on a job of its own, so that the jobs' size is a part of the format, and of the memory.
        job_size=_zstd_job(level) * 2**20,
    )
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=size)
    for block in blocks:
        if content := frame.compress(block):
            yield content
    yield frame.flush()


def _zstd_job(level: int) -> int:
    """In MiB: levels that look far back for what repeats lose by small jobs."""
    return 4 if level <= _ZSTD_DEEP else 16


def map_in_order(function: Callable[[T], U], items: Iterable[T], threads: int) -> Generator[U, None, None]:
    """`function` of each item, in the order of the items, worked on in `threads` threads: a few items ahead.

    Whichever thread is free takes the next item itself, one at a time, so that an item is made while others are worked
    on. What `items` or `function` raise is raised where the result would have come. No thread outlives the call, and
    nothing of `items` runs after it.
    """
    source = iter(items)
    turn, room, is_over = Lock(), Semaphore(_IN_FLIGHT), Event()
    line: SimpleQueue[Future[U] | None] = SimpleQueue()

    def work() -> None:
        while True:
            room.acquire()
            result: Future[U] = Future()
            with turn:
                if is_over.is_set():
                    return
                try:
                    item = next(source)
                except BaseException as error:  # noqa: BLE001 - whoever waits for the result raises it
                    is_over.set()
                    if not isinstance(error, StopIteration):
                        result.set_exception(error)
                        line.put(result)
                    line.put(None)
                    return
                line.put(result)
            try:
                result.set_result(function(item))
            except BaseException as error:  # noqa: BLE001 - as above
                result.set_exception(error)
            # Neither is to be kept while this thread waits.
            del item, result

    workers = [Thread(target=work, name=f"compress-{number}") for number in range(threads)]
    try:
        for worker in workers:
            worker.start()
        while (result := line.get()) is not None:
            yield result.result()
            room.release()
    finally:
        is_over.set()
        room.release(threads)
        for worker in workers:
            if worker.ident is not None:
                worker.join()
