"""Entries: one path of a layer each, checked on construction.

What is accepted here is what all of docker, containerd, podman and umoci accept and understand alike
(LAYERS, "How the consumers differ"). Which xattrs and modes are worth having is for the planner to say.
"""

from enum import StrEnum
from typing import Final, Self

import msgspec

from layerkit.layer.errors import LayerError
from layerkit.layer.source import Source
from layerkit.oci.digest import shorten

ROOT: Final = "."
"""The path of the root directory itself, which has an entry only where its own attributes are to be set."""
MAX_ID: Final = 2**32 - 2
"""The highest uid and gid; the one above it is the kernel's "no change"."""
MAX_MTIME: Final = 2**33 - 1
"""Seconds that the eleven octal digits of a header hold."""

WHITEOUT_PREFIX: Final = ".wh."
OPAQUE_WHITEOUT: Final = ".wh..wh..opq"
"""How a layer says that a file, or all that a directory had, is gone (image-spec, layer.md, "Whiteouts")."""
_MAX_PATH: Final = 4096
_MAX_NAME: Final = 255
_MAX_SYMLINK: Final = 4095
_MAX_XATTRS: Final = 64 * 1024
_MAX_XATTR_NAME: Final = 255
# Linux has 12 bits for the major and 20 for the minor number; a header would hold 21 of each.
_MAX_DEVICE: Final = (2**12 - 1, 2**20 - 1)


class EntryType(StrEnum):
    """Sockets have no type: a layer cannot hold them."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    FIFO = "fifo"
    CHARACTER_DEVICE = "character_device"
    BLOCK_DEVICE = "block_device"
    WHITEOUT = "whiteout"


_DEVICES: Final = frozenset({EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE})
_PLAIN: Final = frozenset({EntryType.FILE, EntryType.DIRECTORY, EntryType.FIFO}) | _DEVICES
# An attribute of an enum takes as long as all that is asked of most entries.
_FILE: Final = EntryType.FILE
_NO_DEVICE: Final = (0, 0)
_MODE_BITS: Final = 12
_USUAL_BITS: Final = 31
"""What has more bits than these, or is negative, may be out of its range."""


# A Struct: a build makes hundreds of thousands of them, and a dataclass takes ten times as long.
class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One path of a layer. Raises LayerError for what some consumer would refuse or misread.

    `path` is relative to the root, without `.`, `..` or a slash at either end; `mode` is permission bits alone;
    `mtime` is in whole seconds. `link` is a symlink's text verbatim, or the path of a hardlink's target.
    `xattrs` are raw values by name, in any order. `device` is (major, minor). A file has a `source`, nothing else has.
    """

    path: str
    type: EntryType
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    link: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    device: tuple[int, int] = (0, 0)
    source: Source | None = None

    def __post_init__(self) -> None:
        path, kind = self.path, self.type
        # Each of these is of a path, an owner or a time that has to be looked at more closely; few have one.
        whole = f"/{path}/"
        if "/." in whole or "//" in whole or "\0" in path or len(path) > _MAX_NAME or not path.isascii():
            _check_path(path, kind)
        if self.mode >> _MODE_BITS or (self.uid | self.gid | self.mtime) >> _USUAL_BITS:
            _check_numbers(self)
        if (self.source is None) is (kind is _FILE):
            raise _refuse(path, f"a {kind} and its source do not fit: a file has one, nothing else has")
        if self.device != _NO_DEVICE:
            _check_device(self)
        if self.xattrs:
            _check_xattrs(self)
        if self.link or kind not in _PLAIN:
            _check_kind(self)

    def changed(self, **fields: object) -> Self:
        """One with other fields, checked as well."""
        return msgspec.structs.replace(self, **fields)

    @property
    def size(self) -> int:
        """Bytes of content: 0 for all but files."""
        return 0 if self.source is None else self.source.size

    @property
    def hides(self) -> str:
        """The path that a whiteout deletes from the layers below; "" for an opaque one, and for all other entries."""
        if self.type is not EntryType.WHITEOUT:
            return ""
        parent, slash, name = self.path.rpartition("/")
        return "" if name == OPAQUE_WHITEOUT else parent + slash + name.removeprefix(WHITEOUT_PREFIX)


def whiteout(path: str) -> Entry:
    """What deletes `path` from the layers below: an empty file `.wh.<name>` beside it (image-spec, layer.md)."""
    _check_path(path, EntryType.FILE)
    parent, slash, name = path.rpartition("/")
    return Entry(path=f"{parent}{slash}{WHITEOUT_PREFIX}{name}", type=EntryType.WHITEOUT, mode=0)


def opaque(directory: str) -> Entry:
    """What hides all that the layers below have in `directory`: an empty file `.wh..wh..opq` in it."""
    path = OPAQUE_WHITEOUT if directory == ROOT else f"{directory}/{OPAQUE_WHITEOUT}"
    return Entry(path=path, type=EntryType.WHITEOUT, mode=0)


def _refuse(path: str, why: str) -> LayerError:
    return LayerError(f"{shorten(path)} cannot be in a layer: {why}")


