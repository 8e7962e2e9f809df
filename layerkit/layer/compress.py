"""Codecs: how the tar of a layer becomes the bytes that are stored.

A further one is a function for each way and a case of `find_codec`; what changes the tar itself, as eStargz does, is
made of entries (`estargz`).
"""

import os
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from layerkit.layer.blocks import BlockFormat, Content
from layerkit.layer.deflate import FAST_LEVEL, GZIP_LEVEL, WORTH_IT, ZLIB_NG_VERSION, fast_gzip_blocks, gzip_blocks
from layerkit.layer.errors import LayerError
from layerkit.layer.pipeline import IN_FLIGHT
from layerkit.oci.mediatype import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD

_ZSTD_LEVEL: Final = 3
"""As fast as gzip, and a fifth smaller."""
_GZIP_RECORD: Final = f"block=1MiB/crc32;stored={WORTH_IT}%"


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


class Codec(msgspec.Struct, frozen=True):
    """`record` names the program, its version and settings: whoever has the same gets the same bytes.

    eStargz has members instead of `blocks`.
    """

    media_type: str
    record: str
    blocks: BlockFormat | None


@lru_cache
def find_codec(compression: Compression, level: int | None = None) -> Codec:
    """The codec of this level, by default of that which is worth its time. Raises LayerError for one that is none."""
    if level is not None and level not in (levels := LEVELS.get(compression, ())):
        known = f"{min(levels)} to {max(levels)}" if levels else "none at all"
        raise LayerError(f"{compression} has no level {level}: there are {known}")
    match compression:
        case Compression.NONE:
            return Codec(OCI_LAYER, "none", BlockFormat(encode=_keep, decode=_take))
        case Compression.GZIP:
            level = level or GZIP_LEVEL
            record = f"zlib-ng/{ZLIB_NG_VERSION};level={level};{_GZIP_RECORD}"
            return Codec(OCI_LAYER_GZIP, record, gzip_blocks(level))
        case Compression.ESTARGZ:
            level = level or GZIP_LEVEL
            record = f"zlib-ng/{ZLIB_NG_VERSION};level={level};estargz=1;chunk=1MiB;stored={WORTH_IT}%"
            return Codec(OCI_LAYER_GZIP, record, None)
        case Compression.GZIP_FAST:
            import isal  # noqa: PLC0415 - as below

            record = f"isa-l/{isal.ISAL_VERSION};level={FAST_LEVEL};{_GZIP_RECORD};samples=isa-l"
            return Codec(OCI_LAYER_GZIP, record, fast_gzip_blocks())
        case Compression.ZSTD:
            # Not at the top: most layers are gzip, and a build that changes nothing compresses none.
            from layerkit.layer.zstd import ZSTD_VERSION, zstd_blocks  # noqa: PLC0415

            level = level or _ZSTD_LEVEL
            return Codec(OCI_LAYER_ZSTD, f"zstd/{ZSTD_VERSION};level={level};block=1MiB/crc32", zstd_blocks(level))


def count_threads() -> int:
    """How many threads compress at once unless told otherwise: one for each CPU that we may use, but eight at most."""
    return min(len(os.sched_getaffinity(0)), IN_FLIGHT)


def _keep(block: Content) -> Content:
    return block


def _take(stored: bytes, size: int) -> bytes:  # noqa: ARG001 - it is compared by whoever asks
    return stored
