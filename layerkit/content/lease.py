"""Leases: what a process that is at work in a store counts on, so that no other one frees it meanwhile.

A build writes layers, and finds those of its base, long before a manifest refers to them. It says so in a file of its
own, which it holds locked as long as it lives; of a process that was killed the kernel gives the lock back, and its
file means nothing any more. Two rules make it safe:

- who counts on content writes that down *before* he looks whether it is there, or gives it its name;
- who frees content holds the store's lock (`files.locked_folder`) alone from reading the leases until the content is
  gone, and who writes a lease shares that lock while he does.
"""

import errno
import fcntl
import os
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from layerkit.files import locked_folder, make_folder, readable_errors
from layerkit.oci.digest import Digest
from layerkit.oci.errors import DigestInvalid

FOLDER: Final = "leases"


class Lease:
    """What this process counts on. Its file exists from the first digest on, and ends with the object or the process.

    Called by several threads at once.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._held: set[Digest] = set()
        self._mutex = threading.Lock()
        self._file = -1
        self._end: weakref.finalize[[Path, int], Lease] | None = None

    def add(self, digests: Iterable[Digest]) -> None:
        with self._mutex:
            new = [digest for digest in digests if digest not in self._held]
            if not new:
                return
            with readable_errors(str(self._store)), locked_folder(self._store, shared=True):
                if self._end is None and not self._begin():
                    return
                os.write(self._file, "".join(f"{digest}\n" for digest in new).encode())
            self._held.update(new)

    def release(self) -> None:
        """Count on nothing any more."""
        with self._mutex:
            if self._end is not None:
                self._end()
            self._end = None
            self._held.clear()

    def _begin(self) -> bool:
        """False where nothing can be written, and so nothing freed."""
        folder = self._store / FOLDER
        path = folder / os.urandom(12).hex()
        try:
            make_folder(folder)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            # Nothing can be freed here, nor written; images can still be looked at.
            return False
        # Before the store's lock is given back: nobody sees the file without its own lock and takes it for a dead one.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._end = weakref.finalize(self, _end, path, self._file)
        return True


def _end(path: Path, file: int) -> None:
    path.unlink(missing_ok=True)
    os.close(file)


def read_leases(store: Path) -> set[Digest]:
    """What living processes count on; the files of dead ones are removed. For callers that hold the store's lock."""
    folder = store / FOLDER
    held: set[Digest] = set()
    if not folder.is_dir():
        return held
    for path in folder.iterdir():
        try:
            file = path.open("rb")
        except FileNotFoundError:
            # Its process has just ended.
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                held.update(_digests(file.read().decode(errors="replace")))
            else:
                path.unlink(missing_ok=True)
    return held


def _digests(text: str) -> Iterable[Digest]:
    for line in text.splitlines():
        try:
            yield Digest(line)
        except DigestInvalid:
            # The last line of a process that is killed while it writes, or a full disk.
            continue
