"""Scanning: what a copy takes from the context, as entries of a layer. Blocking.

A folder copies its contents; a glob keeps the paths below its fixed part; nothing outside the context is ever read.
Of a source's attributes only the execute bit counts (SPEC, "Copy").
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import pathspec

from layerkit.build.ignore import IgnoreRules, parse_dockerignore
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.source import BytesSource, FileSource
from layerkit.spec.model import Attributes, Content, Copy, Spec, Symlink

DOCKERIGNORE: Final = ".dockerignore"
_GLOB: Final = re.compile(r"[*?\[]")


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
    """The folder that a spec may copy from, and what its `.dockerignore` keeps out of it."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._root = os.path.realpath(spec.context)
        self._ignored = self._read_dockerignore()
        self.skipped: list[str] = []

    def copy(self, copy: Copy) -> list[Entry]:
        """The entries of a copy, the folder that it makes included. Raises DocumentError at the copy's position."""
        entries: dict[str, Entry] = {}
        try:
            for found in self._find(copy):
                for folder in found.folders:
                    entries.setdefault(folder, _directory(folder, copy.attributes))
                entry = self._entry(found, copy.attributes)
                if entry is not None:
                    entries[entry.path] = entry
        except LayerError as error:
            raise self._spec.problem(copy.position, str(error)) from error
        return list(entries.values())

    def _find(self, copy: Copy) -> Iterator[Found]:
        matches = self._match(copy)
        excluded = _compile_excludes(copy.exclude)
        into = copy.dest.endswith("/")
        destination = copy.dest.strip("/")
        if len(matches) > 1 and not into:
            raise self._spec.problem(
                copy.position,
                f"{copy.src} matches {len(matches)} paths, and {copy.dest} names one",
                f'end the destination with a slash: "{copy.dest}/"',
            )
        is_glob = _GLOB.search(copy.src) is not None
        taken = 0
        for match in matches:
            status = os.stat(match.real)
            if stat.S_ISDIR(status.st_mode):
                target = _join(destination, match.below) if is_glob else destination
                for item in self._walk(match.real, match.relative, target, status, excluded):
                    taken += 1
                    yield item
            else:
                name = match.below if is_glob else os.path.basename(match.relative)
                taken += 1
                if into:
                    yield Found(match.real, _join(destination, name), status, _folders(destination, name))
                else:
                    yield Found(match.real, destination, status)
        if not taken:
            raise self._spec.problem(copy.position, f"everything that {copy.src} matches is excluded")

    def _match(self, copy: Copy) -> "list[_Match]":
        source = copy.src.removeprefix("./").strip("/") or "."
        if os.path.isabs(copy.src) or ".." in source.split("/"):
            raise self._spec.problem(
                copy.position, f"{copy.src} leaves the folder of the spec", "copy from below that folder"
            )
        parts = source.split("/")
        fixed = next((n for n, part in enumerate(parts) if _GLOB.search(part)), len(parts))
        base = "/".join(parts[:fixed])
        names = [base or "."] if fixed == len(parts) else sorted(self._glob(base, parts[fixed:]))
        matches = []
        for name in names:
            real = os.path.realpath(os.path.join(self._root, name))
            if not _is_within(real, self._root):
                raise self._spec.problem(
                    copy.position,
                    f"{name} is a link out of the folder of the spec, to {real}",
                    "copy the file itself into that folder",
                )
            if os.path.lexists(os.path.join(self._root, name)) and os.path.exists(real):
                matches.append(_Match(name, name.removeprefix(base).strip("/") if fixed < len(parts) else "", real))
        kept = [match for match in matches if match.relative == "." or not self._is_ignored(match)]
        if not kept:
            reason = f"{DOCKERIGNORE} keeps {copy.src} out" if matches else f"no file matches {copy.src}"
            raise self._spec.problem(copy.position, reason, self._suggest(source) if not matches else "")
        return kept

    def _is_ignored(self, match: "_Match") -> bool:
        # A folder may be ignored and yet hold exceptions (`!docs/keep.md`): the walk decides on each path.
        is_directory = os.path.isdir(match.real)
        ignored = self._ignored.is_ignored(match.relative)
        return ignored and not (is_directory and self._ignored.may_contain_exceptions(match.relative))

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
        if first == "**":
            yield from self._glob(base, rest)
            for name in names:
                if not name.startswith(".") and _is_plain_folder(os.path.join(folder, name)):
                    yield from self._glob(_join(base, name), parts)
            return
        matches = _compile_glob(first)
        for name in names:
            if matches(name) and (first.startswith(".") or not name.startswith(".")):
                path = _join(base, name)
                if not rest or os.path.isdir(os.path.join(self._root, path)):
                    yield from self._glob(path, rest)

    def _walk(
        self,
        real: str,
        relative: str,
        destination: str,
        status: os.stat_result,
        excluded: Callable[[str], bool],
    ) -> Iterator[Found]:
        """A folder and all below it that is not ignored. Links in it are taken as links."""
        yield Found(real, destination, status)
        waiting = [("", real)]
        while waiting:
            below, folder = waiting.pop()
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = _join(below, entry.name)
                    is_directory = entry.is_dir(follow_symlinks=False)
                    in_context = _join("" if relative == "." else relative, path)
                    if excluded(f"{path}/" if is_directory else path):
                        continue
                    ignored = self._ignored.is_ignored(in_context)
                    if ignored and not (is_directory and self._ignored.may_contain_exceptions(in_context)):
                        continue
                    if is_directory:
                        waiting.append((path, entry.path))
                    if not ignored:
                        yield Found(entry.path, _join(destination, path), entry.stat(follow_symlinks=False))

    def _entry(self, found: Found, attributes: Attributes) -> Entry | None:
        mode = found.status.st_mode
        uid, gid = attributes.uid, attributes.gid
        if stat.S_ISDIR(mode):
            if not found.destination:
                return None
            return _directory(found.destination, attributes)
        if stat.S_ISREG(mode):
            usual = 0o755 if mode & 0o111 else 0o644
            return Entry(
                path=found.destination,
                type=EntryType.FILE,
                mode=usual if attributes.mode is None else attributes.mode,
                uid=uid,
                gid=gid,
                source=FileSource.seen(found.path, found.status),
            )
        if stat.S_ISLNK(mode):
            target = os.readlink(found.path)
            return Entry(path=found.destination, type=EntryType.SYMLINK, mode=0o777, uid=uid, gid=gid, link=target)
        kind = "socket" if stat.S_ISSOCK(mode) else "device or pipe"
        self.skipped.append(f"{found.path} is a {kind}, and is left out")
        return None

    def _read_dockerignore(self) -> IgnoreRules:
        path = Path(self._root, DOCKERIGNORE)
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
        return f"did you mean {_join(parent, close[0])}?" if close else f"sources are looked for in {self._root}"


