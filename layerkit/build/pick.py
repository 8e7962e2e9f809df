"""Picking: what a copy takes from another image, as entries of a layer. Blocking.

The rules are those of copies from the context (`build/scan.py`): a folder copies its contents, a glob keeps the paths
below its fixed part, links at the source are followed and links within a folder are taken as links. Of a source's
attributes only the execute bit counts, and its time where that is asked for.
"""

from collections.abc import Iterator

import msgspec

from layerkit.build.exclude import ExcludeRules
from layerkit.build.filesystem import Filesystem, Match, join
from layerkit.build.taken import Marks, Taken, directory_entry, folders_between
from layerkit.document.problem import InvalidValue
from layerkit.layer.entry import ROOT, Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import IndexedEntry
from layerkit.oci.digest import shorten
from layerkit.spec.model import Copy


class _Picked(msgspec.Struct, frozen=True):
    """`path` in the other image, where `entry` is, goes to `destination`, for which `folders` are made."""

    path: str
    entry: IndexedEntry
    destination: str
    folders: tuple[str, ...] = ()


class Donor(msgspec.Struct, frozen=True):
    """Another image, which messages call `name`."""

    name: str
    filesystem: Filesystem


def pick(copy: Copy, donor: Donor, marks: Marks, warnings: list[str]) -> Iterator[Taken]:
    """What `copy` takes from `donor`. Raises InvalidValue for what is not there, LayerError for what cannot be had."""
    seen: set[str] = set()
    for found in _find(copy, donor, warnings):
        for folder in found.folders:
            if folder not in seen:
                seen.add(folder)
                yield Taken(directory_entry(folder, marks), found.path.rpartition("/")[0])
        entry = _entry(found, donor, marks, warnings)
        if entry is not None and entry.path not in seen:
            seen.add(entry.path)
            yield Taken(entry, f"{donor.name}:/{found.path}", donor.filesystem.identity(found.path))


def _find(copy: Copy, donor: Donor, warnings: list[str]) -> Iterator[_Picked]:
    tree = donor.filesystem.tree
    matches = donor.filesystem.match(copy.src)
    if not matches:
        raise InvalidValue(f"no file of {donor.name} matches {copy.src}", donor.filesystem.suggest(copy.src))
    try:
        excludes = ExcludeRules(copy.exclude)
    except ValueError as error:
        raise InvalidValue(f"exclude: {error}") from error
    into = copy.dest.endswith("/")
    destination = copy.dest.strip("/")
    if len(matches) > 1 and not into:
        raise InvalidValue(
            f"{copy.src} matches {len(matches)} paths, and {copy.dest} names one",
            f'end the destination with a slash: "{copy.dest}/"',
        )
    taken = 0
    for match in matches:
        path = tree.resolve_directory(match.path)
        entry = tree.root if path == ROOT else tree.lookup(path)
        if entry is None:
            raise InvalidValue(
                f"/{match.path} of {donor.name} is a link to /{path}, and nothing is there",
                "copy the folder that the link is in",
            )
        is_folder = entry.type is EntryType.DIRECTORY
        name = match.below or ("" if is_folder else match.path.rpartition("/")[2])
        if name and excludes.is_excluded_on_the_way(name, is_folder=is_folder):
            continue
        if is_folder:
            for item in _walk(donor, match, path, entry, destination, excludes):
                taken += 1
                yield item
            continue
        taken += 1
        if into:
            yield _Picked(path, entry, join(destination, name), folders_between(destination, name))
        else:
            yield _Picked(path, entry, destination)
    if not taken:
        raise InvalidValue(f"everything that {copy.src} matches is excluded")
    warnings += [f"{copy.position}: exclude: {shorten(pattern)} matches nothing" for pattern in excludes.unmatched]


def _walk(
    donor: Donor, match: Match, path: str, entry: IndexedEntry, destination: str, excludes: ExcludeRules
) -> Iterator[_Picked]:
    yield _Picked(path, entry, join(destination, match.below), folders_between(destination, match.below))
    waiting = [("", path)]
    while waiting:
        below, folder = waiting.pop()
        for child in donor.filesystem.tree.children(folder):
            inside = join(below, child.path.rpartition("/")[2])
            name = join(match.below, inside)
            is_folder = child.type is EntryType.DIRECTORY
            if excludes.is_excluded(name, is_folder=is_folder):
                continue
            if is_folder:
                waiting.append((inside, child.path))
            yield _Picked(child.path, child, join(destination, name))


def _entry(found: _Picked, donor: Donor, marks: Marks, warnings: list[str]) -> Entry | None:
    # A hardlink becomes a file of its own, as a copy of the context's does.
    origin = donor.filesystem.tree.origin(found.path)
    entry = origin.entry if origin is not None else found.entry
    match entry.type:
        case EntryType.DIRECTORY:
            return directory_entry(found.destination, marks, mtime=entry.mtime) if found.destination else None
        case EntryType.FILE:
            usual = 0o755 if entry.mode & 0o111 else 0o644
            return Entry(
                path=found.destination,
                type=EntryType.FILE,
                mode=usual if marks.mode is None else marks.mode,
                uid=marks.uid,
                gid=marks.gid,
                mtime=marks.time(entry.mtime),
                xattrs=marks.xattrs,
                source=donor.filesystem.source(found.path),
            )
        case EntryType.SYMLINK:
            return Entry(
                path=found.destination,
                type=EntryType.SYMLINK,
                mode=0o777,
                uid=marks.uid,
                gid=marks.gid,
                mtime=marks.time(entry.mtime),
                link=entry.link,
            )
        case EntryType.FIFO:
            mode = 0o644 if marks.mode is None else marks.mode
            return Entry(path=found.destination, type=EntryType.FIFO, mode=mode, uid=marks.uid, gid=marks.gid)
        case EntryType.HARDLINK:
            raise LayerError(f"/{found.path} of {donor.name} is a hardlink to what is not there: copy something else")
    warnings.append(f"/{found.path} of {donor.name} is a {str(entry.type).replace('_', ' ')}, and is left out")
    return None
