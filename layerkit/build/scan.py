"""Scanning: what a copy takes from the context, as entries of a layer. Blocking.

A folder copies its contents; a glob keeps the paths below its fixed part; nothing outside the context is ever read.
Of a source's attributes only the execute bit counts (SPEC, "Copy").
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
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
class _Part:
    """What a copy takes of one folder, or a file by itself.

    What is at `path` on this machine goes to `destination` in the image, for which the copy makes `folders`: itself
    where it has a `status`, and `entries` of it.
    """

    path: str
    destination: str
    folders: tuple[str, ...] = ()
    status: os.stat_result | None = None
    entries: Sequence[os.DirEntry[str]] = ()


class _Survey:
    """What tells the parts of a copy from those of another time, in whichever order they are seen.

    `unmatched` are patterns that excluded none of what there is.
    """

    def __init__(self, *, has_times: bool) -> None:
        self._has_times = has_times
        self._seen: list[bytes] = []
        self.unmatched: list[str] = []

    def see(self, part: _Part) -> None:
        row = _describe(part, has_times=self._has_times)
        self._seen.append(hashlib.sha256(row.encode(errors="surrogateescape")).digest())

    @property
    def digest(self) -> str:
        unmatched = repr(sorted(self.unmatched)).encode()
        return hashlib.sha256(b"".join((*sorted(self._seen), unmatched))).hexdigest()


class Context:
    """The folder that a spec may copy from, and what its `.dockerignore` keeps out of it. Folders are read as they come
    or `backwards`: their order shows nowhere but in that of warnings."""

    def __init__(self, spec: Spec, *, backwards: bool = False) -> None:
        self._spec = spec
        self._step = -1 if backwards else 1
        self._root = os.path.realpath(spec.context)
        self._ignored = self._read_dockerignore()
        self.surveys: list[str] = []
        """Of the copies until now: what `survey` gave of them, had it been asked at the time when they were taken."""
        self.warnings: list[str] = []
        """What the copies until now had to leave out, and what of them did nothing."""

    def survey(self, copy: Copy) -> str:
        """What tells all that this copy takes from what it took another time: the digest of paths, links and the
        numbers of files. Nothing is read.

        Raises what `copy` raises of what cannot be found, and OSError.
        """
        survey = _Survey(has_times=copy.keep_mtime)
        for part in self._find(copy, survey.unmatched):
            survey.see(part)
        return survey.digest

    def copy(self, copy: Copy, marks: Marks) -> list[Taken]:
        """The entries of a copy, the folder that it makes included. Raises DocumentError at the copy's position."""
        entries: dict[str, Taken] = {}
        survey = _Survey(has_times=copy.keep_mtime)

        def add(path: str, destination: str, status: os.stat_result) -> None:
            entry = self._entry(path, destination, status, marks)
            if entry is not None:
                entries[entry.path] = Taken(entry, path[len(self._root) + 1 :] or ".")

        try:
            for part in self._find(copy, survey.unmatched):
                survey.see(part)
                for folder in part.folders:
                    entries.setdefault(folder, Taken(directory_entry(folder, marks), ""))
                if part.status is not None:
                    add(part.path, part.destination, part.status)
                for found in part.entries:
                    add(found.path, join(part.destination, found.name), found.stat(follow_symlinks=False))
        except LayerError as error:
            raise self._spec.problem(copy.position, str(error)) from error
        except OSError as error:
            reason = f"cannot read {error.filename or copy.src}: {(error.strerror or str(error)).lower()}"
            raise self._spec.problem(copy.position, reason) from error
        self.surveys.append(survey.digest)
        self.warnings += [
            f"{copy.position}: exclude: {shorten(pattern)} matches nothing" for pattern in survey.unmatched
        ]
        return list(entries.values())

    def _find(self, copy: Copy, unmatched: list[str]) -> Iterator[_Part]:
        """`unmatched` are the patterns in the end that excluded nothing."""
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
        is_empty = True
        for match in matches:
            status = os.stat(match.real)
            is_folder = stat.S_ISDIR(status.st_mode)
            name = match.below or ("" if is_folder else os.path.basename(match.relative))
            if name and excludes.is_excluded_on_the_way(name, is_folder=is_folder):
                continue
            if is_folder:
                for part in self._walk(match, destination, status, excludes):
                    is_empty = False
                    yield part
                continue
            is_empty = False
            if into:
                yield _Part(match.real, join(destination, name), folders_between(destination, name), status)
            else:
                yield _Part(match.real, destination, status=status)
        if is_empty:
            raise self._spec.problem(copy.position, f"everything that {copy.src} matches is excluded")
        unmatched += excludes.unmatched

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
    ) -> Iterator[_Part]:
        """A folder and all below it that is not left out. Links in it are taken as links."""
        is_ignored = self._ignored.is_ignored(match.inside)
        if not is_ignored:
            target = join(destination, match.below)
            yield _Part(match.real, target, folders_between(destination, match.below), status)
        takes_all = not excludes and not self._ignored
        waiting = [("", match.real, is_ignored)]
        while waiting:
            below, folder, is_ignored = waiting.pop()
            with os.scandir(folder) as entries:
                found = list(entries)[:: self._step]
            if takes_all:
                taken = found
                waiting += [
                    (join(below, entry.name), entry.path, False)
                    for entry in found
                    if entry.is_dir(follow_symlinks=False)
                ]
            else:
                taken = []
                for entry in found:
                    path = join(below, entry.name)
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if excludes.is_excluded(join(match.below, path), is_folder=is_folder):
                        continue
                    in_context = path if match.inside == "." else f"{match.inside}/{path}"
                    ignored = self._ignored.is_ignored(in_context)
                    if not ignored:
                        taken.append(entry)
                    if is_folder and not (ignored and not self._ignored.may_contain_exceptions(in_context)):
                        waiting.append((path, entry.path, ignored))
            if taken:
                within = join(match.below, below)
                # An ignored folder is made for the sake of what is in it alone.
                folders = folders_between(destination, join(within, taken[0].name)) if is_ignored else ()
                yield _Part(folder, join(destination, within), folders, entries=taken)

    def _entry(self, path: str, destination: str, status: os.stat_result, marks: Marks) -> Entry | None:
        mode = status.st_mode
        mtime = marks.time(status.st_mtime_ns // 10**9)
        if stat.S_ISDIR(mode):
            return directory_entry(destination, marks, mtime=mtime) if destination else None
        if stat.S_ISREG(mode):
            usual = 0o755 if mode & 0o111 else 0o644
            return Entry(
                path=destination,
                type=EntryType.FILE,
                mode=usual if marks.mode is None else marks.mode,
                uid=marks.uid,
                gid=marks.gid,
                mtime=mtime,
                xattrs=marks.xattrs,
                source=FileSource.seen(path, status),
            )
        uid, gid = marks.uid, marks.gid
        if stat.S_ISLNK(mode):
            target = os.readlink(path)
            return Entry(
                path=destination, type=EntryType.SYMLINK, mode=0o777, uid=uid, gid=gid, mtime=mtime, link=target
            )
        if stat.S_ISFIFO(mode):
            permissions = 0o644 if marks.mode is None else marks.mode
            return Entry(path=destination, type=EntryType.FIFO, mode=permissions, uid=uid, gid=gid, mtime=mtime)
        kind = "socket" if stat.S_ISSOCK(mode) else "device"
        self.warnings.append(f"{path} is a {kind}, and is left out")
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


def _describe(part: _Part, *, has_times: bool) -> str:
    """What tells a part from another one: of a file the numbers by which its source has an identity."""
    itself = _describe_found(part.path, part.status, has_times=has_times) if part.status is not None else ""
    rows = []
    for entry in part.entries:
        if has_times or not entry.is_dir(follow_symlinks=False):
            row = _describe_found(entry.path, entry.stat(follow_symlinks=False), has_times=has_times)
        else:
            row = "/"
        # No name and no link has a NUL.
        rows.append(f"{entry.name}\0{row}\0")
    rows.sort()
    return f"{(part.path, part.destination, part.folders)!r}\0{itself}\0{''.join(rows)}\0"


def _describe_found(path: str, status: os.stat_result, *, has_times: bool) -> str:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return f"{mode:o} {status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    time = status.st_mtime_ns if has_times else ""
    if stat.S_ISDIR(mode):
        return f"/{time}"
    return f"{mode:o} {time} {os.readlink(path) if stat.S_ISLNK(mode) else ''}"
