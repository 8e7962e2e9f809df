"""Excluding: what the `exclude:` of a copy leaves out of it.

The rules are git's: patterns relative to the source, the last match deciding, and nothing below a folder that is left
out coming back (gitignore(5)). Who walks asks of each folder before what is in it. The room is pure.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Self

import msgspec

from layerkit.oci.digest import shorten

if TYPE_CHECKING:
    import pathspec

_END: Final = "/\0"
"""At the end of a pattern and of a path. No name has a NUL, so that a pattern matches the path itself or not at all.

The library takes what matches a folder to match all below it too, and would keep whole folders for `!*/`, where git
asks the other patterns of each file.
"""


class _Rule(msgspec.Struct):
    text: str
    pattern: "pathspec.Pattern"
    is_exception: bool
    is_for_folders: bool
    has_matched: bool = False

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None for what is no pattern: a comment, or nothing. Raises ValueError."""
        pattern = re.sub(r"(?<!\\) +\Z", "", text)
        is_exception = pattern.startswith("!")
        pattern = pattern.removeprefix("!")
        path = pattern.rstrip("/")
        if not path or text.startswith("#"):
            return None
        if (len(path) - len(path.rstrip("\\"))) % 2:
            raise ValueError(f"{shorten(text)} is no pattern: a `\\` at the end escapes nothing: double it")
        is_for_folders = path != pattern
        if path == "**" or path.endswith("/**"):
            path += "/*"  # All in a folder, and not the folder.
        # A slash at the beginning or within is what binds a pattern to the source's own folder.
        path = path if "/" in path else f"**/{path}"
        import pathspec  # noqa: PLC0415 - few copies exclude anything

        try:
            (compiled,) = pathspec.GitIgnoreSpec.from_lines([path + _END]).patterns
        except ValueError as error:
            raise ValueError(f"{shorten(text)} is no pattern: {error}") from error
        return cls(text, compiled, is_exception, is_for_folders)

    def matches(self, path: str, *, is_folder: bool) -> bool:
        matched = (is_folder or not self.is_for_folders) and self.pattern.match_file(path + _END) is not None
        self.has_matched = self.has_matched or matched
        return matched


class ExcludeRules:
    """The patterns of one copy, and which of them did anything. Raises ValueError for what is no pattern."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._rules = [rule for rule in map(_Rule.parse, patterns) if rule is not None]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def is_excluded(self, path: str, *, is_folder: bool) -> bool:
        """Whether `path`, relative to the source, is left out. The folders that it is in are the caller's to ask of."""
        excluded = None
        for rule in reversed(self._rules):
            if (excluded is None or not rule.has_matched) and rule.matches(path, is_folder=is_folder):
                excluded = not rule.is_exception if excluded is None else excluded
        return bool(excluded)

    def is_excluded_on_the_way(self, path: str, *, is_folder: bool) -> bool:
        """Whether `path`, or one of the folders on the way to it, is left out."""
        names = path.split("/")
        folders = ("/".join(names[:n]) for n in range(1, len(names)))
        return any(self.is_excluded(folder, is_folder=True) for folder in folders) or self.is_excluded(
            path, is_folder=is_folder
        )

    @property
    def unmatched(self) -> list[str]:
        """The patterns that matched nothing of what was asked."""
        return [rule.text for rule in self._rules if not rule.has_matched]
