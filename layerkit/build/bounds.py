"""Bounds: a cache that stays below a size, whatever is built with it.

    .in-use     a lock of the kernel: whoever builds shares it, and whoever frees has it alone
    .trimmed    when that was done last

A download is counted on from the plan of a build to its end, so it is freed only while nobody builds; a process that
was killed holds no lock. Who finds others at work leaves it to them. What was not used for longest goes first, and with
it what killed processes have left half written. Blocking.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from layerkit.build.cached import Amount, Kind, add_up, iter_files, iter_leftovers

DEFAULT_SIZE: Final = 10 * 10**9
"""Bytes, of the whole cache."""
_DAY: Final = 24 * 60 * 60


@contextmanager
def using(folder: Path) -> Iterator[None]:
    """Nothing in the cache that a build counts on is freed within the block, however many are in one."""
    fd = _lock(folder, fcntl.LOCK_SH)
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)


def trim(folder: Path, most_bytes: int, now: float) -> Amount:
    """Free what was not used for longest until the cache in `folder` has at most `most_bytes`; returned is what is
    gone. Nothing is done where nothing was downloaded since the last time, and that is not a day ago; nor where
    somebody builds, or the folder cannot be written. `now` are seconds since 1970."""
    if not _is_due(folder, now):
        return Amount()
    fd = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if fd is None:
        return Amount()
    try:
        gone = list(_free(folder, most_bytes, now))
        with suppress(OSError):
            (folder / ".trimmed").touch()
            os.utime(folder / ".trimmed", (now, now))
    finally:
        os.close(fd)
    return add_up(gone)


def _free(folder: Path, most_bytes: int, now: float) -> Iterator[int]:
    for path in iter_leftovers(folder):
        with suppress(OSError):
            if path.stat().st_mtime < now - _DAY:
                path.unlink()
    found: list[tuple[float, int, Path]] = []
    for kind in Kind:
        for path, size in iter_files(folder, kind):
            with suppress(OSError):
                status = path.stat()
                # Records are touched when they are used. Of downloads layers are made, which are known again by their
                # times: what was read last is as exact as the file system keeps it.
                found.append((max(status.st_mtime, status.st_atime), size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most_bytes:
            return
        with suppress(OSError):
            path.unlink()
            total -= size
            yield size


def _is_due(folder: Path, now: float) -> bool:
    trimmed = _time_of(folder / ".trimmed")
    return not now - _DAY < trimmed <= now or _time_of(folder / "fetch") > trimmed


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0


def _lock(folder: Path, how: int) -> int | None:
    """The lock, None where it cannot be had."""
    fd = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / ".in-use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(fd, how)
    except OSError:
        if fd is not None:
            os.close(fd)
        return None
    return fd
