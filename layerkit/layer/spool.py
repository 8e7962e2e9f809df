"""Spools: what is taken out of a compressed tar, in a file without a name, so that it can be read in any order.

A file without a name is gone with the process, however that ends. What is not compressed needs no copy. Blocking.
"""

import os
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final

import msgspec

from layerkit.layer.decompress import decompress_archive, detect_compression
from layerkit.layer.errors import LayerError
from layerkit.layer.index import LayerIndex, index_tar
from layerkit.layer.limits import DEFAULT_LIMITS, Limits
from layerkit.layer.read import Tape
from layerkit.layer.source import Contents

_PIECE: Final = 2**20
_SMALL: Final = 8 * 2**20
"""Bytes of a tar that may be on a shelf."""


class Spool:
    """An open file that is closed once nobody has a use for it. Read by several threads at once.

    `identity` is a digest of what it is filled from, None where nobody knows one.
    """

    def __init__(self, fd: int, identity: str | None = None) -> None:
        self._fd = fd
        self.identity = identity
        weakref.finalize(self, os.close, fd)

    @classmethod
    def begin(cls, folder: Path, identity: str | None = None) -> "Spool":
        """An empty one, without a name, in `folder`, which is made where it is missing."""
        import tempfile  # noqa: PLC0415 - few builds need one

        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return cls(os.dup(file.fileno()), identity)

    @classmethod
    def of(cls, file: BinaryIO, identity: str | None = None) -> "Spool":
        """A file that is open, to be read after whoever opened it has closed it."""
        return cls(os.dup(file.fileno()), identity)

    def write(self, content: bytes) -> None:
        """Add `content` at the end."""
        view = memoryview(content)
        while view:
            view = view[os.write(self._fd, view) :]

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)


class Shelf:
    """A file without a name for many small tars, in `folder`: of hundreds each could not have one open of its own.
    Filled by several threads at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spool: Spool | None = None
        self._size = 0
        self._lock = Lock()

    def put(self, content: bytes, identity: str | None) -> Contents:
        """Keep a tar; `identity` is as a Spool's."""
        with self._lock:
            if self._spool is None:
                self._spool = Spool.begin(self._folder)
            start = self._size
            self._spool.write(content)
            self._size += len(content)
            return _Shelved(self._spool, start, len(content), identity)


class _Shelved(msgspec.Struct, frozen=True):
    spool: Spool
    start: int
    size: int
    identity: str | None

    def read(self, offset: int, size: int) -> bytes:
        return self.spool.read(self.start + offset, max(0, min(size, self.size - offset)))


class Picked:
    """Some files of a tar. `want` says which, `fill` takes them out of it in one pass, then they can be read.

    `identity` is a digest of the tar, or of the layer that it is stored as.
    """

    def __init__(self, identity: str | None = None) -> None:
        self.identity = identity
        self._wanted: dict[int, int] = {}
        self._places: dict[int, int] = {}
        self._starts: list[int] = []
        self._spool: Spool | None = None

    def want(self, offset: int, size: int) -> None:
        self._wanted[offset] = size

    @property
    def is_filled(self) -> bool:
        return self._wanted.keys() <= self._places.keys()

    def fill(self, pieces: Iterable[bytes], folder: Path) -> None:
        """Take what is wanted out of the tar of these pieces, into a file in `folder`. Raises LayerError.

        What is wanted later needs another pass.
        """
        tape = Tape(pieces)
        spool = Spool.begin(folder)
        places: dict[int, int] = {}
        written = 0
        for offset, size in sorted(self._wanted.items()):
            tape.skip(offset - tape.position)
            places[offset] = written
            missing = size
            while missing:
                piece = tape.read(min(missing, _PIECE))
                if not piece:
                    raise LayerError("the layer ends early, in a file that is to be copied: fetch it again")
                spool.write(piece)
                missing -= len(piece)
            written += size
        self._spool, self._places, self._starts = spool, places, sorted(places)

    def read(self, offset: int, size: int) -> bytes:
        if self._spool is None:
            raise LayerError("content of another image is read before it was brought: this is a mistake of layerkit")
        start = self._starts[bisect_right(self._starts, offset) - 1]
        return self._spool.read(self._places[start] + offset - start, size)


def open_tar(
    file: BinaryIO,
    folder: Path,
    limits: Limits = DEFAULT_LIMITS,
    *,
    identity: str | None = None,
    shelf: Shelf | None = None,
) -> tuple[LayerIndex, Contents]:
    """The index and the contents of the tar, compressed in any usual way, that the seekable `file` holds.

    It is no layer: whiteouts in it are refused. What is compressed goes to a spool in `folder`, or to the shelf where
    it is small. `identity` is a digest of the file, where it is known. Raises LayerError.
    """
    if detect_compression(file) == "none":
        index = index_tar(decompress_archive(file, limits), limits=limits, has_whiteouts=False)
        return index, Spool.of(file, identity)
    held: list[bytes] = []
    spool = Spool.begin(folder, identity) if shelf is None else None

    def copied() -> Iterator[bytes]:
        nonlocal spool
        size = 0
        for piece in decompress_archive(file, limits):
            size += len(piece)
            if spool is None and size > _SMALL:
                spool = Spool.begin(folder, identity)
                for each in held:
                    spool.write(each)
                held.clear()
            if spool is None:
                held.append(piece)
            else:
                spool.write(piece)
            yield piece

    index = index_tar(copied(), limits=limits, has_whiteouts=False)
    if spool is None:
        assert shelf is not None  # noqa: S101 - else there is a spool
        return index, shelf.put(b"".join(held), identity)
    return index, spool
