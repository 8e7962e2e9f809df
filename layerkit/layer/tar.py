"""Tar: the headers of entries, and the blocks in which a layer is made.

One dialect, so that one entry has one form: POSIX ustar, with a PAX record only for what ustar cannot hold
(LAYERS, items 1-9). Source: POSIX.1-2017, pax, "pax Extended Header" and "ustar Interchange Format".
"""

import hashlib
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Final, Literal, NamedTuple

import msgspec

from layerkit.layer.entry import ROOT, Entry, EntryType

BLOCK_SIZE: Final = 1024 * 1024
"""The most bytes of tar in one block; also the size of a file before which a block ends."""

_ENCODER: Final = msgspec.msgpack.Encoder()
_RECORD: Final = 512
TRAILER: Final = bytes(2 * _RECORD)
"""What a tar ends with."""

_MAX_OCTAL_ID: Final = 2**21 - 1
_MAX_OCTAL_SIZE: Final = 2**33 - 1
_MAX_FIELD: Final = 100
_MAX_PREFIX: Final = 155
_PREFIX: Final = 167
"""Bytes from there to the end of a header."""

_DIRECTORY: Final = EntryType.DIRECTORY
_FLAGS: Final = {
    EntryType.FILE: b"0",
    EntryType.WHITEOUT: b"0",
    EntryType.HARDLINK: b"1",
    EntryType.SYMLINK: b"2",
    EntryType.CHARACTER_DEVICE: b"3",
    EntryType.BLOCK_DEVICE: b"4",
    EntryType.DIRECTORY: b"5",
    EntryType.FIFO: b"6",
}


def iter_blocks(entries: Iterable[Entry], *, read_size: int = BLOCK_SIZE) -> Generator[bytes, None, None]:
    """The tar of entries that `arrange` has put in order, in blocks that are compressed independently.

    A block ends before each file of at least BLOCK_SIZE, before each entry whose path's CRC-32 (of the UTF-8 bytes of
    `Entry.path`) is 0 mod 64, and wherever it has reached BLOCK_SIZE: in the midst of a header or of content too. So
    the blocks of a big file are cut at BLOCK_SIZE, 2 * BLOCK_SIZE, ... counted from its header, and its last one goes
    on with the entries that follow. After an edit the blocks are the same again from the next such file or entry on.
    The two zero records at the end belong to the last stretch.

    A few times BLOCK_SIZE is held at a time; `read_size`, the most that is read from a source at once, trades memory
    for system calls and changes no byte. Raises LayerError for a source that cannot be read or has changed.
    """
    for stretch in iter_stretches(entries):
        yield from stretch.blocks(read_size=read_size)


class Stretch(msgspec.Struct, frozen=True, dict=True):
    """The entries from one boundary of blocks to the next; the last one has what ends the tar too. What its blocks are
    depends on nothing that is before or after it."""

    entries: Sequence[Entry]
    is_last: bool = False

    def blocks(self, *, read_size: int = BLOCK_SIZE) -> Generator[bytes, None, None]:
        """As `iter_blocks` gives them."""
        return _cut(self._pieces(read_size), BLOCK_SIZE)

    def _pieces(self, read_size: int) -> Iterator[bytes]:
        for entry in self.entries:
            yield encode_header(entry)
            if (source := entry.source) is not None:
                yield from source.pieces(read_size)
                yield padding(source.size)
        if self.is_last:
            yield TRAILER

    @property
    def size(self) -> int:
        """Bytes of content."""
        return sum(entry.size for entry in self.entries)

    @cached_property
    def key(self) -> bytes | None:
        """What tells its blocks from all others: None where the content of an entry cannot be told without reading."""
        rows: list[object] = [self.is_last]
        for entry in self.entries:
            identity = None
            if entry.source is not None and (identity := entry.source.identity) is None:
                return None
            fields = entry.path, entry.type, entry.mode, entry.uid, entry.gid, entry.mtime, entry.link, entry.device
            rows.append((*fields, sorted(entry.xattrs) if entry.xattrs else (), identity))
        # One value has one encoding, and two have two.
        return hashlib.sha256(_ENCODER.encode(rows)).digest()


