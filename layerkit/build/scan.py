"""Scanning: what a copy takes from the context, as entries of a layer. Blocking.

A folder copies its contents; a glob keeps the paths below its fixed part; nothing outside the context is ever read.
Of a source's attributes only the execute bit counts (SPEC, "Copy").
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerkit.build.exclude import ExcludeRules
from layerkit.build.filesystem import GLOB, compile_glob, join, simplify
from layerkit.build.ignore import IgnoreRules, parse_dockerignore
from layerkit.build.taken import Marks, Taken, directory_entry, folders_between
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.source import BytesSource, FileSource
from layerkit.oci.digest import shorten
from layerkit.spec.model import Content, Copy, Spec, Symlink

DOCKERIGNORE: Final = ".dockerignore"


@dataclass(frozen=True, slots=True)
class Found:
    """One path that a copy takes: where it is on this machine, and where it goes in the image.

    `folders` are those of the destination that the copy makes for it, and to which its attributes apply too.
    """

    path: str
    destination: str
    status: os.stat_result
    folders: tuple[str, ...] = ()


class Context:
    """The folder that a spec may copy from, and what its `.dockerignore` keeps out of it. Folders are read as they come
    or `backwards`: their order shows nowhere but in that of warnings."""

    def __init__(self, spec: Spec, *, backwards: bool = False) -> None:
        self._spec = spec
        self._step = -1 if backwards else 1
        self._root = os.path.realpath(spec.context)
        self._ignored = self._read_dockerignore()
        self.warnings: list[str] = []
        """What the copies until now had to leave out, and what of them did nothing."""

    def copy(self, copy: Copy, marks: Marks) -> list[Taken]:
        """The entries of a copy, the folder that it makes included. Raises DocumentError at the copy's position."""
        entries: dict[str, Taken] = {}
        try:
            for found in self._find(copy):
                for folder in found.folders:
                    entries.setdefault(folder, Taken(directory_entry(folder, marks), ""))
                entry = self._entry(found, marks)
                if entry is not None:
                    entries[entry.path] = Taken(entry, found.path[len(self._root) + 1 :] or ".")
        except LayerError as error:
            raise self._spec.problem(copy.position, str(error)) from error
        except OSError as error:
            reason = f"cannot read {error.filename or copy.src}: {(error.strerror or str(error)).lower()}"
            raise self._spec.problem(copy.position, reason) from error
        return list(entries.values())

    def _find(self, copy: Copy) -> Iterator[Found]:
        matches = self._match(copy)
        try:
            excludes = ExcludeRules(copy.exclude)
        except ValueError as error:
            raise self._spec.problem(copy.position, f"exclude: {error}") from error
        into = copy.dest.endswith("/")
        destination = copy.dest.strip("/")
        if len(matches) > 1 and not into:
            raise self._spec.problem(
                copy.position,
                f"{copy.src} matches {len(matches)} paths, and {copy.dest} names one",
                f'end the destination with a slash: "{copy.dest}/"',
            )
        taken = 0
        for match in matches:
            status = os.stat(match.real)
            is_folder = stat.S_ISDIR(status.st_mode)
            name = match.below or ("" if is_folder else os.path.basename(match.relative))
            if name and excludes.is_excluded_on_the_way(name, is_folder=is_folder):
                continue
            if is_folder:
                for item in self._walk(match, destination, status, excludes):
                    taken += 1
                    yield item
                continue
            taken += 1
            if into:
                yield Found(match.real, join(destination, name), status, folders_between(destination, name))
            else:
                yield Found(match.real, destination, status)
        if not taken:
            raise self._spec.problem(copy.position, f"everything that {copy.src} matches is excluded")
        self.warnings += [
            f"{copy.position}: exclude: {shorten(pattern)} matches nothing" for pattern in excludes.unmatched
        ]

    def _match(self, copy: Copy) -> "list[_Match]":
        if os.path.isabs(copy.src) or ".." in copy.src.split("/"):
            raise self._spec.problem(
                copy.position, f"{copy.src} leaves the folder of the spec", "copy from below that folder"
            )
        # In one spelling: `a//b` and `./a/./b` are `a/b` for `.dockerignore` too.
        source = os.path.normpath(copy.src)
        parts = source.split("/")
        fixed = next((n for n, part in enumerate(parts) if GLOB.search(part)), len(parts))
        base = "/".join(parts[:fixed])
        names = [source] if fixed == len(parts) else sorted(set(self._glob(base, simplify(parts[fixed:]))))
        found = [name for name in names if os.path.lexists(os.path.join(self._root, name))]
        if not found:
            raise self._spec.problem(copy.position, f"no file matches {copy.src}", self._suggest(source))
        matches = []
        for name in found:
            if self._is_left_out(name):
                continue
            real = self._follow(copy, name)
            inside = os.path.relpath(real, self._root)
            # What `.dockerignore` keeps out is not to be had through a link either.
            if inside == name or not self._is_left_out(inside):
                below = name[len(base) :].strip("/") if fixed < len(parts) else ""
                matches.append(_Match(name, below, inside, real))
        if not matches:
            raise self._spec.problem(copy.position, f"{DOCKERIGNORE} keeps {copy.src} out")
        return matches

    def _follow(self, copy: Copy, name: str) -> str:
        """Where a path of the context is once its links are followed."""
        real = os.path.realpath(os.path.join(self._root, name))
        if not _is_within(real, self._root):
            raise self._spec.problem(
                copy.position,
                f"{name} is a link out of the folder of the spec, to {real}",
                "copy the file itself into that folder",
            )
        if not os.path.exists(real):
            raise self._spec.problem(
                copy.position,
                f"{name} is a link to {real}, and nothing is there",
                "copy the folder that the link is in",
            )
        return real

    def _is_left_out(self, path: str) -> bool:
        # A folder may be ignored and yet hold exceptions (`!docs/keep.md`): the walk decides on each path.
        if not self._ignored.is_ignored(path):
            return False
        return not (self._ignored.may_contain_exceptions(path) and os.path.isdir(os.path.join(self._root, path)))

    def _glob(self, base: str, parts: list[str]) -> Iterator[str]:
        """Paths relative to the context. `**` spans folders, and no wildcard matches a name that begins with a dot."""
        if not parts:
            yield base
            return
        folder = os.path.join(self._root, base)
        try:
            names = sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        first, *rest = parts
        if first == "**" and not rest:
            # All that is in a folder: the folder itself, which copies its contents.
            yield base
            return
        if first == "**":
            yield from self._glob(base, rest)
            for name in names:
                if not name.startswith(".") and _is_plain_folder(os.path.join(folder, name)):
                    yield from self._glob(join(base, name), parts)
            return
        matches = compile_glob(first)
        for name in names:
            if matches(name) and (first.startswith(".") or not name.startswith(".")):
                path = join(base, name)
                if not rest or os.path.isdir(os.path.join(self._root, path)):
                    yield from self._glob(path, rest)

    def _walk(
        self, match: "_Match", destination: str, status: os.stat_result, excludes: ExcludeRules
    ) -> Iterator[Found]:
        """A folder and all below it that is not left out. Links in it are taken as links."""
        is_ignored = self._ignored.is_ignored(match.inside)
        if not is_ignored:
            target = join(destination, match.below)
            yield Found(match.real, target, status, folders_between(destination, match.below))
        waiting = [("", match.real, is_ignored)]
        while waiting:
            below, folder, is_ignored = waiting.pop()
            with os.scandir(folder) as entries:
                for entry in list(entries)[:: self._step]:
                    path = join(below, entry.name)
                    name = join(match.below, path)
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if excludes.is_excluded(name, is_folder=is_folder):
                        continue
                    in_context = path if match.inside == "." else f"{match.inside}/{path}"
                    ignored = self._ignored.is_ignored(in_context)
                    if ignored and not (is_folder and self._ignored.may_contain_exceptions(in_context)):
                        continue
                    if is_folder:
                        waiting.append((path, entry.path, ignored))
                    if not ignored:
                        # An ignored folder is made for the sake of what is in it alone.
                        folders = folders_between(destination, name) if is_ignored else ()
                        yield Found(entry.path, join(destination, name), entry.stat(follow_symlinks=False), folders)

    def _entry(self, found: Found, marks: Marks) -> Entry | None:
        mode = found.status.st_mode
        mtime = marks.time(found.status.st_mtime_ns // 10**9)
        if stat.S_ISDIR(mode):
            return directory_entry(found.destination, marks, mtime=mtime) if found.destination else None
        if stat.S_ISREG(mode):
            usual = 0o755 if mode & 0o111 else 0o644
            return Entry(
                path=found.destination,
                type=EntryType.FILE,
                mode=usual if marks.mode is None else marks.mode,
                uid=marks.uid,
                gid=marks.gid,
                mtime=mtime,
                xattrs=marks.xattrs,
                source=FileSource.seen(found.path, found.status),
            )
        uid, gid = marks.uid, marks.gid
        if stat.S_ISLNK(mode):
            target = os.readlink(found.path)
            return Entry(
                path=found.destination, type=EntryType.SYMLINK, mode=0o777, uid=uid, gid=gid, mtime=mtime, link=target
            )
        if stat.S_ISFIFO(mode):
            permissions = 0o644 if marks.mode is None else marks.mode
            return Entry(path=found.destination, type=EntryType.FIFO, mode=permissions, uid=uid, gid=gid, mtime=mtime)
        kind = "socket" if stat.S_ISSOCK(mode) else "device"
        self.warnings.append(f"{found.path} is a {kind}, and is left out")
        return None

    def _read_dockerignore(self) -> IgnoreRules:
        path = Path(self._root, DOCKERIGNORE)
        real = os.path.realpath(path)
        if os.path.commonpath([self._root, real]) != self._root:
            # Its errors quote it, and nothing outside the context is read.
            raise self._spec.problem(
                self._spec.locate("layers", key=True), f"{path} leads to {real}, outside the folder of the spec"
            )
        try:
            return parse_dockerignore(path.read_text(errors="surrogateescape"))
        except FileNotFoundError:
            return parse_dockerignore("")
        except ValueError as error:
            raise self._spec.problem(self._spec.locate("layers", key=True), f"{path.parent}: {error}") from error

    def _suggest(self, source: str) -> str:
        """A path of the context that may have been meant."""
        import difflib  # noqa: PLC0415 - only a mistake needs it

        parent, _, name = source.rpartition("/")
        try:
            names = os.listdir(os.path.join(self._root, parent))
        except OSError:
            return f"there is no folder {parent} in {self._root}"
        close = difflib.get_close_matches(name, names, n=1)
        return f"did you mean {join(parent, close[0])}?" if close else f"sources are looked for in {self._root}"


@dataclass(frozen=True, slots=True)
class _Match:
    """`relative` to the context as found, `below` the glob's fixed part, `inside` the context with every link followed,
    and `real` on this machine. `below` is "" for what no glob found."""

    relative: str
    below: str
    inside: str
    real: str


def content_entry(content: Content, marks: Marks) -> Entry:
    """The file whose content stands in the spec. Raises LayerError."""
    return Entry(
        path=content.dest.strip("/"),
        type=EntryType.FILE,
        mode=0o644 if marks.mode is None else marks.mode,
        uid=marks.uid,
        gid=marks.gid,
        source=BytesSource(content.content.encode()),
    )


def symlink_entry(symlink: Symlink, marks: Marks) -> Entry:
    """Raises LayerError."""
    return Entry(
        path=symlink.path.strip("/"),
        type=EntryType.SYMLINK,
        mode=0o777,
        uid=marks.uid,
        gid=marks.gid,
        link=symlink.target,
    )


def _is_within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _is_plain_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