def _encode(path: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _refuse(path, f"{shorten(text)} is not UTF-8: rename it") from None


def _check_path(path: str, kind: EntryType) -> None:
    whole = f"/{path}/"
    if "//" in whole or "/./" in whole or "/../" in whole or "\0" in path:
        if path == ROOT and kind is EntryType.DIRECTORY:
            return
        raise _refuse(
            path, "a path is relative to the root, like usr/bin/env, without NUL, `.`, `..` or a slash at its end"
        )
    size = len(path) if path.isascii() else len(_encode(path, path))
    if size > _MAX_PATH:
        raise _refuse(path, f"its path has {size} bytes, more than {_MAX_PATH}: shorten it")
    if kind is EntryType.WHITEOUT:
        path = _check_whiteout(path)
    if size > _MAX_NAME and (longest := max(len(name.encode()) for name in path.split("/"))) > _MAX_NAME:
        raise _refuse(path, f"one of its names has {longest} bytes, more than {_MAX_NAME}: shorten it")
    if WHITEOUT_PREFIX in path and any(name.startswith(WHITEOUT_PREFIX) for name in path.split("/")):
        # Consumers would delete a file of the layers below instead of making this one.
        raise _refuse(path, "names that begin with .wh. mean a deletion: rename it, or declare a whiteout")


def _check_whiteout(path: str) -> str:
    """What is left of the path to check: the part that names no whiteout."""
    parent, slash, name = path.rpartition("/")
    if name == OPAQUE_WHITEOUT:
        return parent
    hidden = name.removeprefix(WHITEOUT_PREFIX)
    if hidden in {name, "", ".", ".."}:
        raise _refuse(path, "the name of a whiteout is .wh. and the name that it deletes")
    return parent + slash + hidden


def _check_numbers(entry: Entry) -> None:
    if not 0 <= entry.mode <= 0o7777:
        raise _refuse(entry.path, f"its mode {entry.mode:#o} is not within 0 and 0o7777: leave the type's bits out")
    if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
        raise _refuse(entry.path, f"its owner {entry.uid}:{entry.gid} is not within 0 and {MAX_ID}")
    if not 0 <= entry.mtime <= MAX_MTIME:
        raise _refuse(entry.path, f"its mtime {entry.mtime} is not within 0 and {MAX_MTIME} seconds since 1970")


def _check_device(entry: Entry) -> None:
    if entry.type not in _DEVICES:
        raise _refuse(entry.path, f"a {entry.type} has no device number")
    if not all(0 <= number <= most for number, most in zip(entry.device, _MAX_DEVICE, strict=True)):
        major, minor = _MAX_DEVICE
        raise _refuse(entry.path, f"its device number {entry.device} is not within (0, 0) and ({major}, {minor})")


def _check_xattrs(entry: Entry) -> None:
    total = 0
    for name, value in entry.xattrs:
        size = len(_encode(entry.path, name))
        if not name or size > _MAX_XATTR_NAME or "=" in name or "\0" in name:
            raise _refuse(entry.path, f"the xattr name {shorten(name)} is empty, long, or has a `=` or NUL: drop it")
        if not value:
            raise _refuse(entry.path, f"its xattr {shorten(name)} is empty, which tar cannot say: drop it")
        total += size + len(value)
    if len({name for name, _ in entry.xattrs}) < len(entry.xattrs):
        raise _refuse(entry.path, "one of its xattrs is there twice: keep one")
    if total > _MAX_XATTRS:
        raise _refuse(entry.path, f"its xattrs have {total} bytes, more than {_MAX_XATTRS}: drop some")


def _check_kind(entry: Entry) -> None:
    """What a link, a whiteout, or what has a link target and should not, is to be asked."""
    if entry.type is EntryType.SYMLINK:
        _check_symlink(entry)
    elif entry.type is EntryType.HARDLINK:
        _check_hardlink(entry)
    elif entry.link:
        raise _refuse(entry.path, f"a {entry.type} has no link target: leave {shorten(entry.link)} out")
    else:
        _check_path(entry.path, entry.type)
        if entry.mode or entry.uid or entry.gid or entry.mtime or entry.xattrs:
            raise _refuse(
                entry.path, "a whiteout has no attributes: mode, uid, gid and mtime are 0, and it has no xattrs"
            )


def _check_symlink(entry: Entry) -> None:
    target = entry.link
    if entry.mode != 0o777:
        raise _refuse(entry.path, f"a symlink's mode is 0o777, not {entry.mode:#o}")
    if not target or "\0" in target:
        raise _refuse(entry.path, "a symlink's target has at least one character and no NUL")
    if len(_encode(entry.path, target)) > _MAX_SYMLINK:
        raise _refuse(entry.path, f"its target has more than {_MAX_SYMLINK} bytes: shorten it")
    if ".." not in target:
        return
    # podman joins even an absolute target to the symlink's directory, and refuses the layer if that is outside.
    depth = entry.path.count("/")
    for name in target.split("/"):
        if name == "..":
            depth -= 1
        elif name not in {"", "."}:
            depth += 1
        if depth < 0:
            raise _refuse(entry.path, f"its target {shorten(target)} climbs above the root: use an absolute target")


def _check_hardlink(entry: Entry) -> None:
    try:
        _check_path(entry.link, EntryType.FILE)
    except LayerError as error:
        raise _refuse(entry.path, f"its hardlink's target is no path of a file: {error}") from error
    if entry.link == entry.path:
        raise _refuse(entry.path, "it is a hardlink to itself")