def iter_stretches(entries: Iterable[Entry]) -> Iterator[Stretch]:
    """Those of entries that `arrange` has put in order; at least one."""
    gathered: list[Entry] = []
    for entry in entries:
        if gathered and _begins_block(entry):
            yield Stretch(tuple(gathered))
            gathered = []
        gathered.append(entry)
    yield Stretch(tuple(gathered), is_last=True)


def tar_size(entries: Iterable[Entry]) -> int:
    """How many bytes the tar of these entries will have."""
    total = len(TRAILER)
    for entry in entries:
        source = entry.source
        size = 0 if source is None else source.size
        total += _header_size(entry, size) + size + -size % _RECORD
    return total


def _header_size(entry: Entry, size: int) -> int:
    path, link = entry.path, entry.link
    # Nearly all have no PAX header: not worth a header of which nothing but the size is wanted.
    if (
        (link and (len(link) > _MAX_FIELD or not link.isascii()))
        or size > _MAX_OCTAL_SIZE
        or entry.xattrs
        or (entry.uid | entry.gid) > _MAX_OCTAL_ID
        or ((len(path) >= _MAX_FIELD or not path.isascii()) and _place(encode_name(entry)) is None)
    ):
        return len(encode_header(entry))
    return _RECORD


def _begins_block(entry: Entry) -> bool:
    source = entry.source
    return not zlib.crc32(entry.path.encode()) % 64 or (source is not None and source.size >= BLOCK_SIZE)


def _cut(pieces: Iterator[bytes], size: int) -> Generator[bytes, None, None]:
    """Blocks of `size` bytes, and what is left at the end. Each is put together at once, which costs one copy."""
    parts: list[bytes | memoryview] = []
    missing = size
    for piece in pieces:
        if len(piece) < missing:
            parts.append(piece)
            missing -= len(piece)
            continue
        view = memoryview(piece)
        while len(view) >= missing:
            parts.append(view[:missing])
            view = view[missing:]
            yield b"".join(parts)
            parts.clear()
            missing = size
        parts.append(view)
        missing -= len(view)
    if missing < size:
        yield b"".join(parts)


def padding(size: int) -> bytes:
    """What follows a content of `size` bytes."""
    return bytes(-size % _RECORD)


def encode_header(entry: Entry) -> bytes:
    """All that stands before an entry's content: a PAX header where ustar does not suffice, and the ustar header."""
    source = entry.source
    size = 0 if source is None else source.size
    name = encode_name(entry)
    place = (b"", name) if len(name) <= _MAX_FIELD and name.isascii() else _place(name)
    attributes = _attributes(entry.type, entry.mode, entry.uid, entry.gid, entry.mtime, entry.device)
    # Nearly all have nothing of this.
    if place is None or entry.link or entry.xattrs or size > _MAX_OCTAL_SIZE or (entry.uid | entry.gid) > _MAX_OCTAL_ID:
        return _encode_special(entry, attributes, name, place, size)
    return _fill(attributes, *place, b"", size)


def _encode_special(
    entry: Entry, attributes: "_Attributes", name: bytes, place: tuple[bytes, bytes] | None, size: int
) -> bytes:
    link = entry.link.encode()
    records = {b"SCHILY.xattr." + key.encode(): value for key, value in entry.xattrs}
    if place is None:
        records[b"path"] = name
        place = b"", _truncate(entry.path, _MAX_FIELD)
    if len(link) > _MAX_FIELD or not link.isascii():
        records[b"linkpath"] = link
        link = _truncate(entry.link, _MAX_FIELD)
    for key, number in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if number > _MAX_OCTAL_ID:
            records[key] = b"%d" % number
    if size > _MAX_OCTAL_SIZE:
        records[b"size"] = b"%d" % size
    header = _fill(attributes, *place, link, size)
    return _encode_pax(entry.path, records) + header if records else header


