"""Unpacking: the files of packages, as entries of a layer.

What dpkg does with the tar of a package (dpkg, `src/main/archives.c`): a directory that is there stays as it is, a file
of another package is only replaced where `Replaces` says so. On a system with a merged /usr, which every Debian since
12 has, `/bin/sh` is `/usr/bin/sh` whatever the package says.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from layerkit.layer.entry import ROOT, Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import IndexedEntry, LayerIndex
from layerkit.layer.source import Contents, PartSource
from layerkit.layer.spool import Shelf, open_tar
from layerkit.packages.debian.control import Stanza
from layerkit.packages.debian.deb import Deb, open_member, read_deb
from layerkit.packages.debian.package import Package
from layerkit.packages.debian.relation import parse_relations
from layerkit.packages.debian.system import System
from layerkit.packages.errors import PackageError

IsExcluded = Callable[[str, bool], bool]
"""Whether a path, relative to the root, is to be left out; and whether it is a folder."""

_MERGED: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ALWAYS_MERGED: Final = ("bin", "sbin", "lib")
_SECURITY: Final = "security.capability"


class OpenDeb(msgspec.Struct, frozen=True, kw_only=True):
    """A package whose files can be read."""

    deb: Deb
    index: LayerIndex
    contents: Contents

    @property
    def name(self) -> str:
        return self.deb.name

    @property
    def stanza(self) -> Stanza:
        return self.deb.stanza

    @property
    def paths(self) -> list[str]:
        """Its files and directories as the package names them, without the root."""
        return [entry.path for entry in self.index.entries if entry.path != ROOT]


def open_deb(path: Path, spool: Path, *, identity: str | None = None, shelf: Shelf | None = None) -> OpenDeb:
    """`spool` is a folder for what is decompressed, and `shelf` for what of it is small; `identity` is a digest of the
    package. Raises PackageError."""
    deb = read_deb(path)
    try:
        with open_member(path, deb.offset, deb.size) as data:
            index, contents = open_tar(data, spool, identity=identity, shelf=shelf)
    except LayerError as error:
        raise PackageError(f"{path.name}: its data.tar cannot be read: {error}") from error
    return OpenDeb(deb=deb, index=index, contents=contents)


def unpack(
    debs: Iterable[OpenDeb], system: System, *, architecture: str, excluded: "Excluded"
) -> tuple[dict[str, OpenDeb], list[str]]:
    """Put the files of packages into the system, in the order of their names; the answer are the packages that paths
    are from, and warnings.

    Raises PackageError for two packages that have the same file.
    """
    debs = sorted(debs, key=lambda item: item.name)
    _merge_usr(debs, system)
    owners: dict[str, OpenDeb] = {}
    warnings: list[str] = []
    for item in debs:
        links: list[IndexedEntry] = []
        for found in item.index.entries:
            if excluded.has(found.path, is_folder=found.type is EntryType.DIRECTORY):
                continue
            if found.type is EntryType.HARDLINK:
                links.append(found)
            else:
                _put(found, item, system, owners, warnings, architecture)
        for found in links:
            _put(_find_content(found, item, excluded), item, system, owners, warnings, architecture)
    return owners, warnings


class Excluded:
    """Which paths are left out: they themselves, or a folder that they are in."""

    def __init__(self, is_excluded: IsExcluded) -> None:
        self._is_excluded = is_excluded
        self._folders = {ROOT: False, "": False}

    def has(self, path: str, *, is_folder: bool) -> bool:
        if path == ROOT:
            return False
        if is_folder and path in self._folders:
            return self._folders[path]
        found = self.has(path.rpartition("/")[0], is_folder=True) if "/" in path else False
        found = found or self._is_excluded(path, is_folder)
        if is_folder:
            self._folders[path] = found
        return found


def _find_content(link: IndexedEntry, item: OpenDeb, excluded: Excluded) -> IndexedEntry:
    """A hardlink whose target is left out is the file itself."""
    if not excluded.has(link.link, is_folder=False):
        return link
    target = next((entry for entry in item.index.entries if entry.path == link.link), None)
    return (
        link if target is None or target.type is not EntryType.FILE else msgspec.structs.replace(target, path=link.path)
    )


def _merge_usr(debs: Iterable[OpenDeb], system: System) -> None:
    """The links of a merged /usr, where there is nothing yet."""
    named = {path.partition("/")[0] for item in debs for path in item.paths}
    for name in _MERGED:
        if (name in named or name in _ALWAYS_MERGED) and system.lookup(name) is None:
            system.make_directory(f"usr/{name}")
            system.link(name, f"usr/{name}")


def _put(
    found: IndexedEntry,
    item: OpenDeb,
    system: System,
    owners: dict[str, OpenDeb],
    warnings: list[str],
    architecture: str,
) -> None:
    if found.path == ROOT:
        return
    present = system.lookup(found.path)
    if found.type is EntryType.DIRECTORY:
        if present is not None and system.is_directory(found.path):
            return
    elif system.is_directory(found.path) and present is not None:
        # `bin -> usr/bin` of base-files, where it is so already.
        if found.type is EntryType.SYMLINK and system.follow(found.path) != found.path:
            return
        raise PackageError(f"{item.name} has /{found.path} as a {found.type}, and it is a directory already")
    path = system.resolve(found.path)
    owner = owners.get(path)
    if owner is not None and owner is not item:
        if _replaces(owner, item, architecture):
            return
        if not _replaces(item, owner, architecture):
            raise PackageError(f"/{path} is in both {owner.name} and {item.name}: choose one of the two packages")
    elif owner is None and present is not None and present.type is not EntryType.DIRECTORY:
        warnings.append(f"/{path} of the base is replaced by that of the package {item.name}")
    try:
        system.put(_entry(found, path, item, system))
    except LayerError as error:
        raise PackageError(f"{item.name}: {error}") from error
    if found.type is not EntryType.DIRECTORY:
        owners[path] = item


def _entry(found: IndexedEntry, path: str, item: OpenDeb, system: System) -> Entry:
    source = None
    if found.type is EntryType.FILE:
        source = PartSource(item.contents, found.offset, found.size)
    link = found.link
    if found.type is EntryType.HARDLINK:
        link = system.resolve(link)
        target = system.lookup(link)
        if target is not None:
            return Entry(
                path=path, type=EntryType.HARDLINK, mode=target.mode, uid=target.uid, gid=target.gid, link=link
            )
    return Entry(
        path=path,
        type=found.type,
        mode=0o777 if found.type is EntryType.SYMLINK else found.mode,
        uid=found.uid,
        gid=found.gid,
        link=link,
        xattrs=tuple((name, value) for name, value in found.xattrs if name == _SECURITY),
        device=found.device,
        source=source,
    )


def _replaces(newer: OpenDeb, older: OpenDeb, architecture: str) -> bool:
    """Policy, 7.6.1."""
    package = Package.of(older.stanza, native=architecture, origin=older.deb.path.name)
    groups = parse_relations(newer.stanza.get("replaces", ""), architecture)
    return any(package.satisfies(relation) for group in groups for relation in group)
