"""Layers and archives that mean no good, each with what layerkit says of it."""

import io
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.images import file, folder, make_tar, member, symlink
from tests.tars import header, record, with_pax


@dataclass(frozen=True, slots=True)
class HostileTar:
    """`refusal` is a pattern of the error, "" where the layer does no harm and is taken, as engines take it."""

    name: str
    make: Callable[[], bytes]
    refusal: str = ""


def _hardlink(name: str, target: str) -> bytes:
    return make_tar(member(name, tarfile.LNKTYPE, linkname=target))


_OUT: Final = "leads out of its root, or nowhere"
_NO_WHITEOUT: Final = "whiteout of nothing|names that begin with .wh. mean a deletion"
"""In a layer, and in a root file system, where nothing is deleted."""

# The folder `outside` of the sandbox is beside that of the spec and TMPDIR; the store is deeper.
ESCAPES: Final = (
    HostileTar("a name that climbs", lambda: make_tar(file("../outside/evil", b"x")), _OUT),
    HostileTar("a name that climbs far", lambda: make_tar(file("../" * 12 + "outside/evil", b"x")), _OUT),
    HostileTar("a name that climbs on its way", lambda: make_tar(file("a/../../outside/evil", b"x")), _OUT),
    HostileTar("a folder that climbs", lambda: make_tar(folder("..")), _OUT),
    HostileTar("a name that climbs in a PAX record", lambda: with_pax(record("path", "../outside/evil")), _OUT),
    HostileTar("a name with a NUL", lambda: with_pax(record("path", "a\0/../outside/evil")), _OUT),
    HostileTar("an empty name", lambda: header(b""), _OUT),
    HostileTar("an absolute name", lambda: make_tar(file("/outside/evil", b"x"))),
    HostileTar(
        "a file below a symlink that climbs",
        lambda: make_tar(symlink("link", "../../../../outside"), file("link/evil", b"x")),
    ),
    HostileTar(
        "a file below an absolute symlink", lambda: make_tar(symlink("link", "/outside"), file("link/evil", b"x"))
    ),
    HostileTar(
        "a file below symlinks of symlinks",
        lambda: make_tar(symlink("a", "../.."), symlink("b", "a/.."), symlink("c", "b/../outside"), file("c/evil")),
    ),
    HostileTar(
        "symlinks in a circle",
        lambda: make_tar(symlink("a", "b"), symlink("b", "a"), file("a/evil")),
        "they make a loop",
    ),
    HostileTar("a hardlink that climbs", lambda: _hardlink("evil", "../outside/secret"), _OUT),
    HostileTar("a hardlink that climbs on its way", lambda: _hardlink("evil", "a/../../outside/secret"), _OUT),
    HostileTar("an absolute hardlink", lambda: _hardlink("evil", "/etc/passwd")),
    HostileTar("a hardlink to itself", lambda: _hardlink("evil", "evil")),
    HostileTar(
        "a hardlink to a symlink that leads out, written to",
        lambda: make_tar(
            symlink("link", "/outside/secret"),
            member("hard", tarfile.LNKTYPE, linkname="link"),
            file("hard", b"overwritten"),
        ),
    ),
    HostileTar("a whiteout that climbs", lambda: make_tar(file("../outside/.wh.secret")), _OUT),
    HostileTar("a whiteout of the parent", lambda: make_tar(file(".wh...")), _NO_WHITEOUT),
    HostileTar("a whiteout of the folder itself", lambda: make_tar(file("a/.wh..")), _NO_WHITEOUT),
    HostileTar("a whiteout of nothing", lambda: make_tar(file("a/.wh.")), _NO_WHITEOUT),
    HostileTar("a root that is a file", lambda: make_tar(file(".", b"x")), "the root of the layer is a file"),
    HostileTar(
        "devices and a pipe",
        lambda: make_tar(
            member("mem", tarfile.CHRTYPE, devmajor=1, devminor=1),
            member("sda", tarfile.BLKTYPE, devmajor=8),
            member("pipe", tarfile.FIFOTYPE),
        ),
    ),
)

