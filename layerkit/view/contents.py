"""The contents of single files of a layer, all in one pass over it. Blocking."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import BinaryIO, Final

from layerkit.layer.decompress import decompress
from layerkit.layer.errors import LayerError
from layerkit.layer.index import IndexedEntry
from layerkit.layer.read import Tape
from layerkit.oci.digest import shorten

_PIECE: Final = 2**20


def iter_contents(
    file: BinaryIO, media_type: str, entries: Iterable[IndexedEntry]
) -> Iterator[tuple[IndexedEntry, Iterator[bytes]]]:
    """Each of these entries, which are files of the layer that `file` is at the start of, with its content in pieces.

    They come in the order of the layer, and a content must be read, or skipped, before the next. Raises LayerError.
    """
    tape = Tape(decompress(file, media_type))
    for entry in sorted(entries, key=lambda entry: entry.offset):
        tape.skip(entry.offset - tape.position)
        yield entry, _pieces(tape, entry)


def _pieces(tape: Tape, entry: IndexedEntry) -> Iterator[bytes]:
    missing = entry.size
    while missing:
        piece = tape.read(min(missing, _PIECE))
        if not piece:
            raise LayerError(f"the layer ends early, before the end of {shorten(entry.path)}: fetch it again")
        missing -= len(piece)
        yield piece


def digest_files(file: BinaryIO, media_type: str, entries: Iterable[IndexedEntry]) -> Mapping[int, bytes]:
    """The SHA-256 of the content of each of these files, by its offset. Raises LayerError."""
    digests = {}
    for entry, pieces in iter_contents(file, media_type, entries):
        digester = sha256()
        for piece in pieces:
            digester.update(piece)
        digests[entry.offset] = digester.digest()
    return digests


def read_files(file: BinaryIO, media_type: str, entries: Iterable[IndexedEntry]) -> Mapping[int, bytes]:
    """The content of each of these files, by its offset; they should be small. Raises LayerError."""
    return {entry.offset: b"".join(pieces) for entry, pieces in iter_contents(file, media_type, entries)}
