"""A .deb: what it says of itself, and the tar of its files. Blocking.

An archive of ar(1) with three members: `debian-binary`, `control.tar.*`, `data.tar.*`. Source: deb(5).
"""

import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from layerkit.layer.decompress import decompress_archive
from layerkit.layer.errors import LayerError
from layerkit.layer.index import index_tar
from layerkit.layer.limits import Limits
from layerkit.oci.digest import shorten
from layerkit.packages.debian.control import Stanza, decode, parse_stanza
from layerkit.packages.errors import PackageError

_MAGIC: Final = b"!<arch>\n"
_HEADER: Final = 60
_MAX_CONTROL: Final = 16 * 2**20
_CONTROL_LIMITS: Final = Limits(uncompressed_size=_MAX_CONTROL, entries=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deb:
    """`control` are the files of its control.tar by name: `control`, `postinst`, `md5sums`, `conffiles` ...

    The tar of its files is `size` bytes from `offset` in the file at `path`, compressed.
    """

    path: Path
    stanza: Stanza
    control: Mapping[str, bytes]
    offset: int
    size: int

    @property
    def name(self) -> str:
        return self.stanza["package"]


def read_deb(path: Path) -> Deb:
    """Raises PackageError, naming the file, for what is no package."""
    try:
        with path.open("rb") as file:
            members = dict(_iter_members(file, path))
            if "debian-binary" not in members:
                raise PackageError(f"{path.name} is no Debian package: it has no member debian-binary")
            control = next((place for name, place in members.items() if name.startswith("control.tar")), None)
            data = next((place for name, place in members.items() if name.startswith("data.tar")), None)
            if control is None or data is None:
                raise PackageError(f"{path.name} is no Debian package: it has no control.tar or no data.tar")
            files = _read_control(*control, path)
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}") from error
    if "control" not in files:
        raise PackageError(f"{path.name} is no Debian package: its control.tar has no file control")
    stanza = parse_stanza(decode(files["control"]), origin=path.name)
    if not {"package", "version", "architecture"} <= stanza.keys():
        raise PackageError(f"{path.name} is no Debian package: its control file has no name, version or architecture")
    return Deb(path=path, stanza=stanza, control=files, offset=data[0], size=data[1])


def open_member(path: Path, offset: int, size: int) -> BinaryIO:
    """A part of a file, as a file of its own."""
    return io.BufferedReader(_Part(path, offset, size), buffer_size=2**18)


def _iter_members(file: BinaryIO, path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    end = os.fstat(file.fileno()).st_size
    if file.read(len(_MAGIC)) != _MAGIC:
        raise PackageError(f"{path.name} is no Debian package: it is no ar archive")
    while header := file.read(_HEADER):
        name, digits = header[:16].rstrip(b" /").decode(errors="replace"), header[48:58].strip()
        if len(header) < _HEADER or header[58:] != b"`\n" or not digits.isdigit():
            raise PackageError(f"{path.name} is damaged: the header of its member {shorten(name)} is none")
        begin, size = file.tell(), int(digits)
        if begin + size > end:
            raise PackageError(f"{path.name} ends early, in its member {shorten(name)}: fetch it again")
        yield name, (begin, size)
        file.seek(begin + size + size % 2)


def _read_control(offset: int, size: int, path: Path) -> dict[str, bytes]:
    if size > _MAX_CONTROL:
        raise PackageError(f"{path.name}: its control.tar has {size} bytes, {_MAX_CONTROL} are allowed")
    try:
        tar = b"".join(decompress_archive(open_member(path, offset, size), _CONTROL_LIMITS))
        index = index_tar(iter([tar]), limits=_CONTROL_LIMITS)
    except LayerError as error:
        raise PackageError(f"{path.name}: its control.tar cannot be read: {error}") from error
    return {entry.path: tar[entry.offset : entry.offset + entry.size] for entry in index.entries if entry.size}


class _Part(io.RawIOBase):
    """Bytes `[offset, offset + size)` of a file."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._begin, self._size, self._at = offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(0, self._size - self._at))
        content = os.pread(self._file.fileno(), wanted, self._begin + self._at)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()