BROKEN: Final = (
    HostileTar("a negative size", lambda: header(size=b"\xff" * 12), "-1 bytes"),
    HostileTar("a size of minus signs", lambda: header(size=b"-0000000001\0"), "is not a number"),
    HostileTar("a size beyond all numbers", lambda: header(size=b"\x80" + b"\xff" * 11), "is not a number"),
    HostileTar("a size beyond the layer", lambda: header(size=b"77777777777\0"), "ends early"),
    HostileTar("a negative size in a PAX record", lambda: with_pax(record("size", "-1")), "size is no number"),
    HostileTar("a size of many digits", lambda: with_pax(record("size", "9" * 5000)), "size is no number"),
    HostileTar("a negative owner", lambda: header(uid=b"\xff" * 8), "owner -1:0"),
    HostileTar("a wrong checksum", lambda: b"x" + make_tar(file("a", b"x"))[1:], "checksum of a header is wrong"),
    HostileTar("no tar at all", lambda: b"no tar" * 1000, "checksum of a header is wrong"),
    HostileTar("a cut header", lambda: make_tar(file("a", b"x"))[:300], "ends early"),
    HostileTar("a cut file", lambda: make_tar(file("a", b"x" * 2000))[:1500], "ends early"),
    HostileTar("a sparse file of old GNU tar", lambda: header(b"a", b"S"), "of the type 'S'"),
    HostileTar("a volume", lambda: header(b"a", b"V"), "of the type 'V'"),
    HostileTar("a PAX record without an end", lambda: with_pax(b"30 path=b\n"), "PAX record's length is wrong"),
    HostileTar("a PAX header of nothing", lambda: with_pax(record("path", "a"), b"\0"), "in the midst of a header"),
    HostileTar("an xattr with a NUL", lambda: with_pax(record("SCHILY.xattr.a\0b", "x")), "with a NUL in it"),
    HostileTar("an xattr of 1 MB", lambda: with_pax(record("SCHILY.xattr.user.a", "x" * 10**6)), "limit `xattrs`"),
    HostileTar("a path of 1 MB", lambda: with_pax(record("path", "a/" * 500_000)), "limit `path`"),
    HostileTar("a PAX header of 8 GB", lambda: header(b"x", b"x", b"77777777777\0"), "limit `extended_header`"),
    HostileTar("a GNU name of 8 GB", lambda: header(b"x", b"L", b"77777777777\0"), "limit `extended_header`"),
)


def _zip(*members: tuple[str, bytes, int], patch: Callable[[bytearray], object] = bytes) -> bytes:
    """Members of a name, content and mode; `patch` changes the bytes."""
    raw = io.BytesIO()
    with warnings.catch_warnings():
        # Of a name that is there twice.
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content, mode in members:
                info = zipfile.ZipInfo("x")
                info.filename = name
                info.external_attr = mode << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, content)
    changed = bytearray(raw.getvalue())
    patch(changed)
    return bytes(changed)


def _in_directory(offset: int, value: bytes) -> Callable[[bytearray], None]:
    """What changes bytes of the first record of the central directory (APPNOTE, section 4.3.12)."""

    def patch(raw: bytearray) -> None:
        start = raw.index(b"PK\x01\x02")
        raw[start + offset : start + offset + len(value)] = value

    return patch


def _overlap(count: int) -> bytes:
    """Many names for the content of one."""
    one = _zip(("bomb", bytes(2**20), 0))
    start, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    records = b"".join(one[start:end].replace(b"bomb", b"%04d" % number) for number in range(count))
    tail = bytearray(one[end:])
    tail[8:10] = tail[10:12] = count.to_bytes(2, "little")
    tail[12:16] = len(records).to_bytes(4, "little")
    return one[:start] + records + bytes(tail)


_LINK: Final = 0o120777

ZIPS: Final = (
    HostileTar("a name that climbs", lambda: _zip(("../outside/evil", b"x", 0)), _OUT),
    HostileTar("a name that climbs on its way", lambda: _zip(("a/../../outside/evil", b"x", 0)), _OUT),
    HostileTar("an absolute name", lambda: _zip(("/outside/evil", b"x", 0))),
    HostileTar("a name of Windows", lambda: _zip(("..\\outside\\evil", b"x", 0))),
    HostileTar(
        "a file below a symlink that climbs",
        lambda: _zip(("link", b"../../../../outside", _LINK), ("link/evil", b"x", 0)),
        "climbs above the root|is below",
    ),
    HostileTar(
        "a file below an absolute symlink",
        lambda: _zip(("link", b"/outside", _LINK), ("link/secret", b"overwritten", 0)),
    ),
    HostileTar("a name that is there twice", lambda: _zip(("a", b"1", 0), ("a", b"2", 0))),
    HostileTar("a whiteout", lambda: _zip(("a/.wh.b", b"", 0)), _NO_WHITEOUT),
    HostileTar("a symlink of 1 MB", lambda: _zip(("link", b"a" * 10**6, _LINK)), "4095 bytes"),
    HostileTar("a bomb", lambda: _zip(("bomb", bytes(150 * 2**20), 0)), "limit `ratio`"),
    HostileTar("a bomb of overlapping members", lambda: _overlap(2000), "limit `ratio`|few can read|[Oo]verlap"),
    HostileTar("a password", lambda: _zip(("a", b"x", 0), patch=_in_directory(8, b"\x01")), "encrypted|few can read"),
    HostileTar("a method that nobody knows", lambda: _zip(("a", b"x", 0), patch=_in_directory(10, b"\x63")), "few can"),
    HostileTar(
        "content of another size", lambda: _zip(("a", b"x" * 99, 0), patch=_in_directory(24, b"\x05\0\0\0")), "a"
    ),
    HostileTar("content of another sum", lambda: _zip(("a", b"x" * 99, 0), patch=_in_directory(16, b"1234")), "a"),
    HostileTar(
        "a place far behind the end", lambda: _zip(("a", b"x", 0), patch=_in_directory(42, b"\xff\xff\xff\x7f")), "a"
    ),
    HostileTar("half of it", lambda: _zip(("a", b"x" * 999, 0))[:80], "few can read|is no tar"),
)
"""Archives of the other kind that `fetch:` extracts."""
