"""Ground: what is below a layer, and how new entries are put upon it.

Consumers disagree on what a missing parent would be, on directories that take the place of links, and on links of
parents: nothing of the kind is in a layer (LAYERS, items 12 and 13). Pure.
"""

from typing import Final

from layerkit.build.filesystem import join
from layerkit.layer.entry import MAX_MTIME, ROOT, Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import IndexedEntry
from layerkit.layer.source import BytesSource
from layerkit.layer.tree import FileTree, Place

_OF_THE_HOST: Final = ("security.selinux", "security.ima", "security.evm", "trusted.", "user.overlay.")
"""Extended attributes that say something of the machine where a layer was made, and nothing of the image."""


class Ground:
    """What there is below a layer. Most of what is put there goes to few directories, which are looked up once."""

    def __init__(self, tree: FileTree) -> None:
        self.tree = tree
        self._places: dict[str, Place] = {}

    def find(self, path: str) -> tuple[str, IndexedEntry | None]:
        """Where a path is once the links of its parents are followed, and what is there. Raises LayerError."""
        parent, _, name = path.rpartition("/")
        if path == ROOT:
            return path, self.tree.lookup(path)
        place = self._place(parent, path)
        return join(place.path, name), place.lookup(name)

    def is_bare(self, directory: str) -> bool:
        """Whether what is put into the directory goes where it says, and meets nothing. Raises LayerError."""
        place = self._place(directory, directory)
        return place.path == directory and place.is_empty

    def _place(self, directory: str, path: str) -> Place:
        place = self._places.get(directory)
        if place is None:
            place = self._places[directory] = self.tree.place(directory, path=path)
        return place


def settle(entry: Entry, ground: Ground, *, is_declared: bool) -> Entry:
    """Where an entry goes on top of what there is: through the links of its parents, and never over a folder.

    A folder that exists keeps its attributes unless the spec declares others: copying into /tmp must not take its
    sticky bit. Raises LayerError.
    """
    path, existing = ground.find(entry.path)
    if entry.type is EntryType.DIRECTORY:
        if existing is not None and existing.type is EntryType.SYMLINK:
            path = ground.tree.resolve_directory(path)
            existing = ground.tree.lookup(path)
        if existing is not None and existing.type is EntryType.DIRECTORY:
            return entry.changed(path=path) if is_declared else _kept(existing, path)
        if existing is not None:
            raise _cannot_replace(existing, path, EntryType.DIRECTORY)
    elif existing is not None and existing.type is EntryType.DIRECTORY:
        raise _cannot_replace(existing, path, entry.type)
    return entry.changed(path=path) if path != entry.path else entry


def _cannot_replace(existing: IndexedEntry, path: str, kind: EntryType) -> LayerError:
    mend = "choose another destination"
    if kind is EntryType.FILE:
        mend += ", or one with a slash at its end to copy into it"
    return LayerError(
        f"/{path} is a {name_type(existing.type)} of a layer below, and cannot become a {name_type(kind)}: {mend}, "
        "or `remove:` it in this layer"
    )


def name_type(kind: EntryType) -> str:
    return "folder" if kind is EntryType.DIRECTORY else str(kind).replace("_", " ")


def add_parents(entries: dict[str, Entry], path: str, below: FileTree) -> None:
    """Every parent is in the layer, as it is below: consumers disagree on what a missing one would be."""
    while path := path.rpartition("/")[0]:
        if path in entries:
            return
        existing = below.lookup(path)
        if existing is None:
            entries[path] = Entry(path=path, type=EntryType.DIRECTORY, mode=0o755)
        elif existing.type is EntryType.DIRECTORY:
            entries[path] = _kept(existing, path)
        else:
            raise _cannot_replace(existing, path, EntryType.DIRECTORY)


def _kept(existing: IndexedEntry, path: str) -> Entry:
    """A folder as it is below, as far as an entry can say it: what a tar of others holds can be odder than ours."""
    return Entry(
        path=path,
        type=EntryType.DIRECTORY,
        mode=existing.mode,
        uid=existing.uid,
        gid=existing.gid,
        mtime=min(max(existing.mtime, 0), MAX_MTIME),
        xattrs=_kept_xattrs(existing),
    )


def _kept_xattrs(existing: IndexedEntry) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value) for name, value in existing.xattrs if value and not name.startswith(_OF_THE_HOST))


def change_content(path: str, content: bytes, below: FileTree) -> Entry:
    """A file of what is below with another content, or a new one."""
    path = below.resolve_directory(path)
    existing = below.lookup(path)
    source = BytesSource(content)
    if existing is None:
        return Entry(path=path, type=EntryType.FILE, mode=0o644, source=source)
    return Entry(
        path=path,
        type=EntryType.FILE,
        mode=existing.mode,
        uid=existing.uid,
        gid=existing.gid,
        xattrs=_kept_xattrs(existing),
        source=source,
    )
