"""Zip: what is in a ZIP archive, as the index of a tar, with its contents in a spool. Blocking.

Names that lead out of the archive are refused as those of a tar are, and what a member says of its size is not
believed. Source: PKWARE, APPNOTE.TXT; the upper half of the external attributes is a Unix mode where a Unix made it.
"""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from layerkit.layer.entry import EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import IndexedEntry, LayerIndex, plain_name
from layerkit.layer.limits import DEFAULT_LIMITS, Limits, exceeds
from layerkit.layer.source import Contents
from layerkit.layer.spool import Spool
from layerkit.oci.digest import Digest, shorten

MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")
_PIECE: Final = 2**20
_MAX_LINK: Final = 4095
_ENCRYPTED: Final = 0x1


def open_zip(
    file: BinaryIO, folder: Path, limits: Limits = DEFAULT_LIMITS, *, identity: str | None = None
) -> tuple[LayerIndex, Contents]:
    """The index and the contents of the ZIP archive that `file` holds, which `identity` is a digest of, where it is
    known. Raises LayerError."""
    spool = Spool.begin(folder, identity)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = tuple(_iter_entries(archive, spool, limits))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise LayerError(f"the archive is damaged, or of a kind of ZIP that few can read: {error}") from error
    return LayerIndex(entries=entries, diff_id=Digest.of(b""), uncompressed_size=0), spool


def _iter_entries(archive: zipfile.ZipFile, spool: Spool, limits: Limits) -> Iterator[IndexedEntry]:
    members = archive.infolist()
    if len(members) > limits.entries:
        raise exceeds(limits, "entries", f"the archive has {len(members)} entries")
    offset = 0
    for member in members:
        path = plain_name(member.filename.encode(errors="surrogateescape"), limits)
        mode = member.external_attr >> 16
        if member.flag_bits & _ENCRYPTED:
            raise LayerError(f"{shorten(path)} in the archive is encrypted")
        if member.is_dir():
            yield IndexedEntry(path=path, type=EntryType.DIRECTORY, mode=stat.S_IMODE(mode) or 0o755)
            continue
        size = 0
        pieces = []
        is_link = stat.S_ISLNK(mode)
        for piece in _read(archive, member):
            size += len(piece)
            stored = offset + size
            if stored > limits.uncompressed_size:
                raise exceeds(limits, "uncompressed_size", f"the archive has at least {stored} bytes uncompressed")
            if size > limits.ratio_after and size > limits.ratio * max(member.compress_size, 1):
                raise exceeds(limits, "ratio", f"{member.compress_size} bytes are at least {size} uncompressed")
            if not is_link:
                spool.write(piece)
            elif size > _MAX_LINK:
                raise LayerError(f"the target of {shorten(path)} has more than {_MAX_LINK} bytes")
            else:
                pieces.append(piece)
        if is_link:
            link = b"".join(pieces).decode(errors="surrogateescape")
            if not link or "\0" in link:
                raise LayerError(
                    f"{shorten(path)} in the archive is a symlink to {shorten(link)}: nothing can be there"
                )
            yield IndexedEntry(path=path, type=EntryType.SYMLINK, mode=0o777, link=link)
            continue
        yield IndexedEntry(path=path, type=EntryType.FILE, mode=stat.S_IMODE(mode) or 0o644, size=size, offset=offset)
        offset += size


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(member) as content:
        while piece := content.read(_PIECE):
            yield piece
