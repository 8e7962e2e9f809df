"""Index files: the index of a layer as bytes, and back. What is read is checked, so that a damaged one is no index.

A file is a line that names the version of the format, the SHA-256 of all that follows, and the index: the fields of
all entries by column, as MessagePack, compressed. Whoever changes what is in an index or what it means counts the
version up. Pure.
"""

import hashlib
from types import MappingProxyType
from typing import Final

import msgspec
import zstandard

from layerkit.layer.entry import EntryType
from layerkit.layer.index import IndexedEntry, LayerIndex
from layerkit.oci.digest import Digest

VERSION: Final = 4

_MAGIC: Final = b"layerkit index %d\n" % VERSION
_LEVEL: Final = 1
_TYPES: Final = tuple(EntryType)
_CODES: Final = {kind: code for code, kind in enumerate(_TYPES)}


class _Columns(msgspec.Struct, array_like=True):
    """Names are joined by NUL, which none has, and may be no UTF-8. What few entries have is by the entry's number."""

    diff_id: str
    uncompressed_size: int
    types: bytes
    paths: bytes
    links: bytes
    modes: list[int]
    uids: list[int]
    gids: list[int]
    sizes: list[int]
    mtimes: list[int]
    offsets: list[int]
    xattrs: dict[int, list[tuple[bytes, bytes]]]
    devices: dict[int, tuple[int, int]]
    sparse: list[int]
    contents: dict[int, bytes]


_DECODER: Final = msgspec.msgpack.Decoder(_Columns)


def encode_index(index: LayerIndex) -> bytes:
    entries = index.entries
    columns = _Columns(
        diff_id=str(index.diff_id),
        uncompressed_size=index.uncompressed_size,
        types=bytes(_CODES[entry.type] for entry in entries),
        paths=_encode("\0".join(entry.path for entry in entries)),
        links=_encode("\0".join(entry.link for entry in entries)),
        modes=[entry.mode for entry in entries],
        uids=[entry.uid for entry in entries],
        gids=[entry.gid for entry in entries],
        sizes=[entry.size for entry in entries],
        mtimes=[entry.mtime for entry in entries],
        offsets=[entry.offset for entry in entries],
        xattrs={
            number: [(_encode(name), value) for name, value in entry.xattrs]
            for number, entry in enumerate(entries)
            if entry.xattrs
        },
        devices={number: entry.device for number, entry in enumerate(entries) if entry.device != (0, 0)},
        sparse=[number for number, entry in enumerate(entries) if entry.sparse],
        contents=dict(index.contents),
    )
    payload = zstandard.ZstdCompressor(level=_LEVEL).compress(msgspec.msgpack.encode(columns))
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def decode_index(content: bytes) -> LayerIndex | None:
    """None for what is no index file of this version, or is damaged."""
    if not content.startswith(_MAGIC):
        return None
    digest, payload = content[len(_MAGIC) : len(_MAGIC) + 32], content[len(_MAGIC) + 32 :]
    if hashlib.sha256(payload).digest() != digest:
        return None
    # With the right checksum it is what `encode_index` wrote.
    columns = _DECODER.decode(zstandard.ZstdDecompressor().decompress(payload))
    sparse = set(columns.sparse)
    rows = zip(
        _decode(columns.paths).split("\0"),
        columns.types,
        columns.modes,
        columns.uids,
        columns.gids,
        columns.sizes,
        _decode(columns.links).split("\0"),
        columns.mtimes,
        columns.offsets,
        strict=False,  # Of no names at all there is an empty one.
    )
    return LayerIndex(
        entries=tuple(
            IndexedEntry(
                path=path,
                type=_TYPES[kind],
                mode=mode,
                uid=uid,
                gid=gid,
                size=size,
                link=link,
                mtime=mtime,
                xattrs=tuple((_decode(name), value) for name, value in columns.xattrs.get(number, ())),
                device=columns.devices.get(number, (0, 0)),
                offset=offset,
                sparse=number in sparse,
            )
            for number, (path, kind, mode, uid, gid, size, link, mtime, offset) in enumerate(rows)
        ),
        diff_id=Digest(columns.diff_id),
        uncompressed_size=columns.uncompressed_size,
        contents=MappingProxyType(columns.contents),
    )


def _encode(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _decode(content: bytes) -> str:
    return content.decode(errors="surrogateescape")
