"""Sources: where the content of a file is read, while its layer is written."""

import hashlib
import os
import stat
from collections.abc import Generator, Iterator
from typing import Final, Protocol, Self

import msgspec

from layerkit.layer.errors import LayerError

Identity = str | tuple[str | int, ...]
"""What tells one content from all others without reading it: equal for the same content, and of no two contents."""

# What was a regular file when it was planned may be a symlink or a FIFO by now: follow neither, wait for neither.
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


# A Struct, as an Entry is.
class FileSource(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A regular file on disk, as it was seen when the layer was planned: `size` in bytes, `path` without a symlink
    as its last component."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int

    @classmethod
    def seen(cls, path: str, status: os.stat_result) -> Self:
        """The file at `path`, which `status` describes (not that of a symlink to it)."""
        return cls(
            path=path,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            device=status.st_dev,
            inode=status.st_ino,
        )

    @property
    def identity(self) -> Identity:
        """As sure as git's index is: see `build/recipes.py` for what changed just before it was seen."""
        return self.device, self.inode, self.size, self.mtime_ns, self.ctime_ns

    def pieces(self, limit: int) -> Iterator[bytes]:
        """The content, in order, in pieces of at most `limit` bytes: `size` bytes altogether.

        Raises LayerError for a file that cannot be read, or is no longer the one that was planned: before, while or
        just after it was read (LAYERS, S7). Its header is written by then: a short read would shift all that follows.
        """
        # Most files are small: one read, and one look whether what was read was still the planned file.
        return self._read(limit) if self.size > limit else self._read_whole()

    def _read_whole(self) -> Iterator[bytes]:
        try:
            file = os.open(self.path, _FLAGS)
            try:
                content = os.read(file, self.size)
                status = os.fstat(file)
            finally:
                os.close(file)
        except OSError:
            status = None
        if status is None or len(content) < self.size:
            # The long way tells why.
            return self._read(self.size)
        self._compare(status)
        return iter((content,) if content else ())

    def _read(self, limit: int) -> Generator[bytes, None, None]:
        try:
            file = os.open(self.path, _FLAGS)
            try:
                self._compare(os.fstat(file))
                missing = self.size
                while missing:
                    piece = os.read(file, min(limit, missing))
                    if not piece:
                        raise self._changed(f"it ends {missing} bytes early")
                    missing -= len(piece)
                    yield piece
                self._compare(os.fstat(file))
            finally:
                os.close(file)
        except OSError as error:
            raise self._unreadable(error) from error

    def _compare(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode) or status.st_ino != self.inode:
            raise self._changed("it was replaced")
        if status.st_size != self.size:
            raise self._changed(f"it had {self.size} bytes and has {status.st_size}")
        if status.st_mtime_ns != self.mtime_ns:
            raise self._changed("it was written to")

    def _unreadable(self, error: OSError) -> LayerError:
        return LayerError(
            f"cannot read {self.path!r}: {error.strerror}: it was there when the layer was planned; build again"
        )

    def _changed(self, how: str) -> LayerError:
        return LayerError(f"{self.path!r} changed during the build: {how}; build again once nothing writes to it")


class BytesSource(msgspec.Struct, frozen=True):
    """Content in memory."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def identity(self) -> Identity:
        return hashlib.sha256(self.content).hexdigest()

    def pieces(self, limit: int) -> Generator[bytes, None, None]:
        """The content, in order, in pieces of at most `limit` bytes."""
        for start in range(0, len(self.content), limit):
            yield self.content[start : start + limit]


class Contents(Protocol):
    """The content of files within a tar, by their offsets in it."""

    @property
    def identity(self) -> str | None:
        """A digest of all of it, or of what it is taken out of; None where nobody knows one."""

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from there, none only where there are no more. Raises LayerError."""


class PartSource(msgspec.Struct, frozen=True):
    """A file within a tar that nobody changes meanwhile: of another image, or of an archive."""

    contents: Contents
    offset: int
    size: int

    @property
    def identity(self) -> Identity | None:
        """None where the content cannot be told without reading it."""
        whole = self.contents.identity
        return (whole, self.offset, self.size) if whole is not None else None

    def pieces(self, limit: int) -> Generator[bytes, None, None]:
        """The content, in order, in pieces of at most `limit` bytes. Raises LayerError where it ends early."""
        end = self.offset + self.size
        position = self.offset
        while position < end:
            piece = self.contents.read(position, min(limit, end - position))
            if not piece:
                raise LayerError(f"content that is to be copied ends {end - position} bytes early: build again")
            position += len(piece)
            yield piece


class MemberSource(msgspec.Struct, frozen=True, kw_only=True):
    """A file within a ZIP archive that nobody changes meanwhile, inflated as it is read.

    Its `stored` bytes are at `offset` of the `archive`, deflated or as they are; `name` is for messages. The content
    is verified by `digest`, of `algorithm` as hashlib calls it.
    """

    archive: Contents
    name: str
    offset: int
    stored: int
    size: int
    is_deflated: bool
    algorithm: str
    digest: bytes

    @property
    def identity(self) -> Identity:
        """Like that of bytes at hand: what is read is this, or refused."""
        return self.digest.hex() if self.algorithm == "sha256" else f"{self.algorithm}:{self.digest.hex()}"

    def pieces(self, limit: int) -> Generator[bytes, None, None]:
        """The content, in order, in pieces of at most `limit` bytes. Raises LayerError where it is not `size` bytes
        of this digest: the last of them are given before that is known."""
        digester = hashlib.new(self.algorithm)
        missing = self.size
        for piece in self._inflated(limit) if self.is_deflated else self._raw(limit):
            missing -= len(piece)
            if missing < 0:
                raise LayerError(f"{self.name} has more than the {self.size} bytes that the archive says")
            digester.update(piece)
            yield piece
        if missing:
            raise LayerError(f"{self.name} has {missing} bytes less than the {self.size} that the archive says")
        if digester.digest() != self.digest:
            raise LayerError(
                f"{self.name} is not what it is said to be: its {self.algorithm} is {digester.hexdigest()}, not "
                f"{self.digest.hex()}: do not use it"
            )

    def _raw(self, limit: int) -> Generator[bytes, None, None]:
        position, end = self.offset, self.offset + self.stored
        while position < end and (piece := self.archive.read(position, min(limit, end - position))):
            position += len(piece)
            yield piece

    def _inflated(self, limit: int) -> Generator[bytes, None, None]:
        from zlib_ng import zlib_ng  # noqa: PLC0415 - few layers are of such archives

        decoder = zlib_ng.decompressobj(wbits=-15)
        try:
            for stored in self._raw(limit):
                pending = stored
                while piece := decoder.decompress(pending, limit):
                    yield piece
                    pending = decoder.unconsumed_tail
        except zlib_ng.error as error:  # type: ignore[misc]  # Its stub says that it is an instance.
            raise LayerError(f"{self.name} is damaged: {error}") from error


Source = FileSource | BytesSource | PartSource | MemberSource
