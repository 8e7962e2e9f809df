"""Indexing: what is in the layers of an image, so that others can be put on them without unpacking any.

A layer is streamed once; its headers stay, its content does not (LAYERS, S1). Names that lead out of the root are
refused here, all other oddities are read as docker and containerd read them (go-archive, diff.go; containerd,
pkg/archive/tar.go). Source: image-spec, layer.md, "Applying Changesets".
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from layerkit.layer.entry import ROOT, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.read import DEFAULT_LIMITS, Header, Limits, Tape, decode, decompress, exceeds, iter_headers
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
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_AUFS: Final = ".wh..wh."
"""What else begins so is the bookkeeping of AUFS, in layers that old versions of docker made."""
_MAX_SYMLINKS: Final = 40
"""Of one path: what Linux follows before it says ELOOP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedEntry:
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
        return "" if name == _OPAQUE else parent + slash + name.removeprefix(_WHITEOUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerIndex:
    """The entries of a layer in its order; a path may be there twice. `diff_id` and `uncompressed_size` are of the
    tar, as it was read. `contents` are those of the files of KEPT, by the offset of their entries."""

    entries: tuple[IndexedEntry, ...]
    diff_id: Digest
    uncompressed_size: int
    contents: Mapping[int, bytes] = field(default_factory=lambda: MappingProxyType({}))


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
    if _WHITEOUT in path:
        if not has_whiteouts:
            _refuse_whiteout(path)
        if _AUFS in path and _is_bookkeeping(path):
            return None
        name = path.rpartition("/")[2]
        if name.startswith(_WHITEOUT):
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
    if _WHITEOUT in path and any(name.startswith(_WHITEOUT) for name in path.split("/")):
        raise LayerError(
            f"{shorten(path)} cannot be in an image: names that begin with .wh. mean a deletion there; rename it"
        )


def _is_bookkeeping(path: str) -> bool:
    *parents, name = path.split("/")
    return any(parent.startswith(_AUFS) for parent in parents) or (name.startswith(_AUFS) and name != _OPAQUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the attributes and the content of a path are: in which of the layers, counted from 0 and the lowest,
    and in which of its entries. It is never a hardlink, unless to what is nowhere."""

    layer: int
    entry: IndexedEntry


class _Node:
    """A name in the tree. `children` is None for all but directories.

    `touched` is the last layer that has an entry at or below the node, `opaque` the last to hide all below it.
    """

    __slots__ = ("children", "entry", "opaque", "origin", "touched")

    def __init__(self, entry: IndexedEntry, origin: Origin) -> None:
        self.entry = entry
        self.origin = origin
        self.children: dict[str, _Node] | None = {} if entry.type is EntryType.DIRECTORY else None
        self.touched = origin.layer
        self.opaque = -1


class Subtree:
    """What was in a tree at one path, until it was taken."""

    __slots__ = ("_node",)

    def __init__(self, node: _Node) -> None:
        self._node = node

    def children(self) -> "list[tuple[str, Subtree]]":
        """Of a directory, by name; of all else there are none."""
        return [(name, Subtree(child)) for name, child in sorted((self._node.children or {}).items())]


class Place:
    """A directory of a tree, `path` "" for the root, be it there or not: for as long as the tree does not change."""

    __slots__ = ("_node", "path")

    def __init__(self, path: str, node: _Node | None) -> None:
        self.path = path
        self._node = node

    def lookup(self, name: str) -> IndexedEntry | None:
        """What is there under this name."""
        if self._node is None or self._node.children is None:
            return None
        node = self._node.children.get(name)
        return node.entry if node is not None else None


class FileTree:
    """The file system that layers make, the lowest first.

    Directories that no layer has are those that engines make: mode 0755, owned by root. Paths are taken as `/a/b` and
    as `a/b`, and given as `a/b`. An entry that stands below a symlink in its layer is found where that leads.
    """

    def __init__(self) -> None:
        self._root = _imply(ROOT, 0)
        self._layers = 0
        self._parents: dict[str, _Node] = {}
        """Directories by the paths that the entries of the layer at hand have for them."""

    @classmethod
    def of(cls, indexes: Iterable[LayerIndex]) -> Self:
        """The union of layers. Raises LayerError for an entry below what is no directory, and for loops of symlinks."""
        tree = cls()
        for index in indexes:
            tree.add(index.entries)
        return tree

    def lookup(self, path: str) -> IndexedEntry | None:
        """What is at `path`, no symlink of it followed; None where there is nothing."""
        node = self._find(path)
        return node.entry if node else None

    def origin(self, path: str) -> Origin | None:
        """Like `lookup`, but hardlinks lead to what they were linked to, be it still at its own path or not."""
        node = self._find(path)
        return node.origin if node else None

    def children(self, path: str) -> list[IndexedEntry]:
        """What is in the directory at `path`, by name; nothing for all else. No symlink is followed."""
        node = self._find(path)
        if node is None or not node.children:
            return []
        return [child.entry for _, child in sorted(node.children.items())]

    def walk(self) -> Iterator[tuple[str, Origin]]:
        """All paths but the root's, directories before what is in them, and their origins."""
        waiting = [("", self._root)]
        while waiting:
            above, node = waiting.pop()
            for name, child in sorted((node.children or {}).items()):
                path = f"{above}{name}"
                yield path, child.origin
                if child.children is not None:
                    waiting.append((f"{path}/", child))

    @property
    def root(self) -> IndexedEntry:
        return self._root.entry

    def take(self, path: str) -> "Subtree | None":
        """Remove what is at `path`, no symlink of it followed, and give it; None where there is nothing."""
        above, _, name = path.strip("/").rpartition("/")
        parent = self._find(above)
        node = parent.children.pop(name, None) if parent is not None and parent.children is not None else None
        return Subtree(node) if node is not None else None

    def resolve(self, path: str) -> str:
        """`path` with each symlink among its parents followed inside the root, but not the last name itself.

        Names need not exist; what is not there is no symlink. Raises LayerError, naming `path`, for a loop.
        """
        parent, _, name = path.rstrip("/").rpartition("/")
        if name in {"", ".", ".."}:
            return self.resolve_directory(path)
        return "/".join([*self._follow(parent, path)[0], name])

    def place(self, directory: str, *, path: str) -> "Place":
        """Where what is put into the directory goes, each symlink of it followed inside the root.

        It need not exist. Raises what `resolve` raises of `path`, which is to be put there.
        """
        names, nodes = self._follow(directory, path)
        return Place("/".join(names), nodes[-1])

    def resolve_directory(self, path: str) -> str:
        """`path` with each symlink in it followed inside the root, the last name too; see `resolve`."""
        return "/".join(self._follow(path, path)[0]) or ROOT

    def _find(self, path: str) -> _Node | None:
        node: _Node | None = self._root
        for name in path.split("/"):
            if name in {"", "."}:
                continue
            if node is None or node.children is None:
                return None
            node = node.children.get(name)
        return node

    def _follow(self, path: str, whole: str) -> tuple[list[str], list[_Node | None]]:
        """The names of `path` once symlinks are followed, and their nodes after that of the root."""
        names: list[str] = []
        nodes: list[_Node | None] = [self._root]
        pending = path.split("/")
        pending.reverse()
        followed = 0
        while pending:
            name = pending.pop()
            if name in {"", "."}:
                continue
            if name == "..":
                if names:
                    names.pop()
                    nodes.pop()
                continue
            parent = nodes[-1]
            node = parent.children.get(name) if parent is not None and parent.children is not None else None
            target = node.origin.entry if node is not None else None
            if target is None or target.type is not EntryType.SYMLINK:
                names.append(name)
                nodes.append(node)
                continue
            followed += 1
            if followed > _MAX_SYMLINKS:
                raise LayerError(f"{shorten(whole)} leads through more than {_MAX_SYMLINKS} symlinks: they make a loop")
            if target.link.startswith("/"):
                names.clear()
                del nodes[1:]
            pending.extend(reversed(target.link.split("/")))
        return names, nodes

    def add(self, entries: Iterable[IndexedEntry]) -> None:
        """Put one more layer on top. Raises what `of` raises; the tree is of no use then."""
        layer = self._layers
        self._layers += 1
        self._parents.clear()
        for entry in entries:
            if entry.type is EntryType.WHITEOUT:
                self._hide(entry, layer)
            elif entry.path == ROOT:
                self._root.entry = entry
                self._root.origin = Origin(layer=layer, entry=entry)
            else:
                self._put(entry, layer)

    def _put(self, entry: IndexedEntry, layer: int) -> None:
        above, _, name = entry.path.rpartition("/")
        parent = self._parents.get(above)
        if parent is None:
            parent = self._parents[above] = self._make_parent(above, entry, layer)
        siblings = _children_of(parent, entry)
        path = name if parent is self._root else f"{parent.entry.path}/{name}"
        if path != entry.path:
            entry = replace(entry, path=path)
        old = siblings.get(name)
        if old is not None:
            if old.children is not None and entry.type is EntryType.DIRECTORY:
                old.entry = entry
                old.origin = Origin(layer=layer, entry=entry)
                old.touched = layer
                return
            del siblings[name]
            self._forget(old)
        origin = Origin(layer=layer, entry=entry)
        if entry.type is EntryType.HARDLINK:
            # The file itself, which the link keeps even if a later layer deletes or replaces its first name.
            target = self._find(self.resolve(entry.link))
            if target is not None and target.children is None:
                origin = target.origin
        node = _Node(entry, origin)
        node.touched = layer
        siblings[name] = node

    def _make_parent(self, path: str, entry: IndexedEntry, layer: int) -> _Node:
        """The directory that `path` leads to, made where it is missing, as engines make it."""
        names, nodes = self._follow(path, entry.path)
        parent = self._root
        for depth, (name, node) in enumerate(zip(names, nodes[1:], strict=True), 1):
            parent.touched = layer
            siblings = _children_of(parent, entry)
            parent = siblings[name] = node or _imply("/".join(names[:depth]), layer)
        parent.touched = layer
        return parent

    def _hide(self, whiteout: IndexedEntry, layer: int) -> None:
        above, _, name = whiteout.path.rpartition("/")
        parent = self._parents.get(above) or self._follow(above, whiteout.path)[1][-1]
        if parent is None or parent.children is None:
            return
        if name == _OPAQUE:
            self._make_opaque(parent, layer)
            return
        # An engine does not ask whether the name is of this very layer: arrange() never lets it come to that.
        old = parent.children.pop(name.removeprefix(_WHITEOUT), None)
        if old is not None:
            self._forget(old)

    def _make_opaque(self, directory: _Node, layer: int) -> None:
        """Hide what layers below have in `directory`, and keep what this one has put there before it said so."""
        pending = [directory]
        while pending:
            node = pending.pop()
            if node.children is None or node.opaque == layer:
                continue
            node.opaque = layer
            node.children = {name: child for name, child in node.children.items() if child.touched == layer}
            pending.extend(node.children.values())
        self._parents.clear()

    def _forget(self, node: _Node) -> None:
        """What led through a directory or a symlink that is gone now leads elsewhere."""
        if node.children is not None or node.origin.entry.type is EntryType.SYMLINK:
            self._parents.clear()


def _children_of(parent: _Node, entry: IndexedEntry) -> dict[str, _Node]:
    if parent.children is None:
        raise LayerError(
            f"{shorten(entry.path)} in a layer is below {shorten(parent.entry.path)}, "
            f"which is a {parent.entry.type}: no engine takes such an image"
        )
    return parent.children


def _imply(path: str, layer: int) -> _Node:
    entry = IndexedEntry(path=path, type=EntryType.DIRECTORY, mode=0o755)
    return _Node(entry, Origin(layer=layer, entry=entry))
