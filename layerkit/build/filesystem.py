"""File systems made of layers: what is where, and how its content is got.

A plan stands on one, and copies from others. Nothing is unpacked: the tree is one of headers, and what is to be copied
is taken out of its layer when it is known what that is. Blocking.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Final, NamedTuple, Protocol, Self

import msgspec

from layerkit.build.planned import PlannedLayer
from layerkit.layer.entry import ROOT, Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import IndexedEntry, LayerIndex
from layerkit.layer.source import BytesSource, Contents, PartSource, Source
from layerkit.layer.spool import Picked
from layerkit.layer.tree import FileTree
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import shorten

GLOB: Final = re.compile(r"[*?\[]")
_MAX_READ: Final = 4 * 2**20


class Match(NamedTuple):
    """`below` the fixed part of the pattern, "" where the pattern is no glob; `path` in the file system itself."""

    below: str
    path: str


class LayerContents(Protocol):
    """The contents of one layer's files."""

    @property
    def identity(self) -> str | None:
        """What tells the whole layer from all others, None where nobody knows that."""

    def source(self, entry: IndexedEntry) -> Source:
        """Where the content of this file of the layer is read. Raises LayerError."""


class StoredLayer(msgspec.Struct, frozen=True):
    """A layer that exists. What an index keeps needs no layer, the rest is `picked` out of it before it is read."""

    descriptor: Descriptor
    kept: Mapping[int, bytes]
    picked: Picked

    @classmethod
    def of(cls, descriptor: Descriptor, index: LayerIndex) -> Self:
        return cls(descriptor, index.contents, Picked(str(descriptor.digest)))

    @property
    def identity(self) -> str:
        return str(self.descriptor.digest)

    def source(self, entry: IndexedEntry) -> Source:
        if entry.sparse:
            raise LayerError(f"/{entry.path} is stored as a sparse file, which cannot be read: copy it elsewhere")
        if entry.offset in self.kept:
            return BytesSource(self.kept[entry.offset])
        self.picked.want(entry.offset, entry.size)
        return PartSource(self.picked, entry.offset, entry.size)


class OpenTar(msgspec.Struct, frozen=True):
    """A tar that is at hand as a whole: an archive."""

    contents: Contents

    @property
    def identity(self) -> str | None:
        return self.contents.identity

    def source(self, entry: IndexedEntry) -> Source:
        if entry.sparse:
            raise LayerError(f"/{entry.path} is stored as a sparse file, which cannot be read: make the archive anew")
        return PartSource(self.contents, entry.offset, entry.size)


class PlannedLayerContents:
    """A layer that is yet to be written."""

    def __init__(self, layer: PlannedLayer) -> None:
        self._layer = layer

    @property
    def identity(self) -> str | None:
        return self._layer.outline.key

    @cached_property
    def _by_path(self) -> dict[str, Entry]:
        return {entry.path: entry for entry in self._layer.entries}

    def source(self, entry: IndexedEntry) -> Source:
        source = self._by_path[entry.path].source
        if source is None:
            raise LayerError(f"/{entry.path} is no file")
        return source


