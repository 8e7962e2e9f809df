"""eStargz: a layer by gzip whose files can be fetched one by one, read as any other by all who know nothing of it.

Each chunk of a file is a gzip member of its own, together with the headers that follow it; the last file of the tar is
a table of contents, and behind it a footer says where that begins. Table and landmark are in the tar, so that the
diff_id depends on the codec too. Source: stargz-snapshotter, docs/estargz.md; LAYERS, item 33.
"""

import hashlib
import struct
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec

from layerkit.layer.arrange import arrange
from layerkit.layer.blocks import Content
from layerkit.layer.deflate import pack_member
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.pipeline import map_in_order
from layerkit.layer.source import BytesSource
from layerkit.layer.tar import BLOCK_SIZE, TRAILER, encode_header, encode_name, padding

TOC: Final = "stargz.index.json"
LANDMARK: Final = ".no.prefetch.landmark"
"""Says that nothing is worth fetching before it is asked for."""
RESERVED: Final = frozenset({TOC, LANDMARK, ".prefetch.landmark"})

TOC_DIGEST: Final = "containerd.io/snapshot/stargz/toc.digest"
UNCOMPRESSED_SIZE: Final = "io.containers.estargz.uncompressed-size"

CHUNK_SIZE: Final = BLOCK_SIZE
"""Bytes of a file that are fetched together; its last chunk has what is left."""

_MOST_MEMBERS: Final = 512
"""Of one piece of work, if they are short."""

_TYPES: Final = {
    EntryType.FILE: "reg",
    EntryType.WHITEOUT: "reg",
    EntryType.DIRECTORY: "dir",
    EntryType.SYMLINK: "symlink",
    EntryType.HARDLINK: "hardlink",
    EntryType.CHARACTER_DEVICE: "char",
    EntryType.BLOCK_DEVICE: "block",
    EntryType.FIFO: "fifo",
}


class _Item(msgspec.Struct, omit_defaults=True, rename="camel"):
    """An entry of the table of contents, or a further chunk of one. What its content is and where it is stored comes
    when it is packed."""

    name: str
    type: str
    mode: int | msgspec.UnsetType = msgspec.UNSET
    uid: int | msgspec.UnsetType = msgspec.UNSET
    gid: int | msgspec.UnsetType = msgspec.UNSET
    modtime: str = ""
    size: int = 0
    link_name: str = ""
    dev_major: int | msgspec.UnsetType = msgspec.UNSET
    dev_minor: int | msgspec.UnsetType = msgspec.UNSET
    xattrs: dict[str, bytes] = {}
    offset: int = 0
    chunk_offset: int = 0
    chunk_size: int = 0
    """0 of a file's last chunk."""
    digest: str = ""
    chunk_digest: str = ""


class _Table(msgspec.Struct):
    version: int
    entries: list[_Item]


class _Member(msgspec.Struct, frozen=True):
    """A stretch of the tar that becomes a gzip member: first `size` bytes of a file, which `item` tells of, then the
    headers up to the next content."""

    content: bytearray
    item: _Item | None = None
    size: int = 0


class EstargzLayer(msgspec.Struct):
    """A layer on its way: the bytes to store come out of `parts`, and the `annotations` of its descriptor are known
    once they have ended. `observe` is called with the tar, a stretch at a time and in order."""

    entries: tuple[Entry, ...]
    level: int | None
    threads: int
    observe: Callable[[Content], None]
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    _items: list[_Item] = msgspec.field(default_factory=list)
    _size: int = 0

    @classmethod
    def of(
        cls, entries: Iterable[Entry], *, level: int | None, threads: int, observe: Callable[[Content], None]
    ) -> "EstargzLayer":
        """Raises LayerError for entries that cannot share a layer, or have a name that the format needs."""
        # That what is below has been there is no matter: all such layers have these files.
        wanted = [entry for entry in entries if entry.hides not in RESERVED]
        for entry in wanted:
            if entry.path in RESERVED:
                raise LayerError(
                    f"/{entry.path} cannot be in a layer of eStargz, which keeps a file of its own there: exclude it, "
                    "or choose another compression"
                )
        landmark = Entry(path=LANDMARK, type=EntryType.FILE, mode=0o444, source=BytesSource(b"\x0f"))
        return cls(arrange([*wanted, landmark]), level=level, threads=threads, observe=observe)

    def parts(self) -> Generator[bytes, None, None]:
        """The bytes to store, in order. Raises LayerError for a source that cannot be read or has changed."""
        offset = 0
        pack = partial(_pack, level=self.level)
        for members, packed in map_in_order(pack, _gather(_cut(self.entries, self._items)), self.threads):
            for member, (stored, digest) in zip(members, packed, strict=True):
                self._observe(member.content)
                if (item := member.item) is not None:
                    item.offset, item.chunk_digest = offset, digest
                    if member.size == item.size:
                        item.digest = digest
                offset += len(stored)
            yield b"".join(stored for stored, _ in packed)
        toc = msgspec.json.encode(_Table(1, self._items))
        entry = Entry(path=TOC, type=EntryType.FILE, mode=0o444, source=BytesSource(toc))
        content = encode_header(entry) + toc + padding(len(toc)) + TRAILER
        self._observe(content)
        self.annotations = {TOC_DIGEST: _digest(toc), UNCOMPRESSED_SIZE: str(self._size)}
        yield pack_member(content, level=self.level)
        yield _footer(offset)

    def _observe(self, stretch: Content) -> None:
        self._size += len(stretch)
        self.observe(stretch)


