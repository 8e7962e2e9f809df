"""Indexing: what is in the layers of an image, so that others can be put on them without unpacking any.

A layer is streamed once; its headers stay, its content does not (LAYERS, S1). Names that lead out of the root are
refused here, all other oddities are read as docker and containerd read them (go-archive, diff.go; containerd,
pkg/archive/tar.go). What layers make together is a `FileTree` (`tree.py`).
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from layerkit.layer.decompress import decompress
from layerkit.layer.entry import OPAQUE_WHITEOUT, ROOT, WHITEOUT_PREFIX, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.limits import DEFAULT_LIMITS, Limits, exceeds
from layerkit.layer.read import Header, Tape, decode, iter_headers
from layerkit.oci.digest import Digest, new_hash, shorten

if TYPE_CHECKING:
    from hashlib import _Hash

MAX_READ: Final = 16 * 2**20
"""Bytes of one file that `read_file` reads unless told otherwise."""

KEPT: Final = frozenset(
    {
        "etc/passwd",
        "etc/group",
        "etc/shadow",
        "etc/shells",
        "etc/gshadow",
        "etc/os-release",
        "usr/lib/os-release",
        "etc/ld.so.cache",
        "etc/ld.so.conf",
        "var/lib/apt/extended_states",
        "var/lib/dpkg/status",
    }
)
"""Files that a build asks of its base: an index holds their content too, so that the layer need not be at hand."""
_KEPT_BELOW: Final = (
    "etc/ld.so.conf.d/",
    "usr/local/share/ca-certificates/",
    "usr/share/ca-certificates/",
    "usr/share/debianutils/",
    "usr/share/pam-configs/",
    "usr/share/pam/",
    "var/lib/dpkg/alternatives/",
    "var/lib/dpkg/info/",
    "var/lib/dpkg/status.d/",
    "var/lib/dpkg/triggers/",
)
"""Folders of which the same holds, as far as their files are of these kinds."""
_NOT_KEPT: Final = (".postinst", ".postrm", ".preinst", ".prerm", ".config", ".templates", ".symbols")
_CHECKSUMS: Final = "var/lib/dpkg/info/", ".md5sums"
"""Of dpkg they are as long as all else together, and the lists of files stand beside them."""
_MAX_KEPT: Final = 4 * 2**20
_MOST_KEPT: Final = 32 * 2**20
"""Bytes of one file, and of all files of a layer together."""

_TYPES: Final = {
    ord("0"): EntryType.FILE,
    ord("\0"): EntryType.FILE,
    ord("7"): EntryType.FILE,
    ord("1"): EntryType.HARDLINK,
    ord("2"): EntryType.SYMLINK,
    ord("3"): EntryType.CHARACTER_DEVICE,
    ord("4"): EntryType.BLOCK_DEVICE,
    ord("5"): EntryType.DIRECTORY,
    ord("6"): EntryType.FIFO,
}
_AUFS: Final = ".wh..wh."
"""What else begins so is the bookkeeping of AUFS, in layers that old versions of docker made."""


class IndexedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One path of an existing layer, as its header has it.

    `path` is relative to the root, without `.`, `..` or a slash at either end; ROOT is the root itself. `mode` is
    permission bits alone. `link` is a symlink's text verbatim, or the path of a hardlink's target. `mtime` is in whole
    seconds, `xattrs` are sorted by name. `offset` is of the content in the uncompressed tar; it is not the content
    itself of a `sparse` file. Names that are not UTF-8 have lone surrogates, and ids and times may be such that no
    Entry can have them.
    """

    path: str
    type: EntryType
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    link: str = ""
    mtime: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    device: tuple[int, int] = (0, 0)
    offset: int = 0
    sparse: bool = False

    @property
    def hides(self) -> str:
        """The path that a whiteout deletes from the layers below; "" for an opaque one, and for all other entries."""
        if self.type is not EntryType.WHITEOUT:
            return ""
        parent, slash, name = self.path.rpartition("/")
        return "" if name == OPAQUE_WHITEOUT else parent + slash + name.removeprefix(WHITEOUT_PREFIX)


class LayerIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The entries of a layer in its order; a path may be there twice. `diff_id` and `uncompressed_size` are of the
    tar, as it was read. `contents` are those of the files of KEPT, by the offset of their entries."""

    entries: tuple[IndexedEntry, ...]
    diff_id: Digest
    uncompressed_size: int
    contents: Mapping[int, bytes] = msgspec.field(default_factory=lambda: MappingProxyType({}))


def index_layer(
    file: BinaryIO, media_type: str, diff_id: Digest | None = None, *, limits: Limits = DEFAULT_LIMITS
) -> LayerIndex:
    """Index the layer that `file` is at the start of, reading it to its end.

    `media_type` says how it is stored. Raises LayerError for what is not so stored, is no tar, has entries that no
    consumer takes or that lead out of the root, exceeds one of the `limits`, or is not of the `diff_id` given (S6).
    """
    pieces = decompress(file, media_type, limits)
    index = index_tar(pieces, algorithm=diff_id.algorithm if diff_id else "sha256", limits=limits)
    if diff_id is not None and index.diff_id != diff_id:
        raise diff_id_differs(index.diff_id, diff_id)
    return index


def is_kept(path: str) -> bool:
    """Whether an index holds the content of a file at `path`."""
    if path in KEPT or not path.startswith(_KEPT_BELOW):
        return path in KEPT
    folder, ending = _CHECKSUMS
    return not path.endswith(_NOT_KEPT) and not (path.startswith(folder) and path.endswith(ending))


def diff_id_differs(actual: Digest, stated: Digest) -> LayerError:
    """What to raise where a layer has another diff_id than the config of its image states."""
    return LayerError(
        f"the layer's content is not what its image says: its diff_id is {actual}, not {stated}; fetch it again"
    )


def index_tar(
    pieces: Iterable[bytes],
    *,
    algorithm: str = "sha256",
    limits: Limits = DEFAULT_LIMITS,
    has_whiteouts: bool = True,
) -> LayerIndex:
    """Index the tar of these pieces. Raises what `index_layer` raises.

    In a tar that is no layer, without whiteouts, a name that would be one is refused.
    """
    tar = _Meter(pieces, new_hash(algorithm))
    tape = Tape(tar)
    entries: list[IndexedEntry] = []
    kept: dict[str, tuple[int, bytes]] = {}
    names = total = 0
    for header in iter_headers(tape, limits):
        entry = _make_entry(header, limits, has_whiteouts=has_whiteouts)
        if entry is None:
            continue
        entries.append(entry)
        names += len(entry.path) + len(entry.link) + sum(len(name) + len(value) for name, value in entry.xattrs)
        if names > limits.names:
            raise exceeds(limits, "names", f"the names in the layer have at least {names} bytes")
        if is_kept(entry.path) and entry.type is EntryType.FILE and not entry.sparse and entry.size <= _MAX_KEPT:
            total += entry.size
            if total <= _MOST_KEPT:
                kept[entry.path] = entry.offset, tape.read(entry.size)
    return LayerIndex(
        entries=tuple(entries),
        diff_id=Digest.from_hash(tar.digester),
        uncompressed_size=tar.size,
        contents=MappingProxyType(dict(kept.values())),
    )


def read_file(
    file: BinaryIO,
    media_type: str,
    entry: IndexedEntry,
    *,
    max_size: int = MAX_READ,
    limits: Limits = DEFAULT_LIMITS,
) -> bytes:
    """The content of one file of the layer that `file` is at the start of and whose index `entry` is from.

    Raises LayerError for an entry that is no file, a sparse file, one of more than `max_size` bytes, and what
    `index_layer` raises of the layer up to there. Whether the layer is the one that was indexed is not checked.
    """
    if entry.type is not EntryType.FILE:
        raise LayerError(f"{shorten(entry.path)} is a {entry.type}: only files have content")
    if entry.sparse:
        raise LayerError(f"{shorten(entry.path)} is stored as a sparse file, which cannot be read: copy it elsewhere")
    if entry.size > max_size:
        raise LayerError(f"{shorten(entry.path)} has {entry.size} bytes, more than {max_size}: it cannot be read here")
    tape = Tape(decompress(file, media_type, limits))
    if tape.skip(entry.offset) == entry.offset:
        content = tape.read(entry.size)
        if len(content) == entry.size:
            return content
    raise LayerError(f"the layer ends early, before the end of {shorten(entry.path)}: fetch it again")


class _Meter:
    """Passes a tar on, and takes its digest and size on the way."""

    def __init__(self, pieces: Iterable[bytes], digester: "_Hash") -> None:
        self._pieces = pieces
        self.digester = digester
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.digester.update(piece)
            self.size += len(piece)
            yield piece


def _make_entry(header: Header, limits: Limits, *, has_whiteouts: bool) -> IndexedEntry | None:
    """None for what is no part of the file system."""
    path = _normalise(header.name, limits)
    kind = _TYPES.get(header.flag)
    if kind is None:
        raise LayerError(
            f"{shorten(path)} in the layer is of the type {chr(header.flag)!r}, which no consumer of layers takes"
            + (": a sparse file of old GNU tar; make the layer without --sparse" if header.flag == ord("S") else "")
        )
    if path == ROOT and kind is not EntryType.DIRECTORY:
        raise LayerError(f"the root of the layer is a {kind}, not a directory")
    link = ""
    if kind is EntryType.SYMLINK:
        link = decode(header.link)
        if len(header.link) > limits.path:
            raise exceeds(limits, "path", f"the target of {shorten(path)} has {len(header.link)} bytes")
        if not link or "\0" in link:
            raise LayerError(f"{shorten(path)} in the layer is a symlink to {shorten(link)}: nothing can be there")
    elif kind is EntryType.HARDLINK:
        link = _normalise(header.link, limits)
    if WHITEOUT_PREFIX in path:
        if not has_whiteouts:
            _refuse_whiteout(path)
        if _AUFS in path and _is_bookkeeping(path):
            return None
        name = path.rpartition("/")[2]
        if name.startswith(WHITEOUT_PREFIX):
            if name in {".wh.", ".wh..", ".wh..."}:
                raise LayerError(f"{shorten(path)} in the layer is a whiteout of nothing")
            return IndexedEntry(path=path, type=EntryType.WHITEOUT, mode=0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    if header.xattrs:
        total = sum(len(name) + len(value) for name, value in header.xattrs)
        if total > limits.xattrs:
            raise exceeds(limits, "xattrs", f"the xattrs of {shorten(path)} have {total} bytes")
        if any(not name or b"\0" in name for name, _ in header.xattrs):
            raise LayerError(f"{shorten(path)} in the layer has an xattr without a name, or with a NUL in it")
        xattrs = tuple((decode(name), value) for name, value in header.xattrs)
    return IndexedEntry(
        path=path,
        type=kind,
        mode=header.mode,
        uid=header.uid,
        gid=header.gid,
        size=header.size,
        link=link,
        mtime=header.mtime,
        xattrs=xattrs,
        device=header.device,
        offset=header.offset,
        sparse=header.sparse,
    )


def _normalise(name: bytes, limits: Limits) -> str:
    if len(name) > limits.path:
        raise exceeds(limits, "path", f"{shorten(decode(name))} in the layer has {len(name)} bytes")
    path = decode(name).rstrip("/")
    if path and path[0] not in "./" and "/." not in path and "//" not in path and "\0" not in path:
        return path
    names = [part for part in path.split("/") if part not in {"", "."}]
    if "\0" in path or ".." in names or not name:
        raise LayerError(
            f"{shorten(decode(name))} in the layer leads out of its root, or nowhere: do not use the layer"
        )
    return "/".join(names) or ROOT


def plain_name(name: bytes, limits: Limits) -> str:
    """The path that a name in an archive stands for. Raises LayerError for one that leads out of it, and for one that
    would be a whiteout in a layer."""
    path = _normalise(name, limits)
    _refuse_whiteout(path)
    return path


def _refuse_whiteout(path: str) -> None:
    if WHITEOUT_PREFIX in path and any(name.startswith(WHITEOUT_PREFIX) for name in path.split("/")):
        raise LayerError(
            f"{shorten(path)} cannot be in an image: names that begin with .wh. mean a deletion there; rename it"
        )


def _is_bookkeeping(path: str) -> bool:
    *parents, name = path.split("/")
    return any(parent.startswith(_AUFS) for parent in parents) or (name.startswith(_AUFS) and name != OPAQUE_WHITEOUT)
