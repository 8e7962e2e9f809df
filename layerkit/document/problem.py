"""Problems: what is wrong in a file, where it stands, and how to mend it."""

from collections.abc import Iterable
from typing import Final

import msgspec

_WIDTH: Final = 120


class Position(msgspec.Struct, frozen=True, order=True):
    """Where a value begins. `line` and `column` count from 1 in characters; line 0 is the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong. `source` is the line where it stands, `hint` how to mend it, where that is known."""

    position: Position
    message: str
    source: str = ""
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.position}: {self.message}"

    @property
    def file(self) -> str:
        return self.position.file

    @property
    def line(self) -> int:
        return self.position.line

    @property
    def column(self) -> int:
        return self.position.column

    def render(self) -> str:
        """Up to four lines: position and message, the source with a caret below it, the hint."""
        lines = [str(self)]
        if self.source.strip():
            # No control character of a file reaches the terminal of whoever reads the error.
            safe = "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in self.source)
            source, column = _crop(safe, self.column - 1)
            # A tab stays a tab, so that the caret stands below its character at any width of tabs.
            padding = "".join("\t" if character == "\t" else " " for character in source[:column])
            lines += [f"    {source}", f"    {padding}^"]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


def _crop(source: str, column: int) -> tuple[str, int]:
    if len(source) <= _WIDTH:
        return source, column
    start = max(0, min(column - _WIDTH // 2, len(source) - _WIDTH))
    return source[start : start + _WIDTH], column - start


class DocumentError(Exception):
    """A file that cannot be used. `problems` are all that were found, in the order of the file, each one once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def render(self) -> str:
        """For people: every problem with its line, a caret and the hint."""
        return "\n".join(problem.render() for problem in self.problems)


class InvalidValue(ValueError):
    """A value that is refused, before it is known where it stands; `hint` is what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)


class Source(msgspec.Struct, frozen=True):
    """The lines of a file, to quote from."""

    file: str
    lines: tuple[str, ...]

    def at(self, line: int, column: int) -> Position:
        return Position(self.file, line, column)

    def line(self, number: int) -> str:
        """Line `number`, counted from 1; empty past the end."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def problem(self, position: Position, message: str, hint: str = "") -> Problem:
        return Problem(position, message, self.line(position.line), hint)
