"""Ignoring: what `.dockerignore` leaves out of the context.

The rules are docker's: patterns of Go's filepath.Match and `**`, relative to the context, a match of a directory being
one of all below it, and the last match deciding. Sources: Dockerfile reference, ".dockerignore files"; moby,
patternmatcher (the patterns) and ignorefile (the lines). The room is pure.
"""

import posixpath
import re
from typing import Final, Self

import msgspec

from layerkit.oci.digest import shorten

_BELOW: Final = r"(?:/.*)?"


class _Rule(msgspec.Struct, frozen=True):
    """One line. `expression` matches all that the line's pattern matches, and all below that.

    `components` are those of an exception's pattern, None standing for one that can match any number of names.
    """

    expression: re.Pattern[str]
    is_exception: bool
    components: tuple[re.Pattern[str] | None, ...] = ()

    @classmethod
    def parse(cls, pattern: str, *, is_exception: bool) -> Self:
        expression = re.compile(_translate(pattern) + _BELOW, re.DOTALL)
        if not is_exception:
            return cls(expression, is_exception)
        # A class can match a slash, and a backslash can hide one: then the components are not between the slashes.
        plain = not {"[", "\\"} & set(pattern)
        components = [
            re.compile(_translate(component), re.DOTALL) if plain and "**" not in component else None
            for component in pattern.split("/")
        ]
        return cls(expression, is_exception, tuple(components))

    def may_match_below(self, directory: str) -> bool:
        names = directory.split("/")
        for component, name in zip(self.components, names, strict=False):
            if component is None:
                return True
            if not component.fullmatch(name):
                return False
        return len(self.components) > len(names)


class IgnoreRules(msgspec.Struct, frozen=True):
    """What a `.dockerignore` says. Paths are relative to the context, like `a/b`.

    Docker makes no difference between files and directories: a `/` at the end of a pattern means nothing.
    """

    _rules: tuple[_Rule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._rules)

    def is_ignored(self, path: str) -> bool:
        """Whether `path` is left out. The context itself never is."""
        if path in {"", "."}:
            return False
        for rule in reversed(self._rules):
            if rule.expression.fullmatch(path):
                return not rule.is_exception
        return False

    def may_contain_exceptions(self, path: str) -> bool:
        """Whether anything below the directory at `path` may be wanted: if not, it need not be walked.

        False is certain; True of an ignored directory means that it has to be looked at.
        """
        if path in {"", "."}:
            return True
        for rule in reversed(self._rules):
            if not rule.is_exception and rule.expression.fullmatch(path):
                return False
            if rule.is_exception and (rule.expression.fullmatch(path) or rule.may_match_below(path)):
                return True
        return True


def parse_dockerignore(text: str) -> IgnoreRules:
    """The rules in the text of a `.dockerignore`. Raises ValueError, with the line's number, for invalid patterns."""
    rules: list[_Rule] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if line.startswith("#"):
            continue
        try:
            if pattern := _clean_line(line):
                is_exception = pattern.startswith("!")
                if pattern == "!":
                    raise ValueError("there is no pattern after the `!`")
                rules.append(_Rule.parse(pattern.removeprefix("!"), is_exception=is_exception))
        except (ValueError, re.error) as error:
            raise ValueError(f".dockerignore, line {number}: {shorten(line.strip())} is no pattern: {error}") from error
    return IgnoreRules(tuple(rules))


def _clean_line(line: str) -> str:
    """The pattern, with the `!` of an exception: "" for a blank line.

    Cleaned once as a line and once as a pattern, as docker does: `/ !a` is an exception, and so is `!/` an error.
    """
    line = line.strip()
    mark = "!" if line.startswith("!") else ""
    pattern = line.removeprefix("!").strip()
    if pattern:
        pattern = _clean(pattern)
        if len(pattern) > 1:
            pattern = pattern.removeprefix("/")
    pattern = (mark + pattern).strip()
    return _clean(pattern) if pattern else ""


def _clean(path: str) -> str:
    """The shortest name of the same path, by the text alone, as Go's filepath.Clean has it."""
    # POSIX leaves the meaning of two slashes at the beginning open, and posixpath keeps them.
    return re.sub(r"\A//+", "/", posixpath.normpath(path))


def _translate(pattern: str) -> str:
    """A regular expression for a pattern. Raises ValueError for what filepath.Match calls a bad pattern."""
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            if pattern[position : position + 1] != "*":
                parts.append("[^/]*")
                continue
            position += 1
            if pattern[position : position + 1] == "/":
                position += 1
                anything = "(?:.*/)?"
            elif position == 2 and not set(pattern[position:]) & set("*?[]\\"):
                # At the beginning of what is otherwise plain, it need not stop at a slash.
                anything = ".*"
            else:
                anything = "(?:.*/)?"
            if position == len(pattern):
                anything = ".*"
            if parts[-1:] != [anything]:  # Twice the same means the same, but takes the square of the time.
                parts.append(anything)
        elif character == "?":
            parts.append("[^/]")
        elif character == "[":
            expression, position = _translate_class(pattern, position)
            parts.append(expression)
        elif character == "\\":
            if position == len(pattern):
                raise ValueError("a `\\` at the end escapes nothing: double it")
            parts.append(re.escape(pattern[position]))
            position += 1
        else:
            parts.append(re.escape(character))
    return "".join(parts)


def _translate_class(pattern: str, position: int) -> tuple[str, int]:
    """The expression for the class whose `[` is before `position`, and where it ends."""
    negated = pattern[position : position + 1] == "^"
    position += negated
    ranges: list[str] = []
    while pattern[position : position + 1] != "]" or not ranges:
        first, position = _take_member(pattern, position)
        last = first
        if pattern[position : position + 1] == "-":
            last, position = _take_member(pattern, position + 1)
        if last < first:
            raise ValueError(f"the range {first}-{last} is the wrong way round")
        ranges.append(f"{re.escape(first)}-{re.escape(last)}")
    return f"[{'^' * negated}{''.join(ranges)}]", position + 1


def _take_member(pattern: str, position: int) -> tuple[str, int]:
    """One character of a class, and where the next is."""
    member = pattern[position : position + 1]
    if member == "\\":
        position += 1
        member = pattern[position : position + 1]
    elif member in {"-", "]"}:
        raise ValueError(f"a `{member}` stands where a character of the class should: escape it by a `\\`")
    if not member:
        raise ValueError("the class that a `[` begins has no end: add the `]`, or escape the `[` by a `\\`")
    return member, position + 1
