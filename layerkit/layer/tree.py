"""The file system that layers make: each path, as the topmost layer that has it says, found without unpacking any.

Whiteouts and what replaces what are read as docker and containerd read them (go-archive, diff.go; containerd,
pkg/archive/tar.go). Source: image-spec, layer.md, "Applying Changesets".
"""

from collections.abc import Iterable, Iterator
from typing import Final, Self

import msgspec

from layerkit.layer.entry import OPAQUE_WHITEOUT, ROOT, WHITEOUT_PREFIX, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import IndexedEntry, LayerIndex
from layerkit.oci.digest import shorten

_MAX_SYMLINKS: Final = 40
"""Of one path: what Linux follows before it says ELOOP."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
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

    @property
    def is_empty(self) -> bool:
        return self._node is None or not self._node.children


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
            entry = msgspec.structs.replace(entry, path=path)
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
        if name == OPAQUE_WHITEOUT:
            self._make_opaque(parent, layer)
            return
        # An engine does not ask whether the name is of this very layer: arrange() never lets it come to that.
        old = parent.children.pop(name.removeprefix(WHITEOUT_PREFIX), None)
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
