"""A file that only takes up room: given up when a full disk has none for what deleting writes before it frees any."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

SIZE: Final = 4 * 1024 * 1024
_ROOM_NEEDED: Final = 64 * 1024 * 1024
"""Free bytes from which on the reserve is kept: on a small disk it would only be in the way."""


class Reserve:
    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self) -> None:
        """Take the room up, where there is plenty. Raises OSError."""
        found = os.statvfs(self._path.parent)
        if found.f_bavail * found.f_frsize < _ROOM_NEEDED or self._path.exists():
            return
        temporary = self._path.with_name(f".{self._path.name}.new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, SIZE)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        # Another worker may have done the same with the same file.
        with suppress(FileNotFoundError):
            temporary.rename(self._path)

    def give_up(self) -> bool:
        """Whether there is more room now. Raises OSError."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True
