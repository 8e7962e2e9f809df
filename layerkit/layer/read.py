"""Reading: the headers of a tar, at a cost that a hostile layer cannot choose.

Nothing is extracted and no content is kept. What a header means is what Go's archive/tar takes it to mean, for that is
what docker, containerd and podman read layers with. Sources: POSIX.1-2017, pax, "pax Extended Header" and "ustar
Interchange Format"; the GNU tar manual, "Basic Tar Format"; LAYERS, S1 and S5.
"""

import re
from collections.abc import Generator, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from zlib_ng import zlib_ng

from layerkit.layer.errors import LayerError, ends_early
from layerkit.layer.limits import DEFAULT_LIMITS, Limits, exceeds
from layerkit.oci.digest import shorten

RECORD: Final = 512

_SKIPPED: Final = 2**20
"""Bytes after the end of a tar that are passed over at once."""


_ZEROS: Final = bytes(RECORD)
_OCTAL: Final = re.compile(rb"[ \0]*([0-7]*)(?:[ \0].*)?", re.DOTALL)
_DECIMAL: Final = re.compile(rb"[0-9]{1,18}")
_TIME: Final = re.compile(rb"(-?[0-9]{1,18})(?:\.[0-9]*)?")
_MAX_NUMBER: Final = 2**63 - 1
_XATTR: Final = b"SCHILY.xattr."
_NO_RECORDS: Final[Mapping[bytes, bytes]] = MappingProxyType({})

FILES: Final = frozenset(b"0\x007")
"""The type flags of what has content: a regular file, in POSIX, in V7 and as "contiguous"."""
_PAX: Final = ord("x")
_PAX_GLOBAL: Final = ord("g")
_GNU_NAME: Final = ord("L")
_GNU_LINK: Final = ord("K")
_EXTENDED: Final = frozenset({_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK})


class Header(NamedTuple):
    """One entry of a tar, its extended headers merged in, its names as they stand there.

    `offset` is of the content in the tar, which has `stored_size` bytes; of a sparse file they are not the content.
    """

    name: bytes
    flag: int
    link: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    device: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...]
    sparse: bool
    offset: int
    stored_size: int


