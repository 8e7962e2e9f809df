"""Folders of the cache: small files by their keys, all of which can be made again.

Each is written beside and renamed, so that builds side by side see a whole one or none. Nothing needs to be synced: who
reads one that a crash cut short finds that out. They are for the user alone, who may have told a spec what is not for
all. Where the folder cannot be written nothing is kept, and nothing fails. Blocking.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

MOST_FILES: Final = 10_000


class CacheFolder(msgspec.Struct, frozen=True, kw_only=True):
    """The files in `folder`, at most `most_files`, of at most `most_bytes` together: those not used for longest go
    first. Without `is_trusted` none is found, and all are kept anew."""

    folder: Path
    most_files: int = MOST_FILES
    most_bytes: int | None = None
    is_trusted: bool = True

    def find(self, key: str) -> bytes | None:
        if not self.is_trusted:
            return None
        path = self.folder / key
        try:
            content = path.read_bytes()
        except OSError:
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    def keep(self, key: str, content: bytes) -> None:
        path = self.folder / key
        temporary = self.folder / f".{key}.{os.urandom(6).hex()}"
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with open(temporary, "xb", opener=_open_private) as file:
                    file.write(content)
                temporary.rename(path)
            finally:
                temporary.unlink(missing_ok=True)
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        with os.scandir(self.folder) as entries:
            found = list(entries)
        is_full = len(found) > self.most_files
        if not is_full and self.most_bytes is None:
            return
        # Some more at once, so that not each one that is kept looks at all others.
        most_files = self.most_files * 9 // 10 if is_full else self.most_files
        total = 0
        for number, (_, size, path) in enumerate(sorted(_look_at(found), reverse=True), 1):
            total += size
            if number > most_files or (self.most_bytes is not None and total > self.most_bytes):
                Path(path).unlink(missing_ok=True)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _look_at(found: list[os.DirEntry[str]]) -> Iterator[tuple[int, int, str]]:
    """The times, sizes and paths of files."""
    for entry in found:
        # Another build may have forgotten it in the meantime.
        with suppress(FileNotFoundError):
            status = entry.stat()
            yield status.st_mtime_ns, status.st_size, entry.path
