"""Spools: what is taken out of a compressed tar, in a file without a name, so that it can be read in any order.

A file without a name is gone with the process, however that ends. What is not compressed needs no copy. Blocking.
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from layerkit.layer.errors import LayerError
from layerkit.layer.index import LayerIndex, index_tar
from layerkit.layer.read import DEFAULT_LIMITS, Limits, Tape, decompress_archive, detect_compression

_PIECE: Final = 2**20


class WholeTar:
    """A tar that is a file: every offset in it is one of the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset)


class Picked:
    """Some files of a tar. `want` says which, `fill` takes them out of it in one pass, then they can be read."""

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}
        self._places: dict[int, int] = {}
        self._starts: list[int] = []
        self._file: BinaryIO | None = None

    def want(self, offset: int, size: int) -> None:
        self._wanted[offset] = max(size, self._wanted.get(offset, 0))

    @property
    def is_filled(self) -> bool:
        return self._wanted.keys() <= self._places.keys()

    def fill(self, pieces: Iterable[bytes], folder: Path) -> None:
        """Take out what is wanted of the tar of these pieces, into a file in `folder`. Raises LayerError.

        All that is wanted is asked for before: what is asked for later needs another pass.
        """
        tape = Tape(pieces)
        # Not with a `with`: it is read as long as this object lives, and has no name to be left behind.
        file = open_spool(folder)
        places: dict[int, int] = {}
        written = 0
        for offset, size in sorted(self._wanted.items()):
            tape.skip(offset - tape.position)
            places[offset] = written
            missing = size
            while missing:
                piece = tape.read(min(missing, _PIECE))
                if not piece:
                    raise LayerError(
                        "the layer ends early, in the midst of a file that is to be copied: fetch it again"
                    )
                file.write(piece)
                missing -= len(piece)
            written += size
        file.flush()
        self._file, self._places, self._starts = file, places, sorted(places)

    def read(self, offset: int, size: int) -> bytes:
        if self._file is None:
            raise LayerError("content of another image is read before it was brought: this is a mistake of layerkit")
        from bisect import bisect_right  # noqa: PLC0415 - few builds copy from images

        start = self._starts[bisect_right(self._starts, offset) - 1]
        return os.pread(self._file.fileno(), size, self._places[start] + offset - start)


def open_spool(folder: Path) -> BinaryIO:
    """A file without a name in `folder`, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    # S: who wants it has it as long as he needs it, and closes it by letting it go.
    return tempfile.TemporaryFile(dir=folder, buffering=_PIECE)  # type: ignore[return-value]


def open_tar(file: BinaryIO, folder: Path, limits: Limits = DEFAULT_LIMITS) -> tuple[LayerIndex, WholeTar]:
    """The index and the contents of the tar, compressed in any usual way, that the seekable `file` holds.

    It is no layer: whiteouts in it are refused. What is compressed goes to a spool in `folder`. Raises LayerError.
    """
    if detect_compression(file) == "none":
        return index_tar(decompress_archive(file, limits), limits=limits, has_whiteouts=False), WholeTar(file)
    spool = open_spool(folder)

    def copied() -> Iterable[bytes]:
        for piece in decompress_archive(file, limits):
            spool.write(piece)
            yield piece

    index = index_tar(copied(), limits=limits, has_whiteouts=False)
    spool.flush()
    return index, WholeTar(spool)
