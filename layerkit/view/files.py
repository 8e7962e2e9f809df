"""The files of an image, as values that can be listed and compared."""

from collections.abc import Iterator
from typing import Final

import msgspec

from layerkit.layer.entry import ROOT, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import IndexedEntry
from layerkit.layer.tree import FileTree, Origin
from layerkit.oci.digest import shorten

_LETTERS: Final = {
    EntryType.FILE: "-",
    EntryType.HARDLINK: "-",
    EntryType.DIRECTORY: "d",
    EntryType.SYMLINK: "l",
    EntryType.FIFO: "p",
    EntryType.CHARACTER_DEVICE: "c",
    EntryType.BLOCK_DEVICE: "b",
    EntryType.WHITEOUT: "w",
}


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One path of an image. `path` is relative to the root, and ROOT for the root itself.

    `origin` has its attributes and its content: of a hardlink those of what it was linked to, whose path is `hardlink`.
    """

    path: str
    origin: Origin
    hardlink: str = ""

    @property
    def entry(self) -> IndexedEntry:
        return self.origin.entry

    @property
    def type(self) -> EntryType:
        return self.origin.entry.type

    @property
    def size(self) -> int:
        return self.origin.entry.size

    @property
    def shown(self) -> str:
        """The path as people write it."""
        return "/" if self.path == ROOT else f"/{self.path}"


def find_file(tree: FileTree, path: str) -> File | None:
    """What is at `path`, no symlink of it followed."""
    entry, origin = tree.lookup(path), tree.origin(path)
    if entry is None or origin is None:
        return None
    hardlink = entry.link if entry.type is EntryType.HARDLINK else ""
    return File(path=path.strip("/") or ROOT, origin=origin, hardlink=hardlink)


def iter_folder(tree: FileTree, path: str, *, recursive: bool = False) -> Iterator[File]:
    """What is in the directory at `path`, by name; with `recursive` all below it, each folder before its contents."""
    waiting = _names(tree, path)
    while waiting:
        found = find_file(tree, waiting.pop())
        if found is not None:
            yield found
            if recursive and found.type is EntryType.DIRECTORY:
                waiting += _names(tree, found.path)


def _names(tree: FileTree, path: str) -> list[str]:
    """The paths of what is in a directory, the first by name last."""
    above = "" if path in {ROOT, ""} else f"{path.strip('/')}/"
    return [above + child.path.rpartition("/")[2] for child in reversed(tree.children(path))]


def resolve_path(tree: FileTree, path: str, *, image: str) -> File:
    """What is at `path` of an image, every symlink followed inside it.

    Raises LayerError, which suggests a path that may have been meant, where nothing is there.
    """
    resolved = tree.resolve_directory(path)
    found = find_file(tree, resolved)
    if found is not None:
        return found
    if (link := find_file(tree, tree.resolve(path))) is not None:
        # A symlink to nowhere is something, too.
        return link
    import difflib  # noqa: PLC0415 - only a mistake needs it

    parent, _, name = resolved.rpartition("/")
    names = [child.path.rpartition("/")[2] for child in tree.children(parent or ROOT)]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f": did you mean /{parent}{'/' if parent else ''}{close[0]}?" if close else ""
    raise LayerError(f"{shorten('/' + path.strip('/'))} is not in {image}{hint}")


def format_mode(kind: EntryType, mode: int) -> str:
    """Like `drwxr-xr-x`."""
    text = ""
    for shift, special, letter in ((6, 0o4000, "s"), (3, 0o2000, "s"), (0, 0o1000, "t")):
        bits = mode >> shift
        text += "r" if bits & 4 else "-"
        text += "w" if bits & 2 else "-"
        if mode & special:
            text += letter if bits & 1 else letter.upper()
        else:
            text += "x" if bits & 1 else "-"
    return _LETTERS[kind] + text