def encode_name(entry: Entry) -> bytes:
    """The name that an entry has in a tar."""
    name = entry.path.encode()
    if entry.type is not _DIRECTORY:
        return name
    return name + b"/" if entry.path != ROOT else b"./"


def _place(name: bytes) -> tuple[bytes, bytes] | None:
    """The prefix and name fields, or None where ustar has no room.

    The slash at the end of a directory's name is never the one to split at: it would leave an empty name field, and
    readers would take the directory for something else.
    """
    if not name.isascii():
        return None
    if len(name) <= _MAX_FIELD:
        return b"", name
    slash = name.rfind(b"/", 0, min(_MAX_PREFIX + 1, len(name) - 1))
    if slash <= 0 or len(name) - slash - 1 > _MAX_FIELD:
        return None
    return name[:slash], name[slash + 1 :]


def _truncate(path: str, size: int) -> bytes:
    """What a reader without PAX sees of a name."""
    return path.encode("ascii", "replace")[:size].rstrip(b"/")


def _encode_pax(path: str, records: dict[bytes, bytes]) -> bytes:
    content = b"".join(_encode_record(key, records[key]) for key in sorted(records))
    # GNU tar puts its process id where the 0 is, and with it a new digest into every build.
    name = b"PaxHeaders.0/"
    name += _truncate(path.rpartition("/")[2], _MAX_FIELD - len(name))
    header = _fill(_attributes("x", 0o644, 0, 0, 0, (0, 0)), b"", name, b"", len(content))
    return header + content + padding(len(content))


def _encode_record(key: bytes, value: bytes) -> bytes:
    """`length key=value`, where length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


class _Attributes(NamedTuple):
    """What a header has but names and size: `ids` from mode to gid, `mtime` with the NUL before it, `flag`, `rest` from
    the magic to the device. `tail` is all from the flag on where there is neither link nor prefix, `total` the sum of
    all these bytes and of the blanks that the checksum is taken with."""

    ids: bytes
    mtime: bytes
    flag: bytes
    rest: bytes
    tail: bytes
    total: int


@lru_cache(maxsize=4096)
def _attributes(
    kind: EntryType | Literal["x"], mode: int, uid: int, gid: int, mtime: int, device: tuple[int, int]
) -> _Attributes:
    """Few are needed for many entries."""
    owner = tuple(number if number <= _MAX_OCTAL_ID else 0 for number in (uid, gid))
    ids = b"%07o\0%07o\0%07o\0" % (mode, *owner)
    modified = b"\0%011o\0" % mtime
    flag = b"x" if kind == "x" else _FLAGS[kind]
    rest = b"ustar\x0000".ljust(72, b"\0") + b"%07o\0%07o\0" % device
    tail = b"%b%b%b%b" % (flag, bytes(_MAX_FIELD), rest, bytes(_PREFIX))
    return _Attributes(ids, modified, flag, rest, tail, sum(ids + modified + tail) + 8 * ord(" "))


def _fill(attributes: _Attributes, prefix: bytes, name: bytes, link: bytes, size: int) -> bytes:
    ids, mtime, flag, rest, tail, total = attributes
    digits = b"%011o" % (size if size <= _MAX_OCTAL_SIZE else 0)
    if link or prefix:
        tail = b"%b%b%b%b" % (flag, link.ljust(_MAX_FIELD, b"\0"), rest, prefix.ljust(_PREFIX, b"\0"))
    # The low half of Adler-32 is the sum of the bytes mod 65,521, more than ASCII in these fields comes to.
    total += zlib.adler32(b"%b%b%b%b" % (name, digits, link, prefix), 0) & 0xFFFF
    return b"%b%b%b%b%06o\0 %b" % (name.ljust(_MAX_FIELD, b"\0"), ids, digits, mtime, total, tail)
