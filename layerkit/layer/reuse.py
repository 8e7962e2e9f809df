"""Reuse: stretches of a layer that are as they were are taken out of the layer that was made before.

What is stored of a stretch depends on its entries alone (LAYERS, item 30), and so it is the same again wherever they
are. It need not be compressed, which is most of the work; the tar is needed still, for its digest. Small files are had
by decompressing what is stored, larger ones by reading them again, whichever takes less time. All is checked by CRC-32,
for a store may have been damaged, and a file may have changed. Blocking.
"""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import BinaryIO, Final

import msgspec
from zlib_ng import zlib_ng

from layerkit.layer.arrange import Arranged
from layerkit.layer.blocks import BlockFormat, Content, PackedBlock
from layerkit.layer.entry import Entry
from layerkit.layer.errors import LayerError
from layerkit.layer.pipeline import map_in_order


class DamagedLayer(LayerError):
    """A layer that was made before is not what it was: to be made without it."""


_READ_AGAIN: Final = 16 * 1024
"""Bytes of its files on average from which on it takes less time to read a stretch than to inflate it."""


class StoredBlock(msgspec.Struct, frozen=True, array_like=True):
    """Bytes as stored, bytes of the tar, and the CRC-32 of these and those."""

    stored: int
    size: int
    checksum: int
    stored_checksum: int

    @classmethod
    def of(cls, packed: PackedBlock) -> "StoredBlock":
        return cls(len(packed.stored), len(packed.content), packed.checksum, packed.stored_checksum)


class StoredStretch(msgspec.Struct, frozen=True, array_like=True):
    """`key` is that of its entries, empty where nobody may count on it."""

    key: bytes
    blocks: tuple[StoredBlock, ...]


class EarlierLayer:
    """A layer whose stretches can be used again: `file` holds it, and `stretches` are all of it, in its order."""

    def __init__(self, file: BinaryIO, stretches: Sequence[StoredStretch]) -> None:
        self._file = file
        self._found: dict[bytes, tuple[int, StoredStretch]] = {}
        offset = 0
        for stretch in stretches:
            if stretch.key:
                self._found[stretch.key] = offset, stretch
            offset += sum(block.stored for block in stretch.blocks)

    def find(self, key: bytes) -> "Iterator[KeptBlock] | None":
        """The blocks of a stretch, None where the layer has none of this key."""
        found = self._found.get(key)
        return self._iter_blocks(*found) if found is not None else None

    def _iter_blocks(self, offset: int, stretch: StoredStretch) -> "Iterator[KeptBlock]":
        for block in stretch.blocks:
            yield KeptBlock(self._file, offset, block)
            offset += block.stored


class KeptBlock(msgspec.Struct, frozen=True):
    """A block that is stored in `file` already, at `offset` from the first one. Its `content` is None where it is to be
    had from there too."""

    file: BinaryIO
    offset: int
    block: StoredBlock
    content: Content | None = None

    def pack(self, by: BlockFormat) -> PackedBlock:
        """Raises DamagedLayer."""
        known = self.block
        if self.content is not None and zlib_ng.crc32(self.content) != known.checksum:
            # The file has changed without a sign of it.
            return by.pack(self.content)
        try:
            stored = os.pread(self.file.fileno(), known.stored, len(by.prefix) + self.offset)
            if len(stored) < known.stored:
                raise ValueError("it ends early")
            if self.content is None:
                return by.unpack(stored, known.size, known.checksum)
            if zlib_ng.crc32(stored) != known.stored_checksum:
                raise ValueError("it has another checksum")
        except (OSError, ValueError) as error:
            raise DamagedLayer(f"a layer that was made before is damaged: {error}") from error
        return PackedBlock(self.content, stored, known.checksum, known.stored_checksum)


class StretchPacker(msgspec.Struct):
    """The blocks of a layer, each packed as `format` says or taken from an `earlier` layer. `may_keep` says of a
    stretch whether its files are sure to look different once they change."""

    entries: Arranged
    format: BlockFormat
    threads: int
    earlier: EarlierLayer | None
    may_keep: Callable[[Sequence[Entry]], bool]
    _keys: list[bytes] = msgspec.field(default_factory=list)
    _done: list[list[StoredBlock]] = msgspec.field(default_factory=list)

    def blocks(self) -> Generator[PackedBlock, None, None]:
        """Raises what reading the sources raises, and DamagedLayer."""
        threads = min(self.threads, self.format.most_threads)
        with (
            closing(self._iter_blocks()) as unpacked,
            closing(map_in_order(self._pack, unpacked, threads)) as blocks,
        ):
            for number, packed in blocks:
                if number == len(self._done):
                    self._done.append([])
                self._done[number].append(StoredBlock.of(packed))
                yield packed

    @property
    def stretches(self) -> tuple[StoredStretch, ...]:
        """Those of the layer, once `blocks` has come to its end."""
        return tuple(StoredStretch(key, tuple(done)) for key, done in zip(self._keys, self._done, strict=True))

    def _iter_blocks(self) -> Generator[tuple[int, Content | KeptBlock], None, None]:
        """The blocks, each with the number of its stretch."""
        for number, stretch in enumerate(self.entries.stretches):
            key = stretch.key or b""
            kept = self.earlier.find(key) if self.earlier is not None and key else None
            self._keys.append(key if self.may_keep(stretch.entries) else b"")
            if kept is not None and stretch.size < _READ_AGAIN * len(stretch.entries):
                for found in kept:
                    yield number, found
                continue
            with closing(stretch.blocks()) as blocks:
                for block in blocks:
                    yield number, msgspec.structs.replace(next(kept), content=block) if kept is not None else block

    def _pack(self, numbered: tuple[int, Content | KeptBlock]) -> tuple[int, PackedBlock]:
        number, block = numbered
        return number, block.pack(self.format) if isinstance(block, KeptBlock) else self.format.pack(block)