def _cut(entries: Iterable[Entry], items: list[_Item]) -> Iterator[_Member]:
    """The tar of the entries up to its trailer, in members; every entry and chunk is added to `items`."""
    member = _Member(bytearray())
    for entry in entries:
        member.content.extend(encode_header(entry))
        item = _describe(entry)
        items.append(item)
        if not entry.size or entry.source is None:
            continue
        yield member
        whole = hashlib.sha256()
        first, content, offset = item, bytearray(), 0
        for piece in entry.source.pieces(CHUNK_SIZE):
            content += piece
            if len(content) > CHUNK_SIZE:
                # Not before there is more: who would fetch a last chunk that is empty?
                chunk = content[:CHUNK_SIZE]
                del content[:CHUNK_SIZE]
                whole.update(chunk)
                item.chunk_size = CHUNK_SIZE
                yield _Member(chunk, item, CHUNK_SIZE)
                offset += CHUNK_SIZE
                item = _Item(first.name, "chunk", chunk_offset=offset)
                items.append(item)
        if offset:
            whole.update(content)
            first.digest = f"sha256:{whole.hexdigest()}"
        member = _Member(content, item, len(content))
        content += padding(entry.size)
    yield member


def _describe(entry: Entry) -> _Item:
    item = _Item(encode_name(entry).decode(), _TYPES[entry.type], mode=entry.mode, uid=entry.uid, gid=entry.gid)
    item.size = entry.size
    if item.type == "reg" and not item.size:
        item.digest = _digest(b"")
    item.link_name = entry.link
    item.xattrs = dict(sorted(entry.xattrs))
    if entry.mtime:
        item.modtime = datetime.fromtimestamp(entry.mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if entry.type in {EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE}:
        item.dev_major, item.dev_minor = entry.device
    return item


def _gather(members: Iterable[_Member]) -> Iterator[list[_Member]]:
    """Members that are packed together: few files are worth a turn of a thread."""
    gathered: list[_Member] = []
    size = 0
    for member in members:
        gathered.append(member)
        size += len(member.content)
        if size >= BLOCK_SIZE or len(gathered) == _MOST_MEMBERS:
            yield gathered
            gathered, size = [], 0
    if gathered:
        yield gathered


def _pack(members: list[_Member], *, level: int | None) -> tuple[list[_Member], list[tuple[bytes, str]]]:
    """Of each member its bytes as stored, and the digest of the chunk that it begins with."""
    packed = []
    for member in members:
        digest = ""
        if member.item is not None:
            digest = _digest(memoryview(member.content)[: member.size])
        packed.append((pack_member(member.content, level=level), digest))
    return members, packed


def _digest(content: Content | memoryview) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _footer(offset: int) -> bytes:
    """An empty member of 51 bytes, whose extra field says where the table of contents begins."""
    extra = b"%016xSTARGZ" % offset
    # A header that has an extra field (RFC 1952, section 2.3.1), an empty stored block that is the last, and sums of 0.
    header = struct.pack("<4sLBB", b"\x1f\x8b\x08\x04", 0, 0, 255)
    return header + struct.pack("<H2sH", len(extra) + 4, b"SG", len(extra)) + extra + b"\x01\0\0\xff\xff" + bytes(8)