class Filesystem:
    """The layers of `tree`, the lowest first, have their contents in `layers`."""

    def __init__(self) -> None:
        self.layers: list[LayerContents] = []
        self._tree = FileTree()
        self._entries: list[Callable[[], Sequence[IndexedEntry]]] = []
        self._in_tree = 0
        """How many of the layers are in the tree by now."""

    @property
    def tree(self) -> FileTree:
        while self._in_tree < len(self._entries):
            self._in_tree += 1
            self._tree.add(self._entries[self._in_tree - 1]())
        return self._tree

    @property
    def digest(self) -> str | None:
        """What tells all that is in it from all others, None where that cannot be told without reading it."""
        digester = hashlib.sha256()
        for layer in self.layers:
            if layer.identity is None:
                return None
            digester.update(f"{layer.identity}\n".encode())
        return digester.hexdigest()

    @classmethod
    def of(cls, layers: Sequence[tuple[Descriptor, LayerIndex]]) -> "Filesystem":
        """That of an image. Raises LayerError for layers that make none."""
        filesystem = cls()
        for descriptor, index in layers:
            filesystem.add(index.entries, StoredLayer.of(descriptor, index))
        return filesystem

    def add(self, entries: Sequence[IndexedEntry], contents: LayerContents) -> None:
        """Put one more layer on top. Raises LayerError; the file system is of no use then."""
        self.add_later(lambda: entries, contents)
        _ = self.tree

    def add_later(self, entries: Callable[[], Sequence[IndexedEntry]], contents: LayerContents) -> None:
        """Like `add`, but only once somebody looks: on the last layer of most images nobody builds, and the headers of
        a hundred thousand files are as large as all else that is known of them."""
        self.layers.append(contents)
        self._entries.append(entries)

    def put(self, layer: PlannedLayer) -> None:
        """Put a layer on top that is yet to be written."""
        self.add_later(lambda: [indexed(entry) for entry in layer.entries], PlannedLayerContents(layer))

    def copy(self) -> "Filesystem":
        """Another one of the same layers, to put others on."""
        filesystem = Filesystem()
        for entries, contents in zip(self._entries, self.layers, strict=True):
            filesystem.add_later(entries, contents)
        return filesystem

    def source(self, path: str) -> Source:
        """Where the content of the file at `path` is read. Raises LayerError."""
        origin = self.tree.origin(path)
        if origin is None or origin.entry.type is not EntryType.FILE:
            raise LayerError(f"/{path} is no file")
        return self.layers[origin.layer].source(origin.entry)

    def read(self, path: str) -> bytes:
        """The content of a small file that is at hand; every symlink is followed, and what is not there is empty.

        Raises LayerError for what is no file, is too large, or can only be had by reading its layer.
        """
        path = self.tree.resolve_directory(path)
        if self.tree.lookup(path) is None:
            return b""
        source = self.source(path)
        if source.size > _MAX_READ:
            raise LayerError(f"/{path} has {source.size} bytes, more than {_MAX_READ}: it cannot be read here")
        if isinstance(source, PartSource) and isinstance(source.contents, Picked):
            raise LayerError(f"/{path} cannot be read here: it stands elsewhere, behind a link or a name of its own")
        return b"".join(source.pieces(_MAX_READ))

    def identity(self, path: str) -> tuple[str, int] | None:
        """What tells the content at `path` from all others: the digest of its layer, and its place there."""
        origin = self.tree.origin(path)
        contents = self.layers[origin.layer] if origin is not None and self.layers else None
        if origin is None or not isinstance(contents, StoredLayer):
            return None
        return contents.descriptor.digest, origin.entry.offset

    def match(self, pattern: str) -> "list[Match]":
        """What a pattern like `/usr/share/**/*.mo` matches, in the order of the paths; no wildcard matches a name that
        begins with a dot. Links on the way are followed, what is matched is not. Raises LayerError for loops of links.
        """
        parts = [part for part in pattern.split("/") if part]
        fixed = next((n for n, part in enumerate(parts) if GLOB.search(part)), len(parts))
        if fixed == len(parts):
            path = self.tree.resolve("/".join(parts)) if parts else ROOT
            return [Match("", path)] if self.tree.lookup(path) is not None else []
        base = self.tree.resolve_directory("/".join(parts[:fixed]))
        return sorted(set(self._glob(Match("", base), simplify(parts[fixed:]))))

    def _glob(self, found: "Match", parts: Sequence[str]) -> "Iterator[Match]":
        if not parts:
            yield found
            return
        first, *rest = parts
        if first == "**" and not rest:
            # All that is in a folder: the folder itself, which stands for its contents.
            yield found
            return
        if first == "**":
            yield from self._glob(found, rest)
        matches = compile_glob("*" if first == "**" else first)
        above = "" if found.path == ROOT else found.path
        for child in self.tree.children(found.path):
            name = child.path.rpartition("/")[2]
            if not matches(name) or (name.startswith(".") and not first.startswith(".")):
                continue
            match = Match(join(found.below, name), join(above, name))
            if first == "**":
                if child.type is EntryType.DIRECTORY:
                    yield from self._glob(match, parts)
            elif not rest:
                yield match
            else:
                inside = self.tree.resolve_directory(match.path)
                folder = self.tree.lookup(inside)
                if folder is not None and folder.type is EntryType.DIRECTORY:
                    yield from self._glob(Match(match.below, inside), rest)

    def suggest(self, path: str) -> str:
        """A path that may have been meant."""
        import difflib  # noqa: PLC0415 - only a mistake needs it

        parent, _, name = path.strip("/").rpartition("/")
        try:
            parent = self.tree.resolve_directory(parent)
        except LayerError:
            return ""
        names = [child.path.rpartition("/")[2] for child in self.tree.children(parent)]
        close = difflib.get_close_matches(name, names, n=1)
        return f"did you mean {shorten('/' + join('' if parent == ROOT else parent, close[0]))}?" if close else ""


@lru_cache(maxsize=256)
def compile_glob(pattern: str) -> Callable[[str], re.Match[str] | None]:
    """One component of a glob: `*`, `?` and `[...]`."""
    import fnmatch  # noqa: PLC0415 - few specs have globs

    return re.compile(fnmatch.translate(pattern)).match


def simplify(parts: list[str]) -> list[str]:
    """`**` after `**` says nothing more, but takes the square of the time."""
    return [part for n, part in enumerate(parts) if part != "**" or parts[n - 1 : n] != ["**"]]


def join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent and name else parent or name


def indexed(entry: Entry) -> IndexedEntry:
    """A planned entry as later layers see it."""
    return IndexedEntry(
        path=entry.path,
        type=entry.type,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size,
        link=entry.link,
        mtime=entry.mtime,
        xattrs=entry.xattrs,
        device=entry.device,
    )
