"""Root file systems: a tar of one becomes one layer, written as all of ours are. Blocking.

Its entries are those that the tar amounts to: the last of several of one name, hardlinks as links to the first name,
parents where they are missing, no bookkeeping of the machine that made it. What was made of a tar is remembered by the
tar's digest, so that the same one is read through once.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

import msgspec

from layerkit.build.recipes import LayerRecord, LayerRecords
from layerkit.layer.entry import MAX_MTIME, ROOT, Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import IndexedEntry
from layerkit.layer.limits import DEFAULT_LIMITS, Limits
from layerkit.layer.source import Contents, PartSource
from layerkit.layer.spool import open_tar
from layerkit.layer.tree import FileTree
from layerkit.layer.write import FORMAT_VERSION, WrittenLayer
from layerkit.oci.digest import Digest
from layerkit.spec.capabilities import CAPABILITY, to_revision_2

_USUAL_ROOT: Final = (0o755, 0, 0)


class RootfsLayer(msgspec.Struct, frozen=True, kw_only=True):
    """`warnings` are of what the tar had and no layer can have."""

    written: WrittenLayer
    warnings: tuple[str, ...]


class RootfsImporter(msgspec.Struct, frozen=True, kw_only=True):
    """`records` say which layer came of which tar, `spool` is a folder for what is decompressed. `write` makes a layer
    of entries in the store, and `has` says whether it has one."""

    records: LayerRecords
    spool: Path
    codec: str
    write: Callable[[tuple[Entry, ...]], WrittenLayer]
    has: Callable[[Digest], bool]
    limits: Limits = DEFAULT_LIMITS

    def bring(self, path: Path) -> RootfsLayer:
        """The layer of the tar at `path`, in the store. Raises LayerError, which names the tar."""
        try:
            with _open(path) as file:
                key = self._key_of(Digest.from_hash(hashlib.file_digest(file, "sha256")))
                known = self.records.find(key)
                if known is None or not self.has(known.descriptor.digest):
                    index, contents = open_tar(file, self.spool, self.limits)
                    if not index.entries:
                        raise LayerError("there is nothing in it: name a tar of a root file system")
                    tree = FileTree.of([index])
                    warnings: list[str] = []
                    known = LayerRecord.of(self.write(tuple(_iter_entries(tree, contents, warnings))), warnings)
                    self.records.remember(key, known)
        except LayerError as error:
            raise LayerError(f"tar:{path}: {error}") from error
        except OSError as error:
            raise LayerError(f"tar:{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
        return RootfsLayer(written=known.written, warnings=known.warnings)

    def _key_of(self, tar: Digest) -> str:
        return hashlib.sha256(f"tar {FORMAT_VERSION} {self.codec} {tar}".encode()).hexdigest()


def _open(path: Path) -> BufferedReader:
    # Not blocking: of a FIFO nobody may ever come to write.
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise LayerError("it is no regular file: name a tar of a root file system")
    return file


def _iter_entries(tree: FileTree, contents: Contents, warnings: list[str]) -> Iterator[Entry]:
    root = tree.root
    if (root.mode, root.uid, root.gid) != _USUAL_ROOT:
        yield Entry(path=ROOT, type=EntryType.DIRECTORY, mode=root.mode, uid=root.uid, gid=root.gid)
    names: dict[int, str] = {}
    devices = 0
    dropped: set[str] = set()
    for path, origin in tree.walk():
        entry = origin.entry
        if entry.type is EntryType.HARDLINK:
            raise LayerError(f"{path} is a hardlink to {entry.link}, which is not in the tar: make it anew")
        if entry.type is EntryType.FILE:
            first = names.setdefault(entry.offset, path)
            kind = EntryType.FILE if first == path else EntryType.HARDLINK
            yield _entry(entry, path, kind, contents, dropped, link="" if first == path else first)
            continue
        devices += entry.type in {EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE}
        yield _entry(entry, path, entry.type, contents, dropped, link=entry.link)
    if devices:
        warnings.append(f"{devices} device nodes are in the image: engines without root leave them out")
    warnings += [f"extended attributes {name} are left out: they are of the machine" for name in sorted(dropped)]


def _entry(
    entry: IndexedEntry, path: str, kind: EntryType, contents: Contents, dropped: set[str], *, link: str
) -> Entry:
    if entry.sparse:
        raise LayerError(f"{path} is stored as a sparse file: make the tar without --sparse")
    return Entry(
        path=path,
        type=kind,
        mode=0o777 if kind is EntryType.SYMLINK else entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime=min(max(entry.mtime, 0), MAX_MTIME),
        link=link,
        xattrs=tuple(_iter_xattrs(entry, dropped)),
        device=entry.device,
        source=PartSource(contents, entry.offset, entry.size) if kind is EntryType.FILE else None,
    )


def _iter_xattrs(entry: IndexedEntry, dropped: set[str]) -> Iterator[tuple[str, bytes]]:
    """Those that every reader understands, and that say something of the image (LAYERS, items 21 and 22)."""
    for name, value in entry.xattrs:
        if name == CAPABILITY:
            capabilities = to_revision_2(value)
            if capabilities is None:
                dropped.add(name)
            else:
                yield name, capabilities
        elif name.startswith("user.") and not name.startswith("user.overlay."):
            yield name, value
        else:
            dropped.add(name)
