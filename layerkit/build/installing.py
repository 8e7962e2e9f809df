"""Installing: packages that are on this machine become the entries of a layer, and are opened for that once.

What came of installing the same packages into the same file system is remembered, so that a build of nothing new reads
no package; whoever reads a file of one later has it decompressed then. Blocking.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Final

import msgspec

from layerkit.build.exclude import ExcludeRules
from layerkit.build.filesystem import Filesystem
from layerkit.build.kept import Keeper
from layerkit.layer.compress import count_threads
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.source import BytesSource, PartSource, Source
from layerkit.layer.spool import Shelf
from layerkit.packages.debian.install import VERSION, Installed, install
from layerkit.packages.debian.unpack import OpenDeb, open_deb
from layerkit.packages.errors import PackageError
from layerkit.packages.lock import AptLock, LockedDeb, digest_request
from layerkit.spec.model import Apt

_TYPES: Final = tuple(EntryType)
_CODES: Final = {kind: code for code, kind in enumerate(_TYPES)}


class ArrivedDeb:
    """A package on this machine, at `path`. It is verified and opened when it is needed, by several threads at once;
    as the contents of its files it has its SHA-256 for an identity."""

    def __init__(self, locked: LockedDeb, path: Path, installs: "Installs") -> None:
        self.locked = locked
        self.identity: str | None = str(locked.sha256)
        self._path = path
        self._installs = installs
        self._opened: OpenDeb | None = None
        self._lock = Lock()

    def __str__(self) -> str:
        return f"{self.locked.name} {self.locked.version}"

    def open(self) -> OpenDeb:
        """Raises PackageError."""
        with self._lock:
            if self._opened is None:
                self._verify()
                self._opened = open_deb(
                    self._path, self._installs.spool, identity=self.identity, shelf=self._installs.shelf
                )
            return self._opened

    def read(self, offset: int, size: int) -> bytes:
        try:
            return self.open().contents.read(offset, size)
        except PackageError as error:
            raise LayerError(str(error)) from error

    def _verify(self) -> None:
        """A disk may have spoilt it since it was brought."""
        try:
            with self._path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise PackageError(
                f"package {self} is not in the cache any more ({error.strerror}): build again"
            ) from error
        if found != self.locked.sha256.encoded:
            self._path.unlink(missing_ok=True)
            raise PackageError(f"package {self} was damaged in the cache: build again, and it is fetched anew")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledDebs:
    """`origins` are the packages that the paths of the entries are from; what is of none was made by installing them.

    `warnings` are what a person may want to know, `doubts` what may leave a package without a part of what it needs.
    """

    entries: tuple[Entry, ...]
    origins: Mapping[str, str]
    warnings: tuple[str, ...]
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installs:
    """`spool` is a folder for what is decompressed, `shelf` is for what of it is small."""

    keeper: Keeper
    spool: Path
    shelf: Shelf

    def find(self, key: str, debs: Sequence[ArrivedDeb]) -> InstalledDebs | None:
        record = self.keeper.find(f"installed-{key}", _Record)
        return None if record is None else record.restore(debs)

    def remember(self, key: str, installed: InstalledDebs, debs: Sequence[ArrivedDeb]) -> None:
        self.keeper.remember(f"installed-{key}", _Record.of(installed, debs))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedDebs:
    """The packages of one `apt:`, as `lock` has them."""

    apt: Apt
    architecture: str
    suite: str
    lock: AptLock
    debs: tuple[ArrivedDeb, ...]
    installs: Installs = field(repr=False)

    @property
    def identity(self) -> str:
        """What tells what they are on top of anything from what others are."""
        return repr((VERSION, self.apt, self.architecture, self.suite, self.lock))

    def install(self, below: Filesystem, removed: Iterable[str] = ()) -> InstalledDebs:
        """What they are on top of `below`, from which the layer has `removed` something before.

        Raises PackageError, and ValueError for patterns that are none.
        """
        key = self._key(below, removed)
        known = None if key is None else self.installs.find(key, self.debs)
        if known is not None:
            return known
        rules = ExcludeRules(self.apt.exclude)
        installed = install(
            self._open(),
            below,
            architecture=self.architecture,
            reasons={deb.name: deb.reason for deb in self.lock.packages},
            is_excluded=lambda path, is_folder: rules.is_excluded(path, is_folder=is_folder),
        )
        found = InstalledDebs(
            entries=installed.entries,
            origins=installed.origins,
            warnings=(
                *installed.warnings,
                *(f"`exclude` {pattern} matches nothing of the packages" for pattern in rules.unmatched),
            ),
            doubts=(*_tell_unknown(installed), *installed.doubts),
        )
        if key is not None:
            self.installs.remember(key, found, self.debs)
        return found

    def _open(self) -> list[OpenDeb]:
        # Decompressing leaves the interpreter to others.
        with ThreadPoolExecutor(max_workers=count_threads()) as threads:
            return list(threads.map(ArrivedDeb.open, self.debs))

    def _key(self, below: Filesystem, removed: Iterable[str]) -> str | None:
        digest = below.digest
        if digest is None:
            return None
        debs = [[deb.sha256, deb.reason] for deb in self.lock.packages]
        asked = [VERSION, self.architecture, debs, list(self.apt.exclude), digest, sorted(removed)]
        return digest_request(asked).encoded


def _tell_unknown(installed: Installed) -> list[str]:
    return [
        f"package {name}: its script has a statement that is not understood and not done: {statement}"
        for name, statements in sorted(installed.unknown.items())
        for statement in statements
    ]


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """An entry. `content` are the bytes themselves, or the number of the package that `place` and `size` are of;
    `origin` is the number of a package too, -1 for none."""

    path: str
    kind: int
    mode: int
    uid: int
    gid: int
    link: str = ""
    origin: int = -1
    content: bytes | int | None = None
    place: int = 0
    size: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    device: tuple[int, int] = (0, 0)


class _Record(msgspec.Struct, frozen=True, array_like=True):
    rows: tuple[_Row, ...]
    warnings: tuple[str, ...]
    doubts: tuple[str, ...]

    @classmethod
    def of(cls, installed: InstalledDebs, debs: Sequence[ArrivedDeb]) -> "_Record":
        by_digest = {deb.identity: number for number, deb in enumerate(debs)}
        by_name = {str(deb): number for number, deb in enumerate(debs)}
        rows = []
        for entry in installed.entries:
            content: bytes | int | None = None
            place = size = 0
            match entry.source:
                case PartSource(contents=contents):
                    content, place, size = by_digest[contents.identity], entry.source.offset, entry.source.size
                case BytesSource():
                    content = entry.source.content
                case _:
                    pass
            rows.append(
                _Row(
                    path=entry.path,
                    kind=_CODES[entry.type],
                    mode=entry.mode,
                    uid=entry.uid,
                    gid=entry.gid,
                    link=entry.link,
                    origin=by_name.get(installed.origins.get(entry.path, ""), -1),
                    content=content,
                    place=place,
                    size=size,
                    xattrs=entry.xattrs,
                    device=entry.device,
                )
            )
        return cls(tuple(rows), installed.warnings, installed.doubts)

    def restore(self, debs: Sequence[ArrivedDeb]) -> InstalledDebs:
        return InstalledDebs(
            entries=tuple(_entry(row, debs) for row in self.rows),
            origins=MappingProxyType({row.path: str(debs[row.origin]) for row in self.rows if row.origin >= 0}),
            warnings=self.warnings,
            doubts=self.doubts,
        )


def _entry(row: _Row, debs: Sequence[ArrivedDeb]) -> Entry:
    source: Source | None = None
    if isinstance(row.content, bytes):
        source = BytesSource(row.content)
    elif row.content is not None:
        source = PartSource(debs[row.content], row.place, row.size)
    return Entry(
        path=row.path,
        type=_TYPES[row.kind],
        mode=row.mode,
        uid=row.uid,
        gid=row.gid,
        link=row.link,
        xattrs=row.xattrs,
        device=row.device,
        source=source,
    )
