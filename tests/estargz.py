"""A reader of eStargz that fetches files by the table of contents alone, written from the spec and sharing nothing with
the writer (stargz-snapshotter, docs/estargz.md)."""

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

FOOTER: Final = 51


@dataclass(frozen=True)
class Estargz:
    """`entries` are those of the table but for chunks, by their names; `chunks` are of each file that has any."""

    raw: bytes
    toc_offset: int
    entries: Mapping[str, Mapping[str, Any]]
    chunks: Mapping[str, list[Mapping[str, Any]]]

    def read(self, name: str) -> bytes:
        """The content of a file, each of its chunks fetched and verified on its own."""
        entry = self.entries[name]
        if entry["type"] == "hardlink":
            return self.read(entry["linkName"])
        content = b""
        for chunk in self.chunks.get(name, []):
            assert chunk.get("chunkOffset", 0) == len(content)
            size = chunk.get("chunkSize", 0) or entry["size"] - len(content)
            found = inflate(self.raw[chunk["offset"] : self.toc_offset], size)
            assert len(found) == size
            assert chunk["chunkDigest"] == digest_of(found)
            content += found
        assert len(content) == entry.get("size", 0)
        if entry["type"] == "reg":
            assert entry["digest"] == digest_of(content)
        return content

    def xattrs(self, name: str) -> dict[str, bytes]:
        return {key: base64.b64decode(value) for key, value in self.entries[name].get("xattrs", {}).items()}

    @property
    def members(self) -> set[int]:
        """Where the table says that a gzip member begins."""
        chunks = {chunk["offset"] for chunks in self.chunks.values() for chunk in chunks}
        return {0, *chunks, self.toc_offset, len(self.raw) - FOOTER}


def open_estargz(raw: bytes, toc_digest: str) -> Estargz:
    """As a snapshotter opens it: the footer says where the table is, the manifest's annotation what it is."""
    footer = raw[-FOOTER:]
    assert footer[:4] == b"\x1f\x8b\x08\x04"
    assert struct.unpack("<H2sH", footer[10:16]) == (26, b"SG", 22)
    assert footer[32:38] == b"STARGZ"
    assert footer[38:] == b"\x01\x00\x00\xff\xff" + bytes(8)
    assert zlib.decompress(footer, 31) == b""
    toc_offset = int(footer[16:32], 16)
    tar = zlib.decompressobj(31).decompress(raw[toc_offset:-FOOTER])
    assert tar[:100].rstrip(b"\0") == b"stargz.index.json"
    size = int(tar[124:135], 8)
    toc = tar[512 : 512 + size]
    assert digest_of(toc) == toc_digest
    assert tar[512 + size :] == bytes(-size % 512 + 1024)
    table = json.loads(toc)
    assert set(table) == {"version", "entries"}
    assert table["version"] == 1
    entries: dict[str, Mapping[str, Any]] = {}
    chunks: dict[str, list[Mapping[str, Any]]] = {}
    for item in table["entries"]:
        if item["type"] != "chunk":
            assert item["name"] not in entries
            entries[item["name"]] = item
        if "offset" in item:
            chunks.setdefault(item["name"], []).append(item)
    return Estargz(raw, toc_offset, entries, chunks)


def inflate(stored: bytes, size: int) -> bytes:
    """The first `size` bytes of the one member that `stored` begins with."""
    return zlib.decompressobj(31).decompress(stored, size)


def iter_members(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Where each gzip member begins, and what it holds."""
    offset = 0
    while offset < len(raw):
        member = zlib.decompressobj(31)
        content = member.decompress(raw[offset : offset + 2**22])
        assert member.eof
        yield offset, content
        offset = min(offset + 2**22, len(raw)) - len(member.unused_data)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
