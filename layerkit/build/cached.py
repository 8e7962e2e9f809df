"""What is cached: the files of the cache by what they are for, and the way to be rid of them. Blocking.

All of it can be made again. A record or an index that is gone is missed by nobody: whoever has it open reads on,
whoever comes later makes it anew. A download may be waited for by a build that has planned with it: it is freed only
where that is asked for, or while nobody builds (`build/bounds.py`). Beginnings of files, which others may be at work
on, and what is not known stay.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec


class Kind(StrEnum):
    LAYERS = "layers"
    PLANS = "plans"
    SPECS = "specs"
    ALIKE = "alike"
    STRETCHES = "stretches"
    HEADERS = "headers"
    DOCUMENTS = "documents"
    ROOTFS = "rootfs"
    PACKAGES = "packages"
    DOWNLOADS = "downloads"


RECORDS: Final = (
    Kind.LAYERS,
    Kind.PLANS,
    Kind.SPECS,
    Kind.ALIKE,
    Kind.STRETCHES,
    Kind.HEADERS,
    Kind.DOCUMENTS,
    Kind.ROOTFS,
    Kind.PACKAGES,
)
"""What may go at any time, beside running builds too."""

_FOLDERS: Final = {
    "layers": Kind.LAYERS,
    "plans": Kind.PLANS,
    "specs": Kind.SPECS,
    "alike": Kind.ALIKE,
    "stretches": Kind.STRETCHES,
    "headers": Kind.HEADERS,
    "documents": Kind.DOCUMENTS,
    "rootfs": Kind.ROOTFS,
    "packages": Kind.PACKAGES,
    "fetch": Kind.DOWNLOADS,
}


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """`files` is a count, `size` is in bytes."""

    files: int = 0
    size: int = 0


def measure(folder: Path) -> dict[Kind, Amount]:
    """What the cache in `folder` has of each kind, of this version and of others."""
    return {kind: add_up(size for _, size in iter_files(folder, kind)) for kind in Kind}


def free(folder: Path, kinds: Iterable[Kind]) -> Amount:
    """Remove all of these kinds from the cache in `folder`; returned is what is gone. Raises OSError."""
    gone = []
    for kind in kinds:
        for path, size in iter_files(folder, kind):
            with suppress(FileNotFoundError):
                path.unlink()
                gone.append(size)
    return add_up(gone)


def iter_files(folder: Path, kind: Kind) -> Iterator[tuple[Path, int]]:
    """The files of this kind, and their sizes."""
    for name in _names(folder):
        # `layers-1`: the version of the format comes after the name.
        if _FOLDERS.get(name.partition("-")[0]) is not kind or (folder / name).is_symlink():
            continue
        for file in _names(folder / name):
            path = folder / name / file
            with suppress(FileNotFoundError):
                if not file.startswith(".") and path.is_file() and not path.is_symlink():
                    yield path, path.stat().st_size


def iter_leftovers(folder: Path) -> Iterator[Path]:
    """What has not got its name yet: of processes that are at work, or were killed."""
    for name in _names(folder):
        if name.partition("-")[0] in _FOLDERS and not (folder / name).is_symlink():
            yield from (folder / name / file for file in _names(folder / name) if file.startswith("."))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def add_up(sizes: Iterable[int]) -> Amount:
    """Of files of these sizes."""
    found = list(sizes)
    return Amount(files=len(found), size=sum(found))
