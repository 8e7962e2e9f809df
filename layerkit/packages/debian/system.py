"""The file system that packages are installed into: what the base has, and above it what is new.

Nothing is written anywhere: what is new are entries of a layer. Blocking, as far as the base is read.
"""

from collections.abc import Iterator
from typing import Final, Protocol

from layerkit.layer.entry import ROOT, Entry, EntryType, whiteout
from layerkit.layer.index import IndexedEntry
from layerkit.layer.source import BytesSource
from layerkit.layer.tree import FileTree
from layerkit.oci.digest import shorten
from layerkit.packages.errors import PackageError

_MOST_LINKS: Final = 40
_MOST_BYTES: Final = 64 * 2**20


class Root(Protocol):
    """What the base has. `read` gives the content of a small file, nothing for what is not there."""

    @property
    def tree(self) -> FileTree: ...

    def read(self, path: str) -> bytes: ...


class System:
    """Paths are relative to the root and may lead through symlinks, which are followed within it."""

    def __init__(self, base: Root) -> None:
        self._base = base
        self._new: dict[str, Entry] = {}
        self._names: dict[str, set[str]] = {}
        self.umask = 0o022
        """Of the script that is followed."""
        self._hidden: set[str] = set()
        """What of the base is not there any more, but for what is new at the same paths."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All that is new, and the whiteouts of what is gone, by path."""
        gone = [whiteout(path) for path in self._hidden if path not in self._new]
        return tuple(sorted([*self._new.values(), *gone], key=lambda entry: entry.path))

    def lookup(self, path: str) -> Entry | IndexedEntry | None:
        """What is at `path`; a symlink at its end is not followed."""
        return self._at(self.resolve(path))

    def exists(self, path: str) -> bool:
        return self._at(self.follow(path)) is not None

    def is_new(self, path: str) -> bool:
        """Whether what is at `path`, or something below it, does not come from the base."""
        return next(self.walk(path), None) is not None

    def is_directory(self, path: str) -> bool:
        found = self._at(self.follow(path))
        return found is not None and found.type is EntryType.DIRECTORY

    def names(self, path: str) -> list[str]:
        """What is in a directory, by name."""
        path = self.follow(path)
        children = self._base.tree.children(path)
        below = {entry.path.rpartition("/")[2] for entry in children if entry.path not in self._hidden}
        return sorted(below | self._names.get(path, set()))

    def read(self, path: str) -> bytes:
        """The content of a file, nothing for what is not there."""
        path = self.follow(path)
        entry = self._new.get(path)
        if entry is None:
            return b"" if path in self._hidden else self._base.read(path)
        if entry.type is EntryType.HARDLINK:
            return self.read(entry.link)
        if entry.source is None:
            return b""
        if entry.size > _MOST_BYTES:
            raise PackageError(f"/{path} has {entry.size} bytes, more than {_MOST_BYTES}: it cannot be read here")
        return b"".join(entry.source.pieces(2**20))

    def put(self, entry: Entry) -> None:
        """Add an entry where its path leads; what was new there gives way."""
        path = self.resolve(entry.path)
        self._new[path] = entry if path == entry.path else entry.changed(path=path)
        parent, _, name = path.rpartition("/")
        self._names.setdefault(parent or ROOT, set()).add(name)

    def write(self, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """A file with this content; one that was there keeps its owner and mode."""
        path = self.follow(path)
        old = self._at(path)
        if old is not None:
            mode, uid, gid = old.mode, old.uid, old.gid
        self.put(Entry(path=path, type=EntryType.FILE, mode=mode, uid=uid, gid=gid, source=BytesSource(content)))

    def link(self, path: str, target: str) -> None:
        self.put(Entry(path=path.strip("/"), type=EntryType.SYMLINK, mode=0o777, link=target))

    def make_directory(self, path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """With its parents; one that is there stays as it is."""
        parent = path.strip("/").rpartition("/")[0]
        if parent and not self.is_directory(parent):
            self.make_directory(parent)
        if not self.exists(path):
            path = self.follow(path)
            self.put(Entry(path=path, type=EntryType.DIRECTORY, mode=mode, uid=uid, gid=gid))

    def change(self, path: str, *, mode: int | None = None, uid: int | None = None, gid: int | None = None) -> bool:
        """Change attributes of what is new, or of a directory. False for all else: its content is not ours to copy."""
        path = self.follow(path)
        found = self._at(path)
        if found is None or path == ROOT:
            return False
        entry = self._new.get(path)
        if entry is None:
            if found.type is not EntryType.DIRECTORY:
                return False
            entry = Entry(path=path, type=EntryType.DIRECTORY, mode=found.mode, uid=found.uid, gid=found.gid)
        if entry.type is EntryType.SYMLINK:
            return False
        self.put(
            entry.changed(
                mode=entry.mode if mode is None else mode,
                uid=entry.uid if uid is None else uid,
                gid=entry.gid if gid is None else gid,
            )
        )
        return True

    def set_xattr(self, path: str, name: str, value: bytes | None) -> None:
        """Give a new file an extended attribute, or take it away. Raises ValueError for what is not new."""
        path = self.follow(path)
        entry = self._new.get(path)
        if entry is None or entry.type is not EntryType.FILE:
            raise ValueError(path)
        xattrs = {**dict(entry.xattrs), name: value or b""}
        self.put(entry.changed(xattrs=tuple((key, xattrs[key]) for key in sorted(xattrs) if xattrs[key])))

    def remove(self, path: str) -> None:
        """Take back what is new at `path`."""
        path = self.resolve(path)
        if self._new.pop(path, None) is not None:
            parent, _, name = path.rpartition("/")
            self._names[parent or ROOT].discard(name)

    def hide(self, path: str) -> None:
        """Take away what the base has at `path`, if it is no directory."""
        path = self.resolve(path)
        found = self._base.tree.lookup(path)
        if found is not None and found.type is not EntryType.DIRECTORY:
            self._hidden.add(path)

    def walk(self, path: str) -> Iterator[str]:
        """The new paths at and below `path`."""
        path = self.follow(path)
        return (item for item in list(self._new) if item == path or item.startswith(f"{path}/"))

    def resolve(self, path: str) -> str:
        """`path` with the symlinks among its parents followed."""
        parent, _, name = path.strip("/").rpartition("/")
        if not parent:
            return name or ROOT
        parent = self.follow(parent)
        return name if parent == ROOT else f"{parent}/{name}"

    def follow(self, path: str) -> str:
        """`path` with every symlink of it followed. Raises PackageError for loops."""
        done: list[str] = []
        pending = list(reversed(path.split("/")))
        followed = 0
        while pending:
            name = pending.pop()
            if name in {"", "."}:
                continue
            if name == "..":
                del done[-1:]
                continue
            done.append(name)
            found = self._at("/".join(done))
            if found is None or found.type is not EntryType.SYMLINK:
                continue
            followed += 1
            if followed > _MOST_LINKS:
                raise PackageError(f"/{shorten(path)} leads through more than {_MOST_LINKS} symlinks: they make a loop")
            done.pop()
            if found.link.startswith("/"):
                done.clear()
            pending.extend(reversed(found.link.split("/")))
        return "/".join(done) or ROOT

    def _at(self, path: str) -> Entry | IndexedEntry | None:
        found = self._new.get(path)
        if found is None and path not in self._hidden:
            return self._base.tree.lookup(path)
        return found
