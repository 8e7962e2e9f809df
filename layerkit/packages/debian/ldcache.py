"""/etc/ld.so.cache: where the loader finds shared libraries, as ldconfig would write it.

Without it glibc finds what is in the folders that are compiled into it, but not what `/etc/ld.so.conf` adds. Only the
header of each library is read. Source: glibc, `sysdeps/generic/dl-cache.h` (the "new" format) and `elf/cache.c` (the
order); System V ABI, "Object Files". Pure.
"""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

_MAGIC: Final = b"glibc-ld.so.cache1.1"
_HEADER: Final = struct.Struct("<20sIIB3xI12x")
_ENTRY: Final = struct.Struct("<iIIIQ")
_LITTLE_ENDIAN: Final = 2
_LIBC6: Final = 3
# The upper byte of an entry's flags: which machine the library is for (FLAG_*_LIB* in ldconfig.h).
_MACHINES: Final = {
    (2, 62): 0x0300,  # x86-64
    (1, 62): 0x0800,  # x32
    (1, 3): 0x0000,  # i386
    (2, 183): 0x0A00,  # AArch64
    (1, 40): 0x0900,  # ARM, hard float
    (2, 21): 0x0500,  # POWER
    (2, 243): 0x1000,  # RISC-V, double float
    (2, 22): 0x0400,  # S/390
}
_LOAD, _DYNAMIC = 1, 2
_SHARED: Final = 3
_END, _NEEDED, _STRTAB, _SONAME, _STRSZ = 0, 1, 5, 14, 10
_LIBRARY: Final = re.compile(r"(?:lib|ld-).*\.so(?:\..*)?\Z|ld\.so\..*\Z")
_CHARACTERS: Final = re.compile(r"[0-9]+|[^0-9]")

HEAD: Final = 1024 * 1024
"""Bytes of a library in which its dynamic section is looked for first; most have it at their end."""


class Library(NamedTuple):
    """What an ELF file says of itself. `needed` are the names of the libraries that it needs."""

    soname: str
    needed: tuple[str, ...]
    flags: int


@dataclass(frozen=True, slots=True)
class Cached:
    """A line of the cache: the name that programs ask for, the library's flags, the absolute path where it is."""

    name: str
    flags: int
    path: str


def is_library_name(name: str) -> bool:
    """Whether ldconfig looks at a file of this name."""
    return _LIBRARY.match(name) is not None


def parse_library(content: bytes) -> Library | None:
    """The shared library with this content; None for what is none that the loader of a known machine could load."""
    try:
        return _parse(content)
    except (struct.error, IndexError, ValueError):
        return None


def _parse(content: bytes) -> Library | None:
    if content[:4] != b"\x7fELF" or content[5] != 1:
        return None
    size = content[4]
    if size == 2:
        kind, machine, _, _, segments = struct.unpack_from("<HHIQQ", content, 16)
        step, count = struct.unpack_from("<HH", content, 54)
    else:
        kind, machine, _, _, segments = struct.unpack_from("<HHIII", content, 16)
        step, count = struct.unpack_from("<HH", content, 42)
    flags = _MACHINES.get((size, machine))
    if kind != _SHARED or flags is None:
        return None
    loads: list[tuple[int, int, int]] = []
    dynamic: tuple[int, int] | None = None
    for n in range(count):
        at = segments + n * step
        if size == 2:
            segment, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", content, at)
        else:
            segment, offset, address, _, length = struct.unpack_from("<IIIII", content, at)
        if segment == _LOAD:
            loads.append((address, offset, length))
        elif segment == _DYNAMIC:
            dynamic = (offset, length)
    if dynamic is None:
        return None
    entry = struct.Struct("<QQ" if size == 2 else "<II")
    tags: list[tuple[int, int]] = []
    for at in range(dynamic[0], dynamic[0] + dynamic[1], entry.size):
        tag, value = entry.unpack_from(content, at)
        if tag == _END:
            break
        tags.append((tag, value))
    values = dict(tags)
    if _STRTAB not in values:
        return Library("", (), flags | _LIBC6)
    table = next(offset + values[_STRTAB] - a for a, offset, n in loads if a <= values[_STRTAB] < a + n)

    def text(at: int) -> str:
        begin = table + at
        return content[begin : content.index(b"\0", begin)].decode()

    needed = tuple(text(value) for tag, value in tags if tag == _NEEDED)
    return Library(text(values[_SONAME]) if _SONAME in values else "", needed, flags | _LIBC6)


def encode_cache(libraries: Iterable[Cached]) -> bytes:
    """The file, as `ldconfig` of glibc 2.32 and later writes it, but for the extensions, which name its version."""
    entries = sorted(set(libraries), key=_order, reverse=True)
    at = _HEADER.size + _ENTRY.size * len(entries)
    strings = bytearray()
    places: dict[str, int] = {}

    def place(text: str) -> int:
        if text not in places:
            places[text] = at + len(strings)
            strings.extend(text.encode() + b"\0")
        return places[text]

    def place_name(item: Cached) -> int:
        # The end of the path is the name, most often.
        path = place(item.path)
        return path + len(item.path) - len(item.name) if item.path.endswith(item.name) else place(item.name)

    rows = [_ENTRY.pack(item.flags, place_name(item), place(item.path), 0, 0) for item in entries]
    return _HEADER.pack(_MAGIC, len(entries), len(strings), _LITTLE_ENDIAN, 0) + b"".join(rows) + bytes(strings)


def parse_cache(content: bytes) -> tuple[Cached, ...]:
    """The entries of a cache in this form; nothing for any other. Those of other hardware capabilities are left out."""
    if not content.startswith(_MAGIC):
        return ()
    _, count, _, _, _ = _HEADER.unpack_from(content)

    def text(at: int) -> str:
        return content[at : content.index(b"\0", at)].decode()

    rows = (_ENTRY.unpack_from(content, _HEADER.size + n * _ENTRY.size) for n in range(count))
    return tuple(Cached(text(key), flags, text(value)) for flags, key, value, _, capability in rows if not capability)


def _order(item: Cached) -> tuple[object, ...]:
    # The loader looks names up by bisection in this order, in which digits count as numbers and above all else.
    name = tuple((1, int(c)) if c.isdigit() else (0, ord(c)) for c in _CHARACTERS.findall(item.name))
    return name, item.flags, item.path