@dataclass(frozen=True, slots=True)
class _Match:
    """`relative` to the context as found, `below` the glob's fixed part, `real` with every link followed."""

    relative: str
    below: str
    real: str


def _directory(path: str, attributes: Attributes) -> Entry:
    return Entry(path=path, type=EntryType.DIRECTORY, mode=attributes.dir_mode, uid=attributes.uid, gid=attributes.gid)


def _folders(destination: str, name: str) -> tuple[str, ...]:
    """`destination`, and the folders between it and the file that goes to `name` below it."""
    parts = name.split("/")[:-1]
    between = (_join(destination, "/".join(parts[: n + 1])) for n in range(len(parts)))
    return tuple(folder for folder in (destination, *between) if folder)


def content_entry(content: Content) -> Entry:
    """The file whose content stands in the spec. Raises LayerError."""
    attributes = content.attributes
    return Entry(
        path=content.dest.strip("/"),
        type=EntryType.FILE,
        mode=0o644 if attributes.mode is None else attributes.mode,
        uid=attributes.uid,
        gid=attributes.gid,
        source=BytesSource(content.content.encode()),
    )


def symlink_entry(symlink: Symlink) -> Entry:
    """Raises LayerError."""
    return Entry(
        path=symlink.path.strip("/"),
        type=EntryType.SYMLINK,
        mode=0o777,
        uid=symlink.attributes.uid,
        gid=symlink.attributes.gid,
        link=symlink.target,
    )


def _compile_excludes(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    if not patterns:
        return lambda _path: False
    return pathspec.GitIgnoreSpec.from_lines(patterns).match_file


@lru_cache(maxsize=256)
def _compile_glob(pattern: str) -> Callable[[str], re.Match[str] | None]:
    """One component of a glob: `*`, `?` and `[...]`."""
    import fnmatch  # noqa: PLC0415 - few specs have globs

    return re.compile(fnmatch.translate(pattern)).match


def _join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent and name else parent or name


def _is_within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _is_plain_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
