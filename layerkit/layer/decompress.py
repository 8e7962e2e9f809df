"""Decompressing: a stored layer or an archive to the tar in it, in pieces, at a cost that a hostile one cannot choose.

Sources: RFC 1952 (gzip), RFC 8878 (zstd); the formats of xz and bzip2; LAYERS, S1 and S5.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final

from zlib_ng import zlib_ng
from zstandard import ZstdDecompressor, ZstdError

from layerkit.layer.errors import LayerError, ends_early
from layerkit.layer.limits import DEFAULT_LIMITS, Limits, exceeds
from layerkit.oci.digest import shorten
from layerkit.oci.mediatype import compression_of

if TYPE_CHECKING:
    import bz2
    import lzma

_READ: Final = 64 * 1024
"""Of a stored layer at once. Each member of a gzip copies what follows it: eStargz has one for each file."""
_PIECE: Final = 1024 * 1024
"""The most that is inflated at once."""
_ZSTD_READ: Final = 1024
"""Four bytes of zstd can stand for 128 KiB, and its decoder takes no limit: so much is 32 MiB at most, twice for a
moment. Half of it would take a tenth more of the time for what is no bomb."""
_MAX_XZ_MEMORY: Final = 100 * 2**20
"""Bytes: `xz -9` needs 65 MiB to be read."""
_MAX_ZSTD_WINDOW: Final = 2**27
"""Bytes: what `zstd -d` takes unless told otherwise."""
_ZlibError: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # Its stub says that it is an instance.


def decompress(file: BinaryIO, media_type: str, limits: Limits = DEFAULT_LIMITS) -> Generator[bytes, None, None]:
    """The tar of the layer that `file` is at the start of, in pieces, as its media type says that it is stored.

    Raises LayerError for what is not so stored or ends early, and for limits exceeded.
    """
    compression = compression_of(media_type)
    try:
        yield from _decode(file, compression, limits)
    except _DECODER_ERRORS as error:
        raise LayerError(
            f"the layer is not the {compression} that its media type {shorten(media_type)} says: {error}; "
            "fetch it again, or have it made anew"
        ) from error


def decompress_archive(file: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> Generator[bytes, None, None]:
    """What the seekable `file` holds, in pieces, with the compression taken off that its first bytes tell of.

    Raises LayerError for what is damaged or ends early, and for limits exceeded.
    """
    compression = detect_compression(file)
    try:
        yield from _decode(file, compression, limits)
    except _DECODER_ERRORS as error:
        raise LayerError(f"the archive is damaged: its {compression} cannot be read: {error}") from error


def detect_compression(file: BinaryIO) -> str:
    """How the seekable `file`, which is left at its start, is compressed: "none" where no magic number says so."""
    file.seek(0)
    beginning = file.read(max(map(len, _MAGIC)))
    file.seek(0)
    return next((kind for magic, kind in _MAGIC.items() if beginning.startswith(magic)), "none")


def _decode(file: BinaryIO, compression: str, limits: Limits) -> Generator[bytes, None, None]:
    stored = _Counter(file)
    total = 0
    for piece in _DECODERS[compression](stored):
        total += len(piece)
        if total > limits.uncompressed_size:
            raise exceeds(limits, "uncompressed_size", f"the layer has at least {total} bytes uncompressed")
        if total > limits.ratio_after and total > limits.ratio * stored.size:
            raise exceeds(limits, "ratio", f"{stored.size} bytes of the layer are at least {total} uncompressed")
        yield piece


class _Counter:
    """A file that counts what is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self.size += len(content)
        return content


def _copy(file: _Counter) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _inflate(file: _Counter) -> Iterator[bytes]:
    """Any number of members, one after the other (RFC 1952, section 2.2), and zeros behind them, as on a tape."""
    member = zlib_ng.decompressobj(31)
    while content := file.read(_READ):
        while content:
            if member.eof:
                content = content.lstrip(b"\0")
                if not content:
                    break
                member = zlib_ng.decompressobj(31)
            if piece := member.decompress(content, _PIECE):
                yield piece
            content = member.unused_data if member.eof else member.unconsumed_tail
    if not member.eof:
        raise ends_early("in the midst of a gzip member")


def _unpack_zstd(file: _Counter) -> Iterator[bytes]:
    """Any number of frames (RFC 8878, section 3.1), skippable ones too."""
    decompressor = ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
    frame = decompressor.decompressobj()
    while stored := file.read(_READ):
        for start in range(0, len(stored), _ZSTD_READ):
            content = stored[start : start + _ZSTD_READ]
            while content:
                if frame.eof:
                    frame = decompressor.decompressobj()
                if piece := frame.decompress(content):
                    yield piece
                content = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise ends_early("in the midst of a zstd frame")


def _unpack_xz(file: _Counter) -> Iterator[bytes]:
    """Any number of streams, with padding between and after them (the .xz file format, section 2)."""
    import lzma  # noqa: PLC0415 - few files are compressed so

    yield from _unpack_streams(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY), "xz")


def _unpack_bzip2(file: _Counter) -> Iterator[bytes]:
    import bz2  # noqa: PLC0415 - as above

    yield from _unpack_streams(file, bz2.BZ2Decompressor, "bzip2")


def _unpack_streams(
    file: _Counter, start: "Callable[[], lzma.LZMADecompressor | bz2.BZ2Decompressor]", kind: str
) -> Iterator[bytes]:
    import lzma  # noqa: PLC0415 - as above

    stream = start()
    while content := file.read(_READ):
        while content or not (stream.eof or stream.needs_input):
            if stream.eof:
                content = content.lstrip(b"\0")
                if not content:
                    break
                stream = start()
            try:
                piece = stream.decompress(content, _PIECE)
            except (lzma.LZMAError, OSError, ValueError) as error:
                raise LayerError(f"the archive is damaged: its {kind} cannot be read: {error}") from error
            if piece:
                yield piece
            content = stream.unused_data if stream.eof else b""
    if not stream.eof:
        raise LayerError(f"the archive ends early, in the midst of its {kind}: fetch it again")


_DECODERS: Final[Mapping[str, Callable[[_Counter], Iterator[bytes]]]] = MappingProxyType(
    {"none": _copy, "gzip": _inflate, "zstd": _unpack_zstd, "xz": _unpack_xz, "bzip2": _unpack_bzip2}
)
_DECODER_ERRORS: Final = (_ZlibError, ZstdError)
_MAGIC: Final[Mapping[bytes, str]] = MappingProxyType(
    {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\0": "xz", b"BZh": "bzip2"}
)