class Tape:
    """Pieces of bytes, read forward. `position` counts what was read or skipped."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = b""
        self._start = 0
        self.position = 0

    def read(self, size: int) -> bytes:
        """`size` bytes, or fewer at the end."""
        end = self._start + size
        if end <= len(self._piece):
            content = self._piece[self._start : end]
            self._start = end
        else:
            parts = [self._piece[self._start :]]
            missing = size - len(parts[0])
            while missing and self._turn():
                self._start = min(missing, len(self._piece))
                parts.append(self._piece[: self._start])
                missing -= self._start
            content = b"".join(parts)
        self.position += len(content)
        return content

    def skip(self, size: int) -> int:
        """How many of the next `size` bytes there were."""
        missing = size
        while True:
            step = min(missing, len(self._piece) - self._start)
            self._start += step
            missing -= step
            if not missing or not self._turn():
                break
        self.position += size - missing
        return size - missing

    def _turn(self) -> bool:
        """Go on to the next piece, if there is one."""
        self._start = 0
        self._piece = next(self._pieces, b"")
        return bool(self._piece)


def iter_headers(tape: Tape, limits: Limits = DEFAULT_LIMITS) -> Generator[Header, None, None]:
    """The entries of a tar in its order, to its very end; what follows its trailer is read, and ignored as by all.

    Whoever wants an entry's content reads it, or the beginning of it, from `tape` before the next entry. Raises
    LayerError for what is no tar, ends early, or holds what no consumer of layers takes.
    """
    records: Mapping[bytes, bytes] = _NO_RECORDS
    names: dict[int, bytes] = {}
    entries = 0
    while True:
        start = tape.position
        block = tape.read(RECORD)
        if len(block) < RECORD or block == _ZEROS:
            if records or names or (block and len(block) < RECORD):
                if start == 0:
                    raise ends_early(
                        f"at byte {tape.position}, in the midst of its first header: it is no tar, or cut off"
                    )
                raise ends_early(f"at byte {tape.position} of its tar, in the midst of a header")
            if block and tape.read(RECORD) not in {b"", _ZEROS}:
                raise _broken(start, "one record of zeros stands among the others")
            break
        _check_sum(block, start)
        flag = block[156]
        size = parse_number(block[124:136], start)
        if flag in _EXTENDED:
            if size < 0:
                raise _broken(start, f"an extended header has {size} bytes")
            if size > limits.extended_header:
                raise exceeds(limits, "extended_header", f"an extended header at byte {start} has {size} bytes")
            content = tape.read(size)
            if len(content) < size:
                raise ends_early(f"at byte {tape.position} of its tar, in the midst of an extended header")
            tape.skip(-size % RECORD)
            if flag == _PAX:
                records = _parse_records(content, start)
            elif flag != _PAX_GLOBAL:  # No consumer heeds the records of a global header: Go hands it out as an entry.
                names[flag] = content.partition(b"\0")[0]
            continue
        entries += 1
        if entries > limits.entries:
            raise exceeds(limits, "entries", f"the tar has at least {entries} entries")
        header = _parse_header(block, size, records, names, start, tape.position)
        yield header
        if header.stored_size:
            # Some of them may have been read meanwhile.
            missing = header.offset + header.stored_size - tape.position
            if tape.skip(missing + -header.stored_size % RECORD) < missing:
                raise ends_early(f"at byte {tape.position} of its tar, in {shorten(decode(header.name))}")
        records = _NO_RECORDS
        names.clear()
    while tape.skip(_SKIPPED):
        pass


def decode(name: bytes) -> str:
    """A name as text: what is not UTF-8 is kept as lone surrogates (PEP 383)."""
    return name.decode(errors="surrogateescape")


def _parse_header(
    block: bytes, size: int, records: Mapping[bytes, bytes], names: Mapping[int, bytes], start: int, offset: int
) -> Header:
    name = _string(block[:100])
    # GNU tar has times where POSIX has the prefix; V7 has nothing; star has times in the last 24 bytes of it.
    if block[257:263] == b"ustar\0":
        prefix = _string(block[345:476] if block[508:512] == b"tar\0" else block[345:500])
        if prefix:
            name = prefix + b"/" + name
    link = _string(block[157:257])
    uid = parse_number(block[108:116], start)
    gid = parse_number(block[116:124], start)
    mtime = parse_number(block[136:148], start)
    real_size = None
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    if records:
        # An empty value stands for the record's absence.
        name = records.get(b"path") or name
        link = records.get(b"linkpath") or link
        size = _decimal(records, b"size", size, start)
        uid = _decimal(records, b"uid", uid, start)
        gid = _decimal(records, b"gid", gid, start)
        mtime = _time(records, mtime, start)
        keys = sorted(key for key, value in records.items() if key.startswith(_XATTR) and value)
        xattrs = tuple((key[len(_XATTR) :], records[key]) for key in keys)
        if b"GNU.sparse.major" in records or b"GNU.sparse.map" in records or b"GNU.sparse.size" in records:
            name = records.get(b"GNU.sparse.name") or name
            real_size = _decimal(records, b"GNU.sparse.realsize", size, start)
            real_size = _decimal(records, b"GNU.sparse.size", real_size, start)
    if names:
        name = names.get(_GNU_NAME) or name
        link = names.get(_GNU_LINK) or link
    if uid < 0 or gid < 0 or size < 0:
        raise _broken(start, f"{shorten(decode(name))} has the owner {uid}:{gid} and {size} bytes")
    flag = block[156]
    device = (0, 0)
    if flag in FILES:
        if not flag and name.endswith(b"/"):
            flag = ord("5")
            size = 0
    else:
        size = 0  # Links and directories of some writers have a size, but never content.
        if flag in b"34":
            device = parse_number(block[329:337], start), parse_number(block[337:345], start)
    return Header(
        name,
        flag,
        link,
        parse_number(block[100:108], start) & 0o7777,
        uid,
        gid,
        mtime,
        size if real_size is None else real_size,
        device,
        xattrs,
        real_size is not None,
        offset,
        size,
    )


def _string(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def parse_number(field: bytes, start: int) -> int:
    """Octal digits, or GNU's base-256: a first bit that is set, then a big-endian number in two's complement."""
    number = _parse_number(field)
    if number is None:
        raise _broken(start, f"{shorten(decode(field))} is not a number")
    return number


@lru_cache(maxsize=4096)
def _parse_number(field: bytes) -> int | None:
    if field[0] & 0x80:
        # The second bit is the sign.
        number = int.from_bytes(field) & (1 << (8 * len(field) - 1)) - 1
        if field[0] & 0x40:
            number -= 1 << (8 * len(field) - 1)
        return number if -_MAX_NUMBER <= number <= _MAX_NUMBER else None
    match = _OCTAL.fullmatch(field)
    return int(match[1] or b"0", 8) if match else None


def _check_sum(block: bytes, start: int) -> None:
    summed = block[:148] + b" " * 8 + block[156:]
    expected = _parse_number(block[148:156])
    # The lower half of an Adler-32 that begins with 0 is the sum of bytes, found forty times as fast as by sum().
    if expected is not None and zlib_ng.adler32(summed, 0) % 2**16 == expected % 65521:
        return
    # Some old writers summed signed bytes.
    if expected is None or sum(byte - (byte >= 0x80) * 256 for byte in summed) != expected:
        raise _broken(start, "the checksum of a header is wrong: it is no tar, or it is damaged")


def _parse_records(content: bytes, start: int) -> dict[bytes, bytes]:
    """`length key=value` lines, where length counts the whole line."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(content):
        space = content.find(b" ", position, position + 12)
        digits = content[position:space]
        if space < 0 or not digits.isdigit():
            raise _broken(start, f"a PAX record's length is no number: {shorten(decode(content[position:][:20]))}")
        end = position + int(digits)
        if not space < end - 1 < len(content) or content[end - 1] != ord("\n"):
            raise _broken(start, f"a PAX record's length is wrong: {digits.decode()}")
        key, equals, value = content[space + 1 : end - 1].partition(b"=")
        if not key or not equals:
            raise _broken(start, f"a PAX record has no key: {shorten(decode(key))}")
        records[key] = value
        position = end
    return records


def _decimal(records: Mapping[bytes, bytes], key: bytes, default: int, start: int) -> int:
    value = records.get(key)
    if not value:
        return default
    if not _DECIMAL.fullmatch(value):
        raise _broken(start, f"the PAX record {key.decode()} is no number: {shorten(decode(value))}")
    return int(value)


def _time(records: Mapping[bytes, bytes], default: int, start: int) -> int:
    value = records.get(b"mtime")
    if not value:
        return default
    match = _TIME.fullmatch(value)
    if not match:
        raise _broken(start, f"the PAX record mtime is no time: {shorten(decode(value))}")
    return int(match[1])


def _broken(start: int, why: str) -> LayerError:
    return LayerError(f"the tar is broken at byte {start}: {why}; fetch it again, or have it made anew")
