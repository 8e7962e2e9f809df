"""What a file system holds, as values that can be compared: the mtree of the acceptance matrix.

Three ways lead to one: from the entries that were planned, from a folder where an engine has put them, and from the
layers of an archive. None of them shares code with the readers of layerkit.
"""

import hashlib
import os
import stat
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Final

from layerkit.layer.arrange import arrange
from layerkit.layer.entry import ROOT, Entry, EntryType

_PIECE: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One path. `names` are all paths of the same file, its own included; `size` and `sha256` are of files alone."""

    type: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    sha256: str = ""
    link: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    names: tuple[str, ...] = ()


Tree = dict[str, Node]
"""Nodes by their paths, as `usr/bin/env`; the root is `.`."""

FIELDS: Final = tuple(field.name for field in fields(Node))


@dataclass(frozen=True, slots=True)
class Difference:
    """What a reader has made of one field of a path, and what was planned; `presence` is for paths of one side only."""

    path: str
    field: str
    planned: object
    found: object

    def __str__(self) -> str:
        return f"{self.path}: {self.field} is {self.found!r}, planned was {self.planned!r}"


def compare(planned: Tree, found: Tree) -> Iterator[Difference]:
    for path in sorted(planned.keys() | found.keys()):
        if path not in planned or path not in found:
            yield Difference(path, "presence", path in planned, path in found)
            continue
        for field in FIELDS:
            before, after = getattr(planned[path], field), getattr(found[path], field)
            if before != after:
                yield Difference(path, field, before, after)


def plan_tree(layers: Iterable[Iterable[Entry]]) -> Tree:
    """What layers of these entries make together, the lowest first (image-spec, layer.md, "Applying Changesets")."""
    tree: Tree = {ROOT: Node(type="directory", mode=0o755)}
    # Of a file: a number that its names have in common, and that no other file has.
    inodes: dict[str, int] = {}
    count = 0
    for layer in layers:
        entries = arrange(layer)
        for entry in entries:
            if entry.type is EntryType.WHITEOUT:
                _hide(tree, entry)
        for entry in entries:
            if entry.type is EntryType.WHITEOUT:
                continue
            replaced = tree.get(entry.path)
            if entry.type is not EntryType.DIRECTORY and replaced is not None and replaced.type == EntryType.DIRECTORY:
                _remove_below(tree, entry.path)
            if entry.type is EntryType.HARDLINK:
                tree[entry.path] = tree[entry.link]
                inodes[entry.path] = inodes[entry.link]
                continue
            count += 1
            inodes[entry.path] = count
            tree[entry.path] = _plan_node(entry)
    return _with_names(tree, inodes)


def _hide(tree: Tree, whiteout: Entry) -> None:
    if whiteout.hides:
        hidden = tree.pop(whiteout.hides, None)
        if hidden is not None and hidden.type == EntryType.DIRECTORY:
            _remove_below(tree, whiteout.hides)
    else:
        _remove_below(tree, whiteout.path.rpartition("/")[0])


def _remove_below(tree: Tree, folder: str) -> None:
    for path in [path for path in tree if path.startswith(f"{folder}/")]:
        del tree[path]


def _plan_node(entry: Entry) -> Node:
    digester = hashlib.sha256()
    if entry.source is not None:
        for piece in entry.source.pieces(_PIECE):
            digester.update(piece)
    return Node(
        type=str(entry.type),
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime=entry.mtime,
        size=entry.size,
        sha256=digester.hexdigest() if entry.source is not None else "",
        link=entry.link,
        device=entry.device,
        xattrs=tuple(sorted(entry.xattrs)),
    )


def _with_names(tree: Tree, inodes: dict[str, int]) -> Tree:
    names = defaultdict(list)
    for path in sorted(tree):
        if tree[path].type == EntryType.FILE:
            names[inodes[path]].append(path)
    return {
        path: replace(node, names=tuple(names[inodes[path]])) if node.type == EntryType.FILE else node
        for path, node in tree.items()
    }


def read_folder(root: Path) -> Tree:
    """The tree at `root`. An extended attribute that the kernel makes up (`security.selinux`) does not count."""
    tree: Tree = {}
    inodes: dict[str, int] = {}
    for path in _walk(str(root)):
        name = os.path.relpath(path, root)
        status = os.lstat(path)
        inodes[name] = status.st_ino
        tree[name] = _read_node(path, status)
    return _with_names(tree, inodes)


def _walk(root: str) -> Iterator[str]:
    yield root
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield f"{folder}/{name}"


_KINDS: Final = {
    stat.S_IFREG: EntryType.FILE,
    stat.S_IFDIR: EntryType.DIRECTORY,
    stat.S_IFLNK: EntryType.SYMLINK,
    stat.S_IFIFO: EntryType.FIFO,
    stat.S_IFCHR: EntryType.CHARACTER_DEVICE,
    stat.S_IFBLK: EntryType.BLOCK_DEVICE,
}


def _read_node(path: str, status: os.stat_result) -> Node:
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    is_file = kind is EntryType.FILE
    is_device = kind in {EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE}
    names = [name for name in os.listxattr(path, follow_symlinks=False) if name != "security.selinux"]
    return Node(
        type=str(kind),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        # Of a fraction before 1970 the floor: what a tar of whole seconds would have.
        mtime=status.st_mtime_ns // 10**9,
        size=status.st_size if is_file else 0,
        sha256=_digest_of(path) if is_file else "",
        link=os.readlink(path) if kind is EntryType.SYMLINK else "",  # noqa: PTH115 - verbatim: a Path drops slashes
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else (0, 0),
        xattrs=tuple(sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)),
    )


def _digest_of(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_TAR_TYPES: Final = {
    tarfile.REGTYPE: EntryType.FILE,
    tarfile.AREGTYPE: EntryType.FILE,
    tarfile.DIRTYPE: EntryType.DIRECTORY,
    tarfile.SYMTYPE: EntryType.SYMLINK,
    tarfile.FIFOTYPE: EntryType.FIFO,
    tarfile.CHRTYPE: EntryType.CHARACTER_DEVICE,
    tarfile.BLKTYPE: EntryType.BLOCK_DEVICE,
}


def read_tars(layers: Iterable[IO[bytes]]) -> Tree:
    """What the tars of an archive make together, their whiteouts applied."""
    tree: Tree = {ROOT: Node(type="directory", mode=0o755)}
    inodes: dict[str, int] = {}
    count = 0
    for layer in layers:
        whiteouts, nodes = [], []
        with tarfile.open(fileobj=layer, mode="r:*") as tar:
            for member in tar:
                name = os.path.normpath(member.name)
                folder, _, base = name.rpartition("/")
                if base == ".wh..wh..opq":
                    whiteouts.append((folder, True))
                elif base.startswith(".wh."):
                    whiteouts.append((f"{folder}/{base.removeprefix('.wh.')}".lstrip("/"), False))
                else:
                    nodes.append((name, member, _digest_in(tar, member)))
        for path, opaque in whiteouts:
            if not opaque:
                tree.pop(path, None)
            _remove_below(tree, path)
        for name, member, digest in nodes:
            if not member.isdir():
                _remove_below(tree, name)
            if member.islnk():
                target = os.path.normpath(member.linkname)
                tree[name], inodes[name] = tree[target], inodes[target]
                continue
            count += 1
            inodes[name] = count
            tree[name] = _tar_node(member, digest)
    return _with_names(tree, inodes)


def _digest_in(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        return ""
    digester = hashlib.sha256()
    while piece := content.read(_PIECE):
        digester.update(piece)
    return digester.hexdigest()


def _tar_node(member: tarfile.TarInfo, digest: str) -> Node:
    kind = _TAR_TYPES[member.type]
    prefix = "SCHILY.xattr."
    xattrs = {
        key.removeprefix(prefix): value.encode(errors="surrogateescape")
        for key, value in member.pax_headers.items()
        if key.startswith(prefix)
    }
    return Node(
        type=str(kind),
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        mtime=int(member.mtime),
        size=member.size if member.isreg() else 0,
        sha256=digest,
        link=member.linkname if member.issym() else "",
        device=(member.devmajor, member.devminor) if member.isdev() and not member.isfifo() else (0, 0),
        xattrs=tuple(sorted(xattrs.items())),
    )
