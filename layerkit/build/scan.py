"""Scanning: what a copy takes from the context, as entries of a layer. Blocking.

A folder copies its contents; a glob keeps the paths below its fixed part; nothing outside the context is ever read.
Of a source's attributes only the execute bit counts (SPEC, "Copy").
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from layerkit.build.exclude import ExcludeRules
from layerkit.build.filesystem import GLOB, compile_glob, join, simplify
from layerkit.build.ignore import IgnoreRules, parse_dockerignore
from layerkit.build.taken import Marks, Taken, TakenFolder, directory_entry, folders_between
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.source import BytesSource, FileSource
from layerkit.oci.digest import shorten
from layerkit.spec.model import Content, Copy, Spec, Symlink

DOCKERIGNORE: Final = ".dockerignore"


# What is asked of each of a hundred thousand files is at hand: an attribute of a module or an enum takes as long as all
# the rest.
_FILE: Final = EntryType.FILE
_KIND: Final = 0o170000
_REGULAR: Final = stat.S_IFREG
_ENCODER: Final = msgspec.msgpack.Encoder()

_Row = tuple[str, int, int, int, int, int, int, str]
"""A name, and all that counts of what has it: the mode, and of a file the device, inode, size, mtime and ctime, by
which its source has an identity; of a link where it leads. Times are in nanoseconds."""


class _Part(msgspec.Struct, frozen=True):
    """What a copy takes of one folder, or a file by itself.

    What is at `path` on this machine goes to `destination` in the image, for which the copy makes `folders`: `itself`,
    where it is taken, and what the `rows` name of it.
    """

    path: str
    destination: str
    folders: tuple[str, ...] = ()
    itself: _Row | None = None
    rows: Sequence[_Row] = ()

    @property
    def digest(self) -> bytes:
        """What tells it from all others, in whichever order its folder was read."""
        parts = os.fsencode(self.path), self.destination, self.folders, self.itself, sorted(self.rows)
        try:
            encoded = _ENCODER.encode(parts)
        except UnicodeEncodeError:
            # There is a name that no image can have: who plans with it is told so.
            encoded = repr(parts).encode(errors="surrogatepass")
        return hashlib.sha256(encoded).digest()


class Sight(msgspec.Struct):
    """What a copy takes, as one walk over the context has found it. To copy it uses it up, for it is as large as what
    becomes of it.

    `unmatched` are patterns that excluded none of what there is; where parts `overlap`, two may have the same path.
    """

    parts: list[_Part] = msgspec.field(default_factory=list)
    unmatched: list[str] = msgspec.field(default_factory=list)
    overlap: bool = False

    @property
    def digest(self) -> str:
        """What tells it from what the copy took another time: paths, links and the numbers of files."""
        seen = sorted(part.digest for part in self.parts)
        return hashlib.sha256(b"".join((*seen, repr(sorted(self.unmatched)).encode()))).hexdigest()


class Context:
    """The folder that a spec may copy from, and what its `.dockerignore` keeps out of it. Folders are read as they come
    or `backwards`: their order shows nowhere but in that of warnings."""

    def __init__(self, spec: Spec, *, backwards: bool = False) -> None:
        self._spec = spec
        self._step = -1 if backwards else 1
        self._root = os.path.realpath(spec.context)
        self._inside = len(os.path.join(self._root, ""))
        self._ignored = self._read_dockerignore()
        self.warnings: list[str] = []
        """What the copies until now had to leave out, and what of them did nothing."""

    def look(self, copy: Copy) -> Sight:
        """What this copy takes; nothing is read. Raises DocumentError at the copy's position for what cannot be found
        or looked at."""
        sight = Sight()
        try:
            sight.parts += self._find(copy, sight)
        except OSError as error:
            reason = f"cannot read {error.filename or copy.src}: {(error.strerror or str(error)).lower()}"
            raise self._spec.problem(copy.position, reason) from error
        return sight

    def copy(self, copy: Copy, marks: Marks, sight: Sight) -> Iterator[Taken | TakenFolder]:
        """The entries of a copy, the folders that it makes included; no two have the same path. Raises DocumentError at
        the copy's position."""
        taken = self._take(sight, marks)
        try:
            yield from _flatten(taken) if sight.overlap else taken
        except LayerError as error:
            raise self._spec.problem(copy.position, str(error)) from error
        self.warnings += [
            f"{copy.position}: exclude: {shorten(pattern)} matches nothing" for pattern in sight.unmatched
        ]

    def _take(self, sight: Sight, marks: Marks) -> Iterator[Taken | TakenFolder]:
        made: set[str] = set()
        sight.parts.reverse()
        while sight.parts:
            part = sight.parts.pop()
            origin = part.path[self._inside :]
            for folder in part.folders:
                if folder not in made and (part.itself is None or folder != part.destination):
                    made.add(folder)
                    yield Taken(directory_entry(folder, marks), "")
            if part.itself is not None:
                entry = self._entry(part.itself, part.path, part.destination, marks)
                if entry is not None:
                    made.add(entry.path)
                    yield Taken(entry, origin or ".")
            if part.rows:
                folder, above = os.path.join(part.path, ""), os.path.join(part.destination, "")
                found = [self._entry(row, folder + row[0], above + row[0], marks) for row in part.rows]
                entries = [entry for entry in found if entry is not None]
                made.update(entry.path for entry in entries if entry.source is None)
                yield TakenFolder(part.destination, entries, origin)

    def _find(self, copy: Copy, sight: Sight) -> Iterator[_Part]:
        """The parts of `sight`, which has the rest once they have come to their end."""
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
        sight.overlap = _overlap(matches)
        for match in matches:
            itself = _row("", match.real, os.stat(match.real), has_times=copy.keep_mtime)
            is_folder = stat.S_ISDIR(itself[1])
            name = match.below or ("" if is_folder else os.path.basename(match.relative))
            if name and excludes.is_excluded_on_the_way(name, is_folder=is_folder):
                continue
            if is_folder:
                for part in self._walk(match, destination, itself, excludes, has_times=copy.keep_mtime):
                    is_empty = False
                    yield part
                continue
            is_empty = False
            if into:
                yield _Part(match.real, join(destination, name), folders_between(destination, name), itself)
            else:
                yield _Part(match.real, destination, itself=itself)
        if is_empty:
            raise self._spec.problem(copy.position, f"everything that {copy.src} matches is excluded")
        sight.unmatched += excludes.unmatched

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
        self, match: "_Match", destination: str, itself: _Row, excludes: ExcludeRules, *, has_times: bool
    ) -> Iterator[_Part]:
        """A folder and all below it that is not left out. Links in it are taken as links."""
        is_ignored = self._ignored.is_ignored(match.inside)
        if not is_ignored:
            target = join(destination, match.below)
            yield _Part(match.real, target, folders_between(destination, match.below), itself)
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
                rows = [
                    _row(entry.name, entry.path, entry.stat(follow_symlinks=False), has_times=has_times)
                    for entry in taken
                ]
                yield _Part(folder, join(destination, within), folders, rows=rows)

    def _entry(self, row: _Row, path: str, destination: str, marks: Marks) -> Entry | None:
        _, mode, device, inode, size, mtime_ns, ctime_ns, link = row
        mtime = 0 if marks.newest is None else marks.time(mtime_ns // 10**9)
        kind = mode & _KIND
        if kind == _REGULAR:
            usual = 0o755 if mode & 0o111 else 0o644
            return Entry(
                path=destination,
                type=_FILE,
                mode=usual if marks.mode is None else marks.mode,
                uid=marks.uid,
                gid=marks.gid,
                mtime=mtime,
                xattrs=marks.xattrs,
                source=FileSource(
                    path=path, size=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns, device=device, inode=inode
                ),
            )
        if kind == stat.S_IFDIR:
            return directory_entry(destination, marks, mtime=mtime) if destination else None
        uid, gid = marks.uid, marks.gid
        if kind == stat.S_IFLNK:
            return Entry(path=destination, type=EntryType.SYMLINK, mode=0o777, uid=uid, gid=gid, mtime=mtime, link=link)
        if kind == stat.S_IFIFO:
            permissions = 0o644 if marks.mode is None else marks.mode
            return Entry(path=destination, type=EntryType.FIFO, mode=permissions, uid=uid, gid=gid, mtime=mtime)
        what = "socket" if kind == stat.S_IFSOCK else "device"
        self.warnings.append(f"{path} is a {what}, and is left out")
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


class _Match(msgspec.Struct, frozen=True):
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


def _row(name: str, path: str, status: os.stat_result, *, has_times: bool) -> _Row:
    mode = status.st_mode
    kind = mode & _KIND
    if kind == _REGULAR:
        size, mtime, ctime = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return name, mode, status.st_dev, status.st_ino, size, mtime, ctime, ""
    link = os.readlink(path) if kind == stat.S_IFLNK else ""
    return name, kind, 0, 0, 0, status.st_mtime_ns if has_times else 0, 0, link


def _overlap(matches: "Sequence[_Match]") -> bool:
    """Whether one is below another."""
    found = {match.relative for match in matches}
    return len(matches) > 1 and any(
        str(above) in found for match in matches for above in PurePosixPath(match.relative).parents
    )


def _flatten(taken: Iterable[Taken | TakenFolder]) -> Iterator[Taken]:
    """One entry of each path, the last of it, though a folder that is there for what is in it gives way to others."""
    found: dict[str, Taken] = {}
    for some in taken:
        for one in (some,) if isinstance(some, Taken) else some.apart():
            if one.origin:
                found[one.entry.path] = one
            else:
                found.setdefault(one.entry.path, one)
    yield from found.values()
