"""Layers and archives that mean no good, each with what layerkit says of it."""

import tarfile
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
