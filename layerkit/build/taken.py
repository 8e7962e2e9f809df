"""Taken: an entry of a layer, where it came from, and the attributes that a spec gives to what it copies. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from layerkit.layer.entry import MAX_MTIME, Entry, EntryType


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """The attributes of what is copied, with every name resolved.

    `mode` None is 0644, or 0755 where the source is executable. `newest` are seconds that no time of a source may
    exceed, None where times are not taken at all; `xattrs` are for files.
    """

    uid: int = 0
    gid: int = 0
    mode: int | None = None
    dir_mode: int = 0o755
    xattrs: tuple[tuple[str, bytes], ...] = ()
    newest: int | None = None

    def time(self, mtime: int) -> int:
        """The time that an entry has whose source has `mtime`, in seconds (LAYERS, item 4)."""
        return 0 if self.newest is None else min(max(mtime, 0), self.newest, MAX_MTIME)


class Taken(NamedTuple):
    """`origin` says in a few words where the entry is from, nothing of a folder that is there for the sake of what is
    in it; `identity` tells its content from all other."""

    entry: Entry
    origin: str
    identity: tuple[str, int] | None = None


class TakenFolder(NamedTuple):
    """The entries of one folder, the image's `path` ("" for its root), each of which has its name there from `origin`,
    a folder of the context."""

    path: str
    entries: list[Entry]
    origin: str

    def apart(self) -> Iterator[Taken]:
        """Each entry by itself."""
        for entry in self.entries:
            name = entry.path.rpartition("/")[2]
            yield Taken(entry, f"{self.origin}/{name}" if self.origin else name)


def directory_entry(path: str, marks: Marks, *, mtime: int = 0) -> Entry:
    return Entry(
        path=path,
        type=EntryType.DIRECTORY,
        mode=marks.dir_mode,
        uid=marks.uid,
        gid=marks.gid,
        mtime=marks.time(mtime),
    )


def folders_between(destination: str, name: str) -> tuple[str, ...]:
    """`destination`, and the folders between it and the file that goes to `name` below it."""
    if "/" not in name:
        return (destination,) if destination else ()
    parts = name.split("/")[:-1]
    between = (f"{destination}/{'/'.join(parts[: n + 1])}".lstrip("/") for n in range(len(parts)))
    return tuple(folder for folder in (destination, *between) if folder)
